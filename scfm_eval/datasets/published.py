"""How published files are brought into the form of their declarations: one small function for each kind of file."""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import scipy.sparse as sp
from anndata import AnnData, concat

from scfm_eval.datasets.archives import take_out
from scfm_eval.datasets.counts import as_csr
from scfm_eval.datasets.dataset import read_h5ad
from scfm_eval.datasets.r_files import r_matrix, r_object

_ADAMSON_CONTROLS = ("63(mod)_pBA580", "Gal4-4(mod)_pBA582")
_SORTED_CELLS = 100


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
            member = next(Path(name).name for name in archive.namelist() if name.endswith(".h5ad"))
        partial = paths[0].with_suffix(".part")
        take_out(paths[0], [member], folder=partial)
        (partial / member).replace(unpacked)
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


def demuxlet_singlets(paths: Sequence[Path]) -> AnnData:
    """Return the cells of several experiments that demuxlet calls singlets, with its cell line in ``cell_type``.

    Genes are those with an Ensembl id that every experiment lists.

    Parameters
    ----------
    paths
        For each experiment two tables (csv): counts, genes × cells, in ``sc_<batch>.count.csv.gz``; and its cells.
    """
    tables = zip(paths[::2], paths[1::2], strict=True)
    return _with_expressed_genes(concat([_singlets(counts, about=cells) for counts, cells in tables], join="inner"))


def _singlets(counts: Path, *, about: Path) -> AnnData:
    table = pd.read_csv(counts, index_col=0)
    table = table[table.index.str.startswith("ENSG")]
    called = pd.read_csv(about, index_col=0).loc[table.columns]
    batch = counts.name.partition(".")[0].removeprefix("sc_")
    obs = pd.DataFrame({"cell_type": called["cell_line_demuxlet"], "batch": batch}).set_index(
        f"{batch}:" + called.index
    )
    cells = AnnData(X=sp.csr_matrix(table.to_numpy(np.float32).T), obs=obs, var=pd.DataFrame(index=table.index))
    return cells[(called["demuxlet_cls"] == "SNG").to_numpy()].copy()


def tumour_with_major_types(paths: Sequence[Path]) -> AnnData:
    """Return the cells of a SingleCellExperiment in an ``.RData`` file, with ``celltype_major`` in ``cell_type``."""
    experiment = r_object(paths[0])
    about, genes = experiment.colData, experiment.rowRanges.elementMetadata
    cells = AnnData(
        X=r_matrix(experiment.assays.data.listData["counts"]).T.tocsr(),
        obs=pd.DataFrame({"cell_type": about.listData["celltype_major"]}, index=about.rownames),
        var=pd.DataFrame(index=genes.listData["ID"]),
    )
    return _with_expressed_genes(cells)


def sorted_blood_draw(paths: Sequence[Path]) -> AnnData:
    """Return 100 cells of each type, drawn with seed 0, of an R list with ``counts``, ``samples`` and ``genes``."""
    study = r_object(paths[0])
    ensembl, symbol = (study["genes"][column].astype(str).to_numpy(object) for column in ("ensembl", "symbol"))
    cells = AnnData(
        X=r_matrix(study["counts"]).tocsr(),
        obs=pd.DataFrame({"cell_type": study["samples"]["celltype"].to_numpy()}, index=study["counts"].Dimnames[0]),
        var=pd.DataFrame({"symbol": symbol}, index=ensembl),
    )
    rng, cell_type = np.random.default_rng(0), cells.obs["cell_type"].astype(str).to_numpy()
    of_type = [np.flatnonzero(cell_type == name) for name in np.unique(cell_type)]
    drawn = np.concatenate([rng.choice(some, _SORTED_CELLS, replace=False) for some in of_type])
    return _with_expressed_genes(cells[np.sort(drawn)])


def _with_expressed_genes(cells: AnnData) -> AnnData:
    return cells[:, np.asarray(cells.X.sum(axis=0)).ravel() > 0].copy()
