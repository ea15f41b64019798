"""The one way in which the suite refuses something: what was asked, what was found, what to do."""

from scfm_eval.printable import printable


class InvalidInputError(ValueError):
    """Something the user gave cannot be used.

    Parameters
    ----------
    asked
        What was asked for, e.g. ``"dataset my.h5ad with raw counts in X"``.
    found
        What was found instead.
    remedy
        What to do about it.
    """

    def __init__(self, *, asked: str, found: str, remedy: str) -> None:
        # names out of strangers' files are in it
        self.asked, self.found, self.remedy = printable(asked), printable(found), printable(remedy)
        super().__init__(f"asked: {self.asked}\nfound: {self.found}\nto do: {self.remedy}")

    def __reduce__(self) -> tuple[object, ...]:
        return (_rebuild, (type(self), self.asked, self.found, self.remedy))


class FailedModelError(InvalidInputError):
    """A model that crashed, ran out of time, or gave no answer: a result with a reason, not the end of a run."""


class UnknownGeneError(InvalidInputError):
    """A gene that a model does not know: an answer that it cannot have, not a fault."""


def _rebuild(cls: type[InvalidInputError], asked: str, found: str, remedy: str) -> InvalidInputError:
    return cls(asked=asked, found=found, remedy=remedy)
