"""Whether a score can tell on a dataset what is good from noise: the guard `power`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from scfm_eval import guards
from scfm_eval.guards import Finding
from scfm_eval.results import Result
from scfm_eval.side_by_side import side_by_side

_ORACLE, _NOISE = "oracle", "random"


def powerless_scores(results: Sequence[Result]) -> list[Finding]:
    """Return each headline score that cannot tell the oracle from noise on a dataset, as findings of ``power``."""
    with guards.listening() as found:
        for (_, dataset), same in side_by_side(results).items():
            controls = {result.model.name: result for result in same if result.model.role == "control"}
            if {_ORACLE, _NOISE} <= controls.keys():
                for name in _powerless(controls[_ORACLE], controls[_NOISE]):
                    guards.tell(
                        "power",
                        asked=f"{name} of {same[0].task} on {dataset}",
                        found=f"{same[0].task} {name} on {dataset} does not tell the oracle from noise",
                        remedy="read nothing from it there: take a larger dataset, or one with other labels",
                    )
    return found


def _powerless(oracle: Result, noise: Result) -> Iterator[str]:
    for name in oracle.headline:
        if any(not control.scores.get(name) or control.scores[name].value is None for control in (oracle, noise)):
            continue
        best, worst = oracle[name], noise[name]
        made = best.compare(worst, ">" if best.higher_is_better else "<")
        if made.reason or not made.holds:
            yield name
