"""What a check has found."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gateway.commands.cdn_doctor.hints import Check


class Verdict(StrEnum):
    """How a check ended."""

    PASS = "pass"
    FAIL = "fail"
    UNKNOWN = "could not tell"


@dataclass(frozen=True, slots=True)
class Finding:
    """A check, how it ended, and what was seen: sentences without the last full stop."""

    check: Check
    verdict: Verdict
    saw: str


def passed(check: Check, saw: str) -> Finding:
    """All is as it should be."""
    return Finding(check, Verdict.PASS, saw)


def failed(check: Check, saw: str) -> Finding:
    """Something is to be changed."""
    return Finding(check, Verdict.FAIL, saw)


def unknown(check: Check, saw: str) -> Finding:
    """Nothing that was seen decides it."""
    return Finding(check, Verdict.UNKNOWN, saw)
