"""Rows that belong to other cells are refused, wherever they come from; rows in their order never are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from scfm_eval import guards
from scfm_eval.answered import N_AGAIN, own_rows
from scfm_eval.errors import FailedModelError, InvalidInputError
from scfm_eval.guards import GuardError
from scfm_eval.models.protocols import FineTuning
from scfm_eval.models.stored import stored_embedding
from scfm_eval.owed import checked
from tests.guards.asked import EMBEDDED, MINIS, QUICK, REAL, answers_of, some_of, told_of, toy


def right(cells):
    """Return rows that are a function of each cell alone."""
    return np.log1p(cells.X.toarray()).astype(np.float32)


def by_length(cells):
    return right(cells)[np.argsort(-np.asarray(cells.X.sum(axis=1)).ravel(), kind="stable")]


def by_length_in_batches(cells):
    length = np.asarray(cells.X.sum(axis=1)).ravel()
    order = [start + np.argsort(-length[start : start + 16]) for start in range(0, cells.n_obs, 16)]
    return right(cells)[np.concatenate(order)]


def shuffled(cells):
    return right(cells)[np.random.default_rng(0).permutation(cells.n_obs)]


def shifted(cells):
    return np.roll(right(cells), 1, axis=0)


def backwards(cells):
    return right(cells)[::-1]


def last_batch_backwards(cells):
    rows = right(cells)
    return np.concatenate([rows[:-10], rows[-10:][::-1]])


def by_name(cells):
    return right(cells)[np.argsort(cells.obs_names)]


def of_the_place(cells):
    return np.random.default_rng(0).normal(size=(cells.n_obs, 5)).astype(np.float32)


FAULTS = [
    by_length, by_length_in_batches, shuffled, shifted, backwards, last_batch_backwards, by_name, of_the_place,
]  # fmt: skip


def model(rows_of, **stated):
    """Return the class of a model that can do everything, with rows from ``rows_of``."""

    class Toy:
        def embed(self, cells):
            return rows_of(cells)

        def embed_layers(self, cells):
            return [np.ones((cells.n_obs, 5), dtype=np.float32), rows_of(cells)[:, :5]]

        def annotate(self, cells):
            some = np.abs(rows_of(cells)[:, -5:-2]) + 0.01
            return np.array(["a", "b", "c"]), some / some.sum(axis=1, keepdims=True)

        def fine_tune(self, cells, **known):
            assert cells.n_obs
            assert len(known["labels"]) == cells.n_obs
            return {}

        predict_labels = annotate

    return type("Toy", (Toy,), stated)


def ask_all(answers):
    """Ask for everything that has a row per cell; return what failed."""
    labels = answers.cells.adata.obs["label"].to_numpy().astype(str)
    part = np.arange(len(labels)) // 3 % 3
    asked = {
        "embed": lambda: answers.embed(seed=0),
        "layers": lambda: answers.embed_layers(seed=0),
        "annotate": lambda: answers.annotate(seed=0),
        "fine-tune": lambda: answers.fine_tune(
            labels=labels, train=part == 0, validation=part == 1, test=part == 2, how=FineTuning(), seed=0
        ),
    }
    failed = {}
    for name, ask in asked.items():
        try:
            ask()
        except FailedModelError as error:
            failed[name] = error.found
    return failed


@pytest.mark.parametrize("fault", FAULTS)
def test_rows_of_other_cells_are_refused(fault, tmp_path):
    failed = ask_all(answers_of(model(fault), toy(), tmp_path))
    assert failed.keys() == {"embed", "layers", "annotate", "fine-tune"}
    assert all("asked for again" in found and "has that of" in found for found in failed.values())


@pytest.mark.parametrize("fault", FAULTS)
def test_without_the_guard_they_are_taken(fault, tmp_path):
    with guards.without(["order"]):
        assert not ask_all(answers_of(model(fault), toy(), tmp_path))


def test_rows_in_their_order_are_no_fault(tmp_path):
    assert not ask_all(answers_of(model(right), toy(), tmp_path))


def test_only_few_cells_are_asked_for_again_and_never_from_the_store(tmp_path):
    sizes = []

    def embed(cells):
        sizes.append(cells.n_obs)
        return right(cells)

    for _ in range(2):
        answers_of(model(embed), toy(), tmp_path).embed(seed=0)
    assert len(sizes) == 2
    assert sizes[0] == 90
    assert 4 <= sizes[1] <= N_AGAIN


@pytest.mark.parametrize(
    "stated",
    [
        {"transductive": True}, {"matches_by_id": True},
        {"exceptions": {"a_cell_does_not_depend_on_its_neighbours": "it aligns the batches of a call"}},
    ],
)  # fmt: skip
def test_a_model_that_says_why_is_not_asked_again(stated, tmp_path):
    answers_of(model(shuffled, **stated), toy(), tmp_path).embed(seed=0)


def test_a_table_is_held_to_its_index(tmp_path):
    cells = toy()
    good = pd.DataFrame(right(cells.adata), index=cells.adata.obs_names)
    answers_of(model(lambda seen: pd.DataFrame(right(seen), index=seen.obs_names)), cells, tmp_path).embed(seed=0)
    with pytest.raises(GuardError, match="reindex"):
        checked(good[::-1], cells.adata, name="toy")
    with guards.without(["order"]):
        np.testing.assert_array_equal(checked(good[::-1], cells.adata, name="toy"), good[::-1].to_numpy())


def noisy(cells):
    """Return rows with the noise of half precision, another one in each call."""
    rows = right(cells)
    noise = np.random.default_rng(cells.n_obs).normal(size=rows.shape) * 0.03 * np.linalg.norm(rows, axis=1)[:, None]
    return (rows + noise / rows.shape[1] ** 0.5).astype(np.float32)


def centred(cells):
    """Return rows that depend on the other cells of the call, in their order."""
    return right(cells) - right(cells).mean(axis=0)


@pytest.mark.parametrize("embed", [noisy, centred])
def test_noise_is_no_order(embed, tmp_path):
    answers_of(model(embed), toy(), tmp_path).embed(seed=0)


def test_a_model_that_cannot_answer_for_a_few_cells_is_told_of(tmp_path):
    def embed(cells):
        if cells.n_obs < 40:
            raise RuntimeError("too few cells")
        return right(cells)

    (told,) = told_of(model(embed), toy(), tmp_path)
    assert (told.guard, "too few cells" in told.found) == ("order", True)


@pytest.mark.parametrize("suffix", [".npy", ".npz", ".parquet"])
def test_stored_rows_without_ids_are_taken_by_their_place_only_without_the_guard(suffix, tmp_path):
    cells, file = toy().adata, tmp_path / f"rows{suffix}"
    rows = right(cells)
    if suffix == ".npy":
        np.save(file, rows)
    elif suffix == ".npz":
        np.savez(file, embedding=rows)
    else:
        pd.DataFrame(rows, columns=[f"c{i}" for i in range(rows.shape[1])]).to_parquet(file)
    of_file = stored_embedding(str(file))
    with pytest.raises(GuardError, match=r"(ids|names)"):
        of_file()
    with guards.without(["order"]):
        np.testing.assert_array_equal(of_file().embed(cells), rows)
        with pytest.raises(InvalidInputError, match="90 rows and no ids"):
            of_file().embed(cells[:5].copy())


def test_rows_that_are_nearly_alike_are_not_compared():
    cells = toy().adata
    rows = np.ones((cells.n_obs, 3), dtype=np.float32)
    rows[:, 0] += np.random.default_rng(0).normal(size=cells.n_obs) * 1e-9
    own_rows([rows], pytest.fail, cells, of=model(right), name="toy")


@pytest.mark.parametrize("of", QUICK)
@pytest.mark.parametrize("dataset", EMBEDDED)
def test_embedded_datasets_are_no_false_alarm(of, dataset, tmp_path):
    cells = some_of(dataset, n_cells=300)
    if of.__name__ == "Oracle" and "label" not in cells.adata.obs:
        pytest.skip("no labels for the oracle")
    assert not [told for told in told_of(of, cells, tmp_path) if told.guard == "order"]


@pytest.mark.heavy
@pytest.mark.parametrize("of", [*QUICK, *MINIS])
@pytest.mark.parametrize("dataset", REAL)
def test_real_datasets_are_no_false_alarm(of, dataset, tmp_path, real_data: Path):
    assert real_data
    cells = some_of(dataset, n_cells=100 if of in MINIS else 5000)
    if of.__name__ == "Oracle" and "label" not in cells.adata.obs:
        pytest.skip("no labels for the oracle")
    assert not [told for told in told_of(of, cells, tmp_path) if told.guard == "order"]
