"""What can be had: the table of models, downloads by name, licences that are accepted by name, embeddings of a file."""

from __future__ import annotations

import json
from pathlib import Path

import anndata as ad
import numpy as np
import pytest

from scfm_eval.__main__ import main
from scfm_eval.commands import at_hand
from scfm_eval.datasets.pbmc68k import pbmc68k_reduced_with_counts
from scfm_eval.models.card import card
from scfm_eval.models.geneformer import GeneformerMini
from scfm_eval.models.licences import is_accepted
from scfm_eval.models.weights import PublishedWeights


class Asking(PublishedWeights):
    """A model whose weights have a licence of their own."""

    name = "asking"
    licence = "MIT"
    weights_licence = "research only"
    asks_licence = True
    home = "https://example.org/asking"
    repo = "someone/asking"
    revision = "0" * 40
    files = ("config.json",)
    download_bytes = 1_200_000_000
    published_parameters = 100_000_000
    published_genes = 19_264
    published_layers = 12

    @classmethod
    def sources(cls, weights):
        return [weights / "config.json"]

    @classmethod
    def vocabulary(cls, weights):
        return json.loads((weights / "config.json").read_text())["genes"]

    def embed(self, cells):
        return np.zeros((cells.n_obs, 2), dtype=np.float32)


@pytest.fixture
def asking(monkeypatch, tmp_path):
    """Put the model among those that are installed, and a hub that has its weights."""
    monkeypatch.setenv("SCFM_EVAL_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("SCFM_EVAL_WEIGHTS", raising=False)
    from scfm_eval import consent, discovery

    real = discovery.find_model
    for module in (at_hand, consent):
        monkeypatch.setattr(module, "find_model", lambda name: Asking if name == "asking" else real(name))
    monkeypatch.setattr(at_hand, "model_names", lambda: ["asking", "geneformer-mini", "hvg"])
    folder = tmp_path / "hub"

    def snapshot_download(_repo, *, local_files_only, **_how):
        if not local_files_only:
            folder.mkdir()
            (folder / "config.json").write_text('{"genes": ["A", "B"]}')
        if not folder.exists():
            raise FileNotFoundError("not cached")
        return str(folder)

    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot_download)


@pytest.mark.usefixtures("asking")
def test_the_table_says_what_a_model_can_do_and_where_its_weights_are(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "250")
    assert main(["list", "models"]) == 0
    rows = [row for row in capsys.readouterr().out.splitlines() if "│" in row]
    row = next(row for row in rows if row.startswith("│ asking"))
    for said in (
        "100M",
        "19264",
        "12",
        "embed",
        "MIT",
        "weights: research only",
        "to fetch, 1.20GB, licence to accept",
    ):
        assert said in row, said
    assert "here" in next(row for row in rows if "geneformer-mini" in row)
    assert "needs none" in next(row for row in rows if row.startswith("│ hvg"))


@pytest.mark.usefixtures("asking")
def test_weights_are_fetched_once_their_licence_is_accepted(capsys):
    assert main(["fetch", "asking"]) == 2
    refusal = capsys.readouterr().err
    assert "research only" in refusal
    assert "--accept-licence asking" in refusal
    assert "https://example.org/asking" in refusal
    assert main(["fetch", "asking", "--accept-licence", "asking"]) == 0
    assert "asking: 1 files, 21.0B, 2 names of genes" in capsys.readouterr().out
    assert is_accepted("asking", licence="research only")
    assert main(["fetch", "asking"]) == 0


@pytest.mark.usefixtures("asking")
def test_what_asks_for_no_licence_is_not_accepted(capsys):
    assert main(["fetch", "asking", "--accept-licence", "geneformer-mini"]) == 2
    assert "do not ask for it" in capsys.readouterr().err


def test_a_damaged_record_of_a_licence_is_none(monkeypatch, tmp_path):
    monkeypatch.setenv("SCFM_EVAL_CACHE", str(tmp_path))
    (tmp_path / "licences").mkdir()
    for content in ("", "[]", '{"licence": 3}', "\x00"):
        (tmp_path / "licences" / "m.json").write_text(content)
        assert not is_accepted("m", licence="any")


def test_fetch_names_what_is_near(capsys):
    assert main(["fetch", "pbmc68k"]) == 2
    assert "pbmc68k_reduced" in capsys.readouterr().err
    assert main(["fetch", "hvg"]) == 2
    assert "a method without weights" in capsys.readouterr().err


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    path = tmp_path_factory.mktemp("cells") / "my.h5ad"
    cells = pbmc68k_reduced_with_counts()[:40].copy()
    made = ad.AnnData(X=cells.X, obs=cells.obs[[]].copy(), var=cells.var[[]].copy())
    made.obs["donor"], made.uns["mine"] = "d1", "kept"
    made.write_h5ad(path)
    return path


@pytest.fixture(scope="module")
def out(file):
    path = file.parent / "out.h5ad"
    assert main(["embed", "geneformer-mini", str(file), "-o", str(path), "--offline"]) == 0
    return path


def test_an_embedding_is_written_beside_all_that_was_there(file, out):
    before, after = ad.read_h5ad(file), ad.read_h5ad(out)
    rows = after.obsm["X_geneformer-mini"]
    assert rows.shape == (40, 96)
    assert rows.dtype == np.float32
    assert np.isfinite(rows).all()
    np.testing.assert_array_equal(after.X.toarray(), before.X.toarray())
    assert after.obs.equals(before.obs)
    assert after.uns["mine"] == "kept"
    assert not ad.read_h5ad(file).obsm


def test_the_embedding_says_what_made_it(out):
    made = ad.read_h5ad(out).uns["scfm_eval"]["X_geneformer-mini"]
    assert made["model"] == "geneformer-mini"
    assert made["weights_sha256"] == GeneformerMini().weights_sha256
    assert json.loads(made["parameters"])["layer"] == -2
    assert 0 < made["readable_counts"] <= 1
    assert not made["learned_from_these_cells"]


def test_a_second_model_joins_the_first(out, tmp_path, capsys):
    assert main(["embed", "pca", str(out), "-o", str(tmp_path / "both.h5ad"), "--key", "X_mine"]) == 0
    assert "obsm['X_mine']" in capsys.readouterr().out
    both = ad.read_h5ad(tmp_path / "both.h5ad")
    assert set(both.obsm) == {"X_geneformer-mini", "X_mine"}
    assert set(both.uns["scfm_eval"]) == {"X_geneformer-mini", "X_mine"}
    assert both.uns["scfm_eval"]["X_mine"]["learned_from_these_cells"]


@pytest.mark.parametrize(
    ("arguments", "found"),
    [
        (["scanvi", "FILE", "-o", "OUT"], "learns from labels"),
        (["additive", "FILE", "-o", "OUT"], "no method embed"),
        (["harmony", "FILE", "-o", "OUT"], "needs a batch key"),
        (["geneformer-mini", "FILE", "-o", "FILE"], "it is the file that is read"),
        (["geneformer-mini", "DONE", "-o", "OUT"], "an array of that name"),
        (["geneformer-mini", "FILE:batch=lane", "-o", "OUT"], "no 'lane'"),
        (["geneformer-mini", "FILE", "-o", "OUT", "--weights", "nowhere"], "no such folder"),
        (["geneformer-mini", "FILE", "-o", "OUT", "--device", "tpu"], "no device"),
        (["no-model", "FILE", "-o", "OUT"], "no model of that name"),
        (["geneformer-mini", "gone.h5ad", "-o", "OUT"], "it is not there"),
    ],
)
def test_what_cannot_be_embedded_is_refused(arguments, found, file, out, tmp_path, capsys):
    target = tmp_path / "o.h5ad"
    places = {"FILE": str(file), "OUT": str(target), "DONE": str(out)}
    given = [places.get(one, one.replace("FILE", str(file))) for one in arguments]
    assert main(["embed", *given]) == 2
    assert found in capsys.readouterr().err
    assert not target.exists()


def test_a_folder_that_cannot_be_written_is_refused(file, tmp_path, capsys):
    (tmp_path / "not_a_folder").write_text("")
    assert main(["embed", "hvg", str(file), "-o", str(tmp_path / "not_a_folder" / "o.h5ad")]) == 2
    assert "asked: to write" in capsys.readouterr().err


def test_the_card_of_the_packaged_model_states_its_size():
    about = card(GeneformerMini)
    assert about.published_parameters == GeneformerMini().n_parameters
    assert about.published_genes == len(GeneformerMini.vocabulary(Path(GeneformerMini.locate())))
