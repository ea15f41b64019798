from __future__ import annotations

import sys

import pytest

from scfm_eval.baselines.scanorama import Scanorama
from scfm_eval.errors import InvalidInputError


def test_mixes_batches_and_prints_nothing(cells, separation, capfd):
    pytest.importorskip("scanorama")
    from scfm_eval.baselines.pca import PCA

    pca = PCA()
    pca.fit(cells)
    batch = cells.obs["batch"].to_numpy()
    assert separation(Scanorama().embed(cells), batch) < separation(pca.embed(cells), batch)
    assert capfd.readouterr().out == ""
    assert Scanorama.transductive
    assert not hasattr(Scanorama, "fit")


def test_not_installed_says_how_to_install(cells, monkeypatch):
    monkeypatch.setitem(sys.modules, "scanorama", None)
    with pytest.raises(InvalidInputError, match=r"pip install scfm-eval\[scanorama\]"):
        Scanorama().embed(cells)


def test_without_batches_it_says_what_to_do(cells):
    pytest.importorskip("scanorama")
    del cells.obs["batch"]
    with pytest.raises(InvalidInputError, match="batch key"):
        Scanorama().embed(cells)
