"""An origin that comes back with an older copy, and grows past the old tail before it is asked.

Nobody is given lost data and new data as one stream.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from gateway.edge import poller
from tests.edge.live_readers import S, at, following, live, news, polling, text, up_to
from tests.support.live_origin import LiveOrigin
from tests.support.raw_origin import reset
from tests.support.waiting import until
from tests.web.serving import edge_serving, get, post, request

if TYPE_CHECKING:
    from tests.support.http1 import Client
    from tests.support.raw_origin import Wire
    from tests.web.serving import Serving

OLD = (b"a", b"b", b"c")
NEW = [b"a", b"X", b"Y", b"Z", b"W"]  # of an older copy, and longer than the old one


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shorten the time that a follower waits for a replica that lags."""
    monkeypatch.setattr(poller, "PERSISTS_S", 0.3)


async def restored(origin: LiveOrigin, *pieces: bytes) -> None:
    """Cut the feed's poll, and let the origin come back with these pieces."""
    origin.instead = reset
    origin.tell()
    await until(lambda: origin.waiting == 0)
    origin.pieces = list(pieces)
    origin.instead = None


async def seen_by_all(
    gateway: Serving, viewer: Client, waiter: Client, whole: bytes = b"".join(NEW)
) -> None:
    """Check that readers of lost data are sent away, and new readers get the present data."""
    assert text(await viewer.events_to_the_end()) in {"", "abc"}
    assert (await waiter.answer()).status == 410
    for mode in ("", "&live=long-poll"):
        assert (await gateway.ask(get(f"{S}?offset=-1{mode}"))).body == whole
    for mode in ("", "&live=long-poll", "&live=sse"):
        assert (await gateway.ask(get(f"{S}?offset=0003{mode}"))).status == 410


async def both(gateway: Serving, start: str = "-1") -> tuple[Client, Client]:
    """Return a reader by SSE and one by polls, both at the end of the stream."""
    viewer = await following(gateway, start)
    assert await up_to(viewer, "0003") == ("abc" if start == "-1" else "")
    return viewer, await polling(gateway, "0003")


async def test_lost_data_are_not_joined_with_what_an_older_copy_has_grown_by() -> None:
    async with live(*OLD) as (origin, gateway):
        viewer, waiter = await both(gateway)
        await origin.polled(1)
        await restored(origin, *NEW)
        await seen_by_all(gateway, viewer, waiter)


async def test_readers_who_had_caught_up_before_are_not_joined_either() -> None:
    """The feed begins at the tail, with no data of its own."""
    async with live(*OLD) as (origin, gateway):
        assert (await gateway.ask(get(f"{S}?offset=-1"))).body == b"abc"
        viewer, waiter = await both(gateway, "0003")
        await origin.polled(1)
        await restored(origin, *NEW)
        await seen_by_all(gateway, viewer, waiter)


async def test_a_feed_without_data_is_compared_with_what_readers_have_read_meanwhile() -> None:
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
async def test_an_origin_that_refuses_lost_offsets_is_compared_once_it_has_grown(
    is_cut: bool,
) -> None:
    async with live(*OLD) as (origin, gateway):
        waiter = await polling(gateway, "0003")
        await origin.polled(1)
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


async def test_readers_up_to_the_common_point_go_on() -> None:
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


async def test_the_same_stream_after_a_restart_is_compared_once_and_goes_on() -> None:
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
async def test_any_answer_that_ends_before_the_feed_has_it_compared(shows: object) -> None:
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


async def test_a_lost_end_is_refused_to_events_also_where_the_new_stream_ends() -> None:
    """While readers of the old stream come back, its offset is not taken for the new one's."""
    async with live(*OLD) as (origin, gateway):
        viewer, waiter = await both(gateway)
        await origin.polled(1)
        await restored(origin, b"a", b"X", b"Y")
        assert text(await viewer.events_to_the_end()) == "abc"
        assert (await waiter.answer()).status == 410
        await following(gateway, "-1")  # the new stream is followed, up to the same offset
        for mode in ("", "&live=long-poll", "&live=sse"):
            assert (await gateway.ask(get(f"{S}?offset=0003{mode}"))).status == 410


async def test_nobody_reads_on_at_a_server_that_the_feed_was_not_compared_with() -> None:
    """The feed's poll hangs at the first server while another one answers a read."""
    async with LiveOrigin(*OLD) as first, LiveOrigin(*NEW) as second:
        route = {"origin": [first.url, second.url], "health_interval": 0.1}
        async with edge_serving(first, route) as gateway:
            viewer = await following(gateway, "-1")
            assert await up_to(viewer, "0003") == "abc"
            await first.polled(1)
            first.instead = reset  # also of reads; the poll that is out hangs on
            read = get(f"{S}?offset=0003", "X-Own-Way: 1")
            assert (await gateway.ask(read)).status in {410, 502, 503}
            assert text(await viewer.events_to_the_end()) == "abc"
            assert (await gateway.ask(read)).status == 410
            assert (await gateway.ask(get(f"{S}?offset=-1"))).body == b"".join(NEW)


async def test_nobody_reads_on_beyond_a_feed_whose_origin_has_failed() -> None:
    """A read has gone past the feed; its end is lost, and grown over, before the feed asks."""
    async with live(*OLD) as (origin, gateway):
        viewer = await following(gateway, "-1")
        assert await up_to(viewer, "0003") == "abc"
        await origin.polled(1)
        origin.pieces = [*OLD, *NEW]

        async def failing(wire: Wire) -> None:
            if "offset=0004" in wire.heard.target:
                await wire.send(origin._read(4, is_poll=False))
            else:
                await wire.reset()

        asked, origin.instead = len(origin.catch_ups), failing
        origin.tell()
        await until(lambda: len(origin.catch_ups) > asked)
        got = await gateway.ask(get(f"{S}?offset=0004", "X-Own-Way: 1"))
        assert got.status == 503
        origin.instead = None
        assert await up_to(viewer, "0008") == "abcaXYZW"
        assert (await gateway.ask(get(f"{S}?offset=0004"))).body == b"XYZW"
