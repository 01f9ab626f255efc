"""The rules as YAML for Prometheus, and the board as JSON for Grafana."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from headgate_gateway.monitoring import board
from headgate_gateway.monitoring.alerts import alerts, recordings
from headgate_gateway.monitoring.objective import OBJECTIVE
from headgate_gateway.settings.reached import console_url

if TYPE_CHECKING:
    from headgate_gateway.settings import Settings

# A series in an expression, recorded ones too, and its matchers.
_SERIES = re.compile(r"(?<![\w:])((?:\w+:)?headgate_[\w:]+|process_\w+|up)\b(?:\{([^}]*)\})?")


def rules_file(
    settings: Settings,
    objective: float = OBJECTIVE,
    runbooks: str = "",
    name: str = "",
    selector: str = "",
) -> str:
    """Return all rules that fit the configuration.

    `objective` is in percent. `runbooks` is the URL of a page with a section for each alert, by
    default that of the console. `name` is added to the name of the group, and `selector`, such as
    `job="chat"`, to each series, so that a Prometheus can have the rules of several configurations.
    """

    def selected(expr: str) -> str:
        return _SERIES.sub(narrowed, expr) if selector else expr

    def narrowed(found: re.Match[str]) -> str:
        return f"{found[1]}{{{', '.join(filter(None, (found[2], selector)))}}}"

    return _rendered(
        "rules.yml.j2",
        group=f"headgate-{name}" if name else "headgate",
        name=name,
        recordings=recordings(settings),
        alerts=alerts(settings, objective),
        selected=selected,
        runbooks=runbooks or f"{console_url(settings)}alerts",
    )


def dashboard(settings: Settings) -> str:
    """Return the board for this configuration."""
    panels = [(panel, board.queries(panel, settings)) for panel in board.PANELS]
    console = console_url(settings)
    links = {"Console": console, "Runbooks": f"{console}alerts"}
    text = _rendered("board.json.j2", board=board, panels=panels, links=links.items())
    return json.dumps(json.loads(text), indent=2) + "\n"


def _rendered(template: str, **values: object) -> str:
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        undefined=StrictUndefined,
        # The files are no HTML: in each, values are quoted by a filter.
        autoescape=False,  # noqa: S701
        keep_trailing_newline=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["quoted"] = _quoted
    return environment.get_template(template).render(values)


def _quoted(text: str) -> str:
    """Return a string of YAML in ASCII; unlike JSON, it has no pairs of surrogates."""
    return "".join(
        it if it.isascii() and it.isprintable() else f"\\U{ord(it):08x}"
        for it in json.dumps(text, ensure_ascii=False)
    )
