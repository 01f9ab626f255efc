"""Times as commands print them."""

from __future__ import annotations

from datetime import UTC, datetime

from headgate_gateway.settings.reading.units import UNITS_S


def age_words(seconds: float) -> str:
    """Return an age in its largest unit of which there are at least two, as options take it."""
    units = reversed(UNITS_S.items())
    name, length = next(((name, it) for name, it in units if seconds >= 2 * it), ("s", 1))
    return f"{int(seconds // length)}{name}"


def utc(moment: float | None) -> str | None:
    """Return a moment in epoch seconds as text in UTC, and None for none."""
    if moment is None:
        return None
    return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
