"""The small checkpoint of each family in ``tests/parity``, to be altered in one point."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anndata as ad
import numpy as np
import torch
from safetensors.torch import load_file, save_file

from scfm_eval.models.geneformer import Geneformer, GeneformerV1
from scfm_eval.models.langcell import LangCell
from scfm_eval.models.nicheformer import Nicheformer
from scfm_eval.models.scbert import ScBERT
from scfm_eval.models.scfoundation import ScFoundation
from scfm_eval.models.scgpt import ScGPT
from scfm_eval.models.scimilarity import SCimilarity
from scfm_eval.models.uce import UCE

PARITY = Path(__file__).parents[1] / "parity"


@dataclass(frozen=True)
class Family:
    """A class with a small checkpoint.

    Parameters
    ----------
    model
        The class.
    folder, file
        Where its checkpoint lies.
    inside
        Keys under which the file has the tensors.
    matrix
        A tensor that the network needs, with two dimensions, neither of which decides a size.
    options
        Of the class.
    """

    model: type
    folder: str
    file: str
    inside: tuple[str, ...]
    matrix: str
    options: tuple[tuple[str, Any], ...] = ()

    def load(self, folder):
        """Return the model in a folder."""
        return self.model(weights=folder, **dict(self.options))

    def cells(self):
        """Return a few cells that it can read."""
        cells = ad.read_h5ad(PARITY / self.folder / "cells.h5ad")
        return cells[np.argsort(-np.asarray((cells.X > 0).sum(axis=1)).ravel(), kind="stable")[1:7]].copy()


FAMILIES = {
    "geneformer-v1": Family(
        GeneformerV1, "geneformer_v1", "pytorch_model.bin", (), "bert.encoder.layer.0.output.dense.weight"
    ),
    "geneformer-v2": Family(
        Geneformer, "geneformer_v2", "model.safetensors", (), "bert.encoder.layer.0.output.dense.weight"
    ),
    "scgpt": Family(ScGPT, "scgpt", "best_model.pt", (), "transformer_encoder.layers.0.linear1.weight"),
    "langcell": Family(LangCell, "langcell", "cell_bert/pytorch_model.bin", (), "encoder.layer.0.output.dense.weight"),
    "nicheformer": Family(
        Nicheformer, "nicheformer", "nicheformer.ckpt", ("state_dict",), "encoder.layers.0.linear1.weight"
    ),
    "scbert": Family(
        ScBERT, "scbert", "panglao_pretrain.pth", ("model_state_dict",), "performer.net.layers.0.1.fn.fn.w2.weight"
    ),
    "scfoundation": Family(
        ScFoundation,
        "scfoundation",
        "models.ckpt",
        ("cell", "state_dict"),
        "model.encoder.transformer_encoder.0.linear1.weight",
    ),
    "scimilarity": Family(
        SCimilarity, "scimilarity", "encoder.ckpt", ("state_dict",), "network.1.1.weight", (("fewest_genes", 10),)
    ),
    "uce": Family(UCE, "uce", "3layer_model.torch", (), "transformer_encoder.layers.0.linear1.weight"),
}


def altered(family: Family, tmp_path: Path, change: Callable[[dict[str, Any]], object]) -> Path:
    """Return a copy of a family's folder whose tensors were changed."""
    folder = Path(shutil.copytree(PARITY / family.folder, tmp_path / "weights"))
    path = folder / family.file
    if path.suffix == ".safetensors":
        tensors = load_file(path)
        change(tensors)
        save_file(tensors, path)
        return folder
    content = torch.load(path, weights_only=True, map_location="cpu")
    tensors = content
    for key in family.inside:
        tensors = tensors[key]
    change(tensors)
    torch.save(content, path)
    return folder
