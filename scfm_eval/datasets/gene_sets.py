"""Sets of genes that belong together: GO terms, genes of a tissue, or a user's own .gmt file.

The packaged table ``gene_sets/go.tsv.gz`` is made by :mod:`scfm_eval.datasets.build_gene_sets`, which says from what
and how: Gene Ontology of 2022-07-01 (CC BY 4.0, https://geneontology.org, doi:10.1093/genetics/iyad031), annotations
by experiment of 2022-09-12. ``"proteinatlas"`` is downloaded: genes of which the Human Protein Atlas
(https://www.proteinatlas.org/about/licence, doi:10.1126/science.1260419) says that RNA is enriched or enhanced in a
tissue.
"""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from pathlib import Path
from zipfile import ZipFile

import numpy as np
from numpy.typing import NDArray

from scfm_eval.bounds import ordinary, read_bytes, require_small_members
from scfm_eval.datasets.download import RemoteFile, fetch
from scfm_eval.datasets.genes import namespace_of, resolve
from scfm_eval.errors import InvalidInputError

PROTEIN_ATLAS = "proteinatlas"
"""What stands for the tissues of the Human Protein Atlas where a source of gene sets is named."""

GO_RELEASE = "Gene Ontology 2022-07-01, experimental annotations 2022-09-12"
_ATLAS = RemoteFile(url="https://www.proteinatlas.org/download/proteinatlas.tsv.zip", name="proteinatlas.tsv.zip")
_SPECIFIC = ("Tissue enriched", "Group enriched", "Tissue enhanced")
_GROWS = 64  # bytes in memory of a byte of a table of names, at most
_CATEGORY, _TISSUES = "RNA tissue specificity", "RNA tissue specific n"


@dataclass(frozen=True)
class GeneSet:
    """One set of genes; ``kind`` is the aspect of a GO term, or what a file says of the set."""

    id: str
    name: str
    kind: str
    genes: frozenset[str]


@dataclass(frozen=True)
class GeneSets:
    """Sets of genes from one source.

    Parameters
    ----------
    release
        What they are, and of when.
    sets
        In the order of the source, ids unique.
    """

    release: str
    sets: tuple[GeneSet, ...]

    def members(self, genes: Sequence[str]) -> NDArray[np.bool_]:
        """Return which genes are in which set, ``(n_genes, n_sets)``.

        Genes are found by any of their names, symbols or Ensembl ids. Of several that are the same gene of the sets,
        the first is taken, and the others are in none.
        """
        known = frozenset().union(*(each.genes for each in self.sets))
        names = resolve(genes, source=namespace_of(genes), target=namespace_of(known), vocabulary=known).targets
        first: dict[str, int] = {}
        for place, name in enumerate(names):
            if name is not None:
                first.setdefault(name, place)
        member = np.zeros((len(genes), len(self.sets)), dtype=bool)
        for column, each in enumerate(self.sets):
            member[[first[name] for name in each.genes if name in first], column] = True
        return member


@lru_cache(maxsize=4)
def load_gene_sets(source: str = "", *, offline: bool = False) -> GeneSets:
    """Return the gene sets of a source.

    Parameters
    ----------
    source
        ``""`` the packaged GO terms, ``"proteinatlas"`` the tissues of the Human Protein Atlas, else a .gmt file.
    offline
        Never touch the network.

    Raises
    ------
    InvalidInputError
        The file is not there or malformed, or the download fails.
    """
    if not source:
        return _packaged()
    if source == PROTEIN_ATLAS:
        return read_protein_atlas(fetch(_ATLAS, offline=offline))
    return read_gmt(Path(source))


def read_gmt(path: Path) -> GeneSets:
    """Return the sets of a .gmt file: a name, a description and genes on each line, separated by tabs.

    Raises
    ------
    InvalidInputError
        The file is not there or is no text, a line has no gene, or a name occurs twice.
    """
    try:
        content = read_bytes(path, grows=_GROWS)
        lines = content.decode("utf-8").splitlines()
    except InvalidInputError:
        raise
    except (OSError, UnicodeDecodeError) as error:
        raise _refused(path, f"{type(error).__name__}: {error}") from error
    sets: dict[str, GeneSet] = {}
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        name, *rest = (part.strip() for part in line.split("\t"))
        genes = frozenset(filter(None, rest[1:]))
        if not name or not genes:
            raise _refused(path, f"line {number} without {'a gene' if name else 'a name'}: {line[:60]!r}")
        if name in sets:
            raise _refused(path, f"{name} twice, in line {number} again")
        sets[name] = GeneSet(id=name, name=name, kind=rest[0] if rest[0] != "na" else "", genes=genes)
    if not sets:
        raise _refused(path, "no set")
    return GeneSets(f"{path.name} {hashlib.sha256(content).hexdigest()}", tuple(sets.values()))


def read_protein_atlas(path: Path) -> GeneSets:
    """Return, for each tissue, the genes whose RNA the atlas calls enriched or enhanced there, alone or with others.

    Raises
    ------
    InvalidInputError
        The file is no zip of a table with the columns that say so.
    """
    try:
        with ZipFile(ordinary(path)) as packed, packed.open(packed.namelist()[0]) as opened:
            require_small_members(packed, path=path)
            rows = list(csv.DictReader(io.TextIOWrapper(opened, "utf-8", newline=""), delimiter="\t"))
    except InvalidInputError:
        raise
    except Exception as error:  # a damaged archive can raise nearly anything
        raise _refused(path, f"{type(error).__name__}: {error}") from error
    column = next((name for name in (rows[0] if rows else ()) if name and name.startswith(_TISSUES)), None)
    if column is None or not {"Gene", _CATEGORY} <= rows[0].keys():
        raise _refused(path, f"no columns Gene, {_CATEGORY} and {_TISSUES}…")
    genes: dict[str, set[str]] = defaultdict(set)
    for row in rows:
        if row[_CATEGORY] in _SPECIFIC:
            for part in filter(None, (row[column] or "").split(";")):
                genes[part.rpartition(":")[0].strip()].add(row["Gene"])
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    sets = [GeneSet(id=tissue, name=tissue, kind="tissue", genes=frozenset(found)) for tissue, found in genes.items()]
    return GeneSets(f"Human Protein Atlas {sha256}", tuple(sorted(sets, key=lambda each: each.id)))


def _packaged() -> GeneSets:
    packed = files("scfm_eval.datasets").joinpath("gene_sets", "go.tsv.gz").read_bytes()
    return GeneSets(GO_RELEASE, tuple(_terms(io.StringIO(gzip.decompress(packed).decode()))))


def _terms(lines: Iterable[str]) -> Iterable[GeneSet]:
    for row in csv.DictReader(lines, delimiter="\t", quoting=csv.QUOTE_NONE):
        genes = frozenset(row["symbols"].split("|"))
        yield GeneSet(id=row["id"], name=row["name"], kind=row["aspect"], genes=genes)


def _refused(path: Path, found: str) -> InvalidInputError:
    return InvalidInputError(
        asked=f"gene sets from {path}",
        found=found,
        remedy="give a .gmt file, with a name, a description and genes on each line, separated by tabs; or "
        f"{PROTEIN_ATLAS}",
    )
