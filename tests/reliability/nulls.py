"""Two models of equal quality, scored again and again on new cells, donors, conditions, terms or regulators.

Each setting draws both models' answers and scores them as a task does. With a ``gap`` the first model is the better one
by that much quality: a probability of being right, or, for scores that have none, what stands in the setting.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, partial
from typing import NamedTuple

import numpy as np

from scfm_eval.metrics.classification import accuracy, balanced_accuracy, log_loss, macro_f1
from scfm_eval.metrics.gene_networks import RankedPairs, early_precision_ratio, edge_auprc
from scfm_eval.metrics.gene_terms import term_auprc
from scfm_eval.metrics.integration import clisi, graph_connectivity, ilisi, silhouette_label
from scfm_eval.metrics.neighbors import nearest_neighbors
from scfm_eval.metrics.novelty import auroc
from scfm_eval.metrics.perturbation import mae, pearson_delta
from scfm_eval.metrics.resampling import bootstrap_weights
from scfm_eval.metrics.responses import Responses
from scfm_eval.results import measure
from scfm_eval.score import Score
from scfm_eval.tasks.task import resampling_weights
from scfm_eval.tasks.throughput import Rounds, scored
from tests.made_reports import result

N_TYPES = 10
SHARES = 1.4 ** np.arange(N_TYPES)
"""The largest type is twenty times as frequent as the smallest."""
CLASSES = np.arange(N_TYPES)
QUALITY = np.linspace(0.65, 0.85, N_TYPES)
"""Share of right answers by type."""

Draw = Callable[[np.random.Generator, float], tuple[Score, Score]]


class Null(NamedTuple):
    """A setting: what the units are, how many, and what draws a pair of scores."""

    name: str
    n_units: int
    draw: Draw


def scores(metric, statistics, weights):
    """Return the scores of two models, each measured as a task measures it; one list of statistics per model."""
    records = [measure(metric, lambda made=made: made, weights=weights) for made in statistics]
    return tuple(result(model=name, x=record)["x"] for name, record in zip("ab", records, strict=True))


@lru_cache
def cell_weights(n, *, n_strata=5):
    """Draw cells within folds of equal size, as annotation does."""
    return resampling_weights(donors=None, strata=np.arange(n) % n_strata)


@lru_cache
def unit_weights(n):
    """Draw conditions, terms or regulators, as their tasks do."""
    return bootstrap_weights(units=np.arange(n), strata=np.zeros(n, int), n_resamples=1000, seed=0)


def types(rng, n):
    """Draw the true type of each cell; each type has two cells or more."""
    rest = rng.choice(N_TYPES, size=n - 2 * N_TYPES, p=SHARES / SHARES.sum())
    return rng.permutation(np.r_[CLASSES, CLASSES, rest])


def right_or_other(rng, truth, probability):
    """Name the true type with a probability by cell, else another one."""
    other = (truth + rng.integers(1, N_TYPES, size=len(truth))) % N_TYPES
    return np.where(rng.random(len(truth)) < probability, truth, other)


def calls(rng, truth, gap, *, shared):
    """Return what two models call each cell; in a ``shared`` part of the cells they call the same."""
    second = right_or_other(rng, truth, QUALITY[truth])
    first = np.where(rng.random(len(truth)) < shared, second, right_or_other(rng, truth, QUALITY[truth]))
    mended = (first != truth) & (rng.random(len(truth)) < gap / (1 - QUALITY[truth]))
    return np.where(mended, truth, first), second


def of_cells(rng, gap, *, metric, n, shared):
    """Draw cells; both models have each right with the same probability."""
    truth = types(rng, n)
    made = [[metric.statistic(truth, called, classes=CLASSES)] for called in calls(rng, truth, gap, shared=shared)]
    return scores(metric, made, cell_weights(n))


def of_reruns(rng, gap, *, n, training):
    """Draw cells and train one model twice; training moves its quality by a standard deviation of ``training``."""
    truth = types(rng, n)
    made = [
        [accuracy.statistic(truth, right_or_other(rng, truth, QUALITY[truth] + moved), classes=CLASSES)]
        for moved in training * rng.normal(size=2) + [gap, 0.0]
    ]
    return scores(accuracy, made, cell_weights(n))


def of_other_cells(rng, gap, *, n):
    """Draw cells; one model has all types right alike, the other half of the cells nearly always."""
    truth = types(rng, n)
    easy = rng.random(n) < 0.5
    both = (np.full(n, 0.8 + gap), np.where(easy, 0.95, 0.65))
    made = [[accuracy.statistic(truth, right_or_other(rng, truth, p), classes=CLASSES)] for p in both]
    return scores(accuracy, made, cell_weights(n))


def of_losses(rng, gap, *, n, spreads):
    """Draw cells; the expected loss is 0.5 nats, log-normal with one spread per model; ``gap`` in nats."""
    truth, made = types(rng, n), []
    for spread, mean in zip(spreads, (0.5 - gap, 0.5), strict=True):
        right = np.exp(-mean * np.exp(spread * rng.normal(size=n) - spread**2 / 2))
        probabilities = np.repeat((1 - right)[:, None] / (N_TYPES - 1), N_TYPES, axis=1)
        probabilities[np.arange(n), truth] = right
        made.append([log_loss.statistic(truth, probabilities=probabilities, classes=CLASSES)])
    return scores(log_loss, made, cell_weights(n))


def of_novelty(rng, gap, *, n):
    """Draw cells, one in ten of which is of an unseen type; ``gap`` in standard deviations of novelty."""
    unseen = rng.random(n) < 0.1
    common = rng.normal(size=n)
    novelty = [common + rng.normal(size=n) + (1.5 + more) * unseen for more in (gap, 0.0)]
    return scores(auroc, [[auroc.statistic(each, positive=unseen)] for each in novelty], cell_weights(n))


def of_embeddings(rng, gap, *, metric, n):
    """Draw cells and two embeddings of them, each with noise of its own; ``gap`` is taken off the noise."""
    label, batch = types(rng, n), np.arange(n) % 3
    centres = np.random.default_rng(0).normal(size=(N_TYPES, 8))
    cells = centres[label] + 0.4 * np.random.default_rng(1).normal(size=(3, 8))[batch] + 0.4 * rng.normal(size=(n, 8))
    made = []
    for less in (gap, 0.0):
        embedding = cells + (0.6 - less) * rng.normal(size=cells.shape)
        made.append([_of_embedding(metric, embedding, label=label.astype(str), batch=batch.astype(str))])
    return scores(metric, made, cell_weights(n, n_strata=3))


def _of_embedding(metric, embedding, *, label, batch):
    if metric is silhouette_label:
        return metric.statistic(embedding, labels=label)
    if metric is ilisi:
        return metric.statistic(nearest_neighbors(embedding, k=90), batch=batch)
    return metric.statistic(nearest_neighbors(embedding, k=90), labels=label)


def of_donors(rng, gap, *, metric, n_donors, unequal=0.0):
    """Draw donors, with 60 cells each; how hard a donor is differs by donor and, less, by donor and model.

    ``unequal`` is the standard deviation of the logarithm of the number of cells.
    """
    sizes = np.maximum(5, 60 * np.exp(unequal * rng.normal(size=n_donors))).astype(int)
    donor = np.repeat(np.arange(n_donors), sizes)
    truth = rng.permuted(types(rng, len(donor)))
    common, made = 0.05 * rng.normal(size=n_donors), []
    for more in (gap, 0.0):
        own = common + 0.05 * rng.normal(size=n_donors)
        called = right_or_other(rng, truth, QUALITY[truth] + more + own[donor])
        made.append([metric.statistic(truth, called, classes=CLASSES)])
    weights = resampling_weights(donors=donor.astype(str), strata=np.zeros(len(donor), int))
    return scores(metric, made, weights)


def of_conditions(rng, gap, *, metric, n):
    """Draw perturbations of unlike strength and 50 genes; ``gap`` is taken off the noise of the prediction."""
    shape = (n, 50)
    change = rng.exponential(size=(n, 1)) * rng.normal(size=shape)
    common, made = rng.normal(size=shape), []
    for less in (gap, 0.0):
        predicted = change + 0.5 * common + (1 - less) * rng.normal(size=shape)
        responses = Responses(
            conditions=np.arange(n).astype(str),
            truth=change,
            predicted=predicted,
            control=np.zeros(shape),
            centroid=np.zeros(shape),
            scored=np.ones(shape, bool),
            groups=np.zeros(n).astype(str),
            answered=np.ones(n, bool),
        )
        made.append([metric.statistic(responses)])
    return scores(metric, made, unit_weights(n))


def of_terms(rng, gap, *, n):
    """Draw gene sets of 5 to 30 of 120 genes, some easier than others; ``gap`` in standard deviations of a score."""
    n_genes = 120
    members = rng.permuted(np.arange(n_genes)[:, None] < rng.integers(5, 31, size=n), axis=0)
    ease, common = rng.exponential(size=n), rng.normal(size=members.shape)
    made = [
        [term_auprc.statistic((ease + more) * members + common + noise, members=members, fold=np.zeros(members.shape))]
        for more, noise in ((gap, rng.normal(size=members.shape)), (0.0, rng.normal(size=members.shape)))
    ]
    return scores(term_auprc, made, unit_weights(n))


def of_regulators(rng, gap, *, metric, n):
    """Draw regulators with unlike numbers of targets among 40 genes; ``gap`` in standard deviations of a score."""
    n_genes = n + 40
    edges = rng.random((n, n_genes)) < rng.beta(1, 6, size=(n, 1))
    edges[0, -1] = True
    ease, common = rng.exponential(size=(n, 1)), rng.normal(size=edges.shape)
    made = []
    for more in (gap, 0.0):
        found = (ease + more) * edges + common + rng.normal(size=edges.shape)
        made.append([metric.statistic(RankedPairs.of(found, adjacency=edges, n_regulators=n))])
    return scores(metric, made, unit_weights(n))


def of_rounds(rng, gap, *, n=5):
    """Time rounds, 10 % apart from each other; ``gap`` in powers of two."""

    def timed(faster):
        jitter = 0.1 * np.exp(0.1 * rng.normal(size=(5, n)))
        rounds = Rounds(*(jitter[:3] * [[2.0**-faster], [2.0**-faster], [1]]), n_cells=32, loads=(jitter[3], jitter[4]))
        return scored(rounds)["log2_speed"]

    return tuple(result(model=name, x=timed(by))["x"] for name, by in (("a", gap), ("b", 0.0)))


CELLS = [
    Null(f"cells, {metric.name}, {like}", n, partial(of_cells, metric=metric, n=n, shared=shared))
    for metric in (accuracy, macro_f1)
    for like, shared in (("errors independent", 0.0), ("4 of 5 answers shared", 0.8))
    for n in (300, 700, 2700)
]
OTHER_CELLS = [
    Null("cells, balanced_accuracy", 700, partial(of_cells, metric=balanced_accuracy, n=700, shared=0.0)),
    *(Null("cells, accuracy, errors in other cells", n, partial(of_other_cells, n=n)) for n in (300, 2700)),
    *(Null("cells, log loss", n, partial(of_losses, n=n, spreads=(0.7, 0.7))) for n in (300, 700, 2700)),
    *(Null("cells, log loss, one more spread", n, partial(of_losses, n=n, spreads=(0.3, 0.9))) for n in (300, 2700)),
    *(Null("cells, AUROC of an unseen type", n, partial(of_novelty, n=n)) for n in (300, 700)),
]
EMBEDDINGS = [
    Null(f"cells, {metric.name}", n, partial(of_embeddings, metric=metric, n=n))
    for metric in (clisi, ilisi, graph_connectivity, silhouette_label)
    for n in (300, 700)
]
DONORS = [
    Null(f"donors{like}, {metric.name}", n, partial(of_donors, metric=metric, n_donors=n, unequal=unequal))
    for metric in (accuracy, macro_f1)
    for like, unequal in (("", 0.0), (" of unequal size", 0.5))
    for n in (3, 5, 8, 12, 30)
]
OTHERS = [
    *(
        Null(f"conditions, {metric.name}", n, partial(of_conditions, metric=metric, n=n))
        for metric in (pearson_delta, mae)
        for n in (6, 12, 30)
    ),
    *(Null("terms, AUPRC", n, partial(of_terms, n=n)) for n in (12, 50)),
    *(
        Null(f"regulators, {metric.name}", n, partial(of_regulators, metric=metric, n=n))
        for metric in (edge_auprc, early_precision_ratio)
        for n in (8, 20)
    ),
    Null("rounds, log2_speed", 5, of_rounds),
]
RERUNS = [
    Null(
        f"one model trained twice, which moves its accuracy by {training}",
        700,
        partial(of_reruns, n=700, training=training),
    )
    for training in (0.0, 0.005, 0.01)
]
"""What training adds is no part of the interval: ``>`` is about the two models as they are."""
NULLS = [*CELLS, *OTHER_CELLS, *EMBEDDINGS, *DONORS, *OTHERS, *RERUNS]
