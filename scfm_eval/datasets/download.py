"""Files from the network, kept in a cache folder and known by their hash."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path

from scfm_eval.datasets.archives import take_out
from scfm_eval.errors import InvalidInputError

_NOTHING_LEFT = 416


@dataclass(frozen=True)
class RemoteFile:
    """A file that can be downloaded.

    Parameters
    ----------
    url
        Direct address.
    name
        Name in the cache folder.
    sha256
        Hash of the published file; ``None``: that of the first download is recorded beside it, and later ones are held
        to it.
    holds
        Files that are taken out of it when it is a ``.zip`` or ``.tar`` archive, as they are named below the folder
        that it lies in; see :func:`~scfm_eval.datasets.archives.take_out`.
    """

    url: str
    name: str
    sha256: str | None = None
    holds: tuple[str, ...] = ()


def cache_folder() -> Path:
    """Return ``$SCFM_EVAL_CACHE``, or the user's cache folder of this package."""
    import platformdirs

    return Path(os.environ.get("SCFM_EVAL_CACHE") or platformdirs.user_cache_dir("scfm_eval"))


def fetch(remote: RemoteFile, *, folder: Path | None = None, offline: bool = False) -> Path:
    """Return the path of ``remote`` in the cache, downloaded if it is not there, its hash verified.

    What was interrupted goes on where it stopped, if the hash is declared. The file has its name only when it is whole.

    Parameters
    ----------
    remote
        What to fetch.
    folder
        Where it is kept; default the datasets of the cache.
    offline
        Never touch the network.

    Raises
    ------
    InvalidInputError
        If it is absent and ``offline``, the download fails, or the hash is not the declared or the recorded one.
    """
    from filelock import FileLock

    path = (folder or cache_folder() / "datasets") / remote.name
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{path}.lock"):
        if not path.exists():
            _download(remote, path, offline=offline)
        _verify(remote, path)
        if not all((path.parent / name).exists() for name in remote.holds):
            take_out(path, remote.holds, folder=path.parent)
    return path


def _download(remote: RemoteFile, path: Path, *, offline: bool) -> None:
    if offline:
        raise InvalidInputError(
            asked=f"{remote.name} without the network",
            found=f"it is not in {path.parent}",
            remedy="run once without --offline, or copy the file there",
        )
    part = path.with_name(f"{path.name}.part")
    if remote.sha256 is None:
        # without a hash nothing tells whether the rest belongs to the same file
        part.unlink(missing_ok=True)
    try:
        _transfer(remote, part)
    except Exception as error:
        raise InvalidInputError(
            asked=f"a download of {remote.url}",
            found=f"{type(error).__name__}: {error}",
            remedy=f"try again later{'' if remote.sha256 is None else ', which goes on where it stopped'}, or download "
            f"it by hand to {path}",
        ) from error
    if remote.sha256 not in (None, sha256_of(part)):
        found = sha256_of(part)
        part.unlink()
        raise InvalidInputError(
            asked=f"a download of {remote.url} with the declared sha256 {remote.sha256}",
            found=f"a file with sha256 {found}, which was thrown away",
            remedy="try again; if it comes again, the publisher changed the file: download the declared one by hand to "
            f"{path}",
        )
    os.replace(part, path)


def _transfer(remote: RemoteFile, part: Path) -> None:
    """Load what is missing of a file, with a bar on a terminal."""
    from huggingface_hub.file_download import http_get

    if part.exists() and sha256_of(part) == remote.sha256:
        return
    with part.open("ab") as stream:
        try:
            http_get(remote.url, stream, resume_size=stream.tell(), displayed_filename=remote.name)
        except OSError as error:
            if getattr(getattr(error, "response", None), "status_code", None) != _NOTHING_LEFT:
                raise
            stream.truncate(0)
            http_get(remote.url, stream, displayed_filename=remote.name)


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file's bytes, in hexadecimal."""
    with path.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def _verify(remote: RemoteFile, path: Path) -> None:
    sha256 = sha256_of(path)
    record = path.with_name(f"{path.name}.sha256.json")
    if remote.sha256 is None and not record.exists():
        record.write_text(json.dumps({"url": remote.url, "sha256": sha256}, indent=2) + "\n")
    known = remote.sha256 or json.loads(record.read_text())["sha256"]
    if sha256 != known:
        origin = "declared" if remote.sha256 else f"recorded in {record.name}"
        raise InvalidInputError(
            asked=f"{remote.name} with the {origin} sha256 {known}",
            found=f"{path} has sha256 {sha256}",
            remedy=f"delete {path} to download it again"
            + ("" if remote.sha256 else f"; if the publisher changed the file, delete {record} too"),
        )
