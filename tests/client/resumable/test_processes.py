"""A producer in a process of its own, and several event loops in one."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from headgate import SourceFailed
from headgate.resumable import ResumableStreams
from headgate.resumable.messages import sentinel

from tests.client.resumable.sources import Tap, chunks, whole

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.client.resumable.conftest import MakeStreams
    from tests.support.redis_servers import RedisServer


# Of a producer that shares two cores with other tests; a second, by default, may be too short.
ANSWERED_WITHIN_S = 20.0

PRODUCER = """
import asyncio, sys
from headgate import ResumableStreams

async def lines():
    while line := await asyncio.to_thread(sys.stdin.buffer.readline):
        yield line.decode()

async def main():
    async with ResumableStreams(sys.argv[1]) as streams:
        reader = await streams.create("a", lines)
        print("ready", flush=True)
        async for _ in reader:
            pass
        while await streams.state("a") != "done":
            await asyncio.sleep(0.01)

asyncio.run(main())
"""


@contextlib.contextmanager
def producer(url: str) -> Iterator[subprocess.Popen[str]]:
    """Another process that has created the stream `a`, of the lines that it reads."""
    pipe = subprocess.PIPE
    command = [sys.executable, "-c", PRODUCER, url]
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, bufsize=1) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.stdin.write("naïve\n🙂\n")
        try:
            yield process
        finally:
            process.kill()


@pytest.mark.usefixtures("processes")
async def test_a_stream_is_resumed_in_another_process(
    redis: RedisServer, on_redis: MakeStreams
) -> None:
    streams = on_redis(resume_timeout=ANSWERED_WITHIN_S)
    with producer(redis.url) as process:
        reader = await streams.resumable("a", Tap(), 2)
        assert reader is not None
        first = await anext(reader)
        assert process.stdin is not None
        process.stdin.write("more\n")
        process.stdin.close()
        assert first + await whole(reader) == "ïve\n🙂\nmore\n"
        assert process.wait() == 0
    assert await streams.state("a") == "done"


@pytest.mark.usefixtures("processes")
async def test_readers_of_a_producer_process_that_is_interrupted_or_killed_come_to_an_end(
    redis: RedisServer, on_redis: MakeStreams
) -> None:
    streams = on_redis(resume_timeout=ANSWERED_WITHIN_S)
    with producer(redis.url) as process:
        reader = await streams.resume("a")
        process.send_signal(signal.SIGINT)
        with pytest.raises(SourceFailed, match="the producer of stream 'a' was stopped"):
            await whole(reader)
        assert process.stdin is not None
        process.stdin.close()  # which its thread waits for
        assert process.wait() != 0
    assert await streams.state("a") == "done"
    redis.command("FLUSHALL")
    with producer(redis.url) as process:
        process.kill()
    assert await on_redis(resume_timeout=0.1).resumable("a", Tap()) is None
    assert await streams.state("a") == "active"
    assert redis.command("TTL", sentinel("a")) > 0  # it is forgotten some day


def test_one_object_serves_event_loops_one_after_the_other(redis: RedisServer) -> None:
    redis.command("FLUSHALL")
    streams = ResumableStreams(redis.url)

    async def main(stream_id: str) -> str:
        text = await whole(await streams.resumable(stream_id, lambda: chunks("text")))
        with pytest.raises(RuntimeError, match="is open in another event loop: close it there"):
            await asyncio.to_thread(asyncio.run, streams.state("a"))
        await streams.aclose()
        return text

    assert [asyncio.run(main(stream_id)) for stream_id in "abc"] == ["text"] * 3
