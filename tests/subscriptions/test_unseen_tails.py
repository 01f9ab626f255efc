"""After a start before an origin, cursors are told at once, and tails once they are known."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

import pytest

from gateway.features.subscriptions.origins import origin_subscriptions
from gateway.features.subscriptions.origins.origin_view import StreamRequests
from tests.subscriptions.origins import LosingWay, before
from tests.subscriptions.receivers import ends_of, receiver, stream_of
from tests.support.serving import PREFIX, serving
from tests.support.waiting import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from gateway.protocol.streams.offsets import TailBound
    from tests.subscriptions.origins import Proxied


@pytest.fixture(params=["file", "redis"])
def place(request: pytest.FixtureRequest, tmp_path: Path, redis_url: str) -> str:
    """The log of the subscriptions: of one gateway, or of several."""
    return redis_url if request.param == "redis" else f"file:{tmp_path / 'subscriptions'}"


@contextlib.asynccontextmanager
async def started_again(place: str) -> AsyncIterator[tuple[Proxied, LosingWay, str, str]]:
    """A gateway whose origin is away since its start, and two offsets of the stream `e/a`.

    The first is acknowledged; the second is its end, to which it has grown since then.
    """
    async with serving() as server, LosingWay(server.port) as way:
        url = f"{way.url}{PREFIX}"
        async with before(url, place) as gateway:
            await gateway.pull("s", pattern="e/*", streams=["missing"])
            acked = (await gateway.create("e/a", body=b'{"n":1}')).next_offset
            await gateway.create("e/new", body=b'{"n":1}')
            claimed = (await gateway.claim())[1]
            assert (await gateway.ack(claimed, ("e/a", acked)))[0] == 200
            await gateway.quiet()
            tail = (await gateway.append("e/a")).next_offset
            await gateway.quiet()
        way.cut()
        async with before(url, place) as gateway:
            yield gateway, way, acked, tail


async def test_a_stored_cursor_is_told_and_may_be_claimed_while_the_origin_is_away(
    place: str,
) -> None:
    async with started_again(place) as (gateway, way, acked, tail):
        cursors = {"e/a": acked, "e/new": "-1", "missing": "-1"}
        assert await gateway.cursors("s") == cursors
        status, claimed = await gateway.claim()
        assert status == 200
        for name, cursor in cursors.items():
            one = stream_of(claimed, name)
            assert (one["acked_offset"], one["tail_offset"]) == (cursor, cursor)
            assert one["has_pending"] is True
        answer = await gateway.ack(claimed, *cursors.items())
        assert answer == (200, {"ok": True, "next_wake": False})
        assert await gateway.cursors("s") == cursors
        status, refused = await gateway.claim()
        assert (status, refused["error"]["code"]) == (409, "NO_PENDING_WORK")
        way.mend()
        await until(lambda: "e/a" in gateway.engine.by_id["s"].pending)
        status, claimed = await gateway.claim()
        assert status == 200
        one = stream_of(claimed, "e/a")
        assert (one["acked_offset"], one["tail_offset"]) == (acked, tail)


async def test_a_cursor_that_is_told_before_the_tail_cannot_be_moved_back_or_beyond(
    place: str,
) -> None:
    async with started_again(place) as (gateway, way, _acked, tail):
        claimed = (await gateway.claim())[1]
        status, refused = await gateway.ack(claimed, ("e/a", "-1"))
        assert (status, refused["error"]["code"]) == (409, "INVALID_OFFSET")
        assert (await gateway.ack(claimed, ("e/a", tail)))[0] in {502, 504}  # nobody knows
        way.mend()
        assert (await gateway.ack(claimed, ("e/a", tail)))[0] == 200
        assert (await gateway.cursors("s"))["e/a"] == tail


async def test_a_stream_whose_tail_was_told_has_nothing_pending_if_all_is_acknowledged(
    place: str,
) -> None:
    async with started_again(place) as (gateway, way, _acked, tail):
        way.mend()
        await until(lambda: not gateway.engine.by_id["s"].unseen)
        claimed = (await gateway.claim())[1]
        assert stream_of(claimed, "missing")["has_pending"] is False
        assert (await gateway.ack(claimed, *ends_of(claimed)))[0] == 200
        assert (await gateway.cursors("s"))["e/a"] == tail
        status, refused = await gateway.claim()
        assert (status, refused["error"]["code"]) == (409, "NO_PENDING_WORK")


async def test_a_wake_tells_the_stored_cursor_of_a_stream_whose_tail_is_not_known_yet(
    place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    told, end_of = asyncio.Event(), StreamRequests.end_of

    async def be_slow(requests: StreamRequests, name: str) -> TailBound | None:
        if name == "e/a":
            await told.wait()
        return await end_of(requests, name)

    monkeypatch.setattr(origin_subscriptions, "COMPARED_WITHIN_S", 0.1)
    async with serving() as server, receiver(answer={"done": True}) as at:
        async with before(server, place) as gateway:
            await gateway.webhook("s", at, pattern="e/*")
            acked = (await gateway.create("e/a", body=b'{"n":1}')).next_offset
            await gateway.create("e/b", body=b'{"n":1}')
            await until(lambda: any(it["path"] == "e/b" for it in at.wakes[-1]["streams"]))
            await gateway.quiet()
        with monkeypatch.context() as delay:
            delay.setattr(StreamRequests, "end_of", be_slow)
            async with before(server, place) as gateway:
                number = len(at.wakes)
                await gateway.append("e/b")
                one = stream_of(await at.wake(number + 1), "e/a")
                assert (one["acked_offset"], one["tail_offset"]) == (acked, acked)
                assert one["has_pending"] is True
                await gateway.quiet()
                told.set()
                await until(lambda: not gateway.engine.by_id["s"].unseen)
                assert len(at.wakes) == number + 1
