"""A process that ends after its response finishes the answer: by `keep_alive`, or by closing."""

from __future__ import annotations

import asyncio
import logging
import os
import subprocess
import sys
from functools import partial
from typing import TYPE_CHECKING

import pytest

from headgate import SourceFailed
from tests.client.resumable.doubles import MemoryBroker, Tap, resumed, state_is, whole
from tests.support.examples import IS_WHOLE
from tests.support.virtual_time import in_virtual_time
from tests.support.waiting import until

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from headgate.resumable import ResumableStreams
    from tests.client.resumable.conftest import MakeStreams
    from tests.support.redis_servers import RedisServer

ENDS = 50 if IS_WHOLE else 2  # of processes, for each way to wait
CHUNKS = 20
# One request to a serverless function or a job: its reader leaves after the first chunk.
PROCESS = """
import asyncio, sys
from collections.abc import Awaitable
from headgate import ResumableStreams

async def answer():
    for number in range(20):
        await asyncio.sleep(0.05)
        yield f"{number} "

async def respond(streams):
    text = await streams.create(sys.argv[2], answer)
    print(await anext(text), flush=True)
    await text.aclose()

async def closing():
    async with ResumableStreams() as streams:
        await respond(streams)

async def keeping():
    pending: list[Awaitable[None]] = []
    streams = ResumableStreams(keep_alive=pending.append)
    await respond(streams)
    await asyncio.gather(*pending)
    await streams.aclose(wait=0)

asyncio.run(globals()[sys.argv[1]]())
"""


async def answered(redis: RedisServer, streams: ResumableStreams, how: str, name: str) -> str:
    """Return what a reader elsewhere gets of the answer of a process that ends meanwhile."""
    command = [sys.executable, "-c", PROCESS, how, name]
    environment = {**os.environ, "REDIS_URL": redis.url}
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment) as process:
        try:
            assert process.stdout is not None
            assert await asyncio.to_thread(process.stdout.readline) == b"0 \n"
            text = await whole(await streams.resume(name))
            assert await asyncio.to_thread(process.wait) == 0
        finally:
            process.kill()
    return text


@pytest.mark.timeout(600 if IS_WHOLE else 60)
@pytest.mark.parametrize("how", ["closing", "keeping"])
async def test_a_process_that_ends_after_its_response_finishes_the_answer(
    how: str, redis: RedisServer, on_redis: MakeStreams
) -> None:
    streams = on_redis(resume_timeout=20.0)
    for number in range(ENDS):
        text = await answered(redis, streams, how, f"{number}")
        assert text.split() == [f"{chunk}" for chunk in range(CHUNKS)]
        assert await streams.state(f"{number}") == "done"


@pytest.mark.parametrize("end", ["ends", "fails", "is stopped"])
async def test_keep_alive_gets_one_awaitable_of_each_production_which_resolves_however_it_ends(
    replicas: MakeStreams, end: str
) -> None:
    ended: list[Awaitable[None]] = []
    producer, other, tap = replicas(keep_alive=ended.append), replicas(), Tap()
    text = await producer.resumable("a", tap)
    readers = [text, await resumed(other), await producer.resumable("a", tap)]
    reading = asyncio.gather(*map(whole, readers), return_exceptions=True)
    (end_of_a,) = ended  # the later ones have not produced anything
    waiting = asyncio.ensure_future(end_of_a)
    await asyncio.sleep(0)
    assert not waiting.done()
    if end == "is stopped":
        await producer.aclose(wait=0)
    else:
        tap.end(ValueError("broken") if end == "fails" else None)
    await asyncio.wait_for(waiting, 10)
    assert await other.state("a") == "done"
    kinds = {type(each) for each in await reading}
    assert kinds == ({str} if end == "ends" else {SourceFailed})
    await end_of_a  # also once more


async def test_a_keep_alive_that_raises_or_cancels_stops_nothing(
    replicas: MakeStreams, caplog: pytest.LogCaptureFixture
) -> None:
    def failing(_: Awaitable[None]) -> None:
        raise LookupError("no request is in progress")

    def cancelling(end: Awaitable[None]) -> None:
        asyncio.ensure_future(end).cancel()

    other = replicas()
    for keep_alive in (failing, cancelling):
        tap, stream_id = Tap(), keep_alive.__name__
        text = await replicas(keep_alive=keep_alive).create(stream_id, tap)
        tap.give("text")
        assert await anext(text) == "text"
        tap.end()
        assert await whole(text) == ""
        await until(partial(state_is, other, "done", stream_id))
    (record,) = [it for it in caplog.records if it.message == "keep_alive failed"]
    assert (record.name, record.levelno) == ("headgate.resumable", logging.WARNING)
    assert record.exc_info is not None
    assert isinstance(record.exc_info[1], LookupError)


@pytest.mark.parametrize(
    ("options", "ends_after_s", "lasts_s"),
    [({}, 9.0, 9.0), ({}, 60.0, 10.0), ({"wait": 0.5}, 60.0, 0.5), ({"wait": 100}, 60.0, 60.0)],
)
@in_virtual_time
async def test_closing_lets_sources_go_on_for_ten_seconds_or_as_long_as_it_is_told(
    options: dict[str, float], ends_after_s: float, lasts_s: float
) -> None:
    loop, broker, tap = asyncio.get_running_loop(), MemoryBroker(), Tap()
    producer, other = broker.streams(), broker.streams()
    readers = [await producer.create("a", tap), await resumed(other)]
    reading = asyncio.gather(*map(whole, readers), return_exceptions=True)
    tap.give("text")
    began = loop.time()
    loop.call_later(ends_after_s, tap.end)
    await producer.aclose(**options)
    assert loop.time() - began == pytest.approx(lasts_s, abs=0.1)
    results = await reading
    if ends_after_s == lasts_s:
        assert results == ["text", "text"]
    else:
        assert [str(each) for each in results] == ["the producer of stream 'a' was stopped"] * 2
    assert await other.state("a") == "done"
    assert broker.channels == {}


class SlowBroker(MemoryBroker):
    """A broker that takes a second for an INCR."""

    async def incr(self, key: str) -> int:
        await asyncio.sleep(1)
        return await super().incr(key)


@in_virtual_time
async def test_closing_waits_for_a_stream_that_is_just_being_created() -> None:
    loop, tap, streams = asyncio.get_running_loop(), Tap(), SlowBroker().streams()
    creating = asyncio.create_task(streams.create("a", tap))
    await asyncio.sleep(0.5)
    tap.give("text")
    loop.call_later(5, tap.end)
    await streams.aclose()
    assert loop.time() >= 5
    assert await whole(await creating) == "text"
    assert await streams.state("a") == "done"
