"""Files that would end, fill or hang the process that reads them end another one, and are refused."""

from __future__ import annotations

import pickle
import struct
import time
import zipfile
import zlib

import h5py
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from anndata import AnnData

from scfm_eval import trial
from scfm_eval.datasets.dataset import read_h5ad
from scfm_eval.errors import InvalidInputError
from scfm_eval.models import checkpoint
from scfm_eval.models.embedding_files import read_embedding

SECONDS = 20  # of a machine with other work


def _deep(opcode: bytes, times: int) -> bytes:
    return b"\x80\x02" + b"K\x01" + opcode * times


def _laughs(times: int, opcode: bytes) -> bytes:
    """Return a pickle of pairs of one pair of one pair …: small, and endless once it is written out."""
    made = b"\x80\x02K\x01"
    for place in range(times):
        made += b"q" + bytes([place]) + b"h" + bytes([place]) + opcode
    return made


def _list_of_pairs(times: int) -> bytes:
    made = b"\x80\x02]"
    for place in range(times):
        made += b"q" + bytes([place]) + b"0" + b"](h" + bytes([place]) + b"h" + bytes([place]) + b"e"
    return made + b"."


HOSTILE = {
    "a place in the memo far out": b"\x80\x02Nr\xff\xff\xff\x7f.",
    "text of a length that is not there": b"\x80\x04\x8d" + struct.pack("<Q", 2**62) + b"x.",
    "a bytearray of a length that is not there": b"\x80\x05\x96" + struct.pack("<Q", 2**40) + b"x.",
    "tuples in tuples as a name": b"\x80\x02}" + _deep(b"\x85", 2_000_000)[2:] + b"Ns.",
    "pairs of pairs as a name": b"\x80\x02}" + _laughs(60, b"\x86")[2:] + b"Ns.",
    "pairs of pairs": _laughs(60, b"\x86") + b".",
    "lists of pairs of lists": _list_of_pairs(60),
    "lists in lists": b"\x80\x02" + b"(" * 200_000 + b"l" * 200_000 + b".",
    "a list in itself": b"\x80\x02]q\x00h\x00a.",
    "a number with a million digits": b"\x80\x02\x8b" + struct.pack("<i", 500_000) + b"\x01" * 500_000 + b".",
    "half a letter": b"\x80\x02X\x03\x00\x00\x00\xed\xa0\x80.",
    "many texts that are one": b"\x80\x02X@B\x0f\x00" + b"x" * 10**6 + b"q\x000](" + b"h\x00" * 10**5 + b"e.",
}  # fmt: skip


@pytest.fixture
def hurried(monkeypatch):
    monkeypatch.setattr(trial, "SECONDS", 1.0)


@pytest.mark.usefixtures("hurried")
@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_pickle_is_refused_in_time(tmp_path, name):
    (tmp_path / "a.pkl").write_bytes(HOSTILE[name])
    began = time.monotonic()
    with pytest.raises(InvalidInputError, match="nothing of it was executed"):
        checkpoint.read_pickle(tmp_path / "a.pkl")
    assert time.monotonic() - began < SECONDS


def test_real_dictionaries_are_read_in_time(tmp_path):
    names = [f"ENSG{number:011d}" for number in range(60_000)]
    content = {name: place for place, name in enumerate(names)} | {"medians": dict.fromkeys(names, 1.5)}
    (tmp_path / "a.pkl").write_bytes(pickle.dumps(content))
    began = time.monotonic()
    assert checkpoint.read_pickle(tmp_path / "a.pkl") == content
    assert time.monotonic() - began < SECONDS


def test_what_was_read_once_is_not_tried_again_until_it_changes(tmp_path, monkeypatch):
    tried = []
    monkeypatch.setattr(trial, "_fault", lambda *_, **__: tried.append(1) or "")
    path = tmp_path / "a.pkl"
    for content in (b"one", b"other"):
        path.write_bytes(content)
        for _ in range(3):
            trial.require_survived("pickle", path)
    assert len(tried) == 2


def test_a_file_that_ends_its_reader_says_how(tmp_path, monkeypatch):
    program = tmp_path / "child.py"
    program.write_text("import os, signal\nos.kill(os.getpid(), signal.SIGSEGV)\n")
    monkeypatch.setattr(trial, "_CHILD", program)
    (tmp_path / "a").write_bytes(b"x")
    with pytest.raises(InvalidInputError, match="SIGSEGV"):
        trial.require_survived("pickle", tmp_path / "a")
    program.write_text("import time\ntime.sleep(60)\n")
    monkeypatch.setattr(trial, "SECONDS", 0.1)
    with pytest.raises(InvalidInputError, match="within"):
        trial.require_survived("pickle", tmp_path / "a")


class TestTorch:
    @pytest.fixture
    def members(self, tmp_path):
        torch.save({"w": torch.ones(1000)}, tmp_path / "good.pt")
        with zipfile.ZipFile(tmp_path / "good.pt") as packed:
            return {name: packed.read(name) for name in packed.namelist()}

    def _refused(self, path, members, *, said, how=zipfile.ZIP_STORED):
        with zipfile.ZipFile(path, "w", how) as packed:
            for name, content in members.items():
                packed.writestr(name, content)
        with pytest.raises(InvalidInputError, match=said):
            checkpoint.read_tensors(path)

    def test_a_file_of_two_formats_is_refused(self, tmp_path, members):
        """What torch reads is decided by the beginning, what a zip is by the end."""
        torch.save({"w": torch.ones(3)}, tmp_path / "old.pt", _use_new_zipfile_serialization=False)
        both = tmp_path / "both.pt"
        both.write_bytes((tmp_path / "old.pt").read_bytes() + (tmp_path / "good.pt").read_bytes())
        assert zipfile.is_zipfile(both)
        assert members
        with pytest.raises(InvalidInputError, match="two formats"):
            checkpoint.read_tensors(both)

    def test_compressed_members_are_refused(self, tmp_path, members):
        self._refused(tmp_path / "a.pt", members, said="torch does not write", how=zipfile.ZIP_DEFLATED)

    def test_a_storage_is_as_large_as_it_says(self, tmp_path, members):
        (name,) = (name for name in members if name.endswith("data/0"))
        self._refused(tmp_path / "a.pt", members | {name: b"\x00" * 100}, said="smaller than is said")

    @pytest.mark.usefixtures("hurried")
    def test_a_hostile_pickle_inside_is_refused(self, tmp_path, members):
        (name,) = (name for name in members if name.endswith("data.pkl"))
        self._refused(
            tmp_path / "a.pt", members | {name: HOSTILE["pairs of pairs as a name"]}, said="could not be read"
        )

    def test_a_tensor_is_no_larger_than_what_is_stored(self, tmp_path):
        torch.save({"w": torch.ones(1).expand(10**6, 10**6)}, tmp_path / "a.pt")
        with pytest.raises(InvalidInputError, match="other content: w"):
            checkpoint.read_tensors(tmp_path / "a.pt")

    def test_storages_of_the_older_form_fit_into_their_file(self, tmp_path):
        torch.save({"w": torch.ones(1000)}, tmp_path / "a.pt", _use_new_zipfile_serialization=False)
        assert checkpoint.read_tensors(tmp_path / "a.pt")["w"].sum() == 1000
        content = (tmp_path / "a.pt").read_bytes()
        assert content.count(b"M\xe8\x03") == 2
        (tmp_path / "a.pt").write_bytes(content.replace(b"M\xe8\x03", b"J\xff\xff\xff\x7f"))
        with pytest.raises(InvalidInputError, match="larger than the file"):
            checkpoint.read_tensors(tmp_path / "a.pt")


def _hole(file, _):
    file.create_dataset("a/data", shape=(10**12,), dtype="f4", chunks=(10**6,), fillvalue=1)


def _outside(file, beside):
    file.require_group("uns")["a"] = h5py.ExternalLink(str(beside / "other.h5"), "/secret")


def _loop(file, _):
    file.require_group("uns")["a"] = h5py.SoftLink("/uns")


def _ring(file, _):
    group = file.require_group("uns")
    group["again"] = group


def _stored_elsewhere(file, beside):
    (beside / "passwords").write_bytes(bytes(80))
    file.create_dataset("obsm/X_a", (10,), "f8", external=[(str(beside / "passwords"), 0, 80)])


def _virtual(file, beside):
    layout = h5py.VirtualLayout(shape=(10,), dtype="f8")
    layout[:] = h5py.VirtualSource(str(beside / "other.h5"), "x", shape=(10,))
    file.create_virtual_dataset("obsm/X_a", layout)


def _wide_chunk(file, _):
    file.create_dataset("a", (10,), "f4", chunks=(10**8,), maxshape=(None,), compression="gzip")


def _bomb(file, _):
    made = file.create_dataset("a", (1000,), "f4", chunks=(1000,), compression="gzip")
    made.id.write_direct_chunk((0,), zlib.compress(bytes(10**8)))


def _deep_groups(file, _):
    group = file
    for _ in range(300):
        group = group.create_group("a")


def _many_times_one_text(file, _):
    made = file.create_dataset("a", (10_000,), h5py.string_dtype(), chunks=(10_000,), compression="gzip")
    made[0] = "x" * 10**6
    _, raw = made.id.read_direct_chunk((0,))
    reference = zlib.decompress(raw)[:16]
    made.id.write_direct_chunk((0,), zlib.compress(reference * 10_000))


def _objects(file, _):
    file.create_dataset("a", (3,), h5py.vlen_dtype(np.float64))


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (_hole, "once it is read"),
        (_outside, "another place"),
        (_loop, "another place"),
        (_ring, "two names"),
        (_stored_elsewhere, "other files"),
        (_virtual, "other files"),
        (_wide_chunk, "larger than their array"),
        (_bomb, "more than they say"),
        (_deep_groups, "too deeply"),
        (_many_times_one_text, "once it is read"),
        (_objects, "something else than numbers"),
    ],
)
def test_a_hostile_h5ad_is_refused(tmp_path, make, said):
    path = tmp_path / "a.h5ad"
    AnnData(np.ones((3, 2), np.float32)).write_h5ad(path)
    with h5py.File(tmp_path / "other.h5", "w") as other:
        other["x"] = other["secret"] = np.ones(10)
    with h5py.File(path, "a") as file:
        make(file, tmp_path)
    for read in (read_h5ad, lambda path: read_embedding(path, key="X_a")):
        with pytest.raises(InvalidInputError, match=said):
            read(path)


@pytest.mark.parametrize("compression", [None, "gzip", "lzf"])
def test_a_good_h5ad_is_read(tmp_path, compression):
    path = tmp_path / "a.h5ad"
    obs = pd.DataFrame({"kind": pd.Categorical(["a", "b", None]), "text": list("xyz"), "n": [1, 2, 3]})
    cells = AnnData(
        np.ones((3, 2), np.float32), obs=obs.set_index(pd.Index(list("abc"))), uns={"none": {}, "t": "text"}
    )
    cells.write_h5ad(path, compression=compression)
    assert read_h5ad(path).obs["text"].tolist() == list("xyz")


def test_a_table_that_repeats_one_text_is_bounded(tmp_path, monkeypatch):
    monkeypatch.setattr(trial, "_MEMORY", trial._MEMORY | {"parquet": 2**30})
    path = tmp_path / "a.parquet"
    texts = pa.DictionaryArray.from_arrays(pa.array(np.zeros(20_000, np.int32)), pa.array(["x" * 10**6]))
    pq.write_table(pa.table({"cell_id": texts}), path, compression="zstd", store_schema=False)
    assert path.stat().st_size < 10**6
    with pytest.raises(InvalidInputError):
        read_embedding(path)


def test_a_bomb_of_numpy_is_not_unpacked(tmp_path):
    path = tmp_path / "a.npz"
    np.savez_compressed(path, embedding=np.zeros((40_000, 1000)), cell_ids=np.array(["a"]))
    assert path.stat().st_size < 10**6
    with pytest.raises(InvalidInputError, match="are allowed"):
        read_embedding(path)
