"""The rate and the size of streams while their pages are open: storage has no past of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from headgate_admin.model.kinds import POINTS
from headgate_admin.model.overview import Chart, Line
from headgate_admin.record.history import FEWEST_POINTS, FINEST_S

if TYPE_CHECKING:
    from headgate_gateway.features.questions.streams import StreamRow

    Points = dict[int, tuple[float | None, int | None]]  # by their moment divided by FINEST_S

# Streams whose pages were opened last, a few for each operator. Each has POINTS points, of a
# quarter of an hour like the shortest span of the first page: 64 take 2.3 MB.
MOST_STREAMS = 64


class StreamCharts(NamedTuple):
    """The charts of a stream, and the moment (epoch seconds) at which they begin."""

    rate: Chart
    size: Chart
    since: float


class StreamHistories:
    """The last points of the streams that somebody looks at, or looked at lately."""

    def __init__(self) -> None:
        self._streams: dict[tuple[str, str, str | None], Points] = {}

    def add(self, route: str, row: StreamRow, now: float) -> StreamCharts:
        """Note a stream as it is now; return the charts since it was noted first.

        While nobody looks they have a gap.
        """
        key, slot = (route, row.name, row.stream_id), int(now // FINEST_S)
        before = self._streams.pop(key, {})
        # Those after now are from before the clock was set back.
        points = {it: point for it, point in before.items() if slot - POINTS < it < slot}
        points[slot] = row.rate, row.size
        self._streams[key] = points
        if len(self._streams) > MOST_STREAMS:
            del self._streams[next(iter(self._streams))]
        first = min(*points, slot - FEWEST_POINTS + 1)
        steps = (points.get(it, (None, None)) for it in range(first, slot + 1))
        rates, sizes = zip(*steps, strict=True)
        axis = float(first * FINEST_S), float(FINEST_S)
        rate, size = Chart(*axis, (Line("appends", rates),)), Chart(*axis, (Line("size", sizes),))
        return StreamCharts(rate, size, float(min(points) * FINEST_S))
