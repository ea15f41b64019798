"""Whether labels were read off the expression that a task scores: declared, or seen in how they divide the cells.

Labels that are clusters of the same cells divide them where the cells are continuous: many cells have neighbours with
another label, and still hardly any cell is a stranger among its neighbours. Labels from elsewhere either follow gaps
between the cells (cell lines), so that hardly any cell has such neighbours, or they leave strangers (sorted blood).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
from anndata import AnnData
from numpy.typing import NDArray

from scfm_eval import guards
from scfm_eval.datasets.expression import log_normalised
from scfm_eval.datasets.keys import LabelsFrom
from scfm_eval.metrics.neighbors import nearest_neighbors

_NEIGHBORS = 15
_STRANGER = 0.2
_FEWEST, _MOST = 100, 20_000
_GENES, _COMPONENTS = 2000, 20
_PREDICTED, _AT_BORDERS, _OUTVOTED, _STRANGERS = 0.9, 0.1, 0.02, 0.1
_REMEDY = "read scores against these labels as agreement with a clustering, and prefer labels by sorting or genotype"


@dataclass(frozen=True)
class Borders:
    """How labels divide a graph of the 15 nearest cells in principal components.

    Parameters
    ----------
    predicted
        Share of the cells whose label no other label outvotes among their neighbours, 0 to 1.
    at_borders
        Share of the cells that have a neighbour with another label, 0 to 1.
    strangers
        Of those, the share with at most a fifth of their neighbours of their own label, 0 to 1; 0 where there are none.
    """

    predicted: float
    at_borders: float
    strangers: float

    @property
    def looks_clustered(self) -> bool:
        """Whether the labels cut through continuous cells and hardly any cell is on the wrong side of a cut."""
        # labels that stand apart under noise have mixed neighbours, but no cell that is outvoted
        cut = self.at_borders >= _AT_BORDERS and 1 - self.predicted >= _OUTVOTED * self.at_borders
        return cut and self.predicted >= _PREDICTED and self.strangers <= _STRANGERS


def borders(X: sp.csr_matrix, labels: NDArray[np.str_]) -> Borders:
    """Return how ``labels`` divide the neighbourhoods of cells.

    Parameters
    ----------
    X
        Raw counts ``(n_cells, n_genes)``; not changed. Of more than 20,000 cells that many are taken, with seed 0.
    labels
        Label of each cell ``(n_cells,)``.
    """
    if len(labels) > _MOST:
        taken = np.sort(np.random.default_rng(0).choice(len(labels), _MOST, replace=False))
        X, labels = X[taken], labels[taken]
    around = nearest_neighbors(_components(X), k=_NEIGHBORS + 1).indices[:, 1:]
    codes = np.unique(labels, return_inverse=True)[1]
    own = (codes[around] == codes[:, None]).mean(axis=1)
    votes = sp.csr_matrix(
        (np.ones(around.size), (np.repeat(np.arange(len(codes)), around.shape[1]), codes[around].ravel())),
        shape=(len(codes), codes.max() + 1),
    )
    most = votes.max(axis=1).toarray().ravel()
    mixed = own < 1
    return Borders(
        predicted=float((own * around.shape[1] > most - 0.5).mean()),
        at_borders=float(mixed.mean()),
        strangers=float((own[mixed] <= _STRANGER).mean()) if mixed.any() else 0.0,
    )


def tell_label_origin(cells: AnnData, *, labels_from: LabelsFrom, dataset: str) -> None:
    """Tell (guard ``label_origin``) of labels that were derived from the expression that is scored.

    Parameters
    ----------
    cells
        Cells in canonical form.
    labels_from
        What the declaration says; where it says nothing, the labels themselves are looked at.
    dataset
        Name of the dataset in messages.
    """
    if "label" not in cells.obs or labels_from == "independent" or not guards.is_on("label_origin"):
        return
    asked = f"{dataset} with labels that are not clusters of the same expression"
    if labels_from == "expression":
        found = "its declaration says that the labels were derived from the expression of the same cells"
        guards.tell("label_origin", asked=asked, found=found, remedy=_REMEDY)
        return
    known = cells.obs["label"].notna().to_numpy()
    labels = cells.obs["label"].to_numpy()[known].astype(str)
    if len(labels) < _FEWEST or len(np.unique(labels)) < 2:
        return
    seen = borders(cells.X[known], labels)
    if seen.looks_clustered:
        found = (
            f"nobody states where its labels come from, and they look like clusters: neighbours predict "
            f"{seen.predicted:.1%} of them although {seen.at_borders:.0%} of the cells lie at a border between labels"
        )
        remedy = f"state labels_from=expression or labels_from=independent; until then {_REMEDY}"
        guards.tell("label_origin", asked=asked, found=found, remedy=remedy)


def _components(X: sp.csr_matrix) -> NDArray[np.float64]:
    """Return singular vectors of the log-normalised genes that vary most, ``(n_cells, at most 20)``."""
    from sklearn.decomposition import TruncatedSVD

    counted = np.asarray(X.sum(axis=1)).ravel() > 0
    logged = log_normalised(X[counted])
    mean = np.asarray(logged.mean(axis=0)).ravel()
    variance = np.asarray(logged.power(2).mean(axis=0)).ravel() - mean**2
    # a little is added to the mean, so that genes in a handful of cells are not the most variable ones
    chosen = np.argsort(-variance / (mean + 0.05), kind="stable")[:_GENES]
    width = min(_COMPONENTS, len(chosen) - 1)
    space = np.zeros((X.shape[0], max(width, 1)))
    if width > 0:
        space[counted] = TruncatedSVD(width, n_iter=4, random_state=0).fit_transform(logged[:, chosen])
    return space
