"""The model card of a pretrained model, in Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from typing import Any

from scfm_eval.pretrain.loop import UNSET, How

_MEANING = {entry.name: entry.metadata["meaning"] for entry in fields(How)}


def card_text(facts: Mapping[str, Any]) -> str:
    """Return the card of the model with these facts, from :func:`~scfm_eval.pretrain.card.facts_of`."""
    parts = (_head, _data, _settings, _compute, _curve, _held_out, _limits)
    return "\n\n".join("\n".join(part(facts)) for part in parts)


def _head(facts: Mapping[str, Any]) -> list[str]:
    sizes = facts["sizes"]
    extra = facts["n_parameters_for_training_only"]
    rest = f"; {extra:,} more were needed in training only" if extra else ""
    return [
        f"# {facts['name']}",
        "",
        f"A small model in the layout of {facts['layout']}, made by `python -m scfm_eval.pretrain`: "
        f"{sizes['n_blocks']} blocks of width {sizes['width']}, {sizes['n_heads']} heads, "
        f"feed-forward parts of width {sizes['hidden']}, at most {sizes['length']} tokens of a cell.",
        f"{facts['n_parameters']:,} parameters, on disk as float16{rest}. Licence of the weights: {facts['licence']}.",
        "",
        *_table(("file", "bytes"), ((f"`{name}`", f"{size:,}") for name, size in facts["files"].items())),
    ]


def _data(facts: Mapping[str, Any]) -> list[str]:
    data, corpus = facts["data"], facts["corpus"]
    rows = ((name, f"{n['training']:,}", f"{n['held_out']:,}") for name, n in data["sources"].items())
    return [
        "## Data",
        "",
        f"`{corpus['file']}`, {data['n_cells']:,} cells × {data['n_genes']:,} genes; "
        f"SHA-256 of the file `{corpus['sha256']}`.",
        "The cells have the licences of their sources, which the corpus does not state.",
        "",
        *_table(("source", "cells learned from", "cells held out"), rows),
    ]


def _settings(facts: Mapping[str, Any]) -> list[str]:
    said = ((name, UNSET if value is None else str(value)) for name, value in facts["settings"].items())
    rows = ((f"`{name}`", value, _MEANING[name]) for name, value in said)
    hidden = ("`hidden_share`", str(facts["hidden_share"]), "chance of a gene to be hidden")
    precision = ("`precision`", facts["precision"], "type of matrix products in training")
    return ["## Settings", "", *_table(("setting", "value", "meaning"), (*rows, hidden, precision))]


def _compute(facts: Mapping[str, Any]) -> list[str]:
    compute = facts["compute"]
    places = [
        f"`{place['machine']}` ({_count(place['cores'], 'core')}, of which {place['threads']} used, "
        f"device `{place['device']}`, torch {place['torch']})"
        for place in compute["places"]
    ]
    return [
        "## Compute",
        "",
        f"{compute['seconds']:,.0f} s of training and judging for {compute['steps']:,} of at most "
        f"{compute['most_steps']:,} steps ({compute['epochs']:.3g} epochs), in {facts['precision']}.",
        f"It ran on {', then on '.join(places)}.",
    ]


def _curve(facts: Mapping[str, Any]) -> list[str]:
    loss = facts["loss"]
    names = [name for name in loss["curve"][0] if name != "step"]
    rows = (
        (f"{entry['step']:,.0f}", *(f"{entry[name]:.4g}" for name in names), "best" if i == loss["best"] else "")
        for i, entry in enumerate(loss["curve"])
    )
    return [
        "## Loss",
        "",
        f"The loss is the {loss['name']}. Training losses are means since the row before, with parts of the cells "
        "read; held-out losses are of whole cells. The weights are those of the best row.",
        "",
        *_table(("step", *(name.replace("_", " ") for name in names), ""), rows),
        "",
        "![losses over the steps](loss.png)",
        "",
        _ending(loss),
    ]


def _ending(loss: Mapping[str, Any]) -> str:
    """Say whether more training would have helped, as far as the last judgements tell."""
    n, change = len(loss["curve"]), loss["last_change_percent"]
    if change is None:
        return "There was one judgement only, so that nothing says whether the held-out loss was still falling."
    moved = f"from the last but one judgement to the last it changed by {change:+.2f} %"
    if loss["still_falling"]:
        return f"The held-out loss was still falling when training ended: {moved}."
    step = loss["curve"][loss["best"]]["step"]
    return (
        f"The held-out loss was no longer falling when training ended: {moved}, and the lowest was "
        f"{_count(n - 1 - loss['best'], 'judgement')} earlier, at step {step:,.0f}."
    )


def _held_out(facts: Mapping[str, Any]) -> list[str]:
    found = facts["loss"]["held_out"]
    first, *others = found["all"]["trained"]
    columns = ("source", "cells", "hidden genes", "unigram model", "trained", "as on disk", "lower by")
    extra = tuple(f"{name.replace('_', ' ')}, {kind}" for name in others for kind in ("trained", "as on disk"))
    rows = [_judged(name, one, first=first, others=others) for name, one in found["sources"].items()]
    every = found["all"]
    return [
        "## Held-out cells by source",
        "",
        "The unigram model knows how the genes are distributed in the training cells and nothing of the cell. "
        "`as on disk` is with weights rounded to float16, `lower by` says how far this is below the unigram model "
        "(with a minus: above). "
        "Other genes are hidden here than in the curve.",
        "",
        *_table((*columns, *extra), (*rows, _judged("**all**", every, first=first, others=others))),
        "",
        f"On all held-out cells the loss is {_compared(_lower(every, first))}. "
        f"Rounding to float16 changed it from {every['trained'][first]:.6g} to {every['float16'][first]:.6g}.",
    ]


def _judged(name: str, one: Mapping[str, Any], *, first: str, others: Sequence[str]) -> tuple[str, ...]:
    kinds = ("trained", "float16")
    return (
        name,
        f"{one['n_cells']:,}",
        f"{one['n_hidden']:,}",
        f"{one['unigram']:.4g}",
        *(f"{one[kind][first]:.4g}" for kind in kinds),
        _percent(_lower(one, first)),
        *(f"{one[kind][part]:.4g}" for part in others for kind in kinds),
    )


def _lower(one: Mapping[str, Any], part: str) -> float | None:
    """Return by how many percent a loss is below the unigram model's; ``None`` where that is 0."""
    return 100 * (1 - one["float16"][part] / one["unigram"]) if one["unigram"] else None


def _percent(value: float | None) -> str:
    return "—" if value is None else f"{value:.1f} %"


def _compared(lower: float | None) -> str:
    if lower is None:
        return "no share of that of the unigram model, which makes no error"
    return f"{_percent(abs(lower))} {'higher' if lower < 0 else 'lower'} than that of the unigram model"


def _limits(facts: Mapping[str, Any]) -> list[str]:
    data, fewest = facts["data"], facts["settings"]["fewest"]
    learned_from = sum(n["training"] for n in data["sources"].values())
    read = "all genes" if fewest == 1 else f"a random share of the genes, from {100 * fewest:.3g} % to all,"
    return [
        "## Limits",
        "",
        f"- A small network, trained on {_count(learned_from, 'cell')}: it stands for its layout, not for the "
        "published model.",
        f"- {'Human genes only' if data['human'] else 'Genes of the corpus only'}, of "
        f"{_count(len(data['sources']), 'source')}: {', '.join(map(_line, data['sources']))}. Other tissues and assays "
        "are foreign to it.",
        f"- Cells are read as short sentences of at most {facts['sizes']['length']} tokens.",
        f"- Of each cell {read} was read in training.",
        *(f"- {_line(remark)}" for remark in facts["remarks"]),
        "- Made to have a model that this benchmark can run at once; not for use beyond this benchmark.",
    ]


def _count(n: int, what: str) -> str:
    return f"{n:,} {what}{'' if n == 1 else 's'}"


def _line(text: str) -> str:
    return " ".join(text.split())


def _table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    lines = [columns, ["---"] * len(columns), *rows]
    return ["| " + " | ".join(_line(cell).replace("|", "\\|") for cell in line) + " |" for line in lines]
