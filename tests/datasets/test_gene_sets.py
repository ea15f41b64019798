"""Gene sets and networks: what is packaged, what is read of files, and what is refused."""

from __future__ import annotations

from zipfile import ZipFile

import numpy as np
import pytest

from scfm_eval.datasets.build_gene_sets import propagated, term_rows, write_terms
from scfm_eval.datasets.catalogue import synthetic_network
from scfm_eval.datasets.gene_sets import load_gene_sets, read_gmt, read_protein_atlas
from scfm_eval.datasets.networks import Network, check_first_line, load_network, measured, network_of
from scfm_eval.datasets.synthetic import simulate_network
from scfm_eval.datasets.view import fingerprint
from scfm_eval.errors import InvalidInputError
from tests.toys import toy_cells

PARENTS = {"c": ["b"], "b": ["a"], "d": ["a"]}


def test_genes_of_a_term_have_every_term_above_it():
    found = propagated({"c": {"G1"}, "d": {"G2"}, "a": {"G3"}}, parents=PARENTS)
    assert found == {"c": {"G1"}, "b": {"G1"}, "d": {"G2"}, "a": {"G1", "G2", "G3"}}


def test_terms_are_kept_by_size_and_once_for_the_same_genes():
    few, many = frozenset(f"G{i}" for i in range(19)), frozenset(f"G{i}" for i in range(25))
    about = dict.fromkeys("abcd", ("name", "aspect"))
    rows = term_rows({"c": many, "b": many, "d": few, "a": many | {"H"}}, about=about, parents=PARENTS)
    assert [row[0] for row in rows] == ["a", "c"]


def test_the_same_rows_give_the_same_bytes(tmp_path):
    row = ("GO:1", "name", "aspect", "A|B")
    write_terms([row], out=tmp_path / "one")
    write_terms([row], out=tmp_path / "two")
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


def test_the_packaged_terms_are_what_they_say():
    packaged = load_gene_sets()
    assert len(packaged.sets) == 2888
    assert "2022-07-01" in packaged.release
    assert all(20 <= len(each.genes) <= 500 for each in packaged.sets)
    named = {each.name: each.genes for each in packaged.sets}
    assert {"BRCA1", "CHEK1"} <= named["DNA repair"]
    assert {"PSMA1", "PSMD1"} <= named["proteasome complex"]
    # annotated with terms below
    assert "LCK" in named["T cell activation"]


def test_genes_are_found_by_any_of_their_names(tmp_path):
    (tmp_path / "my.gmt").write_text("one\tna\tCD3E\tPTPRC\tnobody\n\ntwo\ttext\tMS4A1\n")
    sets = read_gmt(tmp_path / "my.gmt")
    assert [(each.name, each.kind, len(each.genes)) for each in sets.sets] == [("one", "", 3), ("two", "text", 1)]
    by_symbol = sets.members(["MS4A1", "CD45", "CD3E", "GAPDH", "PTPRC"])
    np.testing.assert_array_equal(by_symbol[:, 0], [False, True, True, False, False])
    by_id = sets.members(["ENSG00000156738", "ENSG00000198851.10", "ENSG00000111640"])
    np.testing.assert_array_equal(by_id, [[False, True], [True, False], [False, False]])


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"one\tdescription\n", "line 1 without a gene"),
        (b"one\td\tA\none\td\tB\n", "one twice, in line 2"),
        (b"\td\tA\n", "without a name"),
        (b"\n\n", "no set"),
        (b"\xff\xfe\x00", "UnicodeDecodeError"),
    ],
)
def test_malformed_gmt_is_refused(tmp_path, content, said):
    (tmp_path / "bad.gmt").write_bytes(content)
    with pytest.raises(InvalidInputError, match=said):
        load_gene_sets(str(tmp_path / "bad.gmt"))


def test_a_gmt_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(InvalidInputError, match="FileNotFoundError"):
        load_gene_sets(str(tmp_path / "none.gmt"))


def test_tissues_of_the_protein_atlas(tmp_path):
    table = (
        "Gene\tRNA tissue specificity\tRNA tissue specific nTPM\n"
        "ALB\tTissue enriched\tliver: 900.1\nINS\tTissue enriched\tpancreas: 5\nGENE\tLow tissue specificity\t\n"
        "BOTH\tGroup enriched\tliver: 5;pancreas: 6\n"
    )
    with ZipFile(tmp_path / "atlas.zip", "w") as packed:
        packed.writestr("proteinatlas.tsv", table)
    found = {each.id: each.genes for each in read_protein_atlas(tmp_path / "atlas.zip").sets}
    assert found == {"liver": {"ALB", "BOTH"}, "pancreas": {"INS", "BOTH"}}
    with ZipFile(tmp_path / "other.zip", "w") as packed:
        packed.writestr("proteinatlas.tsv", "Gene\tSomething\nALB\t1\n")
    with pytest.raises(InvalidInputError, match="no columns Gene"):
        read_protein_atlas(tmp_path / "other.zip")
    (tmp_path / "torn.zip").write_bytes(b"PK\x03")
    with pytest.raises(InvalidInputError, match="BadZipFile"):
        read_protein_atlas(tmp_path / "torn.zip")


@pytest.mark.parametrize("text", ["TF,target\nA,B\nA,C,0.5\nA,B\n", "A,B\nA,C\n", "Gene1\tGene2\nA\tB\nA\tC\n"])
def test_a_network_is_two_columns(tmp_path, text):
    (tmp_path / "net.csv").write_text(text)
    assert load_network(str(tmp_path / "net.csv")).edges == (("A", "B"), ("A", "C"))


@pytest.mark.parametrize(
    ("text", "said"), [("", "no edge"), ("A,B\nC\n", "without two genes"), ("A,\n", "without two")]
)
def test_a_malformed_network_is_refused(tmp_path, text, said):
    (tmp_path / "bad.csv").write_text(text)
    with pytest.raises(InvalidInputError, match=said):
        load_network(str(tmp_path / "bad.csv"))


def _named(tmp_path, text):
    (tmp_path / "net.csv").write_text(text)
    return load_network(str(tmp_path / "net.csv"))


@pytest.mark.parametrize("text", ["from,to\nA,B\nA,C\n", "TF,regulates\nA,B\n", "source,aim\nA,B\n"])
def test_a_line_of_unknown_names_is_no_edge(tmp_path, text):
    with pytest.raises(InvalidInputError, match="of which neither is a gene of the dataset") as told:
        check_first_line(_named(tmp_path, text), ["A", "B", "C"])
    assert "regulator or source or tf or gene1, then target" in told.value.remedy


@pytest.mark.parametrize(
    "text", ["Regulator,Target\nX,Y\n", "A,X\nX,Y\n", "X,Y\nX,A\n", "SOX2,NANOG\nA,B\n", "ENSG00000181449,X\n"]
)
def test_a_first_line_that_can_be_an_edge_is_one(tmp_path, text):
    check_first_line(_named(tmp_path, text), ["A", "B", "ENSG00000181449"])


def test_the_network_of_a_dataset_has_no_line_of_names():
    check_first_line(Network("", (("X", "Y"),)), ["A"])
    check_first_line(Network("", (), is_named=False), ["A"])


def test_a_network_is_read_as_far_as_its_genes_are_measured():
    network = Network("", (("T1", "A"), ("T1", "T1"), ("T2", "T1"), ("B", "B"), ("T2", "gone")))
    found = measured(network, ["A", "B", "T2", "T1", "other"])
    # B regulates nothing but itself: one of the genes, and no regulator
    assert (found.genes, found.n_regulators) == (("T1", "T2", "A", "B"), 2)
    assert [tuple(edge) for edge in np.argwhere(found.adjacency)] == [(0, 2), (1, 0)]
    assert (found.n_absent, found.n_loops) == (1, 2)


def test_the_simulated_network_is_in_the_cells_and_in_their_hash():
    cells, truth = simulate_network(seed=0)
    loaded = synthetic_network.load()
    assert synthetic_network.keys == ("network",)
    assert network_of(loaded).edges == tuple(truth.edges)
    assert len(truth.edges) == 500
    other = loaded.copy()
    other.uns["network"] = loaded.uns["network"][1:]
    assert fingerprint(other) != fingerprint(loaded) != fingerprint(cells)
    source, target = truth.edges[0]
    X = np.log1p(cells.X.toarray() / cells.X.sum(axis=1) * 1e4)
    r = np.corrcoef(X[:, cells.var_names.get_loc(source)].ravel(), X[:, cells.var_names.get_loc(target)].ravel())[0, 1]
    assert abs(r) > 0.1


def test_cells_without_a_network_say_so():
    with pytest.raises(InvalidInputError, match="--network"):
        network_of(toy_cells())
