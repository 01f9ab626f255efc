"""The rules as a file of Prometheus' own, which is YAML."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from gateway.monitoring.alerts import alerts, recordings
from gateway.monitoring.objective import OBJECTIVE
from gateway.settings.reached import console_url

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gateway.monitoring.rules import Alert, RecordingRule
    from gateway.settings import Settings


def rules_file(settings: Settings, objective: float = OBJECTIVE, runbooks: str = "") -> str:
    """Return all rules that fit the configuration.

    `objective` is in percent. `runbooks` is the URL of a page with a section for each alert, by
    default that of the console.
    """
    page = runbooks or f"{console_url(settings)}alerts"
    return "".join(f"{line}\n" for line in _lines(settings, objective, page))


def _lines(settings: Settings, objective: float, runbooks: str) -> Iterator[str]:
    yield "# Made by `headgate alerts` for one configuration: make it again when that changes."
    yield "groups:"
    # One group: its rules are evaluated in order, so that alerts see what was just recorded.
    yield "  - name: headgate"
    yield "    rules:"
    for recording in recordings(settings):
        yield from _recording(recording)
    for alert in alerts(settings, objective):
        yield from _alert(alert, f"{runbooks}#{alert.name.lower()}")


def _recording(recording: RecordingRule) -> Iterator[str]:
    yield f"      - record: {_text(recording.record)}"
    yield f"        expr: {_text(recording.expr)}"


def _alert(alert: Alert, runbook: str) -> Iterator[str]:
    yield f"      - alert: {_text(alert.name)}"
    yield f"        expr: {_text(alert.expr)}"
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
