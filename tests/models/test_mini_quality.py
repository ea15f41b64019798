"""The models in the box have learned something: they know more than their untrained twins and gene frequencies."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import scfm_eval
from scfm_eval.cells import Cells
from scfm_eval.device import Resident
from scfm_eval.discovery import find_dataset, find_model
from scfm_eval.evaluate import evaluate
from scfm_eval.models.card import card
from scfm_eval.models.scgpt_network import read_sizes
from scfm_eval.pretrain.corpus import read_corpus
from scfm_eval.pretrain.geneformer import MaskedRanks
from scfm_eval.pretrain.loop import How, Pretraining
from scfm_eval.pretrain.objective import Sizes
from scfm_eval.pretrain.scgpt import MaskedValues
from scfm_eval.store import Store
from scfm_eval.tasks import annotation, probes

MINIS = ("geneformer-mini", "scgpt-mini")
PACKAGED = Path(scfm_eval.__file__).parent / "weights"
MOST_OF_UNIGRAM = 0.9


@pytest.fixture(scope="module")
def cells():
    dataset = find_dataset("pbmc68k_reduced")
    return Cells(dataset, dataset.load())


@pytest.mark.parametrize("name", MINIS)
def test_annotates_better_than_its_untrained_twin(name, cells, tmp_path, monkeypatch):
    # the other probes take most of the time
    monkeypatch.setattr(annotation, "_PROBES", {"": probes.logistic_regression})
    store, resident = Store(tmp_path), Resident(device="cpu", precision="float32", offline=True)
    mini, twin = (
        evaluate(annotation.Annotation(), find_model(model), cells, store=store, resident=resident)
        for model in (name, card(find_model(name)).untrained)
    )
    assert mini["macro_f1"] > twin["macro_f1"]


@pytest.fixture(scope="module")
def corpus(real_data):
    file = real_data / "pretraining_corpus.h5ad"
    if not file.exists():
        pytest.skip(f"no {file.name} in {real_data}")
    return read_corpus(file)


def masked_ranks(corpus, training):
    """Return Geneformer's objective with the packaged weights in its network."""
    model = find_model("geneformer-mini")()
    said = model._bert.config
    blocks = said.hidden_size, said.num_hidden_layers, said.num_attention_heads, said.intermediate_size
    objective = MaskedRanks(corpus, training=training, sizes=Sizes(*blocks, said.max_position_embeddings))
    assert dict(zip(objective.genes, objective.medians.tolist(), strict=True)) == model.genes.median
    objective.network.load_state_dict(model._bert.state_dict())
    return objective


def masked_values(corpus, training):
    """Return scGPT's objective with the packaged weights in its network."""
    model, said = find_model("scgpt-mini")(), read_sizes(PACKAGED / "scgpt-mini" / "args.json")
    blocks = said["width"], said["n_layers"], said["n_heads"], said["d_hid"]
    objective = MaskedValues(corpus, training=training, sizes=Sizes(*blocks, model.max_length))
    assert list(model.tokens)[-len(objective.symbols) :] == list(objective.symbols)
    objective.network.network.load_state_dict(model._network.state_dict())
    return objective


def mean_losses(found):
    """Return the means over all hidden places of the losses by source."""
    n_hidden = [one["n_hidden"] for one in found]
    return {name: np.average([one[name] for one in found], weights=n_hidden) for name in found[0]}


@pytest.mark.heavy
@pytest.mark.parametrize(("name", "objective"), [("geneformer-mini", masked_ranks), ("scgpt-mini", masked_values)])
def test_beats_gene_frequencies_on_held_out_cells_as_its_record_says(name, objective, corpus):
    mask = corpus.held_out(share=0.05, seed=0)
    held_out = np.flatnonzero(mask)
    judged = Pretraining(objective(corpus, ~mask), training=np.flatnonzero(~mask), held_out=held_out, how=How())
    sources = corpus.source[held_out]
    found = mean_losses([judged.judge(held_out[sources == source]) for source in np.unique(sources)])
    trained_for = next(iter(found))
    assert found[trained_for] <= MOST_OF_UNIGRAM * found["unigram"]
    record = PACKAGED / name / "pretraining.json"
    if record.exists():
        said = json.loads(record.read_text())["loss"]["held_out"]["all"]
        assert found[trained_for] == pytest.approx(said["float16"][trained_for], rel=0.01)
        assert found["unigram"] == pytest.approx(said["unigram"], rel=0.01)
