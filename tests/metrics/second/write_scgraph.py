"""Write what scgraph-eval gives: ``pip install scgraph-eval==0.1.2``, then ``python write_scgraph.py scgraph.json``."""

from __future__ import annotations

import json
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

import anndata
import pandas as pd
from inputs import typed
from scgraph import scGraph

expression, embeddings, kind, batch = typed()
obs = pd.DataFrame({"type": kind, "batch": batch}, index=[f"c{i}" for i in range(len(kind))])
adata = anndata.AnnData(expression, obs=obs.astype("category"), obsm=embeddings)
with tempfile.TemporaryDirectory() as folder:
    adata.write_h5ad(Path(folder) / "cells.h5ad")
    table = scGraph(str(Path(folder) / "cells.h5ad"), "batch", "type", only_umap=False).main()
values = {embedding: row.astype(float).to_dict() for embedding, row in table.iterrows()}
made = {"package": "scgraph-eval", "version": version("scgraph-eval"), "values": values}
Path(sys.argv[1]).write_text(json.dumps(made, indent=1) + "\n")
