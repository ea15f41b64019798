"""From a command line to verdicts: what is asked of which model, what is skipped, what is red, what is an error."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from scfm_eval.report import read_report, schema
from tests.toys import CLAIMS, MODELS, toy_cells

ROOT = Path(__file__).parents[1]


@pytest.fixture
def suite(pytester, monkeypatch):
    """Make a folder with claims, models and cells, and return what runs pytest in it."""
    monkeypatch.setenv("SCFM_EVAL_CACHE", str(pytester.path / "cache"))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    pytester.makeconftest((ROOT / "conftest.py").read_text())
    claims = pytester.mkdir("benchmarks") / "test_toy.py"
    claims.write_text(CLAIMS.replace("NAME", "toy"))
    (pytester.path / "models.py").write_text(MODELS)
    toy_cells().write_h5ad(pytester.path / "toy.h5ad")

    def run(*arguments, dataset="toy.h5ad:label=cell_type"):
        asked = ["benchmarks", "--dataset", dataset, "--report", "out.json", "-p", "no:cacheprovider", *arguments]
        return pytester.runpytest_subprocess(*asked)

    run.path = pytester.path
    return run


def verdicts(suite):
    report = read_report(suite.path / "out.json")
    return {(v.claim.rpartition("::")[2], v.model): v for v in report.verdicts}


def test_a_class_of_a_few_lines_is_judged_against_the_baselines(suite):
    run = suite("--model", "models.py:Good")
    run.assert_outcomes(passed=1, failed=1, deselected=2)
    report = read_report(suite.path / "out.json")
    assert {result.model.name for result in report.results} == {"good", "pca"}
    assert json.loads(schema())["title"] == "Report"
    run.stdout.fnmatch_lines(
        ["*good*1.000*", "FAILED test_beats_pca*good accuracy = 1.000*is not > pca accuracy*", "report: *out.json"]
    )


def test_a_failing_claim_says_by_how_much_and_is_in_the_report(suite):
    suite("--model", "models.py:Blind")
    lost = verdicts(suite)["test_beats_pca", "blind"]
    assert lost.outcome == "failed"
    (compared,) = lost.comparisons
    assert not compared.holds
    assert compared.difference < -0.2
    assert "short by" in compared.text


def test_a_missing_capability_is_a_visible_skip_and_a_run_of_skips_only_is_refused(suite):
    run = suite("--model", "models.py:Reconstructs", "--model", "models.py:Good", "-k", "chance")
    assert run.ret == pytest.ExitCode.USAGE_ERROR
    run.stderr.fnmatch_lines(["*reconstructs was asked for, but no claim about it can run*", "*no method embed*"])


def test_workers_refuse_a_run_of_skips_only_and_bad_input_too(suite):
    run = suite(
        "--model",
        "models.py:Reconstructs",
        "--model",
        "models.py:Good",
        "-k",
        "chance",
        "-n",
        "2",
        "--dist",
        "loadgroup",
    )
    assert run.ret == pytest.ExitCode.USAGE_ERROR
    run.stderr.fnmatch_lines(["*reconstructs was asked for, but no claim about it could run*"])
    run = suite("--model", "models.py:Goood", "-n", "2", "--dist", "loadgroup")
    assert run.ret == pytest.ExitCode.USAGE_ERROR
    run.stderr.fnmatch_lines(["*no such class*"])


def test_a_named_model_that_cannot_load_is_an_error_and_still_in_the_report(suite):
    run = suite("--model", "models.py:Broken", "--model", "models.py:Good", "-k", "chance")
    run.assert_outcomes(passed=1, failed=1, deselected=5)
    found = verdicts(suite)
    assert found["test_beats_chance", "broken"].outcome == "error"
    assert "torn" in found["test_beats_chance", "broken"].reason
    assert found["test_beats_chance", "good"].outcome == "passed"


def test_a_dataset_without_the_key_is_no_test_at_all(suite):
    without = suite("--model", "models.py:Good", "--collect-only", "-q")
    assert "harmony" not in without.stdout.str()
    with_batch = suite(
        "--model", "models.py:Good", "--collect-only", "-q", dataset="toy.h5ad:label=cell_type,batch=lane"
    )
    assert "test_needs_batches" in with_batch.stdout.str()


def test_a_model_named_by_keyword_is_asked_for(suite, monkeypatch):
    monkeypatch.delenv("SCFM_EVAL_WEIGHTS", raising=False)
    monkeypatch.setenv("HF_HUB_CACHE", str(suite.path / "empty"))
    run = suite("-k", "geneformer and chance and not mini", "--offline")
    run.assert_outcomes(errors=1, deselected=run.parseoutcomes()["deselected"])
    run.stdout.fnmatch_lines(["*SCFM_EVAL_WEIGHTS*"])


def test_a_keyword_that_excludes_a_model_does_not_ask_for_it(suite):
    run = suite("-k", "pca and chance and not geneformer", "--offline")
    run.assert_outcomes(passed=1, deselected=run.parseoutcomes()["deselected"])


def test_every_array_is_made_once_for_all_tasks_and_runs(suite):
    (suite.path / "benchmarks" / "test_other.py").write_text(CLAIMS.replace("NAME", "other"))
    for _ in range(2):
        suite("--model", "models.py:Counted", "-k", "chance").assert_outcomes(passed=2, deselected=6)
    assert (suite.path / "embeds.txt").read_text().split() == ["embed"]
    assert (suite.path / "loads.txt").read_text().split() == ["load"]
    assert all(result.from_store for result in read_report(suite.path / "out.json").results)


def test_two_workers_report_the_same_scores(suite):
    models = ["--model", "models.py:Good", "--model", "models.py:Blind", "--model", "models.py:Counted"]
    suite(*models)
    alone = read_report(suite.path / "out.json")
    suite(*models, "-n", "2", "--dist", "loadgroup")
    together = read_report(suite.path / "out.json")
    assert [result.scores for result in alone.results] == [result.scores for result in together.results]
    assert [(v.claim, v.model, v.outcome) for v in alone.verdicts] == [
        (v.claim, v.model, v.outcome) for v in together.verdicts
    ]
    assert len((suite.path / "loads.txt").read_text().split()) == 1


def test_a_known_loss_is_expected_strictly(suite):
    known = suite.path / "benchmarks" / "expected_failures.toml"
    known.write_text('[good]\n"test_toy::test_beats_pca" = "ties with PCA"\n')
    run = suite("--model", "models.py:Good")
    run.assert_outcomes(passed=1, xfailed=1, deselected=2)
    assert run.ret == 0
    known.write_text('[good]\n"test_toy::test_beats_chance[toy]" = "never wins"\n')
    run = suite("--model", "models.py:Good")
    assert run.ret == 1
    assert verdicts(suite)["test_beats_chance", "good"].outcome == "unexpected pass"


def test_a_loss_that_may_go_either_way_says_how_it_went(suite):
    known = suite.path / "benchmarks" / "expected_failures.toml"
    either = '= { reason = "wavers", strict = false }'
    known.write_text(f'[good]\n"test_toy::test_beats_pca" {either}\n"test_toy::test_beats_chance" {either}\n')
    assert suite("--model", "models.py:Good").ret == 0
    assert verdicts(suite)["test_beats_pca", "good"].outcome == "expected failure"
    assert verdicts(suite)["test_beats_chance", "good"].outcome == "passed"


@pytest.mark.parametrize("error", ["RuntimeError", "AssertionError"])
def test_an_error_is_never_an_expected_failure(suite, error):
    (suite.path / "models.py").write_text(MODELS.replace("RuntimeError", error))
    (suite.path / "benchmarks" / "expected_failures.toml").write_text(
        '[broken]\n"test_toy::test_beats_chance" = "loses"\n'
    )
    suite("--model", "models.py:Broken", "-k", "chance").assert_outcomes(failed=1, deselected=3)
    (verdict,) = verdicts(suite).values()
    assert verdict.outcome == "error"
    assert f"{error}: the weights are torn" in verdict.reason


def test_an_expectation_of_an_unknown_claim_is_warned_about(suite):
    (suite.path / "benchmarks" / "expected_failures.toml").write_text('[good]\n"test_toy::test_gone" = "loses"\n')
    run = suite("--model", "models.py:Good", "-k", "chance")
    run.stdout.fnmatch_lines(["*expected_failures.toml*test_toy::test_gone*"])


def test_a_reference_keeps_an_unchanged_run_green_and_a_worse_one_red(suite):
    suite("--model", "models.py:Good")
    (suite.path / "out.json").rename(suite.path / "reference.json")
    suite("--model", "models.py:Good", "--reference", "reference.json", "-k", "regressed").assert_outcomes(
        passed=1, deselected=3
    )
    good = "class Good:\n    def embed(self, cells):\n        return np.log1p(cells.X.toarray())"
    worse = MODELS.replace(good, "class Good:\n    def embed(self, cells):\n        return np.eye(90)[:, ::-1][:, :2]")
    assert worse != MODELS
    (suite.path / "models.py").write_text(worse)
    suite("--model", "models.py:Good", "--reference", "reference.json", "-k", "regressed").assert_outcomes(
        failed=1, deselected=3
    )


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--model", "geneformr"], "*nearest: *geneformer*"),
        (["--model", "models.py:Goood"], "*no such class; the file has*Good*"),
        (["--model", "gone.py:Model"], "*no file gone.py*"),
        (["--dataset", "pbmc3kk"], "*nearest: *pbmc3k*"),
        (["--dataset", "gone.h5ad:label=x"], "*gone.h5ad*"),
        (["--dataset", "toy.h5ad:label=cell_typ"], "*cell_type*"),
        (["--dataset", "models.h5ad"], "*models.h5ad*"),
        (["--weights", "geneformer"], "*NAME=PATH*"),
        (["--weights", "geneformr=there"], "*no model of that name*"),
        (["--weights", "geneformer=gone"], "*no such file or folder*"),
        (["--reference", "gone.json"], "*asked: a report from gone.json*"),
        (["--device", "tpu"], "*give cpu, cuda or cuda:N*"),
    ],
)  # fmt: skip
def test_bad_input_is_said_before_anything_runs(suite, arguments, said):
    (suite.path / "models.h5ad").write_text("not an h5ad")
    run = suite("--model", "models.py:Good", *arguments)
    assert run.ret == pytest.ExitCode.USAGE_ERROR
    run.stderr.fnmatch_lines([said])
    assert not (suite.path / "out.json").exists()


def test_an_interrupted_run_still_writes_its_report(suite):
    (suite.path / "benchmarks" / "test_zz.py").write_text(
        "import os, signal\n\ndef test_stop():\n    os.kill(os.getpid(), signal.SIGTERM)\n"
    )
    suite("--model", "models.py:Good")
    report = read_report(suite.path / "out.json")
    assert report.interrupted
    assert len(report.results) == 2


@pytest.mark.parametrize("seeds", ["0", "-1", "many"])
def test_a_run_without_repeats_is_refused(suite, seeds):
    run = suite("--model", "models.py:Good", f"--seeds={seeds}")
    assert run.ret == pytest.ExitCode.USAGE_ERROR
    run.stderr.fnmatch_lines(["*give 1 or more*"])


def test_a_report_that_could_not_be_written_is_refused_before_the_run(suite):
    (suite.path / "file").write_text("in the way")
    run = suite("--model", "models.py:Good", "--report", "file/out.json")
    assert run.ret == pytest.ExitCode.USAGE_ERROR
    run.stderr.fnmatch_lines(["*cannot be written*"])


def test_two_datasets_or_models_of_one_name_are_refused(suite):
    (suite.path / "other").mkdir()
    toy_cells(seed=1).write_h5ad(suite.path / "other" / "toy.h5ad")
    run = suite("--model", "models.py:Good", "--dataset", "other/toy.h5ad:label=cell_type")
    assert run.ret == pytest.ExitCode.USAGE_ERROR
    run.stderr.fnmatch_lines(["*toy is given twice*"])
    run = suite("--model", "models.py:Good", "--model", "models.py:Good")
    assert run.ret == pytest.ExitCode.USAGE_ERROR


def test_a_class_cannot_take_the_place_of_a_baseline(suite):
    (suite.path / "pca.py").write_text("class PCA:\n    def embed(self, cells): ...\n")
    run = suite("--model", "models.py:Good", "--model", "pca.py:PCA")
    assert run.ret == pytest.ExitCode.USAGE_ERROR
    run.stderr.fnmatch_lines(["*pca is the name of an installed model*"])


def test_a_reference_without_the_asked_model_is_no_green_run(suite):
    suite("--model", "models.py:Good")
    (suite.path / "out.json").rename(suite.path / "reference.json")
    run = suite("--model", "models.py:Blind", "--reference", "reference.json", "-k", "regressed")
    assert run.ret != 0
    run.stderr.fnmatch_lines(["*blind was asked for*"])


def test_a_worker_that_dies_is_in_the_report(suite):
    (suite.path / "models.py").write_text(
        MODELS.replace('raise RuntimeError("the weights are torn")', "import os; os._exit(3)")
    )
    suite("--model", "models.py:Broken", "-k", "chance", "-n", "2")
    assert [v.outcome for v in read_report(suite.path / "out.json").verdicts] == ["error"]


def test_a_refusal_is_three_lines_and_no_traceback(suite):
    one_label = toy_cells()
    one_label.obs["cell_type"] = "a"
    one_label.write_h5ad(suite.path / "one.h5ad")
    checks = "        check_keys(cells, keys=self.keys, dataset=dataset)"
    claims = CLAIMS.replace("NAME", "toy").replace("        pass", checks)
    imported = "from scfm_eval.datasets.keys import check_keys\n"
    (suite.path / "benchmarks" / "test_toy.py").write_text(imported + claims)
    run = suite("--model", "models.py:Good", "-k", "chance", dataset="one.h5ad:label=cell_type")
    run.assert_outcomes(errors=1, deselected=3)
    run.stdout.fnmatch_lines(["*asked: one with a label key*", "found: one label only: a", "to do: *"])
    assert "Traceback" not in run.stdout.str()
    assert "evaluate.py" not in run.stdout.str()


def test_a_claim_about_a_score_that_the_model_cannot_have_is_skipped_visibly(suite):
    claims = suite.path / "benchmarks" / "test_toy.py"
    absent = 'Scored({"native": ScoreRecord(value=None, reason="it has no head", applies=False), '
    text = claims.read_text().replace("Scored({", absent).replace("import measure", "import ScoreRecord, measure")
    claims.write_text(f'{text}\n\ndef test_native(result):\n    assert result["native"] > 0.1\n')
    suite("--model", "models.py:Good", "-k", "native or chance").assert_outcomes(passed=1, skipped=1, deselected=3)
    skipped = verdicts(suite)["test_native", "good"]
    assert skipped.outcome == "skipped"
    assert "it has no head" in skipped.reason


@pytest.mark.usefixtures("suite")
def test_without_a_dataset_a_task_takes_the_first_that_has_its_keys(pytester):
    asked = ["--collect-only", "-q", "--model", "models.py:Good"]
    claims = {line.partition("::")[2] for line in pytester.runpytest_subprocess("benchmarks", *asked).outlines}
    assert {"test_beats_chance[good-pbmc68k_reduced]", "test_beats_pca[good-pbmc68k_reduced]"} <= claims
    assert not any("synthetic" in claim or "needs_batches" in claim for claim in claims)
