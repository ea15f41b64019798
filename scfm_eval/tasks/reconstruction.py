"""Layer-wise reconstruction: how much of a cell's expression each layer of a model still holds."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

import numpy as np
from anndata import AnnData
from joblib import Parallel, delayed
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from scfm_eval.datasets.expression import highly_variable, log_normalised
from scfm_eval.datasets.splits import folds
from scfm_eval.errors import InvalidInputError
from scfm_eval.fits import Fit, Fitted, Rows, fitted, unseen
from scfm_eval.metrics.classification import macro_f1
from scfm_eval.metrics.layers import effective_rank, linear_cka
from scfm_eval.metrics.metric import Metric, UndefinedMetricError
from scfm_eval.metrics.reconstruction import centred_pearson, gene_r2
from scfm_eval.models.protocols import LayerEmbedder, Reconstructor, learns_here
from scfm_eval.results import ScoreRecord, measure
from scfm_eval.tasks import probes
from scfm_eval.tasks.layer_inputs import combined, principal_reconstruction, random_projection
from scfm_eval.tasks.native import Native, native_scores, native_table
from scfm_eval.tasks.ridge import fit_ridge
from scfm_eval.tasks.sides import Sides, require_sides_apart
from scfm_eval.tasks.small_probes import nearest
from scfm_eval.tasks.task import Answers, Scored, lacks, resampling_weights

_FEWEST_CELLS = 30
_N_FOLDS, _N_INNER = 5, 3
_N_COMPARED = 1000
_JOINED = ("mean_layers", "weighted_layers", "concatenated_layers")
_REFERENCES = ("pca", "random_projection", "permuted")


@dataclass(frozen=True, eq=False)
class _Cells:
    """The scored cells: rows among all, their parts, and the log-expression of the chosen genes."""

    rows: NDArray[np.intp]
    part: NDArray[np.int64]  # 0 test, 1 validation, above: training
    inner: NDArray[np.int64]
    expression: NDArray[np.float32]
    labels: NDArray[np.str_] | None
    donors: NDArray[np.str_] | None
    fits: tuple[Fit, ...]
    notes: list[str]

    def rows_of(self, values: NDArray[Any], labels: NDArray[Any] | None = None) -> Rows:
        """Return values of these cells, which rest on whatever the genes were chosen by."""
        return Rows(values, self.rows, labels=labels, donors=self.donors, fits=self.fits)

    @property
    def train(self) -> NDArray[np.bool_]:
        return np.greater(self.part, 1)

    @property
    def mean(self) -> NDArray[np.float32]:
        return _gene_means(self.expression[self.train])

    def within(self, part: int) -> NDArray[np.bool_]:
        return np.equal(self.part, part)


@dataclass(frozen=True, eq=False)
class _Probe:
    """What ridge regression from one embedding, or a reference without a penalty, says of validation and test cells."""

    validation: Rows
    tested: Rows
    penalty: float | None = None

    @classmethod
    def of(cls, expression: Rows, used: _Cells) -> _Probe:
        return cls(expression[used.within(1)], expression[used.within(0)])

    @property
    def test(self) -> NDArray[np.float32]:
        return unseen(self.tested)


@dataclass(frozen=True, eq=False)
class _Run:
    """Everything that one seed of the model gives; ``best`` is ``None`` where no layer can be chosen."""

    layers: list[NDArray[np.float32]]
    probes: Mapping[str, _Probe]
    best: int | None
    chosen_by: tuple[Fit, ...]
    weights: NDArray[np.float64]

    def named(self, name: str) -> _Probe:
        """Return the probe of a score: a combination, a reference, or one of the layers by its role.

        Raises ``UndefinedMetricError`` for what needs the best layer, where there is none.
        """
        if self.best is None and name in ("probe", "permuted"):
            raise UndefinedMetricError("no gene varies over the validation cells, so that no layer can be chosen")
        last = len(self.layers) - 1
        roles = {"probe": self.best, "input_layer": 0, "middle_layer": round(last / 2), "last_layer": last}
        probe = self.probes[f"layer_{roles[name]}" if name in roles else name]
        chosen_by = self.chosen_by if name in ("probe", "permuted") else ()
        return replace(probe, tested=probe.tested.resting_on(chosen_by))


@dataclass(frozen=True)
class LayerwiseReconstruction:
    """Expression from each layer: by the model's own head (native), and by ridge regression (probe).

    One fifth of the cells is for test and one for validation, whole donors where there are three or more. The split is
    the same for all seeds. Genes are chosen, and everything is fitted, on the other three; the layer of the best median
    R² on the validation cells is scored on the test cells. Intervals are over the donors of the test cells where there
    are several, else over test cells.

    Native scores compare each layer's output with the input that the head was trained to give back, and are scored on
    the layer of the least error on validation cells. Errors are in units of the model's own and comparable with those
    of the mean of the cell only; ``native_r2``, 0 for that mean, and ``native_pearson`` have no units.

    Parameters
    ----------
    n_genes
        Highly variable genes.
    n_cells
        Most cells that take part, drawn at random where there are more.
    n_native
        Most test cells, and most validation cells, whose native reconstruction is asked for.
    """

    n_genes: int = 2000
    n_cells: int = 5000
    n_native: int = 1000

    name: ClassVar[str] = "layerwise_reconstruction"
    capability: ClassVar[type] = LayerEmbedder
    keys: ClassVar[tuple[str, ...]] = ()
    headline: ClassVar[tuple[str, ...]] = ("probe_r2", "pca_r2", "native_pearson")

    def refuses(self, model: type) -> str:
        """Return why ``model`` cannot take part: it gives no layers, or would have to be fitted before it does."""
        learns = learns_here(model)
        unfitted = "it learns from the dataset, and layers are asked for without that" if learns else ""
        return lacks(model, LayerEmbedder) or unfitted

    def check(self, cells: AnnData, *, dataset: str) -> None:
        """Raise ``InvalidInputError`` for too few cells to learn from."""
        if cells.n_obs < _FEWEST_CELLS:
            raise InvalidInputError(
                asked=f"layer-wise reconstruction of {dataset}",
                found=f"{cells.n_obs} cells",
                remedy=f"use a dataset of at least {_FEWEST_CELLS} cells",
            )

    def score(self, answers: Answers, cells: AnnData, *, seeds: Sequence[int]) -> Scored:
        """Fit and score probes of all layers, of their combinations and of the references, and the native head."""
        used = self._used(cells)
        train, test = (np.isin(np.arange(cells.n_obs), used.rows[part]) for part in (~used.within(0), used.within(0)))
        unit: Literal["cell", "donor"] = "cell" if used.donors is None else "donor"
        require_sides_apart(cells, [Sides(train=train, test=test)], unit=unit, asked=self.name)
        rows = self._native_rows(used)
        test = used.part[rows] == 0
        layers = [[layer[used.rows] for layer in answers.embed_layers(seed=seed)] for seed in seeds]
        asked = seeds if answers.can(Reconstructor) else ()
        given = [answers.reconstruct_layers(seed=seed, rows=used.rows[rows]) for seed in asked]
        native = [Native.of(made, test=test) for made in given]
        # one thread each: two levels of threads on a few cores stall each other
        with threadpool_limits(1):
            runs = [_run(made, used, seed=seed) for made, seed in zip(layers, seeds, strict=True)]
            scores = _probe_scores(runs, used) | native_scores(native, weights=_weights(used, rows[test]))
            return Scored(scores, _details(runs, used, native=native), used.notes)

    def _used(self, cells: AnnData) -> _Cells:
        rng, notes = np.random.default_rng(0), []
        rows = np.arange(cells.n_obs)
        if cells.n_obs > self.n_cells:
            rows = np.sort(rng.choice(rows, self.n_cells, replace=False))
            notes.append(f"{self.n_cells} of {cells.n_obs} cells take part, drawn at random")
        kept = cells[rows]
        labels, donors = (
            kept.obs[key].astype(str).to_numpy(str) if key in kept.obs else None for key in ("label", "donor")
        )
        strata = np.zeros(len(rows)) if labels is None else labels
        if donors is not None and len(np.unique(donors)) < 3:
            notes.append("split by cell, since there are fewer than three donors: scores do not speak of other donors")
            donors = None
        part = folds(strata, donors=donors, n_folds=_N_FOLDS, seed=0).fold
        train = part > 1
        inner = folds(strata[train], donors=None if donors is None else donors[train], n_folds=_N_INNER, seed=0).fold
        shown = kept[train]
        genes = highly_variable(shown, n_top=self.n_genes)
        chosen_by = Fit("the choice of highly variable genes", cells.obs_names.get_indexer(shown.obs_names))
        expression = log_normalised(kept.X)[:, genes].toarray()
        if labels is not None:
            labels = np.where(kept.obs["label"].isna(), "", labels)
        return _Cells(rows, part, inner, expression, labels, donors, (chosen_by,), notes)

    def _native_rows(self, used: _Cells) -> NDArray[np.intp]:
        rng = np.random.default_rng(1)
        parts = [rng.permutation(np.flatnonzero(used.within(part)))[: self.n_native] for part in (0, 1)]
        return np.sort(np.concatenate(parts))


def _run(layers: list[NDArray[np.float32]], used: _Cells, *, seed: int) -> _Run:
    width = layers[0].shape[1]
    of_layers = [used.rows_of(layer) for layer in layers]
    joined, weights = combined(of_layers, train=used.train, expression=used.expression[used.train], fold=used.inner)
    inputs = {f"layer_{number}": layer for number, layer in enumerate(of_layers)} | joined
    inputs["random_projection"] = used.rows_of(random_projection(used.expression, width=width, seed=seed))
    made = dict(zip(inputs, _in_parallel(lambda X: _probe(X, used), inputs.values()), strict=True))
    choice = _best([made[f"layer_{number}"] for number in range(len(layers))], used)
    best, expression = choice.made, used.rows_of(used.expression)
    if best is not None:
        order = np.random.default_rng(seed).permutation(len(used.rows))
        made["permuted"] = _probe(used.rows_of(layers[best][order]), used)
    made["pca"] = _Probe.of(principal_reconstruction(expression, train=used.train, width=width), used)
    mean = fitted("the means of genes", expression[used.train], lambda rows: _gene_means(rows.values))
    made["gene_mean"] = _Probe.of(mean.on(expression, lambda values: np.broadcast_to(mean.made, values.shape)), used)
    return _Run(layers, made, best, choice.fits, weights)


def _gene_means(expression: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.asarray(expression.mean(axis=0, dtype=np.float64), dtype=np.float32)


def _best(layers: Sequence[_Probe], used: _Cells) -> Fitted[int | None]:
    """Return the layer of the best median R² on validation cells; ``None`` where no gene varies over these."""

    def choice(true: Rows) -> int | None:
        try:
            return int(np.argmax([gene_r2(true.values, layer.validation.values) for layer in layers]))
        except UndefinedMetricError:
            return None

    return fitted("the choice of the layer", used.rows_of(used.expression)[used.within(1)], choice)


def _in_parallel(function: Callable[[Any], Any], values: Any) -> list[Any]:
    return list(Parallel(n_jobs=os.cpu_count(), prefer="threads")(delayed(function)(value) for value in values))


def _probe(X: Rows, used: _Cells) -> _Probe:
    fit = fitted(
        "the ridge regression",
        X.labelled(used.expression)[used.train],
        lambda rows: fit_ridge(rows.values, rows.known_labels, fold=used.inner),
    )
    validation, test = (fit.on(X[used.within(part)], fit.made.predict) for part in (1, 0))
    return _Probe(validation, test, fit.made.penalty)


def _weights(used: _Cells, rows: NDArray[np.intp]) -> NDArray[np.int16]:
    donors = None if used.donors is None else used.donors[rows]
    return resampling_weights(donors=donors, strata=np.zeros(len(rows)))


def _probe_scores(runs: list[_Run], used: _Cells) -> dict[str, ScoreRecord]:
    test = np.flatnonzero(used.within(0))
    true, weights = used.expression[test], _weights(used, test)

    def scored(metric: Metric[Any], name: str, **known: Any) -> ScoreRecord:
        return measure(
            metric, lambda: [metric.statistic(true, run.named(name).test, **known) for run in runs], weights=weights
        )

    layers = ("probe", "input_layer", "middle_layer", "last_layer")
    scores = {f"{name}_r2": scored(gene_r2, name) for name in (*layers, *_JOINED, *_REFERENCES, "gene_mean")}
    return scores | {
        f"{name}_pearson": scored(centred_pearson, name, mean=used.mean) for name in ("probe", "last_layer", "pca")
    }


def _label_f1(layers: Sequence[NDArray[np.float32]], used: _Cells) -> list[float | None]:
    """Return the macro F1 of the logistic-regression probe on each layer; ``None`` without labels to learn from."""
    known = np.zeros(len(used.rows), dtype=bool) if used.labels is None else used.labels != ""
    train, test = known & used.train, known & used.within(0)
    if used.labels is None or len(np.unique(used.labels[train])) < 2 or not test.any():
        return [None] * len(layers)
    labels, classes = used.labels, np.unique(used.labels[known])

    def of(layer: NDArray[np.float32]) -> float:
        rows = used.rows_of(layer, labels)
        found = nearest(probes.logistic_regression(rows[train], rows[test].labelled(None), seed=0))
        return macro_f1(labels[test], found, classes=classes)

    return _in_parallel(of, layers)


def _details(runs: Sequence[_Run], used: _Cells, *, native: Sequence[Native]) -> dict[str, Any]:
    run, n_blocks = runs[0], max(len(runs[0].layers) - 1, 1)
    label_f1, given = _label_f1(run.layers, used), native_table(native[0]) if native else [{}] * len(run.layers)
    some = np.random.default_rng(2).permutation(len(used.rows))[:_N_COMPARED]
    compared = [layer[some] for layer in run.layers]
    table = [
        {"layer": number, "depth": number / n_blocks}
        | _row(run.probes[f"layer_{number}"], used)
        | {"label_macro_f1": label_f1[number], "effective_rank": _rank(compared[number])}
        | given[number]
        for number in range(len(run.layers))
    ]
    beside = (*_JOINED, *_REFERENCES, "gene_mean")
    return {
        "best_layer": [run.best for run in runs],
        "best_depth": [None if run.best is None else run.best / n_blocks for run in runs],
        "native_best_layer": [one.best for one in native],
        "layers": table,
        "beside": {name: _row(run.probes[name], used) for name in beside if name in run.probes},
        "layer_weights": run.weights.tolist(),
        "linear_cka": [[None if np.isnan(v) else float(v) for v in row] for row in linear_cka(compared)],
        "n_genes": used.expression.shape[1],
        "n_cells": {
            "train": int(used.train.sum()),
            "validation": int(used.within(1).sum()),
            "test": int(used.within(0).sum()),
        },
    }


def _row(probe: _Probe, used: _Cells) -> dict[str, float | None]:
    true = used.expression[used.within(0)]
    errors = np.square(true - probe.test).mean(axis=1, dtype=np.float64)
    return {
        "validation_r2": _or_none(lambda: gene_r2(used.expression[used.within(1)], probe.validation.values)),
        "r2": _or_none(lambda: gene_r2(true, probe.test)),
        "pearson": _or_none(lambda: centred_pearson(true, probe.test, mean=used.mean)),
        "mse": float(errors.mean()),
        "mse_sd": float(errors.std()),
        "mae": float(np.abs(true - probe.test).mean(dtype=np.float64)),
        "penalty": probe.penalty,
    }


def _rank(layer: NDArray[np.float32]) -> float | None:
    return _or_none(lambda: effective_rank(layer))


def _or_none(value: Callable[[], float]) -> float | None:
    try:
        return value()
    except UndefinedMetricError:
        return None
