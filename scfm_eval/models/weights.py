"""Where weights lie: a folder that was given, a mirror, the package, a cache, or the place that published them."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from scfm_eval.datasets.download import RemoteFile, cache_folder, fetch
from scfm_eval.errors import InvalidInputError
from scfm_eval.models.licences import require_accepted

_PACKAGED = Path(__file__).parent.parent / "weights"


@dataclass(frozen=True)
class Home:
    """Where a model's weights are published; nothing of it where they have no open address.

    Parameters
    ----------
    repo, revision
        Hugging Face repository and its full commit hash.
    files
        Paths inside the repository, or in the folder of weights, that are needed.
    downloads
        Files with an address of their own; they are put side by side in one folder of the cache.
    packaged
        Name of the folder of weights that comes with this package.
    address
        Page where a person can get the weights.
    licence
        Licence of the weights that has to be accepted before the first download; empty where nothing is asked.
    """

    repo: str | None = None
    revision: str | None = None
    files: tuple[str, ...] = ()
    downloads: tuple[RemoteFile, ...] = ()
    packaged: str | None = None
    address: str = ""
    licence: str = ""


class PublishedWeights:
    """What adapters with weights inherit: where these lie, from what the class says of their home.

    A class states ``repo`` and ``files`` (Hugging Face, at ``revision``), or ``downloads``, or ``packaged``, and on its
    card ``home``, ``weights_licence`` and ``asks_licence``.
    """

    name: ClassVar[str]
    revision: ClassVar[str] = ""
    licence: ClassVar[str] = ""
    weights_licence: ClassVar[str] = ""
    asks_licence: ClassVar[bool] = False
    home: ClassVar[str] = ""
    repo: ClassVar[str | None] = None
    files: ClassVar[tuple[str, ...]] = ()
    downloads: ClassVar[tuple[RemoteFile, ...]] = ()
    packaged: ClassVar[str | None] = None

    @classmethod
    def locate(cls, weights: str | Path | None = None, *, offline: bool = False) -> Path:
        """Return the weights folder, downloaded if need be; raises ``InvalidInputError`` where there is none."""
        return locate(cls.packaged or cls.name, weights=weights, home=cls._home(), offline=offline)

    @classmethod
    def available(cls, weights: str | Path | None = None) -> bool:
        """Return whether the weights are already on this machine; the network is not touched."""
        return present(cls.packaged or cls.name, weights=weights, home=cls._home())

    @classmethod
    def _home(cls) -> Home:
        if cls.packaged is not None:
            return Home(packaged=cls.packaged)
        licence = (cls.weights_licence or cls.licence) if cls.asks_licence else ""
        return Home(
            repo=cls.repo,
            revision=cls.revision if cls.repo else None,
            files=cls.files,
            downloads=cls.downloads,
            address=cls.home,
            licence=licence,
        )


def locate(name: str, *, weights: str | Path | None = None, home: Home, offline: bool = False) -> Path:
    """Return the folder that holds a model's weights.

    Looked for in this order: the folder that was given, ``$SCFM_EVAL_WEIGHTS/<name>``, the package itself, the cache,
    and the place that published them.

    Parameters
    ----------
    name
        Name of the model.
    weights
        Folder that was given; nothing else is tried when there is one.
    home
        Where they are published.
    offline
        Never download; the cache is still read.

    Raises
    ------
    InvalidInputError
        The weights are nowhere, and the message names every place; or their licence has not been accepted.
    """
    if weights is not None:
        return _given(name, Path(weights).expanduser())
    here = _here(name, home)
    if here is not None:
        return here
    if home.packaged is not None:
        raise _nowhere(name, f"weights/{home.packaged} is not in the installed package", "install the package again")
    by_hand = home.repo is None and not home.downloads
    if not offline:
        place = (home.address or "their authors") if by_hand else ""
        require_accepted(name, licence=home.licence, address=home.address, by_hand=place)
    if not (by_hand or offline):
        try:
            return _downloaded(name, home)
        except OSError as error:
            reason = f"the download failed: {error}"
    else:
        reason = "it has no open address" if by_hand else "downloads are off"
    otherwise = f"get them from {home.address or 'its authors'}" if by_hand else "allow the download"
    raise _nowhere(name, f"{_said(home)} is not in the cache ({reason})", otherwise)


def present(name: str, *, weights: str | Path | None = None, home: Home) -> bool:
    """Return whether :func:`locate` finds the weights on this machine; the network is not touched."""
    if weights is not None:
        return Path(weights).expanduser().is_dir()
    return _here(name, home) is not None


def _nowhere(name: str, missing: str, otherwise: str) -> InvalidInputError:
    mirror = f"a folder without {_mirror(name)}" if _mirror(name) else "not set"
    return InvalidInputError(
        asked=f"the weights of {name}",
        found=f"no folder was given, $SCFM_EVAL_WEIGHTS is {mirror}, and {missing}",
        remedy=f"put a folder at $SCFM_EVAL_WEIGHTS/{name}, give one to what runs the model (--weights {name}=FOLDER), "
        f"or {otherwise}",
    )


def _given(name: str, folder: Path) -> Path:
    if folder.is_dir():
        return folder
    raise InvalidInputError(
        asked=f"the weights of {name} in {folder}",
        found="a file" if folder.exists() else "no such folder",
        remedy="give the folder that holds the checkpoint and its dictionaries",
    )


def _mirror(name: str) -> Path | None:
    root = os.environ.get("SCFM_EVAL_WEIGHTS")
    return Path(root).expanduser() / name if root else None


def _said(home: Home) -> str:
    return f"{home.repo} at {home.revision}" if home.repo else home.address or "a published copy"


def _here(name: str, home: Home) -> Path | None:
    mirror = _mirror(name)
    if mirror is not None and mirror.is_dir():
        return mirror
    if home.packaged is not None:
        inside = _PACKAGED / home.packaged
        return inside if inside.is_dir() else None
    if home.downloads:
        folder = weights_cache(name)
        wanted = [name for one in home.downloads for name in (one.holds or (one.name,))]
        return folder if all((folder / name).exists() for name in wanted) else None
    if home.repo is None:
        return None
    try:
        folder = _hub(home, offline=True)
    except OSError:
        return None
    return folder if all((folder / file).exists() for file in home.files) else None


def _downloaded(name: str, home: Home) -> Path:
    if home.repo is not None:
        return _hub(home, offline=False)
    for one in home.downloads:
        fetch(one, folder=weights_cache(name))
    return weights_cache(name)


def weights_cache(name: str) -> Path:
    """Return the folder of the cache for a model's downloaded files."""
    return cache_folder() / "weights" / name


def _hub(home: Home, *, offline: bool) -> Path:
    assert home.repo is not None
    from huggingface_hub import snapshot_download

    return Path(
        snapshot_download(home.repo, revision=home.revision, allow_patterns=list(home.files), local_files_only=offline)
    )
