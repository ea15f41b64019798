"""Models ranked over tasks: average ranks, Friedman's test, Nemenyi's critical difference, wins and losses by pair."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from scfm_eval.metrics.significance import benjamini_hochberg
from scfm_eval.report import Report
from scfm_eval.results import Result
from scfm_eval.score import Score

FEWEST_MODELS, FEWEST_BLOCKS = 3, 2
"""Below these numbers of models and of blocks there is nothing that a ranking could say."""
LEVEL = 0.05
"""Level of Friedman's test, of the critical difference and of the false discovery rate."""
FEWEST_FOR_CHI_SQUARED = 10
"""With fewer blocks Friedman's p is by permutation; what stays approximate there is said beside it."""
HOW = (
    "A block is a task on a dataset, with the first headline score. Blocks that share cells are not independent, which "
    f"makes every p over blocks rather too small. Below {FEWEST_FOR_CHI_SQUARED} blocks Friedman's p is by "
    "permutation, and p of a pair and the critical difference are approximate."
)
"""What has to be known to believe the tests over blocks."""
PAIRS = (
    "Wins and losses are asked task by task, each by its interval; the critical difference (Nemenyi) and q are asked "
    "over tasks, of average ranks, Nemenyi so that any false alarm among all pairs is rare, q so that few of those "
    "found are false. So a pair may surely differ on tasks and not be told apart over them, or by q and not by Nemenyi."
)
"""What the tests of pairs ask, and why they may disagree."""
COSTS = ("throughput",)
"""Tasks that measure a cost; a ranking of quality leaves them out."""

_N_PERMUTATIONS, _SEED = 9999, 0
_COLUMNS = ("block", "model", "value", "higher_is_better", "reason")
Place = tuple[str, str]
"""A block and a model."""


@dataclass(frozen=True, eq=False)
class Ranking:
    """Models ranked over blocks; a block is a task on a dataset with its first headline score.

    Parameters
    ----------
    ranks
        Rank of each model (index, best average first) in each block (columns); 1 is best, ties share the mean.
    average
        Average rank by model, best first.
    share_won
        Share of duels won by model, by the value alone, 0 to 1, over all blocks and opponents; a tie is half a win.
    firsts
        Share of blocks in which the model is the best, 0 to 1; models that share the place share the block.
    friedman_p
        p-value of Friedman's test that all models are alike; NaN is undefined.
    critical_difference
        Difference of average ranks from which two models are told apart (Nemenyi, 0.05); NaN is undefined.
    groups
        Sets of models that are not told apart, best first; all of them where Friedman's test does not reject.
    left_out
        Models and blocks that are not ranked, and why.
    reason
        Why there is no ranking; empty where there is.
    """

    ranks: pd.DataFrame
    average: pd.Series[float]
    share_won: pd.Series[float]
    firsts: pd.Series[float]
    friedman_p: float = math.nan
    critical_difference: float = math.nan
    groups: tuple[tuple[str, ...], ...] = ()
    left_out: Mapping[str, str] = field(default_factory=dict)
    reason: str = ""

    def conclusions(self) -> list[str]:
        """Return in sentences what the tests say, with every model that is not told apart; none without a ranking."""
        if self.reason:
            return []
        if math.isnan(self.friedman_p):
            return ["All models are tied in every block."]
        apart = self.friedman_p < LEVEL
        said = [
            f"Friedman's test: p = {self.friedman_p:.2g}, so the models {'differ' if apart else 'are not told apart'}."
        ]
        if not apart:
            return said
        said.append(
            f"Nemenyi's critical difference: from {self.critical_difference:.2f} average ranks on, two models are told "
            "apart."
        )
        return said + ([f"Not told apart: {', '.join(group)}." for group in self.groups] or ["All are told apart."])


def ranked(reports: Iterable[Report], *, controls: bool = False, tasks: Sequence[str] = ()) -> Ranking:
    """Rank the models of reports over all tasks and datasets.

    Parameters
    ----------
    reports
        Their results are taken together; where one model was measured twice on the same cells, folds and seeds, the
        later report counts.
    controls
        Whether controls are ranked too.
    tasks
        Those to rank over; default all but those that measure a cost.
    """
    chosen, left_out = _chosen(reports, controls=controls, tasks=tasks)
    found = ranks(_frame(chosen))
    return replace(found, left_out=left_out | dict(found.left_out))


def ranks(frame: pd.DataFrame) -> Ranking:
    """Rank models over blocks.

    A model without a value in a block cannot be ranked there, and is never put last. Until each model has a value in
    each block, the model or block that lacks the largest share is left out; of equals the block, then the first name.

    Parameters
    ----------
    frame
        One row per block and model: ``block``, ``model``, ``value`` (NaN is undefined), ``higher_is_better`` and
        ``reason`` (why the value is undefined). :func:`ranked` makes it of reports.
    """
    signs = np.where(frame["higher_is_better"].astype(bool), -1.0, 1.0)
    costs = frame.assign(cost=frame["value"].astype(float) * signs)
    table = costs.pivot(index="model", columns="block", values="cost")
    reasons = frame.pivot(index="model", columns="block", values="reason")
    table, left_out = _complete(table.replace([np.inf, -np.inf], np.nan), reasons)
    n_models, n_blocks = table.shape
    if n_models < FEWEST_MODELS or n_blocks < FEWEST_BLOCKS:
        reason = (
            f"{n_models} models have a value in each of {n_blocks} blocks; "
            f"a ranking needs {FEWEST_MODELS} models and {FEWEST_BLOCKS} blocks"
        )
        none = pd.Series(dtype=float)
        return Ranking(pd.DataFrame(), none, none, none, left_out=left_out, reason=reason)
    placed = table.rank(axis=0)
    average = placed.mean(axis=1).rename("average").sort_values(kind="stable")
    placed = placed.loc[average.index]
    best = placed.eq(placed.min())
    return Ranking(
        ranks=placed,
        average=average,
        share_won=((n_models - average) / (n_models - 1)).rename("share_won"),
        firsts=(best / best.sum()).mean(axis=1).rename("firsts"),
        friedman_p=(p := friedman(placed.to_numpy())),
        critical_difference=(width := nemenyi_difference(n_models=n_models, n_blocks=n_blocks)),
        groups=_groups(average, width) if p < LEVEL else (tuple(average.index),),
        left_out=left_out,
    )


def friedman(ranks: NDArray[np.floating]) -> float:
    """Return the p-value of Friedman's test, ties corrected; doi:10.1080/01621459.1937.10503522.

    Parameters
    ----------
    ranks
        Rank of each model in each block ``(n_models, n_blocks)``, three models or more.

    Returns
    -------
    p-value; NaN where all models are tied in every block. It is by the chi-squared approximation, which is rather too
    large where blocks are few: below ``FEWEST_FOR_CHI_SQUARED`` it is by permutation within blocks, exact where there
    are fewer than 10,000 of these.
    """
    if np.ptp(ranks, axis=0).max() == 0:
        return math.nan
    if ranks.shape[1] >= FEWEST_FOR_CHI_SQUARED:
        return float(stats.friedmanchisquare(*ranks).pvalue)
    found = stats.permutation_test(
        tuple(ranks),
        _spread_of_sums,
        permutation_type="samples",
        vectorized=True,
        n_resamples=_N_PERMUTATIONS,
        batch=100,
        alternative="greater",
        rng=_SEED,
    )
    return float(found.pvalue)


def _spread_of_sums(*ranks: NDArray[np.float64], axis: int) -> NDArray[np.float64]:
    """Return what Friedman's statistic grows with: the squared rank sums of the models, added up."""
    squared: NDArray[np.float64] = np.sum([of_model.sum(axis=axis) ** 2 for of_model in ranks], axis=0)
    return squared


def nemenyi_difference(*, n_models: int, n_blocks: int, level: float = LEVEL) -> float:
    """Return the difference of average ranks from which two models differ, over all pairs (Demšar 2006, section 3.2.2).

    Parameters
    ----------
    n_models, n_blocks
        Two or more models, and the number of blocks.
    level
        Chance that any two models that are alike are told apart.
    """
    quantile = stats.studentized_range.ppf(1 - level, n_models, np.inf) / math.sqrt(2)
    return float(quantile * _spread(n_models, n_blocks))


def duels(reports: Iterable[Report], ranking: Ranking, *, tasks: Sequence[str] = ()) -> pd.DataFrame:
    """Compare every two ranked models block by block.

    Parameters
    ----------
    reports, tasks
        What ``ranking`` was made from.
    ranking
        The models and blocks that count.

    Returns
    -------
    One row per pair: ``left``, ``right``; the blocks that left ``wins``, ``ties`` and ``losses``, where the interval
    of the paired difference says so; those without such an interval, in none of these, in which its value is the
    better one (``better_by_value``) or the worse one (``worse_by_value``); ``p`` of the difference of average ranks
    (two-sided, normal), and ``q``, which is p corrected over all pairs (Benjamini–Hochberg).
    """
    found, _ = _chosen(reports, controls=True, tasks=tasks)
    scores = {
        (block, model): (result := found[block, model])[result.first_headline]
        for block in ranking.ranks.columns
        for model in ranking.average.index
    }
    rows = [_duel(scores, ranking, pair) for pair in combinations(ranking.average.index, 2)]
    columns = ["left", "right", "wins", "ties", "losses", "better_by_value", "worse_by_value", "p"]
    frame = pd.DataFrame(rows, columns=columns)
    return frame.assign(q=benjamini_hochberg(frame["p"].astype(float)))


def _duel(scores: Mapping[Place, Score], ranking: Ranking, pair: tuple[str, str]) -> tuple[object, ...]:
    fought = [(scores[block, pair[0]], scores[block, pair[1]]) for block in ranking.ranks.columns]
    standings = [left.standing(right) for left, right in fought]
    by_value = [_by_value(*both) for both, sure in zip(fought, standings, strict=True) if sure is None]
    away = abs(float(ranking.average[pair[0]] - ranking.average[pair[1]]))
    p = 2 * stats.norm.sf(away / _spread(*ranking.ranks.shape))
    surely = [standings.count(1), standings.count(0), standings.count(-1)]
    return *pair, *surely, by_value.count(1), by_value.count(-1), float(p)


def _by_value(left: Score, right: Score) -> int:
    difference = float(left) - float(right)
    return int(np.sign(difference if left.higher_is_better else -difference))


def _spread(n_models: int, n_blocks: int) -> float:
    """Return the standard deviation of a difference of two average ranks where all models are alike."""
    return math.sqrt(n_models * (n_models + 1) / (6 * n_blocks))


def _groups(average: pd.Series[float], width: float) -> tuple[tuple[str, ...], ...]:
    ends = np.searchsorted(average.to_numpy(), average.to_numpy() + width, side="left")
    further = np.r_[True, ends[1:] > ends[:-1]]
    return tuple(
        tuple(average.index[start:end]) for start, end in enumerate(ends) if further[start] and end - start > 1
    )


def _complete(table: pd.DataFrame, reasons: pd.DataFrame) -> tuple[pd.DataFrame, dict[str, str]]:
    whole = table
    while table.isna().to_numpy().any():
        of_block, of_model = (table.isna().mean(axis=axis) for axis in (0, 1))
        if of_block.max() >= of_model.max():
            table = table.drop(columns=of_block.idxmax())
        else:
            table = table.drop(index=of_model.idxmax())
    models, blocks = whole.index.difference(table.index), whole.columns.difference(table.columns)
    of_models = {model: _lacking(whole.loc[model], reasons.loc[model]) for model in models}
    return table, of_models | {block: _lacking(whole[block], reasons[block]) for block in blocks}


def _lacking(values: pd.Series[float], reasons: pd.Series[str]) -> str:
    missing = values.isna()
    said = reasons[missing & reasons.fillna("").astype(bool)]
    example = f", e.g. {said.index[0]}: {said.iloc[0]}" if len(said) else ""
    return f"no value for {missing.sum()} of {len(values)} {values.index.name}s{example}"


def _frame(chosen: Mapping[Place, Result]) -> pd.DataFrame:
    rows = []
    for (block, model), result in chosen.items():
        record = result.scores[result.first_headline]
        rows.append((block, model, record.value, record.higher_is_better, record.reason))
    return pd.DataFrame(rows, columns=list(_COLUMNS))


def _chosen(
    reports: Iterable[Report], *, controls: bool, tasks: Sequence[str]
) -> tuple[dict[Place, Result], dict[str, str]]:
    """Return the result by block and model, and what is left out before any model is looked at."""
    by_block: dict[str, dict[str, dict[str, Result]]] = {}
    left_out = {}
    for result in (result for report in reports for result in report.results):
        if result.first_headline not in result.scores:
            continue
        block = f"{result.task}, {result.dataset.name}: {result.first_headline}"
        if result.task not in tasks and (tasks or result.task in COSTS):
            left_out[block] = "not asked for" if tasks else "a cost, not a quality"
        elif controls or result.model.role != "control":
            by_block.setdefault(block, {}).setdefault(result.pairing, {})[result.model.name] = result
    found = {}
    for block, by_pairing in by_block.items():
        most = max(by_pairing.values(), key=len)
        found.update({(block, model): result for model, result in most.items()})
        if len(by_pairing) > 1:
            fewer = sorted({model for other in by_pairing.values() for model in other} - set(most))
            left_out[f"{block}, measured again"] = (
                f"on other cells, folds or seeds: only those that most models share are ranked"
                f"{'; without ' + ', '.join(fewer) if fewer else ''}"
            )
    return found, left_out
