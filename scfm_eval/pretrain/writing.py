"""Files of a pretrained model, each written whole or not at all."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import save
from torch import Tensor

from scfm_eval.models.files import written_whole

WEIGHTS = "model.safetensors"
"""File with the weights in the folder of a model."""


def write_tensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write named tensors as safetensors in float16."""
    halves = {name: tensors[name].detach().to("cpu", torch.float16).contiguous() for name in sorted(tensors)}
    with written_whole(path) as unfinished:
        # safetensors' own writing to disk leaves a file that only its owner can read
        unfinished.write_bytes(save(halves, metadata={"format": "pt"}))


def write_text(path: Path, text: str) -> None:
    """Write a text file."""
    with written_whole(path) as unfinished:
        unfinished.write_text(text + "\n", encoding="utf-8")
