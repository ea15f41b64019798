"""Which models are checked, and which checks a card says that its model does not pass."""

from __future__ import annotations

import pytest


def pytest_ignore_collect(collection_path, config):
    """Leave what comes with the package out when models were named."""
    own = ("test_golden_models.py", "test_made_models.py", "test_with_batches.py")
    return True if collection_path.name in own and config.getoption("--model") else None


@pytest.fixture(autouse=True)
def _declared_exception(request):
    """Expect a check to fail that the card declares as an exception; if it passes, the declaration is stale."""
    if "subject" not in request.fixturenames:
        return
    about = request.getfixturevalue("subject").about
    reason = about.exceptions.get(request.node.originalname.removeprefix("test_"))
    if reason is not None:
        request.applymarker(pytest.mark.xfail(reason=reason, strict=True))
