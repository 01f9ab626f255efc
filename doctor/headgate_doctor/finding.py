"""The finding of a check, the names of checks and advice, and what keeps a check from looking."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TypeAlias

from headgate.errors import StreamError

Check: TypeAlias = str  # the name of a check, as in the table of `examination`
Advice: TypeAlias = str  # a check, or another cause behind its failure: a key of `ADVICE`


class ProbeFailed(Exception):
    """A check or an examination ends here; the message says why, without its full stop."""


# What ends a check with a sentence: its own reasons, and those of the streams that it asks.
FAILURES = (ProbeFailed, StreamError)


class CheckVerdict(StrEnum):
    """The verdict of a check."""

    PASS = "pass"
    FAIL = "fail"
    UNKNOWN = "could not tell"
    NOTE = "note"


@dataclass(frozen=True, slots=True)
class Finding:
    """A check, how it ended, and what was seen: sentences without the last full stop."""

    check: Check
    verdict: CheckVerdict
    saw: str
    # What to do about it, if that is not the usual advice for this check.
    advice: Advice | None = None

    @property
    def is_pass(self) -> bool:
        """True if the check passed."""
        return self.verdict is CheckVerdict.PASS

    @property
    def is_failure(self) -> bool:
        """True if something must be changed."""
        return self.verdict is CheckVerdict.FAIL


def passed(check: Check, saw: str) -> Finding:
    """Return the finding of a check that passed."""
    return Finding(check, CheckVerdict.PASS, saw)


def failed(check: Check, saw: str, advice: Advice | None = None) -> Finding:
    """Return the finding of a check that failed: something has to be changed."""
    return Finding(check, CheckVerdict.FAIL, saw, advice)


def noted(check: Check, saw: str) -> Finding:
    """Return the finding of a fact that may be intended."""
    return Finding(check, CheckVerdict.NOTE, saw)


def unknown(check: Check, saw: str) -> Finding:
    """Return the finding of a check that could not decide."""
    return Finding(check, CheckVerdict.UNKNOWN, saw)
