"""The bound of a producer's buffer, and that nothing of it is kept."""

from __future__ import annotations

import asyncio
import gc
import logging
import weakref
from typing import TYPE_CHECKING

import pytest
from headgate import Gone, SourceFailed
from headgate.resumable.buffer import ENTRY_BYTES, TextBuffer

from tests.client.resumable.sources import Tap, chunks, whole
from tests.support.waiting import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable

    from tests.client.resumable.conftest import MakeStreams

ASCII_BYTES = 49  # of a str of ASCII, beside its characters: sys.getsizeof("")


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


def buffer_of(*, chunks_kept: int) -> TextBuffer:
    return TextBuffer("a", chunks_kept * (ENTRY_BYTES + ASCII_BYTES + 10))


def test_a_buffer_beyond_its_bound_drops_its_oldest_chunk() -> None:
    buffer = buffer_of(chunks_kept=3)
    for number in range(3):
        buffer.append(str(number) * 10)
    assert buffer.start == 0
    buffer.append("3" * 10)
    assert (buffer.start, buffer.end) == (10, 40)
    assert buffer.take(10) == "1" * 10 + "2" * 10 + "3" * 10
    with pytest.raises(Gone, match="kept from character 10 on, and character 9 was asked"):
        buffer.take(9)


def test_a_buffer_keeps_its_newest_chunk_even_if_larger_than_the_bound() -> None:
    buffer = buffer_of(chunks_kept=3)
    buffer.append("small")
    buffer.append("x" * 100_000)
    assert (buffer.start, buffer.end) == (5, 100_005)
    assert buffer.take(100_000) == "x" * 5


async def test_a_resume_before_the_buffered_text_raises_text_trimmed(
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
    tap.end()
    assert await whole(recent) == "19" * 5
    assert await whole(creator) == ""


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


async def test_chunks_are_freed_once_a_stream_has_ended_though_the_host_keeps_its_reader(
    replicas: MakeStreams,
) -> None:
    """Though the host holds on to the reader and to the awaitable it was given."""
    awaited: list[Awaitable[None]] = []
    producer, other, tap = replicas(keep_alive=awaited.append), replicas(), Tap()
    creator = await producer.create("a", tap)
    reader = await other.resume("a")
    chunk = Chunk("text" * 1000)
    seen = weakref.ref(chunk)
    tap.give(chunk)
    del chunk
    tap.end()
    assert (await whole(creator), await whole(reader)) == ("text" * 1000, "text" * 1000)
    await awaited[0]
    await until(lambda: is_collected(seen))


async def test_chunks_are_freed_once_a_source_has_failed(
    replicas: MakeStreams, caplog: pytest.LogCaptureFixture
) -> None:
    # The log of a test keeps the error, and so the frames that it went through.
    caplog.set_level(logging.CRITICAL, "headgate.resumable")
    seen: list[weakref.ref[Chunk]] = []

    async def source() -> AsyncIterator[str]:
        chunk = Chunk("text")
        seen.append(weakref.ref(chunk))
        yield chunk
        del chunk
        raise ValueError("broken")

    ended: list[Awaitable[None]] = []
    reader = await replicas(keep_alive=ended.append).create("a", source)
    with pytest.raises(SourceFailed, match="ValueError"):
        await whole(reader)
    await ended[0]
    await until(lambda: is_collected(seen[0]))


async def test_keep_alive_gets_an_awaitable_that_finishes_when_the_stream_is_done(
    replicas: MakeStreams,
) -> None:
    awaited: list[Awaitable[None]] = []
    streams, tap = replicas(keep_alive=awaited.append), Tap()
    await (await streams.create("a", tap)).aclose()
    ending = asyncio.ensure_future(awaited[0])
    assert not ending.done()
    tap.end(RuntimeError("broken"))
    await ending  # and without the error, which is for readers
    assert await streams.state("a") == "done"


async def test_cancelling_the_awaitable_of_keep_alive_does_not_end_the_source(
    replicas: MakeStreams,
) -> None:
    awaited: list[Awaitable[None]] = []
    streams, tap = replicas(keep_alive=awaited.append), Tap()
    reader = await streams.create("a", tap)
    asyncio.ensure_future(awaited[0]).cancel()
    tap.give("text")
    tap.end()
    assert await whole(reader) == "text"


async def test_a_source_that_yields_1000_chunks_at_once_is_read_whole(
    replicas: MakeStreams,
) -> None:
    given = [f"chunk {number} " for number in range(1000)]
    assert await whole(await replicas().create("a", lambda: chunks(*given))) == "".join(given)
