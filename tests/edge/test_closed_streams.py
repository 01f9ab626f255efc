"""Streams that were closed, and may have been made anew since; and tails that were not reached."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from headgate_gateway.rules.read_rules import AMBIGUOUS_S
from tests.edge.live_readers import (
    S,
    at,
    following,
    held_up,
    live,
    news,
    polling,
    text,
    up_to,
    waiting,
)
from tests.edge.live_readers import told as told_of
from tests.support.live_origin import LiveOrigin
from tests.support.raw_origin import RawOrigin, Steps, Wire, answer, silence
from tests.support.serving import EDGE, Serving, edge_serving, get, request
from tests.support.waiting import until

if TYPE_CHECKING:
    from tests.support.raw_origin import Play

NEVER_KEPT = "Cache-Control: no-store"
LONG = b"c" * (8 << 20)  # more than a connection takes whose client takes nothing


async def stalled(origin: LiveOrigin, gateway: Serving) -> None:
    viewer = await following(gateway, "0001")
    await origin.polled(1)
    viewer.pause()
    origin.append(LONG)
    await origin.polled(2)
    (stream,) = gateway.edge.feeds.table.by_key.values()
    (reader,) = stream.feed.sse_readers.ends
    await until(lambda: reader.paused)  # long news come to it in a turn of their own


async def stalled_at_the_end(origin: LiveOrigin, gateway: Serving) -> None:
    """The same, of a stream that was closed meanwhile."""
    await stalled(origin, gateway)
    origin.close_stream()
    await until(lambda: _is_closed(gateway))


def _is_closed(gateway: Serving) -> bool:
    stream = gateway.edge.feeds.peek(("headgate.test", S, (), ""), "-1")
    return stream is not None and stream.feed.closed


def made_anew(origin: LiveOrigin, *pieces: bytes) -> None:
    """Another stream at the path, of which nobody tells the gateway."""
    origin.pieces = list(pieces)
    origin.closed_stream = False


@pytest.mark.parametrize("anew", [(b"x", b"y", b"z"), (b"x",), ()])
async def test_a_stream_recreated_after_its_closure_is_followed(anew: tuple[bytes, ...]) -> None:
    """Nothing is heard any more of the one that was closed, whoever still waits for its end."""
    async with live(b"a") as (origin, gateway):
        origin.says = [NEVER_KEPT]
        await stalled_at_the_end(origin, gateway)
        made_anew(origin, *anew)
        viewer = await following(gateway, "-1")
        assert await up_to(viewer, f"{len(anew):04}") == b"".join(anew).decode()
        gateway.clock.advance(AMBIGUOUS_S)  # the offset may be of the old stream until then
        waiter = await polling(gateway, f"{len(anew):04}")
        await origin.polled(3)
        origin.append(b"w")
        assert news(await waiter.answer()) == (200, b"w", f"{len(anew) + 1:04}", "true")
        assert await up_to(viewer, f"{len(anew) + 1:04}") == b"".join([*anew, b"w"]).decode()


@pytest.mark.parametrize("mode", ["long-poll", "sse"])
async def test_a_cached_read_of_a_recreated_stream_stops_readers_from_waiting_in_the_closed_feed(
    mode: str,
) -> None:
    """What was closed has no news, so nobody is to wait with those who still read it."""
    async with live(b"a") as (origin, gateway):
        origin.says = ["Cache-Control: public, max-age=60"]
        await stalled_at_the_end(origin, gateway)
        made_anew(origin, b"x")
        assert (await gateway.ask(get(f"{S}?offset=-1", "X-Own-Way: 1"))).body == b"x"
        gateway.clock.advance(AMBIGUOUS_S)  # the offset may be of the old stream until then
        asked = len(origin.catch_ups)
        viewer = await gateway.connect()
        viewer.send(get(at("0001", mode)))
        await origin.polled(3)
        assert len(origin.catch_ups) <= asked + 1
        origin.append(b"y")
        if mode == "sse":
            await viewer.answer()
            assert await up_to(viewer, "0002") == "y"
        else:
            assert news(await viewer.answer()) == (200, b"y", "0002", "true")


async def test_a_viewer_of_a_recreated_stream_gets_news_after_reading_to_the_closed_end() -> None:
    """Of an origin that never tells of tails, only an empty answer shows where one is."""
    async with live(b"a") as (origin, gateway):
        origin.says = [NEVER_KEPT]
        origin.tells_of_tails = False
        await stalled_at_the_end(origin, gateway)
        made_anew(origin, b"x")
        viewer = await following(gateway, "-1")
        await viewer.events_to_the_end()
        again = await following(gateway, "0001")
        await origin.polled(3)
        origin.append(b"y")
        assert text(await again.events_until(told_of("0002"))) == "y"


async def test_a_poll_that_reads_to_the_end_of_a_closed_stream_starts_no_feed() -> None:
    """Or readers who come when it was made anew would wait with those of the old one."""
    async with live(b"a", b"b") as (origin, gateway):
        origin.says = [NEVER_KEPT]
        origin.close_stream()
        assert (await gateway.ask(get(at("-1")))).get("Stream-Closed") == "true"
        assert gateway.limits.feeds == 0
        made_anew(origin, b"x", b"y", b"z")
        waiter = await polling(gateway, "0003")
        await origin.polled(1)
        origin.append(b"w")
        assert news(await waiter.answer()) == (200, b"w", "0004", "true")


async def test_an_append_through_the_gateway_ends_a_feed_that_was_closed() -> None:
    async with live(b"a") as (origin, gateway):
        await stalled_at_the_end(origin, gateway)
        made_anew(origin, b"x", b"y", b"z")
        assert (await gateway.ask(request("POST", S, body=b"z"))).status == 204
        assert gateway.limits.feeds == 0


async def test_an_append_through_the_gateway_drops_a_cached_closed_response() -> None:
    """What it was written to is another stream."""
    async with LiveOrigin(b"a") as origin, edge_serving(origin) as gateway:
        origin.close_stream()
        whole = get(f"{EDGE}/s?offset=-1")
        assert (await gateway.ask(whole)).get("Stream-Closed") == "true"
        made_anew(origin, b"x", b"y")
        assert (await gateway.ask(request("POST", S, body=b"y"))).status == 204
        assert (await gateway.ask(whole)).body == b"xy"


async def test_a_poll_that_times_out_after_a_part_of_the_news_gets_the_rest() -> None:
    """The origin has told of a part, and not that it was all."""
    async with waiting(b"a") as (origin, gateway, waiter):

        async def a_part(wire: Wire) -> None:
            origin.instead = silence
            told = ("Stream-Next-Offset: 0002", "Content-Type: text/plain")
            await wire.send(answer(b"b", *told))

        origin.instead = a_part
        origin.append(b"b", b"c")
        assert news(await waiter.answer()) == (200, b"b", "0002", None)
        origin.instead = None
        gateway.polls_wait(0.05)
        assert news(await gateway.ask(get(at("0002")))) == (200, b"c", "0003", "true")


@pytest.mark.parametrize("mode", ["long-poll", "sse"])
async def test_a_read_begun_before_a_deletion_adds_nothing_to_the_next_stream(
    mode: str,
) -> None:
    """The answer comes when the stream that has taken its place is followed already."""
    async with live(b"a", b"b", b"c") as (origin, gateway):
        told = ("Content-Type: text/plain", "Stream-Next-Offset: 0003", "Stream-Up-To-Date: true")
        early, late = await held_up(origin, gateway, at("-1", mode), answer(b"abc", *told))
        assert (await gateway.ask(request("DELETE", S))).status == 204
        origin.pieces = []
        assert (await gateway.ask(request("PUT", S))).status == 204
        origin.append(b"x", b"y", b"z")
        viewer = await following(gateway, "0003")
        await origin.polled(1)
        late.go()
        await early.answer()
        if mode == "sse":
            await early.events_until(told_of("0003"))
        assert news(await gateway.ask(get(at("-1")))) == (200, b"xyz", "0003", "true")
        assert (await gateway.ask(get(f"{S}?offset=-1"))).body == b"xyz"
        origin.append(b"w")
        assert await up_to(viewer, "0004") == "w"


def read(body: bytes, end: str, *fields: str) -> bytes:
    return answer(body, "Content-Type: text/plain", f"Stream-Next-Offset: {end}", *fields)


class Scripted(RawOrigin):
    """Answers each catch-up as it is told to, and keeps every poll."""

    def __init__(self) -> None:
        super().__init__(self._play)
        self.reads: dict[str, bytes | Play] = {}
        self.polls = 0

    async def _play(self, wire: Wire) -> None:
        method, target = self.heard[-1].line.split(" ")[:2]
        _, _, offset = target.rpartition("offset=")
        script = self.reads.get(offset, b"")
        if "live=long-poll" in target:
            self.polls += 1
            await silence(wire)
        elif method != "GET":
            await wire.send(answer(status="204 No Content"))
        elif isinstance(script, bytes):
            await wire.send(script)
        else:
            await script(wire)


async def test_events_read_before_a_deletion_are_not_sent_to_readers_of_the_next_stream() -> None:
    """Neither to those who come while they are read, nor later from what was kept of them."""
    async with Scripted() as origin, edge_serving(origin) as gateway:
        late = Steps(b"", read(b"b", "0002"))
        tail = "Stream-Up-To-Date: true"
        origin.reads = {"-1": read(b"a", "0001"), "now": read(b"", "0003", tail), "0001": late}
        await following(gateway, "-1")
        await until(lambda: late.sent == 1)
        assert (await gateway.ask(request("DELETE", S))).status == 204
        end = Steps(b"", read(b"z", "0003", tail))
        origin.reads |= {"-1": read(b"x", "0001"), "0001": read(b"y", "0002"), "0002": end}
        viewers = [await following(gateway, "-1")]
        await until(lambda: end.sent == 1)
        late.go()
        viewers.append(await following(gateway, "-1"))
        end.go()
        for viewer in viewers:
            assert await up_to(viewer, "0003") == "xyz"


async def test_recent_data_past_the_end_of_a_possibly_new_stream_is_not_sent() -> None:
    """The origin has just told of one that ends before them: it is asked instead."""
    async with waiting(b"a") as (origin, gateway, waiter):
        origin.append(b"b", b"c")
        assert news(await waiter.answer()) == (200, b"bc", "0003", "true")
        await origin.polled(2)
        origin.pieces = [b"x", b"y"]
        asked = len(origin.catch_ups)
        origin.tell()
        await until(lambda: len(origin.catch_ups) > asked)  # whether it is another stream
        assert (await gateway.ask(get(at("0001")))).status == 410


@pytest.mark.parametrize("come", [0, 200])
@pytest.mark.parametrize("mode", ["", "&live=sse", "&live=long-poll"])
async def test_a_read_begun_before_a_closure_and_answered_after_it_does_not_undo_the_closure(
    mode: str, come: int
) -> None:
    """Its answer was right when it was given: the stream is no other one."""
    async with live(b"a") as (origin, gateway):
        await stalled(origin, gateway)
        fields = ("Content-Type: text/plain", "Stream-Next-Offset: 0002", "Stream-Up-To-Date: true")
        whole = answer(b"a" + LONG, *fields, NEVER_KEPT)
        late = Steps(whole[:come], whole[come:])
        origin.instead = late
        reader = await gateway.connect()
        reader.send(get(f"{S}?offset=-1{mode}"))
        await until(lambda: late.sent == 1)
        origin.instead = None
        origin.close_stream()
        await until(lambda: _is_closed(gateway))
        late.go()
        if mode == "&live=sse":
            assert (await reader.answer()).status == 200
            assert text(await reader.events_to_the_end()).encode() == b"a" + LONG
        else:
            assert (await reader.answer()).body == b"a" + LONG
        for target in (at("0002"), f"{S}?offset=0002"):
            later = await gateway.ask(get(target))
            assert later.status < 300, later
            assert later.get("Stream-Closed") == "true"
