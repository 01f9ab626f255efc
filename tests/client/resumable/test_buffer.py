"""The bound of a producer's memory, and that nothing of a stream stays."""

from __future__ import annotations

import gc
import json
import logging
import subprocess
import sys
import weakref
from typing import TYPE_CHECKING

import pytest
from headgate import Gone, SourceFailed

from tests.client.resumable.sources import Tap, whole
from tests.support.processes import ROOT
from tests.support.waiting import until

if TYPE_CHECKING:
    from tests.client.resumable.conftest import MakeStreams
    from tests.support.redis_servers import RedisServer

MOST_GROWTH_MB = 5.0


class Chunk(str):
    """Text that can be looked after: a plain str has no weak references."""

    __slots__ = ("__weakref__",)


def is_collected(seen: weakref.ref[Chunk]) -> bool:
    """Whether nothing leads to it any more.

    `gc.collect` does nothing while another thread collects, such as the one that hears the runner
    of the tests, so that one call need not tell.
    """
    gc.collect()
    return seen() is None


async def test_a_resume_before_the_buffered_text_says_from_where_on_it_is_there(
    replicas: MakeStreams,
) -> None:
    producer, other, tap = replicas(max_buffer_bytes=1000), replicas(), Tap()
    creator = await producer.create("a", tap)
    for number in range(20):  # each is read before the next: nobody is too slow
        tap.give(f"{number:02}" * 50)
        assert len(await anext(creator)) == 100
    reader = await other.resume("a", 0)
    assert reader is not None
    with pytest.raises(Gone, match="stream 'a' is kept from character 1800 on"):
        await anext(reader)
    recent = await other.resume("a", 1990)
    tap.give("x" * 100_000)  # the newest chunk stays, however long it is
    tap.end()
    assert await whole(recent) == "19" * 5 + "x" * 100_000
    assert await whole(creator) == "x" * 100_000


async def test_a_source_runs_to_its_end_although_no_reader_reads(replicas: MakeStreams) -> None:
    producer, other, tap = replicas(max_buffer_bytes=100_000), replicas(), Tap()
    creator = await producer.create("a", tap)
    reader = await other.resume("a")
    tap.give(*("x" * 10_000,) * 100)
    tap.end()
    await until(lambda: tap.is_over)
    for slow in (creator, reader):
        with pytest.raises(Gone):
            await whole(slow)


@pytest.mark.parametrize("fails", [False, True])
async def test_chunks_are_freed_once_a_stream_has_ended_though_the_host_keeps_its_reader(
    replicas: MakeStreams, caplog: pytest.LogCaptureFixture, *, fails: bool
) -> None:
    # The log of a test keeps the error, and so the frames that it went through.
    caplog.set_level(logging.CRITICAL, "headgate.resumable")
    producer, other, tap = replicas(), replicas(), Tap()
    readers = [await producer.create("a", tap), await other.resume("a")]
    chunk = Chunk("text" * 1000)
    seen = weakref.ref(chunk)
    tap.give(chunk)
    del chunk
    for reader in readers:
        assert reader is not None
        assert await anext(reader) == "text" * 1000
    tap.end(ValueError("broken") if fails else None)
    for reader in readers:
        assert reader is not None
        with pytest.raises((StopAsyncIteration, SourceFailed)):
            await anext(reader)
    await until(lambda: is_collected(seen))


@pytest.mark.usefixtures("processes")
def test_memory_returns_to_its_level_once_streams_and_readers_are_gone(redis: RedisServer) -> None:
    command = [sys.executable, "-m", "tests.client.resumable.load", redis.url]
    resident_mb = json.loads(subprocess.check_output(command, cwd=ROOT, timeout=90))
    assert resident_mb["most"] > resident_mb["before"] + MOST_GROWTH_MB  # it can be seen at all
    assert resident_mb["after"] <= resident_mb["before"] + MOST_GROWTH_MB
