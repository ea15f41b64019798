"""Downloads: from a local server, by declared hash, by recorded hash, offline."""

from __future__ import annotations

import functools
import hashlib
import http.server
import json
import threading

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData

from scfm_eval.datasets.dataset import Dataset
from scfm_eval.datasets.download import RemoteFile, fetch
from scfm_eval.errors import InvalidInputError


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@pytest.fixture
def served(tmp_path):
    """Return a folder and the address that it is served at."""
    folder = tmp_path / "served"
    folder.mkdir()
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(_Quiet, directory=folder))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield folder, f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("SCFM_EVAL_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("SCFM_EVAL_DATA", raising=False)
    return tmp_path / "cache" / "datasets"


def refusal(call):
    with pytest.raises(InvalidInputError) as caught:
        call()
    return caught.value


def test_the_first_download_records_its_hash_and_later_ones_are_held_to_it(served, cache):
    folder, address = served
    (folder / "a.bin").write_bytes(b"one")
    remote = RemoteFile(url=f"{address}/a.bin", name="a.bin")
    assert fetch(remote).read_bytes() == b"one"
    record = json.loads((cache / "a.bin.sha256.json").read_text())
    assert record == {"url": remote.url, "sha256": hashlib.sha256(b"one").hexdigest()}
    (folder / "a.bin").write_bytes(b"two")
    assert fetch(remote, offline=True).read_bytes() == b"one"
    (cache / "a.bin").unlink()
    error = refusal(lambda: fetch(remote))
    assert "recorded" in error.asked
    assert hashlib.sha256(b"two").hexdigest() in error.found


def test_a_file_that_changed_in_the_cache_is_refused(served, cache):
    folder, address = served
    (folder / "a.bin").write_bytes(b"one")
    remote = RemoteFile(url=f"{address}/a.bin", name="a.bin", sha256=hashlib.sha256(b"one").hexdigest())
    fetch(remote)
    (cache / "a.bin").write_bytes(b"0ne")
    assert "delete" in refusal(lambda: fetch(remote, offline=True)).remedy


def test_a_declared_hash_that_is_not_met_is_refused(served, cache):
    folder, address = served
    (folder / "a.bin").write_bytes(b"one")
    error = refusal(lambda: fetch(RemoteFile(url=f"{address}/a.bin", name="a.bin", sha256="0" * 64)))
    assert f"declared sha256 {'0' * 64}" in error.asked
    assert not (cache / "a.bin.sha256.json").exists()


def test_offline_and_absent_and_unreachable(served):
    _, address = served
    remote = RemoteFile(url=f"{address}/absent.bin", name="absent.bin")
    assert "without the network" in refusal(lambda: fetch(remote, offline=True)).asked
    assert "404" in refusal(lambda: fetch(remote)).found


def test_a_dataset_downloads_and_a_local_file_of_its_name_wins(served, tmp_path, monkeypatch):
    folder, address = served

    def cells(count):
        X = np.full((2, 2), count, dtype=np.float32)
        return AnnData(X=X, obs=pd.DataFrame({"kind": ["A", "B"]}, index=["c1", "c2"]))

    cells(3).write_h5ad(folder / "far.h5ad")
    dataset = Dataset(name="toy", remote=(RemoteFile(url=f"{address}/far.h5ad", name="far.h5ad"),), label_key="kind")
    assert dataset.load().X.max() == 3
    local = tmp_path / "local"
    local.mkdir()
    cells(4).write_h5ad(local / "toy.h5ad")
    monkeypatch.setenv("SCFM_EVAL_DATA", str(local))
    assert dataset.load().X.max() == 4


def test_a_dataset_without_an_address_says_what_to_put_where(tmp_path, monkeypatch):
    dataset = Dataset(name="toy", page="https://example.org/toy", label_key="kind", note="Ask nicely.")
    error = refusal(dataset.load)
    assert "$SCFM_EVAL_DATA is not set" in error.found
    monkeypatch.setenv("SCFM_EVAL_DATA", str(tmp_path))
    error = refusal(dataset.load)
    assert "toy.h5ad is not there" in error.found
    for part in ("https://example.org/toy", "toy.h5ad", "kind", "$SCFM_EVAL_DATA", "Ask nicely."):
        assert part in error.remedy
