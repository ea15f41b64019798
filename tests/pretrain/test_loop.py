"""What training changes, and that neither an interruption nor a full disk does."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch

from scfm_eval.errors import InvalidInputError
from scfm_eval.pretrain.loop import STATE, How, Pretraining
from scfm_eval.pretrain.objective import Sizes
from tests.pretrain.corpora import LAYOUTS, SIZES, corpus, training_of


class StopError(Exception):
    """Stands for whatever ends a process."""


@pytest.fixture(params=LAYOUTS)
def layout(request):
    return request.param


def weights(training: Pretraining) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in training.network.state_dict().items()}


def assert_same(one: Pretraining, other: Pretraining) -> None:
    assert one.curve == other.curve
    assert one.best["judgement"] == other.best["judgement"]
    assert one.step == other.step
    theirs = weights(other)
    assert all(torch.equal(value, theirs[name]) for name, value in weights(one).items())


def finished(layout: str, folder: Path, **how) -> Pretraining:
    training = training_of(layout, corpus(), **how)
    training.run(folder)
    return training


@pytest.mark.parametrize(
    ("layout", "structured", "how"),
    [("geneformer", "genes", {"epochs": 60, "learning_rate": 2e-2}), ("scgpt", "values", {"epochs": 120})],
)
def test_learns_structure_and_finds_none_among_independent_genes(layout, structured, how, tmp_path):
    lower = {}
    for kind in (structured, "neither"):
        how = {"every": 60, "fewest": 1.0, "learning_rate": 5e-3, "patience": 99} | how
        training = training_of(layout, corpus(kind), **how)
        training.run(tmp_path / kind)
        found = training.judge(training.held_out)
        lower[kind] = 1 - found["gene" if layout == "geneformer" else "value"] / found["unigram"]
    assert lower["neither"] < 0.1 < lower[structured]


def test_held_out_cells_are_of_each_source_and_never_learned_from(layout):
    cells = corpus()
    training = training_of(layout, cells)
    seen = np.unique(np.concatenate([batch for epoch in range(3) for batch in training._batches(epoch)]))
    np.testing.assert_array_equal(seen, training.training)
    assert not np.intersect1d(seen, training.held_out).size
    held_out = dict(zip(*np.unique(cells.source[training.held_out], return_counts=True), strict=True))
    assert held_out == {"large": 16, "small": 8}


@pytest.mark.parametrize(("share", "n"), [(0.01, 1), (0.99, 39)])
def test_each_source_has_cells_on_both_sides(share, n):
    cells = corpus()
    assert cells.held_out(share=share, seed=0)[cells.source == "small"].sum() == n


def test_one_seed_is_one_model(layout, tmp_path):
    first, again, other = (finished(layout, tmp_path / str(i), seed=seed) for i, seed in enumerate((0, 0, 1)))
    assert_same(first, again)
    assert first.curve != other.curve


def test_an_interrupted_run_ends_as_one_that_was_not(layout, tmp_path, monkeypatch):
    whole = finished(layout, tmp_path / "whole")
    advance = Pretraining._advance
    for n in (0, 2, 3, 5, 11):
        left = iter(range(n))

        def advance_or_stop(self, left=left):
            if next(left, None) is None:
                raise StopError
            return advance(self)

        with monkeypatch.context() as patch:
            patch.setattr(Pretraining, "_advance", advance_or_stop)
            with pytest.raises(StopError):
                finished(layout, tmp_path / str(n))
        assert (tmp_path / str(n) / STATE).exists() == (n >= 3)
        again = finished(layout, tmp_path / str(n))
        assert_same(again, whole)


def test_a_run_that_is_over_does_nothing(layout, tmp_path, monkeypatch):
    first = finished(layout, tmp_path)
    before = (tmp_path / STATE).read_bytes()
    monkeypatch.delattr(Pretraining, "_advance")
    again = finished(layout, tmp_path)
    assert_same(again, first)
    assert (tmp_path / STATE).read_bytes() == before
    assert again.seconds == first.seconds


def test_stops_when_it_no_longer_helps_and_keeps_the_best(layout, tmp_path):
    training = training_of(layout, corpus("neither"), epochs=60, every=None, learning_rate=0.03, patience=2)
    training.run(tmp_path)
    assert training.step < training.n_steps
    assert len(training.curve) - 1 - training.best["judgement"] == 2
    best = {f"held_out_{name}": value for name, value in training.judge(training.held_out).items()}
    said = training.curve[training.best["judgement"]]
    assert all(best[name] == said[name] for name in said if name.startswith("held_out_"))


@pytest.mark.parametrize(
    "other", [{"learning_rate": 2e-3}, {"epochs": 3}, {"seed": 1}, {"batch_size": 8}, {"every": 4}, {"fewest": 1.0}]
)
def test_other_settings_in_one_folder_are_refused(tmp_path, other):
    finished("scgpt", tmp_path, epochs=1)
    before = (tmp_path / STATE).read_bytes()
    with pytest.raises(InvalidInputError, match="other settings"):
        finished("scgpt", tmp_path, **{"epochs": 1, **other})
    assert (tmp_path / STATE).read_bytes() == before


@pytest.mark.parametrize("damage", [b"", b"PK\x03\x04 torn", "half", "foreign"])
def test_a_damaged_checkpoint_is_refused(tmp_path, damage):
    finished("scgpt", tmp_path, epochs=1)
    file = tmp_path / STATE
    if damage == "foreign":
        torch.save({"weights": {}}, file)
    else:
        file.write_bytes(file.read_bytes()[: file.stat().st_size // 2] if damage == "half" else damage)
    with pytest.raises(InvalidInputError, match=r"damaged or foreign[\s\S]*to do: delete pretraining.pt"):
        finished("scgpt", tmp_path, epochs=1)


@pytest.mark.parametrize(
    "damage",
    [
        lambda state: state["weights"].popitem(),
        lambda state: state["best"]["weights"].popitem(),
        lambda state: state.update(optimiser={}),
        lambda state: state.update(best={}),
        lambda state: state["best"].update(score=0.0),
        lambda state: state["best"].update(judgement=99),
        lambda state: state.update(step="x"),
        lambda state: state.update(seconds="x"),
        lambda state: state.update(curve="x"),
        lambda state: state.update(curve=[]),
        lambda state: state["curve"][0].popitem(),
        lambda state: state.update(places=3),
        lambda state: state.pop("of"),
    ],
)
def test_a_checkpoint_that_does_not_fit_is_refused(tmp_path, damage):
    finished("scgpt", tmp_path, epochs=1)
    state = torch.load(tmp_path / STATE, weights_only=True)
    damage(state)
    torch.save(state, tmp_path / STATE)
    training = training_of("scgpt", corpus(), epochs=1)
    training.of = {"layout": "scgpt"} if "of" not in state else {}
    with pytest.raises(InvalidInputError, match=r"damaged or foreign[\s\S]*delete pretraining.pt"):
        training.run(tmp_path)


def test_a_checkpoint_of_another_run_is_refused(tmp_path):
    for of, fits in (({"corpus": "a", "layout": "x"}, True), ({"corpus": "b", "layout": "x"}, False)):
        training = training_of("scgpt", corpus(), epochs=1)
        training.of = of
        if fits:
            training.run(tmp_path)
        else:
            with pytest.raises(InvalidInputError, match=r"differs in its corpus from[\s\S]*a run with corpus a\n"):
                training.run(tmp_path)


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), RuntimeError("PytorchStreamWriter failed")])
def test_a_full_disk_leaves_the_checkpoint_before(tmp_path, monkeypatch, error):
    save, n_saved = torch.save, 0

    def fills(state, path):
        nonlocal n_saved
        n_saved += 1
        save(state, path)
        if n_saved > 1:
            path.write_bytes(path.read_bytes()[:1000])
            raise error

    monkeypatch.setattr(torch, "save", fills)
    with pytest.raises(InvalidInputError) as refused:
        finished("scgpt", tmp_path)
    assert re.search(
        r"asked: to write[\s\S]*found: .*(space|broke off).*; [0-9,]+ bytes are free[\s\S]*to do: free",
        str(refused.value),
    )
    monkeypatch.undo()
    assert [path.name for path in tmp_path.iterdir()] == [STATE]
    assert torch.load(tmp_path / STATE, weights_only=True)["step"] == 3
    assert_same(finished("scgpt", tmp_path), finished("scgpt", tmp_path / "whole"))


def test_a_loss_that_is_no_number_is_never_saved(tmp_path, monkeypatch):
    learn = Pretraining._learn

    def spoils(self, batch):
        loss = learn(self, batch)
        if self.step == 5:  # the last one before a judgement
            with torch.no_grad():
                next(iter(self.network.parameters())).fill_(torch.nan)
        return loss

    monkeypatch.setattr(Pretraining, "_learn", spoils)
    with pytest.raises(InvalidInputError, match="a loss that is no number"):
        finished("scgpt", tmp_path)
    assert torch.load(tmp_path / STATE, weights_only=True)["step"] == 3
    monkeypatch.undo()
    assert_same(finished("scgpt", tmp_path), finished("scgpt", tmp_path / "whole"))


@pytest.mark.parametrize(
    "given",
    [
        {"epochs": 0}, {"batch_size": 0}, {"learning_rate": 0.0}, {"learning_rate": float("nan")}, {"warmup": 1.1},
        {"weight_decay": -1.0}, {"fewest": 0.0}, {"fewest": 2.0}, {"patience": 0}, {"every": 0}, {"seed": -1},
        {"seed": 2**63},
    ],
)  # fmt: skip
def test_settings_outside_their_range_are_refused(given):
    with pytest.raises(InvalidInputError, match=f"--{next(iter(given)).replace('_', '-')}"):
        How(**given)


@pytest.mark.parametrize("given", [(16, 1, 3, 32, 32), (0, 1, 1, 32, 32), (16, 1, 2, 32, 2)])
def test_sizes_that_are_no_network_are_refused(given):
    assert SIZES.width == 16
    with pytest.raises(InvalidInputError, match="width"):
        Sizes(*given)


def test_fewer_cells_than_a_batch_are_refused():
    with pytest.raises(InvalidInputError, match="batches of 97 cells"):
        training_of("scgpt", corpus(), batch_size=97)
