"""Two datasets as one: genes by any name, labels through the ontology, and nothing left out in silence."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from scipy import sparse

from scfm_eval.datasets.catalogue import hao_pbmc, pbmc3k
from scfm_eval.datasets.dataset import Dataset
from scfm_eval.datasets.joined import joined
from scfm_eval.datasets.label_matching import match_labels
from scfm_eval.errors import InvalidInputError
from scfm_eval.ontology import packaged

SYMBOLS = ["TP53", "CD4", "CD8A", "MS4A1", "SEPTIN1"]
ENSEMBL = ["ENSG00000010610.9", "ENSG00000141510", "ENSG00000156738", "ENSG00000180096"]


def declared(name, *, labels, genes=SYMBOLS, counts=None, donor=False, **known):
    def build():
        X = np.arange(1, len(labels) * len(genes) + 1).reshape(len(labels), -1) if counts is None else counts
        obs = pd.DataFrame({"type": labels}, index=[f"c{i}" for i in range(len(labels))])
        obs["patient"] = [f"p{i % 2}" for i in range(len(labels))]
        return AnnData(sparse.csr_matrix(np.asarray(X, dtype=np.float32)), obs=obs, var=pd.DataFrame(index=genes))

    donor_key = "patient" if donor else None
    return Dataset(name=name, build=build, label_key="type", donor_key=donor_key, **known)


def matched(source, target, **terms):
    found = match_labels(source, target, ontology=packaged(), **terms)
    return dict(found.source), dict(found.target)


def test_the_same_term_under_two_names_is_one_class():
    ours, theirs = matched(["B cells", "NK cells"], ["natural killer cell", "B_cell"])
    assert ours == {"B cells": "B cells", "NK cells": "NK cells"}
    assert theirs == {"natural killer cell": "NK cells", "B_cell": "B cells"}


def test_a_finer_label_counts_as_the_coarser_one_of_the_other_side():
    ours, theirs = matched(
        ["dendritic cell", "classical monocyte", "non-classical monocyte"],
        ["plasmacytoid dendritic cell", "conventional dendritic cell", "monocyte"],
    )
    assert ours["classical monocyte"] == ours["non-classical monocyte"] == theirs["monocyte"] == "monocyte"
    assert set(theirs.values()) == {"dendritic cell", "monocyte"}


def test_a_label_that_both_sides_have_stays_what_it_is():
    fine = "CD4-positive, alpha-beta T cell"
    ours, theirs = matched(["T cell", fine, "B cell"], [fine, "CD8-positive, alpha-beta T cell", "B cell"])
    assert ours == {"T cell": "T cell", fine: fine, "B cell": "B cell"}
    assert theirs == {fine: fine, "CD8-positive, alpha-beta T cell": "T cell", "B cell": "B cell"}


def test_labels_without_a_term_match_by_spelling_and_others_not_at_all():
    ours, theirs = matched(["Cluster 1", "cluster 2"], ["cluster  1", "cluster 3"])
    assert (ours, theirs) == ({"Cluster 1": "Cluster 1"}, {"cluster  1": "Cluster 1"})
    assert matched(["T cell"], ["hepatocyte"]) == ({}, {})


def test_stated_terms_decide_on_either_side():
    ours, theirs = matched(
        ["mine"], ["yours"], source_terms={"mine": "CL:0000236"}, target_terms={"yours": "CL_0000236"}
    )
    assert (ours, theirs) == ({"mine": "mine"}, {"yours": "mine"})
    assert matched(["same"], ["Same"], target_terms={"Same": "CL:0000236"}) == ({"same": "same"}, {"Same": "same"})


def test_genes_are_found_across_namespaces_and_versions():
    source = declared("one", labels=["B cell", "T cell"])
    target = declared("two", labels=["T cell", "B cell"], genes=ENSEMBL, gene_ids="ensembl")
    cells = joined(source, target).load()
    assert cells.var_names.tolist() == ["TP53", "CD4", "MS4A1", "SEPTIN1"]
    # CD4 is the target's first gene, TP53 its second
    np.testing.assert_array_equal(cells.X.toarray(), [[1, 2, 4, 5], [6, 7, 9, 10], [2, 1, 3, 4], [6, 5, 7, 8]])
    back = joined(target, source).load()
    assert back.var_names.tolist() == [name.partition(".")[0] for name in ENSEMBL]
    np.testing.assert_array_equal(back.X.toarray()[2:], [[2, 1, 4, 5], [7, 6, 9, 10]])


def test_the_older_name_of_a_gene_is_the_same_gene():
    source = declared("one", labels=["B cell", "T cell"])
    target = declared("two", labels=["T cell", "B cell"], genes=["SEPT1", "CD4"])
    assert joined(source, target).load().var_names.tolist() == ["CD4", "SEPTIN1"]


def test_cells_are_canonical_and_tell_where_they_come_from():
    source = declared("one", labels=["B cell", "T cell", "B cell"], donor=True)
    target = declared("two", labels=["T cell", "B cell"], donor=True)
    dataset = joined(source, target)
    cells = dataset.load()
    assert dataset.name == "one->two"
    assert dataset.keys == tuple(cells.obs.columns) == ("label", "donor", "domain")
    assert cells.obs_names.tolist() == ["one:c0", "one:c1", "one:c2", "two:c0", "two:c1"]
    assert cells.obs["domain"].tolist() == ["source"] * 3 + ["target"] * 2
    assert cells.obs["donor"].tolist() == ["one:p0", "one:p1", "one:p0", "two:p0", "two:p1"]
    assert all(isinstance(dtype, pd.CategoricalDtype) for dtype in cells.obs.dtypes)
    assert isinstance(cells.X, sparse.csr_matrix)
    assert cells.X.dtype == np.float32
    assert joined(source, replace(target, donor_key=None)).keys == ("label", "domain")


def test_what_is_left_out_is_counted_by_reason():
    counts = np.ones((5, 5))
    counts[4, 1:] = 0
    source = declared("one", labels=["B cell", "T cell", "unknown", "hepatocyte", "B cell"], counts=counts)
    target = declared("two", labels=["T cell", "B cell", "neuron", "neuron"], genes=SYMBOLS[1:])
    cells = joined(source, target).load()
    assert cells.n_obs == 4
    assert cells.uns["joined"]["left_out"] == {
        "source": {"(no label)": 1, "hepatocyte": 1, "(no counts in the common genes)": 1},
        "target": {"neuron": 2},
    }


def test_terms_in_a_column_are_used():
    source = declared("one", labels=["mine", "T cell", "mine"])
    target = declared("two", labels=["B cell", "T cell"])
    stated = replace(source, ontology_terms=(("mine", "CL:0000236"), ("T cell", "CL:0000084")))
    assert joined(stated, target).load().uns["joined"]["labels"]["target"] == {"B cell": "mine", "T cell": "T cell"}
    with pytest.raises(InvalidInputError, match="T cell; one has T cell, mine; two has B cell, T cell"):
        joined(source, target).load()


def test_the_declaration_speaks_for_both():
    source = declared("one", labels=["B cell", "T cell"], seen_by=("a", "b"), licence="CC0", citation="10.1/one")
    target = declared("two", labels=["B cell", "T cell"], seen_by=("b", "c"), licence="CC0", citation="10.1/two")
    dataset = joined(source, target)
    assert dataset.seen_by == ("a", "b", "c")
    assert dataset.parts == ("one", "two")
    assert (dataset.licence, dataset.citation) == ("CC0", "10.1/one; 10.1/two")


@pytest.mark.parametrize(
    ("source", "target", "found"),
    [
        ({"labels": ["B cell", "T cell"]}, {"labels": ["B cell", "T cell"], "genes": ["ALB", "INS"]}, "0 common genes"),
        ({"labels": ["B cell", "T cell"]}, {"labels": ["neuron", "hepatocyte"]}, "none; one has B cell, T cell"),
    ],
)
def test_nothing_in_common_is_refused(source, target, found):
    with pytest.raises(InvalidInputError, match=found):
        joined(declared("one", **source), declared("two", **target)).load()


def test_unlabelled_datasets_and_one_dataset_twice_are_refused():
    one = declared("one", labels=["B cell", "T cell"])
    with pytest.raises(InvalidInputError, match="no label key in two"):
        joined(one, replace(one, name="two", label_key=None))
    with pytest.raises(InvalidInputError, match="the same dataset twice"):
        joined(one, one)


def test_blood_of_two_studies(real_data):
    cells = joined(pbmc3k, hao_pbmc).load(offline=True)
    assert real_data
    assert cells.n_vars > 7000
    table = pd.crosstab(cells.obs["label"], cells.obs["domain"])
    assert table.loc["Dendritic cells"].to_dict() == {"source": 37, "target": 237}
    assert cells.uns["joined"]["labels"]["source"]["CD14+ Monocytes"] == "Monocytes"
    counts = sum(sum(reasons.values()) for reasons in cells.uns["joined"]["left_out"].values())
    assert cells.n_obs + counts == 2700 + 1336
