"""gene2vec, and gene vectors of any other origin: cells as means of their genes' vectors, weighted by expression.

Du et al. 2019, doi:10.1186/s12864-018-5370-x.
"""

from __future__ import annotations

from typing import ClassVar

from scfm_eval.datasets.download import RemoteFile
from scfm_eval.models.mean_of_genes import MeanOfGeneVectors

_COMMIT = "6236e0b21fbc367bf8ff5695ed0cc1443861bd1e"
_FILE = "gene2vec_dim_200_iter_9_w2v.txt"


class Gene2vec(MeanOfGeneVectors):
    """Gene vectors learned from co-expression as word2vec learns from text; parameters of :class:`MeanOfGeneVectors`.

    gene2vec itself embeds genes only.
    """

    name = "gene2vec"
    role: ClassVar[str] = "model"
    revision = _COMMIT
    licence = "MIT"
    citation: ClassVar[str] = "10.1186/s12864-018-5370-x"
    home = "https://github.com/jingcheng-du/Gene2vec"
    organisms: ClassVar[tuple[str, ...]] = ("Homo sapiens",)
    published = (_FILE,)
    downloads = (
        RemoteFile(f"https://raw.githubusercontent.com/jingcheng-du/Gene2vec/{_COMMIT}/pre_trained_emb/{_FILE}", _FILE),
    )
    definition: ClassVar[str] = (
        "gene2vec embeds genes only. A cell is here the mean of the vectors of its genes, weighted by log-normalised "
        "expression and divided by the summed weight of the genes that have a vector."
    )


class OtherGeneVectors(MeanOfGeneVectors):
    """A table of gene vectors that the user brings; parameters of :class:`MeanOfGeneVectors`.

    A class of one's own that inherits from this one and states ``name`` tells several tables apart, and with
    ``gene_ids = "ensembl"`` reads Ensembl ids.
    """

    name = "gene-vectors"
    role: ClassVar[str] = "model"
    licence = "BSD-3-Clause"
    weights_licence = "that of the table"
    definition: ClassVar[str] = (
        "A cell is the mean of the vectors of its genes, weighted by log-normalised expression and divided by the "
        "summed weight of the genes that have a vector."
    )
