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

from tests.client.resumable.sources import Tap, chunks, whole
from tests.support.processes import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.client.resumable.conftest import MakeStreams
    from tests.support.redis_servers import RedisServer


# Of a producer that shares two cores with other tests; a second, by default, may be too short.
ANSWERED_WITHIN_S = 20.0


@contextlib.contextmanager
def producer(url: str) -> Iterator[subprocess.Popen[str]]:
    """Another process that has created the stream `a`, of the lines that it reads."""
    command = [sys.executable, "-m", "tests.client.resumable.producer", url, "a"]
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT, text=True, bufsize=1
    )
    assert process.stdin is not None
    assert process.stdout is not None
    with process:
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
        assert await anext(reader) == "ïve\n🙂\n"
        assert process.stdin is not None
        process.stdin.write("more\n")
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
        assert reader is not None
        assert await anext(reader) == "naïve\n🙂\n"
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
