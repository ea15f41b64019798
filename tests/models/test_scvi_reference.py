"""Pretrained references of scvi-tools give what scvi-tools itself gives, and no file of theirs is executed."""

from __future__ import annotations

import logging
import os
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from anndata import AnnData
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from scfm_eval.errors import InvalidInputError
from scfm_eval.models.card import card
from scfm_eval.models.protocols import Annotator, Embedder, Pretrained, missing_methods
from scfm_eval.models.scvi_reference import ScANVIReference, ScVIReference

GENES = ["CD3D", "CD3E", "CD8A", "MS4A1", "CD79A", "NKG7", "GNLY", "LYZ", "S100A8", "FCGR3A", "PPBP", "CST3"]
KINDS = {
    "plain": {},
    "reads the batch": {"encode_covariates": True, "use_layer_norm": "both", "use_batch_norm": "none", "n_layers": 2},
    "learns the library": {"use_observed_lib_size": False, "gene_likelihood": "nb"},
}


def made_cells(n_cells: int, *, seed: int) -> AnnData:
    generator = np.random.default_rng(seed)
    obs = {
        "batch": pd.Categorical(generator.choice(["x", "y", "z"], n_cells)),
        "label": pd.Categorical(generator.choice(["B", "T", "not said"], n_cells)),
    }
    X = sparse.csr_matrix(generator.poisson(3.0, (n_cells, len(GENES))).astype(np.float32))
    return AnnData(
        X, obs=pd.DataFrame(obs, index=[f"c{i}" for i in range(n_cells)]), var=pd.DataFrame(index=list(GENES))
    )


def trained(kind: str, folder: Path):
    """A reference after one epoch, saved as scvi-hub has it, history included."""
    import scvi

    cells = made_cells(60, seed=0)
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    with warnings.catch_warnings(), torch.random.fork_rng(devices=[]):
        warnings.simplefilter("ignore")
        torch.manual_seed(0)
        if kind == "scanvi":
            scvi.model.SCANVI.setup_anndata(cells, batch_key="batch", labels_key="label", unlabeled_category="not said")
            model = scvi.model.SCANVI(cells, n_hidden=8, n_latent=3)
        else:
            scvi.model.SCVI.setup_anndata(cells, batch_key="batch")
            model = scvi.model.SCVI(cells, n_hidden=8, n_latent=3, **KINDS[kind])
        model.train(max_epochs=1, accelerator="cpu", enable_progress_bar=False, logger=False)
        model.history_ = {"elbo_train": pd.DataFrame({"elbo_train": [1.0, 2.0]}, index=pd.RangeIndex(2, name="epoch"))}
        model.save(folder)
    return model


@pytest.fixture(scope="module", params=[*KINDS])
def reference(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("reference") / "scvi"
    return request.param, folder, trained(request.param, folder)


@pytest.fixture(scope="module")
def annotator(tmp_path_factory):
    folder = tmp_path_factory.mktemp("reference") / "scanvi"
    return folder, trained("scanvi", folder)


@pytest.fixture(scope="module")
def cells():
    return made_cells(25, seed=1)


def as_of(cells: AnnData, batch: str) -> AnnData:
    """The cells as scvi-tools wants them: of one batch of the reference, without labels."""
    known = cells.copy()
    known.obs["batch"] = pd.Categorical([batch] * cells.n_obs)
    known.obs["label"] = pd.Categorical(["not said"] * cells.n_obs)
    return known


def test_cards_and_capabilities():
    for capability in (Embedder, Pretrained):
        assert missing_methods(ScVIReference, capability) == []
    assert missing_methods(ScANVIReference, Annotator) == []
    assert missing_methods(ScVIReference, Annotator) == ["annotate"]
    assert (card(ScVIReference).name, card(ScANVIReference).name) == ("scvi-reference", "scanvi-reference")
    assert not ScVIReference.available()


def test_the_embedding_is_that_of_scvi_tools(reference, cells):
    kind, folder, theirs = reference
    by_batch = {batch: theirs.get_latent_representation(as_of(cells, batch)) for batch in "xyz"}
    made = ScVIReference(weights=folder, batch_size=7).embed(cells)
    assert made.dtype == np.float32
    np.testing.assert_allclose(made, np.mean(list(by_batch.values()), axis=0), rtol=0, atol=1e-4)
    for batch, expected in by_batch.items():
        np.testing.assert_allclose(ScVIReference(weights=folder, batch=batch).embed(cells), expected, rtol=0, atol=1e-4)
    apart = np.abs(by_batch["x"] - by_batch["y"]).max()
    assert (apart > 1e-3) == (kind == "reads the batch")


def test_the_labels_are_those_of_scvi_tools(annotator, cells):
    folder, theirs = annotator
    expected = theirs.predict(as_of(cells, "y"), soft=True)
    model = ScANVIReference(weights=folder, batch_size=7)
    labels, made = model.annotate(cells)
    assert labels.tolist() == expected.columns.tolist() == ["B", "T"]
    np.testing.assert_allclose(made, expected.to_numpy(), rtol=0, atol=1e-4)
    np.testing.assert_allclose(made.sum(axis=1), 1, atol=1e-6)
    assert labels[made.argmax(axis=1)].tolist() == theirs.predict(as_of(cells, "y")).tolist()
    latent = theirs.get_latent_representation(as_of(cells, "y"))
    np.testing.assert_allclose(model.embed(cells), latent, rtol=0, atol=1e-4)


@settings(max_examples=5, deadline=None)
@given(st.permutations(range(25)), st.integers(1, 24), st.permutations(range(len(GENES))))
def test_rows_follow_their_cells(reference, cells, order, kept, genes):
    model, chosen = ScVIReference(weights=reference[1], batch_size=4), order[:kept]
    made = model.embed(cells[chosen][:, genes])
    np.testing.assert_allclose(made, model.embed(cells)[chosen], rtol=0, atol=1e-5)


def test_genes_are_found_by_name_in_either_namespace(reference, cells):
    from scfm_eval.datasets.genes import to_ensembl

    model = ScVIReference(weights=reference[1])
    other = cells.copy()
    other.var_names = to_ensembl(GENES)
    np.testing.assert_array_equal(model.embed(other), model.embed(cells))
    more = AnnData(sparse.hstack([cells.X, np.ones((25, 1))], format="csr"), obs=cells.obs)
    more.var_names = [*GENES, "NOSUCH"]
    np.testing.assert_array_equal(model.embed(more), model.embed(cells))


def test_a_gene_that_the_cells_lack_is_zero(reference, cells):
    model, without = ScVIReference(weights=reference[1]), cells.copy()
    without.X = sparse.csr_matrix(without.X.toarray() * (np.arange(len(GENES)) > 0))
    np.testing.assert_allclose(model.embed(cells[:, 1:]), model.embed(without), rtol=0, atol=1e-6)


def test_cells_with_other_genes_are_refused(reference, cells):
    other = cells.copy()
    other.var_names = [f"gene-{i}" if i else "CD3D" for i in range(cells.n_vars)]
    with pytest.raises(InvalidInputError, match="1 of its 12 genes"):
        ScVIReference(weights=reference[1]).embed(other)


def test_a_cell_without_genes_is_named(reference, cells):
    empty = AnnData(cells.X.copy(), obs=cells.obs, var=cells.var)
    empty.X = sparse.csr_matrix(np.where(np.arange(25)[:, None] == 4, 0, empty.X.toarray()))
    with pytest.raises(InvalidInputError, match="c4"):
        ScVIReference(weights=reference[1]).embed(empty)
    assert np.isfinite(ScVIReference(weights=reference[1], unread="keep").embed(empty)).all()


def test_input_and_generators_are_left_alone(reference, cells):
    before, state = cells.copy(), torch.get_rng_state()
    ScVIReference(weights=reference[1]).embed(cells)
    assert (before.X != cells.X).nnz == 0
    assert cells.obs.equals(before.obs)
    assert torch.equal(state, torch.get_rng_state())


def test_an_unknown_batch_is_refused(reference):
    with pytest.raises(InvalidInputError, match="x, y, z"):
        ScVIReference(weights=reference[1], batch="w")


def test_every_tensor_is_loaded(reference):
    model = ScVIReference(weights=reference[1])
    stored = torch.load(reference[1] / "model.pt", weights_only=False)["model_state_dict"]
    stored.pop("pyro_param_store")
    buffers = ("running_mean", "running_var", "num_batches_tracked", "library_log_means", "library_log_vars")
    assert model.n_parameters == sum(value.numel() for name, value in stored.items() if not name.endswith(buffers))
    assert model.vocabulary(reference[1]) == frozenset(GENES)


@pytest.fixture
def altered(annotator, tmp_path):
    def write(change) -> Path:
        content = torch.load(annotator[0] / "model.pt", weights_only=False)
        content = change(content) or content  # most change it in place
        torch.save(content, tmp_path / "model.pt")
        return tmp_path

    return write


FAULTS = {
    r"setup_args": lambda c: c["attr_dict"]["registry_"].pop("setup_args") and None,
    r"give it to scvi-reference": lambda c: c["attr_dict"]["registry_"].update(model_name="SCVI"),
    r"kind MULTIVI": lambda c: c["attr_dict"]["registry_"].update(model_name="MULTIVI"),
    r"z_encoder.*is missing": lambda c: c["model_state_dict"].pop("z_encoder.mean_encoder.weight") is None,
    r"extra is unexpected": lambda c: c["model_state_dict"].update(extra=torch.ones(1)),
    r"has shape \(12,\), not \(11,\)": lambda c: c.update(var_names=c["var_names"][:-1]),
    r"genes that are there twice": lambda c: c.update(var_names=np.array(["CD3D"] * 12, dtype=object)),
    r"no list of names but a dict": lambda c: c.update(var_names={"rna": c["var_names"]}),
    r"unexpected keyword": lambda c: c["attr_dict"]["init_params_"]["non_kwargs"].update(new_setting=1),
    r"mean has no closed form": lambda c: c["attr_dict"]["init_params_"]["non_kwargs"].update(latent_distribution="ln"),
    r"KeyError: 'attr_dict'": lambda c: {"model_state_dict": c["model_state_dict"]},
    r"names of labels for": lambda c: c["attr_dict"]["registry_"]["field_registries"]["labels"][
        "state_registry"
    ].update(categorical_mapping=np.array(["a", "b", "c", "d"], dtype=object)),
}


@pytest.mark.parametrize("said", FAULTS)
def test_a_model_that_does_not_fit_is_refused(altered, said):
    with pytest.raises(InvalidInputError, match=rf"(?s){said}"):
        ScANVIReference(weights=altered(FAULTS[said]))


@pytest.mark.parametrize(
    ("field", "stats", "said"),
    [
        ("extra_continuous_covs", {"summary_stats": {"n_extra_continuous_covs": 2}}, "continuous covariates"),
        ("extra_categorical_covs", {"state_registry": {"n_cats_per_key": [3]}}, "further categories"),
    ],
)
def test_an_encoder_that_reads_what_new_cells_lack_is_refused(altered, field, stats, said):
    def change(content):
        content["attr_dict"]["init_params_"]["kwargs"]["model_kwargs"]["encode_covariates"] = True
        content["attr_dict"]["registry_"]["field_registries"][field].update(stats)

    with pytest.raises(InvalidInputError, match=said):
        ScANVIReference(weights=altered(change))


class Hostile:
    def __init__(self, touched: Path) -> None:
        self.touched = touched

    def __reduce__(self):
        return os.mkdir, (str(self.touched),)


def test_code_in_the_registry_is_not_executed(altered, tmp_path):
    def change(content):
        content["attr_dict"]["registry_"]["setup_args"]["layer"] = Hostile(tmp_path / "touched")

    with pytest.raises(InvalidInputError, match=r"(posix|nt)\.mkdir; nothing of it was executed"):
        ScANVIReference(weights=altered(change))
    assert not (tmp_path / "touched").exists()


@pytest.mark.parametrize("keep", [0, 100, 3000])
def test_cut_or_missing_files_are_refused(annotator, tmp_path, keep):
    (tmp_path / "model.pt").write_bytes((annotator[0] / "model.pt").read_bytes()[:keep])
    with pytest.raises(InvalidInputError, match=r"model\.pt"):
        ScANVIReference(weights=tmp_path)
    (tmp_path / "model.pt").unlink()
    with pytest.raises(InvalidInputError, match=r"model\.pt"):
        ScANVIReference(weights=tmp_path)
