"""CellTypist-style models: logistic regression on scaled log-normalised counts.

Domínguez Conde et al. 2022, doi:10.1126/science.abl5197.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal, get_args

import numpy as np
from anndata import AnnData
from numpy.typing import NDArray
from scipy import sparse
from scipy.special import expit, log_expit, softmax

from scfm_eval.arrays import read_npz
from scfm_eval.errors import InvalidInputError
from scfm_eval.models import checkpoint, options
from scfm_eval.models.batching import Unread, gene_rows, refuse_unread
from scfm_eval.models.counts import csr_counts, gene_places
from scfm_eval.models.files import refusing
from scfm_eval.models.namespaces import counts_by_name
from scfm_eval.models.weights import PublishedWeights
from scfm_eval.timing import phase

Probabilities = Literal["shares", "each"]

_TARGET = 10_000
_LARGEST = 10.0
_INERT = (r"sklearn\..*",)
_REMEDY = "give a model that CellTypist wrote, or an .npz with coef, intercept, classes, features, mean and scale"
_ARRAYS = ("coef", "intercept", "classes", "features", "mean", "scale")


@dataclass(frozen=True, eq=False)
class Linear:
    """A linear model of the expression of genes.

    Parameters
    ----------
    coef, intercept
        ``(C, n_genes)`` and ``(C,)``; of two classes only the second, ``(1, n_genes)`` and ``(1,)``.
    classes, features
        Names of the classes ``(C,)`` and symbols of the genes ``(n_genes,)``.
    mean, scale
        What is subtracted from a gene's value, and what it is divided by afterwards, ``(n_genes,)``.
    """

    coef: NDArray[np.float64]
    intercept: NDArray[np.float64]
    classes: NDArray[np.str_]
    features: NDArray[np.str_]
    mean: NDArray[np.float64]
    scale: NDArray[np.float64]


class CellTypist(PublishedWeights):
    """A linear model that CellTypist trained, frozen: its decision values are the embedding.

    Values are log1p of counts per 10,000 of all genes of the cell, also those that the model does not read; a gene that
    the cells lack counts as average. Ensembl ids are read as symbols by the packaged table of genes.

    Parameters
    ----------
    weights
        Folder with one ``.pkl`` that CellTypist wrote, or one ``.npz`` with ``coef``, ``intercept``, ``classes``,
        ``features``, ``mean`` and ``scale``.
    file
        Name of the file, where the folder holds several; ``None`` takes the class attribute of that name.
    probabilities
        ``"shares"`` divides the probability of each class by their sum, so that they are one distribution; ``"each"``
        gives the probability of each class against the rest by itself, which is what CellTypist calls probability.
    unread
        ``"refuse"`` raises for a cell without any gene of the model, ``"keep"`` embeds it as a cell of zeros.
    offline
        Never download; there is nothing to download.
    """

    name: ClassVar[str] = "celltypist"
    role: ClassVar[str] = "model"
    licence: ClassVar[str] = "MIT"
    weights_licence: ClassVar[str] = "that of the model which is given"
    citation: ClassVar[str] = "10.1126/science.abl5197"
    home: ClassVar[str] = "https://www.celltypist.org/models"
    gene_ids: ClassVar[str | None] = None
    file: ClassVar[str | None] = None
    definition: ClassVar[str] = (
        "The probabilities of the classes are divided by their sum; "
        'probabilities="each" gives those of CellTypist, each class against the rest. There is no majority voting, '
        "which would make the label of a cell depend on the others."
    )
    exceptions: ClassVar[dict[str, str]] = {
        "genes_that_it_does_not_know_do_not_matter": "values are relative to the counts of all genes of a cell, "
        "also of those that the model does not read: it was trained that way",
    }

    def __init__(
        self,
        *,
        weights: str | Path | None = None,
        file: str | None = None,
        probabilities: Probabilities = "shares",
        unread: Unread = "refuse",
        offline: bool = False,
    ) -> None:
        options.require_known("probabilities", probabilities, known=get_args(Probabilities))
        options.require_known("unread", unread, known=get_args(Unread))
        self.probabilities, self.unread = probabilities, unread
        path = _chosen(self.locate(weights, offline=offline), file or self.file)
        with phase("load"):
            self._linear = read_linear(path)
            self.n_parameters = self._linear.coef.size + self._linear.intercept.size
            self.loaded_share: float | None = 1.0
            self.weights_sha256: str | None = checkpoint.weights_sha256([path])

    @classmethod
    def sources(cls, weights: Path) -> list[Path]:
        """Return the one model in the weights folder, or the one there that ``file`` of the class names."""
        return [_chosen(Path(weights), cls.file)]

    @classmethod
    def vocabulary(cls, weights: Path) -> Collection[str]:
        """Return the gene symbols of the model that :meth:`sources` names."""
        return frozenset(str(gene) for path in cls.sources(weights) for gene in read_linear(path).features)

    def embed(self, cells: AnnData) -> NDArray[np.float32]:
        """Return the decision value of each class ``(n_cells, C)`` in the order of ``cells.obs_names``.

        Raises
        ------
        InvalidInputError
            A cell has no gene of the model.
        """
        with phase("forward"):
            return self._decided(cells).astype(np.float32)

    def annotate(self, cells: AnnData) -> tuple[NDArray[np.str_], NDArray[np.float32]]:
        """Return the classes ``(C,)`` and the probability of each ``(n_cells, C)``; raises like :meth:`embed`.

        The class with the largest decision value has the largest probability, by the least step where the numbers end.
        """
        with phase("forward"):
            decided = self._decided(cells)
            shares = expit(decided) if self.probabilities == "each" else softmax(log_expit(decided), axis=1)
        return self._linear.classes, _best_first(shares, best=decided.argmax(axis=1))

    def embed_genes(self, genes: Sequence[str]) -> NDArray[np.float32]:
        """Return the weight of each gene for each class ``(n_genes, C)``; NaN for a gene that is not in the model."""
        coef = _both(self._linear.coef.T).astype(np.float32)
        return gene_rows(coef, token=gene_places(genes, order=list(self._linear.features)))

    def _decided(self, cells: AnnData) -> NDArray[np.float64]:
        model, features = self._linear, list(self._linear.features)
        with phase("tokenise"):
            counts = counts_by_name(cells, order=features, model=self.name)
            if self.unread == "refuse":
                refuse_unread(counts.getnnz(axis=1), names=list(cells.obs_names))
            total = np.asarray(csr_counts(cells).sum(axis=1, dtype=np.float64)).ravel()
            values = _log_normalised(counts, total=total)
            every = AnnData(np.ones((1, cells.n_vars)), var=cells.var[[]])
            measured = counts_by_name(every, order=features, model=self.name)
        zero = np.minimum(-model.mean / model.scale, _LARGEST)
        scaled = (values.data - model.mean[values.indices]) / model.scale[values.indices]
        # what a gene adds beside what its zero adds, so that nothing has to be made dense
        values.data = np.minimum(scaled, _LARGEST) - zero[values.indices]
        average = np.where(measured.toarray()[0] > 0, zero, 0) @ model.coef.T
        return _both(values @ model.coef.T + average + model.intercept)


def _log_normalised(counts: sparse.csr_matrix, *, total: NDArray[np.float64]) -> sparse.csr_matrix:
    values = sparse.csr_matrix(counts, dtype=np.float64)
    values.eliminate_zeros()
    values.data = np.log1p(values.data / np.repeat(total, np.diff(values.indptr)) * _TARGET)
    return values


def _both(decided: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return a column for each class, also where there are two and only the second has one."""
    return np.hstack([-decided, decided]) if decided.shape[1] == 1 else decided


def _best_first(shares: NDArray[np.float64], *, best: NDArray[np.int64]) -> NDArray[np.float32]:
    """Return shares in which the best class is ahead, also where several are as sure as a number can say."""
    made, rows = np.minimum(shares, 1 - 2**-23).astype(np.float32), np.arange(len(best))
    others = made.copy()
    others[rows, best] = 0
    made[rows, best] = np.maximum(made[rows, best], np.nextafter(others.max(axis=1), np.float32(2)))
    return made


def _models(folder: Path) -> list[Path]:
    found = sorted(path for path in folder.iterdir() if path.suffix in (".pkl", ".npz"))
    if not found:
        raise InvalidInputError(asked=f"a linear model in {folder}", found="no .pkl and no .npz", remedy=_REMEDY)
    return found


def _chosen(folder: Path, file: str | None) -> Path:
    found = _models(folder)
    named = [path for path in found if file in (None, path.name)]
    if len(named) != 1:
        raise InvalidInputError(
            asked=f"one linear model in {folder}" if file is None else f"the linear model {file} in {folder}",
            found=checkpoint.few([path.name for path in found]),
            remedy="name one of these as `file`, or give a folder with one of them",
        )
    return named[0]


def read_linear(path: Path) -> Linear:
    """Return the linear model in a ``.pkl`` that CellTypist wrote, or in an ``.npz``; nothing of it is executed.

    Raises
    ------
    InvalidInputError
        The file is damaged, would execute code, or its arrays do not fit each other.
    """
    with refusing(asked=f"a linear model in {path}", remedy=_REMEDY):
        if path.suffix == ".npz":
            arrays = read_npz(path)
            said = {name: arrays[name] for name in _ARRAYS}
        else:
            said = _unpickled(path)
        numbers = {name: np.asarray(said[name], dtype=np.float64) for name in ("coef", "intercept", "mean", "scale")}
        linear = Linear(classes=_texts(said["classes"]), features=_texts(said["features"]), **numbers)
    fault = _fault(linear)
    if fault:
        raise InvalidInputError(asked=f"a linear model in {path}", found=fault, remedy=_REMEDY)
    return linear


def _unpickled(path: Path) -> dict[str, Any]:
    """Return the arrays of a model and its scaler, whose classes are never imported."""
    content = checkpoint.read_dictionary(path, inert=_INERT)
    model, scaler = content["Model"].state, content["Scaler_"].state
    mean = scaler["mean_"] if scaler.get("with_mean", True) else np.zeros(len(model["features"]))
    return {
        "coef": model["coef_"],
        "intercept": model["intercept_"],
        "classes": model["classes_"],
        "features": model["features"],
        "mean": mean,
        "scale": scaler["scale_"],
    }


def _texts(names: Any) -> NDArray[np.str_]:
    if isinstance(names, np.ndarray) and names.ndim == 1 and all(isinstance(name, str) for name in names):
        return names.astype(np.str_)
    raise TypeError(f"no names but a {type(names).__name__}")


def _fault(model: Linear) -> str:
    """Return what is wrong with a linear model; empty when nothing is."""
    n_classes, n_genes = len(model.classes), len(model.features)
    if n_classes < 2 or not n_genes:
        return f"{n_classes} classes and {n_genes} genes"
    n_rows = 1 if n_classes == 2 else n_classes
    if model.coef.shape != (n_rows, n_genes) or model.intercept.shape != (n_rows,):
        return (
            f"coefficients {model.coef.shape} and intercepts {model.intercept.shape} "
            f"for {n_classes} classes and {n_genes} genes"
        )
    if model.mean.shape != (n_genes,) or model.scale.shape != (n_genes,):
        return f"means {model.mean.shape} and scales {model.scale.shape} for {n_genes} genes"
    if len(set(model.features)) < n_genes or len(set(model.classes)) < n_classes:
        return "genes or classes that are there twice"
    finite = all(np.isfinite(part).all() for part in (model.coef, model.intercept, model.mean, model.scale))
    return "" if finite and (model.scale > 0).all() else "numbers that are not finite, or scales that are not positive"
