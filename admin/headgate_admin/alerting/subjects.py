"""The streams and subscriptions that alerts are about, which metrics have no labels for."""

from __future__ import annotations

from shlex import quote
from typing import TYPE_CHECKING
from urllib.parse import urlencode

from headgate_admin.alerting.findings import Subject
from headgate_admin.alerting.next_steps import request_to
from headgate_admin.answers import prompt_answers
from headgate_admin.model.overview import NextStep
from headgate_admin.readers.merged_lists import loudest_of
from headgate_gateway.features.questions.contract import FeatureAnswer, FeatureQuestion
from headgate_gateway.features.questions.loudest import ListLoudest, LoudestList
from headgate_gateway.features.questions.subscriptions import (
    FEATURE,
    ListSubscriptions,
    SubscriptionPage,
    SubscriptionQuery,
)
from headgate_gateway.settings.reached import stream_bases

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from headgate_admin.alerting.active_alerts import ActiveAlert, ActiveAlerts
    from headgate_gateway.features.questions.loudest import StreamLoad
    from headgate_gateway.features.questions.process_source import ProcessSource
    from headgate_gateway.settings import Settings


async def subjects_of(
    source: ProcessSource, alerts: ActiveAlerts, settings: Settings
) -> dict[tuple[str, str], Subject]:
    """Return the subjects of the active alerts, by the rule's name and the route; "" without one.

    Only while there is such an alert are the processes asked. An alert whose subject is not found
    is left out.
    """
    found = {}
    is_loudest = any(it.rule.names in {"stream", "read"} for it in alerts.active)
    streams = await _loudest(source) if is_loudest else ()
    for alert in alerts.active:
        route = dict(alert.labels).get("route", "")
        subject = None
        if alert.rule.names == "stream":
            subject = _stream(streams, settings)
        elif alert.rule.names == "read":
            subject = _read(streams, route, settings)
        elif alert.rule.names == "origin":
            subject = _slow_origin(route, alerts.figures(alert))
        elif alert.rule.names == "subscription":
            subject = await _subscription(source, alert, route)
        if subject is not None:
            found[alert.rule.name, route] = subject
    return found


async def _loudest(source: ProcessSource) -> Sequence[StreamLoad]:
    answers = await prompt_answers(source, ListLoudest())
    return loudest_of([it for it in answers if isinstance(it, LoudestList)]).streams


def _read(streams: Sequence[StreamLoad], route: str, settings: Settings) -> Subject | None:
    """Return the loudest stream of a route, whose caching the page of caches explains."""
    for it in streams:
        if it.route == route:
            page = urlencode({"target": f"{route}/{it.name}"})
            command = request_to(_url(it, settings))
            return Subject("", NextStep(f"/caches?{page}", command))
    return None


def _url(it: StreamLoad, settings: Settings) -> str:
    """Return the URL of a stream: by its name alone, a command would look on the first route."""
    prefixes = (route.prefix for route in settings.route_table)
    bases = dict(zip(prefixes, stream_bases(settings), strict=True))
    return f"{bases.get(it.route, it.route)}/{it.name}"


def _stream(streams: Sequence[StreamLoad], settings: Settings) -> Subject | None:
    """Return the stream that has received the most bytes in the last minutes."""
    if not streams:
        return None
    largest = max(streams, key=lambda it: it.received_bytes)
    of_all = sum(it.received_bytes for it in streams) or 1.0
    page = urlencode({"route": largest.route, "name": largest.name, "tab": "change"})
    return Subject(
        f"{largest.route}/{largest.name} grew by {largest.received_bytes * 60 / 1e6:.0f} MB a"
        f" minute, {largest.received_bytes / of_all:.0%} of all that was written.",
        NextStep(f"/streams/one?{page}", f"headgate stream head {quote(_url(largest, settings))}"),
    )


def _slow_origin(route: str, figures: Sequence[tuple[float, Mapping[str, str]]]) -> Subject:
    """Return how slow the origin of a route is, which server most of all, and who waits for it."""
    (share, _), (p99_s, _), (oldest_s, of_oldest), (readers, _) = figures
    parts = [
        (share, f"{share:.0%} of its latest responses took over 2 s, p99 {p99_s:.1f} s"),
        (oldest_s >= 1, f"a request has waited for {oldest_s:.1f} s at {of_oldest.get('server')}"),
        (readers, f"{readers:.0f} {'reader waits' if readers == 1 else 'readers wait'} now"),
    ]
    words = "; ".join(text for number, text in parts if number)
    return Subject(f"The origin of {route} is slow: {words}.", None)


async def _subscription(source: ProcessSource, alert: ActiveAlert, route: str) -> Subject | None:
    """Return the failing subscription of a route that has waited longest."""
    where = SubscriptionQuery(route, status="failed")
    question = ListSubscriptions(where, order="oldest", limit=1)
    answers = await prompt_answers(source, FeatureQuestion.of(FEATURE, question))
    pages = [it.read(SubscriptionPage) for it in answers if isinstance(it, FeatureAnswer)]
    rows = [row for page in pages for row in page.rows]
    if not rows:
        return None
    row = rows[0]
    receiver = f" to {row.receiver}" if row.receiver else ""
    others = f", as those of {alert.value - 1:.0f} more" if alert.value > 1 else ""
    why = f": {row.last_error}" if row.last_error else ""
    return Subject(
        f"Wakes of the subscription {row.id} of {row.route}{receiver} failed{others}{why}.",
        None,
    )
