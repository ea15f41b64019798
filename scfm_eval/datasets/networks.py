"""Ground-truth gene networks: which gene regulates which."""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from anndata import AnnData
from numpy.typing import NDArray

from scfm_eval.bounds import read_bytes
from scfm_eval.datasets.download import RemoteFile, fetch
from scfm_eval.datasets.genes import namespace_of, resolve
from scfm_eval.errors import InvalidInputError

COLLECTRI = "collectri"
"""What stands for the regulons of CollecTRI (doi:10.1093/nar/gkad841) where a network is named."""

_COLLECTRI = RemoteFile(url="https://rescued.omnipathdb.org/CollecTRI.csv", name="CollecTRI.csv")
_GROWS = 64  # bytes in memory of a byte of a table of names, at most
_REGULATORS, _TARGETS = ("regulator", "source", "tf", "gene1"), ("target", "gene2", "gene", "target_gene", "targets")
HEADERS = f"{' or '.join(_REGULATORS)}, then {' or '.join(_TARGETS)}"
"""What the first two columns may be called, in any case."""

Edge = tuple[str, str]


@dataclass(frozen=True)
class Network:
    """A directed network.

    Parameters
    ----------
    release
        What it is; empty for the one that a dataset states itself.
    edges
        Regulator and target of each edge, once each.
    is_named
        Whether a known first line names the columns, so that the first edge can be none.
    """

    release: str
    edges: tuple[Edge, ...]
    is_named: bool = True


@dataclass(frozen=True)
class Measured:
    """A network as far as a dataset measures its genes.

    Parameters
    ----------
    genes
        Genes of the network, named as in the dataset, regulators first.
    n_regulators
        How many of them regulate something.
    adjacency
        Whether the row's gene regulates the column's, ``(n_genes, n_genes)``, no gene itself.
    n_absent, n_loops
        Edges that were left out: one of their genes is not measured, or both are the same.
    """

    genes: tuple[str, ...]
    n_regulators: int
    adjacency: NDArray[np.bool_]
    n_absent: int
    n_loops: int


@lru_cache(maxsize=4)
def load_network(source: str, *, offline: bool = False) -> Network:
    """Return the network of a source: ``"collectri"``, which is downloaded, or a .csv or .tsv file.

    Parameters
    ----------
    source
        The first two columns of a file are regulator and target, called as :data:`HEADERS` says, or by nothing;
        further ones are not read.
    offline
        Never touch the network.

    Raises
    ------
    InvalidInputError
        The file is not there or malformed, or the download fails.
    """
    path = fetch(_COLLECTRI, offline=offline) if source == COLLECTRI else Path(source)
    try:
        content = read_bytes(path, grows=_GROWS)
        rows = [row for row in csv.reader(content.decode("utf-8").splitlines(), delimiter=_delimiter(content)) if row]
    except InvalidInputError:
        raise
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise _refused(path, f"{type(error).__name__}: {error}") from error
    is_named = bool(rows) and _names_columns(rows[0])
    rows = rows[1:] if is_named else rows
    bad = next((row for row in rows if len(row) < 2 or not row[0].strip() or not row[1].strip()), None)
    if bad is not None or not rows:
        raise _refused(path, "no edge" if bad is None else f"a line without two genes: {bad}")
    edges = tuple(dict.fromkeys((row[0].strip(), row[1].strip()) for row in rows))
    return Network(f"{path.name} {hashlib.sha256(content).hexdigest()}", edges, is_named)


def network_of(cells: AnnData) -> Network:
    """Return the network that the dataset itself states.

    Raises
    ------
    InvalidInputError
        It states none.
    """
    if "network" not in cells.uns:
        raise InvalidInputError(
            asked="the network behind these cells",
            found="the dataset states none",
            remedy=f"name one: --network FILE.csv, whose first two columns are called {HEADERS}",
        )
    return Network("", tuple((str(source), str(target)) for source, target in cells.uns["network"]))


def check_first_line(network: Network, genes: Sequence[str]) -> None:
    """Refuse a network whose first line names its columns by names that are not known, and was read as an edge.

    Parameters
    ----------
    network
        The network.
    genes
        Genes of the dataset.

    Raises
    ------
    InvalidInputError
        Both of its names are in no other line, are no genes of the dataset, and not both known as symbols.
    """
    if network.is_named or not network.edges:
        return
    first = network.edges[0]
    others = {gene for edge in network.edges[1:] for gene in edge}
    namespace = namespace_of(genes)
    here = resolve(genes, source=namespace, target=namespace_of(first), vocabulary=frozenset(first)).targets
    known = resolve(first, source=namespace_of(first), target="ensembl").targets
    if others.isdisjoint(first) and all(name is None for name in here) and any(name is None for name in known):
        raise InvalidInputError(
            asked=f"the network {network.release.partition(' ')[0]}",
            found=f"a first line {', '.join(first)}, of which neither is a gene of the dataset or in another line",
            remedy=f"if it names the columns, call them {HEADERS}; if it is an edge, put such a line above it",
        )


def measured(network: Network, genes: Sequence[str]) -> Measured:
    """Return the part of a network whose genes, under any of their names, are among ``genes``.

    As in BEELINE, a gene that only regulates itself is one of the genes, and no regulator.
    """
    named = sorted({gene for edge in network.edges for gene in edge})
    names = frozenset(named)
    targets = resolve(genes, source=namespace_of(genes), target=namespace_of(named), vocabulary=names).targets
    own: dict[str, str] = {}
    for gene, name in zip(genes, targets, strict=True):
        if name is not None:
            own.setdefault(name, gene)
    loops = [edge for edge in network.edges if edge[0] == edge[1]]
    kept = [(own[a], own[b]) for a, b in network.edges if a != b and a in own and b in own]
    regulators = sorted({source for source, _ in kept})
    others = {target for _, target in kept} | {own[gene] for gene, _ in loops if gene in own}
    every = (*regulators, *sorted(others - set(regulators)))
    number = {gene: place for place, gene in enumerate(every)}
    adjacency = np.zeros((len(every), len(every)), dtype=bool)
    for source, target in kept:
        adjacency[number[source], number[target]] = True
    n_absent = len(network.edges) - len(loops) - len(kept)
    return Measured(every, len(regulators), adjacency, n_absent=n_absent, n_loops=len(loops))


def _names_columns(row: Sequence[str]) -> bool:
    names = [name.strip().lower() for name in row[:2]]
    return len(names) == 2 and names[0] in _REGULATORS and names[1] in _TARGETS


def _delimiter(content: bytes) -> str:
    first = content.split(b"\n", 1)[0]
    return "\t" if first.count(b"\t") > first.count(b",") else ","


def _refused(path: Path, found: str) -> InvalidInputError:
    return InvalidInputError(
        asked=f"a network from {path}",
        found=found,
        remedy="give a .csv or .tsv file with regulator and target in its first two columns, called "
        f"{HEADERS}, or without a line of names",
    )
