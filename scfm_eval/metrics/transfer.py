"""Transfer: what is lost between two datasets, and how far apart the two are."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from scfm_eval.errors import InvalidInputError
from scfm_eval.metrics.classification import macro_f1
from scfm_eval.metrics.how import made_with
from scfm_eval.metrics.inputs import as_categories
from scfm_eval.metrics.metric import Statistic, UndefinedMetricError, metric
from scfm_eval.metrics.weighted import Floats, mean_of_group_means

_SOURCE = "10.1007/s10994-009-5152-4"


@metric(best=-1.0, worst=1.0, source=_SOURCE)
def macro_f1_drop(truth: ArrayLike, *, within: ArrayLike, transferred: ArrayLike, classes: ArrayLike) -> Statistic:
    """Macro F1 of a probe that learned within the target, minus that of one that learned on the source.

    Parameters
    ----------
    truth
        True class of each target cell ``(n_cells,)``.
    within
        Class predicted by the probe that learned on other cells of the target ``(n_cells,)``.
    transferred
        Class predicted by the probe that learned on the source ``(n_cells,)``.
    classes
        All classes that may occur.

    Returns
    -------
    In [−1, 1], lower is better; below 0 the source taught more than the target's own cells.

    Raises
    ------
    InvalidInputError
        A class is not among ``classes``.
    """
    inside, outside = (macro_f1.statistic(truth, predicted, classes=classes) for predicted in (within, transferred))

    def of_weights(weights: Floats) -> Floats:
        return inside.of_weights(weights) - outside.of_weights(weights)

    return Statistic(of_weights, n_cells=inside.n_cells, how=inside.how)


@metric(best=0.5, worst=1.0, chance=0.5, source=_SOURCE)
def domain_accuracy(domain: ArrayLike, *, predicted: ArrayLike, labels: ArrayLike) -> Statistic:
    """Share of cells whose domain is recognised, averaged over the groups of one label and one domain.

    The plain share would reward knowing the type where types differ in frequency: here whoever knows the type and
    nothing else has one half, and so has who knows nothing. Less than that counts as one half: a classifier that errs
    more often than a coin has not found domains that lie closer together.

    Parameters
    ----------
    domain
        True domain of each cell ``(n_cells,)``.
    predicted
        Predicted domain of each cell ``(n_cells,)``.
    labels
        Label of each cell ``(n_cells,)``; only labels that are in every domain count.

    Returns
    -------
    In [0.5, 1], lower is better: 1 is a domain that can be told from every cell, 0.5 one that cannot. The share itself
    is in ``how``.

    Raises
    ------
    InvalidInputError
        The arrays differ in length.
    UndefinedMetricError
        There is one domain only, or no label is in all of them.
    """
    true = np.asarray(domain).astype(str)
    given = np.asarray(predicted).astype(str)
    if given.shape != true.shape:
        raise InvalidInputError(
            asked=f"predicted domains of {len(true)} cells", found=f"shape {given.shape}", remedy="pass one per cell"
        )
    of_domain, domains = as_categories(true, n_cells=len(true), name="domain")
    of_label, names = as_categories(labels, n_cells=len(true), name="labels")
    table = np.bincount(of_label * len(domains) + of_domain, minlength=len(names) * len(domains))
    shared: NDArray[np.bool_] = np.all(table.reshape(len(names), len(domains)) > 0, axis=1)
    if len(domains) < 2 or not shared.any():
        raise UndefinedMetricError(f"no label is in each of two domains: there is {', '.join(domains)}")
    codes = np.where(shared[of_label], of_label * len(domains) + of_domain, -1)

    def share(weights: Floats) -> Floats:
        return mean_of_group_means(weights, true == given, codes=codes, n_groups=len(table))

    as_it_is = float(share(np.ones((1, len(true))))[0])
    how = made_with("scipy", n_labels=int(shared.sum()), share=as_it_is, counted_from=domain_accuracy.best)
    return Statistic(lambda weights: np.maximum(share(weights), domain_accuracy.best), n_cells=len(true), how=how)
