"""A model under another Python: what it is given, and what it gives back."""

from __future__ import annotations

import ast
import pickle
import sys

import numpy as np
import pytest

from scfm_eval.answers import StoredAnswers
from scfm_eval.cells import Cells
from scfm_eval.datasets.dataset import Dataset
from scfm_eval.device import Resident
from scfm_eval.discovery import find_model
from scfm_eval.errors import InvalidInputError
from scfm_eval.models.card import card
from scfm_eval.models.outside import OutsideModel
from scfm_eval.models.outside_declaration import CHILD
from scfm_eval.models.protocols import Embedder, GeneEmbedder, LayerEmbedder, missing_methods
from scfm_eval.store import Store
from scfm_eval.tasks.throughput import Throughput
from tests.models.outside_scripts import GOOD, declared, few_cells, minimal, model_of


@pytest.fixture(autouse=True)
def _cache(tmp_path, monkeypatch):
    monkeypatch.setenv("SCFM_EVAL_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def cells():
    return few_cells()


def test_the_example_is_a_model_with_a_card_and_capabilities(tmp_path, cells):
    declared_class = find_model(str(minimal(tmp_path)))
    about = card(declared_class)
    assert (about.name, about.licence, about.revision) == ("minimal", "BSD-3-Clause", "1")
    assert not any(missing_methods(declared_class, one) for one in (Embedder, LayerEmbedder, GeneEmbedder))
    model = declared_class()
    rows, layers = model.embed(cells), model.embed_layers(cells)
    assert rows.shape == (12, 64)
    assert rows.dtype == np.float32
    np.testing.assert_array_equal(rows, layers[0])
    turned = cells[::-1].copy()
    np.testing.assert_allclose(model.embed(turned)[::-1], rows, rtol=1e-5)
    assert model.embed_genes(["GENE3", "GENE1"]).shape == (2, 64)
    assert model.peak_memory_bytes["host"] > 10_000_000


def test_only_declared_capabilities_are_there(tmp_path):
    made = find_model(str(declared(tmp_path, GOOD)))
    assert missing_methods(made, LayerEmbedder)


def test_a_model_that_loads_at_each_call_is_not_timed(tmp_path):
    assert "loads anew" in Throughput().refuses(find_model(str(declared(tmp_path, GOOD))))


def test_a_script_is_given_counts_names_batches_arguments_weights_and_device(tmp_path, cells):
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights" / "w.bin").write_bytes(b"x")
    body = """
    def embed(self, cells):
        assert cells.shape == (12, 40) and cells.gene_ids[0] == "GENE0" and set(cells.batch) <= {"x", "y"}
        assert self.arguments == {"deep": {"n": 3}} and self.device == "cpu"
        assert os.listdir(self.weights) == ["w.bin"]
        assert (cells.csr().toarray() == cells.dense()).all()
        assert list(cells.anndata().obs["batch"]) == cells.batch
        assert (cells.dense(5, 8) == cells.dense()[5:8]).all() and len(cells.dense(10, 99)) == 2
        return cells.cell_ids, cells.dense()
    """
    file = declared(tmp_path, body, python="arguments = {deep = {n = 3}}")
    model = model_of(file, weights=tmp_path / "weights")
    np.testing.assert_array_equal(model.embed(cells), cells.X.toarray())
    assert len(model.weights_sha256) == 64


def test_what_a_script_is_given_stands_among_the_parameters_of_the_model(tmp_path, cells):
    python = "arguments = {layer = -2, deep = {n = 3}}"
    model, dataset = find_model(str(declared(tmp_path, GOOD, python=python))), Dataset(name="toy")
    answers = StoredAnswers(model, card(model), Cells(dataset, cells), cells, Store(tmp_path), Resident(), None)
    assert answers.parameters(0) == {"layer": -2, "deep": {"n": 3}}


def test_only_a_script_for_accelerators_is_told_a_device(tmp_path, cells):
    body = """
    def embed(self, cells):
        assert self.device == "cuda:1"
        return cells.cell_ids, cells.dense()
    """
    assert model_of(declared(tmp_path, body, python="accelerator = true"), device="cuda:1").embed(cells).shape
    with pytest.raises(TypeError, match="device"):
        model_of(declared(tmp_path, GOOD, name="slow"), device="cuda:1")


def test_the_class_can_be_pickled_and_an_unchanged_declaration_is_the_same_class(tmp_path):
    file = declared(tmp_path, GOOD)
    made = find_model(str(file))
    assert find_model(str(file)) is made
    assert pickle.loads(pickle.dumps(made)) is made  # noqa: S301
    assert pickle.loads(pickle.dumps(OutsideModel)) is OutsideModel  # noqa: S301
    file.write_text(file.read_text() + "timeout = 9\n")
    assert find_model(str(file)) is not made


def test_rows_are_found_by_name_and_never_by_place(tmp_path, cells):
    body = """
    def embed(self, cells):
        return cells.cell_ids[::-1], cells.dense()[::-1]
    """
    np.testing.assert_array_equal(model_of(declared(tmp_path, body)).embed(cells), cells.X.toarray())


def test_a_gene_without_a_vector_is_nan_and_pairs_labels_and_reconstructions_are_found_by_name(tmp_path, cells):
    body = """
    def embed_genes(self, genes):
        return genes[1:][::-1], np.arange(len(genes) - 1, dtype=np.float32)[:, None]

    def score_gene_pairs(self, cells, genes):
        return genes[::-1], np.arange(9, dtype=np.float32).reshape(3, 3)

    def annotate(self, cells):
        shares = np.tile(np.array([0.25, 0.75]), (len(cells.cell_ids), 1))
        return cells.cell_ids, np.array(["a", "b"]), shares

    def reconstruct_layers(self, cells):
        return cells.cell_ids[::-1], np.arange(12.0), np.stack([np.arange(12.0), np.arange(12.0) + 1])
    """
    names = '["embed_genes", "score_gene_pairs", "annotate", "reconstruct_layers"]'
    model = model_of(declared(tmp_path, body, capabilities=names))
    vectors = model.embed_genes(["GENE1", "GENE2", "GENE3"])
    assert np.isnan(vectors[0]).all()
    np.testing.assert_array_equal(vectors[1:, 0], [1, 0])
    pairs = model.score_gene_pairs(cells, genes=["GENE1", "GENE2", "GENE3"])
    np.testing.assert_array_equal(pairs[::-1, ::-1], np.arange(9).reshape(3, 3))
    labels, shares = model.annotate(cells)
    assert list(labels) == ["a", "b"]
    assert shares.shape == (12, 2)
    made = model.reconstruct_layers(cells)
    np.testing.assert_array_equal(made.cell, np.arange(12))
    np.testing.assert_array_equal(made.target, np.arange(12)[::-1])
    np.testing.assert_array_equal(made.layers[1], made.target + 1)


def test_memory_of_the_whole_family_is_counted(tmp_path, cells):
    body = """
    def embed(self, cells):
        hold = "import time; held = bytearray(200_000_000); held[::4096] = b'x' * len(held[::4096]); time.sleep(0.6)"
        subprocess.run([sys.executable, "-c", hold], check=True)
        return cells.cell_ids, cells.dense()
    """
    model = model_of(declared(tmp_path, body))
    model.embed(cells)
    assert model.peak_memory_bytes["host"] > 200_000_000
    assert model.peak_memory_bytes["device"] is None


def test_secrets_of_the_environment_stay_here(tmp_path, cells, monkeypatch):
    monkeypatch.setenv("SECRET_TOKEN", "hush")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setenv("ASKED_FOR", "this")
    monkeypatch.setenv("LC_MINE", "C")
    body = """
    def embed(self, cells):
        known = {"PATH", "HOME", "LANG", "TMPDIR", "CUDA_VISIBLE_DEVICES", "OMP_NUM_THREADS", "ASKED_FOR", "LC_MINE"}
        strange = {name for name in os.environ if name not in known and not name.startswith(("LC_", "OMP_"))}
        assert strange <= {"SCFM_EVAL_OUTSIDE_RUN", "__CF_USER_TEXT_ENCODING"}, strange
        assert os.environ["ASKED_FOR"] == "this" and os.environ["LC_MINE"] == "C"
        assert not sys.stdin.read() and "scfm_eval" not in sys.modules
        return cells.cell_ids, cells.dense()
    """
    assert len(model_of(declared(tmp_path, body, python='environment = ["ASKED_FOR"]')).embed(cells)) == 12


def test_a_module_beside_the_script_can_be_imported_and_none_of_this_package(tmp_path, cells):
    (tmp_path / "counts.py").write_text("OWN = 7.0\n")
    body = """
    def embed(self, cells):
        import counts
        return cells.cell_ids, cells.dense() * 0 + counts.OWN
    """
    assert (model_of(declared(tmp_path, body)).embed(cells) == 7).all()


def test_a_script_that_is_edited_under_way_is_refused(tmp_path, cells):
    model = model_of(declared(tmp_path, GOOD))
    (tmp_path / "mine.py").write_text((tmp_path / "mine.py").read_text() + "\n")
    with pytest.raises(InvalidInputError, match="edited while the run"):
        model.embed(cells)


def test_the_child_is_written_for_an_old_python_and_imports_nothing_of_this_package():
    tree = ast.parse(CHILD.read_text(), feature_version=(3, 8))
    names = [alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names]
    names += [str(node.module) for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    plain = {name.partition(".")[0] for name in names} - {"numpy", "scipy", "pandas", "anndata"}
    assert plain <= set(sys.stdlib_module_names)
