"""What a stream costs Redis, and what it leaves there."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from functools import partial
from typing import TYPE_CHECKING

from headgate.resumable.messages import sentinel
from redis.asyncio import Redis

from tests.client.resumable.sources import Tap, chunks, whole
from tests.support.waiting import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from headgate.resumable import ResumableStreams
    from headgate.resumable.messages import Text

    from tests.client.resumable.conftest import MakeStreams
    from tests.support.redis_servers import RedisServer

TWO_HOURS_S = 2 * 60 * 60
LAST = "LAST"


@contextlib.asynccontextmanager
async def monitored(redis: RedisServer) -> AsyncIterator[Counter[str]]:
    """The commands that a Redis gets in the block, by their names, complete when it ends."""
    seen: Counter[str] = Counter()
    async with Redis.from_url(redis.url) as client, Redis.from_url(redis.url) as last:
        await last.ping()
        async with client.monitor() as monitor:
            yield seen
            await last.echo(LAST)
            async for told in monitor.listen():
                command = told["command"].split()
                if command[-1] == LAST:
                    break
                seen[command[0].upper()] += 1
    for of_the_test in ("MONITOR", "PUBSUB", "HELLO"):
        del seen[of_the_test]


async def test_a_stream_that_nobody_resumes_costs_one_incr_and_one_subscribe(
    redis: RedisServer, on_redis: MakeStreams
) -> None:
    streams = on_redis()
    await whole(await streams.resumable("connects", lambda: chunks("text")))
    await until(lambda: _subscribers(redis) == 0)
    async with monitored(redis) as seen:
        for number in range(10):
            reader = await streams.resumable(f"stream {number}", lambda: chunks("some ", "text"))
            assert await whole(reader) == "some text"
            await until(lambda: _subscribers(redis) == 0)
    # Besides, its end costs what marks it done and what ends the subscription.
    assert seen == {"INCR": 10, "SUBSCRIBE": 10, "SET": 10, "UNSUBSCRIBE": 10}


async def test_readers_release_what_they_hold_and_text_without_readers_is_not_published(
    redis: RedisServer, on_redis: MakeStreams
) -> None:
    producer, other, tap = on_redis(), on_redis(), Tap()
    creator = await producer.create("a", tap)
    assert _subscribers(redis) == 1
    for leave in (_closed, _cancelled, _dropped):
        reader = await other.resume("a")
        assert reader is not None
        assert _subscribers(redis) == 2, leave
        await leave(reader)
        del reader
        await until(lambda: _subscribers(redis) == 1, f"the subscription to go: {leave}")
    async with monitored(redis) as seen:
        tap.give(*("token",) * 100)
        length = 0
        while length < len("token") * 100:
            length += len(await anext(creator))
    assert seen["PUBLISH"] == 0
    tap.end()
    await until(lambda: _subscribers(redis) == 0)
    assert redis.command("KEYS", "*") == [sentinel("a").encode()]
    assert TWO_HOURS_S - 60 < redis.command("TTL", sentinel("a")) <= TWO_HOURS_S


async def test_sentinel_ttl_sets_how_long_a_stream_is_known_after_its_end(
    redis: RedisServer, on_redis: MakeStreams
) -> None:
    redis.command("CONFIG", "RESETSTAT")
    streams, tap = on_redis(sentinel_ttl=0.5), Tap()
    await streams.create("a", tap)
    await until(lambda: _calls(redis, "pexpire") >= 3)  # so it has lived for longer than that
    assert await streams.state("a") == "active"
    tap.end()
    await until(lambda: _is(streams, "a", "done"))
    await until(lambda: _is(streams, "a", None))
    assert await whole(await streams.create("a", lambda: chunks("again"))) == "again"


async def _closed(reader: Text) -> None:
    await reader.aclose()


async def _cancelled(reader: Text) -> None:
    reading = asyncio.create_task(anext(reader))
    await asyncio.sleep(0)
    reading.cancel()
    await asyncio.wait([reading])


async def _dropped(reader: Text) -> None:
    """As by a framework whose client has gone: nobody closes it."""


def _subscribers(redis: RedisServer) -> int:
    return len(redis.command("PUBSUB", "CHANNELS"))


async def _is(streams: ResumableStreams, stream_id: str, state: str | None) -> bool:
    return await streams.state(stream_id) == state


def _calls(redis: RedisServer, command: str) -> int:
    figures = redis.info("commandstats").get(f"cmdstat_{command}", {})
    return int(figures.get("calls", 0))


async def test_an_operation_cancelled_at_any_point_ends_as_cancelled(on_redis: MakeStreams) -> None:
    """The library below may take a cancellation for itself, and whoever sent it waits for ever."""
    streams = on_redis()
    await streams.state("a")
    for passes in range(20):
        task = asyncio.ensure_future(streams.state("a"))
        for _ in range(passes):
            await asyncio.sleep(0)
        is_under_way = task.cancel()
        await asyncio.wait({task})
        assert task.cancelled() or not is_under_way, f"after {passes} passes of the loop"


async def test_a_creation_cancelled_at_any_point_is_produced_or_leaves_no_trace(
    redis: RedisServer, on_redis: MakeStreams
) -> None:
    streams = on_redis()
    await whole(await streams.create("connects", lambda: chunks("text")))
    for passes in range(40):
        task = asyncio.ensure_future(streams.create(f"{passes}", lambda: chunks("text")))
        for _ in range(passes):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait({task})
        # One that was cancelled before it began is not known.
        await until(partial(_is, streams, f"{passes}", "done" if passes else None))
    await until(lambda: _subscribers(redis) == 0)
