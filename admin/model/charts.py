"""Numbers over time: a line, a chart, a heat map, a number with its history."""

from __future__ import annotations

import msgspec


class Line(msgspec.Struct, frozen=True):
    """A series of a chart: a value for each of the chart's moments, None where it is unknown."""

    name: str
    values: tuple[float | None, ...]


class Chart(msgspec.Struct, frozen=True):
    """Lines over the same moments, of which the first is `start` and each `step` seconds on."""

    start: float
    step: float
    lines: tuple[Line, ...]


class HeatMap(msgspec.Struct, frozen=True):
    """The delays of deliveries: for each moment a count for each bucket.

    A bucket is up to its bound in seconds; the last one has no bound.
    """

    start: float
    step: float
    bounds: tuple[float, ...]
    counts: tuple[tuple[float, ...] | None, ...]


class Stat(msgspec.Struct, frozen=True):
    """A number of the overview with its history, oldest first."""

    value: float | None
    history: tuple[float | None, ...]
    before: float | None = None  # what it was an hour ago
