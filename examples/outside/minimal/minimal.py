"""The smallest model under another Python: numpy only, to be copied and changed.

Every gene has a vector that its name decides; a cell is the sum of the vectors of its genes, each times the gene's
log-normalised count. Nothing of scfm_eval is imported: this runs where that is not installed.
"""

import hashlib

import numpy as np

_BATCH = 1024  # cells that are dense at once


class Minimal:
    """What the declaration's capabilities name are methods of this; each returns names first, and then arrays."""

    def __init__(self, width):
        self.width = width

    def embed(self, cells):
        """Return ids of cells and their rows ``(n_cells, width)``."""
        vectors = self._vectors(cells.gene_ids)
        starts = range(0, len(cells.cell_ids), _BATCH)
        rows = [_log_normalised(cells.dense(start, start + _BATCH)) @ vectors for start in starts]
        return cells.cell_ids, np.concatenate(rows)

    def embed_layers(self, cells):
        """Return ids of cells and one array ``(n_cells, width)`` per layer, the input first."""
        ids, rows = self.embed(cells)
        return ids, [rows, np.tanh(rows)]

    def embed_genes(self, genes):
        """Return ids of genes and their vectors; a gene without a vector is left out."""
        return genes, self._vectors(genes)

    def _vectors(self, genes):
        seeds = [int.from_bytes(hashlib.sha256(gene.encode()).digest()[:8], "little") for gene in genes]
        drawn = [np.random.default_rng(seed).normal(size=self.width) for seed in seeds]
        return np.array(drawn, dtype=np.float32)


def load(weights, device, arguments):
    """Return the model; ``weights`` is what ``--weights minimal=PATH`` gave, or ``None``.

    ``device`` is ``"cpu"`` unless the declaration says ``accelerator = true``.
    """
    del weights, device
    return Minimal(arguments["width"])


def _log_normalised(counts):
    total = np.maximum(counts.sum(axis=1, keepdims=True), 1)
    return np.log1p(counts / total * 1e4)
