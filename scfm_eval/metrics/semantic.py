"""Semantic similarity of predicted and true terms: what their common ancestors say about a cell."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from scfm_eval.errors import InvalidInputError
from scfm_eval.metrics.metric import Statistic, metric
from scfm_eval.metrics.ontology import Lineages, mean_over_cells, term_codes
from scfm_eval.metrics.weighted import Floats, ratio
from scfm_eval.ontology import Ontology

WANG_IS_A = 0.8
"""Share of a term's meaning that goes up one is_a edge."""


def annotation_information(ontology: Ontology, annotations: ArrayLike) -> Floats:
    """Return −ln of how often each term is right, from the terms of a dataset's cells.

    A cell counts for its term and for every ancestor. One more cell is thought to have each term, else a term without
    cells would have no value: ``(count + 1) / (n_cells + 1)``.

    Parameters
    ----------
    ontology
        The ontology.
    annotations
        Term of each cell ``(n_cells,)``.

    Returns
    -------
    ``(n_terms,)`` in nats, in the order of ``ontology.terms``; 0 for what all cells are.

    Raises
    ------
    InvalidInputError
        A term is not in the ontology.
    """
    terms, counts = np.unique(np.asarray(annotations).astype(str), return_counts=True)
    lineages = Lineages.of(terms.tolist(), ontology)
    count = np.zeros(len(ontology.terms))
    count[lineages.columns] = counts @ lineages.ancestors
    return np.asarray(-np.log((count + 1) / (counts.sum() + 1)))


def intrinsic_information(ontology: Ontology) -> Floats:
    """Return −ln of each term's share of the ontology: ``ln n_terms − ln(descendants, itself included)``.

    ``(n_terms,)`` in nats, in the order of ``ontology.terms``; it depends on no dataset.
    """
    return np.asarray(np.log(len(ontology.terms)) - np.log(ontology.n_descendants))


@metric(best=np.inf, worst=0.0, source="10.48550/arXiv.cmp-lg/9511007")
def resnik(truth: ArrayLike, predicted: ArrayLike, *, lineages: Lineages, information: ArrayLike) -> Statistic:
    """Mean over cells of the information content of the most informative ancestor that both terms have.

    Other parameters as :data:`~scfm_eval.metrics.ontology.lcad`.

    Parameters
    ----------
    information
        Information content of each term of the ontology ``(n_terms,)``, in nats.

    Returns
    -------
    At least 0, in nats; with right predictions it is the mean information content of the cells, which ``how`` states.
    """
    shared, own = _shared_and_own(lineages, information)
    made = _mean_of_pairs(shared, truth, predicted, lineages)
    made.how["of right predictions"] = float(own[lineages.codes(truth)].mean())
    return made


@metric(best=1.0, worst=0.0, source="10.5555/645527.657297")
def lin(truth: ArrayLike, predicted: ArrayLike, *, lineages: Lineages, information: ArrayLike) -> Statistic:
    """Mean over cells of the share of both terms' information content that their best common ancestor has.

    ``2 IC(ancestor) / (IC(true) + IC(predicted))``, in [0, 1]; 1 where both terms say nothing. Parameters as
    :func:`resnik`.
    """
    shared, own = _shared_and_own(lineages, information)
    total = own[:, None] + own[None]
    return _mean_of_pairs(np.where(total > 0, ratio(2 * shared, total), 1.0), truth, predicted, lineages)


@metric(best=1.0, worst=0.0, source="10.48550/arXiv.cmp-lg/9709008")
def jiang_conrath(truth: ArrayLike, predicted: ArrayLike, *, lineages: Lineages, information: ArrayLike) -> Statistic:
    """Mean over cells of ``1 / (1 + distance)``, with distance ``IC(true) + IC(predicted) − 2 IC(ancestor)``.

    In (0, 1]. Parameters as :func:`resnik`.
    """
    shared, own = _shared_and_own(lineages, information)
    distance = np.maximum(own[:, None] + own[None] - 2 * shared, 0.0)
    return _mean_of_pairs(1 / (1 + distance), truth, predicted, lineages)


@metric(best=1.0, worst=0.0, source="10.1093/bioinformatics/btm087")
def wang(truth: ArrayLike, predicted: ArrayLike, *, lineages: Lineages) -> Statistic:
    """Mean over cells of the share of both terms' meaning that lies in common ancestors.

    A term means each ancestor with 0.8 to the power of the edges up to it. In [0, 1]. Parameters as :func:`resnik`.
    """
    meaning = WANG_IS_A**lineages.up
    common = meaning @ lineages.ancestors.T.astype(np.float64)
    whole = meaning.sum(axis=1)
    return _mean_of_pairs((common + common.T) / (whole[:, None] + whole[None]), truth, predicted, lineages)


def _shared_and_own(lineages: Lineages, information: ArrayLike) -> tuple[Floats, Floats]:
    """Return the information content of the best common ancestor of each pair, and of each type."""
    given = np.asarray(information, dtype=np.float64)
    if given.shape != (len(lineages.ontology.terms),) or not np.isfinite(given).all():
        raise InvalidInputError(
            asked=f"information content of {len(lineages.ontology.terms)} terms",
            found=f"shape {given.shape}, {int((~np.isfinite(given)).sum())} not finite",
            remedy="use annotation_information or intrinsic_information of the same ontology",
        )
    content = given[lineages.columns]
    common = lineages.ancestors[:, None] & lineages.ancestors[None]
    rows = [lineages.ontology.position[term] for term in lineages.types]
    return np.where(common, content, 0.0).max(axis=2), given[rows]


def _mean_of_pairs(table: Floats, truth: ArrayLike, predicted: ArrayLike, lineages: Lineages) -> Statistic:
    return mean_over_cells(table[term_codes(truth, predicted, lineages=lineages)], lineages=lineages)
