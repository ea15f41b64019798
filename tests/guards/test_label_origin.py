"""Where labels come from: declared, or seen in how they cut continuous cells."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.cluster import KMeans
from sklearn.decomposition import TruncatedSVD

from scfm_eval import guards
from scfm_eval.cells import Cells
from scfm_eval.datasets.dataset import Dataset
from scfm_eval.datasets.expression import log_normalised
from scfm_eval.datasets.files import dataset_from_spec
from scfm_eval.datasets.joined import joined
from scfm_eval.datasets.label_origin import Borders, borders, tell_label_origin
from scfm_eval.discovery import find_dataset
from scfm_eval.errors import InvalidInputError
from tests.guards.judged import judged
from tests.toys import toy_cells

EXPRESSION_DERIVED = {"pbmc3k"}
"""Of the real datasets without a declaration of it, or with one: those whose labels are clusters of their cells."""


def space(X, width=30):
    return TruncatedSVD(width, random_state=0).fit_transform(log_normalised(X))


def leiden(X, *, resolution):
    import igraph
    from sklearn.neighbors import kneighbors_graph

    links = kneighbors_graph(space(X), 15).tocoo()
    graph = igraph.Graph(n=X.shape[0], edges=list(zip(links.row, links.col, strict=True))).simplify()
    found = graph.community_leiden(objective_function="modularity", resolution=resolution, n_iterations=5)
    return np.array(found.membership).astype(str)


CLUSTERS = {
    "leiden 1": lambda X: leiden(X, resolution=1.0),
    "leiden 1.5": lambda X: leiden(X, resolution=1.5),
    "leiden 2": lambda X: leiden(X, resolution=2.0),
    "kmeans 5": lambda X: KMeans(5, n_init=3, random_state=0).fit_predict(space(X)).astype(str),
}


def told(cells, labels=None, labels_from=""):
    obs = cells.obs if labels is None else pd.DataFrame({"label": pd.Categorical(labels)}, index=cells.obs_names)
    with guards.listening() as findings:
        tell_label_origin(AnnData(cells.X, obs=obs, var=cells.var[[]]), labels_from=labels_from, dataset="x")
    return [finding.found for finding in findings]


@pytest.mark.parametrize("fault", CLUSTERS)
def test_clusters_of_the_same_cells_are_seen_though_nobody_says_so(fault, blood):
    labels = CLUSTERS[fault](blood.adata.X)
    (found,) = told(blood.adata, labels)
    assert "nobody states where its labels come from, and they look like clusters" in found
    assert told(blood.adata, labels, labels_from="independent") == []
    with guards.without(["label_origin"]):
        assert told(blood.adata, labels) == []


def test_labels_that_are_declared_as_derived_are_told(blood):
    assert blood.dataset.labels_from == "expression"
    (found,) = told(blood.adata, labels_from="expression")
    assert found == "its declaration says that the labels were derived from the expression of the same cells"


def test_labels_along_gaps_or_with_strangers_are_not_clusters(blood):
    X = blood.adata.X
    labels = CLUSTERS["leiden 1"](X)
    rng = np.random.default_rng(0)
    mistaken = np.where(rng.random(len(labels)) < 0.15, rng.permutation(labels), labels)
    assert told(blood.adata, mistaken) == []
    assert told(blood.adata, rng.integers(0, 5, len(labels)).astype(str)) == []
    assert not Borders(predicted=1.0, at_borders=0.01, strangers=0.0).looks_clustered
    toy = toy_cells(n_cells=150)
    assert told(toy, toy.obs["cell_type"].to_numpy()) == []


def test_few_cells_or_one_label_are_not_judged(blood):
    assert told(blood.adata[:90], ["a", "b"] * 45) == []
    assert told(blood.adata, ["a"] * 700) == []
    assert told(find_dataset("synthetic_network").load()) == []


@settings(max_examples=5, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_names_of_labels_and_the_order_of_cells_are_no_matter(seed):
    X = toy_cells(n_cells=120).X
    labels = np.random.default_rng(0).integers(0, 4, 120)
    rng = np.random.default_rng(seed)
    order, names = rng.permutation(120), np.array(["p", "q", "r", "s"])[rng.permutation(4)]
    one, other = borders(X, labels.astype(str)), borders(X[order], names[labels[order]])
    assert one.at_borders == pytest.approx(other.at_borders, abs=0.05)
    assert borders(X, names[labels]) == one


def test_of_many_cells_some_are_looked_at(blood, monkeypatch):
    labels = CLUSTERS["leiden 1"](blood.adata.X)
    whole = borders(blood.adata.X, labels)
    monkeypatch.setattr("scfm_eval.datasets.label_origin._MOST", 400)
    part = borders(blood.adata.X, labels)
    assert part != whole
    assert part.predicted == pytest.approx(whole.predicted, abs=0.05)


def test_no_real_or_embedded_labels_are_mistaken_for_clusters(sound):
    findings = [finding for finding in sound.findings if finding.guard == "label_origin"]
    derived = sound.dataset.labels_from == "expression" or sound.dataset.name in EXPRESSION_DERIVED
    assert len(findings) == derived
    unstated = Cells(replace(sound.dataset, labels_from=""), sound.adata)
    if sound.dataset.organism != "simulated":
        seen = told(unstated.adata)
        assert bool(seen) == (sound.dataset.name in EXPRESSION_DERIVED)


def test_a_result_tells_of_it_and_the_run_goes_on(tmp_path):
    dataset = Dataset(
        name="toy", build=toy_cells, label_key="cell_type", labels_from="expression", organism="simulated"
    )
    result = judged(Cells(dataset, dataset.load()), tmp_path)
    assert [finding.guard for finding in result.dataset.findings] == ["label_origin"]
    with guards.without(["label_origin"]):
        assert judged(Cells(dataset, dataset.load()), tmp_path).dataset.findings == []


def test_a_file_states_it_and_a_joined_dataset_has_it(tmp_path):
    file = tmp_path / "my.h5ad"
    toy_cells().write_h5ad(file)
    assert dataset_from_spec(f"{file}:label=cell_type,labels_from=expression").labels_from == "expression"
    with pytest.raises(InvalidInputError, match="labels_from=expression or labels_from=independent"):
        dataset_from_spec(f"{file}:label=cell_type,labels_from=leiden")
    pbmc, sorted_cells, heart = map(find_dataset, ("pbmc3k", "sorted_blood", "heart"))
    assert joined(pbmc, sorted_cells).labels_from == "expression"
    assert joined(heart, sorted_cells).labels_from == ""
    assert joined(find_dataset("mixology"), sorted_cells).labels_from == "independent"
