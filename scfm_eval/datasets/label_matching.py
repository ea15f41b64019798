"""Which labels of two datasets mean the same cells, through the Cell Ontology."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from scfm_eval.ontology import UNREACHED, Ontology, map_labels


@dataclass(frozen=True)
class Matched:
    """Common name of the labels that two datasets share.

    Parameters
    ----------
    source, target
        Common name by label of each side; labels without a counterpart are not in them.
    """

    source: Mapping[str, str]
    target: Mapping[str, str]


def match_labels(
    source: Iterable[str],
    target: Iterable[str],
    *,
    ontology: Ontology,
    source_terms: Mapping[str, str] | None = None,
    target_terms: Mapping[str, str] | None = None,
) -> Matched:
    """Find what labels of two datasets have in common.

    Labels are the same that have the same term, or, where no term is known, the same spelling without regard to case
    and blanks. A label that only one side has counts as the nearest of its ancestors that the other side has: with
    ``T cell`` in the source, ``CD4-positive T cell`` of the target is a ``T cell``, and the other way round; with
    ``CD4-positive T cell`` in both, it stays what it is.

    Parameters
    ----------
    source, target
        Labels of either side.
    ontology
        The terms.
    source_terms, target_terms
        Term id by label, as far as the datasets state it; other labels are looked up by
        :func:`scfm_eval.ontology.map_labels`.

    Returns
    -------
    The common names: the source's own label where it has the class, else the target's.
    """
    ours, theirs = sorted(set(source)), sorted(set(target))
    # one spelling is one class, whichever side states its term
    meaning = _meanings(theirs, ontology, target_terms) | _meanings(ours, ontology, source_terms)
    of_label = {label: meaning.get(_plain(label), _plain(label)) for label in (*ours, *theirs)}
    sides = ({of_label[label] for label in ours}, {of_label[label] for label in theirs})
    lifted = {label: _lifted(key, sides, ontology) for label, key in of_label.items()}
    common = {lifted[label] for label in ours} & {lifted[label] for label in theirs}
    name = {of_label[label]: label for label in (*reversed(theirs), *reversed(ours))}
    return Matched(
        source={label: name[lifted[label]] for label in ours if lifted[label] in common},
        target={label: name[lifted[label]] for label in theirs if lifted[label] in common},
    )


def _meanings(labels: list[str], ontology: Ontology, terms: Mapping[str, str] | None) -> dict[str, str]:
    found = map_labels(labels, ontology, table=terms).terms
    return {_plain(label): term for label, term in found.items()}


def _lifted(key: str, sides: tuple[set[str], set[str]], ontology: Ontology) -> str:
    """Go up from a term to one that the other side has, until both sides have it or there is none above."""
    ours, theirs = sides
    while (key in ours) != (key in theirs):
        above = _nearest_ancestor(key, among=theirs if key in ours else ours, ontology=ontology)
        if above is None:
            break
        key = above
    return key


def _nearest_ancestor(key: str, *, among: set[str], ontology: Ontology) -> str | None:
    if key not in ontology.position:
        return None
    up = ontology.distances_up[ontology.position[key]]
    above = sorted((int(up[ontology.position[term]]), term) for term in among if term in ontology.position)
    return above[0][1] if above and above[0][0] < UNREACHED else None


def _plain(label: str) -> str:
    return " ".join(label.casefold().split())
