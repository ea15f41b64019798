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
from tests.models.outside_scripts import GOOD, declared


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
    shown = capsys.readouterr().out
    assert Asking.home not in shown, "what can be fetched needs no address"
    rows = shown.splitlines()
    row = next(row for row in rows if row.startswith(" asking"))
    for said in (
        "100M",
        "19264",
        "12",
        "embed",
        "MIT",
        "of the weights: research only",
        "to fetch, 1.20GB, licence to accept",
    ):
        assert said in row, said
    assert "here" in next(row for row in rows if "geneformer-mini" in row)
    assert "needs none" in next(row for row in rows if row.startswith(" hvg"))


@pytest.mark.usefixtures("asking")
@pytest.mark.parametrize("width", [60, 100, 160, 250])
def test_no_line_is_wider_than_the_terminal_and_no_name_or_address_is_cut(width, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", str(width))
    address = f"https://example.org/{'a' * width}"
    monkeypatch.setattr(Asking, "repo", None)
    monkeypatch.setattr(Asking, "home", address)
    assert main(["list", "models"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert sum(address in line for line in lines) == 1
    assert all(len(line) <= width for line in lines if address not in line)
    said = " ".join(" ".join(lines).split())
    for text in (
        "asking",
        "geneformer-mini",
        "hvg",
        "100M",
        "19264",
        "of the weights: research",
        "by hand, 1.20GB",
        "needs none",
    ):
        assert text in said, text


@pytest.mark.usefixtures("asking")
def test_the_cards_come_as_json(capsys):
    assert main(["list", "models", "--json"]) == 0
    found = {one["name"]: one for one in json.loads(capsys.readouterr().out)["models"]}
    assert list(found) == ["asking", "geneformer-mini", "hvg"]
    one = found["asking"]
    assert (one["role"], one["published_parameters"], one["download_bytes"]) == ("model", 100_000_000, 1_200_000_000)
    assert (one["licence"], one["weights_licence"], one["home"]) == (
        "MIT",
        "research only",
        "https://example.org/asking",
    )
    assert (one["capabilities"], one["weights"]) == (["embed"], "to fetch")
    assert (found["geneformer-mini"]["weights"], found["hvg"]["weights"]) == ("here", "needs none")
    assert found["hvg"]["published_parameters"] is None


@pytest.mark.usefixtures("asking")
def test_datasets_come_as_json_too(capsys):
    assert main(["list", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert set(found) == {"models", "datasets"}
    (blood,) = [one for one in found["datasets"] if one["name"] == "pbmc68k_reduced"]
    assert blood["keys"] == ["label", "ontology"]


@pytest.mark.usefixtures("asking")
def test_weights_are_fetched_once_their_licence_is_accepted(capsys):
    assert main(["fetch", "asking"]) == 2
    refusal = capsys.readouterr().err
    assert "research only" in refusal
    assert "--accept-licence asking" in refusal
    assert "https://example.org/asking" in refusal
    assert main(["fetch", "asking", "--accept-licence", "asking"]) == 0
    told = capsys.readouterr().out
    assert "asking: 1 files, 21.0B, 2 names of genes" in told
    assert "the licence of the weights of asking is accepted (research only): recorded in" in told
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
    for name, near in (("pbmc68k", "pbmc68k_reduced"), ("geneformr", "geneformer")):
        assert main(["fetch", name]) == 2
        told = capsys.readouterr().err
        assert near in told
        assert "no model and no dataset of that name" in told
    assert main(["fetch", "gone.h5ad"]) == 2
    assert "it is not there" in capsys.readouterr().err
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


def test_an_embedding_over_orthologs_says_so(file, tmp_path, capsys):
    mouse = ad.read_h5ad(file)
    mouse.var_names = [name.capitalize() for name in mouse.var_names]
    mouse.write_h5ad(tmp_path / "mouse.h5ad")
    out = tmp_path / "o.h5ad"
    given = [str(tmp_path / "mouse.h5ad"), "-o", str(out), "--offline", "--option", "geneformer-mini.layer=-1"]
    folder = str(GeneformerMini.locate())
    weights = ["--weights", f"geneformer-mini={folder}"]
    assert main(["embed", "geneformer-mini", *given, *weights, "--orthologs", "packaged"]) == 0
    printed = capsys.readouterr().out
    made = ad.read_h5ad(out).uns["scfm_eval"]["X_geneformer-mini"]
    told = json.loads(made["orthologs"])
    assert (told["table"], told["read_as"], len(told["table_sha256"])) == ("packaged", "Homo sapiens", 64)
    assert told["mapped"]["n_genes"] > 0
    assert f"{told['mapped']['n_genes']} mapped one-to-one" in made["genes_read_as"]
    assert f"by the ortholog table packaged (sha256 {told['table_sha256'][:12]})" in made["genes_read_as"]
    assert made["genes_read_as"] in printed
    assert json.loads(made["options"]) == {"layer": -1}
    assert made["note"] == ""


def test_an_embedding_of_an_outside_model_says_under_which_python(file, tmp_path, capsys):
    toml = declared(tmp_path, GOOD, python="arguments = {layer = -2}")
    out = tmp_path / "o.h5ad"
    assert main(["embed", str(toml), str(file), "-o", str(out), "--weights", str(tmp_path)]) == 0
    made = ad.read_h5ad(out).uns["scfm_eval"][f"X_{toml.stem}"]
    assert made["note"].startswith(f"{toml.stem} ran under Python 3.")
    assert json.loads(made["parameters"]) == {"layer": -2}
    assert made["note"] in capsys.readouterr().out


def test_an_option_without_a_value_is_refused(file, tmp_path, capsys):
    for option in ("layer", "other.layer=1"):
        assert main(["embed", "geneformer-mini", str(file), "-o", str(tmp_path / "o.h5ad"), "--option", option]) == 2
        assert "neither OPTION=VALUE nor geneformer-mini.OPTION=VALUE" in capsys.readouterr().err


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
        (["geneformer-mini", "FILE", "-o", "OUT", "--key", "a/b"], "a /, which no name"),
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


def test_a_model_whose_rows_the_user_brings_needs_them(capsys):
    assert main(["list", "models", "--json"]) == 0
    found = {one["name"]: one["weights"] for one in json.loads(capsys.readouterr().out)["models"]}
    assert found["genept-s"] == "by hand"
    assert found["hvg"] == "needs none"
