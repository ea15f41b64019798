"""Archives: named files only, from wherever inside, never outside of the folder."""

from __future__ import annotations

import io
import tarfile
import zipfile

import pytest

from scfm_eval.datasets import archives
from scfm_eval.datasets.archives import take_out
from scfm_eval.datasets.download import RemoteFile, fetch
from scfm_eval.errors import InvalidInputError


def _tar(path, files):
    with tarfile.open(path, "w:gz") as bundled:
        for name, content in files.items():
            about = tarfile.TarInfo(name)
            about.size = len(content)
            bundled.addfile(about, io.BytesIO(content))
    return path


def _zip(path, files):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed:
        for name, content in files.items():
            packed.writestr(name, content)
    return path


@pytest.fixture(params=[_zip, _tar], ids=["zip", "tar"])
def packed(request, tmp_path):
    return lambda files: request.param(tmp_path / "archive", files)


def test_takes_out_what_is_named_and_nothing_else(packed, tmp_path):
    archive = packed({"model/a.bin": b"one", "model/deep/b.bin": b"two", "../../evil": b"no", "model/c": b"no"})
    take_out(archive, ["a.bin", "b.bin"], folder=tmp_path / "out")
    assert {file.name: file.read_bytes() for file in (tmp_path / "out").iterdir()} == {"a.bin": b"one", "b.bin": b"two"}


def test_a_file_is_found_by_its_name_and_put_where_it_is_asked_for(packed, tmp_path):
    archive = packed({"other/deep/b.bin": b"two", "a.bin": b"one"})
    take_out(archive, ["sub/b.bin", "a.bin"], folder=tmp_path / "out")
    found = {str(file.relative_to(tmp_path / "out")): file.read_bytes() for file in (tmp_path / "out").rglob("*.bin")}
    assert found == {"sub/b.bin": b"two", "a.bin": b"one"}


def test_a_download_is_whole_when_all_that_it_holds_is_there(packed, tmp_path):
    archive = packed({"deep/b.bin": b"two"})
    remote = RemoteFile("https://example.org/archive", archive.name, holds=("sub/b.bin",))
    for _ in range(2):
        assert fetch(remote, folder=tmp_path, offline=True) == archive
        assert (tmp_path / "sub" / "b.bin").read_bytes() == b"two"
        (tmp_path / "sub" / "b.bin").unlink()


def test_a_path_that_leads_out_of_the_folder_ends_in_it(packed, tmp_path):
    take_out(packed({"../../evil": b"tamed"}), ["evil"], folder=tmp_path / "in" / "out")
    assert [str(file.relative_to(tmp_path)) for file in tmp_path.rglob("evil")] == ["in/out/evil"]


@pytest.mark.parametrize(
    ("files", "found"), [({"x/a": b"1", "y/a": b"2"}, "2 files named a"), ({"b": b"1"}, "0 files named a")]
)
def test_an_ambiguous_or_absent_file_is_refused(packed, tmp_path, files, found):
    with pytest.raises(InvalidInputError, match=found):
        take_out(packed(files), ["a"], folder=tmp_path)


def test_a_file_that_would_fill_the_disk_is_refused(packed, tmp_path, monkeypatch):
    monkeypatch.setattr(archives, "_MOST_BYTES", 1000)
    with pytest.raises(InvalidInputError, match="a of 1001 bytes"):
        take_out(packed({"a": bytes(1001)}), ["a"], folder=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_damaged_archive_is_refused_and_leaves_nothing(packed, tmp_path):
    (tmp_path / "out").mkdir()
    archive = packed({"a": bytes(range(256)) * 100})
    content = archive.read_bytes()
    for cut in (b"", content[: len(content) // 2], b"no archive at all" * 40):
        archive.write_bytes(cut)
        with pytest.raises(InvalidInputError, match="delete"):
            take_out(archive, ["a"], folder=tmp_path / "out")
    assert list((tmp_path / "out").glob("*")) == []


def test_a_link_is_no_file(tmp_path):
    with tarfile.open(tmp_path / "t.tar", "w") as bundled:
        about = tarfile.TarInfo("a")
        about.type, about.linkname = tarfile.SYMTYPE, "/etc/passwd"
        bundled.addfile(about)
    with pytest.raises(InvalidInputError, match="0 files named a"):
        take_out(tmp_path / "t.tar", ["a"], folder=tmp_path)


def test_a_file_that_unpacks_to_more_than_it_has_a_reason_to_is_refused(packed, tmp_path, monkeypatch):
    monkeypatch.setattr(archives, "FREELY", 10**5)
    archive = packed({"a": bytes(10**6)})
    assert archive.stat().st_size < 4000
    with pytest.raises(InvalidInputError, match=r"1000000 bytes|more than"):
        take_out(archive, ["a"], folder=tmp_path / "out")
    assert not (tmp_path / "out" / "a").exists()


def test_what_lies_before_a_file_in_a_tar_is_bounded_too(tmp_path, monkeypatch):
    monkeypatch.setattr(archives, "FREELY", 10**5)
    archive = _tar(tmp_path / "archive", {"before": bytes(10**7), "a": b"1"})
    with pytest.raises(InvalidInputError, match="more than"):
        take_out(archive, ["a"], folder=tmp_path / "out")


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE, tarfile.DIRTYPE])
def test_what_is_no_ordinary_member_is_not_taken(tmp_path, kind):
    with tarfile.open(tmp_path / "t.tar", "w") as bundled:
        about = tarfile.TarInfo("a")
        about.type, about.linkname = kind, "/etc/passwd"
        bundled.addfile(about)
    with pytest.raises(InvalidInputError, match="0 files named a"):
        take_out(tmp_path / "t.tar", ["a"], folder=tmp_path)
