"""Published numbers are those of the source, each has its place and protocol, and no other is accepted."""

from __future__ import annotations

import json
import math
import shutil
import tomllib
from collections import Counter
from pathlib import Path

import pytest

from scfm_eval import published as module
from scfm_eval.discovery import dataset_names, model_names
from scfm_eval.errors import InvalidInputError
from scfm_eval.metrics.classification import accuracy, macro_f1
from scfm_eval.metrics.clustering import ari, asw
from scfm_eval.metrics.leiden import avg_bio
from scfm_eval.metrics.mixing import ilisi
from scfm_eval.metrics.reconstruction import cell_mae, cell_mse, cell_pearson
from scfm_eval.published import RANGES, find_publication, names, publications, read_publication

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "reports" / "published"
SOURCE = ROOT.parent / "shared" / "published.md"

# transcribed by hand: one row of the source each
TABLE_2 = """
Aorta | phenotype | 0.10 0.12 -0.005 | 0.12 0.12 0.01 | 0.09 0.12 -0.04 | 0.12 0.11 0.02
Aorta | cell type | 0.21 0.31 -0.04 | 0.47 0.64 0.18 | 0.54 0.60 0.03 | 0.31 0.47 0.04
Artery | cell type | 0.39 0.59 0.10 | 0.36 0.59 0.15 | 0.42 0.67 0.16 | 0.36 0.56 0.06
Bones | cell type | 0.09 0.16 -0.01 | 0.12 0.21 -0.01 | 0.21 0.29 0.02 | 0.17 0.28 0.003
Myeloid | cancer type | 0.16 0.18 0.03 | 0.27 0.29 0.08 | 0.25 0.27 0.02 | 0.17 0.17 0.06
Myeloid | cell type | 0.19 0.29 -0.02 | 0.44 0.53 0.13 | 0.21 0.28 0.001 | 0.30 0.41 0.03
Pancreas | cell type | 0.04 0.11 -0.09 | 0.21 0.41 0.05 | 0.49 0.69 0.15 | 0.30 0.50 0.10
Multiple sclerosis | age | 0.04 0.11 -0.10 | 0.04 0.11 -0.06 | 0.07 0.13 -0.07 | 0.06 0.12 -0.03
Multiple sclerosis | cell type | 0.21 0.35 -0.05 | 0.25 0.44 0.04 | 0.17 0.32 -0.02 | 0.19 0.35 0.002
"""
TABLE_C4 = """
Aorta | .95 .95 .93 .93 | .86 .70 .60 .62 | .88 .91 .68 .72 | .86 .70 .60 .62 | .93 .95 .82 .86
Artery | .94 .92 .89 .90 | .93 .91 .84 .87 | .95 .92 .87 .88 | .92 .88 .82 .84 | .95 .93 .88 .90
Bones | .34 .36 .48 .25 | .22 .28 .37 .17 | .49 .49 .60 .36 | .37 .37 .49 .28 | .45 .43 .57 .33
Myeloid | .53 .34 .29 .30 | .44 .26 .18 .20 | .50 .35 .30 .31 | .52 .33 .27 .28 | .55 .38 .34 .35
Pancreas | .77 .61 .56 .55 | .50 .25 .34 .27 | .95 .76 .65 .66 | .89 .65 .53 .56 | .95 .80 .67 .70
Multiple sclerosis | .76 .67 .62 .61 | .44 .47 .36 .34 | .38 .46 .28 .24 | .49 .50 .41 .40 | .72 .66 .57 .55
"""
AVG_BIO = """
PBMC 12k | 0.63 | 0.52 | 0.61 | 0.59 | 0.65
Tabula Sapiens | 0.51 | 0.45 | 0.58 | 0.53 | 0.55
Pancreas | 0.49 | 0.41 | 0.56 | 0.52 | 0.54
"""
ILISI = """
Pancreas | 0.72 | 0.38 | 0.89 | 0.85 | 0.81
Immune | 0.85 | 0.42 | 0.79 | 0.81 | 0.83
"""
AVG_BIO_AGAIN = """
Pancreas | 0.712 | 0.705 | 0.698 | 0.634 | 0.587
PBMC 12k | 0.689 | 0.665 | 0.671 | 0.682 | 0.591
Tabula Sapiens | 0.651 | 0.632 | 0.641 | 0.618 | 0.602
Immune | 0.668 | 0.654 | 0.649 | 0.627 | 0.593
"""
RERUN = """
Aorta | 0.344 0.501 -0.03
Pancreas | 0.307 0.512 0.143
Myeloid | 0.159 0.269 -0.088
Multiple sclerosis | 0.039 0.144 -0.21
"""
LAYERS = """
42.84 6.41 -0.034
30.24 5.39 -0.036
30.87 5.45 -0.033
36.05 5.93 -0.033
64.77 8.01 -0.016
108.65 10.39 -0.019
102.01 10.06 0.008
72.94 8.44 0.026
85.77 9.08 0.029
195.41 13.85 0.032
450.08 21.17 0.027
381.06 19.50 0.023
"""
SECTION_4_4 = {
    ("Cardiomyocyte", "patient", "ARI"): {"scRNA-seq": 0.33, "GenePT-s": 0.07, "Geneformer": 0.01, "scGPT": 0.01},
    ("Cardiomyocyte", "phenotype", "accuracy"): {"GenePT-s": 0.88, "scGPT": 0.88, "Geneformer": 0.71},
    ("Aorta", "patient", "ARI"): {"scRNA-seq": 0.24, "Geneformer": 0.11, "GenePT-s": 0.10, "scGPT": 0.18},
    ("Aorta", "phenotype", "accuracy"): {"GenePT-s": 0.73, "scGPT": 0.75, "Geneformer": 0.69},
}
CLUSTERS = ("ARI", "AMI", "ASW")
VOTES = ("accuracy", "macro precision", "macro recall", "macro F1")
GENEPT = ("Geneformer", "scGPT", "GenePT-w", "GenePT-s")
NEIGHBOURS = ("scGPT", "Geneformer", "GenePT-w", "GenePT-s", "ensemble")
ZERO_SHOT = ("scGPT", "Geneformer", "scVI", "Harmony", "HVG")
ZERO_SHOT_AGAIN = ("HVG", "Harmony", "scVI", "scGPT", "Geneformer")


def entered(name, *, table=0):
    """Return the numbers of one table by dataset, annotation, model, layer and metric."""
    return {
        (row.dataset, row.annotation, row.model, row.layer, metric): value
        for row in find_publication(name).tables[table].rows
        for metric, value in row.values.items()
    }


def transcribed(text, *, models, metrics, annotation=None):
    numbers = {}
    for line in text.strip().splitlines():
        dataset, *cells = line.split(" | ")
        of = cells.pop(0) if annotation is None and not cells[0][-1].isdigit() else annotation
        for model, cell in zip(models, cells, strict=True):
            for metric, value in zip(metrics, cell.split(), strict=True):
                numbers[dataset, of, model, None, metric] = float(value)
    return numbers


def test_table_2_of_genept():
    assert entered("genept-table2") == transcribed(TABLE_2, models=GENEPT, metrics=CLUSTERS)


def test_table_c4_of_genept():
    expected = transcribed(TABLE_C4, models=NEIGHBOURS, metrics=VOTES, annotation="cell type")
    assert entered("genept-c4") == expected


def test_section_4_4_of_genept():
    assert entered("genept-4.4") == {
        (dataset, annotation, model, None, metric): value
        for (dataset, annotation, metric), of_models in SECTION_4_4.items()
        for model, value in of_models.items()
    }


def test_the_re_run_of_genept():
    numbers = transcribed(RERUN, models=("GenePT-w",), metrics=CLUSTERS)
    expected = {
        (dataset, "cell type" if dataset == "Aorta" else None, *rest): value
        for (dataset, _, *rest), value in numbers.items()
    }
    assert entered("genept-w-rerun") == expected


@pytest.mark.parametrize(
    ("table", "text", "models", "metric"),
    [
        (0, AVG_BIO, ZERO_SHOT, "AvgBIO"),
        (1, AVG_BIO_AGAIN, ZERO_SHOT_AGAIN, "AvgBIO"),
        (2, ILISI, ZERO_SHOT, "iLISI"),
    ],
)
def test_zero_shot_tables(table, text, models, metric):
    assert entered("kedzierska2025", table=table) == transcribed(text, models=models, metrics=(metric,))


def test_layers_of_scgpt_and_their_baseline():
    layers = {
        ("spatial TCGA", None, "scGPT", layer, metric): float(value)
        for layer, line in enumerate(LAYERS.strip().splitlines())
        for metric, value in zip(("MSE", "MAE", "Pearson"), line.split(), strict=True)
    }
    place = ("spatial TCGA", None, "mean baseline", None)
    assert entered("layerwise-scgpt", table=1) == layers
    assert entered("layerwise-scgpt") == {(*place, "MSE"): 0.1507, (*place, "MAE"): 0.2592}


def test_the_course_project_and_its_sweep():
    tables = find_publication("pbmc3k-course").tables
    rows = [(row.model, row.values, row.spread) for table in tables for row in table.rows]
    assert rows == [
        ("Geneformer", {"accuracy": 0.613, "macro F1": 0.428}, {}),
        ("scGPT", {"accuracy": 0.600, "macro F1": 0.294}, {}),
        ("Geneformer", {"accuracy": 0.978, "macro F1": 0.978}, {}),
        ("Geneformer", {"accuracy": 0.694}, {"accuracy": 0.020}),
        ("scGPT", {"accuracy": 0.906}, {"accuracy": 0.012}),
    ]
    assert not any(table.target for table in tables)


def test_what_contradicts_itself_or_had_faults_is_no_target():
    targets = {table.name for publication in publications() for table in publication.tables if table.target}
    assert targets == {"genept-table2", "genept-c4", "genept-4.4"}


@pytest.fixture(scope="module")
def source():
    """Cells of every table of the source, by its heading, where the source is there."""
    if not SOURCE.is_file():
        pytest.skip("the source of the published numbers is not beside the repository")
    tables: dict[str, list[list[str]]] = {}
    heading = ""
    for line in SOURCE.read_text(encoding="utf-8").replace("−", "-").splitlines():
        if line.startswith("## "):
            heading = line[3:].partition(":")[0].partition(" (")[0]
        elif line.startswith("|") and not line.startswith("|--") and "|---" not in line:
            tables.setdefault(heading, []).append([cell.strip() for cell in line.strip("|").split("|")])
    return tables


@pytest.mark.parametrize(
    ("heading", "name", "metrics"),
    [("GenePT Table 2", "genept-table2", CLUSTERS), ("GenePT Table C4", "genept-c4", VOTES)],
)
def test_every_cell_of_the_genept_tables_is_that_of_the_source(source, heading, name, metrics):
    (_, *head), *body = source[heading]
    found = {}
    for dataset, *cells in body:
        annotation = cells.pop(0) if head[0] == "annotation" else "cell type"
        for model, cell in zip(head[head[0] == "annotation" :], cells, strict=True):
            for metric, value in zip(metrics, cell.split(" / "), strict=True):
                found[dataset, annotation, model, None, metric] = float(value)
    assert entered(name) == found


def test_every_cell_of_the_zero_shot_table_is_that_of_the_source(source):
    (_, _, *models), *body = source["Zero-shot evaluation"]
    found = {
        (dataset, None, model, None, metric): float(value)
        for metric, dataset, *cells in body
        for model, value in zip(models, cells, strict=True)
    }
    assert entered("kedzierska2025") | entered("kedzierska2025", table=2) == found


def test_every_cell_of_the_course_table_is_that_of_the_source(source):
    _, *body = next(rows for heading, rows in source.items() if heading.startswith("PBMC3k"))
    entered_rows = [[*table.rows[0].values.values()] for table in find_publication("pbmc3k-course").tables[:3]]
    assert entered_rows == [[float(value) for value in cells] for _, *cells in body]


def test_numbers_in_running_text_of_the_source(source):
    del source
    text = SOURCE.read_text(encoding="utf-8").replace("−", "-")
    errors, absolute, correlations = (
        ", ".join(column) for column in zip(*(line.split() for line in LAYERS.strip().splitlines()), strict=True)
    )
    assert f"MSE {errors}; MAE {absolute}; Pearson {correlations}." in text
    assert "0.694 ± 0.020 (Geneformer) and 0.906 ± 0.012 (scGPT)" in text
    for line in AVG_BIO_AGAIN.strip().splitlines()[1:]:
        dataset, *values = line.split(" | ")
        assert f"{dataset} {'/'.join(values)}".casefold() in text.casefold()
    for line in RERUN.strip().splitlines():
        assert line.partition(" | ")[2].replace(" ", "/") in text


def course():
    return json.loads((FOLDER / "pbmc3k-course.json").read_text(encoding="utf-8"))


def rejected(found, tmp_path):
    path = tmp_path / "wrong.json"
    path.write_text(json.dumps(found), encoding="utf-8")
    with pytest.raises(InvalidInputError) as error:
        read_publication(path)
    return str(error.value)


def change(where, value):
    """Return a function that puts a value at a place of the file, such as ``tables.0.rows.0.layer``."""

    def changed(found):
        *path, last = (int(key) if key.isdecimal() else key for key in where.split("."))
        inner = found
        for key in path:
            inner = inner[key]
        inner[last] = value
        return found

    return changed


@pytest.mark.parametrize(
    ("where", "value", "said"),
    [
        ("tables.0.rows.0.values", {"accuracy": 1.613}, "accuracy of Geneformer on PBMC3k is 1.613"),
        ("tables.0.rows.0.values", {"accuracy": -0.1}, "outside of [0.0, 1.0]"),
        ("tables.0.rows.0.values", {"acuracy": 0.6}, "acuracy is none of the metrics"),
        ("tables.0.rows.0.values", {"accuracy": math.nan}, "finite"),
        ("tables.0.rows.0.values", {"accuracy": "0.6"}, "valid number"),
        ("tables.0.rows.0.values", {}, "at least 1"),
        ("tables.0.rows.0.spread", {"accuracy": -0.1}, "negative"),
        ("tables.0.rows.0.spread", {"AMI": 0.1}, "of no value"),
        ("tables.0.rows.0.annotation", "cluster", "annotation"),
        ("tables.0.rows.0.layer", -1, "greater than or equal to 0"),
        ("tables.0.rows.0.dataset", "PBMC4k", "PBMC4k"),
        ("tables.0.rows.0.model", "UCE", "UCE"),
        ("tables.0.place.reason", "", "table, page is null"),
        ("tables.2.protocol.reason", "unknown", "nothing is null"),
        ("tables.0.protocol.reason", "", "split is null"),
        ("source.doi_reason", "", "doi is null"),
        ("tables.0.target", True, "target_reason"),
        ("tables.0.task", "trajectory", "task"),
        ("tables.0.scores", {"ASW": "asw"}, "of which it has no number"),
        ("tables.0.differs", [], "at least 1"),
        ("tables.0.remark", "", "not permitted"),
        ("datasets.PBMC3k.0.differs", "", "at least 1"),
        ("datasets.PBMC4k", [], "PBMC4k"),
        ("quoted_by", "", "at least 1"),
        ("schema_version", 2, "schema_version"),
    ],
)
def test_a_faulty_file_is_refused_and_says_what_is_wrong(where, value, said, tmp_path):
    assert said in rejected(change(where, value)(course()), tmp_path)


def test_two_rows_of_one_model_are_refused(tmp_path):
    found = course()
    found["tables"][0]["rows"] *= 2
    assert "two rows" in rejected(found, tmp_path)


def test_a_file_that_is_no_json_is_refused(tmp_path):
    (tmp_path / "torn.json").write_text("{", encoding="utf-8")
    with pytest.raises(InvalidInputError, match=r"torn\.json"):
        read_publication(tmp_path / "torn.json")


@pytest.mark.parametrize(
    ("name", "metric"),
    [
        ("ARI", ari),
        ("ASW", asw),
        ("AvgBIO", avg_bio),
        ("iLISI", ilisi),
        ("accuracy", accuracy),
        ("macro F1", macro_f1),
        ("MSE", cell_mse),
        ("MAE", cell_mae),
        ("Pearson", cell_pearson),
    ],
)
def test_ranges_are_those_of_our_metrics(name, metric):
    assert RANGES[name] == tuple(sorted((metric.best, metric.worst)))


def test_what_stands_for_the_published_is_installed_or_said_to_be_given():
    for publication in publications():
        datasets = {stand_in.name for stand_ins in publication.datasets.values() for stand_in in stand_ins}
        models = {stand_in.name for stand_ins in publication.models.values() for stand_in in stand_ins}
        assert datasets <= set(dataset_names())
        assert {name for name in models if not name.startswith("genept-")} <= set(model_names())


def test_names_are_unique_to_a_publication_and_the_unknown_is_told_them():
    counted = Counter(name for publication in publications() for name in names([publication]))
    assert set(counted.values()) == {1}
    with pytest.raises(InvalidInputError) as error:
        find_publication("genept-table1")
    assert error.value.remedy == "give genept-table2"
    with pytest.raises(InvalidInputError, match="give one of these"):
        find_publication("geneformer")
    assert all(name in error.value.found for name in counted)


def test_one_protocol_has_only_its_own_datasets_and_models():
    found = find_publication("genept-4.4")
    assert [set(found.datasets), set(found.models)] == [
        {"Cardiomyocyte", "Aorta"},
        {"scRNA-seq", "GenePT-s", "Geneformer", "scGPT"},
    ]


def test_numbers_are_found_where_the_wheel_puts_them(tmp_path, monkeypatch):
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    included = project["tool"]["hatch"]["build"]["targets"]["wheel"]["force-include"]
    shutil.copytree(FOLDER, tmp_path / included["reports/published"])
    monkeypatch.setattr(module, "_ABOVE", tmp_path / "scfm_eval")
    monkeypatch.setattr(module, "read_publication", lambda path: path)
    assert publications() == sorted((tmp_path / "scfm_eval").rglob("*.json"))
    assert len(publications()) == 4
