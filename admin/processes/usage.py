"""The use of a machine over time: processor, memory, descriptors, loop lag, connections."""

from __future__ import annotations

import math
from array import array
from typing import TYPE_CHECKING, NamedTuple

from admin.model.charts import Chart, Line
from admin.model.kinds import POINTS, SPANS_S
from admin.model.processes import UsageCharts

if TYPE_CHECKING:
    from collections.abc import Iterable

    from admin.model.kinds import Span

FIGURES = ("processor", "memory", "files", "loop_lag", "connections")
WIDTH = len(FIGURES)


class UsageFigures(NamedTuple):
    """The figures of a process, or of all processes of a gateway; None for what is not known."""

    processor: float | None = None
    memory: float | None = None
    files: float | None = None
    loop_lag: float | None = None
    connections: float | None = None


class UsageRing:
    """The last POINTS points of a span: the highest figures in `step_s` seconds each."""

    def __init__(self, step_s: int) -> None:
        self._step_s = step_s
        # Single precision is enough for a chart, and a ring takes 4 kB.
        self._numbers = array("f", [math.nan]) * (POINTS * WIDTH)
        self._newest: int | None = None  # a slot: the moment divided by the step

    def add(self, at: float, figures: UsageFigures) -> None:
        """Raise the point of a moment to these figures; one older than the ring is dropped."""
        slot = int(at // self._step_s)
        newest = slot if self._newest is None else self._newest
        if slot <= newest - POINTS:
            return
        for cleared in range(max(newest + 1, slot - POINTS + 1), slot + 1):
            begin = cleared % POINTS * WIDTH
            self._numbers[begin : begin + WIDTH] = array("f", [math.nan]) * WIDTH
        self._newest = max(newest, slot)
        begin = slot % POINTS * WIDTH
        for index, number in enumerate(figures, begin):
            before = self._numbers[index]
            if number is not None and not number <= before:
                self._numbers[index] = number

    def values(self, figure: str, until: float) -> tuple[float | None, ...]:
        """Return POINTS values of a figure, the last of the moment `until`."""
        last, column = int(until // self._step_s), FIGURES.index(figure)
        slots = range(last - POINTS + 1, last + 1)
        return tuple(self._value(slot, column) for slot in slots)

    def _value(self, slot: int, column: int) -> float | None:
        if self._newest is None or not self._newest - POINTS < slot <= self._newest:
            return None
        number = self._numbers[slot % POINTS * WIDTH + column]
        return None if math.isnan(number) else number


class UsageHistory:
    """The rings of all spans, for one process or gateway: 15 kB."""

    def __init__(self) -> None:
        self._rings = {span: UsageRing(seconds // POINTS) for span, seconds in SPANS_S.items()}

    def add(self, at: float, figures: UsageFigures) -> None:
        """Add the figures of a moment."""
        for ring in self._rings.values():
            ring.add(at, figures)

    def values(self, figure: str, span: Span, until: float) -> tuple[float | None, ...]:
        """Return the values of a figure over a span, oldest first."""
        return self._rings[span].values(figure, until)


def charts(histories: Iterable[tuple[str, UsageHistory]], span: Span, until: float) -> UsageCharts:
    """Return a chart of each figure, with a line for each named history that has values."""
    named = list(histories)
    step = SPANS_S[span] // POINTS
    start = (int(until // step) - POINTS + 1) * float(step)

    def chart(figure: str) -> Chart:
        lines = []
        for colour, (name, history) in enumerate(named):
            values = history.values(figure, span, until)
            if any(value is not None for value in values):
                lines.append(Line(name, values, colour))
        return Chart(start, float(step), tuple(lines))

    return UsageCharts(**{figure: chart(figure) for figure in FIGURES})
