"""``python -m scfm_eval.pretrain`` from the file of counts to the model in its folder."""

from __future__ import annotations

import json
import re
import resource
import shutil
import stat
from dataclasses import replace
from pathlib import Path

import anndata as ad
import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from scfm_eval.discovery import find_model
from scfm_eval.errors import InvalidInputError
from scfm_eval.models.geneformer import Geneformer
from scfm_eval.models.scgpt import ScGPT
from scfm_eval.pretrain import __main__ as command
from scfm_eval.pretrain import loop
from scfm_eval.pretrain.loop import STATE, How, Pretraining
from scfm_eval.pretrain.record import RECORD
from tests.pretrain.corpora import LAYOUTS, SIZES, annotated, corpus, gene_ids

SMALL = [f"--{name}=16" for name in ("width", "batch-size")] + [f"--{name}=32" for name in ("hidden", "length")]
# products in bfloat16 can hide that weights were rounded to float16
SMALL += ["--blocks=1", "--heads=2", "--epochs=2", "--held-out=0.2", "--precision=float32"]
ADAPTERS = {"geneformer": Geneformer, "scgpt": ScGPT}


def arguments(layout, file, out, *more) -> list[str]:
    return ["--layout", layout, "--corpus", str(file), "--out", str(out), *SMALL, *more]


@pytest.fixture(scope="module")
def cells():
    cells = corpus()
    made = annotated(cells)
    made.var["symbol"] = list(cells.symbols)
    return made


@pytest.fixture(scope="module")
def file(cells, tmp_path_factory):
    path = tmp_path_factory.mktemp("corpus") / "tiny.h5ad"
    cells.write_h5ad(path)
    return path


@pytest.fixture(scope="module", params=LAYOUTS)
def model(request, file, tmp_path_factory):
    """Layout and folder of a model that the command made."""
    out = tmp_path_factory.mktemp("models") / f"tiny-{request.param}"
    assert command.main(arguments(request.param, file, out)) == 0
    return request.param, out


def test_the_model_loads_in_its_adapter_whole(model, cells):
    layout, out = model
    loaded = ADAPTERS[layout](weights=out)
    on_disk = load_file(out / "model.safetensors")
    assert {tensor.dtype for tensor in on_disk.values()} == {torch.float16}
    assert loaded.loaded_share == 1
    assert loaded.n_parameters == sum(tensor.numel() for tensor in on_disk.values())
    network = loaded._bert if layout == "geneformer" else loaded._network
    best = torch.load(out / STATE, weights_only=True)["best"]["weights"]
    held = network.state_dict()
    for name, value in best.items():
        own = name.removeprefix("network.")
        if layout == "geneformer" or name.startswith("network."):
            assert torch.equal(held[own], value.half().float()), name
    read = cells.copy()
    if layout == "scgpt":
        read.var_names = list(cells.var["symbol"])
    rows = loaded.embed(read)
    assert rows.shape == (cells.n_obs, 16)
    assert np.isfinite(rows).all()
    assert not (out / "model.safetensors").stat().st_mode & ~0o666 & stat.S_IRWXU
    assert not list(out.glob(".*"))


def test_the_card_says_what_was_done(model, file):
    layout, out = model
    card, facts = (out / "README.md").read_text(), json.loads((out / RECORD).read_text())
    said = torch.load(out / STATE, weights_only=True)
    for folder in (out, file.parent):
        assert str(folder) not in card + json.dumps(facts)
    for part in (f"# tiny-{layout}", "tiny.h5ad", facts["corpus"]["sha256"], "licences of their sources", "| small |"):
        assert part in card
    loss, sizes = facts["loss"], {"training": 96, "held_out": 24}
    assert loss["curve"] == said["curve"]
    assert loss["best"] == said["best"]["judgement"]
    assert {part: sum(n[part] for n in facts["data"]["sources"].values()) for part in sizes} == sizes
    assert facts["settings"]["epochs"] == 2
    assert facts["compute"]["epochs"] == 2
    assert facts["compute"]["steps"] == said["step"] == 12
    assert facts["n_parameters"] == sum(value.numel() for value in load_file(out / "model.safetensors").values())
    assert facts["files"]["model.safetensors"] == (out / "model.safetensors").stat().st_size
    assert (out / "loss.png").stat().st_size < 40_000
    assert ("was still falling" in card) == loss["still_falling"]


def test_the_card_judges_by_source_and_after_rounding(model):
    layout, out = model
    facts = json.loads((out / RECORD).read_text())["loss"]
    part = "gene" if layout == "geneformer" else "value"
    found = facts["held_out"]
    n = {name: one["n_hidden"] for name, one in found["sources"].items()}
    assert set(n) == {"small", "large"}
    for kind in ("trained", "float16"):
        mean = sum(n[name] * one[kind][part] for name, one in found["sources"].items()) / sum(n.values())
        assert found["all"][kind][part] == pytest.approx(mean)
    trained, on_disk = found["all"]["trained"][part], found["all"]["float16"][part]
    assert trained != on_disk
    assert on_disk == pytest.approx(trained, rel=1e-2)
    # other places are hidden than in the curve, of the same cells
    assert trained == pytest.approx(facts["curve"][facts["best"]][f"held_out_{part}"], rel=0.25)


def test_the_same_command_again_trains_nothing_and_changes_nothing(model, file, monkeypatch):
    layout, out = model
    kept = {path.name: path.read_bytes() for path in out.iterdir()}
    monkeypatch.delattr(Pretraining, "_advance")
    (out / "README.md").unlink()
    assert command.main(arguments(layout, file, out)) == 0
    assert {path.name: path.read_bytes() for path in out.iterdir()} == kept


@pytest.mark.parametrize(("option", "value"), [("--heads", "4"), ("--length", "16"), ("--hidden", "16")])
def test_another_network_in_one_folder_is_refused(model, file, capsys, option, value):
    layout, out = model
    kept = {path.name: path.read_bytes() for path in out.iterdir()}
    assert command.main([*arguments(layout, file, out), option, value]) == 2
    assert "the checkpoint of a run with" in capsys.readouterr().err
    assert {path.name: path.read_bytes() for path in out.iterdir()} == kept


def test_another_corpus_of_the_same_shape_in_one_folder_is_refused(model, tmp_path, capsys):
    layout, out = model
    annotated(corpus(seed=1)).write_h5ad(tmp_path / "tiny.h5ad")
    assert command.main(arguments(layout, tmp_path / "tiny.h5ad", out)) == 2
    assert "differs in its corpus from" in capsys.readouterr().err


def test_help_says_what_each_option_means_and_its_default(capsys):
    with pytest.raises(SystemExit) as done:
        command.main(["--help"])
    said = " ".join(capsys.readouterr().out.split())
    assert done.value.code == 0
    for name in How.__dataclass_fields__:
        assert f"--{name.replace('_', '-')} " in said
    assert said.count("(default: ") == 19


def log_normalised(cells):
    cells.X = cells.X.log1p()


def symbols(cells):
    cells.var_names = list(cells.var["symbol"])


def versions(cells):
    cells.var_names = [f"{gene_ids()[0]}.1", f"{gene_ids()[0]}.2", *gene_ids()[2:]]


def lonely(cells):
    cells.obs["source"] = ["one", *["others"] * (cells.n_obs - 1)]


def one_gene(cells):
    cells._inplace_subset_var(slice(0, 1))
    cells._inplace_subset_obs(cells.X.toarray()[:, 0] > 0)


def unstated(cells):
    cells.obs["source"] = [np.nan, *["others"] * (cells.n_obs - 1)]


@pytest.mark.parametrize(
    ("fault", "found"),
    [
        (log_normalised, "log1p-transformed"),
        (symbols, "60 of 60 names that are none"),
        (versions, "1 Ensembl ids twice"),
        (lonely, "a single cell"),
        (unstated, "1 of 120 cells without one: cell0"),
        (one_gene, "a single gene"),
        (lambda cells: cells._inplace_subset_obs(slice(0, 0)), "an empty matrix"),
        (lambda cells: cells._inplace_subset_obs(np.arange(30, 50)), "16 cells to learn from"),
    ],
)
def test_a_corpus_that_cannot_be_used_is_refused(cells, tmp_path, capsys, fault, found):
    spoilt = cells.copy()
    fault(spoilt)
    spoilt.write_h5ad(tmp_path / "bad.h5ad")
    refused(arguments("scgpt", tmp_path / "bad.h5ad", tmp_path / "out", "--batch-size", "17"), capsys, found)
    assert not (tmp_path / "out").exists()


def refused(given, capsys, found) -> None:
    assert command.main(given) == 2
    asked, told, remedy = capsys.readouterr().err.strip().splitlines()[-3:]
    assert asked.startswith("asked: ")
    assert told.startswith("found: ")
    assert remedy.startswith("to do: ")
    assert any(part in f"{asked} {told}" for part in found.split("|"))


@pytest.mark.parametrize(
    ("more", "found"),
    [
        (["--held-out", "0"], "a share outside (0, 1)"),
        (["--held-out", "1"], "a share outside (0, 1)"),
        (["--width", "15"], "heads cannot share evenly"),
        (["--device", "tpu"], "no device that the suite runs on"),
        (["--learning-rate", "1e30"], "a loss that is no number"),
        (["--epochs", "0"], "outside their range"),
        (["--every", "-1"], "outside their range"),
        (["--seed", str(2**63)], "outside their range"),
        (["--length", str(10**12)], "GiB of memory"),
        (["--width", str(10**8)], "GiB of memory"),
        (["--blocks", str(10**12)], "GiB of memory"),
    ],
)
def test_options_that_cannot_be_used_are_refused(file, tmp_path, capsys, more, found):
    refused(arguments("scgpt", file, tmp_path / "out", *more), capsys, found)


def test_a_file_that_is_absent_or_truncated_is_refused(file, tmp_path, capsys):
    refused(arguments("scgpt", tmp_path / "none.h5ad", tmp_path / "out"), capsys, "it is not there")
    torn = tmp_path / "torn.h5ad"
    torn.write_bytes(file.read_bytes()[:5000])
    refused(arguments("scgpt", torn, tmp_path / "out"), capsys, "torn.h5ad as .h5ad")
    refused(arguments("scgpt", tmp_path, tmp_path / "out"), capsys, "a folder")


def test_a_folder_that_cannot_be_written_to_is_refused_before_training(file, tmp_path, capsys, monkeypatch):
    (tmp_path / "out").write_text("a file")
    monkeypatch.delattr(Pretraining, "_advance")
    refused(arguments("scgpt", file, tmp_path / "out"), capsys, "found: a file")
    refused(arguments("scgpt", file, tmp_path / "out" / "below"), capsys, "Not a directory")


def test_a_disk_that_fills_up_is_told_and_the_command_goes_on_afterwards(file, tmp_path, capsys):
    """A limit on the size of files is met by real writes of torch and of safetensors."""
    kept = resource.getrlimit(resource.RLIMIT_FSIZE)
    whole, out = tmp_path / "whole", tmp_path / "out"
    assert command.main(arguments("scgpt", file, whole)) == 0
    weights, state = (whole / name for name in ("model.safetensors", STATE))
    assert weights.stat().st_size * 2 < state.stat().st_size
    for limit in (state.stat().st_size // 2, weights.stat().st_size // 2):
        if limit < weights.stat().st_size:
            (out / STATE).write_bytes(state.read_bytes())
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, kept[1]))
        try:
            refused(arguments("scgpt", file, out), capsys, "bytes are free")
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, kept)
        assert not list(out.glob(".*"))
        assert not (out / "model.safetensors").exists()
    assert command.main(arguments("scgpt", file, out)) == 0
    assert (out / "model.safetensors").read_bytes() == weights.read_bytes()


def test_an_interruption_is_told(file, tmp_path, capsys, monkeypatch):
    def interrupted(_self):
        raise KeyboardInterrupt

    monkeypatch.setattr(Pretraining, "_advance", interrupted)
    assert command.main(arguments("scgpt", file, tmp_path / "out")) == 130
    assert "goes on from the last checkpoint" in capsys.readouterr().err


def test_genes_without_a_symbol_keep_their_id(cells, tmp_path):
    nameless = ad.AnnData(cells.X, obs=cells.obs, var=cells.var.copy())
    nameless.var["symbol"] = [None, None, *cells.var["symbol"][2:-1], cells.var["symbol"].iloc[2]]
    nameless.write_h5ad(tmp_path / "nameless.h5ad")
    read = command.read_corpus(tmp_path / "nameless.h5ad")
    assert read.symbols[:3] == (*gene_ids()[:2], cells.var["symbol"].iloc[2])
    assert read.symbols[-1] == gene_ids()[-1]


def read_with_symbols(cells, tmp_path, symbols):
    named = ad.AnnData(cells.X, obs=cells.obs, var=cells.var.copy())
    named.var["symbol"] = symbols
    named.write_h5ad(tmp_path / "named.h5ad")
    return command.read_corpus(tmp_path / "named.h5ad")


def test_a_symbol_that_stands_for_something_else_gives_way_to_the_id(cells, tmp_path):
    """Special tokens, the id of a gene that comes later or came before, and a symbol that several genes have."""
    ids, others = gene_ids(), [f"S{i}" for i in range(54)]
    read = read_with_symbols(cells, tmp_path, ["<pad>", "<any>", ids[5], ids[0], "TWICE", "TWICE", *others])
    assert read.symbols == (*ids[:4], "TWICE", ids[5], *others)
    objective = LAYOUTS["scgpt"](read, training=np.ones(120, dtype=bool), sizes=SIZES)
    objective.write(tmp_path / "model")
    assert len(ScGPT(weights=tmp_path / "model").tokens) == 63


@pytest.mark.parametrize("symbol", ["<cls>", gene_ids()[1]])
def test_symbols_that_are_not_unique_are_refused_before_training(symbol):
    cells = corpus()
    spoilt = replace(cells, symbols=(symbol, gene_ids()[1], *cells.symbols[2:]))
    with pytest.raises(InvalidInputError, match=re.escape(symbol)):
        LAYOUTS["scgpt"](spoilt, training=np.ones(120, dtype=bool), sizes=SIZES)


def test_counts_in_a_layer_are_pointed_to(cells, tmp_path, capsys):
    elsewhere = cells.copy()
    elsewhere.layers["counts"] = elsewhere.X.copy()
    log_normalised(elsewhere)
    elsewhere.write_h5ad(tmp_path / "log.h5ad")
    assert command.main(arguments("scgpt", tmp_path / "log.h5ad", tmp_path / "out")) == 2
    told = capsys.readouterr().err
    assert "layers/counts of the same file hold integers: write the file anew" in told
    assert "counts=" not in told
    del elsewhere.X
    elsewhere.write_h5ad(tmp_path / "none.h5ad")
    refused(arguments("scgpt", tmp_path / "none.h5ad", tmp_path / "out"), capsys, "no X")


def test_other_remedies_stay(cells, tmp_path, capsys):
    twice = cells.copy()
    twice.obs_names = ["x", "x", *twice.obs_names[2:]]
    twice.write_h5ad(tmp_path / "twice.h5ad")
    assert command.main(arguments("scgpt", tmp_path / "twice.h5ad", tmp_path / "out")) == 2
    assert "obs_names_make_unique" in capsys.readouterr().err


@pytest.fixture
def finished(model, tmp_path):
    """Layout, and a copy of the folder of a run that is over."""
    layout, out = model
    return layout, Path(shutil.copytree(out, tmp_path / out.name))


@pytest.mark.parametrize("record", [None, "", "{", "[1]", "{}"])
def test_a_lost_record_is_written_anew_and_hides_no_other_corpus(finished, file, tmp_path, capsys, record):
    layout, out = finished
    before = (out / RECORD).read_bytes()
    (out / RECORD).unlink() if record is None else (out / RECORD).write_text(record)
    annotated(corpus(seed=1)).write_h5ad(tmp_path / "tiny.h5ad")
    refused(arguments(layout, tmp_path / "tiny.h5ad", out), capsys, "differs in its corpus from")
    assert command.main(arguments(layout, file, out)) == 0
    assert (out / RECORD).read_bytes() == before


@pytest.mark.parametrize("gone", [STATE, None])
def test_another_layout_never_gets_into_the_folder(finished, file, capsys, gone):
    layout, out = finished
    other = "scgpt" if layout == "geneformer" else "geneformer"
    if gone:
        (out / gone).unlink()
    kept = {path.name: path.read_bytes() for path in out.iterdir()}
    refused(arguments(other, file, out), capsys, "files of a model without" if gone else "differs in its layout")
    assert {path.name: path.read_bytes() for path in out.iterdir()} == kept


@pytest.mark.parametrize("name", ["model.safetensors", "vocab.json", "token_dictionary_gc104M.pkl", "README.md"])
def test_a_folder_with_a_model_is_not_trained_into(file, tmp_path, capsys, name):
    (tmp_path / name).write_text("mine")
    refused(arguments("scgpt", file, tmp_path), capsys, name)
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert (tmp_path / name).read_text() == "mine"


def test_only_the_files_of_the_model_are_listed_as_such(file, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "notes.txt").write_text("mine")
    assert command.main(arguments("scgpt", file, out, "--epochs", "1", "--remark", "one | of\nthem")) == 0
    facts, card = json.loads((out / RECORD).read_text()), (out / "README.md").read_text()
    assert set(facts["files"]) == {"args.json", "model.safetensors", "vocab.json"}
    assert "notes.txt" not in card
    assert "- one | of them\n" in card
    assert facts["remarks"] == ["one | of\nthem"]


def test_the_length_is_written_where_the_adapter_reads_it(model):
    layout, out = model
    read = find_model(f"{layout}-mini")(weights=out)
    assert (read.max_length if layout == "scgpt" else read._max_length) == 32


def test_a_machine_on_which_it_went_on_is_told(file, tmp_path, monkeypatch):
    def stop(_self, _file):
        raise KeyboardInterrupt

    out, save = tmp_path / "out", Pretraining._save
    given = arguments("scgpt", file, out, "--epochs", "3")
    with monkeypatch.context() as patch:
        patch.setattr(Pretraining, "_save", lambda self, state: save(self, state) or stop(self, state))
        assert command.main(given) == 130
    monkeypatch.setattr(loop, "machine", lambda: {"kind": "another-machine", "cores": 1})
    assert command.main(given) == 0
    places = json.loads((out / RECORD).read_text())["compute"]["places"]
    assert [place["machine"] == "another-machine" for place in places] == [False, True]
    assert "then on `another-machine` (1 core, of which" in (out / "README.md").read_text()
    # a card that is written elsewhere does not say that the training was there
    monkeypatch.setattr(loop, "machine", lambda: {"kind": "a-third", "cores": 1})
    assert command.main(given) == 0
    assert json.loads((out / RECORD).read_text())["compute"]["places"] == places


def test_cells_that_are_all_alike_have_a_card(cells, tmp_path):
    """Two counts in each gene of each cell: the unigram model makes no error, and no share of it can be said."""
    alike = cells.copy()
    alike.X = 2 * (alike.X > 0).astype(np.float32)
    alike.write_h5ad(tmp_path / "alike.h5ad")
    assert command.main(arguments("scgpt", tmp_path / "alike.h5ad", tmp_path / "out")) == 0
    assert "the unigram model, which makes no error" in (tmp_path / "out" / "README.md").read_text()
