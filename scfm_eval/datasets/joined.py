"""Two datasets as one, to learn on the first and be tested on the second."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
import scipy.sparse as sp
from anndata import AnnData
from numpy.typing import NDArray

from scfm_eval.datasets.dataset import Dataset
from scfm_eval.datasets.keys import LabelsFrom
from scfm_eval.datasets.label_matching import Matched, match_labels
from scfm_eval.datasets.view import view
from scfm_eval.errors import InvalidInputError
from scfm_eval.ontology import load_ontology

ARROW = "->"
"""Between the names of source and target."""
_READABLE = 0.10
_NO_LABEL, _NO_COUNTS = "(no label)", "(no counts in the common genes)"


@dataclass(frozen=True)
class Joined(Dataset):
    """A declaration of two datasets with common genes and labels; made by :func:`joined`.

    Parameters
    ----------
    source, target
        What is learned from, and what is predicted.
    """

    source: Dataset = field(kw_only=True)
    target: Dataset = field(kw_only=True)

    @property
    def parts(self) -> tuple[str, ...]:
        """Names of the two datasets."""
        return self.source.name, self.target.name

    @property
    def is_own_file(self) -> bool:
        """Whether one of the two is a file of the user."""
        return self.source.is_own_file or self.target.is_own_file

    def load(self, *, offline: bool = False) -> AnnData:
        """Return the cells of both in canonical form, source first.

        Genes are those that both have, named as in the source; labels are matched by
        :func:`scfm_eval.datasets.label_matching.match_labels`, and cells whose label has no counterpart are left out.
        Cell ids, batches and donors have the name of their dataset in front.

        Returns
        -------
        As :meth:`Dataset.load`, with ``domain`` (``"source"`` or ``"target"``) in ``obs``; ``uns["joined"]`` tells what
        became of the labels (``"labels"``) and how many cells were left out (``"left_out"``), by domain and label.

        Raises
        ------
        InvalidInputError
            If one of the two cannot be loaded, they share fewer than two labels, or the common genes hold less than a
            tenth of the counts of either.
        """
        loaded = {"source": self.source.load(offline=offline), "target": self.target.load(offline=offline)}
        matched = self._matched(loaded)
        genes, counts = self._common_genes(loaded)
        self._check_counts(loaded, counts)
        frames, kept, left_out = [], [], {}
        for domain, name in zip(loaded, self.parts, strict=True):
            cells, common = loaded[domain], getattr(matched, domain)
            label = cells.obs["label"].map(common).astype(object).where(_counted(counts[domain]))
            rows = label.notna().to_numpy()
            left_out[domain] = _left_out(cells.obs["label"], rows, counted=_counted(counts[domain]), common=common)
            kept.append(counts[domain][np.flatnonzero(rows)])
            frames.append(self._obs(cells.obs[rows], label[rows], domain=domain, name=name))
        obs = pd.concat(frames).astype("category")
        made = AnnData(X=sp.csr_matrix(sp.vstack(kept), dtype=np.float32), obs=obs, var=_var(loaded["source"], genes))
        labels = {domain: dict(getattr(matched, domain)) for domain in loaded}
        made.uns["joined"] = {"labels": labels, "left_out": left_out}
        return made

    def _matched(self, loaded: Mapping[str, AnnData]) -> Matched:
        labels = {domain: sorted(cells.obs["label"].dropna().unique()) for domain, cells in loaded.items()}
        found = match_labels(
            labels["source"],
            labels["target"],
            ontology=load_ontology(),
            source_terms=stated_terms(loaded["source"]),
            target_terms=stated_terms(loaded["target"]),
        )
        common = sorted(set(found.source.values()))
        if len(common) < 2:
            raise InvalidInputError(
                asked=f"{self.name} with at least two common labels",
                found=f"{', '.join(common) or 'none'}; {self.source.name} has {', '.join(labels['source'])}; "
                f"{self.target.name} has {', '.join(labels['target'])}",
                remedy="state the Cell Ontology ids of the labels: ontology=COLUMN, or `ontology_terms`",
            )
        return found

    def _common_genes(self, loaded: Mapping[str, AnnData]) -> tuple[pd.Index, dict[str, sp.csr_matrix]]:
        """Return the genes of the source that the target has under any name, and the counts of both in them."""
        ids = self.source.gene_ids
        ours, _ = view(loaded["source"], gene_ids=ids, source_gene_ids=ids, keep=())
        theirs, _ = view(
            loaded["target"],
            gene_ids=ids,
            source_gene_ids=self.target.gene_ids,
            vocabulary=frozenset(ours.var_names),
            keep=(),
        )
        genes = ours.var_names[ours.var_names.isin(theirs.var_names)]
        counts = {
            domain: cells.X[:, cells.var_names.get_indexer(genes)]
            for domain, cells in (("source", ours), ("target", theirs))
        }
        return genes, counts

    def _check_counts(self, loaded: Mapping[str, AnnData], counts: Mapping[str, sp.csr_matrix]) -> None:
        for domain, name in zip(loaded, self.parts, strict=True):
            share = float(counts[domain].sum(dtype=np.float64)) / float(loaded[domain].X.sum(dtype=np.float64))
            if share < _READABLE:
                raise InvalidInputError(
                    asked=f"{self.name} with common genes",
                    found=f"{counts[domain].shape[1]} common genes, with {share:.1%} of the counts of {name}",
                    remedy="join datasets of one organism, and state the kind of gene ids of each",
                )

    def _obs(self, obs: pd.DataFrame, label: pd.Series, *, domain: str, name: str) -> pd.DataFrame:
        """Return the canonical keys as text, since categories of two datasets are joined afterwards."""
        named = {key: f"{name}:" + obs[key].astype(str) for key in ("batch", "donor") if key in self.keys}
        made = pd.DataFrame({"label": label.astype(str), "domain": domain} | named, index=obs.index)
        made.index = f"{name}:" + made.index
        return made[[key for key in self.keys if key in made]]


def joined(source: Dataset, target: Dataset) -> Joined:
    """Return the declaration of ``source->target``: learn on the cells of one dataset, be tested on those of the other.

    It has the keys label and domain, and batch and donor where both have them. A model has seen it that has seen one
    of the two.

    Raises
    ------
    InvalidInputError
        If one of them has no labels, or both are the same.
    """
    name = f"{source.name}{ARROW}{target.name}"
    unlabelled = [dataset.name for dataset in (source, target) if dataset.label_key is None]
    if unlabelled or source.name == target.name:
        raise InvalidInputError(
            asked=f"the dataset {name}",
            found=f"no label key in {', '.join(unlabelled)}" if unlabelled else "the same dataset twice",
            remedy="join two datasets that both have labels",
        )
    both = [key for key in ("batch", "donor") if key in source.keys and key in target.keys]
    return Joined(
        name=name,
        source=source,
        target=target,
        label_key="label",
        domain_key="domain",
        gene_ids=source.gene_ids,
        organism=_together(source.organism, target.organism),
        licence=_together(source.licence, target.licence),
        citation=_together(source.citation, target.citation),
        labels_from=_origin(source.labels_from, target.labels_from),
        seen_by=tuple(dict.fromkeys((*source.seen_by, *target.seen_by))),
        note=f"Cells of {source.name} (source) and {target.name} (target) with common labels, in their common genes.",
        **{f"{key}_key": key for key in both},  # type: ignore[arg-type]
    )


def _together(*texts: str) -> str:
    return "; ".join(dict.fromkeys(filter(None, texts)))


def _origin(source: LabelsFrom, target: LabelsFrom) -> LabelsFrom:
    """Return where the labels of both come from; those of one from expression are enough to say that."""
    return "expression" if "expression" in (source, target) else source if source == target else ""


def stated_terms(cells: AnnData) -> dict[str, str]:
    """Return the term that most cells of each label have, where the dataset states terms."""
    if "ontology" not in cells.obs:
        return {}
    pairs = cells.obs[["label", "ontology"]].dropna().astype(str).value_counts().reset_index()
    return dict(zip(*pairs.drop_duplicates("label")[["label", "ontology"]].to_numpy().T, strict=True))


def _counted(counts: sp.csr_matrix) -> NDArray[np.bool_]:
    has_counts: NDArray[np.bool_] = np.asarray(counts.sum(axis=1)).ravel() > 0
    return has_counts


def _left_out(
    label: pd.Series, rows: NDArray[np.bool_], *, counted: NDArray[np.bool_], common: Mapping[str, str]
) -> dict[str, int]:
    """Return how many cells were left out, by label or other reason."""
    why = label.astype(object).where(label.notna(), _NO_LABEL)
    why = why.where(counted | ~label.isin(list(common)).to_numpy(), _NO_COUNTS)
    return {str(reason): int(n) for reason, n in why[~rows].value_counts().items()}


def _var(source: AnnData, genes: pd.Index) -> pd.DataFrame:
    """Return the second gene column of the source, unless genes lost their version and are not found by name."""
    known = genes.isin(source.var_names).all()
    return source.var.loc[genes].copy() if known else pd.DataFrame(index=genes)
