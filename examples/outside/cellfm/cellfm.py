"""CellFM under its own Python: vectors of genes from the checkpoint alone, of cells through your copy of its code.

Nothing of CellFM's code or weights (CC BY-NC-ND 4.0) is here. See README.md for what was run and what was not.
"""

import csv
import os
import sys

import numpy as np
from mindspore_checkpoint import read_tensors

_LENGTH = 2048  # genes of a cell at most, as published
_DEPTH = 1e5  # counts of a cell at most, as published
_BATCH = 4


class CellFM:
    """Checkpoint and gene list in the folder of weights; ``arguments`` as in the declaration."""

    def __init__(self, folder, device, arguments):
        self.folder, self.device, self.arguments = folder, device, arguments
        self.checkpoint = os.path.join(folder, arguments["checkpoint"])
        with open(os.path.join(folder, arguments["genes"]), encoding="utf-8", newline="") as file:
            names = [row[0] for row in csv.reader(file)][1:]
        # place 0 of the table stands for no gene
        self.place = {name: place for place, name in enumerate(names, start=1)}
        self.gene_vectors = read_tensors(self.checkpoint, lambda name: name == "gene_emb")["gene_emb"]
        if len(self.gene_vectors) <= len(names):
            raise ValueError(f"{len(names)} genes for a table of {len(self.gene_vectors)} rows")

    def embed_genes(self, genes):
        """Return the known ones of ``genes`` and the vectors that enter the network for them."""
        known = [gene for gene in genes if gene in self.place]
        return known, self.gene_vectors[[self.place[gene] for gene in known]].astype(np.float32)

    def embed(self, cells):
        """Return ids of cells and the last layer at the cell token ``(n_cells, d)``."""
        import mindspore

        network = self._network(mindspore)
        places = np.array([self.place.get(gene, 0) for gene in cells.gene_ids], dtype=np.int32)
        rows = []
        for start in range(0, len(cells.cell_ids), _BATCH):
            sentences = [sentence(counts, places) for counts in cells.dense(start, start + _BATCH)]
            empty = [name for name, (_, _, real) in zip(cells.cell_ids[start:], sentences) if real.sum() == 1]
            if empty:
                raise ValueError(f"cells without a gene that CellFM knows: {empty}")
            values, genes, real = (mindspore.Tensor(np.stack(part)) for part in zip(*sentences))
            rows.append(network.forward(values, genes, real)[2].asnumpy())
        return cells.cell_ids, np.concatenate(rows).astype(np.float32)

    def _network(self, mindspore):
        # your own copy of the published code, which is not part of this one
        sys.path.insert(0, os.path.expanduser(self.arguments["code"]))
        import config
        from model import CellFM as Network

        mindspore.set_context(device_target="CPU" if self.device == "cpu" else "GPU", mode=mindspore.GRAPH_MODE)
        tensors = mindspore.load_checkpoint(self.checkpoint)
        name = self.arguments["settings"]
        settings = getattr(config, name)()
        held = self.gene_vectors.shape[1], 1 + max(int(n.split(".")[1]) for n in tensors if n.startswith("encoder."))
        if held != (settings.enc_dims, settings.enc_nlayers):
            raise ValueError(f"width and layers {held} in the checkpoint, other ones in {name} of the published code")
        # sentences are padded here, and padding has to be masked; see README.md for what the published code does
        settings.pad_zero, settings.add_zero, settings.recompute = True, False, False
        network = Network(len(self.place), settings)
        missing, _ = mindspore.load_param_into_net(network, tensors)
        if missing:
            raise ValueError(f"the checkpoint lacks {len(missing)} tensors: {missing[:5]}")
        network.set_train(False)
        return network


def sentence(counts, places):
    """Return values ``(2048, 2)``, genes ``(2048,)`` and what is real, the cell token first ``(2049,)``, of one cell.

    Of more than 2,048 expressed genes the highest are taken, ties by place in the gene list, where the published code
    draws: so that a cell's row depends on that cell only.
    """
    counts, genes = counts[places > 0], places[places > 0]
    counts = np.round(counts / max(1.0, counts.sum() / _DEPTH))
    kept = np.flatnonzero(counts)
    kept = kept[np.lexsort((genes[kept], -counts[kept]))][:_LENGTH]
    kept = kept[np.argsort(genes[kept])]
    values, chosen = np.zeros((_LENGTH, 2), dtype=np.float32), np.zeros(_LENGTH, dtype=np.int32)
    real = np.zeros(_LENGTH + 1, dtype=np.float32)
    # the first column says that a value is given and not masked
    values[: len(kept), 0] = 1
    values[: len(kept), 1] = np.log1p(counts[kept] / max(counts.sum(), 1) * 1e4)
    chosen[: len(kept)], real[: len(kept) + 1] = genes[kept], 1
    return values, chosen, real


def load(weights, device, arguments):
    """Return the model; its folder comes from ``--weights cellfm=FOLDER``."""
    if weights is None:
        raise SystemExit("give the folder with checkpoint and gene list: --weights cellfm=FOLDER")
    return CellFM(weights, device, arguments)
