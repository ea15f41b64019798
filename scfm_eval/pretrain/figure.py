"""The curves of a pretraining as a small picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from scfm_eval.models.files import written_whole

_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#555555")


def draw_losses(path: Path, *, curve: Sequence[Mapping[str, float]], best: int) -> None:
    """Draw each loss over the steps, and where the best judgement was, into a PNG.

    Parameters
    ----------
    path
        Written whole or not at all; raises ``InvalidInputError`` where that fails.
    curve
        One entry per judgement: ``step`` and losses by name.
    best
        Place of the best judgement in the curve.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5, 3), dpi=100, layout="constrained")
    axes = figure.subplots()
    steps = [entry["step"] for entry in curve]
    names = [name for name in curve[0] if name != "step"]
    for i, name in enumerate(names):
        style = "--" if name.endswith("unigram") else "-"
        label = name.replace("_", " ")
        values = [entry[name] for entry in curve]
        axes.plot(steps, values, style, color=_COLOURS[i % len(_COLOURS)], marker=".", label=label)
    axes.axvline(steps[best], color="#aaaaaa", linewidth=1, label="best")
    axes.set(xlabel="step", ylabel="loss")
    axes.legend(frameon=False, fontsize="small")
    with written_whole(path) as unfinished:
        figure.savefig(unfinished, format="png", metadata={"Software": None})
