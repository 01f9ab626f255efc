"""The page of processes: what each one uses, and the gateways that share a log with this one."""

from __future__ import annotations

from typing import TYPE_CHECKING, get_args

from msgspec.structs import asdict, replace

from admin.model.kinds import Span
from admin.pages.charts import COLOURS
from admin.pages.console_page import ConsolePage
from admin.pages.menu import MenuEntry
from admin.pages.rendering import TemplatePage
from admin.pages.spans import SPANS, figures_from, first_known, of_lines
from admin.pages.visit import choice, frame
from admin.record.event_queries import marks

if TYPE_CHECKING:
    from admin.model.charts import Chart, Line
    from admin.model.processes import UsageCharts
    from admin.pages.visit import Visit

PATH = "/processes"


async def show(visit: Visit) -> TemplatePage:
    """Return the processes and gateways at the last look, and charts over a span."""
    span = choice(visit.query.get("span", "15m"), get_args(Span), "span")
    view = visit.console.recorder.usage.view(span)
    record = visit.console.recorder.events.record
    begin = first_known(of_lines([view.charts.memory, view.gateway_charts.memory]))
    shown_marks = marks(record, view.charts.memory.start)
    versions = {it.version for it in view.gateways if it.silent_since is None}
    return TemplatePage(
        "processes.html",
        {
            "here": PATH,
            **await frame(visit),
            "view": view,
            "drawn": _drawn(figures_from(view.charts, begin, shown_marks)),
            "drawn_gateways": _drawn(figures_from(view.gateway_charts, begin, shown_marks)),
            "has_versions": len(versions) > 1,
            "most_lines": COLOURS,
            "span": span,
            "spans": list(SPANS.items()),
        },
    )


def _drawn(charts: UsageCharts) -> dict[str, Chart | None]:
    """Return each chart with at most as many lines as there are colours; None if it has none.

    These are the lines whose newest values are the highest, in the order of the table.
    """
    drawn: dict[str, Chart | None] = {}
    for name, chart in asdict(charts).items():
        ranked = sorted(chart.lines, key=_newest, reverse=True)[:COLOURS]
        lines = tuple(line for line in chart.lines if line in ranked)
        drawn[name] = replace(chart, lines=lines) if lines else None
    return drawn


def _newest(line: Line) -> float:
    return next((value for value in reversed(line.values) if value is not None), 0.0)


MENU = MenuEntry(
    "Processes",
    "M3 3h4v4H3zM9 3h4v4H9zM3 9h4v4H3zM9 9h4v4H9z",
    key="p",
    order=90,
)
PAGE = ConsolePage(PATH, show, menu=MENU)
