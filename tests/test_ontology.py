"""The Cell Ontology: what is read of a file, which terms descend from which, and which term a label stands for."""

from __future__ import annotations

import json
import random
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scfm_eval.errors import InvalidInputError
from scfm_eval.ontology import UNREACHED, Ontology, load_ontology, map_labels, packaged, read_obo

GOLDEN = Path(__file__).parent / "golden_metrics" / "ontology_graph"
EXPECTED = json.loads((GOLDEN / "expected.json").read_text())["values"]
MINI = read_obo(GOLDEN / "mini_cl.obo")


def written(folder, *stanzas):
    path = folder / "some.obo"
    path.write_text("format-version: 1.2\n\n" + "\n\n".join(f"[Term]\n{stanza}" for stanza in stanzas))
    return path


def test_the_golden_file_is_read_as_other_parsers_read_it():
    assert dict(MINI.names) == EXPECTED["names"]
    assert {term: sorted(above) for term, above in MINI.parents.items()} == EXPECTED["parents"]
    assert sum(map(len, MINI.parents.values())) == EXPECTED["n_is_a_edges"]
    assert MINI.root == EXPECTED["root"]
    assert dict(MINI.replaced) == EXPECTED["alt_ids"] | EXPECTED["replaced_by"]
    assert "mini-cl/public" in MINI.release
    assert MINI.synonyms["CL:0000980"] == ("plasmablast (synonym, with : and ! signs)",)


def test_ancestors_and_depths_are_golden():
    up = MINI.distances_up
    assert dict(zip(MINI.terms, (up < UNREACHED).sum(axis=1), strict=True)) == EXPECTED["n_ancestors_incl_self"]
    assert dict(zip(MINI.terms, MINI.n_descendants, strict=True)) == EXPECTED["n_descendants_incl_self"]
    assert dict(zip(MINI.terms, up[:, MINI.position[MINI.root]], strict=True)) == EXPECTED["depth_shortest"]
    edges = MINI.neighbors()
    assert (edges != edges.T).nnz == 0
    assert edges.sum() == 2 * EXPECTED["n_is_a_edges"]


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_the_order_of_stanzas_means_nothing(seed, tmp_path_factory):
    header, *stanzas = (GOLDEN / "mini_cl.obo").read_text().split("\n[")
    random.Random(seed).shuffle(stanzas)
    path = tmp_path_factory.mktemp("obo") / "shuffled.obo"
    path.write_text("\n[".join([header, *(stanza.strip() + "\n" for stanza in stanzas)]))
    shuffled = read_obo(path)
    assert shuffled.names == MINI.names
    assert shuffled.replaced == MINI.replaced
    np.testing.assert_array_equal(shuffled.distances_up, MINI.distances_up)


@pytest.mark.parametrize(
    ("stanzas", "found"),
    [
        ((), "no term whose id starts with CL:"),
        (("id: GO:1\nname: x",), "no term whose id starts with CL:"),
        (("id: CL:1\nis_a: CL:2 ! gone",), "missing or obsolete: CL:2"),
        (("id: CL:1\nis_a: CL:2", "id: CL:2\nis_obsolete: true"), "missing or obsolete: CL:2"),
        (("id: CL:1\nis_a: CL:2", "id: CL:2\nis_a: CL:1"), "their own ancestors"),
    ],
)
def test_a_bad_file_is_refused(stanzas, found, tmp_path):
    with pytest.raises(InvalidInputError, match=found):
        read_obo(written(tmp_path, *stanzas))


def test_a_file_that_is_none_is_refused(tmp_path):
    with pytest.raises(InvalidInputError, match="pass the path of an"):
        load_ontology(str(tmp_path / "nothing.obo"))
    (tmp_path / "binary.obo").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InvalidInputError):
        load_ontology(str(tmp_path / "binary.obo"))


def test_the_packaged_ontology_has_the_golden_ancestry():
    full = packaged()
    assert full is load_ontology()
    assert full.release.startswith("CL v20")
    assert full.names[full.root] == "cell"
    up = full.distances_up < UNREACHED
    for child, above in MINI.parents.items():
        for parent in above:
            assert up[full.position[child], full.position[parent]], (child, parent)


@pytest.mark.parametrize(
    ("label", "term", "how"),
    [
        ("CL:0000084", "CL:0000084", "id"),
        ("CL_0000084", "CL:0000084", "id"),
        ("CL:0000003", "CL:0000000", "id"),
        ("T cell", "CL:0000084", "name"),
        ("t_cells", "CL:0000084", "name"),
        ("T-Cells ", "CL:0000084", "name"),
        ("T lymphocytes", "CL:0000084", "synonym"),
        ("NK cells", "CL:0000623", "synonym"),
        ("CD14+ Monocytes", "CL:0001054", "name"),
        ("CD4-positive alpha-beta T cell", "CL:0000624", "name"),
    ],
)
def test_spellings_of_a_label(label, term, how):
    found = map_labels([label], packaged())
    assert (found.terms, found.how, found.unmapped) == ({label: term}, {label: how}, ())


@pytest.mark.parametrize("label", ["CD4 T cells", "alpha", "delta-like", "Dendritic", "CL:9999999", "s", "", "+"])
def test_nothing_is_guessed(label):
    assert map_labels([label], packaged()).unmapped == (label,)


def test_a_table_decides_and_old_ids_lead_to_new_ones():
    table = {"T cell": "CL_9990001", "mine": "CL:9990011", "lost": "CL:9990010"}
    found = map_labels(["T cell", "mine", "lost", "monocyte", "mine"], MINI, table=table)
    assert found.terms == {"T cell": "CL:0000236", "mine": "CL:0000624", "monocyte": "CL:0000576"}
    assert found.how == {"T cell": "given", "mine": "given", "monocyte": "name"}
    assert found.unmapped == ("lost",)


def test_a_spelling_of_two_terms_maps_to_none_unless_it_is_the_name_of_one():
    two = Ontology(
        release="two",
        names={"CL:1": "cell", "CL:2": "a b", "CL:3": "c"},
        parents={"CL:2": ("CL:1",), "CL:3": ("CL:1",)},
        synonyms={"CL:2": ("x",), "CL:3": ("x", "a-b")},
        replaced={},
    )
    found = map_labels(["X", "A_B"], two)
    assert found.unmapped == ("X",)
    assert found.terms == {"A_B": "CL:2"}
