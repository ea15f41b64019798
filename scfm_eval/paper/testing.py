"""The section with the statistical tests: paired differences, tests of pairs, ranks over tasks, and every claim."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from scfm_eval.charts.differences import critical_difference
from scfm_eval.paper.document import Block, Heading, Paragraph, Picture, entries, table
from scfm_eval.paper.sources import Source
from scfm_eval.paper.wording import difference, number, percent
from scfm_eval.ranking import HOW, PAIRS, Ranking, duels, ranked
from scfm_eval.report import PairedTest, Report, Verdict
from scfm_eval.verdicts import Fact
from scfm_eval.wording import NO_ANSWER, counted, listed

_MOST_RANKED = 30
"""Of more models, what is said of all pairs is not read."""


def tests(sources: Sequence[Source]) -> list[Block]:
    """Return what was tested, report by report."""
    blocks: list[Block] = [Heading("Statistical tests")]
    for place, source in enumerate(sources, start=1):
        if len(sources) > 1:
            blocks.append(Heading(f"Report {source.name}", level=2))
        level = 2 if len(sources) == 1 else 3
        report = source.report
        blocks += [
            *_differences(source.facts, level=level),
            *_pairs(report.paired_tests, level=level),
            *_ranking(report, level=level, prefix=f"report{place}-"),
            *_landscape(report, level=level),
        ]
    return blocks


def _differences(found: Sequence[Fact], *, level: int) -> list[Block]:
    heading = Heading("Models against baselines", level=level)
    if not found:
        return [heading, Paragraph("No model was measured beside a baseline on the same task and dataset.")]
    rows = [
        [
            fact.model,
            fact.baseline,
            fact.task,
            fact.dataset,
            fact.score,
            difference(fact.difference, low=fact.low, high=fact.high),
            _standing(fact),
        ]
        for fact in found
    ]
    caption = (
        "Paired differences of the first headline score with 95 % intervals, above zero where the model is better. "
        "Ahead: the interval is above zero; behind: below zero; not decided: it holds zero; undefined: there is no "
        "such interval."
    )
    heads = ["model", "baseline", "task", "dataset", "score", "difference", "standing"]
    return [heading, table(caption, heads, rows, keys=5)]


def _standing(fact: Fact) -> str:
    if not fact.answered:
        return NO_ANSWER
    return f"{fact.standing}, but {listed(fact.doubts)}" if fact.doubts else fact.standing


def _pairs(tests: Sequence[PairedTest], *, level: int) -> list[Block]:
    if not tests:
        return []
    rows = [
        [
            test.task,
            test.dataset,
            f"{test.left} and {test.right}",
            str(split.seed),
            f"{split.n_cells:,}",
            f"{split.only_left:,} and {split.only_right:,}",
            number(split.p),
            number(split.q),
            number(test.seeds.p),
            number(test.seeds.q),
        ]
        for test in tests
        for split in test.splits
    ]
    heads = [
        "task",
        "dataset",
        "pair",
        "seed",
        "test cells",
        "only one right",
        "p",
        "q",
        "p over seeds",
        "q over seeds",
    ]
    caption = (
        "Pairs of models on the same test cells: McNemar's test of each split (p), Wilcoxon's signed-rank test "
        "over seeds (p over seeds); q is p corrected (Benjamini–Hochberg), McNemar's over all pairs and splits of the "
        "report, and apart from them Wilcoxon's over all its pairs. Only one "
        "right counts the test cells that the first, and the second, alone has right. Test cells count as independent."
    )
    reasons = sorted({found.reason for test in tests for found in (*test.splits, test.seeds) if found.reason})
    why: list[Block] = [Paragraph("Undefined, because:"), entries(reasons)] if reasons else []
    return [Heading("Pairs on the same test cells", level=level), table(caption, heads, rows, keys=4), *why]


def _ranking(report: Report, *, level: int, prefix: str) -> list[Block]:
    if not report.results:
        return []
    found = ranked([report])
    left_out = [f"{what}: {why}" for what, why in found.left_out.items()]
    left: list[Block] = [Paragraph("Left out of the ranking:"), entries(left_out)] if left_out else []
    heading = Heading("Ranking over tasks", level=level)
    if found.reason:
        return [heading, Paragraph(f"There is no ranking: {found.reason}."), *left]
    rows = [
        [str(name), f"{found.average[name]:.2f}", percent(found.share_won[name]), percent(found.firsts[name])]
        for name in found.average.index
    ]
    caption = (
        f"Ranks over {counted(found.ranks.shape[1], 'block')}; 1 is best. Won is the share of duels that were won, by "
        "the value alone, firsts the share of blocks in which the model is best."
    )
    ranks = table(caption, ["model", "average rank", "won", "firsts"], rows)
    blocks: list[Block] = [Paragraph(_friedman(found)), ranks]
    return [heading, *blocks, *_pairwise(report, found, prefix=prefix), *left]


def _friedman(found: Ranking) -> str:
    return " ".join([*found.conclusions(), HOW])


def _pairwise(report: Report, found: Ranking, *, prefix: str) -> list[Block]:
    if len(found.average) > _MOST_RANKED:
        n = counted(len(found.average), "model")
        return [Paragraph(f"Pairs of {n} would be too many to read, and are left out.")]
    figure = critical_difference(found)
    return [Picture(figure, prefix + figure.name), _duels(report, found)]


def _duels(report: Report, found: Ranking) -> Block:
    columns = ["left", "right", "wins", "ties", "losses", "better_by_value", "worse_by_value"]
    rows = [
        [*(str(row[column]) for column in columns), number(row["p"]), number(row["q"])]
        for row in duels([report], found).to_dict("records")
    ]
    caption = (
        "Duels over blocks: in how many the first wins, ties or loses, by the interval of the paired difference; in "
        "how many without such an interval its value is better or worse, counted apart; p of the difference of "
        f"average ranks (two-sided, normal), q corrected over all pairs (Benjamini–Hochberg). {PAIRS}"
    )
    heads = ["first", "second", "wins", "ties", "losses", "better by value", "worse by value", "p", "q"]
    return table(caption, heads, rows, keys=2)


def _landscape(report: Report, *, level: int) -> list[Block]:
    if not report.landscape:
        return []
    said = [
        f"{check.dataset}, {counted(len(check.models), 'model')} ({listed(check.models)}): Spearman correlation of "
        "roughness and "
        + (
            f"error undefined: {check.reason}"
            if check.rho is None
            else f"error {number(check.rho)}, one-sided p = {number(check.p)} by permutation of the models"
        )
        for check in report.landscape
    ]
    return [Heading("Whether rougher landscapes go with more errors", level=level), entries(said)]


def claims(sources: Sequence[Source]) -> list[Block]:
    """Return every claim of every report and what became of it."""
    blocks: list[Block] = [Heading("Appendix: all claims")]
    for source in sources:
        verdicts = source.report.verdicts
        if not verdicts:
            blocks.append(Paragraph(f"{source.name} has no claim."))
            continue
        tally = Counter(verdict.outcome for verdict in verdicts)
        counts = ", ".join(f"{n:,} {outcome}" for outcome, n in sorted(tally.items()))
        heads = ["file", "claim", "model", "dataset", "outcome", "difference"]
        caption = (
            f"{counted(len(verdicts), 'claim')} of {source.name}: {counts}. "
            "Difference is left minus right of the claim's comparison."
        )
        blocks.append(table(caption, heads, [_claim(verdict) for verdict in verdicts], keys=4))
    return blocks


def _claim(verdict: Verdict) -> list[str]:
    made = [difference(made.difference, low=made.low, high=made.high) for made in verdict.comparisons]
    return [
        verdict.benchmark,
        verdict.name,
        verdict.model or "–",
        verdict.dataset or "–",
        verdict.outcome,
        "; ".join(made) or "–",
    ]
