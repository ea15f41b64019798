"""What a Nicheformer embedding may depend on, and which faults are seen."""

from __future__ import annotations

import shutil
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
from scfm_eval.models.nicheformer import Nicheformer
from scfm_eval.models.nicheformer_tokens import (
    FIRST_GENE,
    N_CONTEXT,
    context_tokens,
    ranked_genes,
    read_means,
    read_order,
)
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

FOLDER = Path(__file__).parents[1] / "parity" / "nicheformer"
MEAN = "dissociated_mean_script.npy"


@pytest.fixture(scope="module")
def model():
    return Nicheformer(weights=FOLDER)


@pytest.fixture(scope="module")
def cells():
    found = ad.read_h5ad(FOLDER / "cells.h5ad")
    return found[[i for i in range(14) if i != 3]].copy()


@pytest.fixture
def folder(tmp_path):
    return Path(shutil.copytree(FOLDER, tmp_path / "nicheformer"))


def content(folder: Path) -> dict:
    return torch.load(folder / "nicheformer.ckpt", weights_only=True)


def test_card_and_capabilities():
    for capability in (
        Embedder, LayerEmbedder, GeneEmbedder, Reconstructor, GenePairScorer, FineTuner, Pretrained,
    ):  # fmt: skip
        assert missing_methods(Nicheformer, capability) == []
    about = card(Nicheformer)
    assert about.gene_ids == "ensembl"
    assert about.organisms == ("Homo sapiens",)
    assert "padded_mean" in about.definition
    assert len(about.revision) == 40
    assert not about.exceptions


@settings(max_examples=5, deadline=None)
@given(
    st.permutations(range(13)), st.integers(1, 12), st.sampled_from([1, 4]), st.sampled_from(["mean", "padded_mean"])
)
def test_rows_follow_their_cells(cells, order, kept, batch_size, pooling):
    model = Nicheformer(weights=FOLDER, batch_size=batch_size, pooling=pooling)
    full, chosen = Nicheformer(weights=FOLDER, pooling=pooling).embed(cells), order[:kept]
    np.testing.assert_allclose(model.embed(cells[chosen]), full[chosen], rtol=0, atol=1e-5)


@settings(max_examples=10, deadline=None)
@given(st.permutations(range(360)))
def test_order_of_genes_does_not_matter(cells, order):
    model = Nicheformer(weights=FOLDER, means="rounded")
    for ours, theirs in zip(model.tokenise(cells[:, order]), model.tokenise(cells), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_foreign_genes_do_not_matter(model, cells):
    more = sparse.hstack([cells.X, sparse.csr_matrix(np.full((cells.n_obs, 2), 1000.0))], format="csr")
    wide = ad.AnnData(more, obs=cells.obs, var=pd.DataFrame(index=[*cells.var_names, "ENSG1", "ENSG2"]))
    np.testing.assert_array_equal(model.embed(wide), model.embed(cells))


def test_ranks_by_hand():
    counts = sparse.csr_matrix(np.array([[4, 6, 2, 0, 3], [0, 0, 0, 5, 0]], dtype=np.float32))
    mean = np.array([2, 3, 4, 1, np.nan])
    (genes, scores), (few, _) = ranked_genes(counts, mean=mean, n_genes=4)
    # 4/2 = 6/3, so that the first in order goes first; the gene without a mean is of every cell, and last
    assert genes.tolist() == [0, 1, 2, 4]
    np.testing.assert_allclose(scores, [2e4 / 15, 2e4 / 15, 0.5e4 / 15, np.nan])
    assert few.tolist() == [3, 4]
    assert ranked_genes(counts, mean=mean, n_genes=1)[0][0].tolist() == [0]


def test_means_by_hand(tmp_path):
    np.save(tmp_path / "m.npy", np.array([0.0, np.nan, 0.4, 1.5, 2.5]))
    made = {means: read_means(tmp_path / "m.npy", n_genes=5, means=means) for means in ("filled", "rounded", "raw")}
    np.testing.assert_array_equal(made["filled"], [1, 1, 0.4, 1.5, 2.5])
    np.testing.assert_array_equal(made["rounded"], [1, 1, 1, 2, 3])
    np.testing.assert_array_equal(made["raw"], [1, np.nan, 0.4, 1.5, 2.5])


def test_the_three_tokens_in_front_have_names(cells):
    assert context_tokens(specie="human", assay="10x 3' v3", modality="dissociated").tolist() == [5, 11, 3]
    assert context_tokens(specie="mouse", assay="merfish", modality="spatial").tolist() == [6, 7, 4]
    mouse = Nicheformer(weights=FOLDER, specie="mouse", assay="smart-seq v4")
    assert all(cell[:N_CONTEXT].tolist() == [6, 18, 3] for cell in mouse.tokenise(cells))
    assert np.abs(mouse.embed(cells) - Nicheformer(weights=FOLDER).embed(cells)).max() > 1e-3


@pytest.mark.parametrize("wrong", [{"specie": "fly"}, {"assay": "visium"}, {"modality": "bulk"}])
def test_a_name_without_token_is_refused(wrong):
    with pytest.raises(InvalidInputError, match=f"{next(iter(wrong))}=") as told:
        Nicheformer(weights=FOLDER, **wrong)
    assert "take one of" in told.value.remedy


def test_the_mean_of_spatial_cells_is_that_of_their_assay(folder, cells):
    with pytest.raises(InvalidInputError, match=r"merfish_mean_script\.npy"):
        Nicheformer(weights=folder, assay="merfish", modality="spatial")
    np.save(folder / "merfish_mean_script.npy", np.ones(400))
    spatial = Nicheformer(weights=folder, assay="merfish", modality="spatial")
    assert spatial.technology == "merfish"
    assert [file.name for file in Nicheformer.sources(folder)][2:] == [MEAN, "merfish_mean_script.npy"]
    chosen = Nicheformer(weights=folder, assay="merfish", modality="spatial", technology="dissociated")
    assert np.abs(spatial.embed(cells) - chosen.embed(cells)).max() > 1e-3


def test_context_counts_only_where_it_is_asked_for(model, cells):
    with_context = Nicheformer(weights=FOLDER, with_context=True).embed(cells)
    assert np.abs(with_context - model.embed(cells)).max() > 1e-3


def test_a_cell_without_genes_is_named_or_kept(model, cells):
    counts = cells.X.toarray()
    counts[4] = 0
    empty = ad.AnnData(sparse.csr_matrix(counts), obs=cells.obs, var=cells.var)
    with pytest.raises(InvalidInputError, match=cells.obs_names[4]):
        model.embed(empty)
    kept = Nicheformer(weights=FOLDER, unread="keep").embed(empty)
    assert not kept[4].any()
    rest = [i for i in range(cells.n_obs) if i != 4]
    np.testing.assert_allclose(kept[rest], model.embed(cells)[rest], rtol=0, atol=1e-5)


def test_where_upstream_adds_genes_to_every_cell_an_empty_one_is_refused_all_the_same(cells):
    nothing = ad.AnnData(sparse.csr_matrix((1, 360), dtype=np.float32), var=cells.var)
    with pytest.raises(InvalidInputError, match="without any gene"):
        Nicheformer(weights=FOLDER, means="raw").embed(nothing)


def test_input_is_left_alone_and_columns_of_one_gene_are_refused(model, cells):
    before = cells.copy()
    model.embed(cells)
    assert (before.X != cells.X).nnz == 0
    pd.testing.assert_frame_equal(before.var, cells.var)
    twice = cells.copy()
    known = [gene for gene in cells.var_names if gene in model.genes][:2]
    twice.var["ensembl_id"] = [known[0] if gene == known[1] else gene for gene in cells.var_names]
    with pytest.raises(InvalidInputError, match=f"several columns for {known[0]}"):
        model.embed(twice)


def test_lower_precision_stays_close(model, cells):
    low = Nicheformer(weights=FOLDER, precision="bfloat16").embed(cells)
    assert np.abs(low - model.embed(cells)).max() < 0.05


def test_gene_vectors_are_those_of_the_tokens(model):
    table = content(FOLDER)["state_dict"]["embeddings.weight"].numpy()
    made = model.embed_genes([model.genes[7], "ENSG1", model.genes[0]])
    np.testing.assert_array_equal(made[[0, 2]], table[[FIRST_GENE + 7, FIRST_GENE]])
    assert np.isnan(made[1]).all()


def test_reconstruction_follows_its_cells(model, cells):
    some = [7, 2, 11]
    full, few = model.reconstruct_layers(cells), model.reconstruct_layers(cells[some])
    assert full.layers.shape == (4, len(full.target))
    assert ((full.layers >= 0) & (full.layers <= 1)).all()
    for row, origin in enumerate(some):
        np.testing.assert_array_equal(few.target[few.cell == row], full.target[full.cell == origin])
        np.testing.assert_allclose(
            few.layers[:, few.cell == row], full.layers[:, full.cell == origin], rtol=0, atol=1e-5
        )


def test_a_head_that_names_its_own_gene_gives_the_ranks_back(folder, cells):
    told = content(folder)
    table = told["state_dict"]["embeddings.weight"]
    told["state_dict"]["positional_embedding.weight"].zero_()
    # a far and long vector for each token, which the head finds again
    table[:] = torch.nn.functional.normalize(torch.randn(table.shape, generator=torch.Generator().manual_seed(0))) * 20
    told["state_dict"]["classifier_head.weight"] = table[:430].clone()
    torch.save(told, folder / "nicheformer.ckpt")
    made = Nicheformer(weights=folder).reconstruct_layers(cells)
    np.testing.assert_allclose(made.layers[0], made.target, rtol=0, atol=0.01)


def test_gene_pairs_are_the_attention_between_their_tokens(model, cells):
    read = model.tokenise(cells[[0]])[0]
    genes = [model.genes[token - FIRST_GENE] for token in read[[5, 9]]]
    absent = next(gene for gene, token in zip(model.genes, range(30, 430), strict=True) if token not in read)
    made = model.score_gene_pairs(cells[[0]], genes=[*genes, absent, "ENSG1"])
    attention = model._network.attention([read])[0].detach().numpy()
    np.testing.assert_allclose([made[0, 1], made[1, 0]], [attention[9, 5], attention[5, 9]], atol=1e-6)
    assert np.isnan(np.diag(made)).all()
    assert np.isnan(made[2:]).all()
    np.testing.assert_allclose(attention.sum(axis=1), 1, atol=1e-5)
    many = model.score_gene_pairs(cells, genes=genes)
    swapped = model.score_gene_pairs(cells[::-1], genes=genes[::-1])
    np.testing.assert_allclose(many, swapped[::-1, ::-1], atol=1e-6)


@pytest.mark.parametrize("mode", ["full", "head", "last", "adapter"])
def test_it_can_be_fine_tuned(cells, mode):
    model = Nicheformer(weights=FOLDER)
    before = model.embed(cells)
    labels = np.array(["a", "b"])[np.arange(13) % 2]
    how = FineTuning(mode=mode, n_blocks=1, epochs=2, batch_size=4, learning_rate=1e-2)
    told = model.fine_tune(cells, labels=labels, validation=cells, validation_labels=labels, how=how, seed=0)
    classes, probabilities = model.predict_labels(cells)
    assert classes.tolist() == ["a", "b"]
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-5)
    assert told["encoder_parameters"] < model.n_parameters
    if mode == "head":
        np.testing.assert_array_equal(model.embed(cells), before)


def test_what_lora_adds_is_not_passed_by(cells):
    from peft import LoraConfig, inject_adapter_in_model

    network = Nicheformer(weights=FOLDER)._network
    names = ["self_attn.out_proj", "linear1", "linear2"]
    inject_adapter_in_model(LoraConfig(r=1, target_modules=names), network)
    read = Nicheformer(weights=FOLDER).tokenise(cells)[:2]

    def pooled():
        with torch.inference_mode():
            return network.pooled_layers(read, pooling="mean", with_context=False, layers=[3])[0].clone()

    for part in ("out_proj", "linear1", "linear2"):
        before = pooled()
        with torch.no_grad():
            for name, value in network.named_parameters():
                if f"{part}.lora_B" in name:
                    value.normal_(generator=torch.Generator().manual_seed(0))
        assert (pooled() - before).abs().max() > 1e-4, part


def test_random_weights_are_drawn_anew(cells):
    one, two = Nicheformer(weights=FOLDER), Nicheformer(weights=FOLDER)
    one._draw_weights(0)
    two._draw_weights(0)
    np.testing.assert_array_equal(one.embed(cells), two.embed(cells))
    assert np.abs(one.embed(cells) - Nicheformer(weights=FOLDER).embed(cells)).max() > 1e-2


def _saved(folder, change):
    told = content(folder)
    change(told["state_dict"], told["hyper_parameters"])
    torch.save(told, folder / "nicheformer.ckpt")


LAYER = "encoder.layers.0"
FAULTS = {
    r"layers\.0\.linear1\.weight is missing": lambda t, _: t.pop(f"{LAYER}.linear1.weight"),
    r"adapter\.weight is unexpected": lambda t, _: t.update({"adapter.weight": torch.ones(2)}),
    r"positional_embedding\.weight has shape \(99, 32\)": lambda t, _: t.update(
        {"positional_embedding.weight": torch.ones(99, 32)}
    ),
    r"embeddings\.weight has shape \(435, 32\), not \(435, 64\)": lambda _, h: h.update(dim_model=64),
    "for dim_feedforward None": lambda _, h: h.pop("dim_feedforward"),
    "settings without learnable_pe": lambda _, h: h.update(learnable_pe=False),
    "settings without specie, assay": lambda _, h: h.update(specie=False, assay=False),
    "431 tokens": lambda _, h: h.update(n_tokens=431),
    "a network of the settings": lambda _, h: h.update(nheads=5),
}


@pytest.mark.parametrize("said", FAULTS)
def test_a_checkpoint_that_does_not_fit_is_refused(folder, said):
    _saved(folder, FAULTS[said])
    with pytest.raises(InvalidInputError, match=said):
        Nicheformer(weights=folder)


def test_an_order_of_another_length_is_refused(folder):
    order = ad.read_h5ad(folder / "model.h5ad")
    order[:, :-1].copy().write_h5ad(folder / "model.h5ad")
    np.save(folder / MEAN, np.load(folder / MEAN)[:-1])
    with pytest.raises(InvalidInputError, match="a checkpoint for 399 genes"):
        Nicheformer(weights=folder)


@pytest.mark.parametrize(
    "mean", [np.ones(399), np.full(400, -1.0), np.full(400, np.inf), np.ones(400, dtype=int), np.array(["a"] * 400)]
)
def test_means_that_do_not_fit_are_refused(folder, mean):
    np.save(folder / MEAN, mean)
    with pytest.raises(InvalidInputError, match="for each of 400 genes"):
        Nicheformer(weights=folder)


class _Bomb:
    def __reduce__(self):
        return (print, ("it was executed",))


def test_code_in_a_file_is_never_executed(folder, capsys):
    np.save(folder / MEAN, np.array([_Bomb()], dtype=object), allow_pickle=True)
    with pytest.raises(InvalidInputError, match=MEAN):
        Nicheformer(weights=folder)
    shutil.copy(FOLDER / MEAN, folder)
    torch.save({"state_dict": {}, "hyper_parameters": _Bomb()}, folder / "nicheformer.ckpt")
    with pytest.raises(InvalidInputError, match=r"nicheformer\.ckpt"):
        Nicheformer(weights=folder)
    assert "it was executed" not in capsys.readouterr().out


@pytest.mark.parametrize("file", ["nicheformer.ckpt", "model.h5ad", MEAN])
def test_a_file_that_is_cut_short_or_absent_is_named(folder, file):
    path = folder / file
    path.write_bytes(path.read_bytes()[:1500])
    with pytest.raises(InvalidInputError, match=file):
        Nicheformer(weights=folder)
    path.unlink()
    with pytest.raises(InvalidInputError, match=file):
        Nicheformer(weights=folder)


def test_a_checkpoint_without_settings_is_refused(folder):
    torch.save(content(folder)["state_dict"], folder / "nicheformer.ckpt")
    with pytest.raises(InvalidInputError, match="no state_dict with hyper_parameters"):
        Nicheformer(weights=folder)


def test_an_altered_file_has_another_hash(folder, model):
    _saved(folder, lambda t, _: t["classifier_head.bias"].add_(1.0))
    assert Nicheformer(weights=folder).weights_sha256 != model.weights_sha256


def test_without_weights_the_page_that_has_them_is_named(monkeypatch, tmp_path):
    monkeypatch.setenv("SCFM_EVAL_CACHE", str(tmp_path))
    monkeypatch.delenv("SCFM_EVAL_WEIGHTS", raising=False)
    assert not Nicheformer.available()
    with pytest.raises(InvalidInputError, match=r"data\.mendeley\.com"):
        Nicheformer.locate()


def test_the_published_order_and_means_are_read(real_data):
    folder = real_data.parent / "vocab" / "nicheformer"
    if not folder.is_dir():
        pytest.skip(f"no published vocabulary in {folder}")
    genes = read_order(folder / "model.h5ad")
    assert len(genes) == card(Nicheformer).published_genes
    assert sum(gene.startswith("ENSMUSG") for gene in genes) == 151
    raw = read_means(folder / MEAN, n_genes=len(genes), means="raw")
    assert np.isnan(raw).sum() == 60
    assert (read_means(folder / MEAN, n_genes=len(genes), means="filled")[np.isnan(raw)] == 1).all()
    cells = ad.read_h5ad(real_data / "heart.h5ad", backed="r")
    assert len(set(genes) & set(cells.var_names)) > 18_000
