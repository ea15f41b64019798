"""Weights that are one file, given by its own path or by that of the folder that holds it."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from scfm_eval.errors import InvalidInputError
from scfm_eval.models.checkpoint import few
from scfm_eval.models.weights import PublishedWeights


class OneFile(PublishedWeights):
    """What adapters inherit whose weights are one file.

    A class states ``suffixes``, how the names of its files may end, and may state ``published``, names under which the
    file was published: in a folder of several files one of these is taken.
    """

    suffixes: ClassVar[tuple[str, ...]] = ()
    published: ClassVar[tuple[str, ...]] = ()

    @classmethod
    def locate(cls, weights: str | Path | None = None, *, offline: bool = False) -> Path:
        """Return the file, downloaded if need be; raises ``InvalidInputError`` where there is none, or several."""
        given = None if weights is None else Path(weights).expanduser()
        if given is not None and given.is_file():
            return cls._only([given], folder=given.parent)
        return cls._in(super().locate(given, offline=offline))

    @classmethod
    def available(cls, weights: str | Path | None = None) -> bool:
        """Return whether the file is on this machine; the network is not touched."""
        try:
            return cls.locate(weights, offline=True).is_file()
        except InvalidInputError:
            return False

    @classmethod
    def sources(cls, weights: Path) -> list[Path]:
        """Return the one file that decides what is computed."""
        return [cls.locate(weights, offline=True)]

    @classmethod
    def _in(cls, folder: Path) -> Path:
        named = [folder / name for name in cls.published if (folder / name).is_file()]
        return cls._only(named or sorted(path for path in folder.iterdir() if path.is_file()), folder=folder)

    @classmethod
    def _only(cls, files: list[Path], *, folder: Path) -> Path:
        fitting = [path for path in files if path.suffix in cls.suffixes]
        if len(fitting) == 1:
            return fitting[0]
        raise InvalidInputError(
            asked=f"the one file ({', '.join(cls.suffixes)}) of {cls.name} in {folder}",
            found=few([path.name for path in fitting or files]) or "an empty folder",
            remedy=f"give the file itself: --weights {cls.name}=FILE",
        )
