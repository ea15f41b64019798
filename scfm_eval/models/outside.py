"""Models that need another Python: a declaration, a script, and files between the two.

``--model ./mine.toml`` makes a class of a declaration; each answer is a run of the script under the Python that the
declaration names. What a script has to be is in :mod:`scfm_eval.models.outside_child`.
"""

from __future__ import annotations

import copyreg
import re
import shutil
import tempfile
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, ClassVar, cast

import numpy as np
from anndata import AnnData
from numpy.typing import NDArray

from scfm_eval.datasets.download import cache_folder
from scfm_eval.errors import FailedModelError, InvalidInputError
from scfm_eval.models import checkpoint
from scfm_eval.models.card import card
from scfm_eval.models.outside_declaration import CHILD, Declaration, describe_python, read_declaration
from scfm_eval.models.outside_exchange import (
    Answer,
    UnusableAnswerError,
    checked_rows,
    known_rows_of,
    places_of,
    read_answer,
    rows_of,
    write_request,
)
from scfm_eval.models.outside_process import Ended, environment, run
from scfm_eval.models.protocols import Reconstruction

_NAME_LENGTH = 100
_LOGS = 20  # of a model that are kept
_known: dict[tuple[str, str], type[OutsideModel]] = {}


class _Declared(type):
    """The kind of these classes: one of a declaration is pickled as the path of that."""


class OutsideModel(metaclass=_Declared):
    """A model under another Python; :func:`outside_model` makes the class of one declaration.

    Parameters
    ----------
    weights
        File or folder that is handed to the script; ``None`` where it needs none.
    """

    declaration: ClassVar[Declaration]
    made_with: ClassVar[str]
    matches_by_id: ClassVar[bool] = True
    note: ClassVar[str]
    name: ClassVar[str]
    loads_at_each_call: ClassVar[bool] = True
    _sources: ClassVar[str]

    def __init__(self, *, weights: str | Path | None = None) -> None:
        self.device = "cpu"
        self.weights = None if weights is None else Path(weights).expanduser().absolute()
        self.weights_sha256 = None if self.weights is None else _sha256(self.weights)
        self.n_parameters: int | None = None
        self.peak_memory_bytes: dict[str, int | None] | None = None

    def ask(self, capability: str, *, cells: AnnData | None = None, genes: Sequence[str] | None = None) -> Answer:
        """Run the script once and return what it wrote.

        Raises
        ------
        FailedModelError
            It crashed, ran out of time, or wrote nothing that can be read.
        InvalidInputError
            Script or declaration were edited after this run of the suite began.
        """
        place = cache_folder() / "outside" / re.sub(r"[^\w.+-]", "_", self.name)[:_NAME_LENGTH]
        place.mkdir(parents=True, exist_ok=True)
        log = place / f"{datetime.now(UTC):%Y%m%dT%H%M%S.%f}-{capability}.log"
        folder = Path(tempfile.mkdtemp(dir=place, prefix="run-"))
        try:
            ended = self._run(folder, log, cells, capability=capability, genes=genes)
            answer = None if ended.fault else read_answer(folder)
        except UnusableAnswerError as error:
            raise self._failed(capability, str(error), log) from error
        finally:
            shutil.rmtree(folder, ignore_errors=True)
            _drop_old(place)
        if self.declaration.sources_sha256() != self._sources:
            raise InvalidInputError(
                asked=f"{capability} of {self.name}",
                found="script or declaration were edited while the run was under way",
                remedy="start the run again: answers are kept under what made them",
            )
        if answer is None:
            printed = f"; it printed last:\n{ended.last_lines}" if ended.last_lines else "; it printed nothing"
            raise self._failed(capability, ended.fault + printed, log)
        self._remember(answer, ended)
        return answer

    def _run(self, folder: Path, log: Path, cells: AnnData | None, *, capability: str, genes: Any) -> Ended:
        said = self.declaration
        request = write_request(
            folder,
            cells,
            capability=capability,
            genes=None if genes is None else [str(gene) for gene in genes],
            script=str(said.script),
            weights=None if self.weights is None else str(self.weights),
            device=self.device,
            arguments=said.arguments,
        )
        return run(
            [str(said.python), "-I", "-u", str(CHILD), str(request)],
            variables=environment(said.environment),
            folder=folder,
            log=log,
            timeout=said.timeout,
            is_loaded=folder / "loaded",
        )

    def _remember(self, answer: Answer, ended: Ended) -> None:
        self.n_parameters = answer.facts["n_parameters"]
        host = max((n for n in (ended.peak_bytes, answer.facts["host_bytes"]) if n is not None), default=None)
        self.peak_memory_bytes = {"host": host, "device": answer.facts["device_bytes"]}

    def _failed(self, capability: str, found: str, log: Path) -> FailedModelError:
        return FailedModelError(
            asked=f"{capability} of {self.name} under its own Python",
            found=found,
            remedy=f"read outside/{log.parent.name}/{log.name} in the cache, and mend {self.declaration.script.name}",
        )

    def read(self, capability: str, made: Callable[[Answer], Any], **asked: Any) -> Any:
        """Ask, and return what ``made`` takes out of the answer; raises like :meth:`ask`."""
        answer = self.ask(capability, **asked)
        try:
            return made(answer)
        except UnusableAnswerError as error:
            found = str(error)
        except (ValueError, IndexError) as error:
            found = f"{len(answer.arrays)} arrays that do not fit {capability}: {error}"
        raise FailedModelError(
            asked=f"{capability} of {self.name} under its own Python",
            found=f"it wrote {found}",
            remedy=f"mend {self.declaration.script.name}: names first, then what belongs to them",
        )


class AcceleratedModel(OutsideModel):
    """A model under another Python, whose script can run on an accelerator.

    Parameters
    ----------
    weights
        As of :class:`OutsideModel`.
    device
        Where the script is asked to run.
    """

    def __init__(self, *, weights: str | Path | None = None, device: str = "cpu") -> None:
        super().__init__(weights=weights)
        self.device = device


def embed(self: OutsideModel, cells: AnnData) -> NDArray[np.float32]:
    """Return one row per cell ``(n_cells, d)``, found by the cell's name; raises like :meth:`OutsideModel.ask`."""

    def made(answer: Answer) -> NDArray[np.float32]:
        (rows,) = answer.arrays
        return rows_of(answer.ids, rows, asked=list(cells.obs_names), kind="cell")

    return self.read("embed", made, cells=cells)  # type: ignore[no-any-return]


def embed_layers(self: OutsideModel, cells: AnnData) -> list[NDArray[np.float32]]:
    """Return one array ``(n_cells, d)`` per layer, the input first; raises like :meth:`OutsideModel.ask`."""
    asked = list(cells.obs_names)
    return self.read(  # type: ignore[no-any-return]
        "embed_layers",
        lambda answer: [rows_of(answer.ids, rows, asked=asked, kind="cell") for rows in answer.arrays],
        cells=cells,
    )


def embed_genes(self: OutsideModel, genes: Sequence[str]) -> NDArray[np.float32]:
    """Return a row per gene ``(n_genes, d)``, NaN where it has none; raises like :meth:`OutsideModel.ask`."""

    def made(answer: Answer) -> NDArray[np.float32]:
        (rows,) = answer.arrays
        return known_rows_of(answer.ids, rows, asked=list(genes), kind="gene")

    return self.read("embed_genes", made, genes=genes)  # type: ignore[no-any-return]


def score_gene_pairs(self: OutsideModel, cells: AnnData, *, genes: Sequence[str]) -> NDArray[np.float32]:
    """Return scores ``(n_genes, n_genes)``, NaN where it has none; raises like :meth:`OutsideModel.ask`."""

    def made(answer: Answer) -> NDArray[np.float32]:
        (scores,) = answer.arrays
        place = places_of(answer.ids, asked=list(genes), kind="gene")
        if scores.shape != (len(place), len(place)) or len(set(answer.ids)) != len(place):
            raise UnusableAnswerError(f"{len(place)} names of genes with scores of shape {scores.shape}")
        pairs = np.full((len(genes), len(genes)), np.nan, dtype=np.float32)
        pairs[np.ix_(place, place)] = scores
        return pairs

    return self.read("score_gene_pairs", made, cells=cells, genes=genes)  # type: ignore[no-any-return]


def annotate(self: OutsideModel, cells: AnnData) -> tuple[NDArray[np.str_], NDArray[np.float32]]:
    """Return labels ``(C,)`` and probabilities ``(n_cells, C)``; raises like :meth:`OutsideModel.ask`."""

    def made(answer: Answer) -> tuple[NDArray[np.str_], NDArray[np.float32]]:
        labels, shares = answer.arrays
        rows = rows_of(answer.ids, shares, asked=list(cells.obs_names), kind="cell")
        if labels.shape != rows.shape[1:] or labels.dtype.kind != "U":
            raise UnusableAnswerError(f"labels of shape {labels.shape} and type {labels.dtype} for {rows.shape[1]}")
        return labels, rows

    return self.read("annotate", made, cells=cells)  # type: ignore[no-any-return]


def reconstruct_layers(self: OutsideModel, cells: AnnData) -> Reconstruction:
    """Return what the expression head gives on each layer; raises like :meth:`OutsideModel.ask`."""

    def made(answer: Answer) -> Reconstruction:
        target, layers = answer.arrays
        checked_rows(answer.ids, layers.T, kind="cell")
        cell = places_of(answer.ids, asked=list(cells.obs_names), kind="cell")
        order = np.argsort(cell, kind="stable")
        return Reconstruction(target=target[order], cell=cell[order], layers=layers[:, order])

    return self.read("reconstruct_layers", made, cells=cells)  # type: ignore[no-any-return]


_METHODS: dict[str, Callable[..., Any]] = {
    method.__name__: method
    for method in (embed, embed_layers, embed_genes, score_gene_pairs, annotate, reconstruct_layers)
}


def outside_model(spec: str) -> type[OutsideModel]:
    """Return the class of one declaration; its Python is asked for its packages once.

    Parameters
    ----------
    spec
        Path of a ``.toml`` file; see :class:`~scfm_eval.models.outside_declaration.Declaration`.

    Raises
    ------
    InvalidInputError
        The declaration is wrong, or its Python or script is not there or lacks a package.
    """
    said = read_declaration(Path(spec))
    found = describe_python(said)
    sources = said.sources_sha256()
    packages = ", ".join(f"{name} {found['packages'][name]}" for name in said.packages)
    made: dict[str, Any] = {
        **said.card,
        **{name: _METHODS[name] for name in said.capabilities},
        "declaration": said,
        "_sources": sources,
        "made_with": f"{sources} {sorted(found['packages'].items())} Python {found['python']}",
        "note": f"{said.card['name']} ran under Python {found['python']}{packages and ' with '}{packages}",
        "__doc__": f"The model declared in {spec}.",
        "__module__": __name__,
    }
    parent = AcceleratedModel if said.accelerator else OutsideModel
    declared = cast("type[OutsideModel]", _Declared("OutsideModel", (parent,), made))
    try:
        card(declared)
    except InvalidInputError as error:
        raise InvalidInputError(
            asked=f"the model declared in {spec}", found=error.found, remedy="mend that entry of [model]"
        ) from error
    # the same content is the same class: answers and pickles know it again
    return _known.setdefault((str(said.file.absolute()), declared.made_with), declared)


def _as_path(declared: _Declared) -> Any:
    said = vars(declared).get("declaration")
    return declared.__qualname__ if said is None else (outside_model, (str(said.file.absolute()),))


copyreg.pickle(_Declared, _as_path)


def _sha256(weights: Path) -> str:
    files = [weights] if weights.is_file() else [file for file in weights.rglob("*") if file.is_file()]
    return checkpoint.weights_sha256(files)


def _drop_old(place: Path) -> None:
    for log in sorted(place.glob("*.log"))[:-_LOGS]:
        log.unlink(missing_ok=True)
