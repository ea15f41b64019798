"""Genes: whether the vectors of genes tell their functions, or the tissues that they are particular to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import numpy as np
from anndata import AnnData
from numpy.typing import NDArray

from scfm_eval.baselines.controls import normal_by_id
from scfm_eval.datasets.coexpression import gene_components
from scfm_eval.datasets.expression import log_normalised
from scfm_eval.datasets.gene_sets import GeneSet, load_gene_sets
from scfm_eval.metrics.gene_terms import chance_auprc, term_auprc, term_auroc
from scfm_eval.metrics.metric import InapplicableMetricError, Metric, Statistic
from scfm_eval.metrics.resampling import bootstrap_weights
from scfm_eval.models.protocols import GeneEmbedder
from scfm_eval.results import ScoreRecord, measure
from scfm_eval.tasks.gene_probes import out_of_fold, stratified_folds
from scfm_eval.tasks.task import N_RESAMPLES, Answers, Scored, lacks

_FEWEST_TERMS = 2
_NAMED = 10
_KINDS = ("", "random_", "coexpression_")
_METRICS: dict[str, Metric[Any]] = {"auprc": term_auprc, "auroc": term_auroc}
_OVERLAP = "terms share genes, so that intervals over terms are narrower than those over new genes would be"


@dataclass(frozen=True)
class GeneFunctions:
    """Logistic regression from the frozen vectors of genes to each term that they have, over folds of genes.

    The genes are those of the dataset that are in any gene set of the source, the same for every model; one without a
    vector stands at the mean of the others. ``random_…`` and ``coexpression_…`` are the same of random vectors, and of
    principal components of the co-expression in the dataset, as wide as the model's. Values are means over the folds of
    a term, then over terms; intervals are over terms.

    Parameters
    ----------
    gene_sets
        ``""`` the packaged GO terms, ``"proteinatlas"`` genes particular to a tissue, else a .gmt file.
    sizes
        Fewest and most genes of a term, among those of the dataset.
    max_terms
        Terms are drawn where more have these sizes.
    n_folds
        Folds of the genes, drawn for each term so that all have as many of its genes.
    """

    gene_sets: str = ""
    sizes: tuple[int, int] = (20, 500)
    max_terms: int = 50
    n_folds: int = 5

    name: ClassVar[str] = "genes"
    capability: ClassVar[type] = GeneEmbedder
    keys: ClassVar[tuple[str, ...]] = ()
    headline: ClassVar[tuple[str, ...]] = ("auprc", "auroc")

    def refuses(self, model: type) -> str:
        """Return why ``model`` cannot take part: it has no vectors of genes."""
        return lacks(model, GeneEmbedder)

    def reads(self) -> str:
        """Return which gene sets decide the scores: two releases give scores that cannot be compared."""
        return load_gene_sets(self.gene_sets).release

    def check(self, cells: AnnData, *, dataset: str) -> None:
        """Raise ``InvalidInputError`` for gene sets that cannot be read."""
        del cells, dataset
        load_gene_sets(self.gene_sets)

    def score(self, answers: Answers, cells: AnnData, *, seeds: Sequence[int]) -> Scored:
        """Score what the model's vectors of genes tell over seeds, beside vectors of the same width that know less."""
        asked = _asked(self, cells)
        runs = [_run(answers, cells, asked, task=self, seed=seed) for seed in seeds] if asked.terms else []
        missing = runs[0].missing if runs else []
        details: dict[str, Any] = {
            "gene_sets": load_gene_sets(self.gene_sets).release,
            "n_sets": asked.n_sets,
            "n_sets_of_size": asked.n_fitting,
            "n_terms": len(asked.terms),
            "n_genes": len(asked.genes),
            "n_genes_without_vector": len(missing),
            "genes_without_vector": missing,
        }
        if runs and runs[0].statistics:
            details |= {"width": runs[0].width, "penalties": runs[0].penalties, "terms": _rows(asked, runs[0])}
        return Scored(_scores(self, asked, runs), details, _notes(asked, runs))


@dataclass(frozen=True)
class _Asked:
    """Which genes and terms are asked about; ``members`` is ``(n_genes, n_terms)``, ``columns`` where the genes are."""

    columns: NDArray[np.intp]
    genes: tuple[str, ...]
    terms: tuple[GeneSet, ...]
    members: NDArray[np.bool_]
    n_sets: int
    n_fitting: int
    n_repeated: int
    n_genes_of_dataset: int


@dataclass(frozen=True)
class _Run:
    """What one seed gives by name of the score, nothing without any vector, and the folds that it was made in."""

    statistics: dict[str, Statistic]
    fold: NDArray[np.int64]
    penalties: dict[str, list[float]]
    width: int
    coexpression_width: int
    missing: list[str]


def _asked(task: GeneFunctions, cells: AnnData) -> _Asked:
    source = load_gene_sets(task.gene_sets)
    every = source.members([str(gene) for gene in cells.var_names])
    known = every.any(axis=1)
    members = every[known]
    sizes = members.sum(axis=0)
    # a term of nearly all genes has too few others, in each fold, to be told apart from
    most = min(task.sizes[1], len(members) - task.sizes[0])
    fitting = np.flatnonzero((sizes >= task.sizes[0]) & (sizes <= most))
    # what two terms say of these genes is often the very same
    unique = np.sort(np.unique(members[:, fitting], axis=1, return_index=True)[1]) if len(fitting) else fitting
    chosen = fitting[unique]
    if len(chosen) > task.max_terms:
        chosen = np.sort(np.random.default_rng(0).choice(chosen, task.max_terms, replace=False))
    chosen = chosen if len(chosen) >= _FEWEST_TERMS else chosen[:0]
    return _Asked(
        columns=np.flatnonzero(known),
        genes=tuple(str(gene) for gene in cells.var_names[known]),
        terms=tuple(source.sets[term] for term in chosen),
        members=members[:, chosen],
        n_sets=len(source.sets),
        n_fitting=len(fitting),
        n_repeated=len(fitting) - len(unique),
        n_genes_of_dataset=cells.n_vars,
    )


def _run(answers: Answers, cells: AnnData, asked: _Asked, *, task: GeneFunctions, seed: int) -> _Run:
    genes, members = asked.genes, asked.members
    own = answers.embed_genes(genes, seed=seed, truth=members)
    without = np.isnan(own).any(axis=1)
    missing = [genes[place] for place in np.flatnonzero(without)]
    fold = stratified_folds(members, n_folds=task.n_folds, seed=seed)
    if without.all():
        return _Run({}, fold, {}, 0, 0, missing)
    width = own.shape[1]
    expressed = log_normalised(cells.X)[:, asked.columns]
    vectors = {
        "": own,
        "random_": normal_by_id(genes, seed=seed, width=width),
        "coexpression_": gene_components(expressed, n_components=width, seed=seed),
    }
    fitted = {kind: out_of_fold(rows, members=members, fold=fold) for kind, rows in vectors.items()}
    return _Run(
        statistics={
            f"{kind}{short}": metric.statistic(odds, members=members, fold=fold)
            for kind, (odds, _) in fitted.items()
            for short, metric in _METRICS.items()
        },
        fold=fold,
        penalties={(kind or "model_").rstrip("_"): chosen for kind, (_, chosen) in fitted.items()},
        width=width,
        coexpression_width=vectors["coexpression_"].shape[1],
        missing=missing,
    )


def _scores(task: GeneFunctions, asked: _Asked, runs: Sequence[_Run]) -> dict[str, ScoreRecord]:
    reason = _why_undefined(task, asked, runs)
    n_terms = max(len(asked.terms), 1)
    weights = (
        bootstrap_weights(units=np.arange(n_terms), strata=np.zeros(n_terms), n_resamples=N_RESAMPLES, seed=0)
        if asked.terms
        else np.ones((1, n_terms), dtype=np.int16)
    )

    def statistics(name: str) -> list[Statistic]:
        if reason:
            raise InapplicableMetricError(reason)
        return [run.statistics[name] for run in runs]

    def chance() -> float:
        return float(np.mean([chance_auprc(members=asked.members, fold=run.fold) for run in runs]))

    return {
        f"{kind}{short}": measure(metric, partial(statistics, f"{kind}{short}"), weights=weights, chance=chance)
        for kind in _KINDS
        for short, metric in _METRICS.items()
    }


def _why_undefined(task: GeneFunctions, asked: _Asked, runs: Sequence[_Run]) -> str:
    fewest, most = task.sizes
    if not asked.terms:
        return (
            f"{asked.n_fitting} of {asked.n_sets} gene sets have {fewest} to {most} of the {len(asked.genes)} genes of "
            f"the dataset that are in any: at least {_FEWEST_TERMS} are needed"
        )
    return "" if all(run.statistics for run in runs) else "the model has a vector for none of the genes"


def _rows(asked: _Asked, run: _Run) -> list[dict[str, Any]]:
    """Return one row per term: its size, for how many of its genes there is a vector, and what the first seed gave."""
    each_alone = np.eye(len(asked.terms))
    values = {name: statistic.of_weights(each_alone) for name, statistic in run.statistics.items()}
    lacking = np.isin(asked.genes, run.missing)
    return [
        {
            "term": each.id,
            "name": each.name,
            "kind": each.kind,
            "n_genes": int(asked.members[:, place].sum()),
            "n_with_vector": int(asked.members[~lacking, place].sum()),
        }
        | {name: float(found[place]) for name, found in values.items()}
        for place, each in enumerate(asked.terms)
    ]


def _notes(asked: _Asked, runs: Sequence[_Run]) -> list[str]:
    notes = [
        f"{len(asked.genes)} of {asked.n_genes_of_dataset} genes of the dataset are in a gene set; the others are left "
        "out, for every model"
    ]
    if asked.n_repeated:
        notes.append(f"{asked.n_repeated} gene sets with the very genes of another one here were left out")
    if asked.n_fitting - asked.n_repeated > len(asked.terms) > 0:
        notes.append(f"{len(asked.terms)} of {asked.n_fitting - asked.n_repeated} gene sets were drawn")
    if asked.terms:
        notes.append(_OVERLAP)
    if runs and runs[0].missing:
        named = ", ".join(runs[0].missing[:_NAMED]) + (" …" if len(runs[0].missing) > _NAMED else "")
        notes.append(f"{len(runs[0].missing)} genes without a vector stand at the mean of the others: {named}")
    if runs and runs[0].coexpression_width < runs[0].width:
        notes.append(f"co-expression has {runs[0].coexpression_width} components, the model's vectors {runs[0].width}")
    return notes
