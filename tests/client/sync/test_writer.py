"""Many small chunks, written to a stream from threads."""

from __future__ import annotations

import asyncio
import contextlib
import threading

import durable_streams
import pytest
from headgate import Fenced, StreamNotFound, sync

from tests.client import writing


@pytest.fixture
def stream(url: str) -> str:
    """The URL of a JSON stream, which the official client makes."""
    durable_streams.DurableStream.create(url, content_type="application/json").close()
    return url


def messages(url: str) -> list[object]:
    """Read the messages of a stream by the official client."""
    with durable_streams.stream(url, live=False) as found:
        return [*found.iter_json()]


def test_chunks_of_threads_that_share_a_writer_are_stored_once_and_in_order(stream: str) -> None:
    with sync.StreamWriter(stream, max_buffer_bytes=1000, max_batch_bytes=500) as writer:

        def write(first: int) -> None:
            for number in range(first, first + 400):
                writer.write(number)
                assert writer.taken - writer.acknowledged <= 15  # the buffer blocks the thread

        threads = [threading.Thread(target=write, args=(1000 * each,)) for each in range(1, 6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        writer.flush()
        assert (writer.taken, writer.acknowledged) == (2000, 2000)
        writer.end()
    found = messages(stream)
    for first in range(1000, 6000, 1000):
        of_thread = [it for it in found if isinstance(it, int) and first <= it < first + 1000]
        assert of_thread == [*range(first, first + 400)]
    assert len(found) == 2000
    assert asyncio.run(writing.is_closed(stream))
    assert (writer.content_type, writer.next_offset is not None) == ("application/json", True)


def test_a_sync_writer_raises_the_fitting_error_class_for_each_failure(
    stream: str, url: str
) -> None:
    with pytest.raises(StreamNotFound), sync.StreamWriter(f"{url}/none"):
        pass
    with sync.StreamWriter(stream, producer_id="p", epoch=1) as newer:
        with pytest.raises(TypeError):
            newer.write(object())
        newer.write("Once")
    with pytest.raises(Fenced) as fenced, sync.StreamWriter(stream, producer_id="p") as old:
        old.write("upon")
    assert fenced.value.epoch == 1
    assert messages(stream) == ["Once"]


@pytest.mark.parametrize(
    ("error", "stored"), [(ZeroDivisionError, ["Once"]), (KeyboardInterrupt, [])]
)
def test_an_exception_in_the_block_flushes_a_sync_writer_and_an_interrupt_discards(
    stream: str, error: type[BaseException], stored: list[str]
) -> None:
    with contextlib.suppress(error), sync.StreamWriter(stream, flush_interval=60) as writer:
        writer.write("Once")
        raise error
    assert messages(stream) == stored
