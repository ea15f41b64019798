"""How Geneformer reads a cell: its genes ranked by their expression over the gene's usual expression."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from scfm_eval import guards
from scfm_eval.errors import InvalidInputError
from scfm_eval.models import checkpoint, pretrained
from scfm_eval.models.batching import refuse_unread
from scfm_eval.models.protocols import Effect

Pooling = Literal["mean", "cls"]

DICTIONARIES = ("token_dictionary", "gene_median_dictionary", "ensembl_mapping_dict")
"""First parts of the names of the files that a release says about genes."""
NOT_A_GENE = -1
"""Token of a gene that the release does not know."""
RELEASES = {25_426: "Geneformer V1 (gc30M)", 20_275: "Geneformer V2 (gc104M)"}
"""Name of the release whose token dictionary has so many tokens."""
_PUBLISHED = {
    25_426: (RELEASES[25_426], "13e0da5745798842d8701ec7edf5c91f32cab5b231d54576e95a0421d3fb71b2"),
    20_275: (RELEASES[20_275], "390bd6f0e0aa91cd0b34bf730dd322b7bb4182cb9321332a3d5a0f26ab8e579a"),
}
_SPECIAL = re.compile("<.*>")
_MOST_WITHOUT = 0.01  # of the genes; in both releases every gene has its median
_VERSIONED = re.compile(r"(ENS[A-Z]*[0-9]+)\.[0-9]+")


@dataclass(frozen=True)
class GeneDictionaries:
    """What a release says about genes.

    Parameters
    ----------
    token
        Ensembl id, or ``<pad>``, ``<mask>`` and in V2 ``<cls>``, ``<eos>``, to token id.
    median
        Ensembl id to its median nonzero expression, counts per 10,000, in the pretraining corpus.
    mapping
        Any known Ensembl id, upper case, to the one that the other two dictionaries use.
    files
        Where they were read.
    """

    token: dict[str, int]
    median: dict[str, float]
    mapping: dict[str, str]
    files: tuple[Path, ...]

    @classmethod
    def read(cls, folders: Sequence[Path]) -> GeneDictionaries:
        """Read the three dictionaries, each from the first folder that has it.

        Raises
        ------
        InvalidInputError
            One is missing, or holds what is no token id, no median above 0, or no name.
        GuardError
            The tokens are not the published ones, or the medians are of another release.
        """
        files = tuple(_first(kind, folders) for kind in DICTIONARIES)
        tokens, medians, mapping = files
        made = cls(
            token=_enclosed(checkpoint.read_tokens(tokens), path=tokens),
            median=_checked(medians, what="a number above 0", sound=_is_median),
            mapping=_checked(mapping, what="a name", sound=lambda value: isinstance(value, str)),
            files=files,
        )
        pretrained.require_published(made.token, published=_PUBLISHED, path=tokens)
        made._require_one_release()
        return made

    @property
    def special(self) -> tuple[int, ...]:
        """Tokens that enclose the genes: ``<cls>`` and ``<eos>`` in V2, none in V1."""
        return (self.token["<cls>"], self.token["<eos>"]) if "<cls>" in self.token else ()

    def _require_one_release(self) -> None:
        genes = [name for name in self.token if not _SPECIAL.fullmatch(name)]
        unknown = [gene for gene in genes if gene not in self.median]
        if len(unknown) > _MOST_WITHOUT * len(genes):
            guards.refuse(
                "pretrained",
                asked=f"medians of the {len(genes)} genes of {self.files[0].name}",
                found=f"none for {len(unknown)} of them in {self.files[1].name}, e.g. {unknown[0]}: of another release",
                remedy="use all three gc30M dictionaries with V1, all three gc104M dictionaries with V2",
            )

    def columns(self, genes: Sequence[str]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Return token and median of each gene; token −1 where the release does not know it."""
        mapped = [self.mapping.get(_VERSIONED.sub(r"\1", gene.upper()), "") for gene in genes]
        known = [gene if gene in self.median else "" for gene in mapped]
        token = np.array([self.token.get(gene, NOT_A_GENE) for gene in known], dtype=np.int64)
        return token, np.array([self.median.get(gene, 1.0) for gene in known], dtype=np.float64)


def _enclosed(token: dict[str, int], *, path: Path) -> dict[str, int]:
    """Return the tokens, in which ``<cls>`` and ``<eos>`` are either both or both not."""
    if ("<cls>" in token) == ("<eos>" in token):
        return token
    raise InvalidInputError(
        asked=f"tokens of Geneformer V1 or V2 in {path}",
        found="one of <cls> and <eos> without the other",
        remedy="use the dictionary of the release",
    )


def _checked(path: Path, *, what: str, sound: Callable[[Any], bool]) -> dict[str, Any]:
    said = checkpoint.read_dictionary(path)
    strange = [f"{name!r}: {value!r}" for name, value in said.items() if not sound(value)]
    if strange:
        raise InvalidInputError(
            asked=f"{what} for each gene in {path}",
            found=f"{len(strange)} of {len(said)} that are none: {checkpoint.few(strange)}",
            remedy="use the dictionary of the release",
        )
    return said


def _is_median(value: Any) -> bool:
    number = isinstance(value, float | int | np.floating | np.integer) and not isinstance(value, bool)
    return bool(number and 0 < value < np.inf)


def _first(kind: str, folders: Sequence[Path]) -> Path:
    for folder in folders:
        found = sorted(file for end in ("pkl", "json") for file in folder.glob(f"{kind}*.{end}"))
        if len(found) > 1:
            raise InvalidInputError(
                asked=f"one {kind} in {folder}",
                found=", ".join(file.name for file in found),
                remedy="keep the one that belongs to the checkpoint",
            )
        if found:
            return found[0]
    raise InvalidInputError(
        asked=f"{kind}*.pkl or .json",
        found=f"none in {', '.join(map(str, folders))}",
        remedy="put the dictionaries of the release beside the checkpoint",
    )


def rank_genes(
    counts: sparse.csr_matrix, *, token: NDArray[np.int64], median: NDArray[np.float64]
) -> list[NDArray[np.int64]]:
    """Return the tokens of each cell's genes by descending count over median, ties by token.

    The published value is ``count / total of the cell * 10,000 / median``. Total and 10,000 are common to all genes
    of a cell, so they do not change the ranking and are left out: the total over *all* columns is not even needed.

    Parameters
    ----------
    counts
        Raw counts ``(n_cells, n_columns)``.
    token
        Token of each column, −1 for a column that is not read; counts of columns with one token are summed.
    median
        Usual expression of each column's gene.
    """
    read = np.flatnonzero(token != NOT_A_GENE)
    genes, first, place = np.unique(token[read], return_index=True, return_inverse=True)
    joined = sparse.csr_matrix((np.ones(len(read)), (read, place)), shape=(len(token), len(genes)))
    summed = sparse.csr_matrix(counts @ joined)
    summed.eliminate_zeros()
    summed.sort_indices()
    value = summed.data / median[read][first][summed.indices]
    cells = zip(summed.indptr[:-1], summed.indptr[1:], strict=True)
    return [genes[summed.indices[a:b][np.argsort(-value[a:b], kind="stable")]] for a, b in cells]


def sentences(
    ranked: Sequence[NDArray[np.int64]], *, length: int, special: tuple[int, ...], names: Sequence[str]
) -> list[NDArray[np.int64]]:
    """Return ranked genes cut to ``length`` tokens, between ``special`` tokens where there are such.

    Raises
    ------
    InvalidInputError
        A cell has no gene that the model can read: a mean over no gene is not defined.
    """
    refuse_unread(np.array([len(genes) for genes in ranked]), names=names)
    before, after = list(special[:1]), list(special[1:])
    return [np.concatenate([before, genes[: length - len(special)], after]).astype(np.int64) for genes in ranked]


def perturbed(
    ranked: Sequence[NDArray[np.int64]], *, token: NDArray[np.int64], effect: Effect
) -> list[NDArray[np.int64]]:
    """Return ranked genes without those that were knocked down, or with those that were activated in front.

    Parameters
    ----------
    ranked
        From :func:`rank_genes`.
    token
        Of the genes to perturb, no token twice; activated ones come in this order, whether expressed or not.
    effect
        What is done to them.
    """
    front = token if effect == "activation" else token[:0]
    return [np.concatenate([front, genes[~np.isin(genes, token)]]) for genes in ranked]
