"""One request at the origin for all who want the same: whoever leaves, however it ends."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from headgate_gateway.edge.reads import variants
from headgate_gateway.edge.reads.shared_response import (
    AHEAD_BYTES,
    LONGEST_GATHERED,
    SLOW_S,
    FetchReader,
    SharedBody,
)
from headgate_gateway.errors import HeadgateError, OriginBroken, OriginTimeout
from tests.edge.reads.stage import Stage, Told, cache_before, told
from tests.support import virtual_time
from tests.support.raw_origin import RawOrigin, Steps, answer, close, reset, silence
from tests.support.waiting import until

if TYPE_CHECKING:
    from tests.support.raw_origin import Play, Wire

MINUTE = "Cache-Control: max-age=60"
NOT_KEPT = "Cache-Control: no-store"
MB = 1 << 20


def head(length: int, *fields: str) -> bytes:
    lines = ["HTTP/1.1 200 OK", *fields, f"Content-Length: {length}", "", ""]
    return "\r\n".join(lines).encode()


async def readers_of(stage: Stage, raw: RawOrigin, count: int) -> list[asyncio.Task[Told]]:
    """A leader and others who wait for the same request."""
    readers = [asyncio.create_task(stage.get()) for _ in range(count)]
    await until(lambda: len(raw.heard) >= 1 and stage.cache.fetches.collapsed == count - 1)
    return readers


async def sent(steps: Steps, packets: int) -> None:
    await until(lambda: steps.sent == packets)


class Stream:
    """Sends a long body as fast as it is taken, and tells how far it came."""

    def __init__(self, length: int, *fields: str) -> None:
        self.sent = 0
        self.ended = False
        self._length = length
        self._fields = fields

    async def __call__(self, wire: Wire) -> None:
        await wire.send(head(self._length, *self._fields))
        sent = 0
        while sent < self._length and not wire.is_closing():
            part = b"x" * min(65536, self._length - sent)
            await wire.send(part)
            sent += len(part)
            self.sent += len(part)
        self.ended = True


async def test_a_fetch_continues_when_its_leader_leaves_within_the_body() -> None:
    steps = Steps(head(8, MINUTE) + b"da", b"ta", b"more")
    async with cache_before(steps) as (raw, stage):
        leader = asyncio.create_task(stage.given())
        await until(lambda: steps.sent == 1)
        others = [asyncio.create_task(stage.get()) for _ in range(3)]
        source = (await leader).source
        assert source is not None
        assert await anext(source.parts()) == b"da"
        source.release()
        steps.go()
        steps.go()
        assert [reader.body for reader in await asyncio.gather(*others)] == [b"datamore"] * 3
        assert (await stage.get()).x_cache == "HIT"
        assert len(raw.heard) == 1


async def test_a_reader_that_arrives_as_the_last_one_leaves_starts_a_new_fetch() -> None:
    async with cache_before(silence, answer(b"data", MINUTE)) as (raw, stage):
        (leader,) = await readers_of(stage, raw, 1)
        leader.cancel()
        await asyncio.wait([leader])
        assert (await stage.get()).body == b"data"
        assert stage.origin.requests.count == 0


async def test_a_refresh_continues_without_a_waiting_reader() -> None:
    old = answer(b"old", "Cache-Control: max-age=1, stale-while-revalidate=60")
    steps = Steps(b"", answer(b"new", MINUTE))
    async with cache_before(old, steps) as (_, stage):
        await stage.get()
        stage.clock.advance(2)
        assert (await stage.get()).x_cache == "STALE"
        await until(lambda: steps.sent == 1)
        stale = stage.find()
        steps.go()
        await until(lambda: stage.find() is not stale)
        assert (await stage.get()).body == b"new"


async def begun_and_left(stage: Stage, steps: Steps) -> None:
    """The head is there, and the only reader gone."""
    given = await stage.given()
    assert given.source is not None
    assert steps.sent == 1
    stage.cached.close()


async def test_a_cacheable_response_is_fetched_to_its_end_without_readers() -> None:
    steps = Steps(head(4, MINUTE) + b"da", b"ta")
    async with cache_before(steps) as (_, stage):
        await begun_and_left(stage, steps)
        steps.go()
        await until(lambda: stage.find() is not None)
        assert (await stage.get()).x_cache == "HIT"


@pytest.mark.parametrize("comes_back", [False, True])
async def test_a_cacheable_response_without_readers_is_fetched_for_finish_s_only(
    comes_back: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("headgate_gateway.edge.reads.fetches.FINISH_S", 0.2)
    steps = Steps(head(4, MINUTE) + b"da", b"ta")
    async with cache_before(steps) as (_, stage):
        await begun_and_left(stage, steps)
        again = asyncio.create_task(stage.get()) if comes_back else None
        await asyncio.sleep(0.3)  # longer than that: the time is what is tested
        assert stage.origin.requests.count == comes_back
        steps.go()
        if again is not None:
            assert (await again).body == b"data"
        assert (stage.find() is not None) is comes_back


@pytest.mark.parametrize("passes", range(8))
async def test_a_reader_that_arrives_as_an_unread_fetch_times_out_gets_the_response(
    passes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However far the end of the request has come: it takes some passes of the loop."""
    monkeypatch.setattr("headgate_gateway.edge.reads.fetches.FINISH_S", 0.0)
    steps = Steps(head(4, MINUTE) + b"da", b"ta")
    async with cache_before(steps, answer(b"anew", MINUTE)) as (raw, stage):
        await begun_and_left(stage, steps)
        for _ in range(passes):
            await asyncio.sleep(0)
        again = asyncio.create_task(stage.get())
        await until(lambda: again.done() or len(raw.heard) == 2)
        steps.go()
        assert (await again).body in {b"data", b"anew"}


@pytest.mark.parametrize("field", [NOT_KEPT, MINUTE])
async def test_a_response_that_will_not_be_cached_ends_with_its_last_reader(field: str) -> None:
    """Also between two parts, and what a write has made old while it came."""
    steps = Steps(head(4, field) + b"da", b"ta")
    async with cache_before(steps) as (_, stage):
        given = await stage.given()
        assert given.source is not None
        stage.cache.forget(stage.request().path)
        stage.cached.close()
        await until(lambda: stage.origin.requests.count == 0)


async def test_an_uncacheable_response_is_not_read_on_without_readers() -> None:
    endless = Stream(50 * MB, NOT_KEPT)
    async with cache_before(endless) as (_, stage):
        given = await stage.given()
        assert given.source is not None
        given.source.release()
        await until(lambda: endless.ended)
        assert endless.sent < 25 * MB


async def test_a_leader_that_does_not_read_does_not_delay_the_others() -> None:
    body = b"x" * (2 * MB)
    async with cache_before(Stream(len(body), MINUTE)) as (raw, stage):
        slow = asyncio.create_task(stage.given())
        await until(lambda: len(raw.heard) == 1)
        others = [asyncio.create_task(stage.get()) for _ in range(3)]
        assert [reader.body == body for reader in await asyncio.gather(*others)] == [True] * 3
        assert (await told(await slow)).body == body
        assert len(raw.heard) == 1


FAILURES = [
    (close, OriginBroken),
    (reset, OriginBroken),
    pytest.param(b"nonsense\r\n\r\n", OriginBroken, id="no-http"),
    pytest.param(head(9, MINUTE) + b"data", OriginTimeout, id="a-stall-within-the-body"),
    (silence, OriginTimeout),
]


@pytest.mark.parametrize(("failure", "error"), FAILURES)
async def test_an_error_reaches_every_waiting_reader_once_and_is_not_cached(
    failure: bytes | Play, error: type[HeadgateError]
) -> None:
    begin = asyncio.Event()

    async def fails(wire: Wire) -> None:
        await begin.wait()
        if isinstance(failure, bytes):
            await wire.send(failure)
            await wire.rest()
        else:
            await failure(wire)

    times = dict.fromkeys(("response_timeout", "read_timeout"), 1 if error is OriginTimeout else 10)
    async with cache_before(fails, **times) as (raw, stage):
        readers = await readers_of(stage, raw, 5)
        begin.set()
        errors = await asyncio.gather(*readers, return_exceptions=True)
        assert [type(one) for one in errors] == [error] * 5
        assert len(raw.heard) <= 2  # one that was cut is repeated once
        raw.scripts = [answer(b"data", MINUTE)]
        assert (await stage.get()).body == b"data"


async def test_a_body_delimited_by_the_connection_end_is_not_cached() -> None:
    async def ends(wire: Wire) -> None:
        await wire.send(f"HTTP/1.1 200 OK\r\n{MINUTE}\r\n\r\ndata".encode())
        await wire.close()

    async with cache_before(ends) as (_, stage):
        for _ in range(2):
            reader = await stage.get()
            assert (reader.body, reader.x_cache) == (b"data", "MISS")
            assert "stored" not in reader.status_field


async def test_an_error_within_an_uncacheable_body_reaches_its_reader() -> None:
    steps = Steps(head(8, NOT_KEPT) + b"data", then=reset)
    async with cache_before(steps) as (_, stage):
        given = await stage.given()
        steps.go()
        with pytest.raises(OriginBroken):
            await told(given)


async def test_a_stream_read_is_returned_when_it_is_known_whether_it_is_empty() -> None:
    steps = Steps(head(5, MINUTE, "Stream-Next-Offset: 9") + b"[", b"1", b",2]")
    async with cache_before(steps) as (_, stage):
        reader = asyncio.create_task(stage.given("offset=1"))
        await until(lambda: steps.sent == 1)
        steps.go()
        await until(lambda: steps.sent == 2)
        assert not reader.done()
        steps.go()
        assert (await told(await reader)).body == b"[1,2]"


@pytest.mark.parametrize(
    ("length", "x_cache"),
    [(LONGEST_GATHERED - 1, "HIT"), (LONGEST_GATHERED, "HIT"), (LONGEST_GATHERED + 1, "MISS")],
)
async def test_a_response_is_cached_up_to_the_length_limit(length: int, x_cache: str) -> None:
    async with cache_before(Stream(length, MINUTE), store_bytes=128 * MB) as (_, stage):
        assert len((await stage.get()).body) == length
        if x_cache == "HIT":  # the reader has all before the end of the answer was heard
            await until(lambda: stage.find() is not None)
        again = await stage.get()
        assert (len(again.body), again.x_cache) == (length, x_cache)


async def test_every_reader_gets_the_whole_of_a_response_over_the_length_limit() -> None:
    length = LONGEST_GATHERED + 100_000
    async with cache_before(Stream(length, MINUTE)) as (raw, stage):
        readers = [asyncio.create_task(stage.get()) for _ in range(3)]
        assert [len(reader.body) for reader in await asyncio.gather(*readers)] == [length] * 3
        assert len(raw.heard) == 3
        assert len(stage.store) == 0


async def test_the_keys_passed_without_waiting_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those passed last are remembered."""
    monkeypatch.setattr(variants, "MOST_HIT_FOR_PASS", 2)
    async with cache_before(answer(b"x", NOT_KEPT)) as (raw, stage):
        for query in ("n=1", "n=2", "n=3"):
            await stage.get(query)
        for query, waits in (("n=3", False), ("n=2", False), ("n=1", True)):
            steps = Steps(b"", answer(b"held", NOT_KEPT))
            raw.scripts = [steps, answer(b"own", NOT_KEPT)]
            first = asyncio.create_task(stage.get(query))
            await sent(steps, 1)
            second = asyncio.create_task(stage.get(query))
            if not waits:
                assert (await second).body == b"own"
            steps.go()
            assert ((await first).body, (await second).body) == (b"held", b"own")
            assert stage.cache.fetches.collapsed == waits


async def all_of(reader: FetchReader) -> list[bytes]:
    return [part async for part in reader.parts()]


@pytest.mark.parametrize(
    ("ahead", "waits"),
    [(AHEAD_BYTES - 1, False), (AHEAD_BYTES, False), (AHEAD_BYTES + 1, True)],
)
async def test_a_body_passed_on_waits_for_its_slowest_reader(ahead: int, waits: bool) -> None:
    fast, slow = FetchReader(), FetchReader()
    body = SharedBody((fast, slow), b"x" * ahead)
    await anext(fast.parts())
    waiting = asyncio.create_task(body.pass_on())
    await asyncio.sleep(0)
    assert waiting.done() is not waits
    await anext(slow.parts())
    await waiting


async def test_a_body_does_not_wait_for_a_reader_that_left() -> None:
    stays, leaves = FetchReader(), FetchReader()
    body = SharedBody((stays, leaves), b"x" * (AHEAD_BYTES + 1))
    await anext(stays.parts())
    waiting = asyncio.create_task(body.pass_on())
    await asyncio.sleep(0)
    assert not waiting.done()
    leaves.release()
    await until(waiting.done)
    stays.release()
    with pytest.raises(OriginBroken):
        await body.pass_on()


def test_a_reader_that_falls_behind_is_dropped_and_the_others_continue() -> None:
    virtual_time.run(one_does_not_keep_up())


async def one_does_not_keep_up() -> None:
    quick, stalled, late = FetchReader(), FetchReader(), FetchReader()
    body = SharedBody((quick, stalled, late), b"")
    reading = asyncio.create_task(all_of(quick))
    parts_of_late = late.parts()
    for _ in range(10):
        body.add(b"x" * (AHEAD_BYTES + 1))
        keeping_up = asyncio.create_task(body.pass_on())
        await asyncio.sleep(0.15 * SLOW_S)
        await anext(parts_of_late)  # behind each time, and yet it goes on
        await keeping_up
    body.end()
    assert len(b"".join(await reading)) == 10 * (AHEAD_BYTES + 1)
    assert await all_of(late) == []
    with pytest.raises(OriginBroken, match="could not wait"):
        await all_of(stalled)


async def test_a_body_waits_for_its_only_reader_without_a_limit() -> None:
    alone = FetchReader()
    body = SharedBody((alone,), b"x" * (AHEAD_BYTES + 1))
    waiting = asyncio.create_task(body.pass_on())
    await asyncio.sleep(0)
    assert not waiting.done()
    body.end()
    assert len(b"".join(await all_of(alone))) == AHEAD_BYTES + 1
    await waiting
