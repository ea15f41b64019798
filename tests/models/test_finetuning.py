"""Fine-tuning: what is trained in each mode, same seed same weights, interruption, divergence, and what it learns."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import ClassVar

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import torch
from anndata import AnnData
from scipy import sparse
from sklearn.linear_model import LogisticRegression
from torch import nn

from scfm_eval.errors import InvalidInputError
from scfm_eval.models.finetuning import FineTunes
from scfm_eval.models.geneformer import Geneformer, GeneformerV1, UntrainedGeneformer
from scfm_eval.models.protocols import FineTuner, FineTuning, completed, missing_methods
from scfm_eval.models.scgpt import ScGPT, UntrainedScGPT
from scfm_eval.models.training import Classifier, Training, balanced, rate, shuffled_batches
from scfm_eval.models.tuning import _probe
from scfm_eval.models.unfreezing import Encoder

N_GENES, WIDTH = 30, 16
PARITY = Path(__file__).parents[1] / "parity"


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear, self.norm, self.dropout = nn.Linear(WIDTH, WIDTH), nn.LayerNorm(WIDTH), nn.Dropout(0.1)

    def forward(self, hidden):
        return self.norm(hidden + self.dropout(torch.relu(self.linear(hidden))))


class Network(nn.Module):
    def __init__(self, *, n_tokens):
        super().__init__()
        self.words, self.blocks = nn.Embedding(n_tokens, WIDTH), nn.ModuleList(Block() for _ in range(3))

    def forward(self, ids):
        hidden = self.words(ids)
        for block in self.blocks:
            hidden = block(hidden)
        return hidden


class Toy(FineTunes):
    """Reads the expressed genes of a cell, each as often as it was counted."""

    name, precision, weights_sha256 = "toy", "float32", "of a toy"
    device, batch_size, _full_length = "cpu", 10, 50

    def __init__(self, *, n_tokens=3000):
        self._n_tokens = n_tokens
        self._draw_weights(seed=7)

    def _draw_weights(self, seed):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.network = Network(n_tokens=self._n_tokens)

    def tokenise(self, cells):
        counts = cells.X.toarray().astype(int)
        return [torch.from_numpy(np.repeat(np.arange(N_GENES), row)) for row in counts]

    def _encoder(self):
        network = self.network

        def pooled(cells):
            return torch.stack([network(cell).mean(dim=0) for cell in cells])

        return Encoder(network, network.blocks, WIDTH, pooled)


def cells(n_cells=60, *, seed=0):
    """Return cells of three types with genes of their own, a rare one among them, and their labels."""
    rng = np.random.default_rng(seed)
    kind = np.where(np.arange(n_cells) % 10 == 0, 2, np.arange(n_cells) % 2)
    level = np.ones((n_cells, N_GENES)) + 4 * (np.arange(N_GENES)[None, :] // 10 == kind[:, None])
    obs = pd.DataFrame(index=[f"cell{i}" for i in range(n_cells)])
    var = pd.DataFrame(index=[f"G{i}" for i in range(N_GENES)])
    return AnnData(sparse.csr_matrix(rng.poisson(level).astype(np.float32)), obs=obs, var=var), np.array(list("abc"))[
        kind
    ]


TRAIN, VALIDATION, TEST = cells(60), cells(20, seed=1), cells(30, seed=2)
QUICK = {"epochs": 2, "batch_size": 8, "learning_rate": 5e-3}


def tuned(model=None, *, seed=0, folder=None, **how):
    model = model or Toy()
    history = model.fine_tune(
        TRAIN[0],
        labels=TRAIN[1],
        validation=VALIDATION[0],
        validation_labels=VALIDATION[1],
        how=FineTuning(**QUICK | how),
        seed=seed,
        folder=folder,
    )
    return model, history


def weights(model):
    return {name: p.detach().clone() for name, p in model._tuned.classifier.named_parameters()}


def same(first, second):
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def test_it_learns_what_can_be_learned():
    model, history = tuned(epochs=4)
    classes, probabilities = model.predict_labels(TEST[0])
    assert missing_methods(Toy, FineTuner) == []
    assert list(classes) == ["a", "b", "c"]
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-5)
    assert (classes[probabilities.argmax(axis=1)] == TEST[1]).mean() > 0.9
    np.testing.assert_allclose(model.predict_labels(TEST[0][:1].copy())[1], probabilities[:1], atol=1e-5)
    scores = [epoch["validation_macro_f1"] for epoch in history["epochs"]]
    assert [epoch["epoch"] for epoch in history["epochs"]] == [0, 1, 2, 3, 4]
    losses = [epoch["validation_loss"] for epoch in history["epochs"]]
    assert scores[history["chosen_epoch"]] == max(scores)
    assert losses[history["chosen_epoch"]] < losses[0]
    assert history["epochs"][0]["loss"] is None
    assert not history["from_scratch"]
    assert history["diverged_at_step"] is None


class Suited(Toy):
    fine_tuning: ClassVar[dict[str, float]] = {"epochs": 4, "learning_rate": 2e-3}


@pytest.mark.parametrize("from_scratch", [False, True])
def test_settings_left_open_are_those_of_the_class_and_the_history_states_them(from_scratch):
    open_, named = FineTuning(from_scratch=from_scratch), FineTuning(epochs=1, from_scratch=from_scratch)
    expected = {"mode": "full", "epochs": 4, "batch_size": 16, "learning_rate": 2e-3, "from_scratch": from_scratch}
    _, history = tuned(Suited(), epochs=None, batch_size=None, learning_rate=None, from_scratch=from_scratch)
    assert history["settings"] == asdict(completed(open_, model=Suited))
    assert history["settings"].items() >= expected.items()
    assert len(history["epochs"]) == 1 + 4
    assert asdict(completed(named, model=Suited)).items() >= (expected | {"epochs": 1}).items()
    assert asdict(completed(open_, model=Toy)).items() >= {"epochs": 3, "batch_size": 16, "learning_rate": 5e-5}.items()
    assert completed(completed(open_, model=Suited), model=Toy) == completed(open_, model=Suited)
    assert completed(replace(named, patience=2), model=object).patience == 2


@pytest.mark.parametrize(
    ("stated", "said"),
    [
        ({"rate": 1e-3}, "'rate', which is none of epochs, batch_size, learning_rate"),
        ({"warmup": 0.2}, "'warmup', which is none of"),
        ({"epochs": 2.5}, "epochs = 2.5, which is no positive whole number"),
        ({"batch_size": True}, "batch_size = True, which is no positive whole number"),
        ({"learning_rate": "1e-3"}, "learning_rate = '1e-3', which is no positive number"),
        ({"learning_rate": float("nan")}, "learning_rate = nan"),
        ({"epochs": None}, "epochs = None"),
        (["epochs"], "which is no dictionary"),
    ],
)
def test_a_class_that_states_wrong_settings_is_refused_when_it_is_fine_tuned(stated, said):
    model = type("Wrong", (Toy,), {"fine_tuning": stated})()
    with pytest.raises(InvalidInputError, match=rf"(?s)fine_tuning of the model class .*Wrong.*{said}"):
        tuned(model)


@pytest.mark.parametrize(
    ("mode", "changed"),
    [
        ("full", {"words.weight", "blocks.0.linear.weight", "blocks.2.norm.bias"}),
        ("head", set()),
        ("last", {"blocks.1.linear.weight", "blocks.2.linear.weight", "blocks.2.norm.bias"}),
        ("lora", {"lora_A", "lora_B"}),
        ("adapter", {"bottleneck.down.weight", "bottleneck.up.weight"}),
    ],
)
def test_a_mode_trains_its_parameters_and_no_others(mode, changed):
    model = Toy()
    before = {name: p.detach().clone() for name, p in model.network.named_parameters()}
    _, history = tuned(model, mode=mode, n_blocks=2)
    trained = {name: p for name, p in model._tuned.classifier.network.named_parameters() if p.requires_grad}
    assert history["trained_parameters"] == sum(p.numel() for p in trained.values())
    assert all(any(part in name for name in trained) for part in changed)
    for name, p in model.network.named_parameters():
        original = before.get(name.replace("base_layer.", ""))
        if original is not None:
            assert p.requires_grad == (name in trained)
            assert torch.equal(p, original) or p.requires_grad
    if mode in ("lora", "adapter"):
        assert 0 < history["trained_share"] < 0.01
        assert all(any(part in name for part in ("lora_", "bottleneck")) for name in trained)
    moved = model._tuned.classifier.head.weight.detach().abs().max()
    assert moved > 0


@pytest.mark.parametrize("mode", ["lora", "adapter"])
def test_an_addition_that_cannot_be_small_is_refused_with_its_share(mode):
    with pytest.raises(InvalidInputError, match=r"(?s)less than 1% of the \d+ parameters.*found: \d+\.\d%"):
        tuned(Toy(n_tokens=N_GENES), mode=mode)


def test_more_blocks_than_there_are_are_refused():
    with pytest.raises(InvalidInputError, match="a model of 3 blocks"):
        tuned(mode="last", n_blocks=4)


@pytest.mark.parametrize("mode", ["full", "lora", "adapter"])
def test_the_seed_decides_and_the_global_generator_stays(mode):
    state = torch.random.get_rng_state()
    first, second, other = (tuned(seed=seed, mode=mode, epochs=1)[0] for seed in (0, 0, 1))
    assert torch.equal(torch.random.get_rng_state(), state)
    assert same(weights(first), weights(second))
    assert not same(weights(first), weights(other))


@pytest.mark.parametrize("mode", ["full", "head"])
def test_an_interrupted_training_ends_like_an_uninterrupted_one(tmp_path, monkeypatch, mode):
    whole, expected = tuned(mode=mode, epochs=3)
    steps, take = [], Training._step

    def recorded(self, batches, *, step):
        steps.append(step)
        if steps == list(range(13)):
            raise KeyboardInterrupt
        return take(self, batches, step=step)

    monkeypatch.setattr(Training, "_step", recorded)
    with pytest.raises(KeyboardInterrupt):
        tuned(mode=mode, epochs=3, folder=tmp_path / "training")
    resumed, history = tuned(mode=mode, epochs=3, folder=tmp_path / "training")
    assert steps[13:] == list(range(8, 24))  # 60 cells are 8 batches, and the second epoch begins anew
    assert history == expected
    assert same(weights(resumed), weights(whole))
    assert [file.name for file in (tmp_path / "training").iterdir()] == ["training.pt"]


def test_a_state_of_other_settings_is_not_taken_up(tmp_path):
    tuned(folder=tmp_path)
    _, history = tuned(folder=tmp_path, learning_rate=1e-3)
    assert history == tuned(learning_rate=1e-3)[1]


@pytest.mark.parametrize(
    "damage",
    [
        lambda state: state.clear(),
        lambda state: state.update(best={}),
        lambda state: state.update(epochs="x"),
        lambda state: state.update(epoch="x"),
        lambda state: state.update(optimiser={}),
        lambda state: state.update(random="x"),
        lambda state: state["weights"].popitem(),
        lambda state: state["best"]["weights"].update(mean=torch.zeros(1)),
    ],
)
def test_a_state_that_does_not_fit_is_refused(tmp_path, damage):
    tuned(folder=tmp_path)
    file = tmp_path / "training.pt"
    state = torch.load(file, weights_only=True)
    damage(state)
    torch.save(state, file)
    with pytest.raises(InvalidInputError, match=r"a damaged or foreign file[\s\S]*delete training.pt"):
        tuned(folder=tmp_path)


def test_a_state_that_is_cut_is_refused(tmp_path):
    tuned(folder=tmp_path)
    file = tmp_path / "training.pt"
    file.write_bytes(file.read_bytes()[:1000])
    with pytest.raises(InvalidInputError, match="nothing of it was executed"):
        tuned(folder=tmp_path)


def test_divergence_stops_and_the_best_state_so_far_is_used():
    calm, _ = tuned(epochs=1)
    model, history = tuned(Exploding(at_call=14), epochs=3)
    assert history["diverged_at_step"] is not None
    assert history["chosen_epoch"] <= 1
    assert np.isfinite(model.predict_labels(TEST[0])[1]).all()
    assert len(history["epochs"]) == 2
    assert np.isfinite(calm.predict_labels(TEST[0])[1]).all()


def test_divergence_before_the_first_evaluation_leaves_the_start():
    early, _ = tuned(Exploding(at_call=1))
    model, history = tuned(Exploding(at_call=2))
    assert (history["chosen_epoch"], history["diverged_at_step"]) == (0, 1)
    assert same(weights(model), weights(early))


def test_the_head_starts_at_the_probe_of_the_frozen_model():
    _, history = tuned(epochs=1)
    assert history["epochs"][0]["validation_macro_f1"] > 0.9
    rows = np.array([[-1.0, 0.0], [-1.2, 0.1], [1.0, 0.0], [1.1, -0.1]], dtype=np.float32)
    weight, bias = _probe(rows, np.array([0, 0, 2, 2]), n_classes=3)
    told = rows @ weight.T + bias
    assert told.argmax(axis=1).tolist() == [0, 0, 2, 2]
    by_hand = LogisticRegression(C=0.1).fit(rows, [0, 0, 2, 2]).decision_function(rows)
    np.testing.assert_allclose(told[:, 2] - told[:, 0], by_hand, atol=1e-5)
    assert (told[:, 1] < told[:, [0, 2]].min(axis=1)).all()
    weight, bias = _probe(rows, np.zeros(4, dtype=np.int64), n_classes=2)
    assert (weight == 0).all()
    assert bias[0] > bias[1]


class Exploding(Toy):
    """Gives NaN from some training batch on."""

    def __init__(self, *, at_call):
        super().__init__()
        self._calls, self._at_call = 0, at_call

    def _encoder(self):
        whole = super()._encoder()

        def pooled(sentences):
            self._calls += torch.is_grad_enabled()
            rows = whole.pooled(sentences)
            return rows * torch.nan if torch.is_grad_enabled() and self._calls >= self._at_call else rows

        return Encoder(whole.network, whole.blocks, whole.width, pooled)


def test_cells_are_standardised_by_the_encoder_as_it_is_after_training():
    model, _ = tuned(epochs=2, learning_rate=3e-2)
    read, _ = cells()
    part = model._tuned.classifier
    with torch.no_grad():
        rows = part.eval().pooled(model._read(read)).float().numpy()
    np.testing.assert_allclose(part.mean.numpy(), rows.mean(axis=0), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(part.variance.numpy(), rows.var(axis=0), rtol=1e-3, atol=1e-6)


def test_patience_stops_early():
    _, history = tuned(epochs=30, patience=2)
    scores = [epoch["validation_macro_f1"] for epoch in history["epochs"]]
    assert len(scores) - 1 == np.argmax(scores) + 2 < 30


def test_accumulated_batches_are_one_large_batch_but_for_their_standardisation(monkeypatch):
    monkeypatch.setattr(Classifier, "standardised", lambda self, rows: (rows - self.mean) / self.variance.sqrt())
    apart, together = (Toy(), Toy())
    for model in (apart, together):
        for block in model.network.blocks:
            block.dropout.p = 0.0
    tuned(apart, batch_size=30, accumulation=2, class_weights=True)
    tuned(together, batch_size=60, class_weights=True)
    heads = [weights(model)["head.weight"] for model in (apart, together)]
    torch.testing.assert_close(*heads, atol=1e-5, rtol=1e-3)


def test_from_scratch_forgets_the_weights_that_were_loaded():
    loaded, other = Toy(), Toy()
    nn.init.constant_(other.network.words.weight, 3.0)
    assert not same(weights(tuned(Toy(), epochs=1)[0]), weights(tuned(epochs=1, from_scratch=True)[0]))
    assert same(*(weights(tuned(model, epochs=1, from_scratch=True)[0]) for model in (loaded, other)))


def test_cells_of_a_batch_are_of_like_length_in_random_order():
    lengths = np.random.default_rng(0).integers(1, 1000, size=403)
    made = [shuffled_batches(lengths, batch_size=16, rng=np.random.default_rng(seed)) for seed in (0, 0, 1)]
    np.testing.assert_array_equal(np.sort(np.concatenate(made[0])), np.arange(403))
    assert sum(len(batch) for batch in made[0]) == 403
    assert all((a == b).all() for a, b in zip(made[0], made[1], strict=True))
    assert any(len(a) != len(b) or (a != b).any() for a, b in zip(made[0], made[2], strict=True))
    padded = sum(len(batch) * lengths[batch].max() for batch in made[0])
    assert padded < 1.25 * lengths.sum()


def test_the_rate_rises_and_falls_by_hand():
    rates = [rate(step, n_steps=10, warmup=0.2) for step in range(10)]
    np.testing.assert_allclose(rates, [0.5, 1, 1, 7 / 8, 6 / 8, 5 / 8, 4 / 8, 3 / 8, 2 / 8, 1 / 8])
    assert rate(0, n_steps=4, warmup=0.0) == 1.0


def test_class_weights_by_hand():
    np.testing.assert_allclose(balanced(np.array([0, 0, 0, 1]), n_classes=3), [4 / 6, 4 / 2, 0])


def test_predictions_need_a_training_and_its_genes():
    with pytest.raises(InvalidInputError, match="not fine-tuned"):
        Toy().predict_labels(TEST[0])
    model, _ = tuned(mode="head", epochs=1)
    with pytest.raises(InvalidInputError, match="other genes"):
        model.predict_labels(TEST[0][:, ::-1].copy())


ADAPTERS = {
    "geneformer_v1": lambda: GeneformerV1(weights=PARITY / "geneformer_v1"),
    "geneformer_v2": lambda: Geneformer(weights=PARITY / "geneformer_v2"),
    "scgpt": lambda: ScGPT(weights=PARITY / "scgpt"),
    "untrained_geneformer": UntrainedGeneformer,
    "untrained_scgpt": UntrainedScGPT,
}


def few_cells(adapter):
    """Return cells that an adapter reads, and two labels; toy cells are given genes of the packaged vocabulary."""
    folder, model = PARITY / adapter, ADAPTERS[adapter]
    read = ad.read_h5ad(folder / "cells.h5ad") if folder.exists() else TRAIN[0][:12].copy()
    if not folder.exists():
        read.var_names = sorted(model.vocabulary(model.locate()))[:N_GENES]
    return read, np.array(["a", "b"])[np.arange(read.n_obs) % 2]


def tuned_adapter(adapter, **how):
    model, (read, labels) = ADAPTERS[adapter](), few_cells(adapter)
    how = FineTuning(**{"epochs": 1, "batch_size": 4, "learning_rate": 1e-2} | how)
    history = model.fine_tune(
        read, labels=labels, validation=read[:6].copy(), validation_labels=labels[:6], how=how, seed=0
    )
    return model, history, read


@pytest.mark.parametrize("adapter", ADAPTERS)
def test_an_adapter_pools_the_last_layer_that_it_embeds(adapter):
    model, _, read = tuned_adapter(adapter, mode="head", epochs=3)
    classes, found = model.predict_labels(read)
    part = model._tuned.classifier
    last = torch.from_numpy(ADAPTERS[adapter]().embed_layers(read)[-1])
    expected = torch.softmax(part.head((last - part.mean) / part.variance.sqrt()), dim=1)
    assert list(classes) == ["a", "b"]
    np.testing.assert_allclose(found, expected.detach().numpy(), atol=2e-3)
    np.testing.assert_array_equal(model.embed(read), ADAPTERS[adapter]().embed(read))


@pytest.mark.parametrize("adapter", ADAPTERS)
def test_an_adapter_is_trained_wholly_or_from_scratch(adapter):
    model, history, read = tuned_adapter(adapter)
    again, _, _ = tuned_adapter(adapter)
    scratch, _, _ = tuned_adapter(adapter, from_scratch=True)
    assert history["trained_share"] == 1.0
    assert same(weights(model), weights(again))
    # random weights of the same seed are those that a control has anyway
    assert same(weights(model), weights(scratch)) == history["from_scratch"] == adapter.startswith("untrained")
    assert np.isfinite(scratch.predict_labels(read)[1]).all()


@pytest.mark.parametrize("mode", ["last", "lora", "adapter"])
@pytest.mark.parametrize("adapter", ["untrained_geneformer", "untrained_scgpt"])
def test_the_real_architectures_take_every_mode(adapter, mode):
    _, history, _ = tuned_adapter(adapter, mode=mode)
    assert 0 < history["trained_share"] < (1 if mode == "last" else 0.01)
    assert history["diverged_at_step"] is None
