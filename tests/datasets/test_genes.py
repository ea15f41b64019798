"""The packaged gene table, on genes that are known by heart."""

from __future__ import annotations

import gzip
from importlib.resources import files

import numpy as np
import pytest

from scfm_eval.datasets.build_genes import gene_rows, write_genes
from scfm_eval.datasets.genes import (
    looks_ensembl,
    protein_coding_symbols,
    resolve,
    to_ensembl,
    to_symbol,
    without_version,
)


@pytest.mark.parametrize(
    ("symbol", "ensembl_id"),
    [
        ("TP53", "ENSG00000141510"),
        ("SEPT1", "ENSG00000180096"),  # previous symbol of SEPTIN1
        ("PNUTL3", "ENSG00000180096"),  # alias
        ("p53", "ENSG00000141510"),  # alias
        ("C1orf43", "ENSG00000143612"),
        ("C1ORF43", "ENSG00000143612"),  # upper-cased by other software
        ("Gapdh", None),  # mouse
        ("ACSM2", None),  # previous symbol of ACSM2A and of ACSM2B
        ("NOT-A-GENE", None),
    ],
)
def test_symbols_to_ensembl(symbol, ensembl_id):
    assert to_ensembl([symbol]) == [ensembl_id]


def test_ensembl_to_current_symbols_with_or_without_version():
    ids = ["ENSG00000141510.16", "ENSG00000180096", "ENSG00000000000"]
    assert to_symbol(ids) == ["TP53", "SEPTIN1", None]


def test_a_current_symbol_is_trusted_before_an_alias_of_another_gene():
    """AR is the androgen receptor, although AKR1B1 has it as an alias."""
    assert to_symbol(to_ensembl(["AR"])) == ["AR"]


def test_ambiguous_and_unmapped_are_named():
    found = resolve(["ACSM2", "NOT-A-GENE", "TP53"], source="symbol", target="ensembl")
    assert found.ambiguous == ["ACSM2"]
    assert found.unmapped == ["NOT-A-GENE"]
    assert found.targets.tolist() == [None, None, "ENSG00000141510"]


def test_an_id_of_the_vocabulary_is_kept_and_other_names_are_tried():
    def read(ids, vocabulary):
        return resolve(ids, source="symbol", target="symbol", vocabulary=vocabulary).targets.tolist()

    assert read(["SEPT1"], {"SEPT1", "SEPTIN1"}) == ["SEPT1"]
    assert read(["SEPTIN1"], {"SEPT1"}) == ["SEPT1"]
    assert read(["PNUTL3"], {"SEPT1", "SEPTIN1"}) == ["SEPTIN1"]
    assert read(["SEPTIN1"], {"TP53"}) == [None]


def test_a_name_that_is_another_gene_first_is_never_answered_with():
    """AR is an alias of AKR1B1, but a vocabulary's AR is the androgen receptor."""
    found = resolve(["AKR1B1"], source="symbol", target="symbol", vocabulary={"AR"})
    assert found.targets.tolist() == [None]
    assert found.unmapped == ["AKR1B1"]


def test_without_a_vocabulary_ids_of_the_same_namespace_stay():
    ids = ["SEPT1", "anything"]
    assert resolve(ids, source="symbol", target="symbol").targets.tolist() == ids
    assert resolve(["ENSG00000141510.5"], source="ensembl", target="ensembl").targets.tolist() == ["ENSG00000141510"]


def test_forms_of_ids():
    assert without_version("ENSG00000182378.15_PAR_Y") == "ENSG00000182378"
    assert without_version("AL627309.1") == "AL627309.1"
    assert looks_ensembl(["ENSG00000141510", "ENSMUSG00000059552.4", "TP53", "ENSA"]) == 0.5
    assert looks_ensembl([]) == 0.0


def test_most_protein_coding_symbols_survive_the_way_there_and_back():
    symbols = protein_coding_symbols()
    assert 19_000 < len(symbols) < 20_500
    back = np.array(to_symbol([gene or "" for gene in to_ensembl(symbols)]), dtype=object)
    assert np.mean(back == np.array(symbols, dtype=object)) > 0.999


def test_the_packaged_table_is_what_its_sources_give(real_data, tmp_path):
    from scfm_eval.datasets.build_genes import main

    main(
        [
            str(real_data / "genes" / "hgnc.tsv.gz"),
            str(real_data / "genes" / "gencode_human.tsv.gz"),
            str(tmp_path / "g"),
        ]
    )
    packaged = files("scfm_eval.datasets").joinpath("genes.tsv.gz").read_bytes()
    assert gzip.decompress((tmp_path / "g").read_bytes()) == gzip.decompress(packaged)
    assert len(packaged) < 2_000_000


def test_rows_of_the_table_by_hand(tmp_path):
    hgnc = [
        {"symbol": "B", "ensembl_id": "ENSG2", "locus_group": "protein-coding gene", "alias": "bee", "previous": "OLD"},
        {"symbol": "A", "ensembl_id": "", "locus_group": "pseudogene", "alias": "", "previous": ""},
    ]
    gencode = [
        {"ensembl_id": "ENSG2", "symbol": "B2"},  # HGNC has this id: its name wins
        {"ensembl_id": "ENSG3", "symbol": "A"},  # fills a gap of HGNC
        {"ensembl_id": "ENSG4", "symbol": "AC1.1"},
        {"ensembl_id": "ENSG5", "symbol": "ENSG5"},
    ]
    rows = gene_rows(hgnc=hgnc, gencode=gencode)
    assert rows == [("A", "ENSG3", "", "", ""), ("AC1.1", "ENSG4", "", "", ""), ("B", "ENSG2", "1", "OLD", "bee")]
    write_genes(rows, out=tmp_path / "one")
    write_genes(list(rows), out=tmp_path / "two")
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
