"""Which files scFoundation reads, and which faults of them are seen."""

from __future__ import annotations

import shutil
from pathlib import Path

import anndata as ad
import numpy as np
import pytest
import torch

from scfm_eval.errors import InvalidInputError
from scfm_eval.models.licences import accept
from scfm_eval.models.scfoundation import ScFoundation
from scfm_eval.models.scfoundation_tokens import read_genes

FOLDER = Path(__file__).parents[1] / "parity" / "scfoundation"
LIST = "OS_scRNA_gene_index.19264.tsv"


@pytest.fixture(scope="module")
def model():
    return ScFoundation(weights=FOLDER)


@pytest.fixture(scope="module")
def cells():
    return ad.read_h5ad(FOLDER / "cells.h5ad")


@pytest.fixture
def folder(tmp_path):
    return Path(shutil.copytree(FOLDER, tmp_path / "scfoundation"))


def rewritten(folder, change):
    """Change what the checkpoint of a folder holds."""
    content = torch.load(folder / "models.ckpt", weights_only=True)
    change(content)
    torch.save(content, folder / "models.ckpt")


def test_the_layout_of_upstream_is_read(folder, model, cells):
    (folder / "models").mkdir()
    (folder / "models.ckpt").rename(folder / "models" / "models.ckpt")
    np.testing.assert_array_equal(ScFoundation(weights=folder).embed(cells), model.embed(cells))


def test_parameters_and_tensors_are_counted(model):
    state = torch.load(FOLDER / "models.ckpt", weights_only=True)["cell"]["state_dict"]
    assert model.loaded_share == 1 - 3 / len(state)
    # projection matrices are drawn, not learned
    left_out = ("emb_mask.weight", "emb_pad.weight", "calls_since_last_redraw", "projection_matrix")
    assert model.n_parameters == sum(v.numel() for k, v in state.items() if not k.endswith(left_out))


def test_the_gene_network_is_read_only_when_it_is_needed(folder, cells):
    rewritten(folder, lambda content: content.pop("gene"))
    model = ScFoundation(weights=folder)
    model.embed(cells)
    with pytest.raises(InvalidInputError, match="no part of that name"):
        model.embed_genes(["A"])


LAYER = "model.encoder.transformer_encoder.0.self_attn"
FAULTS = {
    r"encoder\.blocks\.0\.self_attn\.in_proj_weight is missing": lambda t: t.pop(f"{LAYER}.in_proj_weight"),
    r"to_final\.bias is missing": lambda t: t.pop("model.to_final.bias"),
    r"other\.weight is unexpected": lambda t: t.update({"model.other.weight": torch.ones(2)}),
    r"out_proj\.bias has shape \(31,\), not \(32,\)": lambda t: t.update({f"{LAYER}.out_proj.bias": torch.ones(31)}),
    r"decoder\.blocks\.1\.projection has shape \(15, 8\)": lambda t: t.update(
        {"model.decoder.performer.net.layers.1.0.fn.fast_attention.projection_matrix": torch.ones(15, 8)}
    ),
    r"named tensors": lambda t: t.update({"model.name": "scFoundation"}),
}


@pytest.mark.parametrize("said", FAULTS)
def test_a_checkpoint_that_does_not_fit_is_refused(folder, said):
    rewritten(folder, lambda content: FAULTS[said](content["cell"]["state_dict"]))
    with pytest.raises(InvalidInputError, match=said):
        ScFoundation(weights=folder)


def settings_of(content):
    return content["cell"]["config"]["model_config"]["mae_autobin"]


OTHER_SETTINGS = {
    "a network for 700 genes": lambda s: s.update(seq_len=702),
    "depth None": lambda s: s["encoder"].pop("depth"),
    "bin_num 'many'": lambda s: s.update(bin_num="many"),
    "mae_autobin with performer and performer": lambda s: s["encoder"].update(module_type="performer"),
    "norm_first True": lambda s: s["encoder"].update(norm_first=True),
    "bin_alpha": lambda s: s.pop("bin_alpha"),
    "divisible": lambda s: s["encoder"].update(heads=5),
    "has shape": lambda s: s["encoder"].update(hidden_dim=64),
}


@pytest.mark.parametrize("said", OTHER_SETTINGS)
def test_another_version_or_size_is_refused(folder, said):
    rewritten(folder, lambda content: OTHER_SETTINGS[said](settings_of(content)))
    with pytest.raises(InvalidInputError, match=said):
        ScFoundation(weights=folder)


@pytest.mark.parametrize(
    "content", [{}, {"cell": {"state_dict": {}}}, ["cell"], {"cell": {"config": 1, "state_dict": {}}}]
)
def test_another_layout_is_refused(folder, content):
    torch.save(content, folder / "models.ckpt")
    with pytest.raises(InvalidInputError, match=r"models\.ckpt"):
        ScFoundation(weights=folder)


class Harmful:
    def __reduce__(self):
        return (exec, ("raise SystemExit",))


def test_code_in_a_checkpoint_is_not_executed(folder):
    torch.save({"cell": Harmful()}, folder / "models.ckpt")
    with pytest.raises(InvalidInputError, match="nothing of it was executed"):
        ScFoundation(weights=folder)


def test_a_truncated_checkpoint_is_refused(folder):
    whole = (folder / "models.ckpt").read_bytes()
    (folder / "models.ckpt").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InvalidInputError, match=r"models\.ckpt"):
        ScFoundation(weights=folder)


LISTS = {
    "a network for 600 genes": lambda lines: lines[:-1],
    "there twice": lambda lines: [*lines, lines[-1].replace("599", "600")],
    "do not count from 0": lambda lines: [lines[0], *reversed(lines[1:])],
    "no symbol": lambda lines: lines[:1],
    "gene_name": lambda lines: ["symbol\tindex", *lines[1:]],
}


@pytest.mark.parametrize("said", LISTS)
def test_another_gene_list_is_refused(folder, said):
    lines = (folder / LIST).read_text().splitlines()
    (folder / LIST).write_text("\n".join(LISTS[said](lines)) + "\n")
    with pytest.raises(InvalidInputError, match=said):
        ScFoundation(weights=folder)


def test_missing_files_are_named(folder):
    (folder / LIST).unlink()
    with pytest.raises(InvalidInputError, match="OS_scRNA"):
        ScFoundation(weights=folder)


def test_the_licence_is_asked_for_and_then_the_place_is_named(monkeypatch, tmp_path):
    monkeypatch.setenv("SCFM_EVAL_CACHE", str(tmp_path))
    monkeypatch.delenv("SCFM_EVAL_WEIGHTS", raising=False)
    assert not ScFoundation.available()
    with pytest.raises(InvalidInputError, match="--accept-licence scfoundation"):
        ScFoundation.locate()
    accept("scfoundation", licence=ScFoundation.weights_licence)
    with pytest.raises(InvalidInputError, match=r"get them from https://hopebio2020"):
        ScFoundation.locate()


def test_weights_in_the_mirror_are_found(monkeypatch, folder):
    monkeypatch.setenv("SCFM_EVAL_WEIGHTS", str(folder.parent))
    assert ScFoundation.available()
    assert ScFoundation.locate() == folder
    assert [path.name for path in ScFoundation.sources(folder)] == ["models.ckpt", LIST]


def test_the_published_gene_list_is_read():
    shared = Path(__file__).parents[3] / "shared" / "vocab" / "scfoundation" / LIST
    if not shared.exists():
        pytest.skip(f"no published gene list in {shared.parent}")
    genes = read_genes(shared)
    assert (len(genes), genes[0], genes[2]) == (19_264, "A1BG", "A2M")
