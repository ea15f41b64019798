"""What the record says of a corpus."""

from __future__ import annotations

from dataclasses import replace

import pytest

from scfm_eval.pretrain.card import _data
from tests.pretrain.corpora import corpus, gene_ids, training_of


@pytest.mark.parametrize(
    ("gene", "human"), [(gene_ids()[0], True), ("ENSMUSG00000000001", False), ("ENSGALG00000000003", False)]
)
def test_human_are_human_genes_only(gene, human):
    cells = corpus()
    cells = replace(cells, genes=(gene, *cells.genes[1:]), symbols=(gene, *cells.symbols[1:]))
    assert _data(cells, training=training_of("scgpt", cells))["human"] is human
