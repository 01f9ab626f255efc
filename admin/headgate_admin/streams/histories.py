"""The rate and the size of streams while their pages are open: storage has no past of them."""

from __future__ import annotations

from collections import OrderedDict, deque
from typing import TYPE_CHECKING, NamedTuple

from headgate_admin.model.kinds import POINTS
from headgate_admin.model.overview import Chart, Line
from headgate_admin.record.history import FEWEST_POINTS, FINEST_S

if TYPE_CHECKING:
    from headgate_gateway.features.questions.streams import StreamRow

# Streams whose pages were opened last, a few for each operator. Each has POINTS points, of a
# quarter of an hour like the shortest span of the first page: 64 take 2.3 MB.
MOST_STREAMS = 64


class StreamCharts(NamedTuple):
    """The charts of a stream, and the moment (epoch seconds) at which they begin."""

    rate: Chart
    size: Chart
    since: float


class _Point(NamedTuple):
    slot: int  # the moment divided by FINEST_S
    rate: float | None
    size: int | None


class StreamHistories:
    """The last points of the streams that somebody looks at, or looked at lately."""

    def __init__(self) -> None:
        self._streams: OrderedDict[tuple[str, str, str | None], deque[_Point]] = OrderedDict()

    def add(self, route: str, row: StreamRow, now: float) -> StreamCharts:
        """Note a stream as it is now; return the charts since it was noted first.

        While nobody looks they have a gap.
        """
        key, slot = (route, row.name, row.stream_id), int(now // FINEST_S)
        points = self._streams.setdefault(key, deque())
        self._streams.move_to_end(key)
        if len(self._streams) > MOST_STREAMS:
            self._streams.popitem(last=False)
        while points and points[-1].slot >= slot:  # the same step, or the clock was set back
            points.pop()
        points.append(_Point(slot, row.rate, row.size))
        while points[0].slot <= slot - POINTS:
            points.popleft()
        first = min(points[0].slot, slot - FEWEST_POINTS + 1)
        known = {point.slot: point for point in points}
        steps = [known.get(it) for it in range(first, slot + 1)]
        start, step = float(first * FINEST_S), float(FINEST_S)
        rates = Line("appends", tuple(it and it.rate for it in steps))
        sizes = Line("size", tuple(it and it.size for it in steps))
        since = max(points[0].slot * FINEST_S, start)
        return StreamCharts(Chart(start, step, (rates,)), Chart(start, step, (sizes,)), since)
