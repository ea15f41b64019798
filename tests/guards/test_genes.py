"""Gene ids, gene coverage and organism: the genes are those that are declared, and those that a model reads."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from scfm_eval import guards
from scfm_eval.cells import Cells, model_view, require_organism
from scfm_eval.datasets.dataset import Dataset
from scfm_eval.datasets.view import Readable, require_readable
from scfm_eval.errors import InvalidInputError
from scfm_eval.models.card import card
from scfm_eval.provenance import weights_folder
from tests.guards.asked import MINIS
from tests.guards.judged import Logged, judged

HUMAN = ["TP53", "ACTB", "CD3E", "MS4A1", "NKG7", "ALB", "CD79A", "CD19", "LYZ", "CD8A"]
MOUSE = ["Trp53", "Actb", "Cd3e", "Ms4a1", "Nkg7", "Alb", "Cd79a", "Cd19", "Lyz2", "Cd8a"]


def made(genes):
    """Return cells of three types, with three genes of its own for each."""
    kind = np.arange(90) % 3
    rate = np.where(np.arange(len(genes)) % 3 == kind[:, None], 9.0, 2.0)
    obs = pd.DataFrame({"cell_type": np.array(list("abc"))[kind]}, index=[f"c{i}" for i in range(90)])
    counts = np.random.default_rng(0).poisson(rate).astype(np.float32) + np.eye(1, len(genes), dtype=np.float32)
    return AnnData(sparse.csr_matrix(counts), obs=obs, var=pd.DataFrame(index=genes))


def dataset(genes, **stated):
    return Dataset(name="toy", build=lambda: made(genes), label_key="cell_type", **stated)


@pytest.mark.filterwarnings("ignore:.*names are not unique")
def test_one_id_for_two_genes_is_refused_and_without_the_guard_the_first_keeps_it(tmp_path):
    twice = dataset(["TP53", *HUMAN[:9]])
    with pytest.raises(guards.GuardError, match="1 gene names occur more than once: TP53"):
        twice.load()
    with guards.without(["gene_ids"]):
        cells = Cells(twice, twice.load())
    assert cells.adata.var_names.tolist()[:2] == ["TP53", "TP53-1"]
    np.testing.assert_array_equal(cells.adata.X.toarray(), made(HUMAN).X.toarray())
    assert judged(cells, tmp_path)["accuracy"] > 0.5


def test_another_kind_of_ids_than_declared_is_refused_and_without_the_guard_taken_as_declared(tmp_path):
    wrong = dataset(HUMAN, gene_ids="ensembl")
    with pytest.raises(guards.GuardError, match="0% of the genes have the form of an Ensembl id: TP53"):
        wrong.load()
    with guards.without(["gene_ids"]):
        cells = Cells(wrong, wrong.load())
        assert cells.adata.var_names.tolist() == HUMAN
        with pytest.raises(InvalidInputError, match="state genes=symbol"):
            judged(cells, tmp_path)


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_the_order_of_genes_is_no_matter(seed):
    order = np.random.default_rng(seed).permutation(len(HUMAN))
    genes = [HUMAN[i] for i in order]
    assert dataset(genes).load().var_names.tolist() == genes
    with pytest.raises(guards.GuardError):
        dataset(genes, gene_ids="ensembl").load()


def test_little_that_is_readable_is_refused_and_read_without_the_guard(tmp_path):
    unknown = [f"UNHEARD{i}" for i in range(40)]
    given = Cells(dataset([*unknown, "TP53", "ACTB"]), dataset([*unknown, "TP53", "ACTB"]).load())

    class HumanIds(Logged):
        gene_ids = "ensembl"

    with pytest.raises(guards.GuardError, match=r"it can read 4.8% of the genes"):
        judged(given, tmp_path, model=HumanIds)
    with guards.without(["gene_coverage"]):
        result = judged(given, tmp_path, model=HumanIds)
    assert result.readable.n_genes == 2
    assert 0 < result.readable.counts < 0.1


def test_nothing_that_is_readable_is_refused_all_the_same():
    nothing = Readable(genes=0.0, counts=0.0, n_genes=0)
    with guards.without(["gene_coverage"]), pytest.raises(InvalidInputError, match=r"0.0% of the counts") as no:
        require_readable(nothing, model="m", dataset="d")
    assert not isinstance(no.value, guards.GuardError)


@pytest.mark.parametrize(
    ("genes", "stated"), [(MOUSE, "Mus musculus"), (MOUSE, "Homo sapiens"), (HUMAN, "Danio rerio")]
)
def test_another_organism_is_refused_and_read_as_it_is_named_without_the_guard(genes, stated, tmp_path):
    foreign = dataset(genes, organism=stated)
    cells = Cells(foreign, foreign.load())
    with pytest.raises(guards.GuardError, match="while logged reads Homo sapiens"):
        judged(cells, tmp_path)
    with guards.without(["organism"]):
        result = judged(cells, tmp_path)
    assert result["accuracy"] > 0.5
    assert result.readable.n_genes == len(genes)


@pytest.mark.parametrize("reader", MINIS, ids=lambda reader: reader.name)
def test_no_sound_dataset_is_refused_to_a_human_model(sound, reader):
    about, folder = card(reader), weights_folder(reader, None, offline=True)
    require_organism(about, sound)
    part = replace(sound, adata=sound.adata[:50].copy())
    simulated = sound.dataset.organism == "simulated"
    with guards.without(["gene_coverage"] if simulated else []):
        _, readable = model_view(reader, about, part, weights=folder)
    assert simulated or readable.counts > 0.3
