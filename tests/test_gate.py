"""The gate: red when a score fell beyond its noise, green on noise, and what a run says where it is red.

The simulations (see ``tests/reruns.py``) assume 10 types, the largest three times as frequent as the smallest, 80 %
right answers, and reruns that draw the answers of a stated share of the cells anew: 5 % are about 2 % of other answers.
"""

from __future__ import annotations

import re
import shlex
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import numpy as np
import pytest
import yaml
from scipy import stats

from scfm_eval import github, verdicts
from scfm_eval.__main__ import _parser
from scfm_eval.report import Report, Verdict, read_report
from scfm_eval.score import NotApplicableError, Score, UndecidedError, one_of
from scfm_eval.tasks.throughput import Rounds, scored
from tests.html.reports import small
from tests.reruns import Cells
from tests.toys import CLAIMS, MODELS, toy_cells

ROOT = Path(__file__).parents[1]
QUALITY = 0.8
N_CLAIMS = 24


def is_red(cells, old, new):
    before, after = cells.result(old)["macro_f1"], cells.result(new)["macro_f1"]
    with one_of(N_CLAIMS):
        return not after.has_not_regressed_from(before)


def red_claims(cells, rng, *, share, seeds=1, together=False, training=0.0):
    """Count the red claims of one run of an unchanged model, 12 tasks of 2 models.

    Claims of one model that hang together have the same cells drawn anew; ``training`` is the standard deviation by
    which training anew moves the quality of each seed.
    """
    red, streams = 0, [int(stream) for stream in rng.integers(2**32, size=N_CLAIMS)]
    for claim, stream in enumerate(streams):
        redrawn = streams[claim - claim % 12] if together else stream
        old, new = [], []
        for seed in range(seeds):
            own = np.random.default_rng([stream, seed, 0])
            moved, anew = training * own.normal(), np.random.default_rng([redrawn, seed, 1])
            old.append(cells.answers(QUALITY, own))
            new.append(cells.rerun(old[-1], anew, quality=QUALITY, share=share, drop=moved))
        red += is_red(cells, old, new)
    return red


def caught(cells, rng, *, n, share, seeds=1, drop=0.02):
    """Count in how many of ``n`` reruns of a model that lost ``drop`` the claim about it is red."""
    red = 0
    for _ in range(n):
        old = [cells.answers(QUALITY, rng) for _ in range(seeds)]
        red += is_red(cells, old, [cells.rerun(o, rng, quality=QUALITY, share=share, drop=drop) for o in old])
    return red


def most(n, *, rate):
    """Return how many of ``n`` would be exceeded in one of a thousand tests if the rate were ``rate``."""
    return stats.binom.ppf(0.999, n, rate)


@pytest.mark.parametrize("together", [False, True])
def test_unchanged_runs_stay_green(together):
    cells, rng = Cells.drawn(n_cells=300, n_resamples=200), np.random.default_rng(7)
    runs = [red_claims(cells, rng, share=0.1, together=together) for _ in range(30)]
    assert sum(map(bool, runs)) <= most(30, rate=0.05)
    assert sum(runs) <= most(30 * N_CLAIMS, rate=0.05 / N_CLAIMS)


def test_a_drop_of_two_hundredths_on_2000_cells_is_caught():
    cells = Cells.drawn(n_cells=2000)
    assert caught(cells, np.random.default_rng(7), n=60, share=0.05) >= 0.9 * 60


@pytest.mark.heavy
@pytest.mark.parametrize(
    ("n_cells", "share", "seeds", "together", "training"),
    [
        (300, 0.1, 1, False, 0.0),
        (300, 0.1, 1, True, 0.0),
        (300, 0.5, 1, False, 0.0),
        (70, 0.1, 1, False, 0.0),
        # training anew moves the quality of a seed as much as the cells that are drawn anew do
        (300, 0.1, 3, False, 0.01),
    ],
)
def test_at_most_one_in_twenty_unchanged_runs_is_red(n_cells, share, seeds, together, training):
    cells, rng, n = Cells.drawn(n_cells=n_cells, n_resamples=200), np.random.default_rng(3), 200
    red = sum(
        red_claims(cells, rng, share=share, seeds=seeds, together=together, training=training) > 0 for _ in range(n)
    )
    assert red <= most(n, rate=0.05), f"{red} of {n}"


@pytest.mark.heavy
@pytest.mark.parametrize(("share", "seeds"), [(0.02, 1), (0.05, 1), (0.1, 5)])
def test_nine_of_ten_real_drops_are_caught(share, seeds):
    found = caught(Cells.drawn(n_cells=2000), np.random.default_rng(3), n=300, share=share, seeds=seeds)
    assert found >= 0.9 * 300, f"{found} of 300"


def score(value, *, spread=0.01, n=1000, **known):
    replicates = None if value is None else value + np.random.default_rng(0).normal(scale=spread, size=n)
    return Score(
        value, **{"name": "f1", "model": "m", "dataset": "toy", "replicates": replicates, "pairing": "p"} | known
    )


def test_the_level_of_a_claim_falls_with_the_number_of_comparisons():
    new, old = score(0.776), score(0.80, replicates=np.full(1000, 0.80))
    assert not new.has_not_regressed_from(old)
    with one_of(24):
        found = new.has_not_regressed_from(old)
    assert found
    assert "one of 24 comparisons, 5% false alarms in all" in str(found)


def test_what_is_equal_is_green_at_any_level_and_a_sure_loss_red():
    with one_of(1000):
        assert score(0.8).has_not_regressed_from(score(0.8))
        assert not score(0.79).has_not_regressed_from(score(0.8))
        assert score(0.81).has_not_regressed_from(score(0.8))
        assert not score(0.21, higher_is_better=False).has_not_regressed_from(score(0.2, higher_is_better=False))


def test_the_spread_between_seeds_excuses_a_loss():
    old = score(0.8, per_seed=[0.7, 0.9])
    assert not score(0.79, per_seed=[0.69, 0.89]).has_not_regressed_from(old)
    assert score(0.79, per_seed=[0.83, 0.75]).has_not_regressed_from(old)


def test_what_lost_its_value_is_undecided_and_what_had_none_is_skipped():
    none = score(None, reason="one batch")
    with pytest.raises(UndecidedError, match="it had a value, and has none now: one batch"):
        bool(none.has_not_regressed_from(score(0.8)))
    with pytest.raises(UndecidedError, match="no head"):
        bool(score(None, reason="no head", applies=False).has_not_regressed_from(score(0.8)))
    for now in (score(0.8), none):
        with pytest.raises(NotApplicableError, match=r"nothing to fall behind.*one batch"):
            now.has_not_regressed_from(none)


def test_a_margin_moves_the_limit():
    old = score(0.8)
    assert score(0.75).has_not_regressed_from(old - 0.06)
    assert not score(0.75).has_not_regressed_from(old - 0.04)


def timing(cells, *, load, seed):
    rng = np.random.default_rng(seed)
    jitter = 0.1 * np.exp(0.1 * rng.normal(size=(5, 5)))
    rounds = Rounds(*jitter[:3], n_cells=32, loads=(load * jitter[3], jitter[4]), phases={})
    return cells.result([cells.truth]).model_copy(update={"scores": scored(rounds)})["log2_load"]


@pytest.mark.parametrize(("slower", "holds"), [(1.0, True), (1.5, True), (4.0, False)])
def test_a_phase_is_red_when_it_is_surely_slower_than_its_tolerance(slower, holds):
    cells = Cells.drawn(n_cells=30, n_types=3, n_resamples=10)
    with one_of(N_CLAIMS):
        found = timing(cells, load=slower, seed=1).has_not_regressed_from(timing(cells, load=1.0, seed=2) + 1)
    assert found.holds == holds, str(found)


VERDICTS = {
    "benchmarks/test_a.py::test_wins[m-toy]": Verdict(
        claim="benchmarks/test_a.py::test_wins", model="m", dataset="toy", outcome="failed", reason="100 % lost\nby 1"
    ),
    "benchmarks/test_a.py::test_known[m-toy]": Verdict(
        claim="benchmarks/test_a.py::test_known", model="a:b,c", dataset=None, outcome="unexpected pass"
    ),
    "benchmarks/test_a.py::test_good[m-toy]": Verdict(
        claim="benchmarks/test_a.py::test_good", model="m", dataset="toy", outcome="passed"
    ),
}


def test_annotations_are_escaped_as_github_reads_them(monkeypatch, tmp_path):
    monkeypatch.setenv("GITHUB_WORKSPACE", str(tmp_path))
    lines = {"benchmarks/test_a.py::test_wins[m-toy]": 11}
    assert list(github.workflow_commands(VERDICTS, lines, root=tmp_path / "part")) == [
        "::error file=part/benchmarks/test_a.py,line=12,title=failed%3A test_wins [m on toy]::100 %25 lost%0Aby 1",
        "::warning file=part/benchmarks/test_a.py,title=unexpected pass%3A test_known [a%3Ab%2Cc]::",
    ]


def empty(**changed):
    known = {"created": "now", "command": [], "environment": {}, "results": [], "verdicts": []}
    return Report(**known | changed)


def test_the_summary_counts_outcomes_and_lists_red_claims():
    page = github.summary(empty(verdicts=[*VERDICTS.values()]))
    assert "| m | 1 | 1 | 0 | 0 | 0 | 0 |" in page
    assert "| failed | test_wins | m | toy | 100 % lost by 1 |" in page
    assert "test_good" not in page
    assert "No results and no claims." in github.summary(empty())
    assert "Interrupted" in github.summary(empty(interrupted=True))


def test_the_summary_says_what_surely_means_where_it_says_surely():
    assert verdicts.HOW in github.summary(small())
    assert verdicts.HOW not in github.summary(empty())


def test_names_in_the_summary_do_nothing():
    evil = Verdict(claim="f::t", model="<img src=x>|[a](b)", dataset="d\n\n# h", outcome="failed")
    page = github.summary(empty(verdicts=[evil]))
    assert "<img" not in page
    assert "\\|\\[a\\]" in page
    assert "\n# h" not in page


def test_a_long_summary_is_cut_under_the_limit_and_says_so():
    long = [Verdict(claim=f"f::t{i}", model="m", dataset="d", outcome="failed", reason="x" * 500) for i in range(4000)]
    page = github.summary(empty(verdicts=long))
    assert len(page.encode()) < 2**20
    assert page.endswith("Cut here: the report has the rest.\n\n")


@pytest.fixture
def suite(pytester, monkeypatch):
    """Make a folder with claims, a model and cells, and return what runs pytest in it."""
    monkeypatch.setenv("SCFM_EVAL_CACHE", str(pytester.path / "cache"))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.delenv("GITHUB_ACTIONS", raising=False)
    pytester.makeconftest((ROOT / "conftest.py").read_text())
    (pytester.mkdir("benchmarks") / "test_toy.py").write_text(CLAIMS.replace("NAME", "toy"))
    (pytester.path / "models.py").write_text(MODELS)
    toy_cells().write_h5ad(pytester.path / "toy.h5ad")

    def run(*arguments):
        asked = ["--model", "models.py:Good", "--model", "models.py:Blind", "--dataset", "toy.h5ad:label=cell_type"]
        asked += ["--report", "out.json", "-p", "no:cacheprovider"]
        return pytester.runpytest_subprocess("benchmarks", *asked, *arguments)

    run.path = pytester.path
    return run


GOOD = "class Good:\n    def embed(self, cells):\n        return np.log1p(cells.X.toarray())"
WORSE = "class Good:\n    def embed(self, cells):\n        return np.eye(90)[:, ::-1][:, :2]"


def test_a_worse_model_is_red_everywhere_an_unchanged_one_green_and_other_cells_are_an_error(suite, monkeypatch):
    suite("-k", "chance")
    (suite.path / "out.json").rename(suite.path / "reference.json")

    assert GOOD in MODELS
    (suite.path / "models.py").write_text(MODELS.replace(GOOD, WORSE))
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("GITHUB_WORKSPACE", str(suite.path))
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(suite.path / "summary.md"))
    run = suite("--reference", "reference.json", "-k", "regressed", "--junitxml", "junit.xml")
    run.assert_outcomes(failed=1, passed=1, deselected=5)
    verdicts = {verdict.model: verdict for verdict in read_report(suite.path / "out.json").verdicts}
    assert (verdicts["good"].outcome, verdicts["blind"].outcome) == ("failed", "passed")
    assert verdicts["blind"].comparisons[0].difference == 0
    assert "one of 2 comparisons" in verdicts["good"].comparisons[0].text

    said = "::error file=benchmarks/test_toy.py,line=*,title=failed%3A test_has_not_regressed [[]good on toy]::good*"
    run.stdout.fnmatch_lines([said])
    assert "test_has_not_regressed" in (suite.path / "summary.md").read_text()

    junit = ElementTree.parse(suite.path / "junit.xml")
    (case,) = [case for case in junit.iter("testcase") if "good" in (case.get("name") or "")]
    properties = {found.get("name"): found.get("value") for found in case.iter("property")}
    assert (properties["model"], properties["dataset"]) == ("good", "toy")
    assert float(properties["difference"]) < -0.2
    assert "is not at least level with reference good accuracy" in properties["comparison"]
    assert (suite.path / "junit.xml").stat().st_size < 10_000

    toy_cells(seed=1).write_h5ad(suite.path / "toy.h5ad")
    run = suite("--reference", "reference.json", "-k", "regressed")
    run.assert_outcomes(errors=2, deselected=5)
    run.stdout.fnmatch_lines(["*compared with the reference*", "found: other cells: *"])


def options_of(parser):
    groups = [parser._anonymous, *parser._groups]
    return {name for group in groups for option in group.options for name in option.names()}


def test_the_workflow_example_runs_commands_that_exist(pytestconfig):
    text = (ROOT / "examples" / "github" / "gate.yml").read_text()
    workflow = yaml.safe_load(text)
    steps = [step for job in workflow["jobs"].values() for step in job["steps"]]
    runs = [shlex.split(step["run"]) for step in steps if step.get("run", "").startswith("pytest")]
    assert len(runs) == 2
    known = options_of(pytestconfig._parser)
    for words in runs:
        assert {word for word in words if word.startswith("-")} <= known
        assert words[1] == "benchmarks"
        assert "--model" in words
    assert (ROOT / "reports" / "reference" / "amd-epyc-x2.json").exists()
    assert all(re.fullmatch(r"actions/[a-z-]+@v\d+", step["uses"]) for step in steps if "uses" in step)
    told = [shlex.split(line.strip("# ")) for line in text.splitlines() if "scfm-eval reference" in line]
    assert [_parser().parse_args(words[1:]).act.__name__ for words in told] == ["_update"]
