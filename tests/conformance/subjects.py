"""A model under test, with cells that it can read."""

from __future__ import annotations

import inspect
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from anndata import AnnData
from numpy.typing import NDArray
from scipy import sparse

from scfm_eval.device import Resident
from scfm_eval.models.card import Card
from scfm_eval.models.protocols import LabelTrainable, Pretrained, Trainable, missing_methods

FOREIGN = ["not-a-gene-1", "not-a-gene-2", "not-a-gene-3"]
"""Names that no model knows."""


@dataclass
class Subject:
    """A model's class with cells that it can read.

    Parameters
    ----------
    model, about
        The class and its card.
    cells
        The view that the model is given.
    labels
        Of these cells, for what learns from them.
    weights
        Folder of weights; ``None`` for a model without.
    settings
        Constructor arguments offered to the model.
    """

    model: type
    about: Card
    cells: AnnData
    labels: NDArray[np.str_]
    weights: Path | None
    settings: dict[str, Any] = field(default_factory=dict)
    _instance: Any = None

    @property
    def instance(self) -> Any:
        """The model, ready to embed; loaded once."""
        if self._instance is None:
            self._instance = self.loaded()
        return self._instance

    def loaded(self, **own: Any) -> Any:
        """Return another instance, ready to embed; nothing else is kept loaded meanwhile."""
        self._instance = None
        offered = {**self.settings, **({"weights": self.weights} if self.weights else {}), **own}
        made = Resident(**offered).load(self.model, name=self.about.name)
        if not missing_methods(self.model, LabelTrainable):
            made.fit_with_labels(self.cells, labels=self.labels)
        elif not missing_methods(self.model, Trainable):
            made.fit(self.cells)
        return made

    def takes(self, argument: str) -> bool:
        """Whether the constructor names an argument."""
        return argument in inspect.signature(self.model).parameters

    @property
    def knows_genes(self) -> bool:
        """Whether the model came with a vocabulary of genes, and did not learn it from these cells."""
        return self.weights is not None and not missing_methods(self.model, Pretrained)

    def with_foreign_genes(self) -> AnnData:
        """Return the cells with three more genes that no model knows, each with as many counts as all others."""
        total = sparse.csr_matrix(self.cells.X.sum(axis=1))
        X = sparse.hstack([total, self.cells.X, total, total], format="csr", dtype=np.float32)
        names = [FOREIGN[0], *self.cells.var_names, *FOREIGN[1:]]
        return AnnData(X=X, obs=self.cells.obs.copy(), var=pd.DataFrame(index=pd.Index(names, dtype=object)))
