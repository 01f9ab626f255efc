"""With how many examples a property is tried: a quarter in `make test`, all in `make torture`."""

from __future__ import annotations

import os

WHOLE = 100  # Hypothesis's own number, for properties that do not say another one
IS_WHOLE = os.environ.get("EXAMPLES") == "whole"
SHARE = 4
FEWEST = 20


def examples(number: int = WHOLE) -> int:
    """Return how many of this number of examples are to be tried in this run."""
    return number if IS_WHOLE else min(number, max(FEWEST, number // SHARE))


def at_least(number: int, sure: int = 1) -> int:
    """Return how many of all examples are to be of a kind; of a few, as many as are no chance."""
    return number if IS_WHOLE else sure
