"""The page of processes: what each one of this gateway uses, and how often it was replaced."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

from admin.pages.console_page import ConsolePage
from admin.pages.rendering import TemplatePage
from admin.pages.visit import frame

if TYPE_CHECKING:
    from admin.model.charts import Chart, Line
    from admin.pages.visit import Visit

PATH = "/processes"
MOST_LINES = 6  # of a chart that can be told apart; the table has every process


async def show(visit: Visit) -> TemplatePage:
    """Return the processes at the last look, and charts of the last quarter of an hour."""
    processes = visit.console.processes.view()
    drawn = {
        name: _coloured(chart)
        for name in ("processor", "memory", "files", "loop_lag", "connections")
        if (chart := getattr(processes, name)).lines
    }
    return TemplatePage(
        "processes.html",
        {
            "here": PATH,
            **await frame(visit),
            "view": processes,
            "drawn": drawn,
            "most_lines": MOST_LINES,
        },
    )


def _coloured(chart: Chart) -> Chart:
    """Return the chart with the processes whose newest values are the highest, in their order."""
    ranked = sorted(chart.lines, key=_newest, reverse=True)[:MOST_LINES]
    return replace(chart, lines=tuple(line for line in chart.lines if line in ranked))


def _newest(line: Line) -> float:
    return next((value for value in reversed(line.values) if value is not None), 0.0)


PAGE = ConsolePage(PATH, show)
