"""Files from the network, kept in a cache folder and known by their hash."""

from __future__ import annotations

import hashlib
import json
import os
import stat
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from scfm_eval.bounds import ordinary, read_json
from scfm_eval.datasets.archives import take_out
from scfm_eval.errors import InvalidInputError

_NOTHING_LEFT = 416
_HERE = ("127.0.0.1", "localhost")
_HAS_USERS = hasattr(os, "getuid")
_CACHES = {
    "SCFM_EVAL_CACHE": "",
    "NUMBA_CACHE_DIR": "numba",
    "MPLCONFIGDIR": "matplotlib",
    "HF_HOME": "huggingface",
}


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
    is_local
        Whether it may come by plain http from this machine itself, for tests; all else comes by https.
    """

    url: str
    name: str
    sha256: str | None = None
    holds: tuple[str, ...] = ()
    is_local: bool = False


def cache_folder() -> Path:
    """Return ``$SCFM_EVAL_CACHE``, or the user's cache folder of this package.

    Where that cannot be made, it is a folder of this user under the system's temporary folder, see
    :func:`without_home`.

    Raises
    ------
    InvalidInputError
        ``$SCFM_EVAL_CACHE`` is no folder.
    """
    named = os.environ.get("SCFM_EVAL_CACHE")
    if not named:
        return _own_folder()[0]
    folder = Path(named).expanduser()
    if folder.exists() and not folder.is_dir():
        raise InvalidInputError(
            asked=f"SCFM_EVAL_CACHE {named}", found="a file", remedy="name a folder, which may be a new one"
        )
    return folder


def without_home() -> str:
    """Return in words why the cache is not in the user's home; empty where it is, or where the user named one.

    Other processes of the run, and the caches of other libraries, which would fail there alike, are then sent to the
    same folder.
    """
    if os.environ.get("SCFM_EVAL_CACHE"):
        return ""
    folder, why = _own_folder()
    if why:
        for variable, name in _CACHES.items():
            os.environ.setdefault(variable, str(folder / name))
    return why


@cache
def _own_folder() -> tuple[Path, str]:
    import platformdirs

    usual = Path(platformdirs.user_cache_dir("scfm_eval"))
    try:
        if not os.environ.get("XDG_CACHE_HOME"):
            # root may make a home for nobody
            Path.home().stat()
        _check_writable(usual)
    except (OSError, RuntimeError) as error:
        folder = _temporary_folder()
        why = f"no cache in the home folder ({error}): it is in {folder}; SCFM_EVAL_CACHE names another place"
        warnings.warn(why, stacklevel=3)
        return folder, why
    return usual, ""


def _check_writable(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=folder):
        return


def _temporary_folder() -> Path:
    """Return a folder under the system's temporary one that belongs to this user, and that no other can write to."""
    folder = Path(tempfile.gettempdir()) / f"scfm_eval-{os.getuid() if _HAS_USERS else 'user'}"
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        found = folder.lstat()
        own = not _HAS_USERS or (found.st_uid == os.getuid() and not found.st_mode & 0o022)
        if stat.S_ISDIR(found.st_mode) and own:
            _check_writable(folder)
            return folder
    except OSError:
        pass
    return Path(tempfile.mkdtemp(prefix="scfm_eval-"))


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
    with _only_https(remote), part.open("ab") as stream:
        try:
            http_get(remote.url, stream, resume_size=stream.tell(), displayed_filename=remote.name)
        except OSError as error:
            if getattr(getattr(error, "response", None), "status_code", None) != _NOTHING_LEFT:
                raise
            stream.truncate(0)
            http_get(remote.url, stream, displayed_filename=remote.name)


@contextmanager
def _only_https(remote: RemoteFile) -> Iterator[None]:
    """Refuse every other request inside, also those that an answer redirects to."""
    from huggingface_hub import get_session

    def check(request: Any) -> None:
        host = request.url.host if remote.is_local else ""
        if request.url.scheme != "https" and not (request.url.scheme == "http" and host in _HERE):
            raise ValueError(f"an address that is no https: {request.url}")

    session = get_session()
    before = session.event_hooks
    session.event_hooks = {**before, "request": [check, *before.get("request", [])]}
    try:
        yield
    finally:
        session.event_hooks = before


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of the bytes of an ordinary file, in hexadecimal."""
    with ordinary(path).open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def _verify(remote: RemoteFile, path: Path) -> None:
    sha256 = sha256_of(path)
    record = path.with_name(f"{path.name}.sha256.json")
    if remote.sha256 is None and not record.exists():
        record.write_text(json.dumps({"url": remote.url, "sha256": sha256}, indent=2) + "\n")
    known = remote.sha256 or _recorded(record)
    if sha256 != known:
        origin = "declared" if remote.sha256 else f"recorded in {record.name}"
        raise InvalidInputError(
            asked=f"{remote.name} with the {origin} sha256 {known}",
            found=f"{path} has sha256 {sha256}",
            remedy=f"delete {path} to download it again"
            + ("" if remote.sha256 else f"; if the publisher changed the file, delete {record} too"),
        )


def _recorded(record: Path) -> str:
    try:
        return str(read_json(record)["sha256"])
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise InvalidInputError(
            asked=f"the hash of the first download, in {record}",
            found=f"{type(error).__name__}: {error}",
            remedy="delete that file and the download beside it, to begin anew",
        ) from error
