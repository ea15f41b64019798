"""Whether two reports say the same: all but when, how fast and from which command."""

from __future__ import annotations

from scfm_eval.report import Report

_OF_THE_RUN = ("created", "command", "resumed")
_OF_THE_MAKING = ("seconds", "peak_memory_bytes", "from_store")


def differences(one: Report, other: Report) -> list[str]:
    """Return where two reports differ, with both values; timings are compared by who was timed, not by how long."""
    left, right = _flat(_lasting(one)), _flat(_lasting(other))
    return [
        f"{place}: {left.get(place, 'absent')} and {right.get(place, 'absent')}"
        for place in sorted({*left, *right})
        if left.get(place, "absent") != right.get(place, "absent")
    ]


def _lasting(report: Report):
    plain = report.model_dump(mode="json", exclude=set(_OF_THE_RUN))
    timed = {result.task for result in report.results if not result.arrays and not result.failure}
    for result in plain["results"]:
        for name in (*_OF_THE_MAKING, *(("scores", "details") if result["task"] in timed else ())):
            del result[name]
    for verdict in plain["verdicts"]:
        if any(f"test_{task}.py" in verdict["claim"] for task in timed):
            del verdict["outcome"], verdict["reason"], verdict["comparisons"]
    return plain


def _flat(value, place=""):
    if isinstance(value, dict):
        parts = value.items()
    elif isinstance(value, list):
        parts = enumerate(value)
    else:
        return {place: value}
    return {name: leaf for key, part in parts for name, leaf in _flat(part, f"{place}/{key}").items()} or {place: value}
