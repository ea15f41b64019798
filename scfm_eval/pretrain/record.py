"""What a folder of a run says of it for machines: what it is of from the start, its numbers once it is over."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from scfm_eval.errors import InvalidInputError
from scfm_eval.models.checkpoint import few
from scfm_eval.pretrain.corpus import Corpus
from scfm_eval.pretrain.loop import STATE
from scfm_eval.pretrain.objective import Objective, Sizes
from scfm_eval.pretrain.writing import write_text

RECORD = "pretraining.json"
"""File in the folder of a run with its numbers."""
_OF_A_MODEL = ("*.safetensors", "*.bin", "*.pt", "*.json", "*.pkl", "*.png", "README.md")


def identity(corpus: Corpus, *, objective: Objective, sizes: Sizes) -> dict[str, Any]:
    """Return what a run is of beside its settings: layout, corpus, sizes and hidden share."""
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
        The folder is a file, holds a model or a dictionary but no checkpoint, or nothing can be written there.
    """
    if folder.exists() and not folder.is_dir():
        raise InvalidInputError(
            asked=f"the folder {folder} for run and model", found="a file", remedy="give another --out"
        )
    if (folder / STATE).exists():
        return
    held = sorted({path.name for pattern in _OF_A_MODEL for path in folder.glob(pattern)} - {RECORD})
    if held:
        raise InvalidInputError(
            asked=f"a new run in {folder}",
            found=f"files of a model without {STATE}, the checkpoint of its run: {few(held)}",
            remedy="give another --out, or delete these files",
        )
    write_text(folder / RECORD, json.dumps(run, indent=1))
