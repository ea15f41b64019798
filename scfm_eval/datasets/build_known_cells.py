"""Build the packaged sketches of cells: ``python -m scfm_eval.datasets.build_known_cells NAME=FILE.h5ad … OUT``.

The files are those of the datasets that the packaged models were pretrained on, raw counts of all genes; the same files
give the same sketches.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from scfm_eval.datasets.dataset import read_h5ad
from scfm_eval.datasets.known_cells import Hashes, count_hashes, name_hashes, sketch


def sketches(path: Path) -> dict[str, Hashes]:
    """Return the sketches of names and of counts of a file's cells."""
    cells = read_h5ad(path)
    return {"names": sketch(name_hashes(list(map(str, cells.obs_names)))), "counts": sketch(count_hashes(cells))}


def main(arguments: list[str]) -> None:
    """Read the files named on the command line and write the sketches."""
    *named, out = arguments
    files = dict(one.split("=", 1) for one in named)
    made = {f"{name}/{kind}": rows for name, file in files.items() for kind, rows in sketches(Path(file)).items()}
    np.savez_compressed(out, allow_pickle=False, **made)


if __name__ == "__main__":
    main(sys.argv[1:])
