"""A producer in a process of its own, and several event loops in one."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import signal
import subprocess
import sys
import threading
import time
import weakref
from typing import TYPE_CHECKING

import pytest
from headgate import SourceFailed
from headgate.resumable import ResumableStreams
from headgate.resumable.redis import RedisBroker
from redis.asyncio import Redis

from tests.client.resumable.sources import Tap, chunks, whole
from tests.support.ports import HOST
from tests.support.processes import ROOT
from tests.support.waiting import PATIENCE_S

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.client.resumable.conftest import MakeStreams
    from tests.support.redis_servers import RedisServer


# Of a producer that shares two cores with other tests; a second, by default, may be too short.
ANSWERED_WITHIN_S = 20.0


@contextlib.contextmanager
def producer(url: str) -> Iterator[subprocess.Popen[str]]:
    """Another process that has created the stream `a`."""
    command = [sys.executable, "-m", "tests.client.resumable.producer", url, "a"]
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT, text=True, bufsize=1
    )
    assert process.stdin is not None
    assert process.stdout is not None
    with process:
        assert process.stdout.readline() == "ready\n"
        try:
            yield process
        finally:
            process.kill()


def say(process: subprocess.Popen[str], *lines: str) -> None:
    assert process.stdin is not None
    for line in lines:
        process.stdin.write(line + "\n")


@pytest.mark.usefixtures("processes")
async def test_a_stream_is_resumed_in_another_process(
    redis: RedisServer, on_redis: MakeStreams
) -> None:
    streams = on_redis(resume_timeout=ANSWERED_WITHIN_S)
    with producer(redis.url) as process:
        say(process, "naïve", "🙂")
        reader = await streams.resumable("a", Tap(), 2)
        assert reader is not None
        assert await anext(reader) == "ïve\n🙂\n"
        say(process, "more")
        assert process.stdin is not None
        process.stdin.close()
        assert await whole(reader) == "more\n"
        assert process.wait() == 0
    assert await streams.state("a") == "done"


@pytest.mark.usefixtures("processes")
async def test_readers_of_an_interrupted_producer_process_get_an_error_that_says_so(
    redis: RedisServer, on_redis: MakeStreams
) -> None:
    streams = on_redis(resume_timeout=ANSWERED_WITHIN_S)
    with producer(redis.url) as process:
        reader = await streams.resume("a")
        say(process, "text")
        assert reader is not None
        assert await anext(reader) == "text\n"
        process.send_signal(signal.SIGINT)
        with pytest.raises(SourceFailed, match="the producer of stream 'a' was stopped"):
            await anext(reader)
        assert process.wait() != 0
    assert await streams.state("a") == "done"


@pytest.mark.usefixtures("processes")
async def test_resuming_a_stream_whose_process_was_killed_returns_none(
    redis: RedisServer, on_redis: MakeStreams
) -> None:
    streams = on_redis(resume_timeout=0.1)
    with producer(redis.url) as process:
        process.kill()
    assert await streams.resume("a") is None


def test_one_resumable_streams_object_serves_consecutive_event_loops(redis: RedisServer) -> None:
    redis.command("FLUSHALL")
    streams = ResumableStreams(redis.url)

    async def main(stream_id: str) -> str:
        async with streams:
            return await whole(await streams.resumable(stream_id, lambda: chunks("text")))

    assert [asyncio.run(main(stream_id)) for stream_id in "abc"] == ["text"] * 3


def test_one_resumable_streams_object_serves_four_event_loops_at_once(redis: RedisServer) -> None:
    """Each of four threads reads what one of them produces."""
    redis.command("FLUSHALL")
    streams = ResumableStreams(redis.url, resume_timeout=ANSWERED_WITHIN_S)
    all_are_there = threading.Barrier(4)
    got: list[str] = []

    async def main() -> None:
        async with streams:
            tap = Tap()
            reader = await streams.resumable("a", tap)
            await asyncio.to_thread(all_are_there.wait, 20)
            tap.give("some ", "text")  # to whichever of the taps is the source
            tap.end()
            got.append(await whole(reader))
            await asyncio.to_thread(all_are_there.wait, 20)  # who produces must not leave before

    threads = [threading.Thread(target=asyncio.run, args=(main(),)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert got == ["some text"] * 4


def test_connections_of_a_closed_event_loop_are_freed_when_the_next_loop_asks() -> None:
    """Though nobody has closed them, and they refer to their loop."""
    broker = RedisBroker(f"redis://{HOST}:1")
    loops: list[weakref.ref[asyncio.AbstractEventLoop]] = []

    async def main() -> None:
        loops.append(weakref.ref(asyncio.get_running_loop()))
        await broker.unsubscribe("channel")  # before anything has connected

    for _ in range(5):
        asyncio.run(main())
    give_up_at = time.monotonic() + PATIENCE_S  # another thread may be collecting
    while [loop() is None for loop in loops] != [True, True, True, True, False]:
        assert time.monotonic() < give_up_at, "closed event loops are kept"
        gc.collect()


def test_a_given_redis_client_serves_only_its_own_event_loop(redis: RedisServer) -> None:
    redis.command("FLUSHALL")

    async def main() -> None:
        async with Redis.from_url(redis.url, decode_responses=True) as client:
            streams = ResumableStreams(client)
            async with streams:
                assert await whole(await streams.create("a", lambda: chunks("text"))) == "text"
                with pytest.raises(RuntimeError, match="belongs to one event loop: give"):
                    await asyncio.to_thread(asyncio.run, streams.state("a"))
            assert await client.get("is open") is None

    asyncio.run(main())
