"""Readers whose response reaches `sse_max_age` amid a message that they receive slowly."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from headgate_gateway.features.console.reader_states import reader_states
from tests.live.test_feed_edges import ended_properly
from tests.support.serving import Serving, get, offset, post, put, serving
from tests.support.waiting import until

if TYPE_CHECKING:
    from headgate_gateway.live.feed import Feed
    from headgate_gateway.telemetry.traffic import Ended
    from tests.support.http1 import Client

LONG = 12 << 20  # bytes; more than the sockets take whose client reads nothing
KIB = 1024


def feed_of(gateway: Serving) -> Feed[Any, Any]:
    (feed,) = gateway.route.feeds._feeds
    return feed


async def stalled(gateway: Serving, *lines: str, live: bool = False) -> Client:
    """Return a reader that takes nothing of a long message, which it may wait for."""
    await gateway.ask(put("s"))
    append = post("s", b"x" * LONG, *lines)
    if not live:
        assert (await gateway.ask(append)).status == 204
    client = await gateway.connect(receive_buffer=4 * KIB)
    client.pause()
    client.send(get("s?offset=-1&live=sse"))
    await until(lambda: gateway.limits.live_readers == 1)
    if live:
        assert (await gateway.ask(append)).status == 204
    await until(lambda: bool(gateway.route.traffic.live.slow))
    return client


async def overdue(gateway: Serving, *lines: str) -> Client:
    client = await stalled(gateway, *lines)
    await until(lambda: len(feed_of(gateway).sse_readers.overdue) == 1)
    return client


def departures(gateway: Serving) -> dict[Ended, int]:
    counts = gateway.route.traffic.live.sse.departures
    return {ended: count for ended, count in counts.items() if count}


@pytest.mark.parametrize(
    ("lines", "ended"), [((), "timeout"), (("Stream-Closed: true",), "closed")]
)
async def test_a_message_that_takes_longer_than_the_age_comes_whole_and_ends_the_response(
    lines: tuple[str, ...], ended: Ended
) -> None:
    async with serving(sse_max_age=0.6, max_append=LONG, max_pending_appends=LONG) as gateway:
        client = await overdue(gateway, *lines)
        client.resume()
        await client.answer(to_head=True)
        events = await client.events_to_the_end()
        assert json.loads(events[-1].data)["streamNextOffset"] == offset(LONG)
        assert sum(len(event.data) for event in events if event.name == "data") == LONG
        await until(lambda: departures(gateway) == {ended: 1})


@pytest.mark.parametrize("live", [False, True])
async def test_the_last_message_of_a_closed_stream_is_received_uncut(*, live: bool) -> None:
    async with serving(max_append=LONG, max_pending_appends=LONG) as gateway:
        client = await stalled(gateway, "Stream-Closed: true", live=live)
        assert departures(gateway) == {}, "it is still served, and its credential still counts"
        client.resume()
        await client.answer(to_head=True)
        events = await client.events_to_the_end()
        assert json.loads(events[-1].data)["streamClosed"] is True
        await until(lambda: departures(gateway) == {"closed": 1})


@pytest.mark.parametrize("ended", ["revoked", "expired", "disconnected", "drain"])
async def test_an_overdue_reader_is_cut_at_once_by_anything_but_its_age(ended: Ended) -> None:
    async with serving(sse_max_age=0.6, max_append=LONG, max_pending_appends=LONG) as gateway:
        client = await overdue(gateway)
        if ended == "drain":
            await gateway.route.drain()
        else:
            (state,) = reader_states(feed_of(gateway))
            assert state.status == "slow"
            state.end(ended)
        assert departures(gateway) == {"slow" if ended == "drain" else ended: 1}
        client.resume()
        assert not await ended_properly(client)


async def test_an_overdue_reader_that_takes_nothing_is_cut() -> None:
    async with serving(
        sse_max_age=0.3, body_timeout=1.0, max_append=LONG, max_pending_appends=LONG
    ) as gateway:
        client = await overdue(gateway)
        await until(lambda: departures(gateway) == {"slow": 1})
        client.resume()
        assert not await ended_properly(client)
