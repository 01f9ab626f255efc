"""The rules as a file of Prometheus' own, which is YAML."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from gateway.monitoring.alerts import alerts, recordings
from gateway.monitoring.objective import OBJECTIVE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gateway.monitoring.rules import Alert, Recording
    from gateway.settings import Settings


def rules_file(settings: Settings, objective: float = OBJECTIVE) -> str:
    """Return all rules that fit the configuration; `objective` is in percent."""
    return "".join(f"{line}\n" for line in _lines(settings, objective))


def _lines(settings: Settings, objective: float) -> Iterator[str]:
    yield "# Made by `headgate alerts` for one configuration: make it again when that changes."
    yield "groups:"
    # One group: its rules are evaluated in order, so that alerts see what was just recorded.
    yield "  - name: headgate"
    yield "    rules:"
    for recording in recordings(settings):
        yield from _recording(recording)
    for alert in alerts(settings, objective):
        yield from _alert(alert)


def _recording(recording: Recording) -> Iterator[str]:
    yield f"      - record: {_text(recording.record)}"
    yield f"        expr: {_text(recording.expr)}"


def _alert(alert: Alert) -> Iterator[str]:
    yield f"      - alert: {_text(alert.name)}"
    yield f"        expr: {_text(alert.expr)}"
    yield f"        for: {_text(alert.lasting)}"
    yield "        labels:"
    yield f"          severity: {_text(alert.severity)}"
    yield "        annotations:"
    yield f"          summary: {_text(alert.summary)}"
    yield f"          description: {_text(alert.description)}"


def _text(text: str) -> str:
    """Quoted as in JSON, which YAML takes for a text whatever is in it."""
    return json.dumps(text)
