"""Many small chunks, written to a stream from threads."""

from __future__ import annotations

import asyncio
import json
import threading

import durable_streams
import pytest
from headgate import Closed, Fenced, StreamNotFound, Unavailable, sync

from tests.client import writing
from tests.support.ports import free_port


@pytest.fixture
def stream(url: str) -> str:
    """The URL of a JSON stream, which the official client makes."""
    durable_streams.DurableStream.create(url, content_type="application/json").close()
    return url


def messages(url: str) -> list[object]:
    """Read the messages of a stream by the official client."""
    with durable_streams.stream(url, live=False) as found:
        return [*found.iter_json()]


def test_chunks_of_one_thread_are_stored_once_and_in_order(stream: str) -> None:
    with sync.StreamWriter(stream) as writer:
        for number in range(2000):
            writer.write(number)
        writer.flush()
        assert (writer.taken, writer.acknowledged) == (2000, 2000)
        writer.end()
    assert messages(stream) == [*range(2000)]
    assert asyncio.run(writing.is_closed(stream))
    assert (writer.content_type, writer.next_offset is not None) == ("application/json", True)


def test_chunks_of_five_threads_sharing_a_writer_are_all_stored_once(stream: str) -> None:
    with sync.StreamWriter(stream) as writer:

        def write(first: int) -> None:
            for number in range(first, first + 100):
                writer.write(number)

        threads = [threading.Thread(target=write, args=(100 * each,)) for each in range(5)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    found = messages(stream)
    assert sorted(found, key=str) == sorted(range(500), key=str)


def test_a_full_buffer_blocks_the_writing_thread(stream: str) -> None:
    with sync.StreamWriter(stream, max_buffer_bytes=1000, max_batch_bytes=500) as writer:
        for _ in range(100):
            writer.write("x" * 200)
            assert writer.taken - writer.acknowledged <= 5
    assert len(messages(stream)) == 100


def test_a_sync_writer_raises_the_fitting_error_class_for_each_failure(
    stream: str, url: str
) -> None:
    with pytest.raises(StreamNotFound), sync.StreamWriter(f"{url}/none"):
        pass
    nobody = f"http://127.0.0.1:{free_port()}/none"
    with pytest.raises(Unavailable), sync.StreamWriter(nobody, retry_for=0):
        pass
    with sync.StreamWriter(stream, producer_id="p", epoch=1) as newer:
        newer.write("Once")
    with pytest.raises(Fenced) as fenced, sync.StreamWriter(stream, producer_id="p") as old:
        old.write("upon")
    assert fenced.value.epoch == 1
    with sync.StreamWriter(stream) as writer:
        with pytest.raises(TypeError):
            writer.write(object())
        writer.end()
    with pytest.raises(Closed), sync.StreamWriter(stream) as late:
        late.write("upon")
    assert messages(stream) == ["Once"]


@pytest.mark.parametrize(
    ("error", "stored"), [(ZeroDivisionError, ["Once"]), (KeyboardInterrupt, [])]
)
def test_an_exception_in_the_block_flushes_a_sync_writer_and_an_interrupt_discards(
    stream: str, error: type[BaseException], stored: list[str]
) -> None:
    def write() -> None:
        with sync.StreamWriter(stream, flush_interval=60) as writer:
            writer.write("Once")
            raise error

    with pytest.raises(error):
        write()
    assert messages(stream) == stored


def test_writing_to_a_sync_writer_outside_its_block_raises(stream: str) -> None:
    writer = sync.StreamWriter(stream)
    with pytest.raises(RuntimeError, match="is used in its block"):
        writer.write("Once")
    with writer:
        writer.abort()
        with pytest.raises(RuntimeError, match="the writer was aborted"):
            writer.write(json.dumps("Once"))
