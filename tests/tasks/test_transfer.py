"""Transfer: a shift between domains costs, what has none costs nothing, and only the source is learned from."""

from __future__ import annotations

import numpy as np
import pytest
from anndata import AnnData

from scfm_eval.cells import Cells
from scfm_eval.datasets.dataset import Dataset
from scfm_eval.datasets.joined import joined
from scfm_eval.device import Resident
from scfm_eval.errors import InvalidInputError
from scfm_eval.evaluate import evaluate
from scfm_eval.metrics.resampling import bootstrap_weights
from scfm_eval.store import Store
from scfm_eval.tasks.transfer import Transfer, _Known
from tests.tasks.given import Given, blobs, cells_with
from tests.toys import toy_cells

N = 240
LABELS = np.array(["a", "b", "c"])[np.arange(N) % 3]
DOMAIN = np.repeat(["source", "target"], [150, 90])


def score(embedding, *, labels=LABELS, **keys):
    answers = Given(embedding)
    return Transfer().score(answers, cells_with(label=labels, domain=DOMAIN, **keys), seeds=[0]), answers


def test_without_a_shift_nothing_is_lost():
    found, answers = score(blobs(LABELS, noise=0.05))
    scores = found.scores
    assert scores["macro_f1"].value == scores["within_macro_f1"].value == scores["centroid_macro_f1"].value == 1
    assert scores["macro_f1_drop"].value == 0
    assert scores["domain_accuracy"].value == pytest.approx(0.5, abs=0.1)
    (train,) = answers.trained_on
    np.testing.assert_array_equal(train, DOMAIN == "source")


def test_a_shift_that_moves_types_onto_each_other_is_the_drop():
    shifted = np.where(
        DOMAIN == "target", np.roll(["a", "b", "c"], -1)[np.unique(LABELS, return_inverse=True)[1]], LABELS
    )
    X = np.hstack([blobs(shifted, noise=0.05), (DOMAIN == "target")[:, None] * 3.0])
    scores = score(X)[0].scores
    assert scores["macro_f1"].value == 0
    assert scores["within_macro_f1"].value == 1
    assert scores["macro_f1_drop"].value == 1
    assert scores["domain_accuracy"].value == 1
    assert not scores["domain_accuracy"].higher_is_better
    assert not scores["macro_f1_drop"].higher_is_better


def test_noise_lands_on_chance():
    cells = cells_with(label=np.tile(LABELS, 4), domain=np.tile(DOMAIN, 4))
    noise = Given(np.random.default_rng(0).normal(size=(4 * N, 6)))
    for name, record in Transfer().score(noise, cells, seeds=[0]).scores.items():
        assert record.value == pytest.approx(record.chance, abs=0.08), name
        assert record.low <= record.value <= record.high


def test_unlabelled_cells_are_left_out_and_new_labels_are_errors_and_named():
    labels = LABELS.astype(object)
    labels[:30] = None
    labels[-9:] = "new"
    found, answers = score(blobs(LABELS, noise=0.05), labels=labels)
    assert not answers.trained_on[0][:30].any()
    assert found.details["cells"] == {"source": 120, "target": 90}
    assert found.details["per_class"]["new"]["f1"] == 0
    assert found.notes == ["new is not in the source: its cells in the target count as errors"]


def test_donors_of_the_target_are_split_whole():
    donors = np.array([f"d{i // 15}" for i in range(N)])
    found, _ = score(blobs(LABELS, noise=0.5), donor=donors)
    assert found.details["split"]["unit"] == "donor"


def test_a_donor_that_is_recognised_is_not_a_domain_that_is():
    """Each donor has a place of its own, and no other donor of its domain is near."""
    donors = np.array([f"{domain} {i % 10}" for i, domain in enumerate(DOMAIN)])
    X = blobs(donors, noise=0.01, width=20)
    found = score(X, donor=donors)[0].scores["domain_accuracy"]
    assert found.value < 0.8
    assert found.how["unit"] == {"source": "donor", "target": "donor"}
    assert score(X)[0].scores["domain_accuracy"].value > 0.95


def test_domains_are_drawn_apart_and_donors_whole_where_a_domain_has_several():
    donors = np.where(DOMAIN == "target", "t", np.array([f"s{i % 3}" for i in range(N)]))
    known = _Known.of(cells_with(label=LABELS, domain=DOMAIN, donor=donors))
    units = known.units_by_domain()
    assert len(np.unique(units[DOMAIN == "source"])) == 3
    assert len(np.unique(units[DOMAIN == "target"])) == 90
    fold = known.folds_by_domain(n_folds=5, seed=0)
    assert set(zip(fold, donors, strict=True)) == {(fold[donors == d][0], d) for d in ("s0", "s1", "s2")} | {
        (i, "t") for i in range(3)
    }
    # of the four donors drawn at large, one resample in three would have no cell of the target
    for weights in bootstrap_weights(units=units, strata=DOMAIN, n_resamples=50, seed=0):
        assert weights[DOMAIN == "target"].sum() == 90
        assert all(len(set(weights[donors == d])) == 1 for d in ("s0", "s1", "s2"))
    found, _ = score(blobs(LABELS, noise=0.05), donor=donors)
    assert "one donor in the target: domain_accuracy is split and drawn by cell there" in found.notes
    assert "no interval" not in found.scores["domain_accuracy"].how


@pytest.mark.parametrize(
    ("domain", "labels"),
    [(np.where(DOMAIN == "source", "source", "test"), LABELS), (DOMAIN, np.where(DOMAIN == "target", "z", LABELS))],
)
def test_two_common_labels_in_source_and_target_are_needed(domain, labels):
    with pytest.raises(InvalidInputError, match="two labels that are in the domains"):
        Transfer().check(cells_with(label=labels, domain=domain), dataset="toy")
    Transfer().check(cells_with(label=LABELS, domain=DOMAIN), dataset="toy")


class Learns:
    fitted: list = []  # noqa: RUF012

    def fit(self, cells: AnnData):
        Learns.fitted.append(list(cells.obs_names))

    def embed(self, cells):
        return np.log1p(cells.X.toarray())


@pytest.fixture
def one_of_two():
    first = Dataset(name="one", build=toy_cells, label_key="cell_type", batch_key="lane", seen_by=("saw",))
    second = Dataset(name="two", build=lambda: toy_cells(n_cells=60, seed=1), label_key="cell_type", batch_key="lane")
    dataset = joined(first, second)
    return Cells(dataset, dataset.load())


def test_two_datasets_from_the_declaration_to_the_result(one_of_two, tmp_path):
    Learns.fitted.clear()
    found = evaluate(Transfer(), Learns, one_of_two, name="saw", store=Store(tmp_path), resident=Resident())
    (names,) = Learns.fitted
    assert len(names) == 90
    assert all(name.startswith("one:") for name in names)
    assert found["macro_f1"] > 0.9
    assert found.dataset.name == "one->two"
    assert found.details["labels"]["target"] == {"a": "a", "b": "b", "c": "c"}


def test_having_seen_one_of_the_two_is_noted(one_of_two, tmp_path):
    found = evaluate(Transfer(), Learns, one_of_two, name="saw", store=Store(tmp_path), resident=Resident())
    assert found.model.saw_dataset_in_pretraining
    assert "saw saw one->two in pretraining" in [told.found for told in found.findings if told.guard == "pretraining"]


def test_a_method_that_would_have_seen_the_target_is_refused():
    class Transductive:
        transductive = True

        def embed(self, cells): ...

    assert "seen the target's cells" in Transfer().refuses(Transductive)
    assert "no method embed" in Transfer().refuses(object)
