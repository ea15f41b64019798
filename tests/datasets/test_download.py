"""Downloads: from a local server, by declared hash, by recorded hash, offline."""

from __future__ import annotations

import functools
import hashlib
import http.server
import json
import threading
import zipfile
from pathlib import Path
from typing import ClassVar

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
    remote = RemoteFile(url=f"{address}/a.bin", name="a.bin", is_local=True)
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
    remote = RemoteFile(url=f"{address}/a.bin", name="a.bin", sha256=hashlib.sha256(b"one").hexdigest(), is_local=True)
    fetch(remote)
    (cache / "a.bin").write_bytes(b"0ne")
    assert "delete" in refusal(lambda: fetch(remote, offline=True)).remedy


def test_a_declared_hash_that_is_not_met_is_refused(served, cache):
    folder, address = served
    (folder / "a.bin").write_bytes(b"one")
    error = refusal(lambda: fetch(RemoteFile(url=f"{address}/a.bin", name="a.bin", sha256="0" * 64, is_local=True)))
    assert f"declared sha256 {'0' * 64}" in error.asked
    assert not (cache / "a.bin.sha256.json").exists()


def test_offline_and_absent_and_unreachable(served):
    _, address = served
    remote = RemoteFile(url=f"{address}/absent.bin", name="absent.bin", is_local=True)
    assert "without the network" in refusal(lambda: fetch(remote, offline=True)).asked
    assert "404" in refusal(lambda: fetch(remote)).found


def test_a_dataset_downloads_and_a_local_file_of_its_name_wins(served, tmp_path, monkeypatch):
    folder, address = served

    def cells(count):
        X = np.full((2, 2), count, dtype=np.float32)
        return AnnData(X=X, obs=pd.DataFrame({"kind": ["A", "B"]}, index=["c1", "c2"]))

    cells(3).write_h5ad(folder / "far.h5ad")
    dataset = Dataset(
        name="toy", remote=(RemoteFile(url=f"{address}/far.h5ad", name="far.h5ad", is_local=True),), label_key="kind"
    )
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


class _InParts(_Quiet):
    """Serves a file from the byte that is asked for, and stops after some bytes the first time."""

    cut: ClassVar[int | None] = None
    asked: ClassVar[list[str | None]] = []

    def do_GET(self):
        content = Path(self.translate_path(self.path)).read_bytes()
        asked = self.headers.get("Range")
        self.asked.append(asked)
        start = int(asked.removeprefix("bytes=").rstrip("-")) if asked else 0
        if start >= len(content):
            self.send_error(416)
            return
        self.send_response(206 if asked else 200)
        self.send_header("Content-Length", str(len(content) - start))
        self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        self.end_headers()
        self.wfile.write(content[start : type(self).cut])


@pytest.fixture
def in_parts(tmp_path):
    folder = tmp_path / "served"
    folder.mkdir()
    handler = type("Handler", (_InParts,), {"asked": []})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(handler, directory=folder))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield folder, f"http://127.0.0.1:{server.server_port}", handler
    server.shutdown()
    server.server_close()
    thread.join()


def _known(content):
    return hashlib.sha256(content).hexdigest()


def test_what_was_interrupted_goes_on_where_it_stopped(in_parts, cache):
    folder, address, handler = in_parts
    content = bytes(range(256)) * 400
    (folder / "a.bin").write_bytes(content)
    cache.mkdir(parents=True)
    (cache / "a.bin.part").write_bytes(content[:70_000])
    fetched = fetch(RemoteFile(url=f"{address}/a.bin", name="a.bin", sha256=_known(content), is_local=True))
    assert fetched.read_bytes() == content
    assert handler.asked == ["bytes=70000-"]
    assert not (cache / "a.bin.part").exists()


def test_a_connection_that_breaks_is_taken_up_again(in_parts, monkeypatch):
    folder, address, handler = in_parts
    monkeypatch.setattr("time.sleep", lambda _: None)
    monkeypatch.setattr("huggingface_hub.constants.DOWNLOAD_CHUNK_SIZE", 20_000)
    content = bytes(range(256)) * 400
    (folder / "a.bin").write_bytes(content)
    handler.cut = 60_000
    remote = RemoteFile(url=f"{address}/a.bin", name="a.bin", sha256=_known(content), is_local=True)
    assert "to do: try again" in str(refusal(lambda: fetch(remote)))
    handler.cut = None
    assert fetch(remote).read_bytes() == content
    assert handler.asked[-1] == "bytes=60000-"


def test_a_whole_part_is_not_asked_for_again_and_an_overlong_one_is_loaded_anew(in_parts, cache):
    folder, address, handler = in_parts
    (folder / "a.bin").write_bytes(b"whole")
    cache.mkdir(parents=True)
    remote = RemoteFile(url=f"{address}/a.bin", name="a.bin", sha256=_known(b"whole"), is_local=True)
    (cache / "a.bin.part").write_bytes(b"whole")
    assert fetch(remote).read_bytes() == b"whole"
    assert handler.asked == []
    (cache / "a.bin").unlink()
    (cache / "a.bin.part").write_bytes(b"too long")
    assert fetch(remote).read_bytes() == b"whole"
    assert handler.asked == ["bytes=8-", None]


def test_a_part_of_another_file_is_thrown_away(in_parts, cache):
    folder, address, _ = in_parts
    (folder / "a.bin").write_bytes(b"0123456789")
    cache.mkdir(parents=True)
    (cache / "a.bin.part").write_bytes(b"abc")
    remote = RemoteFile(url=f"{address}/a.bin", name="a.bin", sha256=_known(b"0123456789"), is_local=True)
    assert "thrown away" in refusal(lambda: fetch(remote)).found
    assert list(cache.glob("a.bin*")) == [cache / "a.bin.lock"]
    assert fetch(remote).read_bytes() == b"0123456789"


def test_a_file_without_a_declared_hash_starts_anew(in_parts, cache):
    folder, address, handler = in_parts
    (folder / "a.bin").write_bytes(b"0123456789")
    cache.mkdir(parents=True)
    (cache / "a.bin.part").write_bytes(b"abc")
    assert fetch(RemoteFile(url=f"{address}/a.bin", name="a.bin", is_local=True)).read_bytes() == b"0123456789"
    assert handler.asked == [None]


def test_files_are_taken_out_of_an_archive_once(served, cache):
    folder, address = served
    with zipfile.ZipFile(folder / "a.zip", "w") as packed:
        packed.writestr("inside/b.txt", "text")
    remote = RemoteFile(url=f"{address}/a.zip", name="a.zip", holds=("b.txt",), is_local=True)
    fetch(remote)
    assert (cache / "b.txt").read_text() == "text"
    (cache / "b.txt").write_text("other")
    fetch(remote)
    assert (cache / "b.txt").read_text() == "other"


@pytest.mark.parametrize("url", ["http://127.0.0.1:9/a", "http://example.org/a", "file:///etc/passwd", "ftp://a.org/a"])
def test_only_https_is_asked(url):
    assert "no https" in refusal(lambda: fetch(RemoteFile(url=url, name="a.bin"))).found


def test_what_is_allowed_here_is_allowed_of_this_machine_only():
    remote = RemoteFile(url="http://example.org/a", name="a.bin", is_local=True)
    assert "no https" in refusal(lambda: fetch(remote)).found


def test_an_answer_may_not_lead_to_plain_http(tmp_path, cache):
    class Elsewhere(_Quiet):
        def do_GET(self):
            self.send_response(302)
            self.send_header("Location", "http://example.org/evil")
            self.end_headers()

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Elsewhere, directory=tmp_path))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        url = f"http://127.0.0.1:{server.server_port}/a"
        said = refusal(lambda: fetch(RemoteFile(url=url, name="a.bin", is_local=True))).found
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
    assert "no https: http://example.org/evil" in said
    assert not (cache / "a.bin").exists()


def test_a_damaged_record_of_a_hash_is_refused(served, cache):
    folder, address = served
    (folder / "a.bin").write_bytes(b"one")
    remote = RemoteFile(url=f"{address}/a.bin", name="a.bin", is_local=True)
    fetch(remote)
    for record in ("", "[]", "{}", "[" * 10**5):
        (cache / "a.bin.sha256.json").write_text(record)
        assert "delete" in refusal(lambda: fetch(remote, offline=True)).remedy
