"""The examples of models under another Python, as far as they run without the networks that they call."""

from __future__ import annotations

import os
import stat
import sys
import tomllib
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from scfm_eval.discovery import _module, find_model
from scfm_eval.errors import FailedModelError
from scfm_eval.models.outside_declaration import read_declaration
from tests.models.outside_scripts import few_cells

EXAMPLES = Path(__file__).parents[2] / "examples" / "outside"
READER = _module(str(EXAMPLES / "cellfm" / "mindspore_checkpoint.py"), asked="the reader")


def _varint(number):
    made = bytearray()
    while number > 0x7F:
        made.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*made, number])


def _field(number, content):
    return _varint(number << 3 | 2) + _varint(len(content)) + content


def _value(name, array, *, kind=None, packed=False, parts=1):
    """Write one tensor as ``checkpoint.proto`` says, cut into ``parts`` values."""
    raw = array.tobytes()
    if packed:
        dims = _field(1, b"".join(map(_varint, array.shape)))
    else:
        dims = b"".join(_varint(1 << 3) + _varint(n) for n in array.shape)
    size = -(-len(raw) // parts)
    return b"".join(
        _field(
            1,
            _field(1, name.encode())
            + _field(
                2,
                dims
                + _field(2, (kind or array.dtype.name.capitalize()).encode())
                + _field(3, raw[place * size : (place + 1) * size]),
            ),
        )
        for place in range(parts)
    )


@pytest.fixture
def tensors():
    rng = np.random.default_rng(0)
    return {
        "gene_emb": rng.normal(size=(48, 300)).astype(np.float32),
        "half": rng.normal(size=(3, 2)).astype(np.float16),
        "step": np.array([7], dtype=np.int32),
        "flag": np.array([True, False]),
    }


def _written(path, tensors, **how):
    path.write_bytes(b"".join(_value(name, array, **how) for name, array in tensors.items()))
    return path


@pytest.mark.parametrize("how", [{}, {"packed": True}, {"parts": 3}])
def test_every_tensor_of_a_checkpoint_is_read(tmp_path, tensors, how):
    found = READER.read_tensors(_written(tmp_path / "w.ckpt", tensors, **how))
    assert set(found) == set(tensors)
    for name, array in tensors.items():
        np.testing.assert_array_equal(found[name], array)
        assert found[name].dtype == array.dtype


def test_only_what_is_wanted_is_read_and_bfloat16_becomes_float32(tmp_path, tensors):
    path = _written(tmp_path / "w.ckpt", tensors)
    assert list(READER.read_tensors(path, lambda name: name == "step")) == ["step"]
    upper = (tensors["gene_emb"].view(np.uint32) >> 16).astype("<u2")
    path.write_bytes(_value("b", upper, kind="BFloat16"))
    np.testing.assert_allclose(READER.read_tensors(path)["b"], tensors["gene_emb"], rtol=1e-2)


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda raw: raw[:-5], "cut short"),
        (lambda raw: raw[:1], "cut short|no checkpoint"),
        (lambda raw: b"\x80" * 20 + raw, "cut short|no checkpoint"),
        (lambda raw: b"AES-GCM" + raw, "no checkpoint|cut short"),
        (lambda raw: _field(2, b"x") + raw, "no checkpoint of MindSpore"),
        (lambda raw: raw + _field(1, _field(1, b"map") + _field(3, b"")), "without one name and one tensor"),
        (lambda raw: raw + _value("odd", np.zeros(2, np.float32), kind="Complex64"), "type 'Complex64'"),
        (lambda raw: raw + _value("odd", np.zeros(3, np.int8), kind="Int16"), "buffer size|has 1 values"),
        (lambda raw: raw + _value("gene_emb", np.zeros(3, np.float32)), "has 14403 values"),
        (lambda _: b"", "empty"),
    ],
)
def test_a_damaged_or_foreign_checkpoint_is_refused(tmp_path, tensors, damage, said):
    path = _written(tmp_path / "w.ckpt", tensors)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(ValueError, match=said):
        READER.read_tensors(path)


@pytest.fixture
def cellfm(tmp_path, tensors, monkeypatch):
    """Copy the declaration and name this Python, and return it with a folder of made-up weights."""
    monkeypatch.setenv("SCFM_EVAL_CACHE", str(tmp_path / "cache"))
    for name in ("cellfm.py", "mindspore_checkpoint.py"):
        (tmp_path / name).write_text((EXAMPLES / "cellfm" / name).read_text())
    said = (EXAMPLES / "cellfm" / "cellfm.toml").read_text().replace("venv/bin/python", sys.executable)
    (tmp_path / "cellfm.toml").write_text(said)
    weights = tmp_path / "weights"
    weights.mkdir()
    _written(weights / "CellFM_80M_weight.ckpt", tensors)
    (weights / "expand_gene_info.csv").write_text("gene,x\n" + "".join(f"GENE{i},1\n" for i in range(41)))
    return tmp_path / "cellfm.toml", weights


def test_vectors_of_genes_come_out_of_the_checkpoint_alone(cellfm, tensors):
    file, weights = cellfm
    found = find_model(str(file))(weights=weights).embed_genes(["GENE2", "UNKNOWN", "GENE0"])
    np.testing.assert_array_equal(found[[0, 2]], tensors["gene_emb"][[3, 1]])
    assert np.isnan(found[1]).all()


def test_weights_that_are_not_given_or_do_not_fit_are_a_failure_in_words(cellfm):
    file, weights = cellfm
    with pytest.raises(FailedModelError, match="--weights cellfm=FOLDER"):
        find_model(str(file))().embed_genes(["GENE0"])
    (weights / "expand_gene_info.csv").write_text("gene\n" + "".join(f"GENE{i}\n" for i in range(48)))
    with pytest.raises(FailedModelError, match="48 genes for a table of 48 rows"):
        find_model(str(file))(weights=weights).embed_genes(["GENE0"])


def test_a_cell_is_read_by_its_own_counts_only(cellfm, monkeypatch):
    monkeypatch.syspath_prepend(str(cellfm[0].parent))
    sentence = _module(str(cellfm[0].parent / "cellfm.py"), asked="the script").sentence
    values, genes, real = sentence(np.array([0.0, 3, 0, 1, 9]), np.array([5, 2, 1, 9, 0], dtype=np.int32))
    assert genes[:3].tolist() == [2, 9, 0]
    assert real.sum() == 3
    np.testing.assert_allclose(values[:2, 1], np.log1p([7500, 2500]), rtol=1e-6)
    assert values[:3, 0].tolist() == [1, 1, 0]
    _, genes, real = sentence(np.repeat([1.0, 2.0], [2000, 1000]), np.arange(1, 3001, dtype=np.int32))
    assert genes.tolist() == [*range(1, 1049), *range(2001, 3001)]
    assert real.all()


CONFIG = """
class Config_80M:
    enc_dims, enc_nlayers, enc_num_heads, pad_zero, add_zero, recompute = 3, 2, 48, False, False, True
"""
NETWORK = """
class CellFM:
    def __init__(self, n_genes, settings):
        self.n_genes, self.settings = n_genes, settings
    def set_train(self, training):
        self.training = training
"""


@pytest.mark.parametrize("n_layers", [2, 3])
def test_the_network_of_cellfm_has_the_sizes_of_the_published_class(tmp_path, monkeypatch, n_layers):
    (tmp_path / "config.py").write_text(CONFIG)
    (tmp_path / "model.py").write_text(NETWORK)
    monkeypatch.syspath_prepend(str(EXAMPLES / "cellfm"))
    monkeypatch.setattr(sys, "path", [*sys.path])
    script = _module(str(EXAMPLES / "cellfm" / "cellfm.py"), asked="the script")
    mindspore = SimpleNamespace(
        GRAPH_MODE=0,
        set_context=lambda **_: None,
        load_checkpoint=lambda _: {f"encoder.{layer}.weight": 0 for layer in range(n_layers)},
        load_param_into_net=lambda _network, _tensors: ([], []),
    )
    model = object.__new__(script.CellFM)
    model.arguments = tomllib.loads((EXAMPLES / "cellfm" / "cellfm.toml").read_text())["python"]["arguments"]
    model.arguments["code"] = str(tmp_path)
    model.device, model.checkpoint, model.place, model.gene_vectors = "cpu", "w.ckpt", {"A": 1}, np.zeros((2, 3))
    for name in ("config", "model"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    try:
        if n_layers == 3:
            with pytest.raises(ValueError, match=r"\(3, 3\) in the checkpoint, other ones in Config_80M"):
                model._network(mindspore)
            return
        settings = model._network(mindspore).settings
        assert (settings.enc_num_heads, settings.pad_zero, settings.recompute) == (48, True, False)
    finally:
        for name in ("config", "model"):
            sys.modules.pop(name, None)


def test_the_command_of_transcriptformer_is_called_and_its_answer_found_by_name(tmp_path, monkeypatch):
    monkeypatch.setenv("SCFM_EVAL_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / "tf"
    (folder / "venv" / "bin").mkdir(parents=True)
    (folder / "tf.py").write_text((EXAMPLES / "transcriptformer" / "tf.py").read_text())
    said = (EXAMPLES / "transcriptformer" / "tf-sapiens.toml").read_text()
    (folder / "tf-sapiens.toml").write_text(said.replace('transcriptformer = "==0.6.1"', 'numpy = ""'))
    python = folder / "venv" / "bin" / "python"
    python.symlink_to(os.path.realpath(sys.executable))
    (folder / "venv" / "pyvenv.cfg").write_text("include-system-site-packages = false\n")
    (folder / "venv" / "lib").symlink_to(Path(sys.prefix) / "lib")
    command = folder / "venv" / "bin" / "transcriptformer"
    command.write_text(f"#!{python}\n{STAND_IN}")
    command.chmod(command.stat().st_mode | stat.S_IXUSR)
    cells = few_cells()
    rows = find_model(str(folder / "tf-sapiens.toml"))(weights=tmp_path).embed(cells)
    np.testing.assert_array_equal(rows, cells.X.toarray()[:, :4])


STAND_IN = """
import argparse, os
import anndata, pandas as pd

parser = argparse.ArgumentParser()
parser.add_argument("action", choices=["inference"])
for name in ("--checkpoint-path", "--data-file", "--output-path"):
    parser.add_argument(name, required=True)
parser.add_argument("--batch-size", type=int)
parser.add_argument("--precision", choices=["16-mixed", "32"])
parser.add_argument("--device", choices=["auto", "cpu", "cuda", "mps"])
said = parser.parse_args()
cells = anndata.read_h5ad(said.data_file)[::-1]
assert list(cells.var["ensembl_id"]) == list(cells.var_names)
os.makedirs(said.output_path)
obs = pd.DataFrame({name: list(cells.obs[name]) for name in cells.obs})
made = anndata.AnnData(obs=obs, obsm={"embeddings": cells.X.toarray()[:, :4]})
made.write_h5ad(os.path.join(said.output_path, "embeddings.h5ad"))
"""


@pytest.mark.parametrize("file", sorted(EXAMPLES.rglob("*.toml")), ids=lambda file: file.stem)
def test_every_example_is_a_valid_declaration(file, tmp_path):
    said = file.read_text().replace("venv/bin/python", sys.executable)
    for script in file.parent.glob("*.py"):
        (tmp_path / script.name).write_text(script.read_text())
    (tmp_path / file.name).write_text(said)
    assert read_declaration(tmp_path / file.name).card["name"] == file.stem
