"""Every reader of strangers' files, with good files to begin from."""

from __future__ import annotations

import gzip
import json
import pickle
import sys
import tarfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

GENES = [f"GENE{number}" for number in range(40)]
VECTORS = np.arange(40 * 4, dtype=np.float32).reshape(40, 4) + 1


@dataclass(frozen=True)
class Reader:
    """A reader: how its files end, what makes good ones in a folder, and what reads one."""

    suffix: str
    make: Callable[[Path], list[Path]]
    read: Callable[[Path], Any]


def _written(folder: Path, *contents: bytes | str) -> list[Path]:
    made = [folder / f"seed{number}" for number in range(len(contents))]
    for path, content in zip(made, contents, strict=True):
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    return made


def _pickles(folder: Path) -> list[Path]:
    arrays = {"a": VECTORS, "o": np.array(GENES, dtype=object), "n": np.float32(2), "t": (1, [None])}
    return _written(folder, *(pickle.dumps(arrays, protocol) for protocol in (0, 2, 4, 5)))


def _tokens(folder: Path) -> list[Path]:
    tokens = {gene: place for place, gene in enumerate(GENES)}
    return _written(folder, *(pickle.dumps(tokens, protocol) for protocol in (0, 2, 4, 5)))


def _pickled_vectors(folder: Path) -> list[Path]:
    lists = {gene: row.tolist() for gene, row in zip(GENES, VECTORS, strict=True)}
    return _written(folder, pickle.dumps(lists), pickle.dumps(dict(zip(GENES, VECTORS, strict=True)), 2))


def _torch(folder: Path) -> list[Path]:
    import torch

    made = [folder / "new.pt", folder / "old.pt"]
    for path, is_zip in zip(made, (True, False), strict=True):
        tensors = {"a.weight": torch.ones(3, 4), "a.bias": torch.zeros(3), "h": torch.ones(2).half()}
        torch.save(tensors, path, _use_new_zipfile_serialization=is_zip)
    return made


def _torch_inert(folder: Path) -> list[Path]:
    import torch

    frame = pd.DataFrame({"x": [1.0, 2.0], "y": ["a", "b"]})
    content = {"history": frame, "var_names": np.array(GENES, dtype=object), "state": {"w": torch.ones(5)}}
    torch.save(content, folder / "model.pt")
    return [folder / "model.pt"]


def _safetensors(folder: Path) -> list[Path]:
    from safetensors.numpy import save

    return _written(folder, save({"a": VECTORS, "b": np.arange(3)}))


def _npz(folder: Path) -> list[Path]:
    np.savez(folder / "plain.npz", embedding=VECTORS, cell_ids=np.array(GENES))
    np.savez_compressed(folder / "packed.npz", embedding=VECTORS, cell_ids=np.array(GENES))
    return [folder / "plain.npz", folder / "packed.npz"]


def _npz_of_genes(folder: Path) -> list[Path]:
    np.savez_compressed(folder / "vectors.npz", vectors=VECTORS, genes=np.array(GENES))
    return [folder / "vectors.npz"]


def _npy(folder: Path) -> list[Path]:
    np.save(folder / "plain.npy", VECTORS)
    return [folder / "plain.npy"]


def _read_npy(path: Path) -> Any:
    from scfm_eval.models.embedding_files import read_embedding

    path.with_suffix(".ids.txt").write_text("\n".join(GENES))
    return read_embedding(path)


def _linear(folder: Path) -> list[Path]:
    np.savez(
        folder / "linear.npz",
        coef=VECTORS[:4].reshape(4, 4), intercept=np.zeros(4), classes=np.array(list("abcd")),
        features=np.array(GENES[:4]), mean=np.zeros(4), scale=np.ones(4),
    )  # fmt: skip
    return [folder / "linear.npz"]


def _parquet(folder: Path) -> list[Path]:
    table = pd.DataFrame(VECTORS, columns=list("abcd")).assign(cell_id=GENES)
    table.to_parquet(folder / "table.parquet")
    return [folder / "table.parquet"]


def _h5ad(folder: Path) -> list[Path]:
    from anndata import AnnData
    from scipy.sparse import csr_matrix

    obs = pd.DataFrame({"kind": pd.Categorical(list("ab") * 20), "n": np.arange(40)}, index=GENES)
    cells = AnnData(csr_matrix(VECTORS % 3), obs=obs, obsm={"X_a": VECTORS}, uns={"a": {"b": "text"}})
    cells.write_h5ad(folder / "plain.h5ad")
    cells.write_h5ad(folder / "packed.h5ad", compression="gzip")
    return [folder / "plain.h5ad", folder / "packed.h5ad"]


def _reports(folder: Path) -> list[Path]:
    from scfm_eval.report import write_report
    from tests.made_reports import report, result, score, verdict

    made = report(result(f1=score(0.5)), result("other", f1=score(None, reason="no")), verdicts=[verdict()])
    return [write_report(made, folder / "report.json")]


def _read_report(path: Path) -> Any:
    from scfm_eval.report import read_report, write_report

    read = read_report(path)
    write_report(read, path.with_name("again.json"))
    return read.to_frame(), read.claims_frame(), read.costs_frame()


def _declarations(folder: Path) -> list[Path]:
    text = f"""capabilities = ["embed"]
[model]
name = "mine"
licence = "MIT"
[python]
path = {json.dumps(sys.executable)}
script = {json.dumps(str(Path(__file__).resolve()))}
timeout = 5
environment = ["A"]
arguments = {{a = [1, 2.5, true, "x"]}}
packages = {{numpy = ">=1"}}
"""
    return _written(folder, text)


def _gmt(folder: Path) -> list[Path]:
    return _written(folder, "one\tna\tA\tB\ntwo\thttps://a\tC\n")


def _network(folder: Path) -> list[Path]:
    return _written(folder, "source,target\nA,B\nB,C\n", 'tf\ttarget\n"A"\tB\n')


def _obo(folder: Path) -> list[Path]:
    text = "format-version: 1.2\ndata-version: x\n\n[Term]\nid: CL:0000000\nname: cell\n\n"
    text += '[Term]\nid: CL:0000001\nname: b\nis_a: CL:0000000 ! cell\nsynonym: "c" EXACT []\nalt_id: CL:0000009\n'
    return _written(folder, text + "\n[Term]\nid: CL:0000002\nis_obsolete: true\nreplaced_by: CL:0000001\n")


def _orthologs(folder: Path) -> list[Path]:
    text = "human_ensembl\thuman_symbol\tmouse_ensembl\tmouse_symbol\nENSG1\tA\tENSMUSG1\ta\n"
    return _written(folder, text, gzip.compress(text.encode()))


def _vectors_text(folder: Path) -> list[Path]:
    rows = [f"{gene} {' '.join(map(str, row))}" for gene, row in zip(GENES, VECTORS, strict=True)]
    return _written(folder, "40 4\n" + "\n".join(rows), "\n".join(row.replace(" ", ",") for row in rows))


def _atlas(folder: Path) -> list[Path]:
    text = "Gene\tRNA tissue specificity\tRNA tissue specific nTPM\nA\tTissue enriched\tliver: 5.0\n"
    return _zip(folder, text)


def _zip(folder: Path, text: str = "one\n" * 100) -> list[Path]:
    with zipfile.ZipFile(folder / "a.zip", "w", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr("in/a", text)
    return [folder / "a.zip"]


def _tar(folder: Path) -> list[Path]:
    (folder / "a").write_text("one\n" * 100)
    made = [folder / f"a.tar.{kind}" for kind in ("gz", "xz", "bz2")]
    for path in made:
        with tarfile.open(path, f"w:{path.suffix[1:]}") as bundled:
            bundled.add(folder / "a", arcname="in/a")
    return made


def _taken_out(path: Path) -> None:
    from scfm_eval.datasets.archives import take_out

    take_out(path, ["a"], folder=path.parent / "out")


def _rdata(folder: Path) -> list[Path]:
    import rdata

    rdata.write_rda(folder / "study.RData", {"study": {"x": np.arange(9.0), "t": pd.DataFrame({"k": ["a", "b"]})}})
    return [folder / "study.RData"]


def _of(module: str, name: str, **settings: Any) -> Callable[[Path], Any]:
    def read(path: Path) -> Any:
        import importlib

        found = getattr(importlib.import_module(f"scfm_eval.{module}"), name)
        # some keep what they read under its path, which stands for many contents here
        return getattr(found, "__wrapped__", found)(path, **settings)

    return read


def _read_network(path: Path) -> Any:
    from scfm_eval.datasets.networks import load_network

    return load_network.__wrapped__(str(path))


def _read_orthologs(path: Path) -> Any:
    from scfm_eval.datasets.orthologs import read_orthologs

    return read_orthologs(str(path))


READERS = {
    "pickle": Reader(".pkl", _pickles, _of("models.checkpoint", "read_pickle")),
    "tokens": Reader(".pkl", _tokens, _of("models.checkpoint", "read_tokens")),
    "pickled_vectors": Reader(".pkl", _pickled_vectors, _of("models.gene_vectors", "read_gene_vectors")),
    "torch": Reader(".pt", _torch, _of("models.checkpoint", "read_tensors")),
    "torch_inert": Reader(
        ".pt", _torch_inert, _of("models.checkpoint", "read_checkpoint", inert=(r"pandas\..*", r"builtins\.slice"))
    ),
    "safetensors": Reader(".safetensors", _safetensors, _of("models.checkpoint", "read_tensors")),
    "json": Reader(
        ".json",
        lambda folder: _written(folder, json.dumps({gene: place for place, gene in enumerate(GENES)})),
        _of("models.checkpoint", "read_tokens"),
    ),
    "npz": Reader(".npz", _npz, _of("models.embedding_files", "read_embedding")),
    "npz_of_genes": Reader(".npz", _npz_of_genes, _of("models.gene_vectors", "read_gene_vectors")),
    "npy": Reader(".npy", _npy, _read_npy),
    "linear": Reader(".npz", _linear, _of("models.celltypist", "read_linear")),
    "parquet": Reader(".parquet", _parquet, _of("models.embedding_files", "read_embedding")),
    "h5ad": Reader(".h5ad", _h5ad, _of("datasets.dataset", "read_h5ad")),
    "h5ad_embedding": Reader(".h5ad", _h5ad, _of("models.embedding_files", "read_embedding", key="X_a")),
    "report": Reader(".json", _reports, _read_report),
    "declaration": Reader(".toml", _declarations, _of("models.outside_declaration", "read_declaration")),
    "gmt": Reader(".gmt", _gmt, _of("datasets.gene_sets", "read_gmt")),
    "atlas": Reader(".zip", _atlas, _of("datasets.gene_sets", "read_protein_atlas")),
    "network": Reader(".csv", _network, _read_network),
    "obo": Reader(".obo", _obo, _of("ontology", "read_obo")),
    "orthologs": Reader(".tsv", _orthologs, _read_orthologs),
    "vectors_text": Reader(".csv", _vectors_text, _of("models.gene_vectors", "read_gene_vectors")),
    "zip": Reader(".zip", _zip, _taken_out),
    "tar": Reader(".tar", _tar, _taken_out),
    "rdata": Reader(".RData", _rdata, _of("datasets.r_files", "r_object")),
}
"""By name."""
