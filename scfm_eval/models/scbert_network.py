"""The network of scBERT, made of the blocks of performer-pytorch, and how it is read from a checkpoint.

Wang et al. 2022, doi:10.1038/s42256-022-00534-z. :mod:`scfm_eval.models.scbert` is the adapter.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from importlib import metadata
from pathlib import Path
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from scfm_eval import guards
from scfm_eval.errors import InvalidInputError
from scfm_eval.models import checkpoint
from scfm_eval.models.blocks import masked_mean
from scfm_eval.models.performer import Stabiliser, performer_attention
from scfm_eval.models.scbert_tokens import Pooling, Sentence

PERFORMER = "1.1.0"
"""Release of performer-pytorch whose blocks are those that scBERT was trained with."""
_COLUMNS = 256
_FIRST = "performer.net.layers.0"
_RENAMED = (
    (r"^performer\.net\.layers\.(\d+)\.0\.", r"blocks.\1.attention."),
    (r"^performer\.net\.layers\.(\d+)\.1\.", r"blocks.\1.feed_forward."),
    (r"^pos_emb\.emb\.weight$", "positions"),
)
# counts the calls since the random features were last drawn; these come from the checkpoint and are never drawn anew
_COUNTER = r"performer\.calls_since_last_redraw"


# upstream's fine-tuning puts this in the place of the head that names masked bins
_TUNED = {r"to_out\.(conv1|fc\d)\..*": "a head for classes, as upstream's fine-tuning puts it in"}


@dataclass(frozen=True)
class Sizes:
    """Sizes of the network, all of them told by the shapes of a checkpoint.

    Parameters
    ----------
    n_tokens, length
        Rows of the table of tokens (bins, 0 and the mask), and positions (genes and one more).
    width, depth, heads, head_width, features, inner
        Of the hidden state, blocks, attention heads, random features, and of the feed-forward layer.
    """

    n_tokens: int
    length: int
    width: int
    depth: int
    heads: int
    head_width: int
    features: int
    inner: int


class _KernelAttention(nn.Module):
    """Takes the place of the package's attention function, whose keys are stabilised over the whole batch."""

    projection_matrix: Tensor

    def __init__(self, projection: Tensor, *, stabiliser: Stabiliser) -> None:
        super().__init__()
        self.register_buffer("projection_matrix", projection)
        self.stabiliser = stabiliser

    def forward(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        # exponents of bfloat16 would be off by some per cent
        with torch.autocast(query.device.type, enabled=False):
            return performer_attention(
                query.float(),
                key.float(),
                value.float(),
                projection=self.projection_matrix,
                stabiliser=self.stabiliser,
            )


class _Block(nn.Module):
    def __init__(self, attention: nn.Module, feed_forward: nn.Module, *, stabiliser: Stabiliser) -> None:
        super().__init__()
        self.attention, self.feed_forward = attention, feed_forward
        inner = cast("nn.Module", attention.fn)
        projection = cast("Tensor", cast("nn.Module", inner.fast_attention).projection_matrix)
        inner.fast_attention = _KernelAttention(projection, stabiliser=stabiliser)

    def forward(self, hidden: Tensor) -> Tensor:
        hidden = hidden + cast("Tensor", self.attention(hidden))
        return hidden + cast("Tensor", self.feed_forward(hidden))

    def attention_between(self, hidden: Tensor, places: Tensor) -> Tensor:
        """Return the attention ``(n, n)`` among some positions of one cell ``(1, l, d)``, mean over heads."""
        inner = cast("nn.Module", self.attention.fn)
        normed = cast("nn.Module", self.attention.norm)(hidden)
        heads = cast("int", inner.heads)
        query, key = (
            cast("nn.Module", project)(part).reshape(1, part.shape[1], heads, -1).transpose(1, 2)
            for project, part in ((inner.to_q, normed[:, places]), (inner.to_k, normed))
        )
        kernel, found = cast("_KernelAttention", inner.fast_attention), []
        for some in torch.split(places, _COLUMNS):
            # what a position takes of a value that is one at another position is the attention that it pays to it
            marked = torch.zeros(hidden.shape[1], len(some), device=hidden.device)
            marked[some, torch.arange(len(some), device=hidden.device)] = 1
            found.append(kernel(query, key, marked.expand(1, heads, -1, -1)).mean(dim=(0, 1)))
        return torch.cat(found, dim=1)


class ScBERTNetwork(nn.Module):
    """ScBERT: tokens plus gene2vec, pre-norm Performer blocks, and the head that gives bins back.

    Parameters
    ----------
    sizes
        Of the network.
    stabiliser
        See :func:`~scfm_eval.models.performer.performer_attention`.
    """

    positions: Tensor

    def __init__(self, sizes: Sizes, *, stabiliser: Stabiliser) -> None:
        from performer_pytorch import PerformerLM

        super().__init__()
        made = PerformerLM(
            num_tokens=sizes.n_tokens,
            max_seq_len=sizes.length,
            dim=sizes.width,
            depth=sizes.depth,
            heads=sizes.heads,
            dim_head=sizes.head_width,
            nb_features=sizes.features,
            ff_mult=sizes.inner // sizes.width,
            rotary_position_emb=False,
            attn_out_bias=True,
        )
        self.sizes, self.stabiliser = sizes, stabiliser
        self.token_emb, self.norm, self.to_out = made.token_emb, made.norm, made.to_out
        self.register_buffer("positions", made.pos_emb.emb.weight.detach())
        self.blocks = nn.ModuleList(_Block(*layer, stabiliser=stabiliser) for layer in made.performer.net.layers)

    def tokens(self, cells: Sequence[Sentence]) -> Tensor:
        """Return the tokens ``(b, l)`` of all genes in order, and a 0 at the end."""
        ids = np.zeros((len(cells), self.sizes.length), dtype=np.int64)
        for row, (places, tokens) in zip(ids, cells, strict=True):
            row[places] = tokens
        return torch.from_numpy(ids).to(self.positions.device)

    def hidden_layers(self, ids: Tensor, *, last: int) -> Iterator[Tensor]:
        """Yield the outputs ``(b, l, d)`` of layers 0 (the input embedding) to ``last``, before the final norm."""
        hidden = self.token_emb(ids) + self.positions
        yield hidden
        for block in self.blocks[:last]:
            hidden = block(hidden)
            yield hidden

    def pooled_layers(self, cells: Sequence[Sentence], *, pooling: Pooling, layers: Sequence[int]) -> list[Tensor]:
        """Return the wanted layers pooled over positions, ``(b, d)`` each, before the final norm.

        Parameters
        ----------
        cells
            Tokens of each cell that are not 0.
        pooling
            See :class:`~scfm_eval.models.scbert.ScBERT`.
        layers
            Ascending; 0 is the input embedding.
        """
        ids = self.tokens(cells)
        made = enumerate(self.hidden_layers(ids, last=max(layers)))
        return [pooled(hidden, ids, pooling) for number, hidden in made if number in layers]

    def encodings(self, cells: Sequence[Sentence]) -> Tensor:
        """Return the last layer after the final norm, ``(b, l, d)``: the contextual vectors of the genes."""
        *_, hidden = self.hidden_layers(self.tokens(cells), last=len(self.blocks))
        return cast("Tensor", self.norm(hidden))

    def logits(self, hidden: Tensor) -> Tensor:
        """Return what the head gives for each token ``(b, l, n_tokens)`` from an output before the final norm."""
        return cast("Tensor", self.to_out(self.norm(hidden)))

    def decoded_layers(self, cells: Sequence[Sentence]) -> list[Tensor]:
        """Return the bin that the head expects of each gene whose token is not 0 ``(n_values,)``, on every layer."""
        row = torch.from_numpy(np.repeat(np.arange(len(cells)), [len(places) for places, _ in cells]))
        place = torch.from_numpy(np.concatenate([places for places, _ in cells]))
        bins = torch.arange(1, self.sizes.n_tokens - 1, device=self.positions.device)
        made = self.hidden_layers(self.tokens(cells), last=len(self.blocks))
        # zeros were never masked in pretraining, so that the head never learned to answer 0
        shares = (self.logits(hidden[row, place])[:, 1:-1].float().softmax(dim=-1) for hidden in made)
        return [(share * bins).sum(dim=-1) for share in shares]

    def attention_between(self, cell: Sentence, places: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return the attention ``(n, n)`` from each of some places of one cell to each other.

        It is the mean over heads and blocks, and a row sums to 1 over all positions of the cell. Never more than
        256 columns of it are computed at once.
        """
        chosen = torch.from_numpy(places).to(self.positions.device)
        layers = self.hidden_layers(self.tokens([cell]), last=len(self.blocks) - 1)
        found = [
            cast("_Block", block).attention_between(hidden, chosen)
            for block, hidden in zip(self.blocks, layers, strict=True)
        ]
        return cast("NDArray[np.float32]", torch.stack(found).mean(dim=0).float().cpu().numpy())


def pooled(hidden: Tensor, ids: Tensor, pooling: Pooling) -> Tensor:
    """Return one row per cell ``(b, d)`` of its positions ``(b, l, d)``, the last of which is no gene."""
    hidden, genes = hidden.float(), hidden[:, :-1].float()
    if pooling == "all":
        return hidden.mean(dim=1)
    if pooling == "genes":
        return genes.mean(dim=1)
    if pooling == "max":
        return genes.amax(dim=1)
    if pooling == "last":
        return hidden[:, -1]
    return masked_mean(genes, ids[:, :-1] > 0)


def require_performer() -> None:
    """Raise ``InvalidInputError`` unless the release of performer-pytorch is the one that scBERT can run on."""
    try:
        found = metadata.version("performer-pytorch")
    except metadata.PackageNotFoundError:
        found = "none"
    if found != PERFORMER:
        raise InvalidInputError(
            asked=f"scBERT on performer-pytorch {PERFORMER}",
            found=f"performer-pytorch {found}; from 1.1.1 on it computes something else from the same weights",
            remedy=f"pip install performer-pytorch=={PERFORMER}",
        )


def build_network(sizes: Sizes, *, stabiliser: Stabiliser, seed: int = 0) -> ScBERTNetwork:
    """Return a network in evaluation mode with random weights; the global generator is left as it was."""
    require_performer()
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        # the package draws its features with torch.qr, and imports autocast from an old place
        warnings.simplefilter("ignore")
        torch.manual_seed(seed)
        return ScBERTNetwork(sizes, stabiliser=stabiliser).eval()


def load_network(path: Path, *, n_genes: int, bin_num: int, stabiliser: Stabiliser) -> checkpoint.Loaded[ScBERTNetwork]:
    """Return the network in a checkpoint, in evaluation mode on the CPU.

    Parameters
    ----------
    path
        What upstream saved: a dictionary with ``model_state_dict``.
    n_genes, bin_num
        Genes in the list, and the largest token.
    stabiliser
        See :func:`~scfm_eval.models.performer.performer_attention`.

    Raises
    ------
    InvalidInputError
        The file is damaged, or of another architecture, list of genes, or number of bins; or performer-pytorch is of
        another release.
    """
    require_performer()
    content = checkpoint.read_checkpoint(path)
    inside = content.get("model_state_dict") if isinstance(content, Mapping) else None
    tensors = checkpoint.only_tensors(inside, path=path)
    sizes = _sizes(tensors, path=path)
    stated = {"genes": (n_genes, sizes.length - 1), "bins": (bin_num, sizes.n_tokens - 2)}
    for what, (wanted, found) in stated.items():
        if found != wanted:
            guards.refuse(
                "pretrained",
                asked=f"a scBERT checkpoint of {wanted} {what} in {path}",
                found=f"{found} {what}",
                remedy="give the list of genes and the bin_num that it was trained with",
            )
    sizes = replace(sizes, length=n_genes + 1, n_tokens=bin_num + 2)
    # gene2vec and the random features were not learned: they are no parameters
    return checkpoint.loaded(
        lambda: build_network(sizes, stabiliser=stabiliser),
        checkpoint.renamed(tensors, _RENAMED),
        files=[path],
        ignored=[_COUNTER],
        heads=_TUNED,
    )


def _sizes(tensors: Mapping[str, Tensor], *, path: Path) -> Sizes:
    names = {
        "token": "token_emb.weight",
        "position": "pos_emb.emb.weight",
        "feature": f"{_FIRST}.0.fn.fast_attention.projection_matrix",
        "query": f"{_FIRST}.0.fn.to_q.weight",
        "inner": f"{_FIRST}.1.fn.fn.w1.weight",
    }
    strange = [name for name in names.values() if name not in tensors or tensors[name].dim() != 2]
    if strange:
        raise InvalidInputError(
            asked=f"the tensors of a scBERT in {path}",
            found=f"no matrix {checkpoint.few(strange)}",
            remedy="give the pretrained checkpoint of scBERT",
        )
    rows = {name: tensors[full].shape[0] for name, full in names.items()}
    width, head_width = tensors[names["token"]].shape[1], tensors[names["feature"]].shape[1]
    sizes = Sizes(
        n_tokens=rows["token"],
        length=rows["position"],
        width=width,
        depth=len({name.split(".")[3] for name in tensors if name.startswith("performer.net.layers.")}),
        heads=rows["query"] // max(head_width, 1),
        head_width=head_width,
        features=rows["feature"],
        inner=rows["inner"],
    )
    if min(asdict(sizes).values()) < 1 or sizes.width % sizes.heads or sizes.inner % sizes.width:
        raise InvalidInputError(
            asked=f"the sizes of a scBERT in {path}",
            found=str(sizes),
            remedy="give the pretrained checkpoint of scBERT",
        )
    return sizes
