"""The training loop of fine-tuning: it can be interrupted, it notices divergence, and it keeps the best epoch."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from tqdm import tqdm

from scfm_eval.metrics.classification import macro_f1
from scfm_eval.models.batching import pool_in_batches
from scfm_eval.models.files import resumed, written_whole
from scfm_eval.models.protocols import CompleteFineTuning
from scfm_eval.models.unfreezing import Encoder

LARGEST_GRADIENT = 1.0
"""Length that the gradient of all parameters together is cut to, in fine-tuning and in pretraining."""
_SMALLEST_VARIANCE = 1e-8
_POOL = 8  # batches that are sorted by length together
_STATE = "training.pt"
_MOST_READ = 2048


@dataclass(frozen=True, eq=False)
class Examples:
    """Tokenised cells with their classes.

    Parameters
    ----------
    sentences
        What the encoder reads of each cell.
    lengths, codes
        Tokens and class of each cell ``(n_cells,)``.
    """

    sentences: Sequence[Any]
    lengths: NDArray[np.int64]
    codes: NDArray[np.int64]


class Classifier(nn.Module):
    """An encoder, its pooled output standardised, and a linear head.

    In training a batch is standardised by itself (He et al. 2022, doi:10.1109/CVPR52688.2022.01553), otherwise by
    the means and variances of training cells. What cells have in common is many times what tells them apart, and
    without this the first steps teach the encoder to say the most frequent class of every cell.

    Parameters
    ----------
    encoder
        Becomes a part of the classifier.
    n_classes
        Width of the output.
    mean, variance
        Of the pooled output ``(d,)`` before training.
    """

    mean: Tensor
    variance: Tensor

    def __init__(self, encoder: Encoder, *, n_classes: int, mean: Tensor, variance: Tensor) -> None:
        super().__init__()
        self.network, self.pooled = encoder.network, encoder.pooled
        self.head = nn.Linear(encoder.width, n_classes)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)
        self.register_buffer("mean", mean)
        self.register_buffer("variance", variance)
        self.to(mean.device)

    def forward(self, sentences: Sequence[Any]) -> Tensor:
        """Return logits ``(b, n_classes)``."""
        return cast("Tensor", self.head(self.standardised(self.pooled(sentences).float())).float())

    def standardised(self, rows: Tensor) -> Tensor:
        """Return pooled rows ``(b, d)`` with mean 0 and variance 1 in each coordinate, over the batch in training."""
        if self.training and len(rows) > 1:
            return nn.functional.batch_norm(rows, None, None, training=True, eps=_SMALLEST_VARIANCE)
        return nn.functional.batch_norm(rows, self.mean, self.variance, eps=_SMALLEST_VARIANCE)

    @torch.no_grad()
    def settle(self, sentences: Sequence[Any], lengths: NDArray[np.int64], **running: Any) -> None:
        """Take means and variances from these cells, as the encoder pools them now.

        Running averages would lag behind an encoder that learns fast (Wu and Johnson 2021, arXiv:2105.07576).
        """
        self.eval()
        rows = rows_of(self.pooled, sentences, lengths, **running)
        self.mean.copy_(torch.from_numpy(rows.mean(axis=0)))
        self.variance.copy_(torch.from_numpy(rows.var(axis=0)))

    def state(self) -> dict[str, Tensor]:
        """Return what training changes: parameters that require gradients, and means and variances."""
        return {name: p for name, p in self.named_parameters() if p.requires_grad} | {
            "mean": self.mean,
            "variance": self.variance,
        }

    def logits(self, sentences: Sequence[Any], lengths: NDArray[np.int64], **running: Any) -> NDArray[np.float32]:
        """Return logits ``(n_cells, n_classes)`` without gradients and without dropout, in the order of the cells."""
        self.eval()
        return rows_of(self, sentences, lengths, **running)


def rows_of(
    network: Callable[[Sequence[Any]], Tensor], sentences: Sequence[Any], lengths: NDArray[np.int64], **running: Any
) -> NDArray[np.float32]:
    """Return what a network says of each sentence ``(n_cells, d)``, without gradients, in the order of the cells.

    ``running`` is how batches are run; see :func:`~scfm_eval.models.batching.pool_in_batches`.
    """
    return pool_in_batches(lambda batch: [network([sentences[i] for i in batch])], lengths, **running)[0]


def shuffled_batches(
    lengths: NDArray[np.int64], *, batch_size: int, rng: np.random.Generator
) -> list[NDArray[np.int64]]:
    """Return the cells of each batch of an epoch, in random order but of like length within a batch.

    Parameters
    ----------
    lengths
        Tokens per cell, ``(n_cells,)``.
    batch_size
        Cells in a batch; the last one that is drawn may have fewer.
    rng
        Decides the order.
    """
    order, step = rng.permutation(len(lengths)), _POOL * batch_size
    pools = [order[start : start + step] for start in range(0, len(order), step)]
    sorted_pools = [pool[np.argsort(lengths[pool], kind="stable")] for pool in pools]
    batches = [pool[i : i + batch_size] for pool in sorted_pools for i in range(0, len(pool), batch_size)]
    return [batches[i] for i in rng.permutation(len(batches))]


def rate(step: int, *, n_steps: int, warmup: float) -> float:
    """Return the learning rate of a step, 0 to ``n_steps - 1``, as a share of the highest: linear up, linear down."""
    rising = int(np.ceil(warmup * n_steps))
    return (step + 1) / rising if step < rising else (n_steps - step) / max(1, n_steps - rising)


def drawn(n_cells: int, *, seed: int) -> NDArray[np.intp]:
    """Return places of the training cells, at most 2,048, that means, variances and the first head are taken from."""
    return np.random.default_rng(seed).permutation(n_cells)[:_MOST_READ]


def balanced(codes: NDArray[np.int64], *, n_classes: int) -> NDArray[np.float64]:
    """Return the weight of each class ``(n_classes,)``, n / (number of classes · cells of the class); 0 without any."""
    sizes = np.bincount(codes, minlength=n_classes)
    return np.where(sizes > 0, len(codes) / (np.count_nonzero(sizes) * np.maximum(sizes, 1)), 0.0)


@dataclass(eq=False)
class Training:
    """The state of a training, and what moves it on.

    Parameters
    ----------
    classifier
        Its parameters that require gradients are trained.
    cells, validation
        What is learned from, and what the epoch is chosen by.
    how, seed
        Settings, and what decides the order of the cells.
    running
        ``token_budget``, ``device``, ``precision`` and ``name``; see
        :func:`~scfm_eval.models.batching.pool_in_batches`.
    """

    classifier: Classifier
    cells: Examples
    validation: Examples
    how: CompleteFineTuning
    seed: int
    running: dict[str, Any]
    epoch: int = 0
    epochs: list[dict[str, Any]] = field(default_factory=list)
    best: dict[str, Any] = field(default_factory=dict)
    diverged_at_step: int | None = None

    def __post_init__(self) -> None:
        half = self.running["precision"] == "float16"
        self._device = torch.device(self.running["device"])
        self._autocast = {"dtype": getattr(torch, self.running["precision"])}
        self._autocast["enabled"] = self.running["precision"] != "float32"
        self._scaler = torch.amp.GradScaler(self._device.type, enabled=half)
        self._optimiser = optimiser(
            self.classifier, learning_rate=self.how.learning_rate, weight_decay=self.how.weight_decay
        )
        n_classes = self.classifier.head.out_features
        weight = balanced(self.cells.codes, n_classes=n_classes) if self.how.class_weights else np.ones(n_classes)
        self._class_weight = torch.tensor(weight, dtype=torch.float32, device=self._device)
        n_batches = -(-len(self.cells.codes) // self.how.batch_size)
        self._steps_per_epoch = -(-n_batches // self.how.accumulation)

    def run(self, folder: Path | None = None) -> dict[str, Any]:
        """Train to the end, leave the best epoch's weights in the classifier, and return the history.

        With a ``folder``, the state after each epoch is kept there, and a training of the same settings goes on from
        it.

        Raises
        ------
        InvalidInputError
            The state that is kept there is damaged, or cannot be written.
        """
        file = None if folder is None else folder / _STATE
        if file is None or not self._restore(file):
            self._judge(loss=None)
        n_steps = self.how.epochs * self._steps_per_epoch
        bar = tqdm(
            desc=f"{self.running['name']} fine-tuning",
            total=n_steps,
            initial=self.epoch * self._steps_per_epoch,
            unit="step",
            disable=None,
            leave=False,
        )
        with bar:
            while not self._is_over():
                loss = self._run_epoch(bar)
                if loss is None:
                    break
                self._settle()
                self._judge(loss=loss)
                if file is not None:
                    self._save(file)
        self._load(self.best["weights"])
        self.classifier.eval()
        return {
            "epochs": self.epochs,
            "chosen_epoch": self.best["epoch"],
            "steps": n_steps,
            "diverged_at_step": self.diverged_at_step,
        }

    def _is_over(self) -> bool:
        best = int(np.argmax([epoch["validation_macro_f1"] for epoch in self.epochs])) if self.epochs else 0
        out_of_patience = self.how.patience is not None and self.epoch - best >= self.how.patience
        return self.epoch >= self.how.epochs or out_of_patience or self.diverged_at_step is not None

    def _run_epoch(self, bar: Any) -> float | None:
        """Return the mean loss of an epoch, or ``None`` where it was no number: then nothing after that is done."""
        rng = np.random.default_rng([self.seed, self.epoch])
        batches = shuffled_batches(self.cells.lengths, batch_size=self.how.batch_size, rng=rng)
        self.classifier.train()
        losses = []
        for number, start in enumerate(range(0, len(batches), self.how.accumulation)):
            step = self.epoch * self._steps_per_epoch + number
            losses.append(self._step(batches[start : start + self.how.accumulation], step=step))
            if not np.isfinite(losses[-1]):
                self.diverged_at_step = step
                return None
            bar.set_postfix(loss=f"{losses[-1]:.3f}")
            bar.update()
        self.epoch += 1
        return float(np.mean(losses))

    def _step(self, batches: Sequence[NDArray[np.int64]], *, step: int) -> float:
        """Take one optimiser step, and return the loss before it; one that is no number changes no weight."""
        part = rate(step, n_steps=self.how.epochs * self._steps_per_epoch, warmup=self.how.warmup)
        for group in self._optimiser.param_groups:
            group["lr"] = self.how.learning_rate * part
        codes = [torch.from_numpy(self.cells.codes[batch]).to(self._device) for batch in batches]
        total = torch.stack([self._class_weight[code].sum() for code in codes]).sum()
        self._optimiser.zero_grad(set_to_none=True)
        summed = 0.0
        for batch, code in zip(batches, codes, strict=True):
            with torch.autocast(self._device.type, **self._autocast):
                logits = self.classifier([self.cells.sentences[i] for i in batch])
            loss = nn.functional.cross_entropy(logits, code, weight=self._class_weight, reduction="sum") / total
            summed += float(loss.detach())
            if not np.isfinite(summed):
                return summed
            self._scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
        self._scaler.unscale_(self._optimiser)
        nn.utils.clip_grad_norm_(self.classifier.parameters(), LARGEST_GRADIENT)
        self._scaler.step(self._optimiser)
        self._scaler.update()
        return summed

    def _settle(self) -> None:
        places = drawn(len(self.cells.codes), seed=self.seed)
        cells = [self.cells.sentences[i] for i in places]
        self.classifier.settle(cells, self.cells.lengths[places], **self.running)

    def _judge(self, *, loss: float | None) -> None:
        """Score the validation cells; the epoch with the best macro F1, ties by the lower loss, is kept."""
        logits = self.classifier.logits(self.validation.sentences, self.validation.lengths, **self.running)
        if not np.isfinite(logits).all():
            self.diverged_at_step = self.epoch * self._steps_per_epoch - 1
            self.best = self.best or self._state(score=0.0, loss=float("inf"))
            return
        codes = self.validation.codes
        score = macro_f1(codes, logits.argmax(axis=1), classes=np.arange(logits.shape[1]))
        found = float(nn.functional.cross_entropy(torch.from_numpy(logits), torch.from_numpy(codes)))
        self.epochs.append({"epoch": self.epoch, "loss": loss, "validation_macro_f1": score, "validation_loss": found})
        if not self.best or (score, -found) > (self.best["score"], -self.best["loss"]):
            self.best = self._state(score=score, loss=found)

    def _state(self, *, score: float, loss: float) -> dict[str, Any]:
        weights = {name: value.detach().cpu().clone() for name, value in self.classifier.state().items()}
        return {"epoch": self.epoch, "score": score, "loss": loss, "weights": weights}

    @torch.no_grad()
    def _load(self, weights: dict[str, Tensor]) -> None:
        for name, value in self.classifier.state().items():
            if weights[name].shape != value.shape:
                raise ValueError(f"{name} of shape {tuple(weights[name].shape)}, not {tuple(value.shape)}")
            value.copy_(weights[name])

    def _settings(self) -> str:
        parts = [self.cells.codes, self.cells.lengths, self.validation.codes, self.validation.lengths]
        said = [asdict(self.how), self.seed, [part.tolist() for part in parts], self.running["precision"]]
        return hashlib.sha256(json.dumps(said).encode()).hexdigest()

    def _save(self, file: Path) -> None:
        """Write the state so that a whole file is there at any moment."""
        on_gpu = self._device.type == "cuda"
        state = {
            "settings": self._settings(),
            "epoch": self.epoch,
            "epochs": self.epochs,
            "best": self.best,
            "diverged_at_step": self.diverged_at_step,
            "weights": self._state(score=0.0, loss=0.0)["weights"],
            "optimiser": self._optimiser.state_dict(),
            "scaler": self._scaler.state_dict(),
            "random": torch.get_rng_state(),
            "random_gpu": torch.cuda.get_rng_state(self._device) if on_gpu else None,
        }
        with written_whole(file) as unfinished:
            torch.save(state, unfinished)

    def _restore(self, file: Path) -> bool:
        """Take up the state in ``file``, if there is one of the same settings; raises ``InvalidInputError``."""
        if not file.exists():
            return False
        with resumed(file) as state:
            same = bool(state["settings"] == self._settings())
            if same:
                self._take_up(state)
        return same

    def _take_up(self, state: dict[str, Any]) -> None:
        self.epoch, self.epochs, self.best = int(state["epoch"]), state["epochs"], state["best"]
        if not {"epoch", "score", "loss"} <= self.best.keys() or not all(
            "validation_macro_f1" in e for e in self.epochs
        ):
            raise ValueError("epochs without scores")
        self.diverged_at_step = state["diverged_at_step"]
        for weights in (self.best["weights"], state["weights"]):
            self._load(weights)
        self._optimiser.load_state_dict(state["optimiser"])
        self._scaler.load_state_dict(state["scaler"])
        torch.set_rng_state(state["random"])
        if state["random_gpu"] is not None:
            torch.cuda.set_rng_state(state["random_gpu"], self._device)


def optimiser(network: nn.Module, *, learning_rate: float, weight_decay: float) -> torch.optim.AdamW:
    """Return AdamW over the parameters of a network that require gradients; matrices decay, vectors do not."""
    # norms and biases are vectors; pulling them to zero is no regularisation
    trained = [p for p in network.parameters() if p.requires_grad]
    vectors, matrices = [p for p in trained if p.ndim < 2], [p for p in trained if p.ndim >= 2]
    groups = [{"params": matrices, "weight_decay": weight_decay}, {"params": vectors, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=learning_rate)
