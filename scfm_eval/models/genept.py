"""GenePT: what a language model says of the texts about genes.

Chen and Zou 2024, doi:10.1038/s41551-024-01284-6.
"""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import ClassVar, get_args

import numpy as np
import pandas as pd
from anndata import AnnData
from numpy.typing import NDArray

from scfm_eval.datasets.download import RemoteFile
from scfm_eval.errors import InvalidInputError
from scfm_eval.models import checkpoint, options
from scfm_eval.models.batching import Unread, refuse_unread
from scfm_eval.models.counts import csr_counts
from scfm_eval.models.embedding_files import find_rows, read_embedding
from scfm_eval.models.files import written_whole
from scfm_eval.models.mean_of_genes import MeanOfGeneVectors
from scfm_eval.timing import phase

_PROMPT = "A cell with genes ranked by expression: "
_REMEDY = "embed the sentences that scfm_eval.models.genept.write_sentences writes for these cells"
_SUFFIXES = (".npz", ".parquet", ".h5ad")
_TABLE = "GPT_3_5_gene_embeddings.pickle"


class GenePTW(MeanOfGeneVectors):
    """GenePT-w: text embeddings of genes, averaged over a cell; parameters of :class:`MeanOfGeneVectors`."""

    name = "genept-w"
    role: ClassVar[str] = "model"
    revision = "zenodo.10030426"
    licence = "none is given with the code"
    weights_licence = "that of the Zenodo record"
    citation: ClassVar[str] = "10.1038/s41551-024-01284-6"
    home = "https://zenodo.org/records/10030426"
    organisms: ClassVar[tuple[str, ...]] = ("Homo sapiens",)
    published = (
        _TABLE,
        "GenePT_gene_embedding_ada_text.pickle",
        "GenePT_gene_protein_embedding_model_3_text.pickle",
    )
    downloads = (
        RemoteFile(
            "https://zenodo.org/records/10030426/files/data_embedding.zip", "data_embedding.zip", holds=(_TABLE,)
        ),
    )
    definition: ClassVar[str] = (
        "A cell is divided by the summed weight of its genes that have a vector, and its total is that of these genes; "
        'the published notebook divides by the number of all genes, also of those without a vector (divisor="genes", '
        'total="all"). A vector of zeros is none. unit=True gives rows of length 1.'
    )


class GenePTS:
    """GenePT-s: embeddings of the sentence that names the genes of a cell by falling expression.

    The sentences are embedded elsewhere: :func:`write_sentences` writes them, and the vectors come back as a file of
    rows under the names of the cells, or under the SHA-256 of the sentences.

    Parameters
    ----------
    weights
        The file of rows, ``.npz``, ``.parquet`` or ``.h5ad``; see
        :func:`~scfm_eval.models.embedding_files.read_embedding`. Where every name is a SHA-256 (64 hexadecimal
        digits), a cell is found by its sentence, else by ``obs_names``.
    key
        Name of the rows in the file.
    max_genes
        Most genes in a sentence.
    unread
        As in :func:`sentences`, for cells that are found by their sentence.

    Raises
    ------
    InvalidInputError
        No file is given, or it is no file of rows.
    """

    name: ClassVar[str] = "genept-s"
    role: ClassVar[str] = "model"
    revision: ClassVar[str] = "45a36bcd6222daad30286f1b2b73368fadedb7d2"
    licence: ClassVar[str] = GenePTW.licence
    weights_licence: ClassVar[str] = "that of the file of rows"
    citation: ClassVar[str] = GenePTW.citation
    home: ClassVar[str] = "https://github.com/yiqunchen/GenePT"
    gene_ids: ClassVar[str] = "symbol"
    organisms: ClassVar[tuple[str, ...]] = GenePTW.organisms
    definition: ClassVar[str] = (
        "Genes of equal counts stand in alphabetical order, where the published code leaves their order undefined. "
        "Which language model made the rows is for the user to say."
    )

    def __init__(
        self,
        *,
        weights: str | Path | None = None,
        key: str = "",
        max_genes: int = 1000,
        unread: Unread = "refuse",
    ) -> None:
        options.require_known("unread", unread, known=get_args(Unread))
        options.require_whole("max_genes", max_genes, least=1)
        self.key, self.max_genes, self.unread = key, max_genes, unread
        self._file = _file_of_rows(weights)
        with phase("load"):
            self._row, self._rows = read_embedding(self._file, key=key)
        self._by_sentence = all(re.fullmatch("[0-9a-f]{64}", name) for name in self._row)
        self.weights_sha256 = checkpoint.weights_sha256([self._file])

    def sentences(self, cells: AnnData) -> list[str]:
        """Return the sentence of each cell; raises like :func:`sentences`."""
        return sentences(cells, max_genes=self.max_genes, unread=self.unread)

    def embed(self, cells: AnnData) -> NDArray[np.float32]:
        """Return the row of each cell ``(n_cells, d)``, found by its sentence or its name.

        Raises
        ------
        InvalidInputError
            The file has no row of a cell, or a cell has no counts and is looked for by its sentence.
        """
        names = cells.obs_names
        if self._by_sentence:
            with phase("tokenise"):
                names = pd.Index([sentence_sha256(text) for text in self.sentences(cells)])
        return self._rows[find_rows(self._row, names, path=self._file, remedy=_REMEDY)]


def _file_of_rows(weights: str | Path | None) -> Path:
    file = None if weights is None else Path(weights).expanduser()
    if file is not None and file.is_file() and file.suffix in _SUFFIXES:
        return file
    raise InvalidInputError(
        asked="the embedded sentences of genept-s",
        found="no file was given" if file is None else f"{file}, which is no file ending in {', '.join(_SUFFIXES)}",
        remedy=f"{_REMEDY}, and give the rows: --weights genept-s=FILE",
    )


def sentences(cells: AnnData, *, max_genes: int = 1000, unread: Unread = "refuse") -> list[str]:
    """Return the sentence of each cell: its genes by falling counts, those of equal counts in alphabetical order.

    Parameters
    ----------
    cells
        Raw counts, with gene symbols as ``var_names``; all genes take part.
    max_genes
        Most genes in a sentence.
    unread
        Whether a cell without counts is refused (``"refuse"``) or gets a sentence without genes (``"keep"``).

    Raises
    ------
    InvalidInputError
        A cell has no counts.
    """
    counts = csr_counts(cells).sorted_indices()
    counts.eliminate_zeros()
    if unread == "refuse":
        refuse_unread(np.diff(counts.indptr), names=list(cells.obs_names))
    genes = np.array([str(gene) for gene in cells.var_names])
    place = np.argsort(np.argsort(genes, kind="stable"), kind="stable")
    made = []
    for start, stop in zip(counts.indptr, counts.indptr[1:], strict=False):
        found = counts.indices[start:stop]
        order = np.lexsort((place[found], -counts.data[start:stop]))[:max_genes]
        made.append(_PROMPT + " ".join(genes[found[order]]))
    return made


def sentence_sha256(sentence: str) -> str:
    """Return the SHA-256 of a sentence in UTF-8, in hexadecimal: its name in a file of rows."""
    return hashlib.sha256(sentence.encode()).hexdigest()


def write_sentences(cells: AnnData, path: str | Path, *, max_genes: int = 1000, unread: Unread = "refuse") -> Path:
    """Write the sentences of cells for a language model, as JSON lines, and return the path.

    Each line has ``cell_id``, ``sha256`` and ``text``; cells with the same sentence have a line each. What embeds them
    keeps either name beside each vector, and ``--weights genept-s=FILE`` reads the result.

    Parameters
    ----------
    cells, max_genes, unread
        See :func:`sentences`.
    path
        File to write.

    Raises
    ------
    InvalidInputError
        A cell has no counts, or the file cannot be written.
    """
    texts = sentences(cells, max_genes=max_genes, unread=unread)
    lines = [
        json.dumps({"cell_id": str(name), "sha256": sentence_sha256(text), "text": text})
        for name, text in zip(cells.obs_names, texts, strict=True)
    ]
    with written_whole(Path(path)) as unfinished:
        unfinished.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return Path(path)
