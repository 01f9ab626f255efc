"""Templates made into pages, and into the regions of a page that are sent again while it is open.

A region is a block whose name begins with `live_`; it stands in an element with `data-live`. It
depends on the gateway and not on the viewer, so that one rendering serves all.

Streams may be served on the same event loop: rendering is in turns with them, and a template is
compiled beside it.
"""

from __future__ import annotations

import asyncio
from functools import cached_property, lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, ParamSpec
from urllib.parse import urlencode

from headgate_admin.pages import charts, payloads, show
from headgate_admin.pages.charts import LEAST_RATE
from headgate_gateway.background import Turns
from headgate_gateway.features.console.name_search import spoken
from headgate_gateway.monitoring.quantities import (
    ALARM,
    MOST_ERRORS,
    SLOW_APPEND_S,
    SLOW_DELIVERY_S,
    TARGET,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Mapping

    from jinja2 import Environment, Template
    from markupsafe import Markup

    from headgate_admin.model.overview import Chart
    from headgate_admin.pages.charts import Marks

P = ParamSpec("P")
TEMPLATES = Path(__file__).with_name("templates")
LAYOUTS = ("document.html", "base.html", "bare.html")
REGION = "live_"
# Cached drawings. An overview has at most three charts of each kind, of some 30 kB, in each of four
# spans; while it changes, some viewers get the one before. A table has a small one for each of its
# routes.
MOST_CHARTS = 24
MOST_SPARKS = 256
FEWEST_READS = 100  # the first reads of a stream are never cached: a share of fewer says nothing


class TemplatePage(NamedTuple):
    """A template, and the values of its variables."""

    template: str
    variables: Mapping[str, object]


class Renderer:
    """The compiled templates: each is compiled when it is first rendered.

    `folders` have the templates of pages, beside those that all pages share.
    """

    def __init__(self, folders: Iterable[Path]) -> None:
        self._folders = folders
        self._turns = Turns()
        self._compiled: set[str] = set()

    @cached_property
    def _environment(self) -> Environment:
        # Imported late: Jinja takes 2 MB, which a gateway with an unused console saves.
        from jinja2 import Environment, FileSystemLoader, StrictUndefined

        environment = Environment(
            loader=FileSystemLoader([TEMPLATES, *self._folders]),
            autoescape=True,
            undefined=StrictUndefined,
            auto_reload=False,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        environment.filters |= FILTERS
        environment.globals |= {
            "link": link,
            "target": TARGET,
            "alarm": ALARM,
            "most_errors": MOST_ERRORS,
            "slow_append_s": SLOW_APPEND_S,
            "slow_delivery_s": SLOW_DELIVERY_S,
            "fewest_reads": FEWEST_READS,
        }
        return environment

    async def page(self, page: TemplatePage, **viewing: object) -> str:
        """Render a whole page; `viewing` are the variables of the viewer and of the menu."""
        template = await self._template(page)
        return await self._turns.run(_joined(template.generate(page.variables, **viewing)))

    async def regions(self, page: TemplatePage) -> dict[str, str]:
        """Render the regions that change while the page is open, by name."""
        template = await self._template(page)
        context = template.new_context(dict(page.variables))
        blocks = {**self._environment.get_template("base.html").blocks, **template.blocks}
        tab = page.variables.get("tab")
        return {
            name.removeprefix(REGION): (await self._turns.run(_joined(block(context)))).strip()
            for name, block in blocks.items()
            if name.startswith(REGION) and (tab is None or _is_shown(name, tab))
        }

    async def _template(self, page: TemplatePage) -> Template:
        if page.template not in self._compiled:  # it takes some 50 ms
            await asyncio.to_thread(self._compile, page.template)
            self._compiled.add(page.template)
        return self._environment.get_template(page.template)

    def _compile(self, name: str) -> None:
        """Compile a template, and what it may extend or use; the environment keeps them."""
        self._environment.globals["ui"] = self._environment.get_template("ui.html").module
        for one in (*LAYOUTS, name):
            self._environment.get_template(one)


def _joined(pieces: Iterable[str]) -> Generator[None, None, str]:
    """Join the pieces of a text, with a step for each."""
    parts = []
    for piece in pieces:
        parts.append(piece)
        yield
    return "".join(parts)


def _is_shown(name: str, tab: object) -> bool:
    """Return whether a block is on this tab of its page; those of other tabs are not rendered."""
    return name in {f"{REGION}{it}" for it in ("instance", "badge", "head", tab)}


def link(path: str, /, **query: object) -> str:
    """Return a path with a query, without its empty parameters."""
    parameters = {key: str(value) for key, value in query.items() if value not in {"", None}}
    return f"{path}?{urlencode(parameters)}" if parameters else path


def once(draw: Callable[P, Markup], most: int = MOST_CHARTS) -> Callable[P, Markup]:
    """Draw the same values once: they change every few seconds, and are requested more often.

    `most` drawings are cached: those of former values are not used again.
    """
    return lru_cache(most)(draw)  # type: ignore[return-value]  # values are all hashable


def duration_chart(chart: Chart, label: str, marks: Marks = ()) -> Markup:
    """Draw lines of durations, on a scale of their own that begins at zero."""
    return charts.line_chart(chart, label, marks, show.duration, 0.0)


FILTERS: dict[str, Callable[..., Any]] = {
    "number": show.number,
    "count": show.count,
    "rate": show.rate,
    "size": show.size,
    "percent": show.percent,
    "level": show.level,
    "factor": show.factor,
    "duration": show.duration,
    "with_unit": show.with_unit,
    "relative": show.relative,
    "exact": show.exact,
    "clock": show.clock,
    "machine": show.machine,
    "spoken": spoken,
    "sentence": show.sentence,
    "visible": show.visible,
    "parts": show.parts,
    "version": show.version,
    "preview": payloads.preview,
    "payload": payloads.payload,
    "spark": once(charts.spark, MOST_SPARKS),
    "stacked_area": once(charts.stacked_area),
    "line_chart": once(charts.line_chart),
    "rate_chart": once(partial(charts.line_chart, format_value=show.number, fewest=LEAST_RATE)),
    "size_chart": once(partial(charts.line_chart, format_value=show.size, fewest=0.0)),
    "duration_chart": once(duration_chart),
}
