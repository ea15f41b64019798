"""scGPT's objective: the binned expression of hidden genes, told from the other genes and from the cell token alone.

Cui et al. 2024, doi:10.1038/s41592-024-02201-0. Only genes that a cell expresses are read. Both parts are mean squared
errors of bins, which run from 1 to 50.
"""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from scfm_eval.datasets.counts import some
from scfm_eval.errors import InvalidInputError
from scfm_eval.models.batching import padded
from scfm_eval.models.scgpt_network import build_network
from scfm_eval.models.scgpt_tokens import CLS_VALUE, N_BINS, Sentence, sentence
from scfm_eval.pretrain.corpus import Corpus
from scfm_eval.pretrain.objective import Batch, Sizes, hidden_places, kept_genes
from scfm_eval.pretrain.writing import WEIGHTS, write_tensors, write_text

_SPECIAL = ("<pad>", "<cls>", "<eoc>")
_PAD, _CLS = 0, 1
_HIDDEN_VALUE = -1.0
_MEAN_BIN = N_BINS / 2


class MaskedValues:
    """A scGPT over the genes of a corpus, with a head that tells values from the cell token.

    Parameters
    ----------
    corpus
        Cells.
    training
        Which of them are learned from ``(n_cells,)``; the mean bin of each gene is over these.
    sizes
        Of the network.
    hidden_share
        Chance of a gene's value to be hidden.
    seed
        Of the first weights.

    Raises
    ------
    InvalidInputError
        Two genes, or a gene and a special token, have one symbol.
    """

    layout = "scgpt"
    loss_name = "mean squared error of the hidden gene's bin (1 to 50)"

    def __init__(
        self, corpus: Corpus, *, training: NDArray[np.bool_], sizes: Sizes, hidden_share: float = 0.4, seed: int = 0
    ) -> None:
        twice = [name for name, n in Counter([*_SPECIAL, *corpus.symbols]).items() if n > 1]
        if twice:
            raise InvalidInputError(
                asked=f"a token of its own for each gene of {corpus.name}",
                found=f"{len(twice)} symbols of several genes or of a special token: {some(twice)}",
                remedy="give each gene a symbol of its own, or its Ensembl id",
            )
        self.symbols, self.length, self.hidden_share = corpus.symbols, sizes.length, hidden_share
        self._counts = corpus.counts
        self.n_genes = np.diff(corpus.counts.indptr).astype(np.int64)
        self._arguments = {
            "embsize": sizes.width,
            "nheads": sizes.n_heads,
            "d_hid": sizes.hidden,
            "nlayers": sizes.n_blocks,
            "max_seq_len": sizes.length,
            "n_bins": N_BINS,
            "pad_token": _SPECIAL[_PAD],
            "pad_value": CLS_VALUE,
            "mask_value": _HIDDEN_VALUE,
            "input_style": "binned",
            "input_emb_style": "continuous",
        }
        self.network: _Pretrained = _Pretrained(n_tokens=len(_SPECIAL) + len(corpus.genes), sizes=sizes, seed=seed)
        self._mean_bin = self._mean_bins(np.flatnonzero(training))

    def batch(self, cells: NDArray[np.int64], *, rng: np.random.Generator, share: float = 1.0) -> Batch:
        """Return cells with hidden values; see :class:`~scfm_eval.pretrain.objective.Objective`."""
        read = [self._sentence(i, rng=rng, share=share) for i in cells]
        tokens = np.asarray(padded([tokens for tokens, _ in read], fill=_PAD), dtype=np.int64)
        values = np.asarray(padded([values for _, values in read], fill=CLS_VALUE), dtype=np.float32)
        hidden = hidden_places(tokens >= len(_SPECIAL), rng=rng, share=self.hidden_share)
        answers = values[hidden]
        shown = np.where(hidden, np.float32(_HIDDEN_VALUE), values)
        return Batch(tokens=tokens, values=shown, hidden=hidden, answers=answers, genes=tokens[hidden])

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """Return the error from genes and from the cell; see :class:`~scfm_eval.pretrain.objective.Objective`."""
        device = next(self.network.parameters()).device
        tokens, values, hidden, answers = (
            torch.from_numpy(part).to(device) for part in (batch.tokens, batch.values, batch.hidden, batch.answers)
        )
        from_genes, from_cell = self.network(tokens, values)
        error = nn.functional.mse_loss
        return {
            "value": error(from_genes[hidden].float(), answers),
            "value_from_cell": error(from_cell[hidden].float(), answers),
        }

    def unigram_losses(self, batch: Batch) -> NDArray[np.float64]:
        """Return the error of each gene's mean bin; see :class:`~scfm_eval.pretrain.objective.Objective`."""
        return (self._mean_bin[batch.genes] - batch.answers) ** 2  # type: ignore[no-any-return]

    def write(self, folder: Path) -> tuple[str, ...]:
        """Write ``model.safetensors``, ``args.json`` and ``vocab.json``, and return these names.

        The head of the cell token stays out.
        """
        write_tensors(folder / WEIGHTS, self.network.network.state_dict())
        names = (*_SPECIAL, *self.symbols)
        tokens = dict(zip(names, range(len(names)), strict=True))
        contents = {"args.json": self._arguments, "vocab.json": tokens}
        for name, content in contents.items():
            write_text(folder / name, json.dumps(content))
        return (WEIGHTS, *contents)

    def _sentence(self, cell: int, *, rng: np.random.Generator, share: float) -> Sentence:
        row = slice(self._counts.indptr[cell], self._counts.indptr[cell + 1])
        kept = kept_genes(row.stop - row.start, rng=rng, share=share)
        return sentence(
            self._counts.indices[row][kept].astype(np.int64) + len(_SPECIAL),
            self._counts.data[row][kept],
            cls=_CLS,
            max_length=self.length,
            binning="midpoint",
            seed=int(rng.integers(1 << 31)),
        )

    def _mean_bins(self, cells: NDArray[np.int64]) -> NDArray[np.float64]:
        rng, n_tokens = np.random.default_rng(0), len(_SPECIAL) + len(self.symbols)
        read = [self._sentence(i, rng=rng, share=1.0) for i in cells]
        tokens, values = (np.concatenate([cell[part][1:] for cell in read]) for part in (0, 1))
        n_seen = np.bincount(tokens, minlength=n_tokens)
        total = np.bincount(tokens, weights=values, minlength=n_tokens)
        return np.where(n_seen > 0, total / np.maximum(n_seen, 1), values.mean())


class _CellDecoder(nn.Module):
    """Tells a gene's value from the gene and the cell token: the inner product of a query of the gene and the cell."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.gene2query, self.W = nn.Linear(width, width), nn.Linear(width, width, bias=False)
        self.bias = nn.Parameter(torch.full((), _MEAN_BIN))

    def forward(self, cell: Tensor, genes: Tensor) -> Tensor:
        query = self.W(torch.sigmoid(self.gene2query(genes)))  # (b, l, d)
        return (query @ cell[:, :, None])[..., 0] + self.bias  # type: ignore[no-any-return]


class _Pretrained(nn.Module):
    def __init__(self, *, n_tokens: int, sizes: Sizes, seed: int) -> None:
        super().__init__()
        self.network = build_network(
            n_tokens=n_tokens,
            width=sizes.width,
            n_heads=sizes.n_heads,
            d_hid=sizes.hidden,
            n_layers=sizes.n_blocks,
            padding=_PAD,
            seed=seed,
        )
        nn.init.constant_(cast("nn.Linear", self.network.decoder.fc[-1]).bias, _MEAN_BIN)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.cell_decoder = _CellDecoder(sizes.width)

    def forward(self, tokens: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Return the value of each gene told from the other genes, and from the cell token, ``(b, l)`` each."""
        genes = self.network.encoder(tokens)
        *_, (last, _real) = self.network.hidden_layers_of(tokens, values, last=self.network.n_layers)
        return self.network.decoder(last), self.cell_decoder(last[:, 0], genes)
