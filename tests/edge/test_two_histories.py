"""An origin that comes back with an older copy, and has grown past the old tail before it is asked.

Nobody is given lost data and new data as one stream.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from gateway.edge import poller
from tests.edge.live_readers import S, at, following, live, news, polling, text, up_to
from tests.support.raw_origin import reset
from tests.support.waiting import until
from tests.web.serving import get, post, request

if TYPE_CHECKING:
    from tests.support.http1 import Client
    from tests.support.live_origin import LiveOrigin
    from tests.web.serving import Serving

OLD = (b"a", b"b", b"c")
NEW = [b"a", b"X", b"Y", b"Z", b"W"]  # of an older copy, and longer than the old one


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """A follower gives a replica that lags a moment only."""
    monkeypatch.setattr(poller, "PERSISTS_S", 0.3)


async def restored(origin: LiveOrigin, *pieces: bytes) -> None:
    """Cut the feed's poll, and come back with these pieces."""
    origin.instead = reset
    origin.tell()
    await until(lambda: origin.waiting == 0)
    origin.pieces = list(pieces)
    origin.instead = None


async def seen_by_all(
    gateway: Serving, viewer: Client, waiter: Client, whole: bytes = b"".join(NEW)
) -> None:
    """Everybody who has lost data is sent away, and who begins gets what there is."""
    assert text(await viewer.events_to_the_end()) in {"", "abc"}
    assert (await waiter.answer()).status == 410
    for mode in ("", "&live=long-poll"):
        assert (await gateway.ask(get(f"{S}?offset=-1{mode}"))).body == whole
    for mode in ("", "&live=long-poll", "&live=sse"):
        assert (await gateway.ask(get(f"{S}?offset=0003{mode}"))).status == 410


async def both(gateway: Serving, start: str = "-1") -> tuple[Client, Client]:
    """A reader of events and one of polls, at the end of what there is."""
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
    """The copy is as old as it may be."""
    gateway.clock.advance(600)
    await gateway.ask(get(f"{S}?offset=0000", "X-Own-Way: 1"))


@pytest.mark.parametrize("shows", [_reads, _asks_for_the_head, _appends, _reads_all])
async def test_any_answer_that_ends_before_the_feed_has_it_compared(shows: object) -> None:
    """The poll hangs on: nothing fails."""
    async with live(*OLD) as (origin, gateway):
        viewer, waiter = await both(gateway)
        await origin.polled(1)
        origin.pieces = [b"a", b"X"]
        await shows(gateway, origin)  # type: ignore[operator] # one of these
        origin.pieces = list(NEW)
        origin.tell()
        assert text(await viewer.events_to_the_end()) == "abc"
        assert (await waiter.answer()).status == 410
