"""Build the packaged table of GO terms: ``python -m scfm_eval.datasets.build_gene_sets ORG.sqlite GO.sqlite [OUT]``.

The sources are ``org.Hs.eg.sqlite`` and ``GO.sqlite`` of Bioconductor 3.16, in Debian as r-bioc-org.hs.eg.db and
r-bioc-go.db 3.16.0-1: the Gene Ontology of 2022-07-01 (CC BY 4.0) and NCBI's annotations of 2022-09-12. The same two
files give the same bytes: rows are sorted and the archive carries no time stamp.

Annotations by experiment count, by low and by high throughput; those from expression patterns (IEP, HEP) do not, since
they say what co-expression says. A gene that has a term has every term that this one is a kind of or a part of; terms
that it regulates are not passed on. A term is kept when it has 20 to 500 protein-coding genes, and none of the terms
below it has the very same ones.
"""

from __future__ import annotations

import csv
import gzip
import io
import sqlite3
import sys
from collections import defaultdict
from collections.abc import Iterable, Mapping
from contextlib import closing
from pathlib import Path

from scfm_eval.datasets.genes import protein_coding_symbols, to_symbol

COLUMNS = ("id", "name", "aspect", "symbols")
EVIDENCE = ("EXP", "HDA", "HGI", "HMP", "HTP", "IDA", "IGI", "IMP", "IPI")
SIZES = (20, 500)
_ASPECTS = {"BP": "biological process", "CC": "cellular component", "MF": "molecular function"}
_PASSED_ON = ("isa", "part of")
Row = tuple[str, str, str, str]
Links = Mapping[str, Iterable[str]]


def propagated(annotations: Links, *, parents: Links) -> dict[str, frozenset[str]]:
    """Return the genes of each term and of all terms below it.

    Parameters
    ----------
    annotations
        Genes by the term that they were annotated with.
    parents
        Terms right above each term.
    """
    genes: dict[str, set[str]] = defaultdict(set)
    for term, annotated in annotations.items():
        waiting, reached = [term], {term}
        while waiting:
            above = set(parents.get(waiting.pop(), ())) - reached
            reached |= above
            waiting += above
        for each in reached:
            genes[each].update(annotated)
    return {term: frozenset(found) for term, found in genes.items()}


def term_rows(
    genes: Mapping[str, frozenset[str]], *, about: Mapping[str, tuple[str, str]], parents: Links
) -> list[Row]:
    """Return the sorted rows of the table in the order of ``COLUMNS``.

    Parameters
    ----------
    genes
        Genes of each term, propagated.
    about
        Name and aspect of each term.
    parents
        Terms right above each term.
    """
    repeated = {above for term in genes for above in parents.get(term, ()) if genes.get(above) == genes[term]}
    kept = [term for term, found in genes.items() if SIZES[0] <= len(found) <= SIZES[1] and term not in repeated]
    return sorted((term, *about[term], "|".join(sorted(genes[term]))) for term in kept)


def read_annotations(org: Path) -> dict[str, set[str]]:
    """Return current symbols of protein-coding genes by GO term, annotated by one of ``EVIDENCE``."""
    marks = ", ".join("?" * len(EVIDENCE))
    tables = " UNION ".join(f"SELECT _id, go_id, evidence FROM go_{aspect.lower()}" for aspect in _ASPECTS)
    asked = f"SELECT go_id, ensembl_id FROM ({tables}) JOIN ensembl USING (_id) WHERE evidence IN ({marks})"
    with closing(sqlite3.connect(org)) as opened:
        pairs = opened.execute(asked, EVIDENCE).fetchall()
    ids = sorted({gene for _, gene in pairs})
    symbols, coding = dict(zip(ids, to_symbol(ids), strict=True)), frozenset(protein_coding_symbols())
    found: dict[str, set[str]] = defaultdict(set)
    for term, gene in pairs:
        symbol = symbols[gene]
        if symbol in coding:
            found[term].add(symbol)
    return found


def read_terms(go: Path) -> tuple[dict[str, tuple[str, str]], dict[str, set[str]]]:
    """Return name and aspect of each term, and the terms right above each that its genes have too."""
    above: dict[str, set[str]] = defaultdict(set)
    marks = ", ".join("?" * len(_PASSED_ON))
    with closing(sqlite3.connect(go)) as opened:
        stated = opened.execute("SELECT go_id, term, ontology FROM go_term").fetchall()
        for aspect in _ASPECTS:
            asked = (
                f"SELECT below.go_id, above.go_id FROM go_{aspect.lower()}_parents AS link "
                "JOIN go_term AS below ON below._id = link._id JOIN go_term AS above ON above._id = link._parent_id "
                f"WHERE link.relationship_type IN ({marks})"
            )
            for term, parent in opened.execute(asked, _PASSED_ON):
                above[term].add(parent)
    return {term: (name, _ASPECTS[aspect]) for term, name, aspect in stated if aspect in _ASPECTS}, above


def write_terms(rows: Iterable[Row], *, out: Path) -> None:
    """Write ``rows`` as a gzipped, tab-separated table with a header."""
    text = io.StringIO()
    writer = csv.writer(text, delimiter="\t", lineterminator="\n", quoting=csv.QUOTE_NONE, quotechar=None)
    writer.writerow(COLUMNS)
    writer.writerows(rows)
    out.write_bytes(gzip.compress(text.getvalue().encode(), compresslevel=9, mtime=0))


def main(arguments: list[str]) -> None:
    """Read the two databases named on the command line and write the table."""
    org, go, *rest = map(Path, arguments)
    about, parents = read_terms(go)
    rows = term_rows(propagated(read_annotations(org), parents=parents), about=about, parents=parents)
    write_terms(rows, out=rest[0] if rest else Path(__file__).with_name("gene_sets") / "go.tsv.gz")


if __name__ == "__main__":
    main(sys.argv[1:])
