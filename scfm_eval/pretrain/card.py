"""What is known of a pretrained model: its numbers for machines, a card and a figure for people."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from scfm_eval.models.checkpoint import read_tensors
from scfm_eval.pretrain.card_text import card_text
from scfm_eval.pretrain.corpus import Corpus
from scfm_eval.pretrain.figure import draw_losses
from scfm_eval.pretrain.loop import Pretraining, held_out_score
from scfm_eval.pretrain.record import RECORD
from scfm_eval.pretrain.writing import WEIGHTS, write_text

_HUMAN = re.compile(r"ENSG\d+")
_NO_LOSSES = ("unigram", "n_hidden")


def write_card(
    folder: Path,
    *,
    corpus: Corpus,
    training: Pretraining,
    files: Sequence[str],
    licence: str,
    remarks: Sequence[str] = (),
) -> None:
    """Write ``README.md``, ``pretraining.json`` and ``loss.png`` into the folder of a written model.

    Held-out cells of each source are judged once more, as trained and with weights rounded to float16.

    Parameters
    ----------
    folder
        Holds the model's files.
    corpus, training
        What it learned from, and how; the training is over.
    files
        Names of the model's files.
    licence, remarks
        Of the weights, and sentences for the limits in the card.

    Raises
    ------
    InvalidInputError
        A file cannot be written.
    """
    facts = facts_of(folder, corpus=corpus, training=training, files=files)
    facts = {"name": folder.resolve().name, "licence": licence, **facts, "remarks": list(remarks)}
    write_text(folder / RECORD, json.dumps(facts, indent=1))
    draw_losses(folder / "loss.png", curve=facts["loss"]["curve"], best=facts["loss"]["best"])
    write_text(folder / "README.md", card_text(facts))


def facts_of(folder: Path, *, corpus: Corpus, training: Pretraining, files: Sequence[str]) -> dict[str, Any]:
    """Return what was measured of a pretrained model, in plain containers; see :func:`write_card`."""
    on_disk = sum(tensor.numel() for tensor in read_tensors(folder / WEIGHTS).values())
    trained = sum(parameter.numel() for parameter in training.network.parameters())
    return {
        **training.of,
        "n_parameters": on_disk,
        "n_parameters_for_training_only": trained - on_disk,
        "files": {name: (folder / name).stat().st_size for name in sorted(files)},
        "settings": asdict(training.how),
        "precision": training.precision,
        "data": _data(corpus, training=training),
        "compute": _compute(training),
        "loss": _loss(corpus, training=training),
    }


def _data(corpus: Corpus, *, training: Pretraining) -> dict[str, Any]:
    parts = {"training": training.training, "held_out": training.held_out}
    sources = {
        str(name): {part: int((corpus.source[cells] == name).sum()) for part, cells in parts.items()}
        for name in np.unique(corpus.source)
    }
    return {
        "n_cells": len(corpus.source),
        "n_genes": len(corpus.genes),
        "human": all(_HUMAN.fullmatch(gene) for gene in corpus.genes),
        "sources": sources,
    }


def _compute(training: Pretraining) -> dict[str, Any]:
    return {
        "places": training.places,
        "seconds": round(training.seconds, 1),
        "steps": training.step,
        "most_steps": training.n_steps,
        "epochs": training.step / training.steps_per_epoch,
    }


def _loss(corpus: Corpus, *, training: Pretraining) -> dict[str, Any]:
    by_source = _by_source(corpus, training=training)
    scores = [held_out_score(entry) for entry in training.curve]
    change = 100 * (scores[-1] / scores[-2] - 1) if len(scores) > 1 and scores[-2] else None
    return {
        "name": training.objective.loss_name,
        "curve": training.curve,
        "best": training.best["judgement"],
        "last_change_percent": change,
        "still_falling": None if change is None else change < 0 and training.best["judgement"] == len(scores) - 1,
        "held_out": {"all": _mean(by_source), "sources": by_source},
    }


def _by_source(corpus: Corpus, *, training: Pretraining) -> dict[str, dict[str, Any]]:
    cells = {
        str(name): training.held_out[corpus.source[training.held_out] == name] for name in np.unique(corpus.source)
    }
    trained = {name: training.judge(own) for name, own in cells.items()}
    with _rounded(training.network):
        on_disk = {name: training.judge(own) for name, own in cells.items()}
    return {
        name: {
            "n_cells": len(cells[name]),
            "n_hidden": found["n_hidden"],
            "unigram": found["unigram"],
            "trained": {part: value for part, value in found.items() if part not in _NO_LOSSES},
            "float16": {part: value for part, value in on_disk[name].items() if part not in _NO_LOSSES},
        }
        for name, found in trained.items()
    }


@contextmanager
def _rounded(network: nn.Module) -> Iterator[None]:
    """Give the network the weights that are on disk, for as long as the block runs."""
    exact = {name: value.detach().clone() for name, value in network.state_dict().items()}
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_(parameter.half())
    try:
        yield
    finally:
        network.load_state_dict(exact)


def _mean(by_source: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Return the means over all hidden places of all sources."""
    found = list(by_source.values())
    n_hidden = np.array([one["n_hidden"] for one in found])

    def mean(values: list[float]) -> float:
        return float(np.average(values, weights=n_hidden))

    parts = found[0]["trained"]
    return {
        "n_cells": sum(one["n_cells"] for one in found),
        "n_hidden": int(n_hidden.sum()),
        "unigram": mean([one["unigram"] for one in found]),
        **{kind: {part: mean([one[kind][part] for one in found]) for part in parts} for kind in ("trained", "float16")},
    }
