"""Units of time and size: for the bounds and defaults of settings, and as people write them."""

from __future__ import annotations

import re

MINUTE_S = 60
HOUR_S = 60 * MINUTE_S
DAY_S = 24 * HOUR_S
YEAR_S = 365 * DAY_S
GIB = 1 << 30  # bytes

DURATION_KIND = "90s, 5m, 1h or 2d"  # examples
DURATION = r"(\d{1,18}(?:\.\d{1,9})?)\s*([smhd])"  # more digits are a mistake
UNITS_S = {"s": 1, "m": MINUTE_S, "h": HOUR_S, "d": DAY_S}


def seconds_of(text: str) -> float | int | None:
    """Return a duration with a unit, such as 5m or 1.5h, in seconds; None for other text."""
    match = re.fullmatch(DURATION, text, re.ASCII)
    if match is None:
        return None
    seconds = round(float(match[1]) * UNITS_S[match[2]], 9)
    return int(seconds) if seconds.is_integer() else seconds
