"""Whose fault it is: what a model raises is the reason why it has no result, and never the end of a run."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from scfm_eval.errors import FailedModelError, InvalidInputError

_LONGEST = 300
_log = logging.getLogger(__name__)


@contextmanager
def blamed_on(name: str, *, asked: str) -> Iterator[None]:
    """Turn what is raised inside, by whatever fault of a model, into the reason why it gave no answer.

    Refusals in three parts are of what the user gave; they stay as they are.

    Parameters
    ----------
    name
        The model.
    asked
        What was asked of it.

    Raises
    ------
    FailedModelError
        Something else than a refusal was raised.
    """
    try:
        yield
    except InvalidInputError:
        raise
    except (Exception, SystemExit) as error:
        _log.debug("%s of %s", asked, name, exc_info=True)
        raise FailedModelError(
            asked=f"{asked} of {name}",
            found=described(error),
            remedy=f"mend {name}; pytest --log-level=DEBUG shows where it failed",
        ) from error


@contextmanager
def owed() -> Iterator[None]:
    """Turn the refusal of an answer, which is not what a model owes, into the reason why it has no result.

    Raises
    ------
    FailedModelError
        The answer was refused.
    """
    try:
        yield
    except FailedModelError:
        raise
    except InvalidInputError as error:
        raise FailedModelError(asked=error.asked, found=error.found, remedy=error.remedy) from error


def described(error: BaseException) -> str:
    """Return the class and the message of an error in one line of at most 300 characters."""
    text = " ".join(str(error).split())
    said = f"{type(error).__name__}: {text}" if text else type(error).__name__
    return said if len(said) <= _LONGEST else f"{said[: _LONGEST - 1]}…"
