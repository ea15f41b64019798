"""What the document says, block by block."""

import math

import pytest

from scfm_eval.paper.contents import document
from scfm_eval.paper.document import (
    MOST_ROWS,
    Code,
    Document,
    Entries,
    Entry,
    Heading,
    Paragraph,
    Picture,
    Table,
    plain,
    table,
)
from scfm_eval.paper.sources import Source
from scfm_eval.paper.wording import measured, number, percent, signed, span
from tests.paper.given import CLASSES, full, report, result, score, verdict


def made(*reports) -> Document:
    sources = [Source(f"r{place}.json", "cd" * 32, one) for place, one in enumerate(reports, start=1)]
    return document(sources, command="scfm-eval report r1.json --format md -o out.md")


@pytest.fixture(scope="module")
def whole() -> Document:
    return made(full())


def texts(document) -> str:
    said = []
    for block in document.blocks:
        match block:
            case Heading(text) | Paragraph(text) | Code(text):
                said.append(text)
            case Entries(entries):
                said += [entry.text for entry in entries]
            case Table(caption, heads, rows):
                said += [caption, *heads, *(cell.text for row in rows for cell in row)]
            case Picture(figure):
                said.append(figure.alt)
    return "\n".join(said)


def tables(document, begins):
    return [block for block in document.blocks if isinstance(block, Table) and block.caption.startswith(begins)]


def rows(table):
    return {row[0].text: [cell.text for cell in row[1:]] for row in table.rows}


def test_the_sections_are_those_of_a_paper(whole):
    heads = [block.text for block in whole.blocks if isinstance(block, Heading) and block.level == 1]
    assert heads == [
        "Summary",
        "Data",
        "Models",
        "Setup",
        "Results",
        "Statistical tests",
        "Costs",
        "Limits",
        "References",
        "How to check this",
        "Appendix: all claims",
    ]


def test_scores_stand_with_intervals_and_the_best_of_models_and_baselines_is_bold(whole):
    (table,) = tables(whole, "annotation on cells: headline")
    assert rows(table)["mine"] == ["0.800 [0.781, 0.819]"]
    assert rows(table)["chance"] == ["0.100"]
    bold = {row[0].text for row in table.rows for cell in row[1:] if cell.bold}
    assert bold == {"mine"}, "random is a control, and its 0.95 does not count"


def test_where_less_is_better_the_least_is_bold(whole):
    (table,) = tables(whole, "landscape on cells: headline")
    assert table.heads == ("", "rogi ↓")
    assert [row[0].text for row in table.rows if row[1].bold] == ["mine"]


def test_classes_are_told_with_what_they_are_taken_for(whole):
    said = texts(whole)
    assert "B: F1 0.800; of 8 cells, 6 right and" not in said
    assert "B: F1 0.800; of 8 cells, 6 right, 2 called T" in said
    assert "T: F1 0.880; of 12 cells, 11 right, 1 called B" in said
    (table,) = tables(whole, "mine, annotation on cells: precision")
    assert rows(table)["B"] == ["0.857", "0.750", "0.800", "8"]


def test_differences_carry_their_standing(whole):
    (table,) = tables(whole, "Paired differences")
    found = {(row[0].text, row[1].text, row[2].text): (row[5].text, row[6].text) for row in table.rows}
    assert found["mine", "pca", "annotation"] == ("+0.100 [+0.100, +0.100]", "ahead")
    assert found["yours", "pca", "landscape"][1] == "behind"
    assert len(found) == 8


def test_tables_and_figures_are_counted_from_one(whole):
    blocks = whole.blocks
    for kind in (Table, Picture):
        numbers = [block.number for block in blocks if isinstance(block, kind)]
        assert numbers == list(range(1, len(numbers) + 1))
        assert numbers
    names = [block.name for block in blocks if isinstance(block, Picture)]
    assert len(set(names)) == len(names)


def test_every_reference_is_numbered_once_and_cited(whole):
    (listed,) = [block for block in whole.blocks if isinstance(block, Entries) and block.numbered]
    assert [entry.text for entry in listed.entries] == ["10.1000/cells", "10.1000/model", "10.1000/f1"]
    (scores,) = tables(whole, "Headline scores;")
    assert {row[0].text: row[-1].text for row in scores.rows} == {"macro_f1": "[3]", "rogi": "[3]"}


@pytest.mark.parametrize("outcome", ["error", "skipped", "expected failure", "unexpected pass"])
def test_every_claim_that_neither_passed_nor_failed_is_given_with_its_reason(outcome, whole):
    assert f"mine, 1 claim: because {outcome}" in texts(whole)


def test_the_appendix_has_every_claim(whole):
    (table,) = tables(whole, "6 claims of r1.json")
    assert "1 passed" in table.caption
    assert [row[4].text for row in table.rows].count("passed") == 1


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"interrupted": True}, "the run was stopped before its end"),
        ({"environment": {}}, "the code is not fixed by a commit (not known)"),
        (
            {"environment": {"git": {"commit": "c0ffee", "dirty": True}}},
            "c0ffee, with changes that are not committed",
        ),
        ({"environment": {"git": None, "machine": None, "packages": None}}, "not fixed by a commit"),
    ],
)
def test_limits_follow_from_the_run(changed, said, whole):
    assert said in texts(made(report(**changed)))
    assert said not in texts(whole)


def test_limits_follow_from_the_results():
    one = result(details=CLASSES, from_store=True)
    one.model.saw_dataset_in_pretraining = True
    one.model.loaded_share = 0.9999
    one.readable.genes = 0.25
    said = texts(made(report([one])))
    assert "cells: mine saw cells of this dataset in pretraining" in said
    assert "mine: over 99.9 % of the checkpoint's tensors were loaded" in said
    assert "mine could read 25.0 % of the genes of cells" in said
    assert "annotation on cells: fewer than 10 cells of B (8)." in said
    assert "1 seed in annotation: what another seed would change is not measured." in said
    assert "1 result of 1 rest on arrays of earlier runs" in said
    assert "cells: 1,200 cells, donors are not stated" in said


def test_chance_findings_are_counted(whole):
    assert "8 differences from baselines" in texts(whole)
    assert "about 0.4 of them would exclude zero by chance" in texts(whole)


def test_undefined_scores_are_no_zeros():
    scores = {"macro_f1": score(None), "depth": score(None, applies=False, reason="it has no layers")}
    whole = made(report([result(scores=scores)]))
    (table,) = tables(whole, "annotation on cells")
    assert rows(table)["mine"] == ["undefined", "does not apply"]
    (undefined,) = tables(whole, "2 scores without a value")
    assert {(row[2].text, row[5].text) for row in undefined.rows} == {
        ("undefined", "no class has cells"),
        ("does not apply", "it has no layers"),
    }
    assert "0.000" not in {cell.text for row in table.rows for cell in row}


def test_an_empty_report_says_so():
    whole = made(report())
    said = texts(whole)
    assert whole.title == "Benchmark without a result"
    for sentence in ("Nothing was measured.", "No dataset was scored.", "No model was scored.", "has no claim"):
        assert sentence in said


def test_a_report_of_errors_says_so():
    errors = [verdict("error", reason="CUDA out of memory", comparisons=[], model=None, dataset=None)] * 3
    said = texts(made(report(verdicts=errors)))
    assert "Nothing was measured: 3 claims of 3 ended in an error." in said
    assert "no model, 3 claims: CUDA out of memory" in said


def test_several_reports_are_never_mixed():
    whole = made(full(), report([result(value=0.1), result("pca", 0.9, role="baseline")]))
    assert len(tables(whole, "annotation on cells: headline")) == 2
    assert "no difference is taken between them" in texts(whole)
    assert "Report r2.json" in texts(whole)


def test_numbers_that_are_none_anywhere_do_not_stop_it():
    odd = {
        "classes": ["B"],
        "confusion_matrix": [[None]],
        "per_class": {"B": {"precision": None, "recall": math.nan, "f1": None, "support": None}},
        "split": {"n_folds": None},
    }
    nothing = score(0.5, low=None, high=None, chance=None, best=None, worst=None, replicates=None, per_seed=[])
    one = result(scores={"macro_f1": nothing}, details=odd, seeds=[], seconds={"score": math.nan}, peak_memory_bytes={})
    unknown = result("strange", role="judge", details={"per_class": {}, "classes": []})
    no_split = verdict(
        "failed", comparisons=[{"text": "", "holds": False, "difference": None, "low": None, "high": None}]
    )
    said = texts(made(report([one, unknown], [no_split])))
    assert "0.500 [no interval]" in said
    assert "nan" not in said.lower().replace("non", "")


def test_a_very_long_table_says_what_it_leaves_out():
    short = table("Long.", ["a"], [["x"]] * (MOST_ROWS + 5))
    assert len(short.rows) == MOST_ROWS
    assert short.caption == "Long. The first 1,000 of 1,005 rows; the report has all."


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0.1234, "0.123"),
        (-0.5, "−0.500"),
        (0, "0.000"),
        (1234.5, "1,234"),
        (0.00004, "4.0e−05"),
        (None, "undefined"),
        (math.nan, "undefined"),
        (math.inf, "undefined"),
        ("x", "undefined"),
    ],
)
def test_numbers_in_words(value, shown):
    assert number(value) == shown


def test_signs_spans_and_shares():
    assert [signed(0.5), signed(-0.5), signed(None)] == ["+0.500", "−0.500", "undefined"]
    assert [span([0.1, None, 0.3]), span([0.1, 0.1]), span([None])] == ["0.100 to 0.300", "0.100", "–"]
    assert [percent(0.99999), percent(1.0), percent(None)] == ["over 99.9 %", "100.0 %", "–"]
    assert measured(score(0.5, low=None)) == "0.500 [no interval]"


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("10.1038/ncomms14049", "https://doi.org/10.1038/ncomms14049"),
        ("10.1186/s13059-025-03781-6, made symmetric", "https://doi.org/10.1186/s13059-025-03781-6"),
        ("10.1016/0377-0427(87)90125-7", "https://doi.org/10.1016/0377-0427%2887%2990125-7"),
        ('10.1000/"><script>', "https://doi.org/10.1000/%22%3E%3Cscript%3E"),
        ("javascript:alert(1)", ""),
        ("scikit-learn r2_score", ""),
    ],
)
def test_only_dois_are_links(text, address):
    assert Entry(text).address == address


def test_invisible_and_turning_characters_are_shown():
    assert plain("a\u202eb\x00c\ud800d\n e") == "a\ufffdb\ufffdc\ufffdd e"


def test_pairs_of_very_many_models_are_left_out_and_said_to_be():
    many = [result(f"m{place}", place / 40, task=task) for place in range(31) for task in ("landscape", "ontology")]
    whole = made(report(many))
    assert "Pairs of 31 models would be too many to read" in texts(whole)
    assert not tables(whole, "Duels")


def test_ranks_are_drawn_and_said_to_be_of_tasks_that_share_cells(whole):
    assert [block.name for block in whole.blocks if isinstance(block, Picture)][-1] == "report1-critical-difference"
    assert "Blocks that share cells are not independent" in texts(whole)


WHY = "mine gave no answer: exit code 3"
SILENT = {"scores": {"macro_f1": score(None, reason=WHY)}, "failure": WHY}


def test_a_model_without_an_answer_is_told_in_summary_and_limits_and_never_loses():
    paper = made(report([result(**SILENT), result("pca", 0.7, role="baseline")]))
    said = texts(paper)
    assert "mine gave no answer in annotation." in said
    assert said.count(WHY) == 1 + said.count(f"e.g. mine: {WHY}") + said.count(f"macro_f1: {WHY}")
    (scores,) = tables(paper, "annotation on cells: headline")
    assert rows(scores)["mine"] == ["no answer"]
    (differences,) = tables(paper, "Paired differences")
    assert [row[6].text for row in differences.rows] == ["no answer"]
    (defined,) = tables(paper, "Headline scores;")
    assert len(defined.rows) == 1


def test_what_a_card_says_is_in_the_setting_and_the_limits(whole):
    card = {"licence": "MIT", "weights_licence": "research only", "definition": "Padding is masked."}
    card |= {
        "exceptions": {"same_alone": "it sees others"},
        "parameters": {"layer": -1, "k": 3},
        "options": {"layer": -1},
    }
    one = result()
    said = texts(made(report([one.model_copy(update={"model": one.model.model_copy(update=card)})])))
    for text in (
        "MIT; of the weights: research only",
        "mine: Padding is masked.",
        "layer = -1 (not the default), k = 3",
        "mine does not pass checks of adapters: same alone: it sees others.",
    ):
        assert said.count(text) == 1
    assert "published code" not in texts(whole)
    assert "checks of adapters" not in texts(whole)


def test_a_note_of_several_tasks_is_said_once():
    noted = [result(task=task, notes=["mouse genes"]) for task in ("annotation", "landscape")]
    assert "annotation and landscape on cells, all models: mouse genes" in texts(made(report(noted)))
