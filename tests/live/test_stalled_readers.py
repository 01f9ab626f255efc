"""SSE readers that are amid a message when their response ends."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from headgate_gateway.features.console.reader_states import reader_states
from tests.live.test_feed_edges import ended_properly
from tests.support.serving import Serving, get, post, put, serving
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


def departures(gateway: Serving) -> dict[Ended, int]:
    counts = gateway.route.traffic.live.sse.departures
    return {ended: count for ended, count in counts.items() if count}


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


@pytest.mark.parametrize("ended", ["timeout", "drain", "revoked", "expired", "disconnected"])
async def test_a_reader_amid_a_message_is_cut_when_its_response_ends(ended: Ended) -> None:
    """It would get a last event only after the rest of the message."""
    age_s = 2.0 if ended == "timeout" else 60.0
    async with serving(sse_max_age=age_s, max_append=LONG, max_pending_appends=LONG) as gateway:
        client = await stalled(gateway)
        if ended == "drain":
            await gateway.route.drain()
        elif ended != "timeout":
            (state,) = reader_states(feed_of(gateway))
            assert state.status == "slow"
            state.end(ended)
        reason = "slow" if ended in {"timeout", "drain"} else ended
        await until(lambda: departures(gateway) == {reason: 1})
        client.resume()
        assert not await ended_properly(client)
