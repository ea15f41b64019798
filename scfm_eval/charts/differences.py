"""Critical differences: average ranks over tasks, and which models these do not tell apart."""

from __future__ import annotations

from typing import Any

import altair as alt

from scfm_eval.charts.figure import GROUPS, Figure, data_of, looks, sentences
from scfm_eval.errors import InvalidInputError
from scfm_eval.ranking import Ranking
from scfm_eval.wording import counted

_ROW = 22


def critical_difference(ranking: Ranking) -> Figure:
    """Draw the average rank of each model, and a bar over each set of models that are not told apart.

    Raises
    ------
    InvalidInputError
        There is no ranking.
    """
    if ranking.reason:
        raise InvalidInputError(
            asked="a figure of a ranking", found=ranking.reason, remedy="rank more models over more tasks"
        )
    n_models, n_blocks = ranking.ranks.shape
    return Figure(
        name="critical-difference",
        task="",
        title=f"Average ranks of {counted(n_models, 'model')} over {n_blocks} tasks and datasets",
        alt=_said(ranking),
        chart=_chart(ranking),
    )


def _said(ranking: Ranking) -> str:
    best, last = ranking.average.index[0], ranking.average.index[-1]
    seen = sentences(
        f"{best} has the best average rank with {ranking.average.iloc[0]:.2f}, {last} the last with "
        f"{ranking.average.iloc[-1]:.2f}, over {counted(ranking.ranks.shape[1], 'block')}",
    )
    return " ".join([seen, *ranking.conclusions()])


def _chart(ranking: Ranking) -> Any:
    width = ranking.critical_difference
    models = [
        {"row": name, "rank": float(rank), "low": None, "high": None, "said": f"{rank:.2f}"}
        for name, rank in ranking.average.items()
    ]
    ends = [(ranking.average[group[0]], ranking.average[group[-1]]) for group in ranking.groups]
    bars: list[dict[str, Any]] = [
        {"row": "critical difference", "rank": None, "low": 1.0, "high": 1.0 + width, "said": "", "colour": GROUPS[6]},
        *(
            {"row": f"not told apart {number}", "rank": None, "low": low, "high": high, "said": "", "colour": GROUPS[3]}
            for number, (low, high) in enumerate(ends, start=1)
        ),
    ]
    order = [*map(str, ranking.average.index), *(str(bar["row"]) for bar in bars)]
    scale = alt.Scale(domain=[0.75, max(len(models), 1 + width) + 0.25], nice=False, zero=False)
    base = alt.Chart().encode(y=alt.Y("row:N", sort=order, title=None))
    rank = alt.X("rank:Q", title="average rank, 1 is best", scale=scale)
    layers = [
        base.mark_rule(strokeWidth=5).encode(
            x=alt.X("low:Q", scale=scale), x2="high", color=alt.Color("colour:N", scale=None)
        ),
        base.mark_point(filled=True, size=60, opacity=1, color=GROUPS[0]).encode(x=rank, tooltip=["row:N", "rank:Q"]),
        base.mark_text(dy=-9).encode(x=rank, text="said:N"),
    ]
    chart = alt.layer(*layers, data=data_of([*models, *bars]), width="container", height=alt.Step(_ROW))
    return chart.configure(**looks())
