"""Human gene names: symbols, previous symbols, aliases and Ensembl ids, and how one namespace is read in another.

The packaged table ``genes.tsv.gz`` is made by :mod:`scfm_eval.datasets.build_genes` from the HGNC complete set (CC0,
https://www.genenames.org) and, for the Ensembl ids that HGNC lacks, the GENCODE gene list of the CELLxGENE schema
(MIT).

A symbol is trusted in this order: a current symbol, then a previous one, then an alias. A previous symbol or alias that
several genes carry is ambiguous: it is named and not mapped. Case matters, except that a name in capitals only
(``C1ORF43``, from software that upper-cases) is also tried without regard to case. ``Gapdh`` stays unmapped: that is a
mouse gene, and reading it as human ``GAPDH`` would hide a mistake.
"""

from __future__ import annotations

import csv
import gzip
import io
import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from importlib.resources import files

import numpy as np
from numpy.typing import NDArray

from scfm_eval.models.protocols import GeneIds

_ENSEMBL = re.compile(r"ENS[A-Z]*G\d+")
_VERSION = re.compile(r"\.\d+(_PAR_Y)?$")
_LEVELS = ("symbol", "previous", "alias")
HALF = 0.5
"""Share of ids in the form of Ensembl ids from which a list of genes counts as Ensembl ids."""


@dataclass(frozen=True)
class Gene:
    """One gene; ``ensembl_ids`` has HGNC's own first and is empty where the gene has none."""

    symbol: str
    ensembl_ids: tuple[str, ...]
    previous: tuple[str, ...]
    alias: tuple[str, ...]
    protein_coding: bool


@dataclass(frozen=True)
class Resolution:
    """What became of a list of gene ids.

    Parameters
    ----------
    targets
        Id in the target namespace for each input id, ``(n,)``; ``None`` where there is none.
    ambiguous
        Input ids that stand for several genes.
    unmapped
        Input ids that no name of a known gene (or of the vocabulary) answers to.
    """

    targets: NDArray[np.object_]
    ambiguous: list[str]
    unmapped: list[str]


@dataclass(frozen=True)
class _Table:
    """Genes by name: one index per level of trust, the same without regard to case, and one by Ensembl id."""

    levels: tuple[dict[str, list[Gene]], ...]
    folded: tuple[dict[str, list[Gene]], ...]
    by_ensembl: dict[str, list[Gene]] = field(repr=False)

    def named(self, name: str) -> list[Gene]:
        """Return the genes that ``name`` stands for at the first level of trust that knows it."""
        for level in self.levels:
            if name in level:
                return level[name]
        if name == name.upper():
            for level in self.folded:
                if name in level:
                    return level[name]
        return []

    def look_up(self, name: str, *, namespace: GeneIds) -> list[Gene]:
        """Return the genes that ``name`` of ``namespace`` stands for."""
        return self.by_ensembl.get(name, []) if namespace == "ensembl" else self.named(name)


@lru_cache(maxsize=1)
def _table() -> _Table:
    levels: tuple[dict[str, list[Gene]], ...] = tuple(defaultdict(list) for _ in _LEVELS)
    folded: tuple[dict[str, list[Gene]], ...] = tuple(defaultdict(list) for _ in _LEVELS)
    by_ensembl: dict[str, list[Gene]] = defaultdict(list)
    for gene in _packaged_genes():
        for names, exact, upper in zip(((gene.symbol,), gene.previous, gene.alias), levels, folded, strict=True):
            for name in dict.fromkeys(names):
                exact[name].append(gene)
            for name in dict.fromkeys(name.upper() for name in names):
                upper[name].append(gene)
        for ensembl_id in gene.ensembl_ids:
            by_ensembl[ensembl_id].append(gene)
    return _Table(levels=levels, folded=folded, by_ensembl=by_ensembl)


def _packaged_genes() -> Iterator[Gene]:
    text = gzip.decompress(files("scfm_eval.datasets").joinpath("genes.tsv.gz").read_bytes()).decode()
    for row in csv.DictReader(io.StringIO(text), delimiter="\t", quoting=csv.QUOTE_NONE):
        lists = {key: tuple(filter(None, row[key].split("|"))) for key in ("ensembl_ids", "previous", "alias")}
        yield Gene(symbol=row["symbol"], protein_coding=row["protein_coding"] == "1", **lists)


def protein_coding_symbols() -> list[str]:
    """Return the current symbols of the protein-coding genes that have an Ensembl id, sorted."""
    return [gene.symbol for gene in _packaged_genes() if gene.protein_coding and gene.ensembl_ids]


def looks_ensembl(ids: Iterable[str]) -> float:
    """Return the share of ``ids`` that have the form of an Ensembl gene id, 0 to 1; 0 for no ids."""
    found = [_ENSEMBL.match(gene) is not None for gene in ids]
    return float(np.mean(found)) if found else 0.0


def namespace_of(ids: Iterable[str]) -> GeneIds:
    """Return the namespace whose form most of ``ids`` have."""
    return "ensembl" if looks_ensembl(ids) >= HALF else "symbol"


def without_version(ensembl_id: str) -> str:
    """Return an Ensembl id without its version (``ENSG00000141510.16``); other names as they are."""
    return _VERSION.sub("", ensembl_id) if _ENSEMBL.match(ensembl_id) else ensembl_id


def to_ensembl(symbols: Sequence[str]) -> list[str | None]:
    """Return the Ensembl id of each symbol, current, previous or alias; ``None`` where there is none or several."""
    return list(resolve(symbols, source="symbol", target="ensembl").targets)


def to_symbol(ensembl_ids: Sequence[str]) -> list[str | None]:
    """Return the current symbol of each Ensembl id, with or without version; ``None`` where there is none."""
    return list(resolve(ensembl_ids, source="ensembl", target="symbol").targets)


def resolve(
    ids: Sequence[str], *, source: GeneIds, target: GeneIds, vocabulary: Collection[str] | None = None
) -> Resolution:
    """Map gene ids to a namespace, or to the very ids that a model can read.

    Parameters
    ----------
    ids
        Gene ids, Ensembl ids with or without version.
    source, target
        Namespace of ``ids`` and of the result.
    vocabulary
        Ids in the target namespace that may be answered with. An id that is in it is kept as it is; otherwise the
        other names of the same gene are tried, the current one first. A name that belongs to another gene first is
        never taken. ``None`` answers with current symbols or HGNC's Ensembl ids, and where ``source`` is ``target``
        with the ids themselves.

    Returns
    -------
    The targets, and the ids that have none, by reason.
    """
    readable = None if vocabulary is None else frozenset(vocabulary)
    targets = np.empty(len(ids), dtype=object)
    ambiguous, unmapped = [], []
    for i, given in enumerate(ids):
        name = without_version(given)
        if source == target and (readable is None or name in readable):
            targets[i] = name
            continue
        genes = _table().look_up(name, namespace=source)
        if len(genes) > 1:
            ambiguous.append(given)
            continue
        targets[i] = next((answer for gene in genes for answer in _answers(gene, target, readable)), None)
        if targets[i] is None:
            unmapped.append(given)
    return Resolution(targets=targets, ambiguous=ambiguous, unmapped=unmapped)


def _answers(gene: Gene, target: GeneIds, readable: frozenset[str] | None) -> Iterator[str]:
    """Yield the ids of ``gene`` in ``target`` that may be answered with, the most trusted first."""
    if target == "ensembl":
        names: Iterable[str] = gene.ensembl_ids
    else:
        older = (name for name in (*gene.previous, *gene.alias) if _table().named(name) == [gene])
        names = (gene.symbol, *older)
    return (name for name in names if readable is None or name in readable)
