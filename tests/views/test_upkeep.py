"""Views while streams are trimmed, deleted and long, and while the server stops or reloads."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from headgate_gateway.features.console.inspected_streams import streams_of
from headgate_gateway.features.views.route_views import RouteViews
from tests.models.answers import chat_completion
from tests.support.serving import get, post, request, serving
from tests.support.waiting import until
from tests.views.reading import (
    follow,
    rendered,
    summed,
    to_the_end,
    view_events,
    written,
)

if TYPE_CHECKING:
    from tests.support.serving import Serving


@pytest.mark.parametrize("view", ["sse", "ai-sdk", "ag-ui"])
async def test_a_long_closed_stream_is_sent_while_it_is_rendered(
    view: str,
) -> None:
    records = chat_completion(["word "] * 2000)
    async with serving(max_append=8 << 20, max_pending_appends=16 << 20) as gateway:
        views = gateway.route.features["views"].loaded()
        assert isinstance(views, RouteViews)
        views.store.max_bytes = 1 << 20
        await written(gateway, [b"".join(records)])
        clients = [await follow(gateway, f"s?view={view}") for _ in range(5)]
        bodies = await asyncio.gather(*map(to_the_end, clients))
        whole = rendered(view, [b"".join(records)])
        assert set(bodies) == {bodies[0]}
        assert summed(bodies[0]) == summed(whole)


async def test_readers_of_a_deleted_stream_are_ended_properly() -> None:
    async with serving() as gateway:
        await written(gateway, [b"data: one\n\n"], closed=False)
        client = await follow(gateway, "s?view=sse")
        await client.event_bytes_until(b"data: one\n\n")
        await gateway.ask(request("DELETE", "s"))
        assert await to_the_end(client) == b""
        assert (await gateway.ask(get("s?view=sse"))).status == 404
        assert gateway.limits.live_readers == 0


async def test_a_trimmed_stream_is_read_from_where_it_begins_now() -> None:
    records = [f"data: {number}\n\n".encode() for number in range(10)]
    async with serving(own={"retention_messages": 3}) as gateway:
        await written(gateway, records)
        events = view_events((await gateway.ask(get("s?view=sse"))).body)
        data = [one.data for one in events[:-1]]
        assert data == [str(number) for number in range(10 - len(data), 10)]
        assert 0 < len(data) < 10


async def test_a_server_that_stops_ends_the_readers_of_views_at_an_event() -> None:
    async with serving() as gateway:
        await written(gateway, [b"data: one\n\n"], closed=False)
        clients = [await follow(gateway, f"s?view={view}") for view in ("sse", "ai-sdk", "ag-ui")]
        await clients[0].event_bytes_until(b"data: one\n\n")
        draining = asyncio.ensure_future(gateway.route.drain())
        assert await to_the_end(clients[0]) == b""
        assert await to_the_end(clients[1]) == b""
        await draining
        assert gateway.route.feeds.count == 0
        await until(lambda: gateway.limits.live_readers == 0)


async def test_a_silent_view_gets_comments_and_a_silent_text_none() -> None:
    async with serving(heartbeat=0.02) as gateway:
        await written(gateway, [b"text"], "text/plain", closed=False)
        events = await follow(gateway, "s?view=sse")
        text = await follow(gateway, "s?view=text")
        await events.event_bytes_until(b"\n\n:\n:\n")
        assert await text.event_bytes_until(b"text") == b"text"
        await gateway.ask(post("s", b"!"))
        assert await text.chunk() == b"!"


async def test_the_console_lists_the_readers_of_views() -> None:
    async with serving() as gateway:
        await written(gateway, [b"data: one\n\n"], closed=False)
        client = await follow(gateway, "s?view=ag-ui")
        assert readers(gateway) == 1
        client.abort()
        await until(lambda: readers(gateway) == 0)


def readers(gateway: Serving) -> int:
    """Return how many readers the stream has, as the console lists them."""
    return sum(place.feed.reader_count for place in streams_of(gateway.route).live_feeds())
