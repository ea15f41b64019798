"""``python -m scfm_eval.pretrain``: pretrain a small foundation model from an ``.h5ad`` of raw counts.

Give the same command again to go on with an interrupted run; on one kind of machine and with one number of threads
(OMP_NUM_THREADS) the result is that of a run without the interruption. Once it is over, the same command writes the
model anew.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import fields
from pathlib import Path

import numpy as np

from scfm_eval.device import check_device
from scfm_eval.errors import InvalidInputError
from scfm_eval.pretrain.card import write_card
from scfm_eval.pretrain.corpus import Corpus, read_corpus
from scfm_eval.pretrain.geneformer import MaskedRanks
from scfm_eval.pretrain.loop import UNSET, How, Pretraining
from scfm_eval.pretrain.objective import Objective, Sizes, refuse_too_large
from scfm_eval.pretrain.precision import fastest_precision
from scfm_eval.pretrain.record import begin, identity
from scfm_eval.pretrain.scgpt import MaskedValues

_LAYOUTS: dict[str, type[MaskedRanks] | type[MaskedValues]] = {"geneformer": MaskedRanks, "scgpt": MaskedValues}
_SIZES = (
    ("width", 96, "width of the network, a multiple of --heads"),
    ("blocks", 3, "transformer blocks"),
    ("heads", 4, "attention heads"),
    ("hidden", 192, "width inside a block's feed-forward part"),
    ("length", 256, "most tokens of a cell; longer cells are cut (geneformer) or sampled (scgpt)"),
)


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; returns the exit code: 0, 2 when what was given cannot be used, 130 when interrupted."""
    asked = _parser().parse_args(arguments)
    try:
        pretrain(asked)
    except InvalidInputError as error:
        print(error, file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted; the same command goes on from the last checkpoint", file=sys.stderr)
        return 130
    return 0


def pretrain(asked: argparse.Namespace) -> None:
    """Pretrain what the command line asks for, and write the model with its card; a run that is over is not repeated.

    Parameters
    ----------
    asked
        The options of the command, by name.

    Raises
    ------
    InvalidInputError
        An option, the corpus or the folder cannot be used.
    """
    check_device(asked.device)
    how = How(**{entry.name: getattr(asked, entry.name) for entry in fields(How)})
    sizes = Sizes(asked.width, asked.blocks, asked.heads, asked.hidden, asked.length)
    corpus = read_corpus(asked.corpus)
    training = _training(asked, corpus=corpus, how=how, sizes=sizes)
    out: Path = asked.out or Path(f"{asked.layout}-pretrained")
    begin(out, run=training.of)
    training.run(out)
    files = training.objective.write(out)
    write_card(out, corpus=corpus, training=training, files=files, licence=asked.licence, remarks=asked.remark)
    print((out / "README.md").read_text(encoding="utf-8"))


def _training(asked: argparse.Namespace, *, corpus: Corpus, how: How, sizes: Sizes) -> Pretraining:
    refuse_too_large(sizes, n_genes=len(corpus.genes))
    held_out = corpus.held_out(share=asked.held_out, seed=asked.seed)
    objective: Objective = _LAYOUTS[asked.layout](corpus, training=~held_out, sizes=sizes, seed=asked.seed)
    return Pretraining(
        objective,
        training=np.flatnonzero(~held_out),
        held_out=np.flatnonzero(held_out),
        how=how,
        device=asked.device,
        precision=asked.precision or fastest_precision(asked.device),
        of=identity(corpus, objective=objective, sizes=sizes),
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m scfm_eval.pretrain", description=__doc__)
    parser.add_argument(
        "--layout", required=True, choices=sorted(_LAYOUTS), help="whose form the network and its files have"
    )
    parser.add_argument(
        "--corpus",
        required=True,
        type=Path,
        help=".h5ad: raw counts in X, Ensembl gene ids (of any species) as var_names; var['symbol'] and obs['source'] "
        "are read if there",
    )
    parser.add_argument("--out", type=Path, help="folder of run and model (default: LAYOUT-pretrained)")
    parser.add_argument(
        "--licence", default="BSD-3-Clause", help="of the weights, for the card (default: BSD-3-Clause)"
    )
    parser.add_argument(
        "--remark", action="append", default=[], help="sentence for the limits in the card; may be given several times"
    )
    _add(parser, "held_out", float, 0.05, "share of the cells of each obs['source'] to judge by, not to learn from")
    for name, default, meaning in _SIZES:
        _add(parser, name, int, default, meaning)
    for entry in fields(How):
        _add(parser, entry.name, float if entry.type == "float" else int, entry.default, entry.metadata["meaning"])
    parser.add_argument("--device", default="cpu", help="cpu, cuda or cuda:N (default: cpu)")
    parser.add_argument(
        "--precision",
        choices=("float32", "bfloat16"),
        help="type of matrix products (default: bfloat16 where the device has instructions for it, else float32)",
    )
    return parser


def _add(parser: argparse.ArgumentParser, name: str, kind: type, default: object, meaning: str) -> None:
    said = UNSET if default is None else default
    parser.add_argument(f"--{name.replace('_', '-')}", type=kind, default=default, help=f"{meaning} (default: {said})")


if __name__ == "__main__":
    sys.exit(main())
