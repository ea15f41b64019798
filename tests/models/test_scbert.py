"""What a scBERT embedding may depend on, and which faults are seen."""

from __future__ import annotations

import shutil
import warnings
from pathlib import Path

import anndata as ad
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from scfm_eval.errors import InvalidInputError, UnknownGeneError
from scfm_eval.models import scbert_network
from scfm_eval.models.card import card
from scfm_eval.models.protocols import (
    Embedder,
    FineTuner,
    FineTuning,
    GeneEmbedder,
    GenePairScorer,
    LayerEmbedder,
    Perturber,
    Pretrained,
    Reconstructor,
    missing_methods,
)
from scfm_eval.models.scbert import ScBERT
from scfm_eval.models.scbert_tokens import log2_values, perturbed, read_genes, sentences

FOLDER = Path(__file__).parents[1] / "parity" / "scbert"
CHECKPOINT = "panglao_pretrain.pth"


@pytest.fixture(scope="module")
def model():
    return ScBERT(weights=FOLDER)


@pytest.fixture(scope="module")
def cells():
    """All but c3, which has no gene of the list."""
    read = ad.read_h5ad(FOLDER / "cells.h5ad")
    return read[read.obs_names != "c3"].copy()


@pytest.fixture
def folder(tmp_path):
    return Path(shutil.copytree(FOLDER, tmp_path / "scbert"))


def altered(folder: Path, change) -> None:
    content = torch.load(folder / CHECKPOINT, weights_only=True)
    change(content["model_state_dict"])
    torch.save(content, folder / CHECKPOINT)


def test_card_and_capabilities():
    capabilities = (Embedder, LayerEmbedder, GeneEmbedder, Reconstructor, FineTuner, GenePairScorer, Perturber)
    for capability in (*capabilities, Pretrained):
        assert missing_methods(ScBERT, capability) == []
    about = card(ScBERT)
    assert (about.gene_ids, about.weights_licence, len(about.revision)) == ("symbol", "GPL-3.0", 40)
    assert 'stabiliser="batch"' in about.definition


def test_the_package_itself_gives_the_same_one_cell_at_a_time(cells):
    """Independent of the golden folder: performer-pytorch as released, with its own attention."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from performer_pytorch import PerformerLM

        theirs = PerformerLM(
            num_tokens=7, max_seq_len=501, dim=32, depth=2, heads=4, rotary_position_emb=False, attn_out_bias=True
        ).eval()
    content = torch.load(FOLDER / CHECKPOINT, weights_only=True)["model_state_dict"]
    content.pop("performer.calls_since_last_redraw")
    missing, unexpected = theirs.load_state_dict(content, strict=False)
    assert unexpected == []
    assert all(name.startswith("performer.proj_updater.") for name in missing)
    ours = ScBERT(weights=FOLDER, pooling="all", batch_size=4)
    network = ours._network
    with torch.inference_mode():
        ids = network.tokens(ours.tokenise(cells))
        alone = torch.cat([theirs(row[None], return_encodings=True) for row in ids])
        together = theirs(ids, return_encodings=True)
    np.testing.assert_allclose(ours.encode(cells), alone, rtol=0, atol=5e-6)
    assert (together - alone).abs().max() > 0.01


@pytest.mark.parametrize("version", ["1.1.1", "1.1.4", "1.0.0"])
def test_another_release_of_the_package_is_refused(monkeypatch, version):
    monkeypatch.setattr(scbert_network.metadata, "version", lambda _: version)
    with pytest.raises(InvalidInputError, match=rf"performer-pytorch {version}[\s\S]*pip install performer-pytorch==1"):
        ScBERT(weights=FOLDER)


def test_the_package_has_to_be_there(monkeypatch):
    def absent(name):
        raise scbert_network.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(scbert_network.metadata, "version", absent)
    with pytest.raises(InvalidInputError, match="performer-pytorch none"):
        ScBERT(weights=FOLDER)


@settings(max_examples=4, deadline=None)
@given(st.permutations(range(11)), st.integers(1, 10), st.integers(1, 4))
def test_rows_follow_their_cells(model, cells, order, kept, batch_size):
    chosen = order[:kept]
    made = ScBERT(weights=FOLDER, batch_size=batch_size).embed(cells[chosen])
    np.testing.assert_allclose(made, model.embed(cells)[chosen], rtol=0, atol=5e-6)


def test_a_batch_matters_only_where_it_is_asked_for(cells):
    def moved(stabiliser):
        model = ScBERT(weights=FOLDER, stabiliser=stabiliser, batch_size=11)
        return np.abs(model.embed(cells[:3]) - model.embed(cells)[:3]).max()

    assert moved("batch") > 1e-3
    assert moved("cell") < 5e-6


def test_a_stabilised_batch_is_of_the_stated_cells_however_much_memory_there_is(cells):
    with pytest.raises(InvalidInputError, match="state the batch_size"):
        ScBERT(weights=FOLDER, stabiliser="batch")
    model = ScBERT(weights=FOLDER, stabiliser="batch", batch_size=4)
    together, layers = model.embed(cells), model.embed_layers(cells)[1]
    parts = np.concatenate([model.embed(cells[start : start + 4]) for start in range(0, cells.n_obs, 4)])
    np.testing.assert_allclose(parts, together, rtol=0, atol=5e-6)
    model.batch_size = 2
    np.testing.assert_array_equal(model.embed(cells), together)
    np.testing.assert_array_equal(model.embed_layers(cells)[1], layers)
    two = ScBERT(weights=FOLDER, stabiliser="batch", batch_size=2).embed(cells)
    assert np.abs(two - together).max() > 1e-3


def test_order_of_genes_and_foreign_genes_do_not_matter(model, cells):
    full = model.embed(cells)
    np.testing.assert_allclose(model.embed(cells[:, ::-1]), full, rtol=0, atol=5e-6)
    more = ad.AnnData(sparse.hstack([cells.X, np.full((cells.n_obs, 1), 50)], format="csr"), obs=cells.obs)
    more.var_names = [*cells.var_names, "NOSUCH"]
    np.testing.assert_array_equal(model.embed(more), full)


def test_bins_by_hand():
    # of 10,000 counts: log2(1 + x) of 0, 1, 3, 7, 9,988 and 1 is 0, 1, 2, 3, 13.3 and 1
    counts = sparse.csr_matrix(np.array([[0, 1, 3, 7, 9988, 1], [0, 0, 0, 0, 0, 0]], dtype=np.float32))
    values = log2_values(counts).toarray()
    np.testing.assert_allclose(values[0, :4], [0, 1, 2, 3], atol=1e-6)
    assert not values[1].any()
    places, tokens = sentences(counts, bin_num=5)[0]
    assert dict(zip(places.tolist(), tokens.tolist(), strict=True)) == {1: 1, 2: 2, 3: 3, 4: 5, 5: 1}
    assert [len(part) for part in sentences(counts, bin_num=5)[1]] == [0, 0]


def test_perturbed_by_hand():
    cell = np.array([1, 4]), np.array([2, 3])
    up = perturbed(cell, places=np.array([4, 7, 7]), effect="activation", bin_num=5)
    assert [part.tolist() for part in up] == [[1, 4, 7], [2, 5, 5]]
    down = perturbed(cell, places=np.array([4, 7]), effect="knockdown", bin_num=5)
    assert [part.tolist() for part in down] == [[1], [2]]


def test_perturbations_move_the_cells(model, cells):
    gene = next(gene for gene in cells.var_names if gene in model.genes)
    expressed = np.asarray(cells[:, gene].X.todense()).ravel() > 0
    down = np.abs(model.perturb(cells, genes=[gene], effect="knockdown") - model.embed(cells)).max(axis=1)
    assert 0 < expressed.sum() < len(expressed)
    assert (down[~expressed] < 5e-6).all()
    assert (down[expressed] > 1e-5).any()
    with pytest.raises(UnknownGeneError, match="NOSUCH"):
        model.perturb(cells, genes=["NOSUCH"], effect="activation")


def test_a_cell_without_genes_is_named(model):
    cells = ad.read_h5ad(FOLDER / "cells.h5ad")
    with pytest.raises(InvalidInputError, match="c3"):
        model.embed(cells)
    kept = ScBERT(weights=FOLDER, unread="keep").embed(cells)
    assert np.isfinite(kept).all()


def test_input_and_generators_are_left_alone(cells):
    before, state = cells.copy(), torch.get_rng_state()
    ScBERT(weights=FOLDER).embed(cells)
    assert (before.X != cells.X).nnz == 0
    assert torch.equal(state, torch.get_rng_state())


def test_lower_precision_stays_close(model, cells):
    low, full = ScBERT(weights=FOLDER, precision="bfloat16").embed(cells), model.embed(cells)
    assert not np.array_equal(low, full)
    assert np.abs(low - full).max() / np.abs(full).max() < 0.03


def test_layers_end_where_the_embedding_begins(model, cells):
    layers = model.embed_layers(cells)
    assert len(layers) == 3
    np.testing.assert_allclose(ScBERT(weights=FOLDER, layer=1).embed(cells), layers[1], rtol=0, atol=5e-6)
    assert np.abs(model.embed(cells) - layers[-1]).max() > 0.1  # the final norm


def test_vectors_of_genes(model, cells):
    genes = [model.genes[7], "NOSUCH", model.genes[2]]
    table = model.embed_genes(genes)
    raw = torch.load(FOLDER / CHECKPOINT, weights_only=True)["model_state_dict"]["pos_emb.emb.weight"].float()
    np.testing.assert_array_equal(table[[0, 2]], raw[[7, 2]])
    assert np.isnan(table[1]).all()
    made = model.encode(cells[:2], genes=genes)
    np.testing.assert_allclose(made[:, [0, 2]], model.encode(cells[:2])[:, [7, 2]], rtol=0, atol=5e-6)
    assert np.isnan(made[:, 1]).all()


def test_reconstruction_is_of_expressed_genes(model, cells):
    made = model.reconstruct_layers(cells)
    tokens = [tokens for _, tokens in model.tokenise(cells)]
    np.testing.assert_array_equal(made.target, np.concatenate(tokens))
    np.testing.assert_array_equal(np.bincount(made.cell), [len(part) for part in tokens])
    assert made.layers.shape == (3, len(made.target))
    assert made.layers.min() >= 1
    assert made.layers.max() <= 5
    few = model.reconstruct_layers(cells[[4]])
    np.testing.assert_allclose(few.layers, made.layers[:, made.cell == 4], rtol=0, atol=1e-5)


def test_attention_between_genes_is_the_explicit_kernel(model, cells, monkeypatch):
    """Against every entry computed from the features in the open, on the first block."""
    network, (cell,) = model._network, model.tokenise(cells[:1])
    block = network.blocks[0]
    with torch.inference_mode():
        hidden = next(network.hidden_layers(network.tokens([cell]), last=0))
        inner, normed = block.attention.fn, block.attention.norm(hidden)
        q, k = (project(normed)[0].unflatten(-1, (4, 64)).transpose(0, 1) for project in (inner.to_q, inner.to_k))
        scaled, P = 64**-0.25, inner.fast_attention.projection_matrix
        a, b = (scaled * x @ P.T - (scaled * x).square().sum(-1, keepdim=True) / 2 for x in (q, k))
        a = (a - (scaled * q @ P.T).amax(-1, keepdim=True)).exp() + 1e-4
        b = (b - (scaled * k @ P.T).amax()).exp() + 1e-4
        kernel = a @ b.mT
        full = (kernel / kernel.sum(dim=-1, keepdim=True)).mean(dim=0)
        monkeypatch.setattr(scbert_network, "_COLUMNS", 7)
        made = block.attention_between(hidden, torch.tensor([3, 400, *range(20)]))
    chosen = [3, 400, *range(20)]
    np.testing.assert_allclose(made, full[chosen][:, chosen], rtol=1e-4, atol=1e-7)


def test_gene_pairs(model, cells):
    genes = [*cells.var_names[:12], "NOSUCH"]
    made = model.score_gene_pairs(cells, genes=genes)
    assert made.shape == (13, 13)
    assert np.isnan(np.diag(made)).all()
    assert np.isnan(made[12]).all()
    found = made[np.isfinite(made)]
    assert len(found) > 20
    assert (found > 0).all()
    assert (found < 1).all()
    assert not np.allclose(made, made.T, equal_nan=True)


def test_it_learns_to_annotate(cells):
    labels = np.array(["a", "b"] * 5 + ["a"])
    model = ScBERT(weights=FOLDER, batch_size=4)
    table = model.embed_genes(model.genes)
    history = model.fine_tune(
        cells,
        labels=labels,
        validation=cells,
        validation_labels=labels,
        how=FineTuning(epochs=1, batch_size=4),
        seed=0,
    )
    assert history["settings"]["learning_rate"] == 1e-4
    classes, probabilities = model.predict_labels(cells)
    assert classes.tolist() == ["a", "b"]
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-6)
    np.testing.assert_array_equal(model.embed_genes(model.genes), table)  # gene2vec stays frozen


def test_random_weights_are_of_the_same_sizes(cells):
    model = ScBERT(weights=FOLDER)
    before = model.embed(cells)
    model._draw_weights(1)
    after = model.embed(cells)
    assert after.shape == before.shape
    assert np.abs(after - before).max() > 0.1


BLOCK = "performer.net.layers.1"
FAULTS = {
    r"499 genes": lambda t: t.update({"pos_emb.emb.weight": t["pos_emb.emb.weight"][1:]}),
    r"7 bins": lambda t: t.update({"token_emb.weight": torch.ones(9, 32), "to_out.weight": torch.ones(9, 32)}),
    r"to_q\.bias is unexpected": lambda t: t.update({f"{BLOCK}.0.fn.to_q.bias": torch.ones(256)}),
    r"to_out\.bias is missing": lambda t: t.pop(f"{BLOCK}.0.fn.to_out.bias"),
    r"projection_matrix has shape \(200, 64\)": lambda t: t.update(
        {f"{BLOCK}.0.fn.fast_attention.projection_matrix": torch.ones(200, 64)}
    ),
    r"proj_updater\.calls_since_last_redraw is unexpected": lambda t: t.update(
        {"performer.proj_updater.calls_since_last_redraw": torch.tensor(0)}
    ),
    r"no matrix token_emb\.weight": lambda t: t.pop("token_emb.weight"),
    r"heads=0": lambda t: t.update({"performer.net.layers.0.0.fn.to_q.weight": torch.ones(8, 32)}),
    r"to_out\.conv1\.weight is unexpected": lambda t: t.update({"to_out.conv1.weight": torch.ones(1, 1)}),
}


@pytest.mark.parametrize("said", FAULTS)
def test_a_checkpoint_that_does_not_fit_is_refused(folder, said):
    altered(folder, FAULTS[said])
    with pytest.raises(InvalidInputError, match=said):
        ScBERT(weights=folder)


@pytest.mark.parametrize("content", [{"w": torch.ones(2)}, torch.ones(2), {"model_state_dict": {"w": "text"}}])
def test_another_kind_of_checkpoint_is_refused(folder, content):
    torch.save(content, folder / CHECKPOINT)
    with pytest.raises(InvalidInputError, match=CHECKPOINT):
        ScBERT(weights=folder)


@pytest.mark.parametrize("file", [CHECKPOINT, "panglao_10000.h5ad"])
def test_cut_or_missing_files_are_refused(folder, file):
    content = (folder / file).read_bytes()
    (folder / file).write_bytes(content[: len(content) // 2])
    with pytest.raises(InvalidInputError, match=file):
        ScBERT(weights=folder)
    (folder / file).unlink()
    with pytest.raises(InvalidInputError, match=file):
        ScBERT(weights=folder)


def test_genes_are_named_once(folder):
    genes = read_genes(folder / "panglao_10000.h5ad")
    twice = ad.AnnData(np.zeros((1, len(genes)), dtype=np.float32))
    twice.var_names = [genes[0], genes[0], *genes[2:]]
    twice.write_h5ad(folder / "panglao_10000.h5ad")
    with pytest.raises(InvalidInputError, match=genes[0]):
        ScBERT(weights=folder)


def test_weights_are_not_looked_for_elsewhere(tmp_path, monkeypatch):
    monkeypatch.delenv("SCFM_EVAL_WEIGHTS", raising=False)
    monkeypatch.setenv("SCFM_EVAL_CACHE", str(tmp_path))
    assert not ScBERT.available()
    assert ScBERT.vocabulary(FOLDER) == frozenset(read_genes(FOLDER / "panglao_10000.h5ad"))
    with pytest.raises(InvalidInputError, match=r"github\.com/TencentAILabHealthcare/scBERT"):
        ScBERT()


def test_share_of_loaded_tensors_is_stated(model):
    # all but the counter of calls
    assert model.loaded_share == pytest.approx(34 / 35)
    learned = torch.load(FOLDER / CHECKPOINT, weights_only=True)["model_state_dict"]
    kinds = ("projection_matrix", "pos_emb.emb.weight", "calls_since_last_redraw")
    assert model.n_parameters == sum(value.numel() for name, value in learned.items() if not name.endswith(kinds))
