"""The abilities of a log that a test needs."""

from __future__ import annotations

from typing import TypeVar

T = TypeVar("T")


def needed(ability: T | None) -> T:
    """Return an ability of a log, as in `needed(log.listing)`; a log without it fails the test."""
    assert ability is not None, "the log of this test lacks an ability that the test needs"
    return ability
