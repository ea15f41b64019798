"""What a LangCell embedding may depend on, what its labels are made of, and which faults are seen."""

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
from scipy import sparse

from scfm_eval.errors import InvalidInputError
from scfm_eval.models.card import card
from scfm_eval.models.langcell import LangCell
from scfm_eval.models.langcell_texts import read_text_vectors
from scfm_eval.models.langcell_tokens import GeneTable, sentences
from scfm_eval.models.protocols import (
    Annotator,
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
from scfm_eval.provenance import weights_hash

GOLDEN = Path(__file__).parents[1] / "parity" / "langcell"
UNREAD = 4
WIDTH = 20


@pytest.fixture(scope="module")
def model():
    return LangCell(weights=GOLDEN)


@pytest.fixture(scope="module")
def cells():
    all_cells = ad.read_h5ad(GOLDEN / "cells.h5ad")
    return all_cells[np.arange(all_cells.n_obs) != UNREAD].copy()


@pytest.fixture
def folder(tmp_path):
    return Path(shutil.copytree(GOLDEN, tmp_path / "langcell"))


@pytest.fixture
def texts(tmp_path):
    vectors = np.random.default_rng(0).normal(size=(3, WIDTH)).astype(np.float32)
    np.savez(tmp_path / "texts.npz", labels=np.array(["B cell", "T cell", "monocyte"]), vectors=vectors)
    return tmp_path / "texts.npz"


def table(**medians):
    n_genes = len(medians)
    token, median = np.arange(2, 2 + n_genes), np.array(list(medians.values()), dtype=np.float64)
    return GeneTable(tuple(medians), token, median, n_tokens=2 + n_genes, files=())


def counted(counts, genes, **var):
    counts = np.array(counts, dtype=np.float32)
    obs = pd.DataFrame(index=[f"c{i}" for i in range(len(counts))])
    return ad.AnnData(sparse.csr_matrix(counts), obs=obs, var=pd.DataFrame(var, index=genes))


def test_card_and_capabilities():
    for capability in (Embedder, LayerEmbedder, GeneEmbedder, GenePairScorer, FineTuner, Annotator, Pretrained):
        assert missing_methods(LangCell, capability) == []
    assert missing_methods(LangCell, Reconstructor)
    about = card(LangCell)
    assert (about.name, about.gene_ids, about.licence, about.exceptions) == ("langcell", "ensembl", "MIT", {})
    assert "unread='keep'" in about.definition


def test_ranking_by_hand():
    # values 4/2, 3/1, 2/1, 2/1: ties by token; X is not read; <cls> is token 6
    cells = counted([[4, 3, 2, 2, 9], [0, 0, 5, 0, 1]], ["A", "B", "D", "C", "X"])
    how = {"table": table(A=2.0, B=1.0, C=1.0, D=1.0), "ranking": "exact", "unread": "refuse"}
    assert [s.tolist() for s in sentences(cells, length=9, **how)] == [[6, 3, 2, 4, 5], [6, 5]]
    assert [s.tolist() for s in sentences(cells, length=3, **how)] == [[6, 3, 2], [6, 5]]


def test_rounding_in_single_precision_is_an_option():
    """3/3 and 1/1 are one value; brought to 10,000 of 7 in single precision they differ."""
    cells = counted([[3, 1, 3]], ["A", "B", "X"])
    how = {"table": table(B=1.0, A=3.0), "length": 9, "unread": "refuse"}
    exact, rounded = (sentences(cells, ranking=ranking, **how)[0] for ranking in ("exact", "float32"))
    single = [np.float32(n) / np.float32(7) * np.float32(10_000) / m for n, m in ((1, 1.0), (3, 3.0))]
    assert single[1] != single[0]
    assert exact.tolist() == [4, 2, 3]
    assert rounded.tolist() == ([4, 3, 2] if single[1] > single[0] else [4, 2, 3])


def test_versions_are_not_stripped():
    how = {"table": table(ENSG1=1.0, ENSG2=1.0), "length": 9, "ranking": "exact", "unread": "refuse"}
    assert sentences(counted([[1, 5]], ["ENSG1", "ENSG2.3"]), **how)[0].tolist() == [4, 2]
    named = counted([[1, 5]], ["SYM1", "SYM2"], ensembl_id=["ENSG1", "ENSG2"])
    assert sentences(named, **how)[0].tolist() == [4, 3, 2]


def test_cells_that_cannot_be_read_are_refused_or_as_upstream():
    cells = counted([[0, 0, 0], [0, 0, 7], [1, 0, 0]], ["B", "A", "X"])
    how = {"table": table(A=1.0, B=1.0), "length": 9, "ranking": "exact"}
    with pytest.raises(InvalidInputError, match=r"2 cells without any gene.*c0, c1"):
        sentences(cells, unread="refuse", **how)
    assert [s.tolist() for s in sentences(cells, unread="keep", **how)] == [[4, 3, 2], [4], [4, 3]]


def test_a_gene_in_two_columns_is_refused():
    with pytest.raises(InvalidInputError, match="several columns for A"):
        sentences(
            counted([[1, 1]], ["x", "y"], ensembl_id=["A", "A"]),
            table=table(A=1.0),
            length=9,
            ranking="exact",
            unread="refuse",
        )


@settings(max_examples=5, deadline=None)
@given(st.permutations(range(13)), st.integers(1, 12))
def test_rows_follow_their_cells(model, cells, order, kept):
    full = model.embed(cells)
    chosen = order[:kept]
    np.testing.assert_allclose(model.embed(cells[chosen]), full[chosen], rtol=0, atol=1e-5)


@settings(max_examples=3, deadline=None)
@given(st.randoms(use_true_random=False))
def test_order_of_genes_and_strange_genes_do_not_matter(model, cells, random):
    order = random.sample(range(cells.n_vars), cells.n_vars)
    ids = [*cells.var["ensembl_id"].iloc[order], "OTHER1", "OTHER2"]
    more = counted(np.hstack([cells.X.toarray()[:, order], np.full((13, 2), 50)]), ids)
    for a, b in zip(model.tokenise(cells), model.tokenise(more), strict=True):
        np.testing.assert_array_equal(a, b)


def test_input_and_generators_are_left_alone(cells):
    before, state = cells.copy(), torch.get_rng_state()
    LangCell(weights=GOLDEN).embed(cells)
    assert (before.X != cells.X).nnz == 0
    pd.testing.assert_frame_equal(before.obs, cells.obs)
    pd.testing.assert_frame_equal(before.var, cells.var)
    assert torch.equal(state, torch.get_rng_state())


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_lower_precision_stays_close(model, cells, precision):
    full, low = model.embed(cells), LangCell(weights=GOLDEN, precision=precision).embed(cells)
    assert low.dtype == np.float32
    assert not np.array_equal(full, low)
    assert np.abs(full - low).max() < 0.1


def test_rows_have_length_one_and_all_of_the_checkpoint_is_used(model, cells):
    np.testing.assert_allclose(np.linalg.norm(model.embed(cells), axis=1), 1, atol=1e-6)
    assert model.loaded_share == 1.0
    assert model.n_parameters == sum(p.numel() for p in model._network.parameters())


def test_the_projection_is_of_the_last_layer():
    with pytest.raises(InvalidInputError, match="projection of layer 1"):
        LangCell(weights=GOLDEN, layer=1)
    with pytest.raises(InvalidInputError, match="layer 7"):
        LangCell(weights=GOLDEN, pooling="cls", layer=7)
    assert LangCell(weights=GOLDEN, layer=3).layer == LangCell(weights=GOLDEN).layer == 3


def test_gene_vectors_are_word_embeddings(model):
    words = torch.load(GOLDEN / "cell_bert" / "pytorch_model.bin", weights_only=True)
    words = words["embeddings.word_embeddings.weight"].numpy()
    made = model.embed_genes([model.genes.genes[3], "NOSUCH"])
    np.testing.assert_array_equal(made[0], words[model.genes.token[3]])
    assert np.isnan(made[1]).all()


def test_gene_pairs_are_the_mean_attention_of_all_blocks(model, cells):
    two = cells[[2, 9]]
    tokens = model.tokenise(two)
    model._network.bert.set_attn_implementation("eager")
    with torch.inference_mode():
        paid = [
            torch.stack(model._network.bert(torch.from_numpy(cell)[None], output_attentions=True).attentions)[
                :, 0
            ].mean(dim=(0, 1))
            for cell in tokens
        ]
    model._network.bert.set_attn_implementation("sdpa")
    genes = [model.genes.genes[int(t) - 2] for t in tokens[0][1:4]]
    assert list(model.genes.tokens_of(genes)) == list(tokens[0][1:4])
    made = model.score_gene_pairs(two, genes=[*genes, "NOSUCH"])
    for i, j in ((0, 1), (1, 0), (2, 0)):
        found = []
        for cell, attention in zip(tokens, paid, strict=True):
            where = {int(t): place for place, t in enumerate(cell)}
            source, target = (int(tokens[0][1 + k]) for k in (i, j))
            if source in where and target in where:
                found.append(float(attention[where[target], where[source]]))
        assert made[i, j] == pytest.approx(np.mean(found), abs=1e-6)
    assert np.isnan(np.diag(made)).all()
    assert np.isnan(made[3]).all()


@pytest.mark.parametrize("mode", ["full", "head"])
def test_it_can_be_fine_tuned(cells, mode):
    tuned, labels = LangCell(weights=GOLDEN), np.array(["a", "b"])[np.arange(13) % 2]
    before = tuned._network.bert.encoder.layer[-1].output.dense.weight.detach().clone()
    history = tuned.fine_tune(
        cells,
        labels=labels,
        validation=cells[:4],
        validation_labels=labels[:4],
        how=FineTuning(mode=mode, epochs=2, batch_size=4, learning_rate=1e-2),
        seed=0,
    )
    classes, probabilities = tuned.predict_labels(cells)
    assert classes.tolist() == ["a", "b"]
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-5)
    assert (history["trained_parameters"] == 0) == (mode == "head")
    after = tuned._network.bert.encoder.layer[-1].output.dense.weight
    assert torch.equal(before, after) == (mode == "head" or history["chosen_epoch"] == 0)


def test_weights_can_be_drawn_at_random(cells):
    drawn = LangCell(weights=GOLDEN)
    pretrained = drawn.embed(cells)
    drawn._draw_weights(1)
    assert np.abs(drawn.embed(cells) - pretrained).max() > 0.01


def test_labels_are_the_nearest_texts(cells, texts):
    named = LangCell(weights=GOLDEN, text_vectors=texts)
    labels, probabilities = named.annotate(cells)
    vectors = np.load(texts)["vectors"].astype(np.float64)
    cosine = named.embed(cells) @ (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).T
    shares = np.exp(cosine / 0.05)
    np.testing.assert_allclose(probabilities, shares / shares.sum(axis=1, keepdims=True), atol=1e-5)
    assert labels.tolist() == ["B cell", "T cell", "monocyte"]
    assert probabilities.dtype == np.float32
    warm = LangCell(weights=GOLDEN, text_vectors=texts, temperature=1.0).annotate(cells)[1]
    assert warm.max() < probabilities.max()
    other = LangCell(weights=GOLDEN, text_vectors=texts, pooling="mean").annotate(cells)[1]
    np.testing.assert_allclose(other, probabilities, atol=1e-6)


def test_without_texts_there_are_no_labels(model, cells, texts):
    with pytest.raises(InvalidInputError, match=r"no text vectors[\s\S]*text_bert and text_proj"):
        model.annotate(cells)
    assert "text_proj" in LangCell.lacks_labels()
    told = type("Told", (LangCell,), {"text_vectors": texts})
    assert told.lacks_labels() == ""
    assert told(weights=GOLDEN).annotate(cells)[0].tolist() == ["B cell", "T cell", "monocyte"]


def test_other_texts_are_another_model(texts):
    told = type("Told", (LangCell,), {"text_vectors": texts})
    first, hashed = told(weights=GOLDEN).weights_sha256, weights_hash(told, GOLDEN)
    arrays = dict(np.load(texts))
    np.savez(texts, labels=arrays["labels"], vectors=arrays["vectors"] + 1)
    assert told(weights=GOLDEN).weights_sha256 != first
    assert weights_hash(told, GOLDEN) != hashed != weights_hash(LangCell, GOLDEN)


def test_texts_in_a_table(tmp_path, texts):
    arrays = np.load(texts)
    labelled = pd.DataFrame(arrays["vectors"], columns=[f"d{i}" for i in range(WIDTH)])
    labelled.assign(label=arrays["labels"]).to_parquet(tmp_path / "column.parquet")
    labelled.set_index(pd.Index(arrays["labels"])).to_parquet(tmp_path / "index.parquet")
    one = read_text_vectors(texts, width=WIDTH)
    for file in ("column.parquet", "index.parquet"):
        other = read_text_vectors(tmp_path / file, width=WIDTH)
        assert one[0].tolist() == other[0].tolist()
        np.testing.assert_allclose(one[1], other[1])


BAD_TEXTS = {
    "B cell": {"labels": np.array(["B cell", "B cell", "T cell"])},
    "an empty one": {"labels": np.array(["B cell", "", "T cell"])},
    "fewer than two": {"labels": np.array(["B cell"]), "vectors": np.ones((1, WIDTH))},
    "the model has 20": {"vectors": np.ones((3, 256))},
    "zero or not finite: T cell": {"vectors": np.array([np.ones(WIDTH), np.zeros(WIDTH), np.ones(WIDTH)])},
    "zero or not finite: B cell": {"vectors": np.array([np.full(WIDTH, np.nan), *np.ones((2, WIDTH))])},
    "pickle": {"labels": np.array(["B cell", "T cell", "monocyte"], dtype=object)},
}


@pytest.mark.parametrize("said", BAD_TEXTS)
def test_bad_texts_are_refused(texts, said):
    np.savez(texts, **{**np.load(texts), **BAD_TEXTS[said]})
    with pytest.raises(InvalidInputError, match=said):
        LangCell(weights=GOLDEN, text_vectors=texts)


def test_texts_that_are_not_there_or_damaged_are_refused(tmp_path):
    with pytest.raises(InvalidInputError, match=r"gone\.npz"):
        LangCell(weights=GOLDEN, text_vectors=tmp_path / "gone.npz")
    (tmp_path / "torn.parquet").write_bytes(b"PAR1")
    with pytest.raises(InvalidInputError, match=r"torn\.parquet"):
        LangCell(weights=GOLDEN, text_vectors=tmp_path / "torn.parquet")


@pytest.mark.parametrize("temperature", [0.0, -1.0, float("nan"), float("inf")])
def test_a_temperature_is_above_zero(temperature):
    with pytest.raises(InvalidInputError, match="temperature"):
        LangCell(weights=GOLDEN, temperature=temperature)


FAULTS = {
    r"encoder\.layer\.2\.output\.dense\.bias is missing": lambda t: t.pop("encoder.layer.2.output.dense.bias"),
    r"classifier\.weight is unexpected": lambda t: t.update({"classifier.weight": torch.ones(2, 48)}),
    r"embeddings\.LayerNorm\.bias has shape \(47,\)": lambda t: t.update({"embeddings.LayerNorm.bias": torch.ones(47)}),
}


@pytest.mark.parametrize("said", FAULTS)
def test_a_checkpoint_that_does_not_fit_is_refused(folder, said):
    file = folder / "cell_bert" / "pytorch_model.bin"
    tensors = torch.load(file, weights_only=True)
    FAULTS[said](tensors)
    torch.save(tensors, file)
    with pytest.raises(InvalidInputError, match=said):
        LangCell(weights=folder)


def test_a_pooler_that_is_replaced_is_known_and_counted(folder):
    file = folder / "cell_bert" / "pytorch_model.bin"
    tensors = torch.load(file, weights_only=True)
    torch.save({**tensors, "pooler.dense.weight": torch.ones(48, 48), "pooler.dense.bias": torch.ones(48)}, file)
    made = LangCell(weights=folder)
    assert made.loaded_share == pytest.approx((len(tensors) + 2) / (len(tensors) + 4))


def test_a_projection_of_another_width_is_refused(folder):
    torch.save({"weight": torch.ones(20, 47), "bias": torch.ones(20)}, folder / "cell_proj.bin")
    with pytest.raises(InvalidInputError, match=r"projection\.weight has shape"):
        LangCell(weights=folder)
    torch.save({"weight": torch.ones(20, 48)}, folder / "cell_proj.bin")
    with pytest.raises(InvalidInputError, match="bias"):
        LangCell(weights=folder)


def test_a_vocabulary_of_another_length_is_refused(folder):
    file = folder / "token_dictionary.pkl"
    tokens = pickle.loads(file.read_bytes())  # noqa: S301
    file.write_bytes(pickle.dumps(dict(list(tokens.items())[:-1])))
    with pytest.raises(InvalidInputError, match=r"353 tokens and <cls>, while config\.json says 355"):
        LangCell(weights=folder)


def test_a_dictionary_without_padding_is_refused(folder):
    (folder / "token_dictionary.pkl").write_bytes(pickle.dumps({"<mask>": 0, "ENSG1": 1}))
    with pytest.raises(InvalidInputError, match="no <pad>"):
        LangCell(weights=folder)


def test_a_median_of_zero_is_refused(folder):
    (folder / "gene_median_dictionary.pkl").write_bytes(pickle.dumps({"ENSG1": 0.0}))
    with pytest.raises(InvalidInputError, match="ENSG1"):
        LangCell(weights=folder)


@pytest.mark.parametrize("file", ["cell_bert/config.json", "cell_bert/pytorch_model.bin", "cell_proj.bin"])
def test_a_file_that_is_missing_or_cut_short_is_named(folder, file):
    content = (folder / file).read_bytes()
    (folder / file).write_bytes(content[: len(content) // 2])
    with pytest.raises(InvalidInputError, match=Path(file).name):
        LangCell(weights=folder)
    (folder / file).unlink()
    with pytest.raises(InvalidInputError, match=Path(file).name):
        LangCell(weights=folder)


def test_a_pickle_with_code_is_not_executed(folder, tmp_path):
    class Touch:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "executed",))

    for file in ("token_dictionary.pkl", "gene_median_dictionary.pkl"):
        content = (folder / file).read_bytes()
        (folder / file).write_bytes(pickle.dumps({"<pad>": Touch()}))
        with pytest.raises(InvalidInputError, match="nothing of it was executed"):
            LangCell(weights=folder)
        (folder / file).write_bytes(content)
    torch.save({"weight": Touch()}, folder / "cell_proj.bin")
    with pytest.raises(InvalidInputError, match="nothing of it was executed"):
        LangCell(weights=folder)
    assert not (tmp_path / "executed").exists()


def test_settings_without_a_size_or_an_activation_are_refused(folder):
    file = folder / "cell_bert" / "config.json"
    said = json.loads(file.read_text())
    for key in ("hidden_size", "hidden_act"):
        file.write_text(json.dumps({name: value for name, value in said.items() if name != key}))
        with pytest.raises(InvalidInputError, match=key):
            LangCell(weights=folder)


def test_weights_that_are_nowhere_say_where_to_get_them(tmp_path, monkeypatch):
    monkeypatch.delenv("SCFM_EVAL_WEIGHTS", raising=False)
    assert not LangCell.available()
    with pytest.raises(InvalidInputError, match=r"drive\.google\.com"):
        LangCell()
    monkeypatch.setenv("SCFM_EVAL_WEIGHTS", str(tmp_path))
    shutil.copytree(GOLDEN, tmp_path / "langcell")
    assert LangCell.available()
    assert LangCell.vocabulary(LangCell.locate()) == set(LangCell().genes.genes)
