"""What a scFoundation embedding may depend on, and what else the model can do."""

from __future__ import annotations

import pickle
from dataclasses import replace
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from scfm_eval.errors import InvalidInputError
from scfm_eval.models.card import card
from scfm_eval.models.protocols import (
    Embedder,
    FineTuner,
    FineTuning,
    GeneEmbedder,
    GenePairScorer,
    LayerEmbedder,
    Pretrained,
    Reconstructor,
    missing_methods,
)
from scfm_eval.models.scfoundation import ScFoundation
from scfm_eval.models.scfoundation_network import build_network
from scfm_eval.models.scfoundation_tokens import Reading
from scfm_eval.models.unfreezing import unfreeze

FOLDER = Path(__file__).parents[1] / "parity" / "scfoundation"
N_GENES = 600


@pytest.fixture(scope="module")
def model():
    return ScFoundation(weights=FOLDER)


@pytest.fixture(scope="module")
def cells():
    return ad.read_h5ad(FOLDER / "cells.h5ad")


def cell_of(counts: dict[str, float], *, name: str = "one") -> ad.AnnData:
    """Return a single cell with these counts."""
    row = sparse.csr_matrix(np.array([list(counts.values())], dtype=np.float32))
    return ad.AnnData(row, obs=pd.DataFrame(index=[name]), var=pd.DataFrame(index=list(counts)))


def test_card_and_capabilities():
    owed = (Embedder, LayerEmbedder, GeneEmbedder, Reconstructor, GenePairScorer, FineTuner, Pretrained)
    assert [capability.__name__ for capability in owed if missing_methods(ScFoundation, capability)] == []
    about = card(ScFoundation)
    assert (about.name, about.gene_ids, about.published_genes) == ("scfoundation", "symbol", 19_264)
    assert about.asks_licence
    assert "non-commercial" in about.weights_licence
    assert pickle.loads(pickle.dumps(ScFoundation)) is ScFoundation  # noqa: S301


# --- what a row depends on


@settings(max_examples=5, deadline=None)
@given(st.permutations(range(12)), st.integers(1, 11), st.sampled_from([1, 16]))
def test_rows_follow_their_cells(cells, model, order, kept, batch_size):
    full, chosen = model.embed(cells), order[:kept]
    made = ScFoundation(weights=FOLDER, batch_size=batch_size).embed(cells[chosen])
    np.testing.assert_allclose(made, full[chosen], rtol=0, atol=1e-5)


def test_bulk_rows_follow_their_samples_unless_the_median_is_asked_for(cells):
    own, joint = (ScFoundation(weights=FOLDER, input_type="bulk", bulk_target=target) for target in (10_000, "median"))
    np.testing.assert_allclose(own.embed(cells[:3]), own.embed(cells)[:3], rtol=0, atol=1e-5)
    assert np.abs(joint.embed(cells[:3]) - joint.embed(cells)[:3]).max() > 1e-3


def test_order_of_genes_and_unknown_genes_do_not_matter(model, cells):
    unknown = ad.AnnData(np.full((12, 1), 50, dtype=np.float32), obs=cells.obs, var=pd.DataFrame(index=["NOSUCH"]))
    more = ad.concat([cells, unknown], axis=1)[:, ::-1]
    assert more[:, "NOSUCH"].X.sum() == 600
    np.testing.assert_allclose(model.embed(more), model.embed(cells), rtol=0, atol=1e-5)


def test_genes_are_found_by_name_where_there_are_more_columns_than_in_the_list(model, cells):
    extra = pd.DataFrame(index=[f"EXTRA{i}" for i in range(N_GENES)])
    zeros = ad.AnnData(sparse.csr_matrix((12, N_GENES), dtype=np.float32), obs=cells.obs, var=extra)
    wide = ad.concat([zeros, cells], axis=1)
    assert wide.n_vars > N_GENES + 2
    np.testing.assert_array_equal(model.embed(wide), model.embed(cells))


def test_gene_names_are_read_from_their_column(model, cells):
    renamed = cells.copy()
    renamed.var_names = [f"ENSG{i}" for i in range(cells.n_vars)]
    np.testing.assert_array_equal(model.embed(renamed), model.embed(cells))


def test_input_and_generators_are_left_alone(cells):
    before, state = cells.copy(), torch.get_rng_state()
    ScFoundation(weights=FOLDER).reconstruct_layers(cells[:2])
    assert (before.X != cells.X).nnz == 0
    np.testing.assert_array_equal(before.X.indices, cells.X.indices)
    pd.testing.assert_frame_equal(before.var, cells.var)
    assert torch.equal(state, torch.get_rng_state())


def test_a_backed_file_gives_the_same(model, cells):
    backed = ad.read_h5ad(FOLDER / "cells.h5ad", backed="r")
    np.testing.assert_array_equal(model.embed(backed), model.embed(cells))


def test_lower_precision_stays_close(model, cells):
    low = ScFoundation(weights=FOLDER, precision="bfloat16")
    assert np.abs(low.embed(cells) - model.embed(cells)).max() < 0.1
    assert np.isfinite(low.reconstruct_layers(cells[:2]).layers).all()


# --- depth


def test_tokens_by_hand(model):
    first, last = model.genes[0], model.genes[-1]
    ((places, values),) = model.tokenise(cell_of({last: 3, "NOSUCH": 100, first: 1}))
    assert places.tolist() == [0, N_GENES - 1, N_GENES, N_GENES + 1]
    expected = [np.log1p(2500), np.log1p(7500), 4, np.log10(4)]
    np.testing.assert_allclose(values, expected, rtol=1e-6)


@pytest.mark.parametrize(
    ("tgthighres", "expected"), [("t4.5", [4.5, 4.5]), ("f2.5", np.log10([25, 250])), ("a5", [6, 7]), ("a-1", [0, 1])]
)
def test_depths_by_hand(tgthighres, expected):
    np.testing.assert_allclose(Reading(tgthighres).target(np.array([10.0, 100.0])), expected)


@pytest.mark.parametrize("tgthighres", ["f1", "a0", "t0", "t-2"])
def test_depth_tokens_of_zero_or_less_keep_their_slots(cells, tgthighres):
    model = ScFoundation(weights=FOLDER, tgthighres=tgthighres)
    single = cell_of({model.genes[7]: 1.0})
    ((places, values),) = model.tokenise(single)
    assert places.tolist() == [7, N_GENES, N_GENES + 1]
    assert values[-1] == 0
    row = model.embed(single)
    assert np.isfinite(row).all()
    joined = ad.concat([cells, single], join="outer", fill_value=0)
    np.testing.assert_allclose(model.embed(joined)[-1:], row, rtol=0, atol=1e-5)
    # one gene: its maximum is its mean
    np.testing.assert_allclose(row[:, 64:96], row[:, 96:], rtol=0, atol=1e-6)


def test_values_of_zero_are_not_read_and_negative_ones_are_refused():
    model = ScFoundation(weights=FOLDER, pre_normalized="T")
    first, second, third = model.genes[:3]
    ((places, values),) = model.tokenise(cell_of({second: 3.0, third: 0.0}))
    assert places.tolist() == [1, N_GENES, N_GENES + 1]
    np.testing.assert_allclose(values, [3, 4, np.log10(3)], rtol=1e-6)
    with pytest.raises(InvalidInputError, match="negative"):
        model.tokenise(cell_of({first: -1.0, second: 3.0}))


def test_the_last_column_is_the_total_whatever_its_name_is():
    model = ScFoundation(weights=FOLDER, pre_normalized="A")
    ((places, values),) = model.tokenise(cell_of({model.genes[1]: 3.0, model.genes[0]: 100.0}))
    assert places.tolist() == [1, N_GENES, N_GENES + 1]
    np.testing.assert_allclose(values, [3, 4, 2], rtol=1e-6)


@pytest.mark.parametrize("number", [22.0, 23.0])
def test_values_like_the_ids_of_mask_and_padding_are_values(number):
    model = ScFoundation(weights=FOLDER, pre_normalized="T")
    near, exact = (cell_of({model.genes[3]: value, model.genes[5]: 1.0}) for value in (number - 1e-3, number))
    np.testing.assert_allclose(model.embed(near), model.embed(exact), rtol=0, atol=2e-3)


def test_a_cell_without_genes_is_named(model, cells):
    counts = cells.X.toarray()
    counts[4] = 0
    empty = ad.AnnData(sparse.csr_matrix(counts), obs=cells.obs, var=cells.var)
    with pytest.raises(InvalidInputError, match="c4"):
        model.embed(empty)
    with pytest.raises(InvalidInputError, match="one"):
        model.embed(cell_of({"NOSUCH": 5.0}))


def test_a_total_that_is_no_depth_is_refused():
    model = ScFoundation(weights=FOLDER, pre_normalized="A")
    with pytest.raises(InvalidInputError, match="not positive: one"):
        model.embed(cell_of({model.genes[0]: 2.0, "total": 0.0}))


def test_a_gene_in_two_columns_is_refused(model, cells):
    twice = cells.copy()
    known = [name for name in cells.var_names if name in model.genes][:2]
    twice.var["gene_name"] = [known[0] if name == known[1] else name for name in cells.var_names]
    with pytest.raises(InvalidInputError, match=f"several columns for {known[0]}"):
        model.embed(twice)


WRONG_OPTIONS = {
    "tgthighres": ["", "4", "x4", "t", "tfour", "f0", "f-1", "tnan", "ainf"],
    "input_type": ["spatial"],
    "pre_normalized": ["yes"],
    "bulk_target": [0, -1.0, "mean"],
    "pooling": ["mean"],
    "version": ["rce"],
    "layer": [5, -6],
}


@pytest.mark.parametrize(
    ("option", "value"), [(name, value) for name in WRONG_OPTIONS for value in WRONG_OPTIONS[name]]
)
def test_an_option_without_meaning_is_refused(option, value):
    with pytest.raises(InvalidInputError):
        ScFoundation(weights=FOLDER, **{option: value})


def test_bulk_has_no_appended_total():
    with pytest.raises(InvalidInputError, match="pre_normalized 'A' for bulk"):
        ScFoundation(weights=FOLDER, input_type="bulk", pre_normalized="A")


# --- layers, genes, expression, pairs, fine-tuning


def test_a_layer_can_be_chosen(model, cells):
    layers = model.embed_layers(cells)
    for layer in (0, 2, -2):
        np.testing.assert_allclose(
            ScFoundation(weights=FOLDER, layer=layer).embed(cells), layers[layer], rtol=0, atol=1e-6
        )


def test_gene_vectors_are_rows_of_the_gene_network(model):
    state = torch.load(FOLDER / "models.ckpt", weights_only=True)["gene"]["state_dict"]
    made = model.embed_genes([model.genes[9], "NOSUCH", model.genes[0]])
    np.testing.assert_array_equal(made[[0, 2]], state["model.pos_emb.weight"][[9, 0]].numpy())
    assert np.isnan(made[1]).all()


def test_gene_outputs_do_not_depend_on_other_cells(model, cells):
    some = [9, 2, 4]
    full = model.embed_genes_in_cells(cells)
    np.testing.assert_allclose(model.embed_genes_in_cells(cells[some]), full[some], rtol=0, atol=1e-5)
    large = ScFoundation(weights=FOLDER, batch_size=16)
    np.testing.assert_allclose(large.embed_genes_in_cells(cells), full, rtol=0, atol=1e-5)
    joint = model.embed_genes_in_cells(cells, stabiliser="batch")
    assert np.abs(model.embed_genes_in_cells(cells[some], stabiliser="batch") - joint[some]).max() > 1e-4


def test_reconstruction_follows_its_cells_at_their_own_depth(model, cells):
    some, other = [7, 2, 11], ScFoundation(weights=FOLDER, tgthighres="t6")
    full, few = model.reconstruct_layers(cells), other.reconstruct_layers(cells[some])
    assert full.layers.shape == (len(model.embed_layers(cells[:3])), len(full.target))
    for row, origin in enumerate(some):
        np.testing.assert_array_equal(few.target[few.cell == row], full.target[full.cell == origin])
        np.testing.assert_allclose(
            few.layers[:, few.cell == row], full.layers[:, full.cell == origin], rtol=0, atol=1e-5
        )


@pytest.mark.parametrize("options", [{"input_type": "bulk"}, {"pre_normalized": "T"}])
def test_there_is_no_reconstruction_without_a_depth(cells, options):
    with pytest.raises(InvalidInputError, match="at their own depth"):
        ScFoundation(weights=FOLDER, **options).reconstruct_layers(cells)


def test_gene_pairs(model, cells):
    read = set(model.genes)
    known = [name for name in cells.var_names[np.asarray(cells.X[:4].sum(axis=0)).ravel() > 0] if name in read][:6]
    made = model.score_gene_pairs(cells, genes=[*known, "NOSUCH"])
    assert made.shape == (7, 7)
    assert made.dtype == np.float32
    assert np.isnan(made[-1]).all()
    assert np.isnan(np.diag(made)).all()
    # c4 expresses every gene, so that each pair is met
    off = ~np.eye(6, dtype=bool)
    assert ((made[:6, :6][off] > 0) & (made[:6, :6][off] < 1)).all()
    backwards = model.score_gene_pairs(cells[::-1], genes=known[::-1])
    np.testing.assert_allclose(backwards, made[:6, :6][::-1, ::-1], rtol=1e-4, atol=1e-7)


def test_attention_by_hand(model, cells):
    network, (sentence,) = model._gene_network, model.tokenise(cells[0])
    places, values = (torch.from_numpy(part) for part in sentence)
    with torch.inference_mode():
        made = network.attention([sentence])[0]
        hidden, expected = network.token_emb(values) + network.pos_emb(places), torch.zeros(len(places), len(places))
        for block in network.blocks:
            joined = hidden @ block.self_attn.in_proj_weight.T + block.self_attn.in_proj_bias
            query, key, _ = (part.unflatten(-1, (4, 8)).transpose(0, 1) for part in joined.chunk(3, dim=-1))
            expected += torch.softmax(query @ key.mT / 8**0.5, dim=-1).mean(dim=0) / len(network.blocks)
            hidden = block(hidden[None], src_key_padding_mask=None)[0]
    np.testing.assert_allclose(made, expected, rtol=0, atol=1e-6)
    first, second = places[0].item(), places[1].item()
    scores = model.score_gene_pairs(cells[0], genes=[model.genes[first], model.genes[second]])
    # the second gene attends to the first one
    np.testing.assert_allclose(scores[0, 1], expected[1, 0], rtol=0, atol=1e-6)
    np.testing.assert_allclose(scores[1, 0], expected[0, 1], rtol=0, atol=1e-6)
    assert abs(scores[0, 1] - scores[1, 0]) > 1e-5


@pytest.mark.parametrize("mode", ["full", "head", "last"])
def test_it_is_fine_tuned(cells, mode):
    model, labels = ScFoundation(weights=FOLDER), np.array(["a", "b"])[np.arange(12) % 2]
    before = model.embed(cells)
    how = FineTuning(mode=mode, n_blocks=1, epochs=2, batch_size=4, learning_rate=1e-2)
    history = model.fine_tune(cells, labels=labels, validation=cells[:6], validation_labels=labels[:6], how=how, seed=0)
    assert len(history["epochs"]) == 3
    assert history["epochs"][-1]["loss"] < history["epochs"][1]["loss"]
    assert (history["trained_share"] == 1.0) == (mode == "full")
    classes, found = model.predict_labels(cells)
    assert classes.tolist() == ["a", "b"]
    np.testing.assert_allclose(found.sum(axis=1), 1, atol=1e-5)
    assert (np.abs(model.embed(cells) - before).max() > 0) == (mode != "head" and history["chosen_epoch"] > 0)


@pytest.mark.parametrize("mode", ["lora", "adapter"])
def test_what_is_added_in_fine_tuning_decides_the_rows(model, cells, mode):
    # more genes, so that what is added is less than 1 % of the parameters
    network = build_network(replace(model._network.sizes, n_genes=20_000))
    wide = ScFoundation(weights=FOLDER)
    wide._network, read = network, model.tokenise(cells[:3])
    encoder = wide._encoder()
    unfreeze(encoder, how=FineTuning(mode=mode))
    added = [p for p in network.encoder.parameters() if p.requires_grad]
    before = encoder.pooled(read)
    with torch.no_grad():
        for parameter in added:
            parameter.add_(0.1)
    with torch.inference_mode():
        assert (encoder.pooled(read) - before).abs().max() > 0.01
    encoder.pooled(read).sum().backward()
    assert added
    assert all(parameter.grad.abs().sum() > 0 for parameter in added)


def test_the_head_of_fine_tuning_reads_the_maximum_over_tokens(cells):
    model, labels = ScFoundation(weights=FOLDER, pooling="max"), np.array(["a", "b"])[np.arange(12) % 2]
    how = FineTuning(mode="head", epochs=1, batch_size=4, learning_rate=1e-2)
    model.fine_tune(cells, labels=labels, validation=cells, validation_labels=labels, how=how, seed=0)
    part = model._tuned.classifier
    rows = torch.from_numpy(model.embed(cells))
    expected = torch.softmax(part.head((rows - part.mean) / part.variance.sqrt()), dim=1)
    np.testing.assert_allclose(model.predict_labels(cells)[1], expected.detach().numpy(), atol=2e-3)


def test_weights_can_be_drawn(cells):
    model, labels = ScFoundation(weights=FOLDER), np.array(["a", "b"])[np.arange(12) % 2]
    how = FineTuning(mode="head", epochs=1, batch_size=4, learning_rate=1e-2, from_scratch=True)
    before = model.embed(cells)
    assert model.fine_tune(cells, labels=labels, validation=cells, validation_labels=labels, how=how, seed=0)[
        "from_scratch"
    ]
    assert np.abs(model.embed(cells) - before).max() > 0.1
