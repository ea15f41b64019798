"""The order of cell types in a matrix: along the Cell Ontology where terms are known, else by what is alike."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache

import numpy as np
from numpy.typing import NDArray
from scipy.cluster.hierarchy import leaves_list, linkage, optimal_leaf_ordering
from scipy.spatial.distance import squareform

from scfm_eval.ontology import packaged
from scfm_eval.report import Report

_FEWEST = 3


def type_order(
    report: Report, *, dataset: str, types: Sequence[str], likeness: NDArray[np.float64]
) -> tuple[list[str], str]:
    """Return the types in the order of a matrix, and how they are ordered, in words.

    Parameters
    ----------
    report
        Report, whose ontology task knows the terms of labels.
    dataset
        Dataset of the labels.
    types
        Labels, ``n_types``.
    likeness
        How alike types are, 0 to 1, such as the share of the cells of each type (row) that is called each type (column)
        ``(n_types, n_types)``; NaN where it is not known.
    """
    terms = _terms(report, dataset)
    if sum(name in terms for name in types) >= min(_FEWEST, len(types)):
        unknown = [name for name in types if name not in terms]
        after = f", with {len(unknown)} without a term at the end" if unknown else ""
        return along_ontology(types, terms), f"ordered along {packaged().release}{after}"
    if len(types) < _FEWEST:
        return list(types), "in the given order"
    return _by_likeness(types, likeness), "ordered so that types alike are neighbours"


def along_ontology(types: Sequence[str], terms: Mapping[str, str]) -> list[str]:
    """Return the types as a walk down the hierarchy meets their terms; those without a known term last, as given."""
    position = _positions()
    return sorted(types, key=lambda name: position.get(terms.get(name, ""), len(position)))


def _terms(report: Report, dataset: str) -> dict[str, str]:
    found = [
        result.details["terms"]
        for result in report.results
        # the gene sets of another task go by the same name
        if result.dataset.name == dataset and isinstance(result.details.get("terms"), dict)
    ]
    return {label: facts["term"] for label, facts in found[0].items()} if found else {}


@cache
def _positions() -> dict[str, int]:
    """Return when a walk from the roots, each branch to its end before the next, first meets each term."""
    ontology = packaged()
    children: dict[str, list[str]] = {}
    for term, parents in ontology.parents.items():
        for parent in parents:
            children.setdefault(parent, []).append(term)
    position: dict[str, int] = {}
    waiting = sorted((term for term in ontology.names if not ontology.parents.get(term)), reverse=True)
    while waiting:
        term = waiting.pop()
        if term not in position:
            position[term] = len(position)
            waiting += sorted(children.get(term, []), reverse=True)
    return position


def _by_likeness(types: Sequence[str], likeness: NDArray[np.float64]) -> list[str]:
    known = np.nan_to_num(likeness)
    apart = 1 - (known + known.T) / 2
    np.fill_diagonal(apart, 0.0)
    pairs = squareform(apart, checks=False)
    return [types[i] for i in leaves_list(optimal_leaf_ordering(linkage(pairs, method="average"), pairs))]
