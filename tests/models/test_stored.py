"""Stored rows are found by the names of the cells, in every format, and what cannot be trusted is refused."""

from __future__ import annotations

from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import pytest

from scfm_eval.errors import InvalidInputError
from scfm_eval.models.card import card
from scfm_eval.models.protocols import Embedder, missing_methods
from scfm_eval.models.stored import stored_embedding

ROWS = np.arange(12, dtype=np.float16).reshape(4, 3) / 4
IDS = ["d", "a", "c", "b"]
CELLS = ad.AnnData(obs=pd.DataFrame(index=["a", "b", "c"]))
ALIGNED = ROWS[[1, 3, 2]].astype(np.float32)


def write(folder: Path, form: str, *, rows=ROWS, ids=IDS) -> str:
    path = folder / f"emb.{form}"
    if form == "h5ad":
        obs = pd.DataFrame(index=pd.Index(ids, dtype=str))
        ad.AnnData(obs=obs, obsm={"X_mine": rows, "X_pca": rows}).write_h5ad(path)
        return f"{path}:X_mine"
    if form == "npz":
        np.savez(path, embedding=rows, cell_ids=np.array(ids))
    elif form == "npy":
        np.save(path, rows)
        (folder / "emb.ids.txt").write_text("\n".join(ids) + "\n")
    else:
        pd.DataFrame(rows.astype(np.float32), index=pd.Index(ids), columns=["x", "y", "z"]).to_parquet(path)
    return str(path)


@pytest.fixture(params=["h5ad", "npz", "npy", "parquet"])
def form(request) -> str:
    return request.param


@pytest.mark.filterwarnings("ignore::UserWarning")
class TestEveryFormat:
    def test_rows_are_found_by_name(self, tmp_path, form):
        made = stored_embedding(write(tmp_path, form))().embed(CELLS)
        assert made.dtype == np.float32
        np.testing.assert_array_equal(made, ALIGNED)

    def test_card_follows_the_file(self, tmp_path, form):
        spec = write(tmp_path, form)
        first = card(stored_embedding(spec))
        assert first.name == ("emb-X_mine" if form == "h5ad" else "emb")
        assert (first.role, first.gene_ids, len(first.revision)) == ("model", None, 64)
        assert missing_methods(stored_embedding(spec), Embedder) == []
        write(tmp_path, form, rows=ROWS + 1)
        assert card(stored_embedding(spec)).revision != first.revision

    def test_a_cell_without_a_row_is_named(self, tmp_path, form):
        model = stored_embedding(write(tmp_path, form))()
        with pytest.raises(InvalidInputError, match="none for 1 of them: zz"):
            model.embed(ad.AnnData(obs=pd.DataFrame(index=["a", "zz"])))

    def test_repeated_ids_are_named(self, tmp_path, form):
        with pytest.raises(InvalidInputError, match=r"more than once: a$|more than once: a\n"):
            stored_embedding(write(tmp_path, form, ids=["a", "b", "a", "c"]))()

    def test_values_that_are_not_finite_are_named(self, tmp_path, form):
        rows = ROWS.copy()
        rows[1, 2] = np.inf
        with pytest.raises(InvalidInputError, match="1 rows: a"):
            stored_embedding(write(tmp_path, form, rows=rows))()


def test_names_beside_the_key_are_unambiguous(tmp_path):
    np.savez(tmp_path / "emb.npz", X=ROWS, names=np.array(IDS))
    np.testing.assert_array_equal(stored_embedding(str(tmp_path / "emb.npz"))().embed(CELLS), ALIGNED)
    np.savez(tmp_path / "emb.npz", X=ROWS, Y=ROWS + 1, names=np.array(IDS))
    made = stored_embedding(f"{tmp_path / 'emb.npz'}:Y")
    assert made.name == "emb-Y"
    np.testing.assert_array_equal(made().embed(CELLS), ALIGNED + 1)
    for spec in (tmp_path / "emb.npz", f"{tmp_path / 'emb.npz'}:Z"):
        with pytest.raises(InvalidInputError, match="not clear"):
            stored_embedding(str(spec))()


def test_ids_of_an_npy_may_lie_elsewhere(tmp_path):
    write(tmp_path, "npy")
    (tmp_path / "emb.ids.txt").rename(tmp_path / "cells.txt")
    np.testing.assert_array_equal(stored_embedding(f"{tmp_path / 'emb.npy'}:cells.txt")().embed(CELLS), ALIGNED)
    with pytest.raises(InvalidInputError, match=r"no ids in .*emb\.ids\.txt"):
        stored_embedding(str(tmp_path / "emb.npy"))()


def test_a_change_of_the_ids_changes_the_revision(tmp_path):
    spec = write(tmp_path, "npy")
    before = stored_embedding(spec).revision
    (tmp_path / "emb.ids.txt").write_text("\n".join(reversed(IDS)))
    assert stored_embedding(spec).revision != before


def test_ids_of_a_table_may_be_a_column(tmp_path):
    table = pd.DataFrame({"cell_id": IDS, "x": ROWS[:, 0].astype(np.float32)})
    table.to_parquet(tmp_path / "emb.parquet")
    np.testing.assert_array_equal(stored_embedding(str(tmp_path / "emb.parquet"))().embed(CELLS), ALIGNED[:, :1])
    table.drop(columns="cell_id").to_parquet(tmp_path / "emb.parquet")
    with pytest.raises(InvalidInputError, match="cell_id"):
        stored_embedding(str(tmp_path / "emb.parquet"))()


def test_a_missing_key_names_what_is_there(tmp_path):
    spec = write(tmp_path, "h5ad")
    with pytest.raises(InvalidInputError, match="X_mine, X_pca"):
        stored_embedding(spec.replace("X_mine", "X_other"))()


@pytest.mark.parametrize("spec", ["none.npy", "none.h5ad:X", "emb.csv"])
def test_files_that_cannot_be_read_are_refused(tmp_path, spec):
    (tmp_path / "emb.csv").write_text("a,1")
    with pytest.raises(InvalidInputError, match=r"no such file|csv file"):
        stored_embedding(str(tmp_path / spec))


def test_objects_are_never_unpickled(tmp_path):
    np.savez(tmp_path / "emb.npz", embedding=ROWS, cell_ids=np.array(IDS, dtype=object))
    with pytest.raises(InvalidInputError, match="allow_pickle"):
        stored_embedding(str(tmp_path / "emb.npz"))()


def test_as_many_ids_as_rows(tmp_path):
    np.savez(tmp_path / "emb.npz", embedding=ROWS, cell_ids=np.array(IDS[:3]))
    with pytest.raises(InvalidInputError, match="3 ids for 4 rows"):
        stored_embedding(str(tmp_path / "emb.npz"))()


def test_published_embeddings_of_heart(real_data):
    made = stored_embedding(str(real_data / "heart_transcriptformer_sapiens.npz"))
    heart = ad.read_h5ad(real_data / "heart.h5ad", backed="r")
    with np.load(real_data / "heart_transcriptformer_sapiens.npz") as file:
        first = file["embedding"][file["cell_ids"] == heart.obs_names[7]]
    rows = made().embed(heart)
    assert rows.shape == (1000, 2048)
    np.testing.assert_array_equal(rows[7], first[0].astype(np.float32))
