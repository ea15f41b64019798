"""Published numbers stand beside ours with what differs, and what is missing is named with the reason."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import anndata
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scfm_eval.__main__ import main
from scfm_eval.published import Publication, find_publication
from scfm_eval.report import Report, write_report
from scfm_eval.reproduction.lines import OTHER_MODEL, Line, lines
from scfm_eval.reproduction.text import render
from scfm_eval.results import DatasetRecord, ModelRecord, ReadableRecord, Result, ScoreRecord
from tests.toys import toy_cells

SCHEMA = {"schema_version": 1, "source": {"citation": "Toy et al.", "doi": None, "doi_reason": "a toy"}}
PROTOCOL = dict.fromkeys(("split", "classifier", "preprocessing", "neighbours", "trained_on"), "as here")


def table(**changes):
    made = {
        "name": "toy",
        "title": "toys",
        "place": {"table": "1", "page": 3, "reason": ""},
        "by": "the authors",
        "protocol": PROTOCOL | {"reason": ""},
        "target": True,
        "target_reason": "",
        "task": "clustering",
        "scores": {"ARI": "ari"},
        "differs": ["ours clusters once more"],
        "rows": [
            {"dataset": "Gut", "annotation": "cell type", "model": "A", "values": {"ARI": 0.25, "AMI": 0.5}},
            {"dataset": "Gut", "annotation": "cancer type", "model": "B", "values": {"ARI": 0.75}},
            {"dataset": "Skin", "model": "A", "values": {"ARI": -0.125}, "spread": {"ARI": 0.5}},
        ],
    }
    return made | changes


def publication(*tables, datasets=None):
    near = [{"name": "gut", "differs": "fewer cells"}, {"name": "colon", "differs": "other cells"}]
    found = {
        "title": "Toys",
        "quoted_by": "this test",
        "notes": ["it is a toy"],
        "datasets": {"Gut": near, "Skin": []} if datasets is None else datasets,
        "models": {"A": [{"name": "a", "differs": "older"}], "B": [{"name": "b", "differs": "newer"}]},
        "tables": list(tables or [table()]),
    }
    return Publication.model_validate(SCHEMA | found)


def result(*, model="a", dataset="gut", task="clustering", details=None, notes=(), **scores):
    records = {
        name: ScoreRecord(value=None, reason="one label only")
        if value is None
        else ScoreRecord(value=value, low=value - 0.1, high=value + 0.1)
        for name, value in scores.items()
    }
    return Result(
        task=task,
        parameters={},
        headline=[],
        seeds=[0],
        pairing="p",
        dataset=DatasetRecord(name=dataset, sha256="0", n_cells=4, n_genes=2, n_unlabelled=0, n_labels=2),
        model=ModelRecord(name=model, role="model", trained_here=False),
        readable=ReadableRecord(genes=1.0, counts=1.0, n_genes=2),
        scores=records,
        details=details or {},
        seconds={},
        from_store=False,
        notes=list(notes),
    )


def compared(*results, of=None):
    of = of or publication()
    return lines(of, of.tables[0], results, why_not=lambda task, dataset, model: [f"no {task} of {model} on {dataset}"])


def test_the_difference_is_ours_minus_the_published():
    first = compared(result(ari=0.375))[0]
    assert (first.published, first.ours, first.difference) == (0.25, 0.375, 0.125)
    assert (first.low, first.high, first.why) == (0.275, 0.475, "")


def test_what_differs_is_said_of_dataset_and_model_and_the_run():
    first = compared(result(ari=0.375, notes=["a saw gut in pretraining"]))[0]
    assert first.differs == ("Gut – gut: fewer cells", "A – a: older", "a saw gut in pretraining")


def test_another_annotation_is_another_score():
    found = compared(result(model="b", ari=0.5, cancer_type_ari=0.25))
    assert [line.ours for line in found if line.model == "B"] == [0.25]


def test_an_annotation_that_ours_does_not_have_is_named():
    (of_b,) = (line for line in compared(result(model="b", ari=0.5)) if line.model == "B")
    assert (of_b.ours, of_b.why) == (None, "our result of b on gut has no cancer_type_ari")


def test_everything_that_is_missing_has_its_reason():
    assert [line.why for line in compared()] == [
        "no clustering of a on gut; no clustering of a on colon",
        "the task clustering has no AMI of this kind",
        "no clustering of b on gut; no clustering of b on colon",
        "no dataset of this suite stands for it: give a file with --dataset 'Skin=SPEC'",
    ]


def test_an_undefined_value_of_ours_keeps_its_reason():
    first = compared(result(ari=None))[0]
    assert (first.ours, first.difference, first.why) == (None, None, "one label only")


def test_another_model_is_labelled_and_has_no_difference():
    found = compared(result(model="c", ari=0.5))
    assert [line.ours for line in found[:4]] == [None] * 4
    assert [(line.model, line.published, line.ours, line.difference, line.why) for line in found[4:]] == [
        (OTHER_MODEL, None, 0.5, None, ""),
        (OTHER_MODEL, None, None, None, "our result of c on gut has no cancer_type_ari"),
    ]


def test_results_of_another_task_or_dataset_are_left_alone():
    found = compared(result(ari=0.5, task="annotation"), result(ari=0.5, dataset="brain"))
    assert [line.ours for line in found] == [None] * 4


def test_a_farther_dataset_says_that_a_nearer_one_is_missing():
    first = compared(result(ari=0.5, dataset="colon"))[0]
    assert first.differs[0] == "Gut – colon: other cells"
    assert first.differs[-1] == "gut is nearer to Gut, but: no clustering of a on gut"


def test_every_dataset_that_stands_for_the_published_has_its_line():
    found = compared(result(ari=0.5, dataset="colon"), result(ari=0.25))
    assert [(line.dataset_here, line.difference) for line in found[:2]] == [("gut", 0.0), ("colon", 0.25)]


def test_published_layers_are_our_blocks():
    rows = [{"dataset": "Gut", "model": "A", "layer": layer, "values": {"MSE": 2.0}} for layer in (0, 1, 2)]
    of = publication(
        table(task="layerwise_reconstruction", scores={"MSE": "native_mse"}, rows=[*rows, {**rows[0], "model": "B"}]),
        datasets={"Gut": [{"name": "gut", "differs": "fewer cells"}]},
    )
    layers = {"layers": [{"native_mse": value} for value in (9.0, 1.5, None)]}
    found = compared(
        result(task="layerwise_reconstruction", details=layers),
        result(task="layerwise_reconstruction", details=layers, model="c"),
        of=of,
    )
    assert [(line.ours, line.difference, line.why) for line in found[:3]] == [
        (1.5, -0.5, ""),
        (None, None, "native_mse of this layer is undefined"),
        (None, None, "our a has 2 blocks"),
    ]
    assert [(line.model, line.layer, line.ours) for line in found[4:]] == [(OTHER_MODEL, 0, 1.5)]


@given(st.permutations([("a", 0.5), ("b", 0.25), ("c", 0.125)]))
def test_the_order_of_results_does_not_matter(order):
    results = [result(model=name, ari=value, cancer_type_ari=value) for name, value in order]
    assert [line.ours for line in compared(*results)[:4]] == [0.5, None, 0.25, None]


def text(*results, of=None):
    of = of or publication()
    return render(of, [(of.tables[0], compared(*results, of=of))], results=results)


def row_of(printed, *words):
    return next(line.split() for line in printed.splitlines() if all(word in line for word in words))


def test_the_text_has_numbers_differences_reasons_and_no_claim_of_reproduction():
    printed = text(result(ari=0.375), result(model="b", cancer_type_ari=0.125), result(model="c", ari=0.5))
    assert row_of(printed, " a on gut")[-8:] == ["0.25", "0.375", "[0.275,", "0.475]", "+0.125", "a", "on", "gut"]
    assert "-0.125 ± 0.5" in printed
    assert "ours clusters once more" in printed
    assert "Gut – gut: fewer cells" in printed
    assert "the task clustering has no AMI of this kind (1 number: A on Gut)" in printed
    assert "gut: 4 cells, 2 labels; task clustering, seeds 0" in printed
    assert "2 of 4 published numbers have one of ours beside them, each under another protocol" in printed
    assert printed.endswith("Other models, for which nothing was published: c.\n")


def test_the_order_of_models_is_told_where_there_are_several():
    rows = [{"dataset": "Gut", "model": name, "values": {"ARI": value}} for name, value in (("A", 0.75), ("B", 0.5))]
    of = publication(table(rows=rows), datasets={"Gut": [{"name": "gut", "differs": "fewer cells"}]})
    printed = text(result(ari=0.1), result(model="b", ari=0.2), of=of)
    assert "Gut, ARI: published A > B; ours on gut b > a" in printed


def test_a_number_with_two_of_ours_counts_once():
    assert "1 of 4 published numbers" in text(result(ari=0.5), result(ari=0.25, dataset="colon"))


def test_without_anything_at_hand_the_text_says_so():
    assert text().endswith("None of the 4 published numbers has one of ours beside it.\n")


def test_markup_in_names_is_printed_as_it_is():
    assert "[bold]x[/bold] on gut" in text(result(model="[bold]x[/bold]", ari=0.5))


def test_what_is_no_target_says_why():
    of = publication(table(target=False, target_reason="it contradicts itself"))
    assert "no target: it contradicts itself" in text(of=of)


@pytest.mark.parametrize(
    "line", [Line("d", "", "m", "ARI", None, 0.5), Line("d", "", "m", "ARI", None, None, ours=0.5)]
)
def test_without_one_of_the_two_there_is_no_difference(line):
    assert line.difference is None


def run(*arguments, capsys):
    code = main(["reproduce", *map(str, arguments)])
    out, err = capsys.readouterr()
    return code, out, err


@pytest.fixture
def report(tmp_path):
    results = [result(model="hvg", dataset="pbmc3k", task="annotation", accuracy=0.5, xgboost_accuracy=0.75)]
    made = Report(created="2026-01-01T00:00:00+00:00", command=[], environment={}, results=results, verdicts=[])
    return write_report(made, tmp_path / "report.json")


def test_all_names_are_listed(capsys):
    code, out, _ = run("--list", capsys=capsys)
    assert code == 0
    assert all(name in out for name in ("genept-table2", "genept-c4", "kedzierska2025", "pbmc3k-course"))


def test_values_are_taken_from_a_report(report, capsys):
    code, out, _ = run("pbmc3k-course", "--report", report, capsys=capsys)
    assert code == 0
    assert "0.613" in out
    assert row_of(out, "hvg on pbmc3k", "accuracy")[2:6] == ["type", "not", "the", "published"]
    assert "no report has annotation of geneformer on pbmc3k" in out


def test_a_dataset_of_a_report_can_be_named(report, capsys):
    code, out, _ = run("genept-c4", "--report", report, "--dataset", "aorta=pbmc3k", capsys=capsys)
    assert code == 0
    assert "our result of hvg on pbmc3k has no knn_accuracy" in out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["pbmc4k"], "there are genept-4.4, genept-c4"),
        ([], "there are genept-4.4, genept-c4"),
        (["genept-c4", "--report", "REPORT"], "it has pbmc3k; what stands for them here: aorta, artery"),
        (
            ["genept-c4", "--report", "REPORT", "--dataset", "Lung=pbmc3k"],
            "no published dataset 'Lung'; there are Aorta",
        ),
        (["genept-c4", "--report", "REPORT", "--dataset", "Aorta"], "no name and value"),
        (["genept-c4", "--weights", "a=b", "--weights", "a=c"], "a is given twice"),
        (["genept-c4", "--report", "REPORT", "--model", "hvg"], "nothing is measured anew"),
        (
            ["genept-c4", "--report", "REPORT", "--device", "cpu", "--seeds", "3", "--offline"],
            "--report together with --device, --seeds, --offline",
        ),
        (["genept-c4", "--report", "no.json"], "No such file"),
        (["genept-c4", "--dataset", "Aorta=nothing"], "no dataset of that name"),
        (["genept-c4", "--dataset", "Aorta=synthetic_perturbations"], "synthetic_perturbations has no label key"),
        (["genept-c4", "--model", "nothing"], "no model of that name"),
        (["genept-c4", "--seeds", "0"], "no number of repeats"),
        (["genept-c4", "--weights", "scgpt"], "no name and value"),
        (["genept-c4", "--device", "abacus"], "no device"),
    ],
)
def test_what_cannot_be_used_is_refused_with_what_was_found(arguments, said, report, capsys):
    code, out, err = run(*(report if word == "REPORT" else word for word in arguments), capsys=capsys)
    assert (code, out) == (2, "")
    assert said in err


def test_an_empty_report_is_refused(tmp_path, capsys):
    made = Report(created="2026-01-01T00:00:00+00:00", command=[], environment={}, results=[], verdicts=[])
    code, _, err = run("genept-c4", "--report", write_report(made, tmp_path / "empty.json"), capsys=capsys)
    assert code == 2
    assert "it has no result" in err


MODEL = """
import numpy as np

from scfm_eval.models.protocols import Reconstruction


class Toy:
    name = "scgpt"

    def embed(self, cells):
        return np.log1p(cells.X.toarray())

    def embed_layers(self, cells):
        return [self.embed(cells)] * 3

    def reconstruct_layers(self, cells):
        target = cells.X.toarray()
        cell = np.repeat(np.arange(cells.n_obs), cells.n_vars)
        return Reconstruction(target.ravel(), cell, np.stack([target.ravel() + by for by in (3, 2, 1)]))
"""


@pytest.fixture
def toy(tmp_path, monkeypatch):
    """Cells of six patients with two phenotypes, and a model that says it is scGPT."""
    cells = toy_cells()
    donor = np.arange(cells.n_obs) % 6
    cells.obs["patient"] = [f"p{i}" for i in donor]
    cells.obs["phenotype"] = np.where(donor < 3, "ill", "well")
    cells.write_h5ad(tmp_path / "toy.h5ad")
    (tmp_path / "model.py").write_text(MODEL)
    monkeypatch.setenv("SCFM_EVAL_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("SCFM_EVAL_DATA", raising=False)
    return partial(_run_toy, tmp_path)


def _run_toy(folder: Path, name, *, dataset, keys, capsys):
    spec = f"{dataset}={folder / 'toy.h5ad'}:{keys}"
    return run(name, "--offline", "--model", f"{folder / 'model.py'}:Toy", "--dataset", spec, capsys=capsys)


def test_a_given_file_is_measured_under_the_nearest_protocol(toy, capsys):
    keys = "label=cell_type,donor=patient,phenotype=phenotype"
    code, out, err = toy("genept-4.4", dataset="Aorta", keys=keys, capsys=capsys)
    assert code == 0
    assert err == "clustering of scgpt on toy\n"
    patient, phenotype = row_of(out, "Aorta", "patient", "scgpt on toy"), row_of(out, "phenotype", "scgpt on toy")
    assert patient[4] == "0.18"
    assert float(patient[5]) - 0.18 == pytest.approx(float(patient[-4]), abs=1e-3)
    assert phenotype[4] == "0.75"
    assert "cardiomyocyte is not at hand: no direct download" in out
    assert "hvg was not asked for with --model" in out
    assert "genept-s was not asked for with --model" in out
    assert "2 of 14 published numbers" in out


def test_votes_of_neighbours_are_scores_here(toy, capsys):
    code, out, _ = toy("genept-c4", dataset="Bones", keys="label=cell_type", capsys=capsys)
    assert code == 0
    assert row_of(out, "scgpt on toy", "accuracy")[:6] == ["Bones", "cell", "type", "scGPT", "accuracy", "0.34"]
    assert "2 of 120 published numbers" in out


def test_layers_and_the_mean_are_scores_here(toy, capsys):
    code, out, _ = toy("layerwise-scgpt", dataset="spatial TCGA", keys="label=cell_type", capsys=capsys)
    assert code == 0
    assert row_of(out, "layer 0 ", "MSE", "scgpt on toy")[6:9] == ["42.84", "4.000", "-38.840"]
    assert row_of(out, "layer 1 ", "MSE", "scgpt on toy")[6:9] == ["30.24", "1.000", "-29.240"]
    assert "our scgpt has 2 blocks" in out
    assert row_of(out, "mean baseline", "MSE", "scgpt on toy")[5] == "0.1507"


def test_a_given_dataset_that_is_refused_stops_the_command(toy, tmp_path, capsys):
    cells = anndata.read_h5ad(tmp_path / "toy.h5ad")
    cells.X = cells.X * 0.5
    cells.write_h5ad(tmp_path / "toy.h5ad")
    code, out, err = toy("genept-c4", dataset="Bones", keys="label=cell_type", capsys=capsys)
    assert (code, out) == (2, "")
    assert "dataset toy with raw integer counts" in err


def test_only_the_sweep_has_a_spread():
    spreads = [row.spread for table in find_publication("pbmc3k-course").tables for row in table.rows]
    assert [bool(spread) for spread in spreads] == [False, False, False, True, True]
