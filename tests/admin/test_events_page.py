"""The page of events: the last day by hours, absolute times, and the events of one stream."""

from __future__ import annotations

import html
import re

from headgate_admin.console import CONSOLE
from headgate_gateway.telemetry.event_journal import EventLevel, JournalEvent
from tests.admin.consoles import NOW, Client, console

HOUR = NOW // 3600 * 3600
ROUTE = "/v1/stream"


def event(at: float, level: EventLevel, words: str, stream: str | None = None) -> JournalEvent:
    return JournalEvent(
        *(0, words, words, "", "change", level, words, ROUTE, at, at), stream=stream
    )


def happened(client: Client, *events: JournalEvent) -> None:
    client.app[CONSOLE].recorder.events.record.add(events)


def words(page: str) -> list[str]:
    """Return the sentences of the events of a page, from above."""
    return re.findall("</code>: ([^<]+)</th>", page)


async def test_each_hour_with_events_leads_to_them_and_the_address_keeps_the_filters() -> None:
    async with console() as client:
        happened(
            client,
            event(HOUR - 3600 * 30, "bad", "yesterday"),
            event(HOUR - 3600 * 2, "bad", "first"),
            event(HOUR - 3600 * 2 + 1, "warning", "second"),
            event(HOUR - 3600 * 2 + 2, "bad", "third"),
            event(NOW, "good", "now"),
        )
        page = await client.page("/events?kind=change&text=s")
        assert words(page) == ["third", "second", "first", "yesterday"][1:]
        assert "The last 24 hours: 1 bad, 1 warning, 0 good" in page
        (bar,) = re.findall('<a href="([^"]+)"><title>([^<]+)</title>', page)
        assert bar[1] == "1 bad, 1 warning in the hour from 2027-01-15 06:00:00 UTC"
        page = await client.page(html.unescape(bar[0]))
        assert words(page) == ["second", "first"]
        assert page.count("hit chosen") == 1
        fields = dict(re.findall('type="[a-z]+" name="([a-z]+)"[^>]* value="([^"]*)"', page))
        assert fields == {
            "text": "s",
            "from": "2027-01-15T06:00:00Z",
            "to": "2027-01-15T07:00:00Z",
        }


async def test_times_of_events_are_absolute_with_the_relative_one_beside() -> None:
    async with console() as client:
        happened(client, event(NOW - 90, "good", "once"))
        page = await client.page("/events")
    shown = '<time class="exact" datetime="2027-01-15T07:58:30Z">2027-01-15 07:58:30 UTC</time>'
    assert f'<td>{shown}<span class="why">90 s ago</span></td>' in page


async def test_the_page_of_a_stream_leads_to_its_events_in_their_order() -> None:
    async with console() as client:
        happened(
            client,
            event(NOW - 9, "good", "created", "a/b"),
            event(NOW - 5, "good", "other stream", "a/c"),
            event(NOW - 3, "warning", "route"),
            event(NOW - 7, "good", "limited", "a/b"),
        )
        page = await client.page(f"/events?route={ROUTE}&stream=a/b")
    assert words(page) == ["route", "limited", "created"]
    assert "Only of the stream" in page
    assert '<input type="hidden" name="stream" value="a/b">' in page
