"""The counts of the last day: for each route four rings of rows, from fine to coarse."""

from __future__ import annotations

from array import array
from math import inf, isnan, nan
from typing import TYPE_CHECKING

from headgate_admin.model.kinds import POINTS, SPANS_S
from headgate_admin.record import figures

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from headgate_admin.model.kinds import Span
    from headgate_admin.record.figures import Row

FINEST_S = SPANS_S["15m"] // POINTS  # how often a row is taken: 5 s
FEWEST_POINTS = 6  # half a minute of the shortest span, if there are data in its last seconds only
# Single precision counts exactly up to 16 million in a row, and halves the memory of a route:
# 103 columns, 180 points and 4 rings are some 300 kB.
NUMBER = "f"


class Ring:
    """The last POINTS rows of a route, each of `step_s` seconds; what is added to one adds up."""

    def __init__(self, step_s: int) -> None:
        self._step_s = step_s
        self._numbers = array(NUMBER, [nan]) * (POINTS * figures.WIDTH)
        self._newest: int | None = None  # a slot: the moment divided by the step

    def add(self, at: float, row: Row) -> None:
        """Count a row at its moment. One before the newest: the clock was set back.

        What was recorded after that moment is forgotten: those times are yet to come.
        """
        slot = int(at // self._step_s)
        newest = slot if self._newest is None else self._newest
        first, last = sorted((newest, slot))
        for cleared in range(max(first, last - POINTS) + 1, last + 1):
            self._put(cleared, [nan] * figures.WIDTH)
        if slot <= newest - POINTS:
            self._put(slot, [nan] * figures.WIDTH)
        self._newest = slot
        before = self._get(slot)
        self._put(slot, row if before is None else figures.summed((before, row)) or row)

    def rows(self, until: float) -> list[Row | None]:
        """Return POINTS rows, the last of the moment `until`; None where nothing was recorded."""
        last = int(until // self._step_s)
        return [self.row(slot) for slot in range(last - POINTS + 1, last + 1)]

    def row(self, slot: int) -> Row | None:
        """Return the row of a slot; None outside the ring."""
        if self._newest is None or not self._newest - POINTS < slot <= self._newest:
            return None
        return self._get(slot)

    def _get(self, slot: int) -> Row | None:
        begin = slot % POINTS * figures.WIDTH
        if isnan(self._numbers[begin]):
            return None
        return self._numbers[begin : begin + figures.WIDTH]

    def _put(self, slot: int, row: Row) -> None:
        begin = slot % POINTS * figures.WIDTH
        self._numbers[begin : begin + figures.WIDTH] = array(NUMBER, row)


class History:
    """The rings of the routes of the settings."""

    def __init__(self, prefixes: Iterable[str]) -> None:
        self.routes: dict[str, dict[Span, Ring]] = {}
        self._since = inf  # the moment of the first row
        self.keep(prefixes)

    def keep(self, prefixes: Iterable[str]) -> None:
        """Have rings for these routes alone; routes that were there before keep theirs."""
        self.routes = {
            prefix: self.routes.get(prefix) or {span: Ring(step(span)) for span in SPANS_S}
            for prefix in prefixes
        }

    def add(self, at: float, rows: Mapping[str, Row]) -> None:
        """Count the rows of routes at a moment."""
        if rows:  # the first look has totals only, from which the next one counts
            self._since = min(self._since, at)
        for prefix, row in rows.items():
            # A route that a reload has removed may have been counted before.
            for ring in self.routes.get(prefix, {}).values():
                ring.add(at, row)

    def _ring(self, prefix: str, span: Span) -> Ring:
        """Return a route's ring, without rows for one that a reload has removed."""
        rings = self.routes.get(prefix)
        return Ring(step(span)) if rings is None else rings[span]

    def of(self, prefix: str, span: Span, until: float) -> list[Row | None]:
        """Return the rows of a route from `start` on, oldest first."""
        return self._ring(prefix, span).rows(until)[self._begin(span, until) :]

    def start(self, span: Span, until: float) -> float:
        """Return the moment at which the first row begins: that of the first data, if in the span.

        It is the same for all routes, so that what is drawn of them has one axis of time.
        """
        first = int(until // step(span)) - POINTS + 1
        return (first + self._begin(span, until)) * float(step(span))

    def _begin(self, span: Span, until: float) -> int:
        """Return the number of points of the span before the first data."""
        first = int(until // step(span)) - POINTS + 1
        return int(max(0, min(self._since // step(span) - first, POINTS - FEWEST_POINTS)))

    def now(self, prefix: str, until: float) -> Row | None:
        """Return the sum of a route's last whole steps: fresh, and steadier than a single one."""
        last = int(until // FINEST_S)
        ring = self._ring(prefix, "15m")
        return figures.summed(map(ring.row, range(last - NOW_STEPS + 1, last + 1)))


NOW_STEPS = 3


def step(span: Span) -> int:
    """Return the seconds of a point in this span."""
    return SPANS_S[span] // POINTS
