"""The rules as a file of Prometheus' own, which is YAML."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

from headgate_gateway.monitoring.alerts import alerts, recordings
from headgate_gateway.monitoring.objective import OBJECTIVE
from headgate_gateway.settings.reached import console_url

if TYPE_CHECKING:
    from collections.abc import Iterator

    from headgate_gateway.monitoring.rules import Alert, RecordingRule
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
    page = runbooks or f"{console_url(settings)}alerts"
    return "".join(f"{line}\n" for line in _lines(settings, objective, page, name, selector))


def _lines(
    settings: Settings, objective: float, runbooks: str, name: str, selector: str
) -> Iterator[str]:
    yield (
        "# Made by `headgate monitor alerts` for one configuration: make it again when that"
        " changes."
    )
    yield "groups:"
    # One group: its rules are evaluated in order, so that alerts see what was just recorded.
    yield f"  - name: {f'headgate-{name}' if name else 'headgate'}"
    yield "    rules:"
    for recording in recordings(settings):
        yield from _recording(recording, name, selector)
    for alert in alerts(settings, objective):
        yield from _alert(alert, f"{runbooks}#{alert.name.lower()}", selector)


def _selected(expr: str, selector: str) -> str:
    """Return an expression of the series that a selector permits."""

    def narrowed(found: re.Match[str]) -> str:
        return f"{found[1]}{{{', '.join(filter(None, (found[2], selector)))}}}"

    return _SERIES.sub(narrowed, expr) if selector else expr


def _recording(recording: RecordingRule, name: str, selector: str) -> Iterator[str]:
    yield f"      - record: {_text(recording.record)}"
    yield f"        expr: {_text(_selected(recording.expr, selector))}"
    if name and recording.expr.startswith("vector("):  # of no series, so of no job
        yield f"        labels: {{configuration: {_text(name)}}}"


def _alert(alert: Alert, runbook: str, selector: str) -> Iterator[str]:
    yield f"      - alert: {_text(alert.name)}"
    yield f"        expr: {_text(_selected(alert.expr, selector))}"
    yield f"        for: {_text(alert.lasting)}"
    yield "        labels:"
    yield f"          severity: {_text(alert.severity)}"
    yield "        annotations:"
    yield f"          summary: {_text(alert.summary)}"
    yield f"          description: {_text(alert.description)}"
    yield f"          runbook_url: {_text(runbook)}"


def _text(text: str) -> str:
    """Return a text quoted as in JSON, which YAML reads as a string whatever it contains."""
    return json.dumps(text)
