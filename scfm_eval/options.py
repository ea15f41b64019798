"""The suite's command-line options. Imports the standard library and pytest only."""

from __future__ import annotations

import argparse

import pytest

DEFAULT_DATASETS = (
    "pbmc68k_reduced", "synthetic_batches", "synthetic_perturbations", "synthetic_transfer", "synthetic_network",
)  # fmt: skip
"""What runs when no dataset is named: all come with the package, and each task takes the first that has its keys."""

SOURCES = ("ontology", "gene_sets", "network")
"""Options that name what a task is held against; each is a field of the tasks that it concerns."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the suite's options."""
    group = parser.getgroup("scfm_eval", "single-cell foundation models")
    for add in (_add_models, _add_reports, _add_means, _add_sources):
        add(group)


def _add_models(group: pytest.OptionGroup) -> None:
    group.addoption(
        "--model",
        action="append",
        default=[],
        metavar="MODEL",
        help="installed name, FILE.py:Class, or stored embeddings (emb.h5ad:X_mine, .npz, .npy, .parquet); "
        "'A + B' is an ensemble; repeatable",
    )
    group.addoption(
        "--dataset",
        action="append",
        default=[],
        metavar="DATASET",
        help=f"installed name, FILE.py:OBJECT, or my.h5ad:label=cell_type,batch=donor; repeatable; "
        f"SOURCE->TARGET joins two for transfer; default {', '.join(DEFAULT_DATASETS)}",
    )
    group.addoption(
        "--weights",
        action="append",
        default=[],
        metavar="NAME=PATH",
        help="local weights folder of a model; repeatable",
    )
    group.addoption(
        "--option",
        action="append",
        default=[],
        metavar="NAME.OPTION=VALUE",
        help="an option of a model's constructor, e.g. uce.padding=attended; repeatable",
    )
    group.addoption(
        "--accept-licence",
        action="append",
        default=[],
        metavar="NAME",
        help="accept the licence of the weights of a model, without which they are not downloaded; repeatable",
    )


def _add_reports(group: pytest.OptionGroup) -> None:
    group.addoption("--report", default="reports/latest.json", metavar="PATH", help="where the JSON report is written")
    group.addoption("--html", default=None, metavar="PATH", help="where the report is written as a page, for readers")
    group.addoption("--reference", default=None, metavar="PATH", help="report that scores must not fall behind")
    group.addoption(
        "--resume",
        action="store_true",
        help="go on with the run of this --report that was stopped or killed, from the ledger that lies beside it",
    )
    group.addoption("--layouts", action="store_true", help="keep a UMAP of each embedding in the report, for figures")


def _add_means(group: pytest.OptionGroup) -> None:
    group.addoption("--device", default="cpu", help="cpu, cuda or cuda:N")
    group.addoption(
        "--precision", default="float32", choices=("float32", "bfloat16", "float16"), help="precision of model weights"
    )
    group.addoption("--seeds", type=_positive, default=1, metavar="N", help="repeats of splits and trained baselines")
    group.addoption("--offline", action="store_true", help="never download")
    group.addoption(
        "--isolate",
        action="store_true",
        help="load and ask each model in a process of its own, so that one that crashes ends nothing else",
    )
    group.addoption(
        "--time-limit",
        type=_seconds,
        metavar="SECONDS",
        help="end a model that takes longer to load, to learn or to answer; implies --isolate",
    )
    group.addoption(
        "--without-guard",
        action="append",
        default=[],
        metavar="NAME",
        help="switch a check off by its name, which the report then states; `scfm-eval guards` lists them; repeatable",
    )


def _add_sources(group: pytest.OptionGroup) -> None:
    group.addoption(
        "--ontology",
        default="",
        metavar="PATH",
        help="an .obo file instead of the packaged Cell Ontology, for the ontology task",
    )
    group.addoption(
        "--orthologs",
        default="",
        metavar="packaged|PATH",
        help="read genes of mouse cells as their one-to-one human orthologs, and the other way round, where a model "
        "reads the other organism: by the packaged table, or by one of your own",
    )
    group.addoption(
        "--gene-sets",
        default="",
        metavar="SOURCE",
        help="a .gmt file, or proteinatlas (genes particular to a tissue), instead of the packaged GO terms",
    )
    group.addoption(
        "--network",
        default="",
        metavar="SOURCE",
        help="a .csv file of regulator and target, or collectri, instead of the network that the dataset states",
    )


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < float("inf"):
        raise argparse.ArgumentTypeError(f"{text} is no time: give seconds above 0")
    return seconds


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text} is no number of repeats: give 1 or more")
    return int(text)
