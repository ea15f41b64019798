"""What cards and failures say, each once, and nothing where there is nothing."""

from __future__ import annotations

from scfm_eval.about_models import Failure, failures, licences, stated
from scfm_eval.results import GenesRecord, OrthologRecord
from tests.made_reports import result, score

CARD = {
    "licence": "MIT",
    "weights_licence": "research only",
    "definition": "Padding is masked.",
    "exceptions": {"the_same_alone": "it sees neighbours"},
    "parameters": {"layer": -1, "pooling": "mean"},
    "options": {"layer": -1},
}


def failed(task="toy", *, why="mine gave no answer: exit code 3", dataset="cells"):
    return result(task=task, dataset=dataset, f1=score(None, reason=why)).model_copy(update={"failure": why})


def test_a_card_that_says_nothing_is_not_spoken_of():
    assert stated([result(card={"licence": "MIT", "parameters": {"layer": 1}}, f1=score(0.5))]) == []
    assert failures([result(f1=score(0.5))]) == []


def test_what_a_card_says_is_said_once_over_all_tasks():
    said = stated([result(task=task, card=CARD, f1=score(0.5)) for task in ("a", "b")])
    assert said == [
        "mine: licence of its weights: research only",
        "mine: not with its defaults: layer = -1",
        "mine: Padding is masked.",
        "mine: checks that it does not pass: the same alone: it sees neighbours",
    ]
    assert licences(result(card=CARD).model) == "MIT; of the weights: research only"
    assert licences(result().model) == ""


def test_genes_that_were_read_as_others_are_counted():
    half, none = GenesRecord(n_genes=1, genes=0.5, counts=0.75), GenesRecord(n_genes=0, genes=0.0, counts=0.0)
    told = OrthologRecord(
        table="packaged",
        table_sha256="0",
        organism="Mus musculus",
        read_as="Homo sapiens",
        mapped=half,
        kept=none,
        dropped=half,
        ambiguous=none,
    )
    read = result(f1=score(0.5))
    read = read.model_copy(update={"readable": read.readable.model_copy(update={"orthologs": told})})
    assert stated([read]) == [
        "mine: Mus musculus genes of cells were read as Homo sapiens genes by the ortholog table packaged (sha256 0): "
        "1 mapped one-to-one (50.0% of the genes, 75.0% of the counts), 1 dropped without an ortholog (50.0% of the "
        "genes, 75.0% of the counts)"
    ]


def test_a_failure_is_told_once_with_all_its_places():
    found = failures([failed("a"), failed("b"), failed("b", dataset="others"), failed("c", why="mine took too long")])
    assert found == [
        Failure("mine gave no answer: exit code 3", "a and b on cells and others"),
        Failure("mine took too long", "c on cells"),
    ]
