"""What a folder of a run says of it for machines: what it is of from the start, its numbers once it is over."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from scfm_eval.errors import InvalidInputError
from scfm_eval.models.checkpoint import read_dictionary
from scfm_eval.pretrain.corpus import Corpus
from scfm_eval.pretrain.loop import STATE
from scfm_eval.pretrain.objective import Objective, Sizes
from scfm_eval.pretrain.writing import write_text

RECORD = "pretraining.json"
"""File in the folder of a run with its numbers."""


def identity(corpus: Corpus, *, objective: Objective, sizes: Sizes) -> dict[str, Any]:
    """Return what a run is of, as far as its checkpoint does not tell: layout, corpus, sizes and hidden share."""
    return {
        "layout": objective.layout,
        "corpus": {"file": corpus.name, "sha256": corpus.sha256},
        "sizes": asdict(sizes),
        "hidden_share": objective.hidden_share,
    }


def begin(folder: Path, *, run: Mapping[str, Any]) -> None:
    """Write what a run is of into its folder, unless it goes on with one that is there.

    Parameters
    ----------
    folder
        Of the run; made if need be.
    run
        From :func:`identity`.

    Raises
    ------
    InvalidInputError
        The checkpoint in the folder is of another corpus or network, or nothing can be written there.
    """
    record = folder / RECORD
    if (folder / STATE).exists() and record.exists():
        said = read_dictionary(record)
        others = [name for name, value in run.items() if said.get(name) != value and name in said]
        if others:
            raise InvalidInputError(
                asked=f"a run with this {', '.join(others)} in {folder}",
                found="the checkpoint of a run with " + "; ".join(f"{name} {said[name]}" for name in others),
                remedy=f"give another --out, what that run was given, or delete {STATE}",
            )
        return
    write_text(record, json.dumps(run, indent=1))
