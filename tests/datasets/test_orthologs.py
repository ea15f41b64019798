"""The packaged table of orthologs, and whose genes are whose."""

from __future__ import annotations

import gzip
from importlib.resources import files

import pandas as pd
import pytest

from scfm_eval.datasets.build_orthologs import main, ortholog_rows
from scfm_eval.datasets.genes import protein_coding_symbols
from scfm_eval.datasets.orthologs import HUMAN, MOUSE, found_organism, latin_name, read_as, read_orthologs
from scfm_eval.errors import InvalidInputError

PACKAGED = files("scfm_eval.datasets").joinpath("orthologs.tsv.gz")


def test_the_packaged_table_is_one_to_one_and_small():
    pairs = read_orthologs("packaged").pairs
    assert len(pairs) == 17_122
    for column in (0, 2):
        assert len({pair[column] for pair in pairs}) == len(pairs)
    assert len(PACKAGED.read_bytes()) < 400_000


def test_the_packaged_table_is_what_its_source_gives(real_data, tmp_path):
    main([str(real_data / "genes" / "human_mouse_orthologs.tsv.gz"), str(tmp_path / "made")])
    assert gzip.decompress((tmp_path / "made").read_bytes()) == gzip.decompress(PACKAGED.read_bytes())


def test_rows_by_hand():
    def row(human, kind):
        return {
            "Gene stable ID": human, "Gene name": "A", "Mouse gene stable ID": "M", "Mouse gene name": "a",
            "Mouse homology type": kind,
        }  # fmt: skip

    exported = [row("H2", "ortholog_one2one"), row("H1", "ortholog_one2many"), row("H0", "ortholog_one2one")]
    assert ortholog_rows([*exported, row("H0", "ortholog_one2one"), row("H3", "")]) == [
        ("H0", "A", "M", "a"),
        ("H2", "A", "M", "a"),
    ]


@pytest.mark.parametrize(
    ("genes", "organism"),
    [
        (["ENSMUSG00000057666.3", "ENSMUSG00000029580", "x"], MOUSE),
        (["ENSG00000111640", "ENSG00000075624"], HUMAN),
        (["Gapdh", "Actb", "Xkr4", "Gm37180"], MOUSE),
        (["GAPDH", "ACTB", "XKR4"], HUMAN),
        (["C2", "C3", "F10"], ""),
        (["GENE1", "GENE2"], ""),
        ([], ""),
        (["GAPDH", "Gapdh"], ""),
        (["Gapdh"] + [f"GENE{i}" for i in range(20)], ""),
    ],
)
def test_whose_genes_these_are(genes, organism):
    assert found_organism(pd.DataFrame(index=genes)) == organism


def test_human_symbols_are_human():
    assert found_organism(pd.DataFrame(index=protein_coding_symbols())) == HUMAN


def test_common_names_are_latin_ones():
    assert [latin_name(name) for name in ("mouse", "Human ", "homo sapiens", "Danio rerio")] == [
        MOUSE, HUMAN, HUMAN, "Danio rerio",
    ]  # fmt: skip


def test_a_symbol_of_two_genes_is_ambiguous_and_its_id_is_not():
    # two mouse genes are called Nrg1, each with one human ortholog
    table = read_orthologs("packaged")
    by_symbol = read_as(pd.DataFrame(index=["Nrg1"]), of=MOUSE, gene_ids="symbol", table=table)
    assert by_symbol.fate.tolist() == ["ambiguous"]
    assert by_symbol.names.index.tolist() == [""]
    by_id = read_as(pd.DataFrame(index=["ENSMUSG00000062991"]), of=MOUSE, gene_ids="ensembl", table=table)
    assert by_id.names.iloc[0].tolist() == ["ENSG00000157168", "NRG1"]


def test_a_pair_without_symbol_is_named_by_its_id(tmp_path):
    (tmp_path / "t.tsv").write_text("human_ensembl\thuman_symbol\tmouse_ensembl\tmouse_symbol\nENSG1\t\tENSMUSG1\tAa\n")
    made = read_as(
        pd.DataFrame(index=["Aa"]), of=MOUSE, gene_ids="symbol", table=read_orthologs(str(tmp_path / "t.tsv"))
    )
    assert made.names.index.tolist() == ["ENSG1"]
    assert made.fate.tolist() == ["mapped"]


def test_a_table_with_other_columns_says_which_it_has_and_which_are_needed(tmp_path):
    path = tmp_path / "mine.tsv"
    path.write_text("mouse\thuman\nGapdh\tGAPDH\n")
    with pytest.raises(InvalidInputError, match="its first line names 'mouse', 'human'") as told:
        read_orthologs(str(path))
    assert "human_ensembl, human_symbol, mouse_ensembl, mouse_symbol" in told.value.remedy
    path.write_text("human_ensembl\thuman_symbol\tmouse_ensembl\tmouse_symbol\nENSG01\n")
    with pytest.raises(InvalidInputError, match=r"AttributeError|no pair"):
        read_orthologs(str(path))
