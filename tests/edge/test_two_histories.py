"""An origin that comes back with an older copy, and grows past the old tail before it is asked.

Nobody is given lost data and new data as one stream.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from headgate_gateway.edge.followed import known_state
from tests.edge.live_readers import (
    S,
    at,
    caught_up,
    following,
    live,
    news,
    polling,
    restored,
    text,
    up_to,
    waiting,
    was_away,
)
from tests.support.live_origin import LiveOrigin
from tests.support.raw_origin import Wire, answer, reset
from tests.support.serving import Serving, edge_serving, get, post, request
from tests.support.waiting import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.support.http1 import Client

OLD = (b"a", b"b", b"c")
NEW = [b"a", b"X", b"Y", b"Z", b"W"]  # of an older copy, and longer than the old one


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shorten the time that a follower waits for a replica that lags."""
    monkeypatch.setattr(known_state, "PERSISTS_S", 0.3)


async def are_refused(gateway: Serving) -> None:
    for mode in ("", "&live=long-poll", "&live=sse"):
        assert (await gateway.ask(get(f"{S}?offset=0003{mode}"))).status == 410


async def seen_by_all(
    gateway: Serving, viewer: Client, waiter: Client, whole: bytes = b"".join(NEW)
) -> None:
    """Check that readers of lost data are sent away, and new readers get the present data."""
    assert text(await viewer.events_to_the_end()) in {"", "abc"}
    assert (await waiter.answer()).status == 410
    for mode in ("", "&live=long-poll"):
        assert (await gateway.ask(get(f"{S}?offset=-1{mode}"))).body == whole
    await are_refused(gateway)


async def both(gateway: Serving, start: str = "-1") -> tuple[Client, Client]:
    """Return a reader by SSE and one by polls, both at the end of the stream."""
    viewer = await following(gateway, start)
    assert await up_to(viewer, "0003") == ("abc" if start == "-1" else "")
    return viewer, await polling(gateway, "0003")


@pytest.mark.parametrize("start", ["-1", "0003"])
async def test_lost_data_are_not_joined_with_the_growth_of_an_older_copy(start: str) -> None:
    """A feed that begins at the tail has no data of its own."""
    async with live(*OLD) as (origin, gateway):
        if start != "-1":
            assert (await gateway.ask(get(f"{S}?offset=-1"))).body == b"abc"
        viewer, waiter = await both(gateway, start)
        await origin.polled(1)
        await restored(origin, *NEW)
        await seen_by_all(gateway, viewer, waiter)


async def test_a_feed_without_data_is_compared_with_reads_made_meanwhile() -> None:
    """It began with a reader from now on, while a read was on its way that ends at its tail."""
    async with live(*OLD) as (origin, gateway):
        released = asyncio.Event()

        async def slowly(wire: Wire) -> None:
            origin.instead = None
            await released.wait()
            await wire.send(origin._read(0, is_poll=False))

        origin.instead = slowly
        reader = await gateway.connect()
        reader.send(get(f"{S}?offset=-1"))
        await until(lambda: origin.instead is None)
        viewer = await following(gateway, "now")
        assert await up_to(viewer, "0003") == ""
        await origin.polled(1)
        released.set()
        assert (await reader.answer()).body == b"abc"
        waiter = await polling(gateway, "0003")
        await restored(origin, *NEW)
        await seen_by_all(gateway, viewer, waiter)


@pytest.mark.parametrize("is_cut", [True, False])
async def test_lost_offsets_get_410_after_an_origin_that_refused_them_has_grown(
    is_cut: bool,
) -> None:
    async with waiting(*OLD) as (origin, gateway, waiter):
        origin.append(b"d")
        assert news(await waiter.answer()) == (200, b"d", "0004", "true")
        waiter = await polling(gateway, "0004")
        await origin.polled(2)
        origin.refuses_past_the_end = True
        if is_cut:
            await restored(origin, b"a", b"X")
        else:
            origin.pieces = [b"a", b"X"]
            origin.tell()
        asked = len(origin.catch_ups)
        await until(lambda: len(origin.catch_ups) > asked)
        origin.pieces = [b"a", b"X", b"Y", b"Z", b"V", b"W"]
        assert (await waiter.answer()).status == 410
        assert (await gateway.ask(get(f"{S}?offset=0004&live=long-poll"))).status == 410
        assert (await gateway.ask(get(f"{S}?offset=-1&live=long-poll"))).body == b"aXYZVW"


async def test_readers_up_to_the_common_point_of_two_histories_continue() -> None:
    async with live(b"a", b"b") as (origin, gateway):
        viewer = await following(gateway, "-1")
        assert await up_to(viewer, "0002") == "ab"
        await origin.polled(1)
        origin.append(b"c")
        assert await up_to(viewer, "0003") == "abc"
        await origin.polled(2)
        await restored(origin, b"a", b"b", b"X", b"Y")
        assert text(await viewer.events_to_the_end()) == "abc"
        assert (await gateway.ask(get(f"{S}?offset=0003"))).status == 410
        assert news(await gateway.ask(get(at("0002")))) == (200, b"XY", "0004", "true")


async def test_an_unchanged_stream_is_compared_once_after_a_restart_and_continues() -> None:
    async with live(*OLD) as (origin, gateway):
        viewer, waiter = await both(gateway)
        await origin.polled(1)
        asked = len(origin.catch_ups)
        await restored(origin, *OLD, b"d")
        assert await up_to(viewer, "0004") == "abcd"
        assert news(await waiter.answer()) == (200, b"d", "0004", "true")
        await origin.polled(2)
        assert len(origin.catch_ups) == asked + 1


async def _reads(gateway: Serving, _: LiveOrigin) -> None:
    assert (await gateway.ask(get(f"{S}?offset=0003", "X-Own-Way: 1"))).status == 503


async def _asks_for_the_head(gateway: Serving, _: LiveOrigin) -> None:
    assert (await gateway.ask(request("HEAD", S))).status == 204


async def _appends(gateway: Serving, origin: LiveOrigin) -> None:
    await gateway.ask(post(S, body=b"?"))


async def _reads_all(gateway: Serving, _: LiveOrigin) -> None:
    """Read the stream when its cached copy is as old as it may be."""
    gateway.clock.advance(600)
    await gateway.ask(get(f"{S}?offset=0000", "X-Own-Way: 1"))


@pytest.mark.parametrize("shows", [_reads, _asks_for_the_head, _appends, _reads_all])
async def test_any_response_that_ends_before_the_feed_starts_a_comparison(shows: object) -> None:
    """The feed's poll stays open, so no failure gives reason to compare."""
    async with live(*OLD) as (origin, gateway):
        viewer, waiter = await both(gateway)
        await origin.polled(1)
        origin.pieces = [b"a", b"X"]
        await shows(gateway, origin)  # type: ignore[operator] # one of these
        origin.pieces = list(NEW)
        origin.tell()
        assert text(await viewer.events_to_the_end()) == "abc"
        assert (await waiter.answer()).status == 410


async def test_a_lost_offset_is_refused_in_every_mode_although_the_new_stream_ends_there() -> None:
    """While readers of the old stream come back, its offset is not taken for the new one's."""
    async with live(*OLD) as (origin, gateway):
        viewer, waiter = await both(gateway)
        await origin.polled(1)
        await restored(origin, b"a", b"X", b"Y")
        assert text(await viewer.events_to_the_end()) == "abc"
        assert (await waiter.answer()).status == 410
        await following(gateway, "-1")  # the new stream is followed, up to the same offset
        await are_refused(gateway)


async def test_a_read_at_another_server_than_the_feeds_is_not_joined_uncompared() -> None:
    """The feed's poll hangs at the first server while another one answers a read."""
    async with LiveOrigin(*OLD) as first, LiveOrigin(*NEW) as second:
        route = {"origin": [first.url, second.url], "health_interval": 0.1}
        async with edge_serving(first, route) as gateway:
            viewer = await caught_up(first, gateway)
            first.instead = reset  # also of reads; the poll that is out hangs on
            read = get(f"{S}?offset=0003", "X-Own-Way: 1")
            assert (await gateway.ask(read)).status in {410, 502, 503}
            assert text(await viewer.events_to_the_end()) == "abc"
            assert (await gateway.ask(read)).status == 410
            assert (await gateway.ask(get(f"{S}?offset=-1"))).body == b"".join(NEW)


@pytest.mark.usefixtures("quick_retries")
async def test_a_read_beyond_the_feed_is_a_503_while_its_origin_fails() -> None:
    """A read has gone past the feed; its end is lost, and grown over, before the feed asks."""
    async with live(*OLD) as (origin, gateway):
        viewer = await caught_up(origin, gateway)
        origin.pieces = [*OLD, *NEW]

        async def failing(wire: Wire) -> None:
            if "offset=0004" in wire.heard.target:
                await wire.send(origin._read(4, is_poll=False))
            else:
                await wire.reset()

        asked = len(origin.catch_ups)
        origin.answer_all(failing)
        await until(lambda: len(origin.catch_ups) > asked)
        got = await gateway.ask(get(f"{S}?offset=0004", "X-Own-Way: 1"))
        assert got.status == 503
        origin.instead = None
        assert await up_to(viewer, "0008") == "abcaXYZW"
        assert (await gateway.ask(get(f"{S}?offset=0004"))).body == b"XYZW"


@asynccontextmanager
async def two_servers() -> AsyncIterator[tuple[LiveOrigin, LiveOrigin, Serving]]:
    """The first one has the old stream, the other one an older copy that has grown past it."""
    async with LiveOrigin(*OLD) as first, LiveOrigin(*NEW) as second:
        urls = [first.url, second.url]
        route = {"origin": urls, "health_path": "/", "health_interval": 0.1}
        async with edge_serving(first, route) as gateway:
            yield first, second, gateway


async def takes_over(gateway: Serving, other: LiveOrigin, one: LiveOrigin) -> None:
    """Let one server of the two be asked, instead of the other."""
    other.instead, one.instead = reset, None
    servers = gateway.edge.origin.servers
    await until(
        lambda: {server.url: server.up for server in servers} == {other.url: False, one.url: True}
    )


@pytest.mark.parametrize("mode", ["", "&live=long-poll", "&live=sse"])
async def test_a_read_of_an_unfollowed_stream_at_another_server_is_compared_first(
    mode: str,
) -> None:
    """The stream is not followed: nothing but what a read has told is known of it."""
    async with two_servers() as (first, second, gateway):
        assert (await gateway.ask(get(f"{S}?offset=-1"))).body == b"abc"
        await takes_over(gateway, first, second)
        assert (await gateway.ask(get(f"{S}?offset=0003{mode}"))).status == 410
        assert (await gateway.ask(get(f"{S}?offset=-1", "X-Own-Way: 1"))).body == b"".join(NEW)
        assert not any("live=" in target for target in second.catch_ups)


async def test_a_replica_with_the_same_data_is_compared_once_for_all_readers() -> None:
    async with two_servers() as (first, second, gateway):
        assert (await gateway.ask(get(f"{S}?offset=-1"))).body == b"abc"
        second.pieces = [*OLD, b"d"]
        await takes_over(gateway, first, second)
        for number in range(3):
            got = await gateway.ask(get(f"{S}?offset=0003", f"X-Own-Way: {number}"))
            assert news(got) == (200, b"d", "0004", "true")
        assert [one for one in second.catch_ups if "offset=-1" in one] == [f"{S}?offset=-1"]
        assert second.polls == []
        assert gateway.limits.feeds == 0


async def test_a_read_at_a_server_that_lacks_earlier_followed_data_gets_410() -> None:
    """The feed has gone, as its last reader has; what it knew is kept."""
    async with two_servers() as (first, second, gateway):
        waiter = await polling(gateway, "0003")
        await first.polled(1)
        first.append(b"d")
        assert news(await waiter.answer()) == (200, b"d", "0004", "true")
        (stream,) = gateway.edge.feeds.table.by_key.values()
        gateway.edge.feeds._rest(stream)  # as after LINGER_S
        await takes_over(gateway, first, second)
        for offset in ("0003", "0004"):
            assert (await gateway.ask(get(f"{S}?offset={offset}"))).status == 410


async def test_offsets_read_from_another_server_are_refused_by_a_feed_that_began_later() -> None:
    async with two_servers() as (first, second, gateway):
        await takes_over(gateway, first, second)
        assert (await gateway.ask(get(f"{S}?offset=-1"))).body == b"".join(NEW)
        await takes_over(gateway, second, first)
        gateway.clock.advance(2)
        viewer = await following(gateway, "now")
        assert await up_to(viewer, "0003") == ""
        first.append(b"d", b"e", b"f")
        assert await up_to(viewer, "0006") == "def"
        assert (await gateway.ask(get(f"{S}?offset=0005"))).status == 410


async def test_a_read_of_an_unfollowed_stream_after_an_outage_is_compared_first() -> None:
    async with live(*OLD) as (origin, gateway):
        assert (await gateway.ask(get(f"{S}?offset=-1"))).body == b"abc"
        was_away(gateway)
        origin.pieces = list(NEW)
        assert (await gateway.ask(get(f"{S}?offset=0003"))).status == 410


async def test_a_read_before_the_tail_waits_for_the_comparison() -> None:
    """It goes on from a copy that is older than the feed."""
    async with live(*OLD) as (origin, gateway):
        await caught_up(origin, gateway)
        await restored(origin, *NEW)
        assert (await gateway.ask(get(f"{S}?offset=0002", "X-Own-Way: 1"))).status == 410


async def test_reads_beyond_a_feed_continue_if_only_its_polls_fail() -> None:
    """Each is let on as soon as the origin has been compared, and nobody is refused."""
    async with live(*OLD) as (origin, gateway):
        origin.says_of_reads = ["Cache-Control: no-store"]
        await caught_up(origin, gateway)

        async def polls_fail(wire: Wire) -> None:
            if "live=" in wire.heard.target:
                await wire.send(answer(status="500 Internal Server Error"))
            else:
                offset = wire.heard.target.partition("offset=")[2][:4]
                start = 0 if offset.startswith("-1") else int(offset)
                await wire.send(origin._read(start, is_poll=False))

        origin.instead = polls_fail
        origin.append(b"d")
        for number in range(5):
            got = await gateway.ask(get(f"{S}?offset=0003", f"X-Own-Way: {number}"))
            assert news(got)[:2] == (200, b"d")
        origin.pieces = list(NEW)
        statuses = [
            (await gateway.ask(get(f"{S}?offset=0003", f"X-Other-Way: {number}"))).status
            for number in range(3)
        ]
        assert set(statuses) == {410}


async def test_reads_during_a_comparison_wait_for_it_and_do_not_restart_it() -> None:
    """None of them has it begun anew, or there would be no end to it."""
    async with live(*OLD) as (origin, gateway):
        await caught_up(origin, gateway)
        (stream,) = gateway.edge.feeds.table.by_key.values()
        origin.says_of_reads = ["Cache-Control: no-store"]
        readers: list[Client] = []

        async def one_more() -> None:
            readers.append(await gateway.connect())
            readers[-1].send(get(f"{S}?offset=000{len(readers)}", f"X-Own-Way: {len(readers)}"))

        async def comparing(wire: Wire) -> None:
            query = wire.heard.target.partition("offset=")[2]
            if "live=" in wire.heard.target:
                await wire.rest()
                return
            if query == "-1" and len(readers) < 3:
                await one_more()
                await until(
                    lambda: len(stream.verification.comparison._waiters or ()) == len(readers)
                )
            await wire.send(origin._read(origin._position(query), is_poll=False))

        await restored(origin, *OLD)
        origin.instead = comparing
        await one_more()
        await until(lambda: len(readers) > 1)
        for number, body in enumerate((b"bc", b"c", b"")[: len(readers)]):
            assert news(await readers[number].answer())[:2] == (200, body)


async def test_offsets_read_from_a_deleted_stream_are_refused() -> None:
    """Nobody follows it, and the next stream at its path echoes what it is asked for."""
    async with live(*OLD) as (origin, gateway):
        assert (await gateway.ask(get(f"{S}?offset=-1"))).body == b"abc"
        assert (await gateway.ask(request("DELETE", S))).status == 204
        origin.pieces = [b"x"]
        assert (await gateway.ask(get(f"{S}?offset=-1"))).body == b"x"
        await are_refused(gateway)
