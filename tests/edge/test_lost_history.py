"""An origin whose stream is no longer the one that was followed, and offsets of the one before."""

from __future__ import annotations

import pytest

from headgate_gateway.edge.followed import known_state
from headgate_gateway.rules.read_rules import PERSISTS_S
from tests.edge.live_readers import (
    S,
    at,
    confirmed_at_tail,
    following,
    live,
    news,
    polling,
    restored,
    up_to,
    viewed,
    waiting,
)
from tests.support.live_origin import LiveOrigin
from tests.support.raw_origin import answer
from tests.support.serving import EDGE, Serving, edge_serving, get
from tests.support.waiting import until

OLD = (b"a", b"b", b"c")


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """A follower gives the origin a moment only; the gateway's clock stands until it is moved."""
    monkeypatch.setattr(known_state, "PERSISTS_S", 0.3)


async def is_gone_in_the_end(gateway: Serving, target: str, *fields: str) -> None:
    """At first the origin may only lag."""
    assert (await gateway.ask(get(target, *fields))).status == 503
    gateway.clock.advance(PERSISTS_S - 0.1)
    assert (await gateway.ask(get(target, *fields))).status == 503
    gateway.clock.advance(0.1)
    assert (await gateway.ask(get(target, *fields))).status == 410


@pytest.mark.parametrize("tells_at_once", [True, False])
async def test_a_shorter_recreated_stream_is_not_joined_with_the_old_one(
    tells_at_once: bool,
) -> None:
    """Its origin may answer a poll past the end at once, or keep it until there are more news."""
    async with live(*OLD) as (origin, gateway):
        origin.holds_past_the_end = not tells_at_once
        viewer = await following(gateway, "-1")
        assert await up_to(viewer, "0003") == "abc"
        waiter = await polling(gateway, "0003")
        await origin.polled(1)
        assert (await gateway.ask(get(f"{S}?offset=-1"))).body == b"abc"
        await restored(origin, b"x")
        assert (await waiter.answer()).status == 410
        await viewer.events_to_the_end()
        await until(lambda: gateway.limits.feeds == 0)
        origin.append(b"yz")
        assert (await gateway.ask(get(f"{S}?offset=-1"))).body == b"xyz"


async def test_a_poll_response_that_ends_before_its_start_ends_all_readers() -> None:
    async with waiting(*OLD) as (origin, gateway, waiter):
        viewer = await following(gateway, "0003")
        origin.pieces = [b"x"]
        origin.tell()
        assert (await waiter.answer()).status == 410
        await viewer.events_to_the_end()
        await until(lambda: gateway.limits.feeds == 0)


@pytest.mark.parametrize("mode", ["", "&live=long-poll", "&live=sse"])
async def test_an_offset_past_the_end_is_refused_with_410(mode: str) -> None:
    """It is of another stream; nothing of this one follows what its reader has."""
    async with live(b"a") as (origin, gateway):
        await is_gone_in_the_end(gateway, f"{S}?offset=0003{mode}")
        origin.append(b"b")
        assert (await gateway.ask(get(f"{S}?offset=0003{mode}"))).status == 410


async def test_a_lagging_replica_is_a_503_until_it_has_caught_up() -> None:
    async with live(b"a") as (origin, gateway):
        origin.says = ["Cache-Control: no-store"]
        for _ in range(3):
            assert (await gateway.ask(get(f"{S}?offset=0002"))).status == 503
            gateway.clock.advance(PERSISTS_S - 0.1)
            origin.append(b"b")  # it has caught up
            assert (await gateway.ask(get(f"{S}?offset=0002"))).status == 200
            del origin.pieces[1:]  # another replica


@pytest.mark.parametrize("is_the_same", [True, False])
async def test_a_feed_continues_after_a_shorter_answer_only_if_its_recent_data_are_unchanged(
    is_the_same: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(known_state, "PERSISTS_S", 60.0)
    async with viewed(b"a") as (origin, gateway, viewer):
        origin.append(b"b")
        assert await up_to(viewer, "0002") == "b"
        await origin.polled(2)
        asked = len(origin.catch_ups)
        origin.pieces = [b"a"]
        origin.tell()
        await until(lambda: len(origin.catch_ups) > asked)  # they are looked for again
        origin.pieces = [b"a", b"b", b"c"] if is_the_same else [b"x", b"y", b"z"]
        if is_the_same:
            assert await up_to(viewer, "0003") == "bc"
        else:
            await viewer.events_to_the_end()
            await until(lambda: gateway.limits.feeds == 0)


async def test_an_invented_offset_does_not_disturb_readers_or_cached_responses() -> None:
    async with waiting(b"a") as (origin, gateway, waiter):
        await gateway.ask(get(f"{S}?offset=-1"))
        asked = len(origin.catch_ups)
        for mode in ("", "&live=long-poll", "&live=sse"):
            assert (await gateway.ask(get(f"{S}?offset=0009{mode}"))).status == 503
        assert len(origin.catch_ups) == asked + 3
        assert (await gateway.ask(get(f"{S}?offset=-1"))).body == b"a"
        assert len(origin.catch_ups) == asked + 3
        origin.append(b"b")
        assert news(await waiter.answer()) == (200, b"b", "0002", "true")


async def test_cached_responses_of_a_lost_stream_are_dropped_once_a_read_shows_the_loss() -> None:
    """Or who is told that the offset is gone, and begins anew, would be given the old stream."""
    async with live(*OLD) as (origin, gateway):
        assert (await gateway.ask(get(f"{S}?offset=-1"))).body == b"abc"
        origin.pieces = [b"x"]
        assert (await gateway.ask(get(f"{S}?offset=0003"))).status == 503
        assert (await gateway.ask(get(f"{S}?offset=-1"))).body == b"x"


@pytest.mark.parametrize(("offset", "seconds"), [("0002", 361), ("0003", 2)])
async def test_a_stale_response_does_not_stand_in_for_a_lost_stream(
    offset: str, seconds: float
) -> None:
    async with live(*OLD) as (origin, gateway):
        assert (await gateway.ask(get(f"{S}?offset={offset}"))).status == 200
        origin.pieces = [b"x"]
        gateway.clock.advance(seconds)
        await is_gone_in_the_end(gateway, f"{S}?offset={offset}", "X-Own-Way: 1")


async def test_a_read_at_the_tail_is_not_answered_from_the_feed_after_one_failed_poll() -> None:
    async with confirmed_at_tail(b"a") as (origin, gateway):
        asked = len(origin.catch_ups)
        origin.answer_all(answer(status="500 Oops"))
        await until(lambda: len(origin.catch_ups) > asked)
        assert (await gateway.ask(get(f"{S}?offset=0001", "X-Own-Way: 1"))).get("X-Cache") != (
            "COLLAPSED"
        )


async def test_an_equally_long_recreated_stream_is_not_answered_with_304() -> None:
    """Of an origin without ETags, nothing but the bytes tells the two apart."""
    async with LiveOrigin(b"old") as origin, edge_serving(origin) as gateway:
        whole = f"{EDGE}/s?offset=-1"
        before = (await gateway.ask(get(whole))).get("ETag")
        assert (await gateway.ask(get(whole, f"If-None-Match: {before}"))).status == 304
        origin.pieces = [b"new"]
        gateway.clock.advance(3600)
        got = await gateway.ask(get(whole, f"If-None-Match: {before}"))
        assert (got.status, got.body) == (200, b"new")


async def test_recent_data_of_equally_long_streams_have_different_tags() -> None:
    tags = set()
    for piece in (b"old", b"new"):
        async with live(b"a") as (origin, gateway):
            waiter = await polling(gateway, "0001")
            await origin.polled(1)
            origin.append(piece)
            tags.add((await waiter.answer()).get("ETag"))
    assert len(tags) == 2


async def test_polls_and_viewers_continue_after_the_origin_restarts_with_the_same_stream() -> None:
    async with viewed(b"a") as (origin, gateway, viewer):
        await restored(origin, b"a", b"b")
        assert await up_to(viewer, "0002") == "b"
        await origin.polled(2)
        assert news(await gateway.ask(get(at("0001")))) == (200, b"b", "0002", "true")


async def test_a_read_that_ends_before_the_followed_tail_is_not_joined_with_the_feed() -> None:
    """The poll may hang on at the old stream for long."""
    async with live(*OLD) as (origin, gateway):
        origin.says = ["Cache-Control: no-store"]
        origin.append(b"d", b"e", b"f")
        viewer = await following(gateway, "0003")
        assert await up_to(viewer, "0006") == "def"
        await origin.polled(1)
        origin.pieces = [b"X", b"Y", b"Z"]  # nothing tells the poll
        for _ in range(2):
            assert (await gateway.ask(get(f"{S}?offset=-1", "X-Own-Way: 1"))).body == b"XYZ"


async def test_a_cached_response_past_the_end_of_a_shorter_stream_is_not_followed() -> None:
    async with live(*OLD) as (origin, gateway):
        assert (await gateway.ask(get(f"{S}?offset=-1"))).body == b"abc"
        origin.pieces = [b"x"]
        viewer = await following(gateway, "-1")
        assert await up_to(viewer, "0001") == "x"
        await origin.polled(1)
        origin.append(b"y", b"z")
        assert await up_to(viewer, "0003") == "xyz"
