"""Files from the network, kept in a cache folder and known by their hash."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path

from scfm_eval.errors import InvalidInputError


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
    """

    url: str
    name: str
    sha256: str | None = None


def cache_folder() -> Path:
    """Return ``$SCFM_EVAL_CACHE``, or the user's cache folder of this package."""
    import platformdirs

    return Path(os.environ.get("SCFM_EVAL_CACHE") or platformdirs.user_cache_dir("scfm_eval"))


def fetch(remote: RemoteFile, *, folder: Path | None = None, offline: bool = False) -> Path:
    """Return the path of ``remote`` in the cache, downloaded if it is not there, its hash verified.

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
    return path


def _download(remote: RemoteFile, path: Path, *, offline: bool) -> None:
    if offline:
        raise InvalidInputError(
            asked=f"{remote.name} without the network",
            found=f"it is not in {path.parent}",
            remedy="run once without --offline, or copy the file there",
        )
    import pooch

    try:
        pooch.retrieve(remote.url, known_hash=None, fname=path.name, path=path.parent)
    except (OSError, ValueError) as error:
        raise InvalidInputError(
            asked=f"a download of {remote.url}",
            found=f"{type(error).__name__}: {error}",
            remedy=f"try again later, or download it by hand to {path}",
        ) from error


def _verify(remote: RemoteFile, path: Path) -> None:
    with path.open("rb") as opened:
        sha256 = hashlib.file_digest(opened, "sha256").hexdigest()
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
