"""Followed streams in doubt: who waits for the comparison, and how the doubt ends."""

from __future__ import annotations

import asyncio

import pytest

from headgate_gateway.edge.followed import checks, followed_streams, known_state
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
    viewed,
    waiting,
    was_away,
)
from tests.support.live_origin import LiveOrigin
from tests.support.raw_origin import Wire, answer
from tests.support.serving import edge_serving, get
from tests.support.waiting import until


async def test_a_stream_has_one_feed_again_after_a_lag_that_looked_like_another_stream() -> None:
    """New readers have a feed of their own for as long as the old one is in doubt."""
    async with live(b"a", b"b", b"c") as (origin, gateway):
        viewer = await following(gateway, "0003")
        assert await up_to(viewer, "0003") == ""
        origin.append(b"d")
        assert await up_to(viewer, "0004") == "d"
        await origin.polled(2)
        origin.visible = 2
        assert news(await gateway.ask(get(at("-1"))))[:3] == (200, b"ab", "0002")
        origin.visible = None
        assert text(await viewer.events_to_the_end()) == "d"
        assert news(await gateway.ask(get(at("0002")))) == (200, b"cd", "0004", "true")
        again = await following(gateway, "0004")
        await until(lambda: origin.waiting == 1)
        assert len(gateway.edge.feeds.table.of_path(S)) == 1
        origin.append(b"e")
        assert await up_to(again, "0005") == "e"


async def test_a_read_waits_until_a_second_doubt_is_settled() -> None:
    async with live(b"a", b"b", b"c") as (origin, gateway):
        await caught_up(origin, gateway)
        (stream,) = gateway.edge.feeds.table.of_path(S)
        settled, times = stream.verification._on_settled, 0

        def settle() -> None:
            nonlocal times
            times += 1
            settled()
            if times == 1:
                stream.doubt()

        stream.verification._on_settled = settle
        stream.doubt()
        got = await gateway.ask(get(f"{S}?offset=0002", "X-Own-Way: 1"))
        assert (news(got)[:3], times) == ((200, b"c", "0003"), 2)


async def test_a_feed_without_data_is_not_compared_with_reads_of_a_later_history() -> None:
    """While it is in doubt, a read of the present stream ends where the lost data ended."""
    async with live(b"a", b"b", b"c") as (origin, gateway):
        sent, compares, released = asyncio.Event(), asyncio.Event(), asyncio.Event()

        async def slowly(wire: Wire) -> None:
            origin.instead = None
            await sent.wait()
            await wire.send(origin._read(0, is_poll=False))

        async def comparing(wire: Wire) -> None:
            read = origin._read(0, is_poll=False)
            if "x-own-way" not in wire.heard.named:
                compares.set()
                await released.wait()
            await wire.send(read)

        origin.instead = slowly
        reader = await gateway.connect()
        reader.send(get(f"{S}?offset=-1"))
        await until(lambda: origin.instead is None)
        viewer = await following(gateway, "now")
        assert await up_to(viewer, "0003") == ""
        await origin.polled(1)
        sent.set()
        assert (await reader.answer()).body == b"abc"
        waiter = await polling(gateway, "0003")
        await restored(origin, b"a")
        origin.instead = comparing
        await compares.wait()
        origin.pieces = [b"a", b"X", b"Y"]
        gateway.clock.advance(2)  # nothing is cached any more
        assert (await gateway.ask(get(f"{S}?offset=-1", "X-Own-Way: 1"))).body == b"aXY"
        origin.instead = None
        released.set()
        assert text(await viewer.events_to_the_end()) == ""
        assert (await waiter.answer()).status == 410


async def test_a_read_before_the_end_of_a_shorter_stream_does_not_count_as_compared() -> None:
    """The feed has only a checksum of its data, which says nothing of a part of them."""
    async with live(b"a", b"b", b"c") as (origin, gateway):
        assert (await gateway.ask(get(f"{S}?offset=-1"))).body == b"abc"
        viewer = await following(gateway, "0003")
        assert await up_to(viewer, "0003") == ""
        await origin.polled(1)
        await restored(origin, b"X", b"Y")
        (stream,) = gateway.edge.feeds.table.of_path(S)
        await until(lambda: stream.verification.is_behind)
        got = await gateway.ask(get(f"{S}?offset=0001", "X-Own-Way: 1"))
        assert (got.status, got.body) != (200, b"Y")


async def test_readers_at_the_start_of_the_compared_data_get_410_if_no_byte_matches() -> None:
    """The two histories may have parted before that."""
    async with live(b"a", b"b", b"c") as (origin, gateway):
        viewer = await following(gateway, "now")
        assert await up_to(viewer, "0003") == ""
        await origin.polled(1)
        origin.append(b"d")
        assert await up_to(viewer, "0004") == "d"
        await origin.polled(2)
        await restored(origin, b"a", b"X", b"Y", b"Z", b"W")
        assert text(await viewer.events_to_the_end()) == "d"
        assert (await gateway.ask(get(f"{S}?offset=0003", "X-Own-Way: 1"))).status == 410


async def test_a_comparison_runs_though_waiting_readers_use_all_origin_requests() -> None:
    """They have the beginning of a long answer, and `max_origin_requests` is reached."""
    async with (
        LiveOrigin(b"a", b"b", b"c") as origin,
        edge_serving(origin, {"max_origin_requests": 1}) as gateway,
    ):
        await caught_up(origin, gateway)
        (stream,) = gateway.edge.feeds.table.of_path(S)
        asked, compared = asyncio.Event(), asyncio.Event()
        fields = ["Content-Type: text/plain", "Stream-Next-Offset: 0003"]
        whole = answer(b"c" * 1000, *fields, "Stream-Up-To-Date: true")

        async def slowly(wire: Wire) -> None:
            if "x-own-way" not in wire.heard.named:
                compared.set()
                await wire.send(origin._read(0, is_poll=False))
                return
            asked.set()
            await until(lambda: stream.verification.is_in_doubt)
            await wire.send(whole[:-500])
            await compared.wait()
            await wire.send(whole[-500:])

        origin.instead = slowly
        reader = await gateway.connect()
        reader.send(get(f"{S}?offset=0002", "X-Own-Way: 1"))
        await asked.wait()
        stream.doubt()
        assert (await reader.answer()).body == b"c" * 1000


async def test_a_read_of_an_unfollowed_stream_ends_in_410_once_its_lag_has_lasted_too_long(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Else each reader began a comparison that ended without a finding, and got 503 for ever."""
    monkeypatch.setattr(checks, "LONGEST_COMPARISON_S", 0.02)
    monkeypatch.setattr(known_state, "PERSISTS_S", 0.3)
    monkeypatch.setattr(followed_streams, "LONGEST_DOUBT_S", 0.4)
    monkeypatch.setattr(followed_streams, "LINGER_S", 0.1)
    async with live(b"a", b"b", b"c") as (origin, gateway):
        assert (await gateway.ask(get(f"{S}?offset=-1"))).body == b"abc"
        was_away(gateway)
        origin.pieces = [b"a", b"X"]

        async def status() -> int:
            return (await gateway.ask(get(f"{S}?offset=0001", "X-Own-Way: 1"))).status

        assert await status() == 503

        async def is_gone() -> bool:
            return await status() == 410

        await until(is_gone, "the shorter stream to count as another one", within_s=3)
        assert gateway.limits.feeds == 0


async def test_a_feed_begun_after_a_change_of_history_gives_nothing_for_earlier_offsets() -> None:
    """Nobody followed the stream when the origin came back, and both histories have an offset."""
    async with live(b"a", b"b", b"c") as (origin, gateway):
        waiter = await polling(gateway, "0003")
        for number, piece in enumerate((b"d", b"e"), start=3):
            await origin.polled(number - 2)
            origin.append(piece)
            assert (await waiter.answer()).body == piece
            waiter = await polling(gateway, f"{number + 1:04}")
        (stream,) = gateway.edge.feeds.table.of_path(S)
        gateway.edge.feeds._rest(stream)  # as after LINGER_S
        was_away(gateway)
        origin.pieces = [b"a", b"X", b"Y"]
        viewer = await following(gateway, "now")
        origin.append(b"Z")
        origin.append(b"W")
        await until(lambda: len(origin.catch_ups) > 1)
        assert (await gateway.ask(get(at("0004")))).status == 410
        assert await up_to(viewer, "0005") == "ZW"


async def test_a_reader_of_now_goes_on_although_an_earlier_stream_of_that_length_was_lost() -> None:
    """Else each new feed was compared with what the earlier stream had there, and ended."""
    async with live(b"a", b"b", b"c") as (origin, gateway):
        assert (await gateway.ask(get(f"{S}?offset=-1"))).body == b"abc"
        was_away(gateway)
        origin.pieces = [b"a", b"X", b"Y"]
        lost = await following(gateway, "now")
        await lost.events_to_the_end()
        viewer = await following(gateway, "now")
        origin.append(b"Z")
        assert await up_to(viewer, "0004") == "Z"


async def test_a_poll_from_now_gets_204_with_the_new_tail_when_its_stream_is_lost() -> None:
    """It has got nothing, so it goes on in any stream; other polls get 410."""
    async with live(b"a", b"b", b"c") as (origin, gateway):
        assert (await gateway.ask(get(f"{S}?offset=-1"))).body == b"abc"
        waiter = await polling(gateway, "now")
        other = await polling(gateway, "0003")
        await origin.polled(1)
        await restored(origin, b"a", b"X", b"Y", b"Z")
        assert (await other.answer()).status == 410
        assert news(await waiter.answer()) == (204, b"", "0004", "true")


@pytest.mark.parametrize("rests", [False, True])
@pytest.mark.parametrize("offset", ["0003", "0004"])
async def test_offsets_of_a_lost_feed_are_refused_although_a_new_feed_has_begun(
    offset: str, rests: bool
) -> None:
    """Nobody waits in the old feed, which is in doubt, but its readers come back."""
    async with waiting(b"a", b"b", b"c") as (origin, gateway, waiter):
        origin.append(b"d")
        assert (await waiter.answer()).body == b"d"
        await origin.polled(2)
        await restored(origin, b"a", b"X")
        assert (await gateway.ask(get(at("-1")))).body == b"aX"
        if rests:  # as when the origin is away for longer
            (old,) = (one for one in gateway.edge.feeds.table.of_path(S) if one.feed.tail == "0004")
            gateway.edge.feeds._rest(old)
        viewer = await following(gateway, "0002")
        origin.append(b"Y", b"Z", b"W")
        assert await up_to(viewer, "0005") == "YZW"
        assert (await gateway.ask(get(at(offset), "X-Own-Way: 1"))).status == 410


async def test_readers_of_the_present_stream_continue_when_the_old_one_proves_lost() -> None:
    """Their feed began beside the old one, which goes further."""
    async with viewed(b"a", b"b", b"c") as (origin, gateway, viewer):
        assert await up_to(viewer, "0003") == ""
        origin.append(b"d")
        assert await up_to(viewer, "0004") == "d"
        await origin.polled(2)
        await restored(origin, b"a", b"X")
        assert (await gateway.ask(get(at("-1")))).body == b"aX"
        origin.append(b"Y")
        assert (await gateway.ask(get(at("0002")))).body == b"Y"
        origin.append(b"Z", b"W")
        assert text(await viewer.events_to_the_end()) == "d"  # the old feed
        assert (await gateway.ask(get(at("0002")))).body == b"YZW"
        assert (await gateway.ask(get(at("0004")))).status == 410
