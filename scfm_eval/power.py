"""Whether a score can tell on a dataset what is good from noise: the guard `power`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from scfm_eval import guards
from scfm_eval.chance import BEST_BY_NOISE
from scfm_eval.guards import Finding
from scfm_eval.results import Result
from scfm_eval.side_by_side import side_by_side

_ORACLE, _NOISE = "oracle", "random"


def powerless_scores(results: Sequence[Result]) -> list[Finding]:
    """Return each headline score that cannot tell the oracle from noise on a dataset, as findings of ``power``.

    A score can where the oracle or a baseline is surely better than noise: of some scores, as those of the geometry of
    types, the labels that the oracle is made of are not what is asked for. Tasks and datasets without both controls are
    passed over, and so are scores in :data:`~scfm_eval.chance.BEST_BY_NOISE`.
    """
    with guards.listening() as found:
        for (_, dataset), same in side_by_side(results).items():
            controls = {result.model.name: result for result in same if result.model.role == "control"}
            if {_ORACLE, _NOISE} <= controls.keys():
                known = [controls[_ORACLE], *(result for result in same if result.model.role == "baseline")]
                for name in _powerless(known, controls[_NOISE]):
                    guards.tell(
                        "power",
                        asked=f"{name} of {same[0].task} on {dataset}",
                        found=f"{same[0].task} {name} on {dataset} does not tell the oracle from noise",
                        remedy="read nothing from it there: take a larger dataset, or one with other labels",
                    )
    return found


def _powerless(known: Sequence[Result], noise: Result) -> Iterator[str]:
    for name in known[0].headline:
        if name in BEST_BY_NOISE or not all(_has_value(control, name) for control in (known[0], noise)):
            continue
        if not any(_beats(result, noise, name) for result in known if _has_value(result, name)):
            yield name


def _has_value(result: Result, name: str) -> bool:
    return name in result.scores and result.scores[name].value is not None


def _beats(result: Result, noise: Result, name: str) -> bool:
    best, worst = result[name], noise[name]
    made = best.compare(worst, ">" if best.higher_is_better else "<")
    return made.holds and not made.reason
