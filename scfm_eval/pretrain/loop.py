"""The training loop of pretraining: judged on held-out cells, and the same result if it was interrupted."""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from tqdm import tqdm

from scfm_eval.errors import InvalidInputError
from scfm_eval.models.batching import Precision, batches_by_length
from scfm_eval.models.checkpoint import written_whole
from scfm_eval.models.training import optimiser, rate, shuffled_batches
from scfm_eval.pretrain.objective import Batch, Objective

_LARGEST_GRADIENT = 1.0
_JUDGED_TOGETHER = 1 << 15  # genes
_JUDGED_WITH = 1  # seeds the places that are hidden in held-out cells: the same ones each time
_STATE_KEYS = ("settings", "step", "seconds", "curve", "best", "weights", "optimiser")
STATE = "pretraining.pt"
"""File in the folder of a run that an interrupted run goes on from."""


@dataclass(frozen=True)
class How:
    """How a model is pretrained: AdamW, linear warm-up and decay.

    Parameters
    ----------
    epochs, batch_size
        Most passes over the training cells, and cells in a batch.
    learning_rate, warmup, weight_decay
        Highest rate, share of the steps that lead up to it, and decay of matrices.
    fewest
        Smallest share of the cells' genes that a batch reads in training, so that panels are read well too; 1 reads
        all.
    patience
        Judgements without a lower held-out loss after which training stops.
    every
        Steps between two judgements, after which a checkpoint is written; ``None`` is once an epoch.
    seed
        Of the order of cells, of what is hidden, and of dropout.

    Raises
    ------
    InvalidInputError
        A setting is outside its range.
    """

    epochs: int = 20
    batch_size: int = 32
    learning_rate: float = 1e-3
    warmup: float = 0.05
    weight_decay: float = 0.01
    fewest: float = 0.1
    patience: int = 3
    every: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        sound = {
            "epochs": self.epochs >= 1,
            "batch_size": self.batch_size >= 1,
            "learning_rate": 0 < self.learning_rate < math.inf,
            "warmup": 0 <= self.warmup <= 1,
            "weight_decay": 0 <= self.weight_decay < math.inf,
            "fewest": 0 < self.fewest <= 1,
            "patience": self.patience >= 1,
            "every": self.every is None or self.every >= 1,
            "seed": self.seed >= 0,
        }
        faults = [f"--{name.replace('_', '-')} {getattr(self, name)}" for name, good in sound.items() if not good]
        if faults:
            raise InvalidInputError(
                asked=f"pretraining with {', '.join(faults)}",
                found="settings outside their range",
                remedy="give counts and rates above 0, a seed of 0 or more, --warmup in [0, 1], --fewest in (0, 1]",
            )


@dataclass(eq=False)
class Pretraining:
    """The state of a pretraining, and what moves it on.

    Parameters
    ----------
    objective
        Its network is trained in place.
    training, held_out
        Cells to learn from and to judge by ``(n,)``.
    how
        Settings.
    device, precision
        Where it runs, and the type of matrix products.
    step, seconds
        Steps taken, and the time that they and the judgements took, also of earlier parts of the run.
    curve
        A judgement each: ``step``, ``training`` (mean loss since the judgement before) and ``held_out_`` losses.
    best
        ``judgement`` (its place in the curve) with the lowest held-out ``score``, and the ``weights`` at that time.

    Raises
    ------
    InvalidInputError
        There are fewer cells to learn from than in a batch.
    """

    objective: Objective
    training: NDArray[np.int64]
    held_out: NDArray[np.int64]
    how: How
    device: str = "cpu"
    precision: Precision = "float32"
    step: int = 0
    seconds: float = 0.0
    curve: list[dict[str, float]] = field(default_factory=list)
    best: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if len(self.training) < self.how.batch_size:
            raise InvalidInputError(
                asked=f"batches of {self.how.batch_size} cells",
                found=f"{len(self.training)} cells to learn from",
                remedy="give a larger corpus, or a smaller --batch-size",
            )
        self.network = self.objective.network.to(self.device)
        half = {"dtype": getattr(torch, self.precision), "enabled": self.precision != "float32"}
        self._autocast = {"device_type": torch.device(self.device).type, **half}
        self._optimiser = optimiser(
            self.network, learning_rate=self.how.learning_rate, weight_decay=self.how.weight_decay
        )
        self.steps_per_epoch = -(-len(self.training) // self.how.batch_size)
        self._drawn: tuple[int, list[NDArray[np.int64]]] = (-1, [])

    @property
    def n_steps(self) -> int:
        """Steps of a training that is not stopped early."""
        return self.how.epochs * self.steps_per_epoch

    def run(self, folder: Path) -> None:
        """Train to the end, or as long as it helps, and leave the best weights in the network.

        Parameters
        ----------
        folder
            Gets a checkpoint at each judgement; a run of the same settings goes on from the one that is there.

        Raises
        ------
        InvalidInputError
            The checkpoint cannot be read or written, is of a run with other settings, or the loss was no number.
        """
        self._restore(folder / STATE)
        every = self.how.every or self.steps_per_epoch
        bar = tqdm(desc=f"{self.objective.layout} pretraining", total=self.n_steps, initial=self.step, disable=None)
        with bar, torch.random.fork_rng(devices=[]):
            while not self._is_over():
                started, losses = time.perf_counter(), []
                for _ in range(min(every, self.n_steps - self.step)):
                    losses.append(self._advance())
                    bar.update()
                self._judge(training_loss=float(np.mean(losses)))
                self.seconds += time.perf_counter() - started
                bar.set_postfix({name: f"{value:.3f}" for name, value in self.curve[-1].items() if name != "step"})
                self._save(folder / STATE)
        if self.best:
            self.network.load_state_dict(self.best["weights"])
        self.network.eval()

    def judge(self, cells: NDArray[np.int64]) -> dict[str, float]:
        """Return the mean losses on ``cells``, all their genes read and the same ones hidden each time, and how many.

        ``unigram`` is the loss of the answer that knows gene frequencies only, ``n_hidden`` the number of places.
        """
        self.network.eval()
        total: dict[str, float] = {}
        n_genes = self.objective.n_genes[cells]
        for number, chosen in enumerate(batches_by_length(n_genes, token_budget=_JUDGED_TOGETHER)):
            batch = self.objective.batch(cells[chosen], rng=np.random.default_rng([_JUDGED_WITH, number]))
            with torch.inference_mode(), torch.autocast(**self._autocast):
                losses = {name: float(loss) for name, loss in self.objective.losses(batch).items()}
            n, losses["unigram"] = len(batch.answers), float(self.objective.unigram_losses(batch).mean())
            for name, loss in losses.items():
                total[name] = total.get(name, 0.0) + n * loss
            total["n_hidden"] = total.get("n_hidden", 0) + n
        return {name: value if name == "n_hidden" else value / total["n_hidden"] for name, value in total.items()}

    def _is_over(self) -> bool:
        stale = len(self.curve) - 1 - self.best["judgement"] if self.best else 0
        return self.step >= self.n_steps or stale >= self.how.patience

    def _advance(self) -> float:
        """Take one optimiser step, of which everything drawn is determined by the seed and the number of the step."""
        epoch, place = divmod(self.step, self.steps_per_epoch)
        rng = np.random.default_rng([self.how.seed, self.step])
        torch.manual_seed(int(rng.integers(1 << 62)))
        # one share for a batch, evenly on a logarithmic scale: its cells stay of like length
        share = float(np.exp(rng.uniform(np.log(self.how.fewest), 0.0)))
        batch = self.objective.batch(self._batches(epoch)[place], rng=rng, share=share)
        loss = self._learn(batch)
        self.step += 1
        return loss

    def _batches(self, epoch: int) -> list[NDArray[np.int64]]:
        if self._drawn[0] != epoch:
            rng = np.random.default_rng([self.how.seed, epoch, 0])
            n_genes = self.objective.n_genes[self.training]
            drawn = shuffled_batches(n_genes, batch_size=self.how.batch_size, rng=rng)
            self._drawn = (epoch, [self.training[batch] for batch in drawn])
        return self._drawn[1]

    def _learn(self, batch: Batch) -> float:
        self.network.train()
        part = rate(self.step, n_steps=self.n_steps, warmup=self.how.warmup)
        for group in self._optimiser.param_groups:
            group["lr"] = self.how.learning_rate * part
        self._optimiser.zero_grad(set_to_none=True)
        with torch.autocast(**self._autocast):
            losses = self.objective.losses(batch)
        loss = torch.stack(list(losses.values())).sum()
        if not torch.isfinite(loss):
            raise _no_number(f"step {self.step} of pretraining")
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self.network.parameters(), _LARGEST_GRADIENT)
        self._optimiser.step()
        return float(next(iter(losses.values())).detach())

    def _judge(self, *, training_loss: float) -> None:
        found = self.judge(self.held_out)
        held_out = {f"held_out_{name}": value for name, value in found.items() if name != "n_hidden"}
        score = held_out_score(held_out)
        if not math.isfinite(score):
            raise _no_number(f"the held-out loss after step {self.step} of pretraining")
        self.curve.append({"step": self.step, "training": training_loss, **held_out})
        if not self.best or score < self.best["score"]:
            weights = {name: value.detach().cpu().clone() for name, value in self.network.state_dict().items()}
            self.best = {"score": score, "judgement": len(self.curve) - 1, "weights": weights}

    def _settings(self) -> str:
        sizes = {name: list(value.shape) for name, value in self.network.state_dict().items()}
        cells = [hashlib.sha256(part.tobytes()).hexdigest() for part in (self.training, self.held_out)]
        said = [self.objective.layout, asdict(self.how), sizes, cells, self.precision]
        return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()

    def _save(self, file: Path) -> None:
        state = {
            "settings": self._settings(),
            "step": self.step,
            "seconds": self.seconds,
            "curve": self.curve,
            "best": self.best,
            "weights": self.network.state_dict(),
            "optimiser": self._optimiser.state_dict(),
        }
        with written_whole(file) as unfinished:
            torch.save(state, unfinished)

    def _restore(self, file: Path) -> None:
        if not file.exists():
            return
        state = _read_state(file)
        if state["settings"] != self._settings():
            raise InvalidInputError(
                asked=f"a run with these settings in {file.parent}",
                found="the checkpoint of a run with other settings, cells or sizes",
                remedy=f"give another --out, the settings of that run, or delete {file.name}",
            )
        self.step, self.seconds, self.curve, self.best = (state[key] for key in ("step", "seconds", "curve", "best"))
        self.network.load_state_dict(state["weights"])
        self._optimiser.load_state_dict(state["optimiser"])


def held_out_score(entry: Mapping[str, float]) -> float:
    """Return what the best judgement is chosen by: the sum of the held-out losses in an entry of the curve."""
    return sum(value for name, value in entry.items() if name.startswith("held_out_") and name != "held_out_unigram")


def _read_state(file: Path) -> dict[str, Any]:
    try:
        state = torch.load(file, map_location="cpu", weights_only=True)
        return {key: state[key] for key in _STATE_KEYS}
    except Exception as error:  # damaged bytes can raise nearly anything
        raise InvalidInputError(
            asked=f"the checkpoint {file} to go on from",
            found=f"a file that is truncated or no checkpoint ({type(error).__name__}); nothing of it was executed",
            remedy=f"delete {file.name} to begin anew, or give another --out",
        ) from error


def _no_number(asked: str) -> InvalidInputError:
    return InvalidInputError(
        asked=asked,
        found="a loss that is no number",
        remedy="give a lower --learning-rate and another --out; the checkpoint before is unharmed",
    )
