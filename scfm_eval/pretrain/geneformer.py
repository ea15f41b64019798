"""Geneformer's objective: the ranked genes of a cell, of which 15 % are hidden and to be named.

Theodoris et al. 2023, doi:10.1038/s41586-023-06139-9. Of the hidden places 80 % show ``<mask>``, 10 % another gene and
10 % the gene itself (Devlin et al. 2019, doi:10.18653/v1/N19-1423).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sp
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from scfm_eval.models.batching import padded
from scfm_eval.models.geneformer_network import Batch as Sentences
from scfm_eval.models.geneformer_network import bert, hidden_layers
from scfm_eval.models.geneformer_tokens import rank_genes
from scfm_eval.pretrain.corpus import Corpus
from scfm_eval.pretrain.objective import Batch, Sizes, hidden_places, kept_genes
from scfm_eval.pretrain.writing import WEIGHTS, write_tensors, write_text

_SPECIAL = ("<pad>", "<mask>", "<cls>", "<eos>")
_PAD, _MASK, _CLS, _EOS = range(len(_SPECIAL))
_PER_CELL = 1e4
_SHOWN_MASK, _SHOWN_ITSELF = 0.8, 0.1


class MaskedRanks:
    """A Geneformer V2 over the genes of a corpus.

    Parameters
    ----------
    corpus
        Cells.
    training
        Which of them are learned from ``(n_cells,)``; medians and gene frequencies are theirs.
    sizes
        Of the network.
    hidden_share
        Chance of a gene to be hidden.
    seed
        Of the first weights.
    """

    layout = "geneformer"
    loss_name = "cross-entropy of the hidden gene, nats"

    def __init__(
        self, corpus: Corpus, *, training: NDArray[np.bool_], sizes: Sizes, hidden_share: float = 0.15, seed: int = 0
    ) -> None:
        self.genes, self.length, self.hidden_share = corpus.genes, sizes.length, hidden_share
        token = np.arange(len(_SPECIAL), len(_SPECIAL) + len(corpus.genes))
        self.medians = medians(corpus.counts[np.flatnonzero(training)])
        ranked = rank_genes(corpus.counts, token=token, median=self.medians)
        self._ranked = [cell.astype(np.int32) for cell in ranked]
        self.n_genes = np.array([len(cell) for cell in ranked])
        self.settings: dict[str, Any] = {
            "architectures": ["BertForMaskedLM"],
            "model_type": "bert",
            "vocab_size": len(_SPECIAL) + len(corpus.genes),
            "hidden_size": sizes.width,
            "num_hidden_layers": sizes.n_blocks,
            "num_attention_heads": sizes.n_heads,
            "intermediate_size": sizes.hidden,
            "max_position_embeddings": sizes.length,
            "hidden_act": "relu",
            "hidden_dropout_prob": 0.02,
            "attention_probs_dropout_prob": 0.0,
            "layer_norm_eps": 1e-12,
            "pad_token_id": _PAD,
        }
        self.network: nn.Module = bert(self.settings, seed=seed)
        seen = np.bincount(
            np.concatenate([self._sentence(i)[1:-1] for i in np.flatnonzero(training).tolist()]),
            minlength=self.settings["vocab_size"],
        )
        self._log_frequency = np.log((seen + 1) / (seen + 1)[len(_SPECIAL) :].sum())

    def batch(self, cells: NDArray[np.int64], *, rng: np.random.Generator, share: float = 1.0) -> Batch:
        """Return sentences with hidden genes; see :class:`~scfm_eval.pretrain.objective.Objective`."""
        true = np.asarray(padded([self._sentence(i, rng=rng, share=share) for i in cells], fill=_PAD), dtype=np.int64)
        hidden = hidden_places(true >= len(_SPECIAL), rng=rng, share=self.hidden_share)
        answers = true[hidden]
        draw, other = rng.random(len(answers)), rng.integers(len(_SPECIAL), self.settings["vocab_size"], len(answers))
        itself = draw >= 1 - _SHOWN_ITSELF
        shown = true.copy()
        shown[hidden] = np.where(draw < _SHOWN_MASK, _MASK, np.where(itself, answers, other))
        return Batch(tokens=shown, values=None, hidden=hidden, answers=answers, genes=answers)

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """Return the cross-entropy of the hidden genes; see :class:`~scfm_eval.pretrain.objective.Objective`."""
        model: Any = self.network
        tokens = torch.from_numpy(batch.tokens).to(model.device)
        real = tokens != _PAD
        *_, last = hidden_layers(
            model, Sentences(tokens, real, tokens >= len(_SPECIAL)), last=model.config.num_hidden_layers
        )
        logits = model.cls(last[torch.from_numpy(batch.hidden).to(model.device)]).float()  # (n_hidden, n_tokens)
        return {"gene": nn.functional.cross_entropy(logits, torch.from_numpy(batch.answers).to(model.device))}

    def unigram_losses(self, batch: Batch) -> NDArray[np.float64]:
        """Return the cross-entropy of gene frequencies; see :class:`~scfm_eval.pretrain.objective.Objective`."""
        return -self._log_frequency[batch.answers]  # type: ignore[no-any-return]

    def write(self, folder: Path) -> tuple[str, ...]:
        """Write ``config.json``, ``model.safetensors`` and the three dictionaries as JSON, and return these names.

        Tied tensors are written once.
        """
        tensors = self.network.state_dict()
        tied = [name for name in tensors if name.startswith("cls.predictions.decoder.")]
        write_tensors(folder / WEIGHTS, {name: tensors[name] for name in tensors.keys() - set(tied)})
        tokens = dict(zip((*_SPECIAL, *self.genes), range(self.settings["vocab_size"]), strict=True))
        # in full: a rounded median would put genes of a cell in another order than the one that was learned
        medians = {gene: float(value) for gene, value in zip(self.genes, self.medians, strict=True)}
        contents = {
            "config.json": self.settings,
            "token_dictionary.json": tokens,
            "gene_median_dictionary.json": medians,
            "ensembl_mapping_dict.json": {gene: gene for gene in self.genes},
        }
        for name, content in contents.items():
            write_text(folder / name, json.dumps(content))
        return (WEIGHTS, *contents)

    def _sentence(self, cell: int, *, rng: np.random.Generator | None = None, share: float = 1.0) -> NDArray[np.int64]:
        ranked = self._ranked[cell]
        if rng is not None:
            ranked = ranked[kept_genes(len(ranked), rng=rng, share=share)]
        return np.concatenate([[_CLS], ranked[: self.length - 2], [_EOS]]).astype(np.int64)


def medians(counts: sp.csr_matrix) -> NDArray[np.float64]:
    """Return each gene's median over the cells that express it, counts per 10,000, ``(n_genes,)``; 1 where none does.

    Parameters
    ----------
    counts
        Raw counts ``(n_cells, n_genes)``.
    """
    scale = _PER_CELL / np.asarray(counts.sum(axis=1)).ravel()
    columns = sp.csc_matrix(sp.diags(scale) @ counts)
    bounds = zip(columns.indptr[:-1], columns.indptr[1:], strict=True)
    return np.array([np.median(columns.data[a:b]) if b > a else 1.0 for a, b in bounds])
