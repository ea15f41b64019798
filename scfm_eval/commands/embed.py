"""``scfm-eval embed``: one model's embedding written into a copy of a file."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from scfm_eval import guards
from scfm_eval.commands.written import refusing
from scfm_eval.consent import accept_licences
from scfm_eval.errors import InvalidInputError


def add_to(commands: Any) -> None:
    """Declare the command."""
    embed = commands.add_parser("embed", help="write a model's embedding of a file into obsm of a copy of it")
    embed.add_argument("model", help="installed name, FILE.py:Class, or a declaration .toml")
    embed.add_argument("cells", help="my.h5ad, my.h5ad:batch=donor,counts=layers/counts, or the name of a dataset")
    embed.add_argument("-o", "--out", type=Path, required=True, metavar="OUT.h5ad")
    embed.add_argument(
        "--weights", default="", metavar="FOLDER", help="local folder of weights; NAME=FOLDER is taken too"
    )
    embed.add_argument("--key", default="", help="name in obsm; default X_<model>")
    embed.add_argument("--device", default="cpu", help="cpu, cuda or cuda:N")
    embed.add_argument("--precision", default="float32", choices=("float32", "bfloat16", "float16"))
    embed.add_argument("--batch-size", type=int, metavar="N", help="cells of full length in a batch")
    embed.add_argument("--seed", type=int, default=0, metavar="N")
    embed.add_argument(
        "--option",
        action="append",
        default=[],
        metavar="OPTION=VALUE",
        help="an option of the model's constructor; NAME.OPTION=VALUE is taken too",
    )
    embed.add_argument(
        "--orthologs", default="", metavar="TABLE", help="packaged, or a path: read mouse genes as human"
    )
    embed.add_argument("--accept-licence", action="append", default=[], metavar="NAME")
    embed.add_argument("--offline", action="store_true", help="never download")
    embed.add_argument(
        "--without-guard", action="append", default=[], metavar="NAME", help="switch off a check of `scfm-eval guards`"
    )
    embed.set_defaults(act=_embed)


def _embed(asked: argparse.Namespace) -> None:
    from scfm_eval.device import Resident, check_device
    from scfm_eval.discovery import find_dataset, find_model
    from scfm_eval.export.cells import write_cells
    from scfm_eval.export.embedded import embedded
    from scfm_eval.models.card import card
    from scfm_eval.models.options import with_options
    from scfm_eval.store import Store

    dataset = find_dataset(asked.cells)
    found = find_model(asked.model)
    name = card(found).name
    model = with_options(found, dict(_pair(text, name=name) for text in asked.option))
    weights = asked.weights.removeprefix(f"{name}=")
    if dataset.path is not None and dataset.path == asked.out.resolve():
        raise InvalidInputError(
            asked=f"to write {asked.out}", found="it is the file that is read", remedy="name another file"
        )
    accept_licences(asked.accept_licence)
    check_device(asked.device)
    settings = {"device": asked.device, "precision": asked.precision, "offline": asked.offline}
    if asked.batch_size is not None:
        settings["batch_size"] = asked.batch_size
    with guards.without(asked.without_guard):
        whole, key = embedded(
            dataset,
            model,
            weights=Path(weights) if weights else None,
            store=Store(),
            resident=Resident(**settings),
            key=asked.key,
            orthologs=asked.orthologs,
            seed=asked.seed,
        )
    with refusing(asked.out):
        write_cells(whole, asked.out)
    made = whole.uns["scfm_eval"][key]
    print(
        f"{asked.out}: obsm[{key!r}], {whole.n_obs} cells x {whole.obsm[key].shape[1]}; the model could read "
        f"{made['readable_genes']:.1%} of the genes with {made['readable_counts']:.1%} of the counts"
        + "".join(f"; {made[told]}" for told in ("genes_read_as", "note") if made[told])
    )
    for line in (*(f"{name} was switched off" for name in json.loads(made["guards_off"])), *json.loads(made["found"])):
        print(f"GUARD {line}")


def _pair(text: str, *, name: str) -> tuple[str, str]:
    option, equals, value = text.removeprefix(f"{name}.").partition("=")
    if not equals or not option.isidentifier():
        raise InvalidInputError(
            asked=f"--option {text}",
            found=f"neither OPTION=VALUE nor {name}.OPTION=VALUE",
            remedy="give e.g. --option layer=-1",
        )
    return option, value
