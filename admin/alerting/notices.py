"""Messages about alerts in version 4 of Alertmanager's webhook format."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from admin.alerting.sentences import filled

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from admin.alerting.states import ActiveAlert

MOST_ALERTS = 100  # in one message, some 100 KiB; the others are counted in truncatedAlerts
NOT_OVER = "0001-01-01T00:00:00Z"  # Alertmanager's `endsAt` of an alert that still fires


class Notice(NamedTuple):
    """An alert as a message has it; `ended_at` is None while it fires."""

    alert: ActiveAlert
    ended_at: float | None = None


class NoticeMessage(NamedTuple):
    """A message, whose id stays the same however often it is sent."""

    id: str
    body: bytes


def body(gateway: str, console: str, notices: Sequence[Notice]) -> bytes:
    """Return a message about alerts of a gateway: those that fire, and those that have ended."""
    sent = [_alert(gateway, console, notice) for notice in notices[:MOST_ALERTS]]
    is_firing = any(notice.ended_at is None for notice in notices)
    return msgspec.json.encode(
        {
            "version": "4",
            "groupKey": f'{{}}:{{instance="{gateway}"}}',
            "truncatedAlerts": max(len(notices) - MOST_ALERTS, 0),
            "status": "firing" if is_firing else "resolved",
            "receiver": "headgate",
            "groupLabels": {"instance": gateway},
            "commonLabels": _common([alert["labels"] for alert in sent]),
            "commonAnnotations": _common([alert["annotations"] for alert in sent]),
            "externalURL": console,
            "alerts": sent,
        }
    )


def _alert(gateway: str, console: str, notice: Notice) -> dict[str, dict[str, str]]:
    alert, rule = notice.alert, notice.alert.rule
    labels = {
        "alertname": rule.name,
        "instance": gateway,
        **dict(alert.labels),
        "severity": rule.severity,
    }
    pairs = sorted(labels.items())
    fields: dict[str, object] = {
        "status": "firing" if notice.ended_at is None else "resolved",
        "labels": labels,
        "annotations": {
            "summary": filled(rule.summary, labels, alert.value),
            "description": rule.description,
            "runbook_url": f"{console}alerts#{rule.anchor}",
        },
        "startsAt": _moment(alert.firing_at or alert.active_at),
        "endsAt": NOT_OVER if notice.ended_at is None else _moment(notice.ended_at),
        "generatorURL": f"{console}alerts",
        "fingerprint": hashlib.sha256(repr(pairs).encode()).hexdigest()[:16],
    }
    return fields  # type: ignore[return-value] # labels and annotations are all that is read


def _common(all_pairs: Iterable[dict[str, str]]) -> dict[str, str]:
    """Return the labels that are the same for all."""
    common: set[tuple[str, str]] | None = None
    for pairs in all_pairs:
        common = set(pairs.items()) if common is None else common & set(pairs.items())
    return dict(sorted(common or ()))


def _moment(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
