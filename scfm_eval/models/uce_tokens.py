"""How UCE reads a cell: genes drawn by their expression, in one block for each chromosome.

A token is a row of the table of protein embeddings that the checkpoint holds: padding, two brackets and ``<cls>``, the
genes of each species, and the chromosomes of all species.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
from anndata import AnnData
from numpy.typing import NDArray
from scipy import sparse

from scfm_eval.bounds import ordinary
from scfm_eval.errors import InvalidInputError
from scfm_eval.models import checkpoint
from scfm_eval.models.counts import aligned_counts, csr_counts, gene_places
from scfm_eval.models.files import refusing

Sampling = Literal["cell", "upstream"]
Padding = Literal["masked", "attended"]

PADDING, RIGHT, CLS = 0, 2, 3
"""Tokens of padding, of the end of a chromosome's block, and of ``<cls>``."""
SPECIES: Mapping[str, str] = {
    "human": "Homo_sapiens.GRCh38",
    "mouse": "Mus_musculus.GRCm39",
    "frog": "Xenopus_tropicalis.Xenopus_tropicalis_v9.1",
    "zebrafish": "Danio_rerio.GRCz11",
    "mouse_lemur": "Microcebus_murinus.Mmur_3.0",
    "pig": "Sus_scrofa.Sscrofa11.1",
    "macaca_fascicularis": "Macaca_fascicularis.Macaca_fascicularis_6.0",
    "macaca_mulatta": "Macaca_mulatta.Mmul_10",
}
"""Species that the release knows, with how the file of their proteins begins."""
PROTEINS: Mapping[str, str] = {
    species: f"protein_embeddings/{name}.gene_symbol_to_embedding_ESM2.pt" for species, name in SPECIES.items()
}
"""Where the embeddings of their proteins lie in the folder of weights."""
_FEWEST_CELLS, _FEWEST_GENES = 10, 25
_REMEDY = "use the files that were published with the checkpoint"


@dataclass(frozen=True)
class Sizes:
    """Sizes of network and sentences under upstream's names; the defaults are the release's.

    Parameters
    ----------
    nlayers, nhead, emsize, d_hid
        Of the transformer.
    token_dim, output_dim
        Width of a protein embedding and of a cell's embedding.
    pad_length, sample_size
        Most tokens of a sentence, and genes that are drawn for it.
    chrom_token_offset
        Token of the first chromosome.
    """

    nlayers: int = 33
    nhead: int = 20
    emsize: int = 1280
    d_hid: int = 5120
    token_dim: int = 5120
    output_dim: int = 1280
    pad_length: int = 1536
    sample_size: int = 1024
    chrom_token_offset: int = 143574

    @classmethod
    def read(cls, folder: Path, *, n_layers: int) -> Sizes:
        """Return what ``settings.json`` in the folder states, or the release's sizes where there is no such file.

        Raises
        ------
        InvalidInputError
            A size is no whole number of 1 or more.
        """
        path, said = folder / "settings.json", _settings(folder)
        if not said:
            return cls(nlayers=n_layers)
        names = [field.name for field in fields(cls)]
        checkpoint.require_sizes(said, names, path=path)
        return cls(**{name: int(said[name]) for name in names})


def checkpoint_file(folder: Path, *, published: str) -> Path:
    """Return the checkpoint that ``settings.json`` names as ``model_loc``, or the published one where it names none.

    Raises
    ------
    InvalidInputError
        The folder does not hold it.
    """
    named = Path(str(_settings(folder).get("model_loc", published))).name
    return checkpoint.choose_files(folder, [(named,)])[0]


def _settings(folder: Path) -> dict[str, Any]:
    path = folder / "settings.json"
    said = checkpoint.read_dictionary(path) if path.exists() else {}
    return {name.lower(): value for name, value in said.items()}


@dataclass(frozen=True, eq=False)
class Genes:
    """Genes of one species that have both a protein embedding and a place in the genome.

    Parameters
    ----------
    species
        Its name.
    symbols
        As the file of proteins writes them ``(n_genes,)``.
    names
        The same in upper case, each once: case is ignored in the cells too.
    token, chromosome
        Of each gene and of its chromosome ``(n_genes,)``.
    start
        Where the gene starts on its chromosome, in base pairs ``(n_genes,)``.
    n_chromosomes
        Chromosomes of all species.
    """

    species: str
    symbols: NDArray[np.str_]
    names: NDArray[np.str_]
    token: NDArray[np.int64]
    chromosome: NDArray[np.int64]
    start: NDArray[np.int64]
    n_chromosomes: int

    @classmethod
    def read(cls, folder: Path, *, species: str, sizes: Sizes) -> Genes:
        """Return the genes of a species, from the files that upstream ships.

        A gene without a chromosome, or listed at several places, cannot be put into a sentence and is left out.

        Raises
        ------
        InvalidInputError
            The species is not known, a file is missing or damaged, or the files do not fit each other.
        """
        proteins, offsets, places = gene_files(folder, species=species)
        symbols = {name.upper(): name for name in checkpoint.read_tensors(proteins)}
        first = _first_token(offsets, species=species, n_genes=len(symbols), sizes=sizes)
        listed, n_chromosomes = _listed(places, species=species)
        row = dict(zip(symbols, range(len(symbols)), strict=True))
        listed = listed[listed["gene_symbol"].isin(row)]
        names = listed["gene_symbol"].to_numpy(dtype=np.str_)
        return cls(
            species=species,
            symbols=np.array([symbols[name] for name in names], dtype=np.str_),
            names=names,
            token=first + np.array([row[name] for name in names], dtype=np.int64),
            chromosome=sizes.chrom_token_offset + listed["code"].to_numpy(dtype=np.int64),
            start=listed["start"].to_numpy(dtype=np.int64),
            n_chromosomes=n_chromosomes,
        )

    def places(self, symbols: Collection[str]) -> NDArray[np.int64]:
        """Return the row of each symbol, whatever its case ``(n_symbols,)``; −1 for one that is not there."""
        return gene_places([symbol.upper() for symbol in symbols], order=self.names.tolist())


def gene_files(folder: Path, *, species: str) -> tuple[Path, Path, Path]:
    """Return the files of proteins, of first tokens and of chromosomes; raises ``InvalidInputError`` without them."""
    if species not in SPECIES:
        raise InvalidInputError(
            asked=f"UCE for the species {species!r}",
            found="no protein embeddings of it in the release",
            remedy=f"give one of {', '.join(SPECIES)}",
        )
    found = checkpoint.choose_files(folder, [(PROTEINS[species], "species_offsets.pkl", "species_chrom.csv")])
    return found[0], found[1], found[2]


def _first_token(path: Path, *, species: str, n_genes: int, sizes: Sizes) -> int:
    offsets = checkpoint.read_dictionary(path)
    checkpoint.require_sizes(offsets, [species, *offsets], path=path)
    first = int(offsets[species])
    end = min([offset for offset in offsets.values() if offset > first], default=sizes.chrom_token_offset)
    if end - first != n_genes:
        raise InvalidInputError(
            asked=f"tokens of {species} for {n_genes} protein embeddings",
            found=f"{end - first} of them in {path}",
            remedy=_REMEDY,
        )
    return first


def _listed(path: Path, *, species: str) -> tuple[pd.DataFrame, int]:
    """Return gene, chromosome code and start of the genes with one place, and how many chromosomes there are."""
    text = ["species", "gene_symbol", "chromosome"]
    with refusing(asked=f"columns {', '.join(text)} and start in {path}", remedy=_REMEDY):
        table = pd.read_csv(ordinary(path), usecols=[*text, "start"], dtype=dict.fromkeys(text, "str"))
        table["start"] = pd.to_numeric(table["start"]).astype("Int64")
    chromosomes = pd.Categorical(table["species"] + "_" + table["chromosome"])
    table = table.assign(code=chromosomes.codes, gene_symbol=table["gene_symbol"].str.upper())
    known = table["start"].notna() & (table["code"] >= 0) & table["gene_symbol"].notna()
    own = table[known & (table["species"] == species)].drop_duplicates(["gene_symbol", "code", "start"])
    return own[~own["gene_symbol"].duplicated(keep=False)], len(chromosomes.categories)


def upstream_filter(cells: AnnData) -> AnnData:
    """Return the cells that upstream's filter leaves: genes seen in 10 cells, then cells with 25 of these genes.

    Parameters
    ----------
    cells
        With all their genes, also those that UCE cannot read; not changed.
    """
    seen = csr_counts(cells) > 0
    genes = np.asarray(seen.sum(axis=0)).ravel() >= _FEWEST_CELLS
    kept = np.asarray(seen[:, genes].sum(axis=1)).ravel() >= _FEWEST_GENES
    return cells[kept, genes].to_memory(copy=True)


def read_counts(cells: AnnData, genes: Genes, *, sampling: Sampling) -> tuple[sparse.csr_matrix, NDArray[np.int64]]:
    """Return whole counts ``(n_cells, n_read)`` of the genes that can be read, and the place of each in ``genes``.

    They stand in the order of ``cells`` for ``sampling="upstream"``, else in that of their names, so that the order in
    a file does not matter. Zeros are not stored. Raises ``InvalidInputError`` where a gene has several columns.
    """
    names = [str(name).upper() for name in cells.var_names]
    known = set(genes.names.tolist())
    order = [name for name in dict.fromkeys(names) if name in known]
    order = order if sampling == "upstream" else sorted(order)
    counts = aligned_counts(cells, genes=names, order=order)
    counts.data = np.trunc(counts.data)
    counts.eliminate_zeros()
    return counts, genes.places(order)


def sentences(
    counts: sparse.csr_matrix, *, places: NDArray[np.int64], genes: Genes, sizes: Sizes, sampling: Sampling, seed: int
) -> list[NDArray[np.int64]]:
    """Return the tokens of each cell: ``<cls>``, then of each chromosome its token, its drawn genes and a bracket.

    Parameters
    ----------
    counts, places
        From :func:`read_counts`; each cell has one count at least.
    genes, sizes
        Of the species and the checkpoint.
    sampling, seed
        See :class:`~scfm_eval.models.uce.UCE`.

    Raises
    ------
    InvalidInputError
        A sentence is longer than the model reads.
    """
    shared = np.random.RandomState(seed) if sampling == "upstream" else None
    made = []
    for a, b in zip(counts.indptr[:-1], counts.indptr[1:], strict=True):
        own, values = places[counts.indices[a:b]], counts.data[a:b]
        random = shared or cell_generator(genes.names[own], values, seed=seed)
        # upstream's single precision: with more digits, a draw now and then is another gene
        weight = np.log1p(values, dtype=np.float32)
        drawn = own[random.choice(len(own), size=sizes.sample_size, p=weight / weight.sum())]
        chromosomes = np.unique(genes.chromosome[drawn])
        random.shuffle(chromosomes)
        made.append(_sentence(drawn, chromosomes, genes=genes))
    _require_room(made, sizes=sizes)
    return made


def cell_generator(names: NDArray[np.str_], values: NDArray[np.float32], *, seed: int) -> np.random.Generator:
    """Return a generator that the seed, and the names ``(n,)`` and counts ``(n,)`` of a cell's genes, determine."""
    content = f"{seed}\n" + "\n".join(f"{name} {value:.0f}" for name, value in zip(names, values, strict=True))
    return np.random.default_rng(np.frombuffer(hashlib.sha256(content.encode()).digest(), dtype=np.uint32))


def _sentence(drawn: NDArray[np.int64], chromosomes: NDArray[np.int64], *, genes: Genes) -> NDArray[np.int64]:
    # upstream leaves open which of two genes with one start comes first
    drawn = drawn[np.lexsort((genes.token[drawn], genes.start[drawn]))]
    parts = [[CLS]]
    for chromosome in chromosomes:
        block = genes.token[drawn[genes.chromosome[drawn] == chromosome]]
        parts += [[chromosome], block, [RIGHT]]
    return np.concatenate(parts)


def _require_room(made: list[NDArray[np.int64]], *, sizes: Sizes) -> None:
    longest = max((len(tokens) for tokens in made), default=0)
    n_chromosomes = (longest - 1 - sizes.sample_size) // 2
    if longest > sizes.pad_length:
        raise InvalidInputError(
            asked=f"sentences of at most {sizes.pad_length} tokens, which the model reads",
            found=f"one of {longest}: {sizes.sample_size} genes on {n_chromosomes} chromosomes",
            remedy="leave out genes on scaffolds that are no chromosomes",
        )
