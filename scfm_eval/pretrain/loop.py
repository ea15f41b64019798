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

from scfm_eval.environment import machine
from scfm_eval.errors import InvalidInputError
from scfm_eval.models.batching import Precision, batches_by_length
from scfm_eval.models.files import resumed, written_whole
from scfm_eval.models.training import LARGEST_GRADIENT, optimiser, rate, shuffled_batches
from scfm_eval.pretrain.objective import Batch, Objective

_JUDGED_TOGETHER = 1 << 15  # genes
_JUDGED_WITH = 1  # seeds the places that are hidden in held-out cells: the same ones each time
_SEEDS = 1 << 63  # what torch takes
UNSET = "once an epoch"
"""What a setting of ``None`` means: there is one, ``every``."""
STATE = "pretraining.pt"
"""File in the folder of a run that an interrupted run goes on from."""


def _setting(default: Any, meaning: str) -> Any:
    return field(default=default, metadata={"meaning": meaning})


@dataclass(frozen=True)
class How:
    """How a model is pretrained; what each setting means stands beside it, for ``--help`` and for the card too.

    Raises
    ------
    InvalidInputError
        A setting is outside its range.
    """

    epochs: int = _setting(20, "most passes over the training cells")
    batch_size: int = _setting(32, "cells in a batch")
    learning_rate: float = _setting(1e-3, "highest learning rate of AdamW; it decays linearly to 0")
    warmup: float = _setting(0.05, "share of the steps that lead up to the highest rate")
    weight_decay: float = _setting(0.01, "decay of matrices; vectors do not decay")
    fewest: float = _setting(
        0.1,
        "smallest share of the cells' genes that a batch reads in training, so that panels are read well too; "
        "1 reads all",
    )
    patience: int = _setting(3, "judgements without a lower held-out loss after which training stops")
    every: int | None = _setting(None, "steps between two judgements, after each of which a checkpoint is written")
    seed: int = _setting(
        0, "decides first weights, held-out cells, order of cells, what is hidden, and dropout; below 2**63"
    )

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
            "seed": 0 <= self.seed < _SEEDS,
        }
        faults = [f"--{name.replace('_', '-')} {getattr(self, name)}" for name, good in sound.items() if not good]
        if faults:
            raise InvalidInputError(
                asked=f"pretraining with {', '.join(faults)}",
                found="settings outside their range",
                remedy="give counts and rates above 0, a seed of 0 or more and below 2**63, --warmup in [0, 1], "
                "--fewest in (0, 1]",
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
    of
        What is learned from which cells, from :func:`~scfm_eval.pretrain.record.identity`: no run goes on from the
        checkpoint of another.
    places
        Machines that steps were taken on, with device, number of threads and version of torch, in their order.
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
    of: Mapping[str, Any] = field(default_factory=dict)
    places: list[dict[str, Any]] = field(default_factory=list)
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
            The checkpoint cannot be read or written, is of another run or of other settings, or the loss was no number.
        """
        self._restore(folder / STATE)
        if not self._is_over():
            self._note_place()
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

    def _note_place(self) -> None:
        here = machine()
        place = {
            "machine": here["kind"],
            "cores": here["cores"],
            "device": self.device,
            "threads": torch.get_num_threads(),
            "torch": str(torch.__version__),
        }
        if place not in self.places:
            self.places.append(place)

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
            raise self._no_number(f"step {self.step} of pretraining")
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self.network.parameters(), LARGEST_GRADIENT)
        self._optimiser.step()
        return float(next(iter(losses.values())).detach())

    def _judge(self, *, training_loss: float) -> None:
        found = self.judge(self.held_out)
        held_out = {f"held_out_{name}": value for name, value in found.items() if name != "n_hidden"}
        score = held_out_score(held_out)
        if not math.isfinite(score):
            raise self._no_number(f"the held-out loss after step {self.step} of pretraining")
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
            "of": dict(self.of),
            "settings": self._settings(),
            "places": self.places,
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
        with resumed(file) as state:
            others = [name for name, value in self.of.items() if state["of"][name] != value]
            if others:
                found = "; ".join(f"{name} {state['of'][name]}" for name in others)
                raise self._of_another(file, what=" and ".join(others).replace("_", " "), found=f"a run with {found}")
            if state["settings"] != self._settings():
                raise self._of_another(file, what="settings", found="a run with other settings or cells")
            self._take_up(state)

    def _take_up(self, state: Mapping[str, Any]) -> None:
        curve, best = state["curve"], state["best"]
        if any(entry.keys() != curve[-1].keys() for entry in curve) or curve[-1]["step"] != state["step"]:
            raise ValueError("judgements that do not fit each other or the step")
        if held_out_score(curve[best["judgement"]]) != best["score"]:
            raise ValueError("a best judgement that is not in the curve")
        for weights in (best["weights"], state["weights"]):
            self.network.load_state_dict(weights)
        self._optimiser.load_state_dict(state["optimiser"])
        self.step, self.curve, self.best = int(state["step"]), curve, best
        self.seconds, self.places = float(state["seconds"]), [dict(place) for place in state["places"]]

    def _of_another(self, file: Path, *, what: str, found: str) -> InvalidInputError:
        return InvalidInputError(
            asked=f"a run that differs in its {what} from the one in {file.parent}",
            found=f"the checkpoint of {found}",
            remedy=f"give another --out, what that run was given, or delete {file.name} and the model beside it",
        )

    def _no_number(self, asked: str) -> InvalidInputError:
        kept = "; the checkpoint before is unharmed" if self.curve else ""
        return InvalidInputError(
            asked=asked,
            found="a loss that is no number",
            remedy=f"give a lower --learning-rate and another --out{kept}",
        )


def held_out_score(entry: Mapping[str, float]) -> float:
    """Return what the best judgement is chosen by: the sum of the held-out losses in an entry of the curve."""
    return sum(value for name, value in entry.items() if name.startswith("held_out_") and name != "held_out_unigram")
