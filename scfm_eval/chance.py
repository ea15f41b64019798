"""Whether a score is better than one of somebody who knows nothing about the cells: the guard `chance`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from scfm_eval import guards
from scfm_eval.results import ScoreRecord

BEST_BY_NOISE = frozenset({"ilisi", "batch", "domain_accuracy", "macro_f1_drop"})
"""Headline scores that noise satisfies: it mixes batches and domains, and loses nothing from one to the other."""


def tell_of_chance(scores: Mapping[str, ScoreRecord], *, headline: Sequence[str], role: str, asked: str) -> None:
    """Tell (guard ``chance``) which headline scores are not surely better than chance: their interval reaches it.

    Nothing is told of controls, which are there to be compared with, of scores without chance level or interval, and of
    those in :data:`BEST_BY_NOISE`.

    Parameters
    ----------
    scores
        Records by name.
    headline, role
        Headline scores of the task, and the role of the model.
    asked
        What was scored, in messages.
    """
    below = [name for name in headline if name not in BEST_BY_NOISE and name in scores and _reaches(scores[name])]
    if below and role != "control":
        levels = ", ".join(f"{name} (chance {scores[name].chance:.3f})" for name in below)
        guards.tell(
            "chance",
            asked=asked,
            found=f"no better than chance: {levels}",
            remedy="read these as knowing nothing, whatever their order among models",
        )


def _reaches(record: ScoreRecord) -> bool:
    if record.value is None or record.chance is None or record.low is None or record.high is None:
        return False
    return record.low <= record.chance if record.higher_is_better else record.high >= record.chance
