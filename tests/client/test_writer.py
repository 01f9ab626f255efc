"""How chunks become batches, and what flush, close, end and abort do, with a gateway in memory."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

import pytest
from headgate import StreamWriter
from headgate.sending.backlog import CHUNK_BYTES
from headgate.stream_requests import StreamRequests

from tests.client.request_proxy import Fate, RequestProxy
from tests.client.writing import JSON, TEXT, data, is_closed, made, messages
from tests.support.serving import serving
from tests.support.waiting import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from aiohttp import web

LONG_S = 3600.0  # a flush interval that no test waits for


class Way(RequestProxy):
    """The way to a gateway; appends wait while the gate is shut."""

    def __init__(self, port: int) -> None:
        super().__init__(port, self._fate)
        self.gate = asyncio.Event()
        self.gate.set()
        self.arrived = 0  # appends, before the gate

    async def _fate(self, request: web.Request) -> Fate:
        if request.method == "POST":
            self.arrived += 1
            await self.gate.wait()
        return Fate.PASSED

    @property
    def batches(self) -> list[object]:
        """The bodies of the appends to a JSON stream so far."""
        return [json.loads(heard.body) for heard in self.appends]


@pytest.fixture
async def way() -> AsyncIterator[Way]:
    async with serving() as gateway, Way(gateway.port) as way:
        yield way


# ---------------------------------------------------------------- batches


async def test_chunks_written_without_a_pause_are_sent_in_one_request(way: Way) -> None:
    url = await made(way.url)
    async with StreamWriter(url) as writer:
        for number in range(100):
            await writer.write({"token": number})
    assert way.batches == [[{"token": number} for number in range(100)]]
    assert await messages(url) == way.batches[0]
    assert writer.acknowledged == 100
    assert not await is_closed(url)


async def test_unflushed_chunks_are_sent_after_the_flush_interval(way: Way) -> None:
    url = await made(way.url)
    async with StreamWriter(url, flush_interval=0.001) as writer:
        await writer.write(1)
        await until(lambda: writer.acknowledged == 1)
        await writer.write(2)
        await until(lambda: writer.acknowledged == 2)
        assert way.batches == [[1], [2]]


async def test_a_full_batch_is_sent_before_the_flush_interval(way: Way) -> None:
    by_chunks, by_bytes = await made(way.url), await made(way.url)
    async with StreamWriter(by_chunks, flush_interval=LONG_S, max_batch_chunks=2) as writer:
        for number in (1, 2, 3):
            await writer.write(number)
        await until(lambda: writer.acknowledged == 2)
    async with StreamWriter(by_bytes, flush_interval=LONG_S, max_batch_bytes=4) as writer:
        for text in (b"10", b"20", b"300", b"40", b"5"):
            await writer.write(text)
        await until(lambda: writer.acknowledged == 3)
    assert way.batches == [[1, 2], [3], [10, 20], [300], [40, 5]]


async def test_chunks_written_during_a_request_form_the_next_batch(way: Way) -> None:
    url = await made(way.url)
    async with StreamWriter(url, flush_interval=0) as writer:
        way.gate.clear()
        await writer.write(0)
        await until(lambda: way.arrived == 1)
        for number in (1, 2, 3):
            await writer.write(number)
            await is_closed(url)  # a second append would have come before this is answered
        assert way.arrived == 1
        way.gate.set()
    assert way.batches == [[0], [1, 2, 3]]


async def test_appends_of_a_writer_carry_its_producer_and_consecutive_numbers(way: Way) -> None:
    url = await made(way.url)
    async with StreamWriter(url, producer_id="me", epoch=3) as writer:
        for number in range(2):
            await writer.write(number)
            await writer.flush()
        await writer.end()
    stamps = [
        [heard.headers[f"Producer-{name}"] for name in ("Id", "Epoch", "Seq")]
        for heard in way.appends
    ]
    assert stamps == [["me", "3", "0"], ["me", "3", "1"], ["me", "3", "2"]]


async def test_writers_without_a_producer_id_are_different_producers(way: Way) -> None:
    url = await made(way.url)
    for number in range(2):
        async with StreamWriter(url) as writer:
            await writer.write(number)
    assert await messages(url) == [0, 1]


async def test_empty_chunks_cause_no_request(way: Way) -> None:
    url = await made(way.url, TEXT)
    async with StreamWriter(url) as writer:
        await writer.write("")
        await writer.write(b"")
        await writer.flush()
    assert (way.appends, writer.acknowledged) == ([], 0)


async def test_a_writer_with_given_metadata_sends_no_head_request(way: Way) -> None:
    url = f"{way.url}/v1/stream/known"
    async with StreamRequests(url) as stream:
        metadata = await stream.create(content_type=JSON)
        async with StreamWriter(stream, metadata=metadata) as writer:
            assert writer.next_offset == metadata.next_offset
            await writer.write("a")
        assert writer.next_offset == (await stream.head()).next_offset
    assert [heard.method for heard in way.heard] == ["PUT", "POST", "HEAD"]


# ---------------------------------------------------------------- flush, close, end, abort


async def test_flush_waits_until_all_written_chunks_are_acknowledged(way: Way) -> None:
    url = await made(way.url)
    async with StreamWriter(url, flush_interval=LONG_S) as writer:
        await writer.write("a")
        way.gate.clear()
        flushing = asyncio.create_task(writer.flush())
        await until(lambda: way.arrived == 1)
        assert not flushing.done()
        way.gate.set()
        await flushing
        assert await messages(url) == ["a"]


async def test_end_closes_the_stream_with_the_last_batch(way: Way) -> None:
    url = await made(way.url)
    async with StreamWriter(url, flush_interval=LONG_S, max_batch_chunks=2) as writer:
        for number in (1, 2, 3):
            await writer.write(number)
        await writer.end()
    closing = [heard.headers.get("Stream-Closed") for heard in way.appends]
    assert (way.batches, closing) == ([[1, 2], [3]], [None, "true"])
    assert (await messages(url), await is_closed(url)) == ([1, 2, 3], True)


async def test_end_of_a_writer_without_pending_chunks_closes_the_stream(way: Way) -> None:
    url = await made(way.url)
    async with StreamWriter(url) as writer:
        await writer.end()
        await writer.aclose()
    assert [heard.body for heard in way.appends] == [b""]
    assert await is_closed(url)


@pytest.mark.parametrize(
    ("over", "said"),
    [
        ("aclose", "the writer is closed"),
        ("end", "the writer has ended the stream"),
        ("abort", "the writer was aborted"),
    ],
)
async def test_a_closed_ended_or_aborted_writer_refuses_every_call(
    over: str, said: str, way: Way
) -> None:
    async with StreamWriter(await made(way.url)) as writer:
        await getattr(writer, over)()
        for call in (writer.write("a"), writer.flush(), writer.end()):
            with pytest.raises(RuntimeError, match=said):
                await call
        await writer.aclose()
        await writer.abort()
    with pytest.raises(RuntimeError, match=f"{said}.*: make another StreamWriter"):
        await writer.__aenter__()


async def test_abort_discards_pending_chunks_and_the_interval_timer(way: Way) -> None:
    url = await made(way.url)
    async with StreamWriter(url, flush_interval=0.005) as writer:
        await writer.write("a")
        await writer.abort()
        async with StreamWriter(url, flush_interval=0.005) as later:
            await later.write("b")
            await until(lambda: later.acknowledged == 1)
    assert way.batches == [["b"]]


async def test_abort_cancels_the_active_request_and_raises_in_waiting_calls(way: Way) -> None:
    url = await made(way.url)
    async with StreamWriter(url, max_buffer_bytes=1) as writer:
        way.gate.clear()
        await writer.write(1)
        waiting = [asyncio.create_task(call) for call in (writer.flush(), writer.write(2))]
        await until(lambda: way.arrived == 1)
        await writer.abort()
        for task in waiting:
            with pytest.raises(RuntimeError, match="the writer was aborted"):
                await task
        way.gate.set()


async def test_an_exception_in_the_block_flushes_the_writer(way: Way) -> None:
    url = await made(way.url)

    async def write() -> None:
        async with StreamWriter(url, flush_interval=LONG_S) as writer:
            await writer.write("half")
            raise ValueError("the model broke")

    with pytest.raises(ValueError, match="the model broke"):
        await write()
    assert await messages(url) == ["half"]


async def test_cancelling_the_block_of_a_writer_discards_pending_chunks(way: Way) -> None:
    url = await made(way.url)

    async def write() -> None:
        async with StreamWriter(url, flush_interval=LONG_S) as writer:
            await writer.write("half")
            written.set()
            await asyncio.Event().wait()

    written = asyncio.Event()
    writing = asyncio.create_task(write())
    await written.wait()
    writing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await writing
    assert (way.appends, await messages(url)) == ([], [])


async def test_a_cancelled_close_of_a_writer_can_be_repeated(way: Way) -> None:
    url = await made(way.url)
    async with StreamWriter(url, flush_interval=LONG_S) as writer:
        way.gate.clear()
        await writer.write("a")
        closing = asyncio.create_task(writer.aclose())
        await until(lambda: way.arrived == 1)
        closing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await closing
        way.gate.set()
    assert await messages(url) == ["a"]


async def test_a_close_after_a_cancelled_end_waits_until_the_stream_is_closed(way: Way) -> None:
    url = await made(way.url)
    async with StreamWriter(url, flush_interval=LONG_S) as writer:
        way.gate.clear()
        ending = asyncio.create_task(writer.end())
        await until(lambda: way.arrived == 1)
        ending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await ending
        closing = asyncio.create_task(writer.aclose())
        way.gate.set()
        await closing
        assert await is_closed(url)


# ---------------------------------------------------------------- backpressure


async def test_write_waits_while_the_buffer_of_a_writer_is_full(way: Way) -> None:
    url = await made(way.url)
    async with StreamWriter(url, max_buffer_bytes=4 + 2 * CHUNK_BYTES) as writer:
        way.gate.clear()
        await writer.write(b"10")
        await writer.write(b"20")
        third = asyncio.create_task(writer.write(b"3"))
        await until(lambda: way.arrived == 1)
        assert not third.done()
        way.gate.set()
        await third
    assert await messages(url) == [10, 20, 3]


async def test_writes_that_wait_for_room_keep_their_order(way: Way) -> None:
    url = await made(way.url)
    async with StreamWriter(url, max_buffer_bytes=10 + CHUNK_BYTES) as writer:
        way.gate.clear()
        await writer.write("a" * 8)
        writes = [asyncio.create_task(writer.write(text)) for text in ("b" * 8, "c", "d")]
        await until(lambda: way.arrived == 1)
        way.gate.set()
        await asyncio.gather(*writes)
    assert await messages(url) == ["a" * 8, "b" * 8, "c", "d"]


async def test_a_write_cancelled_while_waiting_for_room_stores_nothing(way: Way) -> None:
    url = await made(way.url)
    async with StreamWriter(url, max_buffer_bytes=1) as writer:
        way.gate.clear()
        await writer.write(1)
        writes = [asyncio.create_task(writer.write(number)) for number in (2, 3)]
        await until(lambda: way.arrived == 1)
        writes[0].cancel()
        way.gate.set()
        await writes[1]
    assert writes[0].cancelled()
    assert await messages(url) == [1, 3]


async def test_a_chunk_longer_than_the_buffer_is_sent_alone(way: Way) -> None:
    url = await made(way.url)
    async with StreamWriter(url, max_buffer_bytes=4, max_batch_bytes=2) as writer:
        for text in ("a", "b" * 100, "c"):
            await writer.write(text)
    assert way.batches == [["a"], ["b" * 100], ["c"]]


# ---------------------------------------------------------------- streams that are no JSON


async def test_text_chunks_are_sent_in_a_multi_append_where_the_server_offers_it(way: Way) -> None:
    url = await made(way.url, TEXT)
    async with StreamWriter(url) as writer:
        for text in ("a", "é", b"c" * 300):
            await writer.write(text)
        await writer.end()
    (append,) = way.appends
    assert append.body == b"\0\0\0\1a" + b"\0\0\0\2\xc3\xa9" + b"\0\0\1\x2c" + b"c" * 300
    assert append.headers["X-Stream-Multi"] == "true"
    assert await data(url) == "aé".encode() + b"c" * 300
    assert await is_closed(url)


async def test_a_writer_with_a_content_type_learns_of_multi_appends_from_its_first_response(
    way: Way,
) -> None:
    url = await made(way.url, TEXT)
    async with StreamWriter(url, content_type=TEXT, flush_interval=LONG_S) as writer:
        for text in ("a", "b", "c"):
            await writer.write(text)
    assert [heard.method for heard in way.heard] == ["PUT", "POST", "POST"]
    assert [heard.body for heard in way.appends] == [b"a", b"\0\0\0\1b\0\0\0\1c"]


async def test_a_writer_finds_the_multi_append_limit_of_a_server_only_once(way: Way) -> None:
    url = await made(way.url, TEXT)
    chunks = 30_000
    async with StreamWriter(
        url, flush_interval=LONG_S, max_batch_chunks=10_000, max_buffer_bytes=100 * chunks
    ) as writer:
        for _ in range(chunks):
            await writer.write("x")
    refused = [10_000, 5_000]  # of a gateway that takes 4,096
    sizes = [len(heard.body) // len(b"\0\0\0\1x") for heard in way.appends]
    assert sizes == refused + [2_500] * 12
    assert await data(url) == b"x" * chunks
