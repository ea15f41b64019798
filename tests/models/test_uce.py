"""What a UCE embedding may depend on, what else the model gives, and which faults are seen."""

from __future__ import annotations

import json
import pickle
import shutil
import tarfile
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
from scfm_eval.models.uce import UCE, UCE4Layers
from scfm_eval.models.uce_network import build_network
from scfm_eval.models.uce_tokens import PROTEINS, Sizes
from scfm_eval.models.unfreezing import Encoder, unfreeze

FOLDER = Path(__file__).parents[1] / "parity" / "uce"
HUMAN = "protein_embeddings/Homo_sapiens.GRCh38.gene_symbol_to_embedding_ESM2.pt"


class Evil:
    def __reduce__(self):
        return (print, ("executed",))


@pytest.fixture(scope="module")
def model():
    return UCE(weights=FOLDER)


@pytest.fixture(scope="module")
def cells():
    return ad.read_h5ad(FOLDER / "cells.h5ad")


@pytest.fixture
def folder(tmp_path):
    return Path(shutil.copytree(FOLDER, tmp_path / "uce"))


def near(made, wanted, atol=1e-5):
    np.testing.assert_allclose(made, wanted, rtol=0, atol=atol)


def edited(path, change):
    tensors = torch.load(path, weights_only=True)
    change(tensors)
    torch.save(tensors, path)


def stated(folder, **sizes):
    path = folder / "settings.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | sizes))


@pytest.mark.parametrize(("adapter", "n_layers"), [(UCE, 33), (UCE4Layers, 4)])
def test_card_and_capabilities(adapter, n_layers):
    for capability in (Embedder, LayerEmbedder, GeneEmbedder, GenePairScorer, FineTuner, Pretrained):
        assert missing_methods(adapter, capability) == []
    assert missing_methods(adapter, Reconstructor) == ["reconstruct_layers"]
    about = card(adapter)
    assert about.published_layers == n_layers
    assert about.organisms == ("Homo sapiens",)
    assert about.exceptions == {}


@settings(max_examples=5, deadline=None)
@given(st.permutations(range(30)), st.integers(1, 29), st.randoms(use_true_random=False))
def test_a_cell_depends_on_nothing_but_its_own_counts(model, cells, order, kept, random):
    full, chosen = model.embed(cells), order[:kept]
    genes = list(range(cells.n_vars))
    random.shuffle(genes)
    near(model.embed(cells[chosen, genes]), full[chosen])


def test_unknown_genes_change_nothing(model, cells):
    extra = ad.AnnData(
        sparse.csr_matrix(np.full((cells.n_obs, 2), 900, dtype=np.float32)),
        obs=cells.obs,
        var=pd.DataFrame(index=["ENOUGH1", "NOSUCH2"]),
    )
    more = ad.concat([extra, cells], axis=1)
    for alone, beside in zip(model.tokenise(cells), model.tokenise(more), strict=True):
        np.testing.assert_array_equal(alone, beside)


def test_cells_in_a_file_are_read(model, cells):
    backed = ad.read_h5ad(FOLDER / "cells.h5ad", backed="r")
    np.testing.assert_array_equal(model.embed(backed), model.embed(cells))
    assert UCE.filtered(backed).shape == UCE.filtered(cells).shape == (28, 252)


def test_case_of_a_symbol_is_ignored(model, cells):
    lower = cells.copy()
    lower.var_names = [name.lower() for name in cells.var_names]
    np.testing.assert_array_equal(model.embed(lower), model.embed(cells))


def test_sentences_are_blocks_of_chromosomes_in_the_order_of_the_genome(model, cells):
    genes, counts = model.genes, cells.X.toarray()
    known = genes.places(list(cells.var_names))
    for row, tokens in enumerate(model.tokenise(cells)):
        expressed = set(genes.token[known[(known >= 0) & (counts[row] > 0)]])
        assert tokens[0] == 3
        blocks = np.split(tokens[1:], np.flatnonzero(tokens[1:] == 2) + 1)
        assert len(blocks.pop()) == 0
        assert sum(len(block) - 2 for block in blocks) == 100
        assert len({block[0] for block in blocks}) == len(blocks)
        for block in blocks:
            place = [int(np.flatnonzero(genes.token == token)[0]) for token in block[1:-1]]
            assert set(block[1:-1]) <= expressed
            assert set(genes.chromosome[place]) == {block[0]}
            assert (np.diff(genes.start[place]) >= 0).all()


def test_the_seed_draws_again_and_the_order_of_chromosomes_varies(model, cells):
    again = UCE(weights=FOLDER, seed=1)
    some = cells[[0, 3, 4]]  # c1 and c2 have too few genes to differ
    for first, second in zip(model.tokenise(some), again.tokenise(some), strict=True):
        assert not np.array_equal(first, second)
    firsts = {int(tokens[1]) for tokens in model.tokenise(cells)}
    assert len(firsts) > 8
    np.testing.assert_array_equal(model.embed(cells), UCE(weights=FOLDER).embed(cells))


def test_input_and_generators_are_left_alone(model, cells):
    before, torch_state, numpy_state = cells.copy(), torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    model.embed(cells)
    UCE(weights=FOLDER, sampling="upstream").embed(cells)
    assert (before.X != cells.X).nnz == 0
    assert torch.equal(torch_state, torch.get_rng_state())
    np.testing.assert_array_equal(numpy_state, np.random.get_state()[1])  # noqa: NPY002


def test_lower_precision_stays_close(model, cells):
    low, full = UCE(weights=FOLDER, precision="bfloat16").embed(cells), model.embed(cells)
    assert not np.array_equal(low, full)
    near(low, full, atol=0.05)


def test_attended_padding_makes_a_cell_depend_on_its_batch(model, cells):
    attended = UCE(weights=FOLDER, padding="attended", batch_size=30)
    assert attended.batch_size == 30
    assert UCE(weights=FOLDER, padding="attended").batch_size == 25
    assert np.abs(attended.embed(cells)[13] - attended.embed(cells[13])[0]).max() > 1e-3
    near(attended.embed(cells[13]), model.embed(cells[13]))
    full = attended.embed(cells)
    attended.batch_size = 1  # as after a want of memory
    with pytest.raises(AssertionError):
        near(attended.embed(cells), model.embed(cells))
    near(attended.embed(cells), full)


def test_another_species_reads_its_own_genes(cells):
    mouse = UCE(weights=FOLDER, species="mouse")
    names = mouse.genes.symbols[:60]
    of_mouse = ad.AnnData(cells.X[:, :60], obs=cells.obs, var=pd.DataFrame(index=names))
    offsets = pickle.loads((FOLDER / "species_offsets.pkl").read_bytes())  # noqa: S301
    drawn = np.concatenate(mouse.tokenise(of_mouse[:1]))
    genes = drawn[(drawn > 3) & (drawn < 404)]
    assert (genes >= offsets["mouse"]).all()
    assert (genes < offsets["mouse_lemur"]).all()
    assert np.isfinite(mouse.embed(of_mouse[:4])).all()


def test_a_class_of_its_own_states_another_species():
    class MouseUCE(UCE):
        species = "mouse"

    assert MouseUCE.vocabulary(FOLDER) == set(UCE(weights=FOLDER, species="mouse").genes.symbols)
    assert [file.name for file in MouseUCE.sources(FOLDER)][1].startswith("Mus_musculus")
    assert len(MouseUCE(weights=FOLDER).genes.names) == 70


def test_vocabulary_and_sources():
    words = UCE.vocabulary(FOLDER)
    assert len(words) == 300
    assert [file.name for file in UCE.sources(FOLDER)] == [
        "3layer_model.torch",
        Path(HUMAN).name,
        "species_offsets.pkl",
        "species_chrom.csv",
        "settings.json",
    ]


def test_gene_vectors_are_what_enters_the_transformer(model):
    genes = [*model.genes.symbols[:3], "NOSUCH", model.genes.symbols[0].lower()]
    made = model.embed_genes(genes)
    assert np.isnan(made[3]).all()
    np.testing.assert_array_equal(made[4], made[0])
    raw = torch.load(FOLDER / "3layer_model.torch", weights_only=True)
    rows = raw["pe_embedding.weight"][torch.from_numpy(model.genes.token[:3])]
    unit = rows / rows.norm(dim=1, keepdim=True)
    rows = torch.nn.functional.gelu(unit @ raw["encoder.0.weight"].T + raw["encoder.0.bias"])
    wanted = torch.nn.functional.layer_norm(rows, (32,), raw["encoder.2.weight"], raw["encoder.2.bias"])
    near(made[:3], wanted.numpy())
    assert np.isnan(model.embed_genes(["NOSUCH"])).all()


def test_pairs_of_genes_are_scored_where_both_were_drawn(model, cells):
    counts = cells.X.toarray().sum(axis=0)
    genes = [*cells.var_names[np.argsort(-counts)[:12]], "NOSUCH"]
    scores = model.score_gene_pairs(cells, genes=genes)
    assert scores.shape == (13, 13)
    assert np.isnan(scores[12]).all()
    assert np.isnan(np.diag(scores)).all()
    seen = scores[np.isfinite(scores)]
    assert len(seen) > 100
    assert ((seen >= 0) & (seen <= 1)).all()
    near(UCE(weights=FOLDER, batch_size=7).score_gene_pairs(cells, genes=genes), scores)


@pytest.mark.parametrize("mode", ["full", "head", "last"])
def test_it_is_fine_tuned(cells, mode):
    model, some = UCE(weights=FOLDER), cells[3:].copy()
    labels = np.where(np.arange(some.n_obs) % 2, "odd", "even").astype(np.str_)
    history = model.fine_tune(
        some[:20].copy(),
        labels=labels[:20],
        validation=some[20:].copy(),
        validation_labels=labels[20:],
        how=FineTuning(mode=mode, n_blocks=1, epochs=1, batch_size=8, learning_rate=1e-3),
        seed=0,
    )
    assert (history["trained_parameters"] > 0) == (mode != "head")
    classes, shares = model.predict_labels(some)
    assert list(classes) == ["even", "odd"]
    near(shares.sum(axis=1), 1)


def test_low_rank_updates_reach_every_projection():
    sizes = Sizes(nlayers=1, nhead=4, emsize=256, d_hid=256, token_dim=20, output_dim=8)
    network = build_network(sizes, inner=8, n_positions=16)
    unfreeze(Encoder(network, network.blocks, 256, lambda cells: cells), how=FineTuning(mode="lora"))
    sentences = [np.array([3, 5, 4, 2]), np.array([3, 6])]
    network.cls_layers(sentences, table=torch.randn(9, 20), padding="masked")[-1][:, 0].sum().backward()
    added = {name: p.grad for name, p in network.named_parameters() if p.requires_grad and "lora_B" in name}
    assert len(added) == 3
    assert all(gradient is not None and gradient.abs().sum() > 0 for gradient in added.values())


def test_random_weights_change_the_network_and_not_the_proteins(model, cells):
    drawn = UCE(weights=FOLDER)
    drawn._draw_weights(3)
    assert np.abs(drawn.embed(cells) - model.embed(cells)).max() > 0.01
    assert torch.equal(drawn._table, model._table)
    near(drawn._network.pos_encoder.pe, model._network.pos_encoder.pe, atol=1e-4)


def test_every_tensor_is_accounted_for(model):
    tensors = torch.load(FOLDER / "3layer_model.torch", weights_only=True)
    assert all(name.startswith(("binary_decoder.", "gene_embedding_layer.")) for name in model.unused_tensors)
    assert model.loaded_share == 1 - len(model.unused_tensors) / len(tensors)


def test_a_cell_without_readable_counts_is_named(model, cells):
    counts = cells.X.toarray()
    counts[4] = 0
    counts[5] = 0.7  # less than one molecule is none
    with pytest.raises(InvalidInputError, match="c4, c5"):
        model.embed(ad.AnnData(sparse.csr_matrix(counts), obs=cells.obs, var=cells.var))


def test_several_columns_of_one_gene_are_refused(model, cells):
    twice = cells.copy()
    twice.var_names = [twice.var_names[1].lower(), *twice.var_names[1:]]
    with pytest.raises(InvalidInputError, match="several columns"):
        model.embed(twice)


def test_cells_that_the_filter_drops_are_named(cells):
    model = UCE(weights=FOLDER, filtering=True)
    with pytest.raises(InvalidInputError, match="2 cells that it drops: c1, c2"):
        model.embed(cells)
    kept = UCE.filtered(cells)
    rest = cells[kept.obs_names].copy()
    near(model.embed(rest), UCE(weights=FOLDER).embed(UCE.filtered(rest)))


def test_a_sentence_that_is_too_long_is_refused(folder, cells):
    stated(folder, pad_length=120)
    with pytest.raises(InvalidInputError, match=r"at most 120 tokens(.|\n)*100 genes on \d\d chromosomes"):
        UCE(weights=folder).embed(cells)


def test_genes_without_one_place_are_left_out(folder):
    path = folder / "species_chrom.csv"
    table = pd.read_csv(path, dtype=str)
    own = table.index[(table.species == "human") & ~table.gene_symbol.str.startswith("NOEMB")]
    nowhere, twice, again = table.loc[own[:3], "gene_symbol"]
    elsewhere = table.loc[[own[1]]].assign(start="7")
    table = pd.concat([table.drop(own[0]), elsewhere, table.loc[[own[2]]]])
    table.to_csv(path, index=False)
    read = {name.upper() for name in UCE.vocabulary(folder)}
    assert nowhere not in read
    assert twice not in read
    assert again in read


def test_a_species_that_is_not_in_the_release_is_refused():
    with pytest.raises(InvalidInputError, match=r"'rat'(.|\n)*human, mouse"):
        UCE(weights=FOLDER, species="rat")


def test_the_archive_of_proteins_is_unpacked(folder):
    with tarfile.open(folder / "protein_embeddings.tar.gz", "w:gz") as tar:
        tar.add(folder / "protein_embeddings", "protein_embeddings")
    shutil.rmtree(folder / "protein_embeddings")
    assert UCE.locate(folder) == folder
    assert len(list((folder / "protein_embeddings").iterdir())) == 8
    assert len(UCE.vocabulary(folder)) == 300
    shutil.rmtree(folder / "protein_embeddings")
    (folder / "protein_embeddings.tar.gz").write_bytes(b"\x1f\x8b cut short")
    with pytest.raises(InvalidInputError, match="delete the archive"):
        UCE.locate(folder)
    assert not (folder / "protein_embeddings").exists()


def test_nothing_but_the_proteins_is_taken_out_of_the_archive(folder):
    (folder / "protein_embeddings" / "more.pt").write_bytes(b"more")
    with tarfile.open(folder / "protein_embeddings.tar.gz", "w:gz") as tar:
        tar.add(folder / "protein_embeddings", "release/proteins")
    shutil.rmtree(folder / "protein_embeddings")
    UCE.locate(folder)
    assert HUMAN in PROTEINS.values()
    assert {str(path.relative_to(folder)) for path in folder.rglob("*.pt")} == {*PROTEINS.values()}


def test_it_is_available_only_where_all_files_are(tmp_path, monkeypatch):
    monkeypatch.setenv("SCFM_EVAL_CACHE", str(tmp_path))
    monkeypatch.delenv("SCFM_EVAL_WEIGHTS", raising=False)
    assert not UCE.available()
    assert not UCE4Layers.available()
    with pytest.raises(InvalidInputError, match="downloads are off"):
        UCE(offline=True)


def drop_block(tensors):
    for name in [name for name in tensors if ".layers.2." in name]:
        del tensors[name]


MODEL = "3layer_model.torch"
FAULTS = {
    r"layers\.2\.self_attn\.in_proj_weight is missing": lambda f: edited(f / MODEL, drop_block),
    r"dsbn\.weight is unexpected": lambda f: edited(f / MODEL, lambda t: t.update({"dsbn.weight": torch.ones(2)})),
    r"decoder\.3\.bias has shape \(23,\), not \(24,\)": lambda f: edited(
        f / MODEL, lambda t: t.update({"decoder.3.bias": torch.ones(23)})
    ),
    r"decoder\.0\.0\.bias is missing": lambda f: edited(f / MODEL, lambda t: t.pop("decoder.0.0.bias")),
    r"shape \(0, 0\)": lambda f: edited(f / MODEL, lambda t: t.pop("pe_embedding.weight")),
    r"layers\.3\.(.|\n)* is missing": lambda f: stated(f, nlayers=4),
    "and 1536 positions": lambda f: stated(f, pad_length=2000),
    "nhead 'four'": lambda f: stated(f, nhead="four"),
    "embed_dim must be divisible": lambda f: stated(f, nhead=5),
    r"3layer_model\.torch in": lambda f: (f / MODEL).unlink(),
    "tokens of human for 299 protein embeddings(.|\n)*300": lambda f: edited(f / HUMAN, lambda t: t.pop(next(iter(t)))),
    "human None": lambda f: (f / "species_offsets.pkl").write_bytes(pickle.dumps({"mouse": 9})),
    r"calls (builtins|__builtin__)\.print": lambda f: (f / "species_offsets.pkl").write_bytes(pickle.dumps(Evil())),
    "something else than tensors": lambda f: torch.save({"A": Evil()}, f / HUMAN),
    "shape \\(461, 20\\)": lambda f: (f / "species_chrom.csv").write_text(
        "species,gene_symbol,chromosome,start\nhuman,GNHU5485,13,95814721\n"
    ),
    "columns species, gene_symbol": lambda f: (f / "species_chrom.csv").write_text("species,chromosome\nhuman,1\n"),
    r"content of .*3layer_model\.torch": lambda f: (f / MODEL).write_bytes((f / MODEL).read_bytes()[:20_000]),
    r"Homo_sapiens(.|\n)*in .*uce": lambda f: shutil.rmtree(f / "protein_embeddings"),
}


@pytest.mark.parametrize("said", FAULTS)
def test_files_that_do_not_fit_are_refused(folder, said, capsys):
    FAULTS[said](folder)
    with pytest.raises(InvalidInputError, match=said):
        UCE(weights=folder)
    assert "executed" not in capsys.readouterr().out


def test_the_size_of_the_release_is_asked_for_without_settings(folder):
    (folder / "settings.json").unlink()
    (folder / MODEL).rename(folder / "4layer_model.torch")
    with pytest.raises(InvalidInputError, match=r"33l_8ep_1024t_1280\.torch"):
        UCE(weights=folder)
    with pytest.raises(InvalidInputError, match=r"\(143631, 5120\)(.|\n)*found: shape \(461, 20\)"):
        UCE4Layers(weights=folder)
