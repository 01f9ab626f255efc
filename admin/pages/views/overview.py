"""The first page: figures of this gateway over a span of time."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar, get_args

from msgspec.structs import replace

from admin.model.charts import Chart, Line, Stat
from admin.model.kinds import Span
from admin.model.overview import Overview, Writes
from admin.pages.console_page import ConsolePage
from admin.pages.rendering import TemplatePage
from admin.pages.visit import choice

if TYPE_CHECKING:
    from admin.pages.visit import Visit

S = TypeVar("S", Overview, Writes)
PATH = "/"
SPANS: dict[Span, str] = {"15m": "15 min", "1h": "1 h", "6h": "6 h", "24h": "24 h"}
FEWEST_MOMENTS = (
    6  # that a chart shows: half a minute, when there was data only in its last seconds
)


async def show(visit: Visit) -> TemplatePage:
    """Return the first page, with figures over the chosen span."""
    span = choice(visit.query.get("span", "15m"), get_args(Span), "span")
    figures = from_first_data(await visit.console.overview(span))
    kinds = {route.kind for route in figures.routes}
    has_origins, has_logs = "http" in kinds, bool(kinds - {"http"})
    return TemplatePage(
        "overview.html",
        {
            "here": PATH,
            "instance": figures.instance,
            "overview": figures,
            "span": span,
            "spans": list(SPANS.items()),
            "span_words": SPANS[span],
            "served": served(has_origins=has_origins, has_logs=has_logs),
            "has_origins": has_origins,
            "has_logs": has_logs,
        },
    )


def served(*, has_origins: bool, has_logs: bool) -> str:
    """Return the name of the ratio of reads that were neither at the origin nor read from a log."""
    if not has_logs:
        return "Served without the origin"
    return "Served from the cache" if has_origins else "Served from memory"


def from_first_data(figures: Overview) -> Overview:
    """Return the overview from the first moment that has data: what is empty tells nothing.

    All charts and histories begin at the same moment, and so share one axis of time.
    """
    begin = _first_known(figures.by_transport)
    shown = _cut_all(figures, begin)
    heat = figures.delivery
    return replace(
        shown,
        delivery=replace(heat, start=heat.start + begin * heat.step, counts=heat.counts[begin:]),
        writes=_cut_all(figures.writes, begin),
        routes=tuple(
            replace(it, figures=replace(it.figures, history=it.figures.history[begin:]))
            for it in figures.routes
        ),
    )


def _cut_all(figures: S, begin: int) -> S:
    """Return the figures with charts and histories from the moment `begin` on."""
    changes: dict[str, object] = {}
    for name in figures.__struct_fields__:
        value = getattr(figures, name)
        if isinstance(value, Chart):
            lines = tuple(Line(line.name, line.values[begin:]) for line in value.lines)
            changes[name] = replace(value, start=value.start + begin * value.step, lines=lines)
        elif isinstance(value, Stat):
            changes[name] = replace(value, history=value.history[begin:])
    return replace(figures, **changes)


def _first_known(chart: Chart) -> int:
    """Return the place of the first moment with data, FEWEST_MOMENTS before the end at the most."""
    values = chart.lines[0].values
    known = (at for at, value in enumerate(values) if value is not None)
    return min(next(known, 0), max(0, len(values) - FEWEST_MOMENTS))


PAGE = ConsolePage(PATH, show)
