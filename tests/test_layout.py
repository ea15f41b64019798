"""The layout of an embedding: the same cells for every model, no label reaches a model, errors are marked."""

from __future__ import annotations

import numpy as np
import pytest

from scfm_eval import layout as layout_module
from scfm_eval.answers import OF_A_PART
from scfm_eval.baselines.controls import normal_by_id
from scfm_eval.cells import Cells
from scfm_eval.datasets.dataset import Dataset
from scfm_eval.device import Resident
from scfm_eval.evaluate import evaluate
from scfm_eval.store import Store
from scfm_eval.tasks import probes
from scfm_eval.tasks.annotation import Annotation
from scfm_eval.tasks.integration import BatchIntegration
from scfm_eval.tasks.predictions import predictions
from tests.toys import toy_cells


class Plain:
    def embed(self, cells):
        assert "label" not in cells.obs
        return np.log1p(cells.X.toarray())


class Noise:
    def embed(self, cells):
        return normal_by_id(cells.obs_names, seed=0, width=3)


class Learns(Plain):
    seen: list = []  # noqa: RUF012

    def fit(self, cells):
        assert "label" not in cells.obs
        self.seen.append(cells.n_obs)


class LearnsLabels(Plain):
    def fit_with_labels(self, cells, *, labels):
        assert len(labels) == cells.n_obs < 90


def unlabelled():
    cells = toy_cells()
    cells.obs.loc["cell0", "cell_type"] = np.nan
    return cells


@pytest.fixture(autouse=True)
def _quick_probe(monkeypatch):
    monkeypatch.setattr("scfm_eval.tasks.annotation._PROBES", {"": probes.logistic_regression})


@pytest.fixture
def cells():
    dataset = Dataset(name="toy", build=unlabelled, label_key="cell_type", batch_key="lane")
    return Cells(dataset, dataset.load())


@pytest.fixture
def judge(cells, tmp_path):
    def run(model, *, task=None, layouts=True):
        store, resident = Store(tmp_path / "store"), Resident(device="cpu", precision="float32", offline=True)
        return evaluate(
            task or Annotation(n_folds=3),
            model,
            cells,
            store=store,
            resident=resident,
            layouts=layouts,
            name=model.__name__,
        )

    return run


@pytest.fixture
def flat(monkeypatch):
    """Take the first two coordinates for UMAP's, which is slow to begin."""
    made = []

    def two(embedding, *, seed):
        made.append(seed)
        return np.asarray(embedding[:, :2], dtype=np.float32)

    monkeypatch.setattr(layout_module, "_umap", two)
    return made


def test_umap_keeps_types_together_and_gives_the_same_again():
    corners = np.repeat(np.eye(3, 5, dtype=np.float32) * 9, 20, axis=0)
    embedding = corners + np.random.default_rng(0).normal(size=corners.shape).astype(np.float32)
    places = layout_module._umap(embedding, seed=0)
    np.testing.assert_array_equal(places, layout_module._umap(embedding, seed=0))
    centres = places.reshape(3, 20, 2).mean(axis=1)
    spread = np.linalg.norm(places.reshape(3, 20, 2) - centres[:, None], axis=2).max()
    apart = min(np.linalg.norm(centres[i] - centres[j]) for i, j in ((0, 1), (0, 2), (1, 2)))
    assert apart > spread


@pytest.mark.usefixtures("flat")
def test_a_layout_says_of_each_cell_what_it_is_and_whether_it_was_told_right(judge, cells):
    found = judge(Noise)
    layout = found.details["layout"]
    assert layout["cells"] == list(range(1, 90))
    obs = cells.adata.obs.iloc[layout["cells"]]
    assert [layout["labels"][code] for code in layout["label"]] == obs["label"].tolist()
    assert [layout["batches"][code] for code in layout["batch"]] == obs["batch"].tolist()
    told = predictions(found)
    said = np.array(told.classes)[told.codes]
    assert layout["wrong"] == [int(a != b) for a, b in zip(said, obs["label"], strict=True)]
    assert 0 < sum(layout["wrong"]) < 89
    assert all(x == round(x, 3) for x in layout["x"])
    assert "layout" not in judge(Noise, layouts=False).details
    assert "layout" not in judge(Noise, task=BatchIntegration()).details


def test_every_model_shows_the_same_few_cells_and_is_laid_out_once(judge, flat, monkeypatch):
    monkeypatch.setattr(layout_module, "_MOST", 30)
    first, other, again = judge(Plain), judge(Noise), judge(Plain)
    assert len(first.details["layout"]["cells"]) == 30
    assert first.details["layout"]["cells"] == other.details["layout"]["cells"]
    assert first.details["layout"] == again.details["layout"]
    assert flat == [0, 0]


@pytest.mark.usefixtures("flat")
def test_what_learns_here_shows_the_embedding_of_all_cells_and_what_knows_labels_shows_none(judge):
    Learns.seen.clear()
    learns, without = judge(Learns), judge(Learns, layouts=False)
    assert len(Learns.seen) == 4
    assert Learns.seen[3] == 90 > max(Learns.seen[:3])
    assert "learned from all cells, without labels" in learns.notes[-1]
    assert {"embed", f"embed{OF_A_PART}"} <= set(learns.arrays)
    assert set(without.arrays) == {f"embed{OF_A_PART}"}
    told = judge(LearnsLabels)
    assert "layout" not in told.details
    assert told.notes[-1].startswith("no layout: it learns from labels")


@pytest.mark.usefixtures("flat")
def test_the_costs_of_a_layout_are_not_those_of_the_result(judge):
    judge(Learns, layouts=False)
    found = judge(Learns)
    assert found.from_store


@pytest.mark.parametrize(("places", "why"), [(np.nan, "found no place"), (None, "too few")])
def test_a_layout_that_cannot_be_is_left_out_with_a_note(judge, monkeypatch, places, why):
    monkeypatch.setattr(layout_module, "_umap", lambda embedding, **_: np.full((len(embedding), 2), places))
    if places is None:
        monkeypatch.setattr(layout_module, "_FEWEST", 90)
    found = judge(Plain)
    assert "layout" not in found.details
    assert why in found.notes[-1]
