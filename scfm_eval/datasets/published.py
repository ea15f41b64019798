"""How published files are brought into the form of their declarations: one small function for each kind of file."""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from anndata import AnnData

from scfm_eval.datasets.counts import as_csr
from scfm_eval.datasets.dataset import read_h5ad

_ADAMSON_CONTROLS = ("63(mod)_pBA580", "Gal4-4(mod)_pBA582")


def pbmc3k_with_labels(paths: Sequence[Path]) -> AnnData:
    """Return the counts in the first file, labelled by the clusters of the second where it has the barcode."""
    cells, clustered = (read_h5ad(path) for path in paths)
    cells.obs["cell_type"] = clustered.obs["louvain"].reindex(cells.obs_names)
    return cells


def scib_pancreas_rounded(paths: Sequence[Path]) -> AnnData:
    """Return the scIB pancreas with ``layers["counts"]`` rounded, without cells that this leaves empty.

    Four of its nine technologies give estimates of molecules or reads that are not whole numbers.
    """
    cells = read_h5ad(paths[0])
    counts = as_csr(cells.layers["counts"])
    np.rint(counts.data, out=counts.data)
    counts.eliminate_zeros()
    cells.layers["counts"] = counts
    return cells[np.diff(counts.indptr) > 0].copy()


def immune_human_without_villani(paths: Sequence[Path]) -> AnnData:
    """Return the scIB human immune cells without the study Villani, which has values that are no counts."""
    cells = read_h5ad(paths[0])
    return cells[(cells.obs["batch"] != "Villani").to_numpy()].copy()


def first_in_zip(paths: Sequence[Path]) -> AnnData:
    """Return the AnnData in the first ``.h5ad`` member of a zip archive, which is unpacked beside it once."""
    unpacked = paths[0].with_suffix("")
    if not unpacked.is_file():
        with zipfile.ZipFile(paths[0]) as archive:
            member = next(name for name in archive.namelist() if name.endswith(".h5ad"))
            partial = Path(archive.extract(member, paths[0].with_suffix(".part")))
        partial.replace(unpacked)
    return read_h5ad(unpacked)


def scperturb_combinations(paths: Sequence[Path]) -> AnnData:
    """Return a scPerturb file whose combinations ``A_B`` are written ``A+B``."""
    cells = read_h5ad(paths[0])
    cells.obs["perturbation"] = cells.obs["perturbation"].astype(str).str.replace("_", "+", regex=False)
    return cells


def adamson_guides(paths: Sequence[Path]) -> AnnData:
    """Return the scPerturb file of Adamson 2016 with guides named by their gene.

    Cells without a guide are left out; the two guides that target no human gene are the controls.
    """
    cells = read_h5ad(paths[0])
    guide = cells.obs["perturbation"].astype(str)
    kept = ~guide.isin(["nan", "<NA>", "None", "*"]).to_numpy()
    gene = guide.where(~guide.isin(_ADAMSON_CONTROLS), "control").str.split("_").str[0]
    cells.obs["perturbation"] = gene
    return cells[kept].copy()
