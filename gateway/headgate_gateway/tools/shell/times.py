"""Times as people write them on a command line, and as commands print them."""

from __future__ import annotations

import re
from datetime import UTC, datetime

UNITS_S = {"s": 1, "m": 60, "h": 3600, "d": 24 * 3600}


def age_s(text: str) -> int | None:
    """Return an age such as 30m, 6h or 7d in seconds, or None for other text."""
    found = re.fullmatch(r"(\d{1,9})([smhd])", text)
    return None if found is None else int(found[1]) * UNITS_S[found[2]]


def age_words(seconds: float) -> str:
    """Return an age in its largest unit of which there are at least two, as `age_s` takes it."""
    units = reversed(UNITS_S.items())
    name, length = next(((name, it) for name, it in units if seconds >= 2 * it), ("s", 1))
    return f"{int(seconds // length)}{name}"


def utc(moment: float | None) -> str | None:
    """Return a moment in epoch seconds as text in UTC, and None for none."""
    if moment is None:
        return None
    return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
