"""Units of time and size, for the bounds and defaults of settings."""

from __future__ import annotations

MINUTE_S = 60
HOUR_S = 60 * MINUTE_S
DAY_S = 24 * HOUR_S
YEAR_S = 365 * DAY_S
GIB = 1 << 30  # bytes
