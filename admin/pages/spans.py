"""Spans of time that pages show, from the first moment with data on.

All charts and histories of a page begin at the same moment, and so share one axis of time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from msgspec.structs import replace

from admin.model.charts import Chart, HeatMap, Stat

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import msgspec

    from admin.model.events import EventMark
    from admin.model.kinds import Span

S = TypeVar("S", bound="msgspec.Struct")
SPANS: dict[Span, str] = {"15m": "15 min", "1h": "1 h", "6h": "6 h", "24h": "24 h"}
FEWEST_MOMENTS = 6  # half a minute of the shortest span, if there are data in its last seconds only


def first_known(histories: Iterable[Sequence[float | None]]) -> int:
    """Return the index of the first moment with a value; at least FEWEST_MOMENTS follow it."""
    first, length = 0, 0
    for index, values in enumerate(histories):
        length = len(values)
        known = next((at for at, value in enumerate(values) if value is not None), length)
        first = known if index == 0 else min(first, known)
    return max(0, min(first, length - FEWEST_MOMENTS))


def chart_from(chart: Chart, begin: int, marks: tuple[EventMark, ...] = ()) -> Chart:
    """Return a chart from the moment `begin` on, with these marks."""
    lines = tuple(replace(line, values=line.values[begin:]) for line in chart.lines)
    return replace(chart, start=chart.start + begin * chart.step, lines=lines, marks=marks)


def figures_from(figures: S, begin: int, marks: tuple[EventMark, ...] = ()) -> S:
    """Return figures whose charts and histories begin at the moment `begin`."""
    changes: dict[str, object] = {}
    for name in figures.__struct_fields__:
        value = getattr(figures, name)
        if isinstance(value, Chart):
            changes[name] = chart_from(value, begin, marks)
        elif isinstance(value, HeatMap):
            start = value.start + begin * value.step
            changes[name] = replace(value, start=start, counts=value.counts[begin:], marks=marks)
        elif isinstance(value, Stat):
            changes[name] = replace(value, history=value.history[begin:])
    return replace(figures, **changes)
