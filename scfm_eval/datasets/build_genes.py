"""Build the packaged gene table: ``python -m scfm_eval.datasets.build_genes HGNC.tsv.gz GENCODE.tsv.gz [OUT]``.

The same two sources give the same bytes: rows are sorted and the archive carries no time stamp.
HGNC (``symbol``, ``ensembl_id``, ``locus_group``, ``alias``, ``previous``; lists separated by ``|``) is the authority;
GENCODE (``ensembl_id``, ``symbol``) adds Ensembl ids that HGNC lacks. A GENCODE id whose symbol is a current HGNC
symbol becomes a further id of that gene; an id that has no symbol but itself says nothing and is left out.
"""

from __future__ import annotations

import csv
import gzip
import io
import sys
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path

COLUMNS = ("symbol", "ensembl_ids", "protein_coding", "previous", "alias")
Row = tuple[str, str, str, str, str]


def gene_rows(*, hgnc: Iterable[dict[str, str]], gencode: Iterable[dict[str, str]]) -> list[Row]:
    """Return the sorted rows of the table, one per gene, in the order of ``COLUMNS``."""
    approved = list(hgnc)
    known = {gene["ensembl_id"] for gene in approved}
    current = {gene["symbol"] for gene in approved}
    further: dict[str, list[str]] = defaultdict(list)
    rows: list[Row] = []
    for gene in gencode:
        symbol, ensembl_id = gene["symbol"], gene["ensembl_id"]
        if ensembl_id in known or symbol in ("", ensembl_id):
            continue
        if symbol in current:
            further[symbol].append(ensembl_id)
        else:
            rows.append((symbol, ensembl_id, "", "", ""))
    for gene in approved:
        ids = [gene["ensembl_id"]] if gene["ensembl_id"] else []
        every = "|".join(ids + sorted(further[gene["symbol"]]))
        coding = "1" if gene["locus_group"] == "protein-coding gene" else ""
        rows.append((gene["symbol"], every, coding, gene["previous"], gene["alias"]))
    return sorted(rows)


def write_genes(rows: Iterable[Row], *, out: Path) -> None:
    """Write ``rows`` as :func:`write_tsv` does, under ``COLUMNS``."""
    write_tsv(rows, columns=COLUMNS, out=out)


def write_tsv(rows: Iterable[Sequence[str]], *, columns: Sequence[str], out: Path) -> None:
    """Write ``rows`` as a gzipped, tab-separated table with a header."""
    text = io.StringIO()
    writer = csv.writer(text, delimiter="\t", lineterminator="\n", quoting=csv.QUOTE_NONE, quotechar=None)
    writer.writerow(columns)
    writer.writerows(rows)
    out.write_bytes(gzip.compress(text.getvalue().encode(), compresslevel=9, mtime=0))


def read_tsv(path: Path) -> list[dict[str, str]]:
    """Return the rows of a gzipped, tab-separated file as dicts."""
    with gzip.open(path, "rt", encoding="utf-8", newline="") as lines:
        return list(csv.DictReader(lines, delimiter="\t", quoting=csv.QUOTE_NONE))


def main(arguments: list[str]) -> None:
    """Read the two source files named on the command line and write the table."""
    hgnc, gencode, *rest = map(Path, arguments)
    out = rest[0] if rest else Path(__file__).with_name("genes.tsv.gz")
    write_genes(gene_rows(hgnc=read_tsv(hgnc), gencode=read_tsv(gencode)), out=out)


if __name__ == "__main__":
    main(sys.argv[1:])
