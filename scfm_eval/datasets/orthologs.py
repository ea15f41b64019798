"""Orthologs of human and mouse: which genes of one organism are read as which genes of the other, and which are not.

The packaged table ``orthologs.tsv.gz`` is made by :mod:`scfm_eval.datasets.build_orthologs` from Ensembl BioMart; its
17,122 pairs are one-to-one. A table of the user may hold others: a gene in several pairs is ambiguous and is not read.
"""

from __future__ import annotations

import csv
import hashlib
import io
import zlib
from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from scfm_eval.bounds import inflated, read_bytes, require_room
from scfm_eval.datasets.build_orthologs import COLUMNS
from scfm_eval.datasets.genes import without_version
from scfm_eval.errors import InvalidInputError
from scfm_eval.models.protocols import GeneIds

HUMAN, MOUSE = "Homo sapiens", "Mus musculus"
PACKAGED = "packaged"
"""What stands for the packaged table in place of a path."""

_COMMON = {"human": HUMAN, HUMAN.lower(): HUMAN, "mouse": MOUSE, MOUSE.lower(): MOUSE}
_GROWS = 64  # bytes in memory of a byte of a table of names, at most
_ENOUGH = 0.1
"""Share of the genes that have to be of an organism for the cells to count as its."""

Fate = Literal["mapped", "kept", "dropped", "ambiguous"]
FATES: tuple[Fate, ...] = ("mapped", "kept", "dropped", "ambiguous")
"""What becomes of a gene: read as its ortholog, read under its own id, without an ortholog, not one-to-one."""


@dataclass(frozen=True, eq=False)
class Orthologs:
    """A table of orthologs.

    Parameters
    ----------
    name, sha256
        ``"packaged"`` or the file's name, and the hash of its bytes.
    pairs
        Ensembl id and symbol of the human gene, then of the mouse gene; empty where it is not known.
    """

    name: str
    sha256: str
    pairs: Sequence[tuple[str, ...]]

    def counterparts(self, organism: str) -> Mapping[str, list[tuple[str, str]]]:
        """Return Ensembl id and symbol of the orthologs of each Ensembl id and symbol of an organism.

        A gene of one pair has one answer; a gene that is not one-to-one, in either direction, and a symbol of several
        genes have two or more.
        """
        return _counterparts(self, organism)


@lru_cache(maxsize=8)
def _counterparts(table: Orthologs, organism: str) -> Mapping[str, list[tuple[str, str]]]:
    a, b = (0, 2) if organism == HUMAN else (2, 0)
    often = Counter(pair[b] or pair[b + 1] for pair in table.pairs)
    found: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for pair in table.pairs:
        other = (pair[b], pair[b + 1])
        for name in {pair[a], pair[a + 1]} - {""}:
            # an ortholog that several genes share is no answer for any of them
            found[name] += [other] * min(2, often[pair[b] or pair[b + 1]])
    return found


@dataclass(frozen=True, eq=False)
class ReadAs:
    """Genes of cells under the names that they have in another organism.

    Parameters
    ----------
    names
        Index in the namespace of the cells, and columns ``symbol`` and ``ensembl_id``; ``""`` for a gene without a
        name there, one row per gene.
    fate
        What became of each gene ``(n_genes,)``, see ``FATES``.
    """

    names: pd.DataFrame
    fate: NDArray[np.str_]


def read_as(
    genes: pd.DataFrame, *, of: str, gene_ids: GeneIds, table: Orthologs, kept: Collection[str] = frozenset()
) -> ReadAs:
    """Return genes of one organism under the names of their one-to-one orthologs in the other.

    Parameters
    ----------
    genes
        Index and, where there are any, columns ``ensembl_id`` and ``symbol`` are tried, Ensembl ids first.
    of
        Their organism, human or mouse.
    gene_ids
        Namespace of the index, and of the index that is made.
    table
        Orthologs.
    kept
        Ids that are read as they are.
    """
    known = table.counterparts(of)
    told = [_told(names, known=known, kept=kept) for names in zip(*_named(genes, gene_ids=gene_ids), strict=True)]
    made = pd.DataFrame([names for _, names in told], columns=["ensembl_id", "symbol"], dtype=object)
    first, second = ("ensembl_id", "symbol") if gene_ids == "ensembl" else ("symbol", "ensembl_id")
    made.index = pd.Index(made[first].where(made[first] != "", made[second]), dtype=object)
    return ReadAs(made, np.array([fate for fate, _ in told], dtype=np.str_))


def _named(genes: pd.DataFrame, *, gene_ids: GeneIds) -> tuple[list[str], list[str]]:
    """Return Ensembl id and symbol of each gene, ``""`` where it is not known."""
    index: dict[GeneIds, list[str]] = {gene_ids: [str(gene) for gene in genes.index]}
    nothing = [""] * len(genes)
    ensembl = index.get("ensembl", [str(gene) for gene in genes.get("ensembl_id", nothing)])
    symbol = index.get("symbol", [str(gene) for gene in genes.get("symbol", nothing)])
    return [without_version(gene) for gene in ensembl], symbol


def _told(
    names: tuple[str, ...], *, known: Mapping[str, list[tuple[str, str]]], kept: Collection[str]
) -> tuple[Fate, tuple[str, ...]]:
    if any(name in kept for name in names):
        return "kept", names
    answers = next((known[name] for name in names if name in known), [])
    if len(answers) == 1:
        return "mapped", answers[0]
    return "ambiguous" if answers else "dropped", ("", "")


def found_organism(genes: pd.DataFrame) -> str:
    """Return the organism that gene ids are of, human or mouse, by their form and their symbols; ``""`` if unclear.

    Case matters in symbols: ``Gapdh`` is a mouse gene. The index and all columns are looked at.
    """
    human, mouse = _own_symbols()
    names = [without_version(str(name)) for column in (genes.index, *(genes[c] for c in genes)) for name in column]
    n = {
        HUMAN: sum(name.startswith("ENSG0") or name in human for name in names),
        MOUSE: sum(name.startswith("ENSMUSG") or name in mouse for name in names),
    }
    likely = max(n, key=lambda organism: n[organism])
    return likely if n[likely] >= max(1, _ENOUGH * len(names)) and n[HUMAN] != n[MOUSE] else ""


@lru_cache(maxsize=1)
def _own_symbols() -> tuple[frozenset[str], frozenset[str]]:
    """Return the human symbols that no mouse gene has, and the other way round."""
    pairs = read_orthologs(PACKAGED).pairs
    human, mouse = frozenset(pair[1] for pair in pairs), frozenset(pair[3] for pair in pairs)
    return human - mouse, mouse - human


def latin_name(organism: str) -> str:
    """Return ``Homo sapiens`` and ``Mus musculus`` for their common names too; other names as they are."""
    return _COMMON.get(organism.strip().lower(), organism.strip())


def read_orthologs(spec: str) -> Orthologs:
    """Return a table of orthologs.

    Parameters
    ----------
    spec
        ``"packaged"``, or the path of a tab-separated table, gzipped or not, with the columns ``human_ensembl``,
        ``human_symbol``, ``mouse_ensembl`` and ``mouse_symbol``; what is not known is empty.

    Raises
    ------
    InvalidInputError
        The file is not there, is no such table, or has no pair.
    """
    if spec == PACKAGED:
        return _packaged()
    path = Path(spec).expanduser()
    columns = ", ".join(COLUMNS)
    remedy = f"give {PACKAGED!r}, or the path of a tab-separated table with the columns {columns}"
    if not path.is_file():
        raise InvalidInputError(asked=f"the ortholog table {spec}", found="no such file", remedy=remedy)
    try:
        made = _table(read_bytes(path, grows=_GROWS), name=path.name)
    except InvalidInputError:
        raise
    except (KeyError, AttributeError, UnicodeDecodeError, OSError, EOFError, zlib.error, csv.Error) as error:
        raise InvalidInputError(
            asked=f"the columns {columns} in the ortholog table {spec}",
            found=str(error.args[0]) if isinstance(error, KeyError) else f"{type(error).__name__}: {error}",
            remedy=remedy,
        ) from error
    if not made.pairs:
        raise InvalidInputError(asked=f"the ortholog table {spec}", found="no pair of genes in it", remedy=remedy)
    return made


@lru_cache(maxsize=1)
def _packaged() -> Orthologs:
    return _table(files("scfm_eval.datasets").joinpath("orthologs.tsv.gz").read_bytes(), name=PACKAGED)


def _table(content: bytes, *, name: str) -> Orthologs:
    text = inflated(content, path=Path(name)) if content[:2] == b"\x1f\x8b" else content
    require_room(len(text) * _GROWS, path=Path(name))
    rows = csv.DictReader(io.StringIO(text.decode()), delimiter="\t", quoting=csv.QUOTE_NONE)
    if rows.fieldnames and not {*COLUMNS} <= {*rows.fieldnames}:
        raise KeyError(f"its first line names {', '.join(map(repr, rows.fieldnames))}")
    pairs = dict.fromkeys(tuple(row[column].strip() for column in COLUMNS) for row in rows)
    whole = [pair for pair in pairs if any(pair[:2]) and any(pair[2:])]
    return Orthologs(name, hashlib.sha256(content).hexdigest(), whole)
