"""Runs under the Python of an outside model: reads a request, calls the model's script, writes what it answers.

Python 3.8 or later, its standard library and numpy are all that it takes; nothing of the package around it is imported.

The script has ``load(weights, device, arguments)``, which returns an object with the methods that its declaration
names as capabilities. ``weights`` is a path or ``None``, ``device`` is ``"cpu"``, ``"cuda"`` or ``"cuda:N"``,
``arguments`` is the table of the declaration. Each method returns names first, and then what belongs to them:

=========================================  ====================================================================
``embed(cells)``                           ids of cells, rows ``(n_cells, d)``
``embed_layers(cells)``                    ids of cells, list of rows ``(n_cells, d)``, the input embedding first
``embed_genes(genes)``                     ids of those genes that have a vector, rows ``(n, d)``
``score_gene_pairs(cells, genes)``         ids of genes, scores ``(n_genes, n_genes)``
``annotate(cells)``                        ids of cells, labels ``(C,)``, probabilities ``(n_cells, C)``
``reconstruct_layers(cells)``              cell of each value, targets ``(n_values,)``, ``(n_layers, n_values)``
=========================================  ====================================================================
"""

from __future__ import annotations

import importlib.util
import json
import os
import platform
import sys
from typing import Any


class Cells:
    """Counts of some cells, as a script is given them.

    Parameters
    ----------
    data, indices, indptr
        The counts as compressed rows: values (float32), their genes, and where each cell begins.
    cell_ids, gene_ids
        Names of the rows and of the columns.
    batch
        Batch of each cell; ``None`` where the dataset has none.
    """

    def __init__(self, *, data: Any, indices: Any, indptr: Any, names: dict[str, Any]) -> None:
        self.data, self.indices, self.indptr = data, indices, indptr
        self.cell_ids: list[str] = names["cell_ids"]
        self.gene_ids: list[str] = names["gene_ids"]
        self.batch: list[str] | None = names["batch"]

    @property
    def shape(self) -> tuple[int, int]:
        """Number of cells and of genes."""
        return len(self.cell_ids), len(self.gene_ids)

    def dense(self, start: int = 0, stop: int | None = None) -> Any:
        """Return the counts of the cells from ``start`` to before ``stop`` as an array ``(n, n_genes)``."""
        import numpy as np

        stop = len(self.cell_ids) if stop is None else min(stop, len(self.cell_ids))
        rows = np.zeros((stop - start, len(self.gene_ids)), dtype=np.float32)
        begin, end = self.indptr[start], self.indptr[stop]
        row = np.repeat(np.arange(stop - start), np.diff(self.indptr[start : stop + 1]))
        rows[row, self.indices[begin:end]] = self.data[begin:end]
        return rows

    def csr(self) -> Any:
        """Return the counts as a scipy CSR matrix ``(n_cells, n_genes)``; scipy has to be there."""
        from scipy import sparse

        return sparse.csr_matrix((self.data, self.indices, self.indptr), shape=self.shape)

    def anndata(self) -> Any:
        """Return an AnnData with the counts in ``X`` and ``obs["batch"]``; anndata has to be there."""
        import anndata
        import pandas as pd

        obs = pd.DataFrame(index=pd.Index(self.cell_ids, dtype=object))
        if self.batch is not None:
            obs["batch"] = pd.Categorical(self.batch)
        return anndata.AnnData(X=self.csr(), obs=obs, var=pd.DataFrame(index=pd.Index(self.gene_ids, dtype=object)))


def answer(request_file: str) -> None:
    """Call what the request asks for, and leave the folder ``result`` beside it, whole or not at all.

    Raises
    ------
    Exception
        Whatever the script raises; the process ends with it, and its traceback is in the log.
    """
    folder = os.path.dirname(os.path.abspath(request_file))
    with open(request_file, encoding="utf-8") as file:
        request = json.load(file)
    script = _script(request["script"])
    model = script.load(weights=request["weights"], device=request["device"], arguments=request["arguments"])
    with open(os.path.join(folder, "loaded"), "w", encoding="utf-8"):
        pass
    given: dict[str, Any] = {}
    if request["has_cells"]:
        given["cells"] = _read_cells(folder)
    if request["genes"] is not None:
        given["genes"] = request["genes"]
    ids, *parts = getattr(model, request["capability"])(**given)
    arrays = [array for part in parts for array in (part if isinstance(part, (list, tuple)) else [part])]
    _write(folder, [str(name) for name in ids], arrays, _facts(model))


def describe(packages: list[str]) -> dict[str, Any]:
    """Return the version of this Python and of each package that is there; of all of them where none is named."""
    from importlib import metadata

    found = {}
    for name in packages or sorted({str(one.metadata["Name"]) for one in metadata.distributions()}):
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return {"python": platform.python_version(), "packages": found}


def _script(path: str) -> Any:
    # modules beside the script are there to be imported
    sys.path.insert(0, os.path.dirname(path))
    spec = importlib.util.spec_from_file_location("outside_script", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def _read_cells(folder: str) -> Cells:
    import numpy as np

    parts = {
        name: np.load(os.path.join(folder, name + ".npy"), allow_pickle=False) for name in ("data", "indices", "indptr")
    }
    with open(os.path.join(folder, "names.json"), encoding="utf-8") as file:
        return Cells(names=json.load(file), **parts)


def _write(folder: str, ids: list[str], arrays: list[Any], facts: dict[str, Any]) -> None:
    import numpy as np

    unfinished = os.path.join(folder, "unfinished")
    os.mkdir(unfinished)
    for place, array in enumerate(arrays):
        np.save(os.path.join(unfinished, f"{place}.npy"), np.asarray(array), allow_pickle=False)
    with open(os.path.join(unfinished, "result.json"), "w", encoding="utf-8") as file:
        json.dump({"ids": ids, "n_arrays": len(arrays), "facts": facts}, file)
    os.rename(unfinished, os.path.join(folder, "result"))


def _facts(model: Any) -> dict[str, Any]:
    torch = sys.modules.get("torch")
    on_gpu = torch is not None and torch.cuda.is_available() and torch.cuda.is_initialized()
    n_parameters = getattr(model, "n_parameters", None)
    return {
        "host_bytes": _peak_bytes(),
        "device_bytes": int(torch.cuda.max_memory_allocated()) if torch is not None and on_gpu else None,
        "n_parameters": None if n_parameters is None else int(n_parameters),
    }


def _peak_bytes() -> int:
    import resource

    if os.path.exists("/proc/self/status"):
        # what Linux counts as the largest use of a process includes that of the program that started it
        with open("/proc/self/status", encoding="ascii", errors="replace") as file:
            kilobytes = [int(line.split()[1]) for line in file if line.startswith("VmHWM:")]
        return kilobytes[0] * 1024 if kilobytes else 0
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


if __name__ == "__main__":
    if sys.argv[1] == "--describe":
        print(json.dumps(describe(sys.argv[2:])))
    else:
        answer(sys.argv[1])
