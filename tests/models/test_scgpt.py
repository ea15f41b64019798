"""What a scGPT embedding may depend on, and which faults are seen."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from scipy import sparse

from scfm_eval.errors import InvalidInputError
from scfm_eval.models.card import card
from scfm_eval.models.protocols import (
    Embedder,
    GeneEmbedder,
    GenePairScorer,
    LayerEmbedder,
    Perturber,
    Pretrained,
    Reconstructor,
    missing_methods,
)
from scfm_eval.models.scgpt import ScGPT
from scfm_eval.models.scgpt_network import read_sizes
from scfm_eval.models.scgpt_tokens import bin_values, perturbed, read_vocabulary

FOLDER = Path(__file__).parents[1] / "parity" / "scgpt"


@pytest.fixture(scope="module")
def model():
    return ScGPT(weights=FOLDER)


@pytest.fixture(scope="module")
def cells():
    return ad.read_h5ad(FOLDER / "cells.h5ad")


@pytest.fixture
def folder(tmp_path):
    return Path(shutil.copytree(FOLDER, tmp_path / "scgpt"))


def state(folder: Path) -> dict[str, torch.Tensor]:
    return torch.load(folder / "best_model.pt", weights_only=True)


def _numpy_state() -> np.ndarray:
    return np.random.get_state()[1].copy()  # noqa: NPY002


def test_card_and_capabilities():
    for capability in (Embedder, LayerEmbedder, GeneEmbedder, GenePairScorer, Reconstructor, Perturber, Pretrained):
        assert missing_methods(ScGPT, capability) == []
    assert card(ScGPT).gene_ids == "symbol"
    assert len(card(ScGPT).revision) == 40


def test_bins_by_hand():
    # all 50 edges equal the only value, so any bin from 0 to 50 may be drawn
    same = np.full(3, 7, dtype=np.float32)
    assert [bin_values(same, draw).tolist() for draw in (0.0, 0.5, 0.999)] == [[50] * 3, [25] * 3, [1] * 3]
    # of a hundred ones and a two, 49 edges equal 1 and the last equals 2
    made = bin_values(np.array([1.0] * 100 + [2.0], dtype=np.float32), 0.5)
    np.testing.assert_array_equal(made, [25] * 100 + [50])


@settings(max_examples=5, deadline=None)
@given(st.permutations(range(20)), st.integers(1, 19), st.sampled_from(["midpoint", "random"]))
def test_rows_follow_their_cells(cells, order, kept, binning):
    model = ScGPT(weights=FOLDER, binning=binning, max_length=60)
    full, chosen = model.embed(cells), order[:kept]
    np.testing.assert_allclose(model.embed(cells[chosen]), full[chosen], rtol=0, atol=1e-5)


@pytest.mark.parametrize("binning", ["midpoint", "random"])
def test_order_of_genes_does_not_matter(cells, binning):
    model = ScGPT(weights=FOLDER, binning=binning, max_length=60)
    np.testing.assert_allclose(model.embed(cells[:, ::-1]), model.embed(cells), rtol=0, atol=1e-5)


def test_long_cells_are_sampled_after_binning(model, cells):
    full, cut = model.tokenise(cells), ScGPT(weights=FOLDER, max_length=60).tokenise(cells)
    assert max(len(tokens) for tokens, _ in cut) == 60
    for (tokens, values), (few, kept) in zip(full, cut, strict=True):
        assert few[0] == model.tokens["<cls>"]
        assert kept[0] == -2
        bins = dict(zip(tokens.tolist(), values.tolist(), strict=True))
        assert len(set(few.tolist())) == len(few) == min(60, len(tokens))
        assert all(bins[token] == value for token, value in zip(few.tolist(), kept.tolist(), strict=True))
    again = ScGPT(weights=FOLDER, max_length=60, seed=1).tokenise(cells)
    assert any(set(a[0].tolist()) != set(b[0].tolist()) for a, b in zip(cut, again, strict=True))


def test_seed_moves_random_bins_only(model, cells):
    one, two = (ScGPT(weights=FOLDER, binning="random", seed=seed).embed(cells) for seed in (1, 2))
    assert np.abs(one - two).max() > 1e-3
    np.testing.assert_array_equal(ScGPT(weights=FOLDER, seed=5).embed(cells), model.embed(cells))


def test_rows_have_unit_length(model, cells):
    np.testing.assert_allclose(np.linalg.norm(model.embed(cells), axis=1), 1, atol=1e-6)


def test_input_and_generators_are_left_alone(cells):
    before, torch_state, numpy_state = cells.copy(), torch.get_rng_state(), _numpy_state()
    ScGPT(weights=FOLDER, binning="random").embed(cells)
    assert (before.X != cells.X).nnz == 0
    np.testing.assert_array_equal(before.X.indices, cells.X.indices)
    pd.testing.assert_frame_equal(before.var, cells.var)
    assert torch.equal(torch_state, torch.get_rng_state())
    np.testing.assert_array_equal(numpy_state, _numpy_state())


def test_a_cell_without_genes_is_named(model, cells):
    counts = cells.X.toarray()
    counts[4] = 0
    with pytest.raises(InvalidInputError, match="c4"):
        model.embed(ad.AnnData(sparse.csr_matrix(counts), obs=cells.obs, var=cells.var))


def test_var_names_are_read_where_there_is_no_column(model, cells):
    bare = cells.copy()
    bare.var_names = bare.var["feature_name"].astype(str)
    del bare.var["feature_name"]
    np.testing.assert_array_equal(model.embed(bare), model.embed(cells))


def test_lower_precision_stays_close(model, cells):
    low = ScGPT(weights=FOLDER, precision="bfloat16").embed(cells)
    assert not np.array_equal(low, model.embed(cells))
    assert np.abs(low - model.embed(cells)).max() < 0.05


def test_the_published_vocabulary_and_length_are_read(real_data):
    folder = real_data.parent / "vocab" / "scgpt_human"
    if not folder.exists():
        pytest.skip("no published vocabulary here")
    tokens = read_vocabulary(folder / "vocab.json")
    assert sorted(tokens.values()) == list(range(60_697))
    assert read_sizes(folder / "args.json") == {"width": 512, "n_heads": 8, "d_hid": 512, "n_layers": 12}


def test_vocabulary_has_no_special_tokens():
    words = ScGPT.vocabulary(FOLDER)
    assert len(words) == 500
    assert not any(word.startswith("<") for word in words)


LAYOUTS = {
    "torch names": lambda name: name.replace("Wqkv.", "in_proj_"),
    "nested flash attention": lambda name: name.replace("self_attn.", "self_attn._impl."),
    "published on the hub": lambda name: (
        name.replace("Wqkv.", "in_proj_")
        .replace("transformer_encoder.", "transformer.")
        .replace("decoder.fc", "expr_decoder.fc")
    ),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_other_layouts_are_read(folder, model, cells, layout):
    tensors = {LAYOUTS[layout](name): value for name, value in state(folder).items()}
    if layout == "published on the hub":
        tensors = {name.replace("encoder.e", "gene_encoder.e", 1): value for name, value in tensors.items()}
        tensors = {name: value for name, value in tensors.items() if not name.startswith(("cls_dec", "mvc_dec"))}
        said = json.loads((folder / "args.json").read_text())
        said["nhead"] = said.pop("nheads")
        (folder / "config.json").write_text(json.dumps(said))
        save_file({name: value.contiguous() for name, value in tensors.items()}, folder / "model.safetensors")
        (folder / "best_model.pt").unlink()
    else:
        torch.save(tensors, folder / "best_model.pt")
    other = ScGPT(weights=folder)
    assert other.n_parameters == model.n_parameters
    np.testing.assert_array_equal(other.embed(cells), model.embed(cells))


@pytest.mark.parametrize(
    ("weights", "settings"), [("model.safetensors", "config.json"), ("model.safetensors", "args.json")]
)
def test_safetensors_are_read_beside_either_settings(folder, model, cells, weights, settings):
    save_file({name: value.contiguous() for name, value in state(folder).items()}, folder / weights)
    (folder / "best_model.pt").unlink()
    (folder / "args.json").rename(folder / settings)
    other = ScGPT(weights=folder)
    assert [file.name for file in ScGPT.sources(folder)] == [weights, settings, "vocab.json"]
    np.testing.assert_array_equal(other.embed(cells), model.embed(cells))


LAYER = "transformer_encoder.layers.0.self_attn"
FAULTS = {
    r"layers\.0\.self_attn\.in_proj_weight is missing": lambda t: t.pop(f"{LAYER}.Wqkv.weight"),
    r"decoder\.fc\.2\.bias is missing": lambda t: t.pop("decoder.fc.2.bias"),
    r"dsbn\.weight is unexpected": lambda t: t.update({"dsbn.weight": torch.ones(2)}),
    r"out_proj\.bias has shape \(63,\), not \(64,\)": lambda t: t.update({f"{LAYER}.out_proj.bias": torch.ones(63)}),
    r"in_proj_bias twice": lambda t: t.update({f"{LAYER}.in_proj_bias": torch.ones(192)}),
}


@pytest.mark.parametrize("said", FAULTS)
def test_a_checkpoint_that_does_not_fit_is_refused(folder, said):
    tensors = dict(state(folder))
    FAULTS[said](tensors)
    torch.save(tensors, folder / "best_model.pt")
    with pytest.raises(InvalidInputError, match=said):
        ScGPT(weights=folder)


def test_sizes_that_are_not_stated_are_named(folder):
    (folder / "args.json").write_text('{"embsize": 64}')
    with pytest.raises(InvalidInputError, match="nheads None, d_hid None, nlayers None"):
        ScGPT(weights=folder)


def test_a_vocabulary_without_cls_is_refused(folder):
    (folder / "vocab.json").write_text('{"A": 0, "<pad>": 1}')
    with pytest.raises(InvalidInputError, match="<cls>"):
        ScGPT(weights=folder)


def test_a_missing_vocabulary_is_not_available_offline(folder, monkeypatch, tmp_path):
    monkeypatch.setenv("SCFM_EVAL_CACHE", str(tmp_path / "cache"))
    assert ScGPT.available(folder)
    (folder / "vocab.json").unlink()
    assert not ScGPT.available(folder)
    with pytest.raises(InvalidInputError, match=r"vocab\.json"):
        ScGPT(weights=folder, offline=True)


def test_real_vocabulary_reads_most_of_pbmc3k(real_data):
    folder = real_data.parent / "vocab" / "scgpt_human"
    if not folder.is_dir():
        pytest.skip(f"no real vocabulary in {folder}")
    words = ScGPT.vocabulary(folder)
    pbmc = ad.read_h5ad(real_data / "pbmc3k.h5ad", backed="r")
    assert len(words) == 60694
    assert len(words & set(pbmc.var_names)) > 25_000


def test_perturbed_sentences_by_hand():
    cell = np.array([1, 7, 8, 9]), np.array([-2, 10, 20, 30], dtype=np.float32)

    def done(token, effect, max_length=6):
        tokens, values = perturbed(cell, token=np.array(token), effect=effect, max_length=max_length)
        return dict(zip(tokens.tolist(), values.tolist(), strict=True))

    assert done([8, 5], "knockdown") == {1: -2, 7: 10, 8: 0, 9: 30}
    assert done([8, 5], "activation") == {1: -2, 7: 10, 8: 50, 9: 30, 5: 50}
    # no room: the last gene that is not activated itself makes way
    assert done([9, 5, 5], "activation", max_length=4) == {1: -2, 7: 10, 9: 50, 5: 50}
    assert cell[1].tolist() == [-2, 10, 20, 30]


def test_perturbations_move_the_cells_that_they_concern(model, cells):
    gene = cells.var["feature_name"].iloc[30]
    expressed = cells.X[:, 30].toarray().ravel() > 0
    assert 0 < expressed.sum() < len(expressed)
    before, down = model.embed(cells), model.perturb(cells, genes=[gene], effect="knockdown")
    np.testing.assert_array_equal(np.abs(down - before).max(axis=1) > 1e-4, expressed)
    up = model.perturb(cells, genes=[gene], effect="activation")
    assert (np.abs(up - before).max(axis=1) > 1e-6).all()
    np.testing.assert_allclose(np.linalg.norm(up, axis=1), 1, atol=1e-6)


@pytest.mark.parametrize("effect", ["activation", "knockdown"])
def test_an_unknown_gene_cannot_be_perturbed(model, cells, effect):
    with pytest.raises(InvalidInputError, match="NOSUCH"):
        model.perturb(cells, genes=["NOSUCH"], effect=effect)


def test_gene_vectors_are_the_normalised_embedding(model, folder):
    raw = state(folder)
    genes = list(model.tokens)[:3]
    made = model.embed_genes([*genes, "NOSUCH"])
    assert np.isnan(made[3]).all()
    rows = raw["encoder.embedding.weight"][[model.tokens[gene] for gene in genes]].numpy()
    centred = rows - rows.mean(axis=1, keepdims=True)
    unit = centred / np.sqrt((centred**2).mean(axis=1, keepdims=True) + 1e-5)
    expected = unit * raw["encoder.enc_norm.weight"].numpy() + raw["encoder.enc_norm.bias"].numpy()
    np.testing.assert_allclose(made[:3], expected, rtol=0, atol=1e-5)


def test_reconstruction_follows_its_cells(cells):
    model, some = ScGPT(weights=FOLDER, max_length=60), [7, 2, 11]
    full, few = model.reconstruct_layers(cells), model.reconstruct_layers(cells[some])
    assert full.layers.shape == (len(model.embed_layers(cells[:3])), len(full.target))
    for row, origin in enumerate(some):
        np.testing.assert_array_equal(few.target[few.cell == row], full.target[full.cell == origin])
        np.testing.assert_allclose(
            few.layers[:, few.cell == row], full.layers[:, full.cell == origin], rtol=0, atol=1e-5
        )


def test_gene_pairs_are_the_mean_attention_of_all_blocks(model, cells):
    largest = cells[np.argsort(-cells.X.getnnz(axis=1))[:2]]
    read, network = model.tokenise(largest), model._network
    genes = sorted(set(read[0][0][1:].tolist()) & set(read[1][0][1:].tolist()))[:4]
    name = {token: gene for gene, token in model.tokens.items()}
    made = model.score_gene_pairs(largest, genes=[*(name[token] for token in genes), "NOSUCH"])
    expected = np.zeros((4, 4))
    for tokens, values in read:
        with torch.inference_mode():
            hidden = network.encoder(torch.from_numpy(tokens)) + network.value_encoder(torch.from_numpy(values)[None])
            place = [tokens.tolist().index(token) for token in genes]
            for block in network.blocks:
                _, paid = block.self_attn(hidden, hidden, hidden, need_weights=True)
                expected += paid[0].numpy()[np.ix_(place, place)].T / len(network.blocks) / 2
                hidden = block(hidden)
    off = ~np.eye(4, dtype=bool)
    np.testing.assert_allclose(made[:4, :4][off], expected[off], atol=1e-6, rtol=0)
    assert np.isnan(np.diag(made)).all()
    assert np.isnan(made[4]).all()
    assert not np.allclose(made, made.T, equal_nan=True)


def test_gene_pairs_do_not_depend_on_batches(model, cells):
    genes = [gene for gene in cells.var_names if gene in model.tokens][:40]
    made = model.score_gene_pairs(cells, genes=genes)
    assert np.isfinite(made).sum() > 20
    other = ScGPT(weights=FOLDER, batch_size=7).score_gene_pairs(cells[::-1], genes=genes[::-1])
    np.testing.assert_allclose(other[::-1, ::-1], made, atol=1e-6, rtol=0)


def test_share_of_loaded_tensors_is_stated(model, folder):
    assert model.loaded_share == 1 - len(model.unused_tensors) / len(state(folder))


@pytest.mark.parametrize(
    ("name", "value"), [("n_bins", 101), ("input_emb_style", "category"), ("input_style", "log1p")]
)
def test_a_checkpoint_that_reads_cells_in_another_way_is_refused(tmp_path, name, value):
    folder = Path(shutil.copytree(FOLDER, tmp_path / "other"))
    said = json.loads((folder / "args.json").read_text())
    (folder / "args.json").write_text(json.dumps(said | {name: value}))
    with pytest.raises(InvalidInputError, match=name):
        ScGPT(weights=folder)
