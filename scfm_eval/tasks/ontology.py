"""Ontology: whether what a model confuses, and what it puts side by side, is close in the Cell Ontology."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from anndata import AnnData
from numpy.typing import NDArray

from scfm_eval.datasets.keys import check_keys
from scfm_eval.datasets.splits import Split
from scfm_eval.errors import InvalidInputError
from scfm_eval.models.protocols import Embedder
from scfm_eval.ontology import LabelMap, Ontology, load_ontology, map_labels
from scfm_eval.tasks.labelled import Labelled, has_seen_cells, split_details
from scfm_eval.tasks.ontology_scores import Called, Geometry, call_scores, geometry_scores, type_distances
from scfm_eval.tasks.out_of_fold import out_of_fold
from scfm_eval.tasks.probes import logistic_regression
from scfm_eval.tasks.task import Answers, Scored, lacks, resampling_weights

_FEWEST_TERMS = 3
_NAMED = 10
_NULLS = ("null", "null_of_cells")


@dataclass(frozen=True)
class OntologyConsistency:
    """Errors of the frozen probe, and distances between types in the embedding, held against the Cell Ontology.

    Predictions are those of the logistic regression over the folds of the annotation task. Scores that need terms are
    over cells whose label has one; such a cell that is predicted to have a label without a term counts as predicted to
    be the root of the ontology, a cell and nothing more. scGraph needs no terms and is over all labelled cells; without
    batches, all cells are one batch.

    Parameters
    ----------
    ontology
        Path of an .obo file; ``""`` is the packaged Cell Ontology.
    n_folds
        Folds of the outer split.
    """

    ontology: str = ""
    n_folds: int = 5

    name: ClassVar[str] = "ontology"
    capability: ClassVar[type] = Embedder
    keys: ClassVar[tuple[str, ...]] = ("label",)
    headline: ClassVar[tuple[str, ...]] = ("lcad_symmetric", "hierarchical_f1", "scgraph", "scgraph_ontorwr")

    def refuses(self, model: type) -> str:
        """Return why ``model`` cannot take part: no embedding, or one that would have seen the test cells."""
        return has_seen_cells(model) or lacks(model, Embedder)

    def reads(self) -> str:
        """Return which ontology decides the scores: two releases give scores that cannot be compared."""
        content = Path(self.ontology).read_bytes() if self.ontology else b""
        return f"{load_ontology(self.ontology).release} {hashlib.sha256(content).hexdigest()}"

    def check(self, cells: AnnData, *, dataset: str) -> None:
        """Raise ``InvalidInputError`` for a bad ontology, or when labels have fewer than three terms."""
        check_keys(cells, keys=self.keys, dataset=dataset)
        ontology = load_ontology(self.ontology)
        _check_mapped(_mapped(cells, ontology), ontology, dataset=dataset)

    def score(self, answers: Answers, cells: AnnData, *, seeds: Sequence[int]) -> Scored:
        """Score predictions and embedding over seeds; unlabelled cells are left out."""
        ontology = load_ontology(self.ontology)
        mapping = _mapped(cells, ontology)
        known = Labelled.of(cells)
        labels, classes = known.labels, np.unique(known.labels)
        splits = known.splits(n_folds=self.n_folds, seeds=seeds)
        known.require_apart(cells, splits, asked=self.name)
        shares = [
            out_of_fold(answers, known, probes={"": logistic_regression}, split=split, seed=seed)[""]
            for split, seed in zip(splits, seeds, strict=True)
        ]
        predicted = [classes[run.argmax(axis=1)] for run in shares]
        has_term = np.isin(labels, list(mapping.terms))
        called = Called.of(labels[has_term], [run[has_term] for run in predicted], mapping=mapping, ontology=ontology)
        weights = resampling_weights(donors=known.donors, strata=splits[0].fold)[:, has_term]
        geometry = Geometry(
            answers, cells[known.among_all], known.among_all, tuple(seeds), mapping=mapping, ontology=ontology
        )
        scores = call_scores(called, weights=weights) | geometry_scores(geometry)
        distances = type_distances(geometry)
        to_root = int((~np.isin(predicted[0][has_term], list(mapping.terms))).sum())
        details = _details(labels, mapping, ontology, split=splits[0]) | {"predicted_without_term": to_root}
        details["nulls"] = {
            name: {key: record.how[key] for key in _NULLS if key in record.how} for name, record in scores.items()
        }
        details |= {} if distances is None else {"type_distances": distances}
        notes = _setup_notes(cells, splits[0], known) + _term_notes(labels, mapping, ontology, to_root=to_root)
        return Scored(scores, details, notes)


def _mapped(cells: AnnData, ontology: Ontology) -> LabelMap:
    labels = cells.obs["label"].dropna().astype(str).unique()
    return map_labels(labels, ontology, table=_given(cells))


def _given(cells: AnnData) -> dict[str, str]:
    """Return the term that the dataset itself states for each label.

    Raises
    ------
    InvalidInputError
        A label has several.
    """
    if "ontology" not in cells.obs:
        return {}
    stated = cells.obs[["label", "ontology"]].dropna().astype(str).drop_duplicates()
    several = stated[stated["label"].duplicated(keep=False)]
    if len(several):
        label = several["label"].iloc[0]
        raise InvalidInputError(
            asked="one ontology term for each label",
            found=f"{label} with {', '.join(several.loc[several['label'] == label, 'ontology'])}",
            remedy="declare the label and the ontology column of one annotation",
        )
    return dict(zip(stated["label"], stated["ontology"], strict=True))


def _check_mapped(mapping: LabelMap, ontology: Ontology, *, dataset: str) -> None:
    terms = set(mapping.terms.values())
    if len(terms) >= _FEWEST_TERMS:
        return
    some = ", ".join(mapping.unmapped[:_NAMED]) + (" …" if len(mapping.unmapped) > _NAMED else "")
    unmatched = f"labels that no ontology term matches: {some}" if mapping.unmapped else "no other label"
    raise InvalidInputError(
        asked=f"{dataset} with labels of at least {_FEWEST_TERMS} terms of {ontology.release}",
        found=f"{len(terms)} terms, and {unmatched}",
        remedy="declare a column of Cell Ontology ids (ontology=COLUMN), or ids by label (ontology_terms)",
    )


def _details(labels: NDArray[np.str_], mapping: LabelMap, ontology: Ontology, *, split: Split) -> dict[str, Any]:
    return {
        "ontology": ontology.release,
        "terms": {
            label: {"term": term, "name": ontology.names[term], "how": mapping.how[label]}
            for label, term in mapping.terms.items()
        },
        "n_types": len(set(mapping.terms.values())),
        "unmapped": _unmapped(labels, mapping),
        "split": split_details(split),
    }


def _unmapped(labels: NDArray[np.str_], mapping: LabelMap) -> dict[str, int]:
    return {label: int((labels == label).sum()) for label in mapping.unmapped}


def _setup_notes(cells: AnnData, split: Split, known: Labelled) -> list[str]:
    notes = [*filter(None, [split.note]), *known.notes()]
    if "batch" not in cells.obs:
        notes.append("without batches, scgraph compares with the principal components of all cells at once")
    return notes


def _term_notes(labels: NDArray[np.str_], mapping: LabelMap, ontology: Ontology, *, to_root: int) -> list[str]:
    terms, unmapped = mapping.terms, _unmapped(labels, mapping)
    notes = [
        f"{' and '.join(label for label, own in terms.items() if own == term)} are one type, {ontology.names[term]}"
        for term, n_labels in Counter(terms.values()).items()
        if n_labels > 1
    ]
    if unmapped:
        named = ", ".join(f"{label} ({n_cells} cells)" for label, n_cells in unmapped.items())
        notes.append(
            f"labels that no ontology term matches: {named}; their {sum(unmapped.values())} cells are in scgraph only, "
            f"and {to_root} other cells that were predicted to be of them count as predicted {ontology.root} "
            f"({ontology.names[ontology.root]})"
        )
    return notes
