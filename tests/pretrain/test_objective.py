"""What is hidden, what is shown, and how far off an answer is: by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import sparse

from scfm_eval.models.geneformer import Geneformer
from scfm_eval.models.geneformer_tokens import rank_genes
from scfm_eval.models.scgpt import ScGPT
from scfm_eval.models.scgpt_tokens import bin_values
from scfm_eval.pretrain.geneformer import MaskedRanks, medians
from scfm_eval.pretrain.objective import Batch, hidden_places, kept_genes
from scfm_eval.pretrain.scgpt import MaskedValues
from tests.pretrain.corpora import LAYOUTS, N_CELLS, N_GENES, SIZES, annotated, corpus

ALL = np.ones(N_CELLS, dtype=bool)
EVERY = np.arange(N_CELLS)


@pytest.fixture(scope="module")
def cells():
    return corpus()


@pytest.fixture(scope="module")
def objectives(cells):
    return {name: layout(cells, training=ALL, sizes=SIZES) for name, layout in LAYOUTS.items()}


@pytest.fixture
def geneformer(objectives):
    return objectives["geneformer"]


@pytest.fixture
def scgpt(objectives):
    return objectives["scgpt"]


def batches(objective, n: int, **how):
    return [objective.batch(EVERY, rng=np.random.default_rng(i), **how) for i in range(n)]


def test_medians_are_over_the_cells_that_express_a_gene():
    counts = sparse.csr_matrix(np.array([[1, 1, 0, 0], [3, 0, 1, 0], [1, 3, 0, 0]], dtype=np.float32))
    # per 10,000: 5000 5000 . | 7500 . 2500 | 2500 7500 .
    np.testing.assert_array_equal(medians(counts), [5000, 6250, 2500, 1])


def test_medians_and_unigrams_are_of_training_cells_only(cells):
    training = ALL.copy()
    training[::3] = False
    changed = corpus()
    data = changed.counts.tolil()
    data[0] = data[0] * 7
    changed.counts[:] = data.tocsr()
    for layout in LAYOUTS.values():
        made = [layout(given, training=training, sizes=SIZES) for given in (cells, changed)]
        shown = made[0].batch(EVERY[1:3], rng=np.random.default_rng(0))
        np.testing.assert_array_equal(*(one.unigram_losses(shown) for one in made))
    np.testing.assert_array_equal(medians(cells.counts[training]), medians(changed.counts[training]))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_hides_the_stated_share_and_never_a_special_token(objectives, layout):
    objective = objectives[layout]
    hidden = n_genes = 0
    for batch in batches(objective, 20):
        lengths = np.minimum(objective.n_genes, SIZES.length - (2 if layout == "geneformer" else 1))
        assert not batch.hidden[:, 0].any()
        places = np.arange(batch.hidden.shape[1])
        assert not batch.hidden[places[None, :] > lengths[:, None]].any()  # <eos> and padding
        assert batch.genes.min() >= (4 if layout == "geneformer" else 3)
        hidden, n_genes = hidden + batch.hidden.sum(), n_genes + lengths.sum()
    spread = np.sqrt(objective.hidden_share * (1 - objective.hidden_share) / n_genes)
    assert abs(hidden / n_genes - objective.hidden_share) < 4 * spread


def test_one_place_is_hidden_at_least_and_one_gene_is_read_at_least():
    real = np.zeros((2, 5), dtype=bool)
    real[1, 3] = True
    np.testing.assert_array_equal(hidden_places(real, rng=np.random.default_rng(0), share=0.0), real)
    assert all(kept_genes(4, rng=np.random.default_rng(i), share=1e-9).sum() == 1 for i in range(5))
    assert kept_genes(4, rng=np.random.default_rng(0), share=1.0).all()
    assert 0.27 < kept_genes(9999, rng=np.random.default_rng(0), share=0.3).mean() < 0.33


def test_of_hidden_genes_80_are_masked_10_others_10_themselves(geneformer):
    made = batches(geneformer, 60)
    shown = np.concatenate([batch.tokens[batch.hidden] for batch in made])
    answers = np.concatenate([batch.answers for batch in made])
    share = {"mask": (shown == 1).mean(), "itself": (shown == answers).mean()}
    spread = 4 * np.sqrt(0.16 / len(shown))
    assert abs(share["mask"] - 0.8) < spread
    # one of the 60 others in 60 is the gene itself
    assert abs(share["itself"] - (0.1 + 0.1 / N_GENES)) < spread
    assert shown[shown != 1].min() >= 4


def test_what_is_not_hidden_is_shown_as_it_is(objectives):
    geneformer, scgpt = objectives["geneformer"], objectives["scgpt"]
    batch = geneformer.batch(EVERY, rng=np.random.default_rng(0))
    for row, cell in enumerate(EVERY):
        true = geneformer._sentence(cell)
        seen = ~batch.hidden[row, : len(true)]
        np.testing.assert_array_equal(batch.tokens[row, : len(true)][seen], true[seen])
        assert (batch.tokens[row, len(true) :] == 0).all()
    batch = scgpt.batch(EVERY, rng=np.random.default_rng(0))
    assert (batch.values[batch.hidden] == -1).all()
    assert (batch.values[~batch.hidden] != -1).all()
    assert batch.answers.min() >= 1
    assert batch.answers.max() <= 50


def test_scgpt_asks_for_the_bins_of_the_counts_that_were_read(scgpt, cells):
    for share in (1.0, 0.4):
        batch = scgpt.batch(EVERY[:9], rng=np.random.default_rng(1), share=share)
        values = batch.values.copy()
        values[batch.hidden] = batch.answers
        for row in range(9):
            genes = batch.tokens[row] >= 3
            counts = cells.counts[row, batch.tokens[row][genes] - 3].toarray().ravel()
            np.testing.assert_array_equal(values[row][genes], bin_values(counts, 0.5))


def test_geneformer_loss_is_the_mean_negative_log_probability_of_the_answers(geneformer):
    batch = geneformer.batch(EVERY[:4], rng=np.random.default_rng(0))
    tokens = torch.from_numpy(batch.tokens)
    with torch.inference_mode():
        found = geneformer.losses(batch)["gene"]
        logits = geneformer.network(input_ids=tokens, attention_mask=(tokens != 0).long()).logits.double()
    probability = logits.softmax(dim=2).numpy()[batch.hidden][np.arange(len(batch.answers)), batch.answers]
    assert float(found) == pytest.approx(-np.log(probability).mean(), rel=1e-5)


def test_scgpt_losses_are_mean_squared_errors_from_genes_and_from_the_cell(scgpt):
    batch = scgpt.batch(EVERY[:4], rng=np.random.default_rng(0))
    network = scgpt.network
    with torch.inference_mode():
        found = scgpt.losses(batch)
        tokens, values = torch.from_numpy(batch.tokens), torch.from_numpy(batch.values)
        *_, (last, _) = network.network.hidden_layers_of(tokens, values, last=1)
        decoder, told = network.cell_decoder, network.network.decoder(last).numpy()
        query = decoder.W(torch.sigmoid(decoder.gene2query(network.network.encoder(tokens)))).numpy()
    from_cell = np.einsum("bld,bd->bl", query, last[:, 0].numpy()) + decoder.bias.item()
    for name, answer in (("value", told), ("value_from_cell", from_cell)):
        error = ((answer[batch.hidden] - batch.answers) ** 2).mean()
        assert float(found[name]) == pytest.approx(error, rel=1e-4)


def asked(answers, genes) -> Batch:
    return Batch(np.zeros((1, 1), np.int64), None, np.ones((1, 1), bool), np.array(answers), np.array(genes))


def test_unigram_losses_by_hand(cells):
    expressed = np.asarray((cells.counts[:3] > 0).sum(axis=0)).ravel()
    first = np.arange(N_CELLS) < 3
    ranks, values = (layout(cells, training=first, sizes=SIZES) for layout in LAYOUTS.values())
    frequency = (expressed + 1) / (expressed + 1).sum()
    np.testing.assert_allclose(ranks.unigram_losses(asked([4, 9], [4, 9])), -np.log(frequency[[0, 5]]))
    bins = np.zeros((3, N_GENES))
    for i in range(3):
        row = cells.counts[i]
        bins[i, row.indices] = bin_values(row.data, 0.5)
    gene = int(np.argmax(expressed))
    mean = bins[:, gene].sum() / expressed[gene]
    np.testing.assert_allclose(values.unigram_losses(asked([7.0], [gene + 3])), [(mean - 7) ** 2])
    never = int(np.argmin(expressed))
    assert expressed[never] == 0
    mean = bins.sum() / expressed.sum()
    np.testing.assert_allclose(values.unigram_losses(asked([7.0], [never + 3])), [(mean - 7) ** 2])


def test_a_hidden_rank_never_reaches_the_network(cells):
    """Another gene in a hidden place changes what is shown only where the gene shows itself."""
    objective = MaskedRanks(cells, training=ALL, sizes=SIZES)
    before = objective.batch(EVERY, rng=np.random.default_rng(0))
    for row, place in np.argwhere(before.hidden):
        objective._ranked[row][place - 1] = 4 + (objective._ranked[row][place - 1] - 3) % N_GENES
    after = objective.batch(EVERY, rng=np.random.default_rng(0))
    differs = before.tokens != after.tokens
    np.testing.assert_array_equal(before.hidden, after.hidden)
    assert (before.answers != after.answers).all()
    assert (before.tokens[differs] == before.answers[differs[before.hidden]]).all()
    assert 0 < differs.sum() < 0.2 * before.hidden.sum()


def test_a_hidden_value_never_reaches_the_network(cells):
    """Two hidden counts of a cell change places, so that the edges of its bins stay: nothing shown changes."""
    objective = MaskedValues(cells, training=ALL, sizes=SIZES)
    before = objective.batch(EVERY, rng=np.random.default_rng(0))
    data = cells.counts.copy()
    for row in EVERY:
        # sampled sentences are seeded by their content, so that only whole cells can be told
        columns = before.tokens[row][before.hidden[row]] - 3
        if objective.n_genes[row] < SIZES.length - 1 and len(columns) > 1:
            data[row, columns[0]], data[row, columns[1]] = data[row, columns[1]], data[row, columns[0]]
    objective._counts = data
    after = objective.batch(EVERY, rng=np.random.default_rng(0))
    np.testing.assert_array_equal(before.tokens, after.tokens)
    np.testing.assert_array_equal(before.values, after.values)
    assert (before.answers != after.answers).any()
    with torch.inference_mode():
        whole = [objective.network(*(torch.from_numpy(part) for part in (b.tokens, b.values))) for b in (before, after)]
    for one, other in zip(*whole, strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_batch_is_determined_by_its_generator(objectives, layout):
    first, again, other = (
        objectives[layout].batch(EVERY, rng=np.random.default_rng(seed), share=0.5) for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(first.tokens, again.tokens)
    np.testing.assert_array_equal(first.answers, again.answers)
    assert first.hidden.shape != other.hidden.shape or (first.hidden != other.hidden).any()


def test_the_adapter_reads_the_sentences_that_geneformer_is_trained_on(geneformer, cells, tmp_path):
    geneformer.write(tmp_path)
    read = Geneformer(weights=tmp_path).tokenise(annotated(cells))
    for cell, tokens in enumerate(read):
        np.testing.assert_array_equal(tokens, geneformer._sentence(cell))


def test_medians_are_written_as_they_are_used(tmp_path):
    """Two genes whose medians differ by less than a rounding keep their order."""
    cells = corpus()
    objective = MaskedRanks(cells, training=ALL, sizes=SIZES)
    objective.medians = np.linspace(1, 1 + 1e-5, N_GENES)
    objective.write(tmp_path)
    token, median = Geneformer(weights=tmp_path).genes.columns(cells.genes)
    np.testing.assert_array_equal(median, objective.medians)
    ranked = rank_genes(cells.counts, token=token, median=objective.medians)
    again = rank_genes(cells.counts, token=token, median=median)
    assert all((one == other).all() for one, other in zip(ranked, again, strict=True))


def test_the_adapter_reads_the_cells_that_scgpt_is_trained_on(scgpt, cells, tmp_path):
    scgpt.write(tmp_path)
    named = annotated(cells)
    named.var_names = list(cells.symbols)
    read = ScGPT(weights=tmp_path, max_length=SIZES.length).tokenise(named)
    for cell, (tokens, values) in enumerate(read):
        own = scgpt._sentence(cell, rng=np.random.default_rng(0), share=1.0)
        if len(tokens) < SIZES.length:
            np.testing.assert_array_equal(tokens, own[0])
            np.testing.assert_array_equal(values, own[1])
        else:
            assert len(own[0]) == len(tokens)
