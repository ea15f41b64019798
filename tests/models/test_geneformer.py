"""What a Geneformer embedding may depend on, and which faults are seen."""

from __future__ import annotations

import json
import pickle
import shutil
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from scipy import sparse

from scfm_eval.errors import InvalidInputError
from scfm_eval.models.card import card
from scfm_eval.models.geneformer import Geneformer, GeneformerV1
from scfm_eval.models.geneformer_network import Batch, bert, expected_ranks
from scfm_eval.models.geneformer_tokens import GeneDictionaries, perturbed, rank_genes, sentences
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

PARITY = Path(__file__).parents[1] / "parity"


@pytest.fixture(scope="module")
def v2():
    return Geneformer(weights=PARITY / "geneformer_v2")


@pytest.fixture(scope="module")
def cells():
    return ad.read_h5ad(PARITY / "geneformer_v2" / "cells.h5ad")


@pytest.fixture
def folder(tmp_path):
    return Path(shutil.copytree(PARITY / "geneformer_v2", tmp_path / "v2"))


def _numpy_state() -> np.ndarray:
    return np.random.get_state()[1].copy()  # noqa: NPY002


def test_card_and_capabilities():
    for capability in (Embedder, LayerEmbedder, GeneEmbedder, GenePairScorer, Reconstructor, Perturber, Pretrained):
        assert missing_methods(Geneformer, capability) == []
    assert card(Geneformer).name == "geneformer"
    assert len(card(Geneformer).revision) == 40
    assert card(GeneformerV1).citation == "10.1038/s41586-023-06139-9"


def test_ranking_by_hand():
    # gene values 4/2, 3/1, 2/1 (two columns 1 + 1), 2/1: ties by token; token -1 is not read
    counts = sparse.csr_matrix(np.array([[4, 3, 1, 9, 1, 2], [0, 0, 5, 7, 0, 0]], dtype=np.float32))
    token, median = np.array([8, 5, 7, -1, 7, 6]), np.array([2.0, 1, 1, 1, 1, 1])
    first, second = rank_genes(counts, token=token, median=median)
    assert first.tolist() == [5, 6, 7, 8]
    assert second.tolist() == [7]


def test_sentences_are_cut_between_the_special_tokens():
    ranked = [np.array([10, 11, 12, 13]), np.array([14])]
    assert [s.tolist() for s in sentences(ranked, length=4, special=(2, 3), names=["a", "b"])] == [
        [2, 10, 11, 3],
        [2, 14, 3],
    ]
    assert [s.tolist() for s in sentences(ranked, length=3, special=(), names=["a", "b"])] == [[10, 11, 12], [14]]


def test_versions_and_case_of_ids_do_not_matter(v2, cells):
    plain = v2.tokenise(cells)
    renamed = cells.copy()
    renamed.var["ensembl_id"] = [f"{gene.lower()}.7" for gene in cells.var["ensembl_id"]]
    for a, b in zip(plain, v2.tokenise(renamed), strict=True):
        np.testing.assert_array_equal(a, b)


def test_var_names_are_read_where_there_is_no_column(v2, cells):
    bare = cells.copy()
    bare.var_names = bare.var["ensembl_id"].astype(str)
    del bare.var["ensembl_id"]
    for a, b in zip(v2.tokenise(cells), v2.tokenise(bare), strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_dotted_symbol_keeps_its_end():
    genes = GeneDictionaries(token={"G": 7}, median={"G": 2.0}, mapping={"RP11-3.2": "G", "ENSG1": "G"}, files=())
    token, median = genes.columns(["RP11-3.2", "rp11-3.2", "ENSG1.9", "RP11-3"])
    assert token.tolist() == [7, 7, 7, -1]
    assert median.tolist() == [2, 2, 2, 1]


@settings(max_examples=5, deadline=None)
@given(st.permutations(range(18)), st.integers(1, 17))
def test_rows_follow_their_cells(v2, cells, order, kept):
    full = v2.embed(cells)
    chosen = order[:kept]
    np.testing.assert_allclose(v2.embed(cells[chosen]), full[chosen], rtol=0, atol=1e-5)


@settings(max_examples=3, deadline=None)
@given(st.randoms(use_true_random=False))
def test_order_of_genes_does_not_matter(v2, cells, random):
    order = random.sample(range(cells.n_vars), cells.n_vars)
    for a, b in zip(v2.tokenise(cells), v2.tokenise(cells[:, order]), strict=True):
        np.testing.assert_array_equal(a, b)


def test_the_scale_of_a_cell_does_not_matter(v2, cells):
    doubled = cells.copy()
    doubled.X = doubled.X * 4
    for a, b in zip(v2.tokenise(cells), v2.tokenise(doubled), strict=True):
        np.testing.assert_array_equal(a, b)


def test_input_and_generators_are_left_alone(cells):
    before, state, numpy_state = cells.copy(), torch.get_rng_state(), _numpy_state()
    Geneformer(weights=PARITY / "geneformer_v2").embed(cells)
    assert (before.X != cells.X).nnz == 0
    np.testing.assert_array_equal(before.X.indices, cells.X.indices)
    pd.testing.assert_frame_equal(before.obs, cells.obs)
    pd.testing.assert_frame_equal(before.var, cells.var)
    assert torch.equal(state, torch.get_rng_state())
    np.testing.assert_array_equal(numpy_state, _numpy_state())


def test_a_cell_without_genes_is_named(v2, cells):
    counts = cells.X.toarray()
    counts[4] = 0
    empty = ad.AnnData(sparse.csr_matrix(counts), obs=cells.obs, var=cells.var)
    with pytest.raises(InvalidInputError, match="c4"):
        v2.embed(empty)


def test_explicit_zeros_are_no_genes(v2, cells):
    stored = cells.copy()
    stored.X.data[::3] = 0
    clean = stored.copy()
    clean.X.eliminate_zeros()
    for a, b in zip(v2.tokenise(stored), v2.tokenise(clean), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_lower_precision_stays_close(cells, precision):
    full = Geneformer(weights=PARITY / "geneformer_v2").embed(cells)
    low = Geneformer(weights=PARITY / "geneformer_v2", precision=precision).embed(cells)
    assert low.dtype == np.float32
    assert not np.array_equal(full, low)
    assert np.abs(full - low).max() < 0.1 * np.abs(full).max()


def test_release_layout(tmp_path):
    variant, genes = tmp_path / "Geneformer-V2-104M", tmp_path / "geneformer"
    shutil.copytree(PARITY / "geneformer_v2", variant)
    genes.mkdir()
    for file in variant.glob("*.pkl"):
        file.rename(genes / file.name)
    (tmp_path / "config.json").write_text("{}")  # the root of the release holds another variant
    for given_folder in (tmp_path, variant):
        assert Geneformer.available(given_folder)
        assert Geneformer(weights=given_folder).n_parameters == 87910
        assert len(Geneformer.vocabulary(given_folder)) > 400


def test_vocabulary_is_what_can_be_tokenised(v2, cells):
    words = Geneformer.vocabulary(PARITY / "geneformer_v2")
    token, _ = v2.genes.columns(list(cells.var["ensembl_id"]))
    assert {gene for gene, t in zip(cells.var["ensembl_id"], token, strict=True) if t >= 0} == words & set(
        cells.var["ensembl_id"]
    )
    assert (token < 0).sum() > 0


def test_v1_has_no_cls():
    with pytest.raises(InvalidInputError, match="V1"):
        Geneformer(weights=PARITY / "geneformer_v1", pooling="cls")


def test_a_layer_that_is_not_there_is_refused():
    with pytest.raises(InvalidInputError, match="layer 4"):
        Geneformer(weights=PARITY / "geneformer_v2", layer=4)


FAULTS = {
    r"cls\.predictions\.bias is missing": lambda t: t.pop("cls.predictions.bias"),
    r"classifier\.weight is unexpected": lambda t: t.update({"classifier.weight": torch.ones(2, 48)}),
    r"bert\.embeddings\.LayerNorm\.bias has shape \(47,\)": lambda t: t.update(
        {"bert.embeddings.LayerNorm.bias": torch.ones(47)}
    ),
    r"decoder\.weight differs from": lambda t: t.update({"cls.predictions.decoder.weight": torch.ones(454, 48)}),
}


@pytest.mark.parametrize("said", FAULTS)
def test_a_checkpoint_that_does_not_fit_is_refused(folder, said):
    tensors = load_file(folder / "model.safetensors")
    FAULTS[said](tensors)
    save_file(tensors, folder / "model.safetensors")
    with pytest.raises(InvalidInputError, match=said):
        Geneformer(weights=folder)


def test_position_counters_of_old_checkpoints_are_known(folder):
    tensors = load_file(folder / "model.safetensors")
    tensors["bert.embeddings.position_ids"] = torch.arange(128)[None]
    save_file(tensors, folder / "model.safetensors")
    assert Geneformer(weights=folder).n_parameters == 87910


def test_dictionaries_of_the_other_version_are_refused(folder):
    for file in folder.glob("*.pkl"):
        file.unlink()
    for file in (PARITY / "geneformer_v1").glob("*.pkl"):
        shutil.copy(file, folder)
    with pytest.raises(InvalidInputError, match=r"452 tokens, while config\.json says 454"):
        Geneformer(weights=folder)


def test_two_dictionaries_of_one_kind_are_refused(folder):
    shutil.copy(PARITY / "geneformer_v1" / "token_dictionary_gc30M.pkl", folder)
    with pytest.raises(InvalidInputError, match=r"token_dictionary_gc30M\.pkl"):
        Geneformer(weights=folder)


@pytest.mark.parametrize("file", ["config.json", "model.safetensors", "gene_median_dictionary_gc104M.pkl"])
def test_a_missing_file_is_named(folder, file):
    (folder / file).unlink()
    with pytest.raises(InvalidInputError, match=file.removesuffix("_gc104M.pkl")):
        Geneformer(weights=folder)


def test_json_dictionaries_are_read(folder, v2):
    for file in folder.glob("*.pkl"):
        content = pickle.loads(file.read_bytes())  # noqa: S301
        plain = {key: np.asarray(value).item() for key, value in content.items()}
        file.with_suffix(".json").write_text(json.dumps(plain))
        file.unlink()
    genes = GeneDictionaries.read([folder])
    assert genes.token == v2.genes.token
    assert genes.special == (2, 3)


def test_sha256_follows_the_files(folder, v2):
    assert Geneformer(weights=folder).weights_sha256 == v2.weights_sha256
    said = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**said, "hidden_dropout_prob": 0.5}))
    assert Geneformer(weights=folder).weights_sha256 != v2.weights_sha256


def naive_tokens(counts, ids, token, median, mapping, length):
    summed = {}
    for gene, count in zip(ids, counts, strict=True):
        if gene in mapping:
            summed[mapping[gene]] = summed.get(mapping[gene], 0.0) + float(count)
    value = {
        token[g]: c / counts.sum() * 10_000 / median[g] for g, c in summed.items() if c and g in median and g in token
    }
    ranked = sorted(value, key=lambda t: (-value[t], t))
    return [token["<cls>"], *ranked[: length - 2], token["<eos>"]]


@pytest.mark.parametrize(("version", "n", "special"), [("v1", 25_426, ()), ("v2", 20_275, (2, 3))])
def test_real_dictionaries_are_sound(real_data, version, n, special):
    folder = real_data.parent / "vocab" / f"geneformer_{version}"
    if not folder.is_dir():
        pytest.skip(f"no real dictionaries in {folder}")
    genes = GeneDictionaries.read([folder])
    assert sorted(genes.token.values()) == list(range(n))
    assert genes.special == special


def test_real_dictionaries_against_a_naive_reading(real_data):
    folder = real_data.parent / "vocab" / "geneformer_v2"
    if not folder.is_dir():
        pytest.skip(f"no real dictionaries in {folder}")
    genes = GeneDictionaries.read([folder])
    pbmc = ad.read_h5ad(real_data / "pbmc3k.h5ad")[:50]
    ids = list(pbmc.var["ensembl_id"].astype(str))
    token, median = genes.columns(ids)
    made = sentences(
        rank_genes(pbmc.X, token=token, median=median), length=4096, special=genes.special, names=pbmc.obs_names
    )
    for row, tokens in zip(pbmc.X.toarray().astype(np.float64), made, strict=True):
        assert tokens.tolist() == naive_tokens(row, ids, genes.token, genes.median, genes.mapping, 4096)


def test_perturbed_sentences_by_hand():
    ranked = [np.array([10, 11, 12, 13]), np.array([14])]

    def done(token, effect):
        return [genes.tolist() for genes in perturbed(ranked, token=np.array(token), effect=effect)]

    assert done([12, 14], "knockdown") == [[10, 11, 13], []]
    assert done([12, 14], "activation") == [[12, 14, 10, 11, 13], [12, 14]]
    cut = sentences(perturbed(ranked, token=np.array([13]), effect="activation"), length=3, special=(), names="ab")
    assert [s.tolist() for s in cut] == [[13, 10, 11], [13, 14]]


def without(cells, column):
    counts = cells.X.toarray()
    counts[:, column] = 0
    return ad.AnnData(sparse.csr_matrix(counts), obs=cells.obs, var=cells.var)


def alone_in_their_token(model, cells):
    """Return the columns that no other column shares its token with, most expressed first."""
    known = model.genes.columns(list(cells.var["ensembl_id"]))[0]
    frequent = np.argsort(-np.asarray(cells.X.sum(axis=0)).ravel(), kind="stable")
    return [i for i in frequent if (known == known[i]).sum() == 1 and known[i] >= 0]


def test_knockdown_is_the_cell_without_the_gene(v2, cells):
    ids, single = list(cells.var["ensembl_id"]), alone_in_their_token(v2, cells)[0]
    made = v2.perturb(cells, genes=[ids[single]], effect="knockdown")
    np.testing.assert_allclose(made, v2.embed(without(cells, single)), rtol=0, atol=1e-5)
    changed = np.abs(made - v2.embed(cells)).max(axis=1) > 1e-4
    assert changed.any()
    assert not changed[cells.X[:, single].toarray().ravel() == 0].any()


def test_activation_is_the_cell_with_most_of_the_gene(v2, cells):
    ids, two = list(cells.var["ensembl_id"]), alone_in_their_token(v2, cells)[-2:]
    counts = cells.X.toarray()
    counts[:, two] = 1e4 * counts.max() * v2.genes.columns([ids[i] for i in two])[1] * [2, 1]
    most = ad.AnnData(sparse.csr_matrix(counts), obs=cells.obs, var=cells.var)
    made = v2.perturb(cells, genes=[ids[i] for i in two] * 2, effect="activation")
    np.testing.assert_allclose(made, v2.embed(most), rtol=0, atol=1e-5)


@pytest.mark.parametrize("effect", ["activation", "knockdown"])
def test_an_unknown_gene_cannot_be_perturbed(v2, cells, effect):
    with pytest.raises(InvalidInputError, match="NOSUCH"):
        v2.perturb(cells, genes=["NOSUCH"], effect=effect)


def test_gene_vectors_are_word_embeddings(v2, folder):
    words = load_file(folder / "model.safetensors")["bert.embeddings.word_embeddings.weight"].numpy()
    genes = sorted(Geneformer.vocabulary(folder))[:2]
    made = v2.embed_genes([*genes, "NOSUCH"])
    np.testing.assert_array_equal(made[:2], words[v2.genes.columns(genes)[0]])
    assert np.isnan(made[2]).all()


def test_expected_ranks_against_the_logits_of_transformers(v2, cells):
    tokens = v2.tokenise(cells)[2:5]
    with torch.inference_mode():
        made = expected_ranks(v2._bert, Batch.of(tokens, enclosed=True, device="cpu"))
        logits = [v2._bert(input_ids=torch.from_numpy(cell)[None]).logits[0].numpy() for cell in tokens]
    naive = []
    for cell, scores in zip(tokens, logits, strict=True):
        genes, n = cell[1:-1], len(cell) - 2
        own = np.exp(scores[1:-1][:, genes].astype(np.float64))
        naive.append((own / own.sum(axis=1, keepdims=True)) @ (1 - np.arange(n) / (n - 1)))
    np.testing.assert_allclose(made[-1], np.concatenate(naive), rtol=0, atol=1e-5)


def test_a_head_that_cannot_tell_genes_apart_expects_the_mean():
    network = bert(json.loads((PARITY / "geneformer_v1" / "config.json").read_text()))
    network.bert.embeddings.word_embeddings.weight.data.zero_()
    tokens = [np.array([5, 9, 7]), np.array([4, 8])]
    with torch.inference_mode():
        made = expected_ranks(network, Batch.of(tokens, enclosed=False, device="cpu"))
    np.testing.assert_allclose(np.stack(made), 0.5, atol=1e-6)


def test_reconstruction_follows_its_cells(v2, cells):
    some = [7, 2, 11]
    full, few = v2.reconstruct_layers(cells), v2.reconstruct_layers(cells[some])
    assert full.layers.shape == (len(v2.embed_layers(cells[:2])), len(full.target))
    assert (full.layers >= 0).all()
    assert (full.layers <= 1 + 1e-5).all()
    for row, origin in enumerate(some):
        np.testing.assert_array_equal(few.target[few.cell == row], full.target[full.cell == origin])
        np.testing.assert_allclose(
            few.layers[:, few.cell == row], full.layers[:, full.cell == origin], rtol=0, atol=1e-5
        )
    first = full.target[full.cell == 5]
    np.testing.assert_allclose(first, 1 - np.arange(len(first)) / (len(first) - 1), atol=1e-6)


def test_gene_pairs_are_the_mean_attention_that_transformers_gives(v2, cells):
    two = cells[[0, 3]]
    tokens = v2.tokenise(two)
    v2._bert.set_attn_implementation("eager")
    with torch.inference_mode():
        paid = [
            torch.stack(v2._bert(torch.from_numpy(cell)[None], output_attentions=True).attentions).mean(dim=(0, 1, 2))
            for cell in tokens
        ]
    v2._bert.set_attn_implementation("sdpa")
    of_token = {token: gene for gene, token in v2.genes.token.items() if gene.startswith("ENS")}
    genes = [of_token[int(token)] for token in tokens[0][1:7]]
    made = v2.score_gene_pairs(two, genes=[*genes, "NOSUCH", genes[0]])
    for i, j in ((0, 1), (1, 0), (2, 5), (4, 3)):
        found = []
        for cell, attention in zip(tokens, paid, strict=True):
            where = {int(token): place for place, token in enumerate(cell)}
            source, target = int(tokens[0][1 + i]), int(tokens[0][1 + j])
            if source in where and target in where:
                found.append(float(attention[where[target], where[source]]))
        assert made[i, j] == pytest.approx(np.mean(found), abs=1e-6)
    assert np.isnan(np.diag(made)).all()
    assert np.isnan(made[6]).all()
    np.testing.assert_array_equal(made[7, 1:6], made[0, 1:6])


def test_gene_pairs_do_not_depend_on_batches(v2, cells):
    genes = [str(gene) for gene in cells.var["ensembl_id"][:40]]
    made = v2.score_gene_pairs(cells, genes=genes)
    assert np.isfinite(made).sum() > 20
    other = Geneformer(weights=PARITY / "geneformer_v2", batch_size=7)
    np.testing.assert_allclose(
        other.score_gene_pairs(cells[::-1], genes=genes[::-1])[::-1, ::-1], made, atol=1e-6, rtol=0
    )


def test_all_tensors_of_the_checkpoint_are_loaded(v2):
    assert v2.loaded_share == 1.0
