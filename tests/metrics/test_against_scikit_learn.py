"""scikit-learn as the second implementation; ``python -m tests.reliability.agreement`` prints the differences."""

from __future__ import annotations

import pytest

from tests.reliability.agreement import by_scikit_learn

NAMES = tuple(by_scikit_learn(0))


@pytest.mark.parametrize("name", NAMES)
def test_equals_scikit_learn(name):
    for seed in (1, 2):
        ours, other = by_scikit_learn(seed)[name]
        assert ours == pytest.approx(other, abs=1e-9)
