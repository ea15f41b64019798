"""Results as text: one table per task, models in rows, datasets in columns."""

from __future__ import annotations

from collections.abc import Iterable
from io import StringIO

from rich.console import Console
from rich.table import Table

from scfm_eval.about_models import failures
from scfm_eval.escape import one_line
from scfm_eval.findings import told
from scfm_eval.report import LandscapeCheck, PairedTest, Report, SplitTest
from scfm_eval.results import Result, by_role
from scfm_eval.side_by_side import best_value, is_best, side_by_side
from scfm_eval.wording import NO_ANSWER, UNDEFINED, number, with_interval

_FEW = 3  # other scores beside one that is undefined
_LEGEND = "* is the best of models and baselines, [] the 95 % interval\n"


def render(report: Report, *, width: int, task: str | None = None) -> str:
    """Return which models gave no answer, one table per task as text, and what follows from several results.

    At the end stands what guards tell.

    Parameters
    ----------
    report
        The report.
    width
        Least number of characters in a line; a table that needs more takes more, since cut numbers cannot be read.
    task
        One task, of which all scores are shown, one in a row, and the tables of its details, such as that of layers;
        ``None`` shows the first headline score of each task.
    """
    shown = [result for result in report.results if task in (None, result.task)]
    tables = [
        _table([result for result in shown if result.task == name], every_score=task is not None)
        for name in sorted({result.task for result in shown})
    ]
    if task is not None:
        tables += [table for result in shown for table in _rows_of(result)]
    silent = failures(shown)
    tests = [test for test in report.paired_tests if task in (None, test.task)]
    if tests:
        tables.append(_tests(tests))
    out = StringIO()
    for table in tables:
        # cut numbers cannot be read, a wide table can be scrolled
        Console(file=out, width=max(width, 40 + 36 * len(table.columns)), color_system=None, markup=False).print(table)
    unanswered = "".join(
        f"NO ANSWER, neither a win nor a loss: {one_line(f'{one.text} ({one.where})')}\n" for one in silent
    )
    stopped = "INTERRUPTED: what is missing was not run; the same command with --resume goes on\n"
    return (
        (stopped if report.interrupted else "")
        + unanswered
        + out.getvalue()
        + _LEGEND
        + "".join(f"{one_line(_undefined(result))}\n" for result in shown if _lacks_headline(result))
        + "".join(map(_landscape, report.landscape if task in (None, "landscape") else []))
        + "".join(f"GUARD {one_line(str(one))}\n" for one in told(report.model_copy(update={"results": shown})))
    )


def _table(results: list[Result], *, every_score: bool) -> Table:
    by_key = {(data, r.model.name): r for (_, data), same in side_by_side(results).items() for r in same}
    columns = sorted({(data, score) for (data, _), r in by_key.items() for score in _shown(r, every_score=every_score)})
    models = list(dict.fromkeys((r.model.name, r.model.role) for r in sorted(results, key=by_role)))
    heads = [f"{name} ({role})" if role != "model" else name for name, role in models]
    best = {
        (data, score): best_value([result for (where, _), result in by_key.items() if where == data], score)
        for data, score in columns
    }
    cells = [
        [_cell(by_key.get((data, name)), score, best[data, score]) for data, score in columns] for name, _ in models
    ]
    sides = [f"{dataset}\n{score}" for dataset, score in columns]
    if every_score:
        rows = list(zip(*cells, strict=True))
        return _filled(results[0].task, [side.replace("\n", "  ") for side in sides], heads=heads, rows=rows)
    return _filled(results[0].task, heads, heads=sides, rows=cells)


def _shown(result: Result, *, every_score: bool) -> Iterable[str]:
    return result.scores if every_score else filter(None, [result.first_headline])


def _lacks_headline(result: Result) -> bool:
    first = result.scores.get(result.first_headline)
    return not result.failure and first is not None and first.value is None


def _undefined(result: Result) -> str:
    """Return why the score in the table is undefined, and the scores of the same task that are not."""
    name = result.first_headline
    others = [
        f"{other} {with_interval(record.value, low=record.low, high=record.high)}"
        for other, record in result.scores.items()
        if record.value is not None
    ]
    said = f"UNDEFINED: {name} of {result.model.name} on {result.dataset.name}: {result.scores[name].reason}"
    return said + (f"; it has {', '.join(others[:_FEW])}" if others else "")


def _rows_of(result: Result) -> list[Table]:
    """Return the details of a result that are tables: lists of rows with the same columns."""
    made = []
    for name, rows in result.details.items():
        if isinstance(rows, list) and rows and all(isinstance(row, dict) for row in rows):
            first, *heads = rows[0]
            cells = [[_plain(row.get(head)) for head in heads] for row in rows]
            title = f"{name} of {result.model.name} on {result.dataset.name}"
            # a name says itself what it is, a number does not
            names = [row[first] if isinstance(row[first], str) else f"{first} {row[first]}" for row in rows]
            made.append(_filled(title, names, heads=heads, rows=cells))
    return made


def _plain(value: object) -> str:
    return number(value) if value is None or isinstance(value, float) else str(value)


def _tests(tests: list[PairedTest]) -> Table:
    names = [f"{test.left} and {test.right}, {test.dataset}" for test in tests]
    heads = [
        "split",
        "test cells",
        "only the first right",
        "only the second right",
        "McNemar q",
        "Wilcoxon q over seeds",
    ]
    rows = [[*_split(test.splits[0]), _p(test.seeds.q)] for test in tests]
    title = "pairs of models, first split; q corrected, McNemar over all pairs and splits, Wilcoxon over all pairs"
    return _filled(title, names, heads=heads, rows=rows)


def _split(test: SplitTest) -> list[str]:
    return [str(test.seed), str(test.n_cells), str(test.only_left), str(test.only_right), _p(test.q)]


def _landscape(found: LandscapeCheck) -> str:
    over = f"{found.dataset}: rougher landscapes (ROGI-XD) go with errors of annotation over {len(found.models)} models"
    if found.rho is None:
        return f"{over}: undefined: {found.reason}\n"
    return f"{over}: Spearman {found.rho:.2f}, one-sided p = {_p(found.p)} by permutation\n"


def _p(value: float | None) -> str:
    return "undefined" if value is None else f"{value:.2g}"


def _filled(title: str, names: list[str], *, heads: list[str], rows: Iterable[Iterable[str]]) -> Table:
    table = Table(title=title, title_justify="left")
    table.add_column("", no_wrap=True)
    filled = [list(cells) for cells in rows]
    for place, head in enumerate(heads):
        words = all(_is_words(cells[place]) for cells in filled)
        table.add_column(head, justify="left" if words else "right", no_wrap=True)
    for name, cells in zip(names, filled, strict=True):
        table.add_row(name, *cells)
    return table


def _is_words(cell: str) -> bool:
    return cell[:1].isalpha() and cell not in (NO_ANSWER, UNDEFINED)


def _cell(result: Result | None, score: str, best: float | None) -> str:
    if result is not None and result.failure:
        return NO_ANSWER
    if result is None or score not in result.scores:
        return "–"
    record = result.scores[score]
    mark = " *" if is_best(result, score, best=best) else ""
    return with_interval(record.value, low=record.low, high=record.high) + mark
