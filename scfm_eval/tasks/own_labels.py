"""What the labels that a model brings along mean among the labels of a dataset."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from scfm_eval.datasets.label_matching import match_labels
from scfm_eval.ontology import Ontology, map_labels


@dataclass(frozen=True, eq=False)
class OwnLabels:
    """The labels of a model beside those of a dataset.

    Parameters
    ----------
    own
        The model's labels ``(C,)``.
    meant
        The label of the dataset that each stands for, ``(C,)``; itself where it stands for none, or for several.
    common
        The common name of each, under which labels of the dataset that the model does not tell apart are one class,
        ``(C,)``; itself where it has no counterpart.
    common_of
        Common name by label of the dataset; a label without a counterpart among the model's is not in it.
    several
        Labels of the dataset that one of the model's does not tell apart.
    """

    own: NDArray[np.str_]
    meant: NDArray[np.str_]
    common: NDArray[np.str_]
    common_of: Mapping[str, str]
    several: Mapping[str, tuple[str, ...]]

    @classmethod
    def of(
        cls, own: Sequence[str], labels: Sequence[str], *, ontology: Ontology, terms: Mapping[str, str]
    ) -> OwnLabels:
        """Match labels as :func:`scfm_eval.datasets.label_matching.match_labels` does.

        A label of the model stands for a label of the dataset with the same spelling; else for the only one that has
        the common name of both, or the only one of these that has its term.

        Parameters
        ----------
        own, labels
            Labels of the model, and of the dataset.
        ontology
            The terms.
        terms
            Term id by label of the dataset, as far as it states it.
        """
        matched = match_labels(own, labels, ontology=ontology, target_terms=terms)
        sharing = {label: _sharing(name, matched.target) for label, name in matched.source.items()}
        alike = {label: _alike(label, found, ontology, terms) for label, found in sharing.items()}
        return cls(
            own=np.array(own, dtype=np.str_),
            meant=np.array([alike.get(label) or label for label in own], dtype=np.str_),
            common=np.array([matched.source.get(label, label) for label in own], dtype=np.str_),
            common_of=dict(matched.target),
            several={label: found for label, found in sharing.items() if alike[label] is None},
        )

    def named(self, probabilities: NDArray[np.floating]) -> NDArray[np.str_]:
        """Return the likeliest label of each cell, of the dataset where there is one, ``(n_cells,)``.

        The probability of a label of the dataset is the sum over the model's labels that stand for it.
        """
        return _likeliest(probabilities, self.meant)

    def commonly_named(self, probabilities: NDArray[np.floating]) -> NDArray[np.str_]:
        """Return the likeliest common name of each cell ``(n_cells,)``; see :meth:`named`."""
        return _likeliest(probabilities, self.common)


def _sharing(name: str, common_of: Mapping[str, str]) -> tuple[str, ...]:
    return tuple(label for label, common in common_of.items() if common == name)


def _alike(own: str, found: Sequence[str], ontology: Ontology, terms: Mapping[str, str]) -> str | None:
    """Return the one of ``found`` that ``own`` stands for; ``None`` where it does not tell them apart."""
    spelled = [label for label in found if label.casefold().split() == own.casefold().split()]
    own_term = map_labels([own], ontology).terms.get(own)
    of_found = map_labels(found, ontology, table=terms).terms
    same = [label for label in found if own_term is not None and of_found.get(label) == own_term]
    alone = [candidates[0] for candidates in (spelled, found, same) if len(candidates) == 1]
    return alone[0] if alone else None


def _likeliest(probabilities: NDArray[np.floating], names: NDArray[np.str_]) -> NDArray[np.str_]:
    classes, codes = np.unique(names, return_inverse=True)
    sums = probabilities.astype(np.float64) @ np.eye(len(classes))[codes]
    best: NDArray[np.str_] = classes[sums.argmax(axis=1)]
    return best
