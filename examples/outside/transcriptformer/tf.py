"""TranscriptFormer under its own Python, through its documented command: an .h5ad in, an .h5ad out."""

import os
import subprocess
import sys

import numpy as np


class TranscriptFormer:
    """``checkpoint`` is the folder that ``transcriptformer download`` made; ``arguments`` as in the declaration."""

    def __init__(self, checkpoint, device, arguments):
        self.checkpoint, self.device, self.arguments = checkpoint, device, arguments

    def embed(self, cells):
        """Return ids of cells and the mean over the genes of each ``(n_cells, d)``."""
        import anndata

        given = cells.anndata()
        given.var["ensembl_id"] = list(given.var_names)
        # the command numbers its rows anew, and gives back the columns of obs
        given.obs["cell_id"] = cells.cell_ids
        given.write_h5ad("cells.h5ad")
        subprocess.run(self._command(), check=True)
        made = anndata.read_h5ad(os.path.join("made", "embeddings.h5ad"))
        return list(made.obs["cell_id"]), np.asarray(made.obsm["embeddings"], dtype=np.float32)

    def _command(self):
        program = os.path.join(os.path.dirname(sys.executable), "transcriptformer")
        options = {
            "--checkpoint-path": self.checkpoint,
            "--data-file": "cells.h5ad",
            "--output-path": "made",
            "--batch-size": str(self.arguments["batch_size"]),
            "--precision": self.arguments["precision"],
            "--device": "cpu" if self.device == "cpu" else "cuda",
        }
        return [program, "inference"] + [word for option in options.items() for word in option]


def load(weights, device, arguments):
    """Return the model; its folder comes from ``--weights tf-sapiens=FOLDER``."""
    if weights is None:
        raise SystemExit("run `transcriptformer download tf-sapiens`, and give --weights tf-sapiens=FOLDER")
    return TranscriptFormer(weights, device, arguments)
