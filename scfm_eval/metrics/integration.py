"""Batch integration: the panel of metrics in one place, and what its total is made of."""

from __future__ import annotations

from scfm_eval.metrics.jaccard import intra_type_jaccard, jaccard_published
from scfm_eval.metrics.kbet import kbet
from scfm_eval.metrics.mixing import clisi, graph_connectivity, ilisi
from scfm_eval.metrics.silhouettes import bras, isolated_labels, silhouette_label
from scfm_eval.metrics.variance import pcr_batch, pcr_comparison, pcr_comparison_unclipped

__all__ = [
    "BATCH_SHARE",
    "BIO_SHARE",
    "bras",
    "clisi",
    "graph_connectivity",
    "ilisi",
    "intra_type_jaccard",
    "isolated_labels",
    "jaccard_published",
    "kbet",
    "pcr_batch",
    "pcr_comparison",
    "pcr_comparison_unclipped",
    "silhouette_label",
]

BIO_SHARE, BATCH_SHARE = 0.6, 0.4
"""Weights of the two means in the total (10.1038/s41592-021-01336-8)."""
