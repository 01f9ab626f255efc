"""Reads through a route: what is kept, what is shared, and what it says of itself."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING

import pytest

from headgate_gateway.protocol.streams.chunks import CHUNK_BYTES
from headgate_gateway.protocol.streams.offsets import current_cursor
from tests.support.gated_log import GatedLog, turns
from tests.support.serving import Serving, get, offset, post, put, request, serving, serving_with
from tests.support.waiting import until

if TYPE_CHECKING:
    from tests.support.http1 import Client


def moment(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat().replace("+00:00", "Z")


def ages(cache_control: str | None) -> dict[str, int]:
    assert cache_control is not None
    parts = [part.strip().partition("=") for part in cache_control.split(",")]
    return {name: int(value) for name, _, value in parts if value}


@pytest.mark.parametrize("passed", [0, 50, 95, 99])
@pytest.mark.parametrize("validator", [False, True])
async def test_a_cached_response_does_not_outlast_its_stream(passed: int, validator: bool) -> None:
    """Kept once with much time ahead, and answered from memory when little is left."""
    async with serving() as gateway:
        ends = gateway.clock() + 100
        client = await gateway.connect()
        await client.ask(put("s", f"Stream-Expires-At: {moment(ends)}", body=b"one"))
        first = await client.ask(get("s?offset=-1"))
        gateway.clock.advance(passed)
        lines = [f"If-None-Match: {first.get('ETag')}"] if validator else []
        answer = await client.ask(get("s?offset=-1", *lines))
        assert answer.status == (304 if validator else 200)
        assert sum(ages(answer.get("Cache-Control")).values()) <= ends - gateway.clock()


async def test_a_read_of_an_expired_stream_is_answered_404_although_it_was_cached() -> None:
    async with serving() as gateway:
        ends = gateway.clock() + 100
        client = await gateway.connect()
        await client.ask(put("s", f"Stream-Expires-At: {moment(ends)}", body=b"one"))
        assert (await client.ask(get("s?offset=-1"))).status == 200
        gateway.clock.advance(100)
        assert (await client.ask(get("s?offset=-1"))).status == 404


async def test_reads_of_a_stream_with_a_sliding_ttl_are_not_cached() -> None:
    async with serving_with(put("s", "Stream-TTL: 60", body=b"one")) as gateway:
        client = await gateway.connect()
        for _ in range(5):
            gateway.clock.advance(59)
            answer = await client.ask(get("s?offset=-1"))
            assert (answer.status, answer.body) == (200, b"one")
            assert sum(ages(answer.get("Cache-Control")).values()) <= 60
        assert len(gateway.store) == 0


@pytest.mark.parametrize(
    "change",
    [
        post("s", b"two"),
        post("s", b"", "Stream-Closed: true"),
        request("DELETE", "s"),
        request("PUT", "f", "Stream-Forked-From: /v1/stream/s"),
    ],
    ids=["append", "close", "delete", "fork"],
)
async def test_a_response_after_a_change_is_that_of_an_empty_cache(change: bytes) -> None:
    async with serving_with(put("s", body=b"one")) as gateway:
        client = await gateway.connect()
        targets = ["s?offset=-1", f"s?offset={offset(3)}", "s?offset=-1&live=long-poll"]
        for target in targets:
            assert (await client.ask(get(target))).status == 200
        assert len(gateway.store) == 3
        assert (await client.ask(change)).status < 300
        kept = [await client.ask(get(target)) for target in targets]
        async with serving(gateway.log) as fresh:
            fresh.clock.now = gateway.clock.now
            rendered = [await fresh.ask(get(target)) for target in targets]
        assert [answer.same for answer in kept] == [answer.same for answer in rendered]


async def test_a_full_chunk_stays_cached_when_the_stream_grows() -> None:
    async with serving_with(put("s", body=b"x" * CHUNK_BYTES)) as gateway:
        client = await gateway.connect()
        await client.ask(post("s", b"tail"))
        first = await client.ask(get("s?offset=-1"))
        assert (len(first.body), first.get("Stream-Up-To-Date")) == (CHUNK_BYTES, None)
        await client.ask(post("s", b"more"))
        before = gateway.fast.answered
        again = await client.ask(get("/v1/stream/s?offset=-1"))
        assert gateway.fast.answered == before + 1
        assert again.same == first.same


@pytest.mark.usefixtures("late_fins")
async def test_simultaneous_equal_reads_are_one_read_of_the_log() -> None:
    log = GatedLog()
    async with serving_with(put("s", body=b"one"), log) as gateway:
        log.reads.clear()
        clients = [await gateway.connect() for _ in range(10)]
        for number, client in enumerate(clients):  # of either way
            client.send(get("s?offset=-1", *(["X-Request-Id:a"] if number % 2 else [])))
        await until(lambda: gateway.route.reads.answers.joined == 9)
        await turns(50)
        clients[0].abort()  # the first to ask, and it does not take the answer with it
        await until(lambda: gateway.limits.connections == 9)
        log.reads.set()
        answers = [await client.answer() for client in clients[1:]]
        assert {answer.body for answer in answers} == {b"one"}
        assert gateway.route.table.reads.started == 1


async def waiting_read(gateway: Serving, log: GatedLog) -> Client:
    """Who has asked for all of `s`, before anybody else, and waits for the log."""
    log.reads.clear()
    client = await gateway.connect()
    client.send(get("s?offset=-1"))
    await until(lambda: gateway.route.table.reads.started == 1)
    await turns(20)
    return client


async def test_a_read_after_an_append_joins_no_read_begun_before_it() -> None:
    """A writer reads what it wrote, though an older read of the same range is under way."""
    log = GatedLog()
    async with serving_with(put("s", body=b"one"), log) as gateway:
        old = await waiting_read(gateway, log)
        await gateway.ask(post("s", b"two"))
        new = await gateway.connect()
        new.send(get("s?offset=-1"))
        await until(lambda: gateway.route.table.reads.started == 2)
        log.reads.set()
        assert (await old.answer()).body == b"one"
        assert (await new.answer()).body == b"onetwo"
        # Nor is the older answer kept.
        assert (await gateway.ask(get("s?offset=-1"))).body == b"onetwo"


async def test_a_read_overtaken_by_a_deletion_is_not_cached_for_the_forks() -> None:
    """The stream's data stay for them, but nobody else reads it any more."""
    log = GatedLog()
    async with serving_with(put("s", body=b"one"), log) as gateway:
        fork = put("fork", "Stream-Forked-From: /v1/stream/s")
        assert (await gateway.ask(fork)).status == 201
        log.commits.clear()
        log.reads.clear()
        deleter, old = await gateway.connect(), await gateway.connect()
        before = len(log.committed)
        deleter.send(request("DELETE", "s"))
        await until(lambda: len(log.committed) > before)
        old.send(get("s?offset=-1"))  # it is read as it stands after the deletion
        await until(lambda: gateway.route.table.reads.started == 1)
        await turns(20)
        log.commits.set()
        assert (await deleter.answer()).status == 204
        log.reads.set()
        assert (await old.answer()).status in {200, 410}
        for query in ("", "?offset=-1", "?offset=-1&live=long-poll"):
            assert (await gateway.ask(get(f"s{query}"))).status == 410


async def test_a_read_overtaken_by_a_deletion_is_not_cached_for_the_next_stream() -> None:
    log = GatedLog()
    async with serving_with(put("s", body=b"one"), log) as gateway:
        old = await waiting_read(gateway, log)
        await gateway.ask(request("DELETE", "s"))
        await gateway.ask(put("s", body=b"another"))
        log.reads.set()
        assert (await old.answer()).body == b"one"
        assert (await gateway.ask(get("s?offset=-1"))).body == b"another"
        gone = await gateway.ask(get(f"s?offset={offset(0)}"))
        assert gone.status == 410


async def test_the_cursors_of_a_reader_never_go_backwards() -> None:
    async with serving_with(put("s", body=b"one"), long_poll_timeout=0.1) as gateway:
        client = await gateway.connect()
        first = await client.ask(get("s?offset=-1"))
        cursor = int(first.get("Stream-Cursor") or "")
        position = 3
        for number in range(12):
            target = f"s?offset={offset(position)}&live=long-poll&cursor={cursor}"
            gateway.polls_wait(30 if number % 2 else 0.1)
            client.send(get(target))
            if number % 2:
                await until(lambda: gateway.limits.live_readers == 1)
                await gateway.ask(post("s", b"x"))
                position += 1
            answer = await client.answer()
            assert answer.status == (200 if number % 2 else 204)
            told = int(answer.get("Stream-Cursor") or "")
            assert told > cursor
            cursor = told
            gateway.clock.advance(1)


@pytest.mark.parametrize(
    ("passed", "cache", "told"),
    [
        (0, "HIT", "public, max-age=20, stale-while-revalidate=0"),
        (20, "MISS", "no-cache, s-maxage=1, stale-while-revalidate=0"),
    ],
)
async def test_a_poll_is_cached_for_its_cursor_interval(passed: int, cache: str, told: str) -> None:
    """After it the URL is one that caches must not answer for long."""
    async with serving_with(put("s", body=b"one")) as gateway:
        client = await gateway.connect()
        target = f"s?offset={offset(0)}&live=long-poll&cursor={current_cursor(gateway.clock())}"
        first = await client.ask(get(target))
        assert first.get("Cache-Control") == "public, max-age=20, stale-while-revalidate=0"
        gateway.clock.advance(passed)
        again = await client.ask(get(target))
        assert (again.body, again.get("X-Cache")) == (b"one", cache)
        assert again.get("Cache-Control") == told


async def test_a_poll_without_a_cursor_is_cached_until_the_next_append() -> None:
    async with serving_with(put("s", body=b"one")) as gateway:
        client = await gateway.connect()
        target = f"s?offset={offset(0)}&live=long-poll"
        for cache, body in (("MISS", b"one"), ("HIT", b"one"), ("MISS", b"onetwo")):
            got = await client.ask(get(target))
            assert (got.body, got.get("X-Cache")) == (body, cache)
            assert got.get("Cache-Control") == "no-cache, s-maxage=1, stale-while-revalidate=0"
            if cache == "HIT":
                await client.ask(post("s", b"two"))


async def test_the_append_limit_is_exact() -> None:
    async with serving_with(put("s"), max_append=100, max_pending_appends=100) as gateway:
        client = await gateway.connect()
        statuses = [
            (await client.ask(post("s", b"x" * size))).status for size in (99, 100, 101, 100)
        ]
        assert statuses == [204, 204, 413, 204]


def _waits(gateway: Serving, number: int) -> bool:
    return gateway.route.writes.outcomes.pending == number


async def test_the_bytes_of_appends_that_wait_for_the_log_are_bounded() -> None:
    log = GatedLog()
    async with serving_with(put("s"), log, max_append=100, max_pending_appends=200) as gateway:
        log.commits.clear()
        clients = [await gateway.connect() for _ in range(3)]
        for number, client in enumerate(clients[:2], start=1):
            client.send(post("s", b"x" * 100))
            await until(partial(_waits, gateway, number))
        clients[2].send(post("s", b"x"))
        refused = await clients[2].answer()
        assert (refused.status, refused.get("Retry-After")) == (503, "1")
        log.commits.set()
        assert [(await client.answer()).status for client in clients[:2]] == [204, 204]
        assert (await clients[2].ask(post("s", b"x"))).status == 204
        await asyncio.sleep(0)
