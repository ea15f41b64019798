"""``scfm-eval reproduce``: published numbers beside ours, with the differences in words."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scfm_eval.errors import InvalidInputError
from scfm_eval.published import Publication, StandIn, find_publication, publications
from scfm_eval.report import read_report
from scfm_eval.reproduction.lines import WhyNot, lines
from scfm_eval.reproduction.text import overview, render
from scfm_eval.results import Result

if TYPE_CHECKING:
    from scfm_eval.datasets.dataset import Dataset
    from scfm_eval.reproduction.run import Bench


def add_to(commands: Any) -> None:
    """Declare the command."""
    parser = commands.add_parser("reproduce", help="published numbers beside those of this suite")
    parser.add_argument("name", nargs="?", help="which published numbers; --list prints the names")
    parser.add_argument("--list", action="store_true", help="print what published numbers there are")
    parser.add_argument("--report", action="append", default=[], type=Path, help="take ours from a report; repeatable")
    parser.add_argument(
        "--model",
        action="append",
        default=[],
        help="as in pytest; repeatable; default: models whose weights are here, and baselines",
    )
    parser.add_argument("--weights", action="append", default=[], metavar="NAME=PATH", help="local weights folder")
    parser.add_argument(
        "--dataset",
        action="append",
        default=[],
        metavar="PUBLISHED=SPEC",
        help="what stands for a published dataset: as in pytest, with --report the dataset's name there; repeatable",
    )
    parser.add_argument("--device", help="cpu, cuda or cuda:N; default cpu")
    parser.add_argument("--seeds", type=int, metavar="N", help="repeats of splits and trained baselines; default 1")
    parser.add_argument("--offline", action="store_true", help="never download")
    parser.set_defaults(act=_reproduce)


def _reproduce(asked: argparse.Namespace) -> None:
    if asked.list:
        print(overview(publications()), end="")
        return
    publication = find_publication(asked.name or "")
    why_not: WhyNot
    if asked.report:
        _check_nothing_to_run(asked)
        publication = _with_stand_ins(publication, _pairs(asked.dataset, option="--dataset"))
        results = _reported(publication, asked.report)
        why_not = partial(_not_reported, {result.dataset.name for result in results})
    else:
        bench, publication = _bench(asked, publication)
        bench.measure(publication)
        results, why_not = bench.results, bench.why_not
    compared = [(table, lines(publication, table, results, why_not=why_not)) for table in publication.tables]
    print(render(publication, compared, results=results), end="")


def _check_nothing_to_run(asked: argparse.Namespace) -> None:
    for_a_run = {name: getattr(asked, name) for name in ("model", "weights", "device", "seeds", "offline")}
    given = [f"--{name}" for name, value in for_a_run.items() if value not in (None, [], False)]
    if given:
        raise InvalidInputError(
            asked=f"--report together with {', '.join(given)}",
            found="with --report nothing is measured anew",
            remedy="leave out the one or the other",
        )


def _not_reported(there: set[str], task: str, dataset: str, model: str) -> list[str]:
    what = f"{task} of {model} on {dataset}" if dataset in there else f"the dataset {dataset}"
    return [f"no report has {what}"]


def _reported(publication: Publication, paths: Iterable[Path]) -> list[Result]:
    """Return the results of the reports; one without any of the datasets is refused."""
    known = {stand_in.name for stand_ins in publication.datasets.values() for stand_in in stand_ins}
    found: list[Result] = []
    for path in paths:
        results = read_report(path).results
        there = {result.dataset.name for result in results}
        if not there & known:
            raise InvalidInputError(
                asked=f"the datasets of {publication.title} in {path}",
                found=f"it has {', '.join(sorted(there)) or 'no result'}; "
                f"what stands for them here: {', '.join(sorted(known)) or 'nothing'}",
                remedy=f"run the suite on one of these, or say which dataset of the report stands for which: "
                f"--dataset '{next(iter(publication.datasets))}=NAME'",
            )
        found += results
    return found


def _pairs(given: Iterable[str], *, option: str) -> dict[str, str]:
    pairs: dict[str, str] = {}
    for text in given:
        name, _, value = (part.strip() for part in text.partition("="))
        if not (name and value) or name in pairs:
            raise InvalidInputError(
                asked=f"{option} {text}",
                found=f"{name} is given twice" if name in pairs else "no name and value with = between",
                remedy=f"give {option} NAME=VALUE, each name once",
            )
        pairs[name] = value
    return pairs


def _with_stand_ins(publication: Publication, given: Mapping[str, str]) -> Publication:
    """Return the publication with our datasets, by name, that were given for published ones."""
    by_name = {dataset.casefold(): dataset for dataset in publication.datasets}
    datasets = dict(publication.datasets)
    for asked, name in given.items():
        if asked.casefold() not in by_name:
            raise InvalidInputError(
                asked=f"--dataset {asked}={name}",
                found=f"no published dataset {asked!r}; there are {', '.join(datasets)}",
                remedy="name one of these before the =",
            )
        differs = "given on the command line: whether these are the published cells is for whoever gave them to say"
        datasets[by_name[asked.casefold()]] = [StandIn(name=name, differs=differs)]
    return publication.model_copy(update={"datasets": datasets})


def _bench(asked: argparse.Namespace, publication: Publication) -> tuple[Bench, Publication]:
    from scfm_eval.device import Resident, check_device
    from scfm_eval.discovery import find_dataset
    from scfm_eval.reproduction.run import Bench
    from scfm_eval.store import Store

    device, seeds = asked.device or "cpu", 1 if asked.seeds is None else asked.seeds
    check_device(device)
    if seeds < 1:
        raise InvalidInputError(asked=f"--seeds {seeds}", found="no number of repeats", remedy="give 1 or more")
    weights = {name: Path(path) for name, path in _pairs(asked.weights, option="--weights").items()}
    given = {name: find_dataset(spec) for name, spec in _pairs(asked.dataset, option="--dataset").items()}
    publication = _with_stand_ins(publication, {name: dataset.name for name, dataset in given.items()})
    _check_keys(publication, given)
    models, absent = _models(asked, weights)
    return Bench(
        models=models,
        absent=absent,
        weights=weights,
        given={dataset.name: dataset for dataset in given.values()},
        resident=Resident(device=device, precision="float32", offline=asked.offline),
        store=Store(),
        seeds=range(seeds),
        offline=asked.offline,
        tell=lambda text: print(text, file=sys.stderr),
    ), publication


def _check_keys(publication: Publication, given: Mapping[str, Dataset]) -> None:
    from scfm_eval.reproduction.run import TASKS, lacking

    for name, dataset in given.items():
        for table in publication.tables:
            missing = lacking(TASKS[table.task], dataset)
            if missing and name.casefold() in map(str.casefold, table.datasets):
                raise InvalidInputError(
                    asked=f"{name} ({table.title}) with the dataset {dataset.name}",
                    found=missing,
                    remedy="name the column in the dataset, e.g. FILE.h5ad:label=cell_type,batch=donor",
                )


def _models(asked: argparse.Namespace, weights: Mapping[str, Path]) -> tuple[dict[str, type], dict[str, str]]:
    """Return the models that are asked for, else those at hand; and for installed ones left out, why."""
    from scfm_eval.discovery import find_model, model_names
    from scfm_eval.models.card import card
    from scfm_eval.provenance import weights_folder

    if asked.model:
        found = [find_model(spec) for spec in asked.model]
        chosen = {card(model).name: model for model in found}
        for name, model in chosen.items():
            weights_folder(model, weights.get(name), offline=asked.offline)
        return chosen, {name: f"{name} was not asked for with --model" for name in model_names() if name not in chosen}
    installed = {name: find_model(name) for name in model_names()}
    absent = {name: _why_not_here(name, model, weights) for name, model in installed.items()}
    return {name: installed[name] for name, why in absent.items() if not why}, absent


def _why_not_here(name: str, model: type, weights: Mapping[str, Path]) -> str:
    """Return why an installed model is not measured unless it is asked for; empty when it is."""
    from scfm_eval.models.card import card
    from scfm_eval.models.protocols import Pretrained, missing_methods

    about = card(model, name=name)
    if about.role == "control" or not about.in_default_run:
        return f"{name} is measured only when --model asks for it"
    if missing_methods(model, Pretrained) or model.available(weights.get(name)):  # type: ignore[attr-defined]
        return ""
    return f"the weights of {name} are not here: --model {name} fetches them, --weights {name}=PATH takes a folder"
