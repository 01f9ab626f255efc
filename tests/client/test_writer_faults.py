"""What a writer makes of servers that refuse, are away, or lose the answer."""

from __future__ import annotations

import asyncio
import json
from collections import deque
from typing import TYPE_CHECKING

import headgate
import pytest
from headgate import Client, StreamWriter
from headgate.sending import producer
from headgate.stream_requests import ProducerStamp, StreamRequests

from tests.client.request_proxy import STATUS_AFTER, Fate, RequestProxy
from tests.client.writing import JSON, TEXT, data, is_closed, made, messages
from tests.support.ports import free_port
from tests.support.raw_origin import RawOrigin, answer
from tests.support.serving import serving
from tests.support.waiting import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable

    from aiohttp import web

    from tests.support.raw_origin import Wire

MAX_APPEND = 1000  # what the gateway of these tests takes
LONG_S = 3600.0  # a flush interval that no test waits for


class Way(RequestProxy):
    """The way to a gateway; `fates` are those of the next appends."""

    def __init__(self, port: int) -> None:
        super().__init__(port, self._fate)
        self.fates: deque[Fate] = deque()

    async def _fate(self, request: web.Request) -> Fate:
        return self.fates.popleft() if request.method == "POST" and self.fates else Fate.PASSED


@pytest.fixture
async def way() -> AsyncIterator[Way]:
    async with serving(max_append=MAX_APPEND) as gateway, Way(gateway.port) as way:
        yield way


async def failing(writing: Awaitable[None]) -> headgate.StreamError:
    """The refusal that ends it."""
    with pytest.raises(headgate.StreamError) as raised:
        await writing
    return raised.value


# ---------------------------------------------------------------- what passes


@pytest.mark.parametrize("fate", list(Fate)[1:])
async def test_an_append_whose_response_is_lost_is_stored_once(fate: Fate, way: Way) -> None:
    url = await made(way.url)
    notes: list[str] = []
    async with StreamWriter(url, note=notes.append) as writer:
        for number in range(4):
            way.fates.extend([fate] * (number % 2))
            await writer.write(number)
            await writer.flush()
        way.fates.append(fate)
        await writer.end()
    assert await messages(url) == [0, 1, 2, 3]
    assert await is_closed(url)
    assert len(way.appends) == 5 + 3
    assert sum("; trying again in 0." in note for note in notes) == 3
    assert notes[1::2] == ["connected again"] * 3


@pytest.mark.parametrize("fate", STATUS_AFTER)
async def test_a_first_append_stored_but_answered_with_an_error_is_no_takeover(
    fate: Fate, way: Way
) -> None:
    url = await made(way.url)
    async with StreamWriter(url, producer_id="me") as writer:
        way.fates.append(fate)
        await writer.write("first")
        await writer.flush()
        await writer.write("second")
    assert await messages(url) == ["first", "second"]


async def test_a_writer_retries_until_its_server_starts() -> None:
    async with serving() as gateway:
        url = (await made(f"http://127.0.0.1:{gateway.port}")).split("/v1/")[1]
        away = RequestProxy(gateway.port)
        notes: list[str] = []

        async def write() -> None:
            async with StreamWriter(f"{away.url}/v1/{url}", note=notes.append) as writer:
                await writer.write("a")

        writing = asyncio.create_task(write())
        await until(lambda: bool(notes))
        async with away:
            await writing
        assert await messages(f"http://127.0.0.1:{gateway.port}/v1/{url}") == ["a"]
    assert "cannot connect: Connection refused; trying again in 0." in notes[0]


async def test_a_writer_whose_server_never_starts_raises_unavailable() -> None:
    url = f"http://127.0.0.1:{free_port()}/v1/stream/nowhere"
    with pytest.raises(headgate.Unavailable, match="cannot connect: Connection refused"):
        async with StreamWriter(url, retry_for=0.05):
            pass


async def test_a_flush_raises_unavailable_when_the_server_stays_away(way: Way) -> None:
    url = await made(way.url)

    async def write() -> None:
        async with StreamWriter(url, retry_for=0.05) as writer:
            await writer.write("a")
            await writer.flush()
            way.fates.extend([Fate.LOST] * 100)
            await writer.write("b")
            await writer.flush()

    with pytest.raises(headgate.Unavailable, match="the connection was lost"):
        await asyncio.wait_for(write(), 30)
    way.fates.clear()
    assert await messages(url) == ["a"]


async def test_an_append_without_a_response_times_out() -> None:
    async def silent(wire: Wire) -> None:
        await wire.rest()

    head = answer(b"", f"Content-Type: {JSON}", "Stream-Next-Offset: 0")
    async with RawOrigin(head, silent) as origin, Client(origin.url, timeout=0.1) as hg:

        async def write() -> None:
            async with hg.writer("s", retry_for=0) as writer:
                await writer.write("a")

        with pytest.raises(headgate.Unavailable, match="no answer"):
            await write()


async def test_an_append_whose_body_the_server_does_not_read_times_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    over = asyncio.Event()

    async def deaf(wire: Wire) -> None:
        await over.wait()
        await wire.reset()

    monkeypatch.setattr(producer, "SLOWEST_BYTES_S", 1 << 30)
    head = answer(b"", f"Content-Type: {TEXT}", "Stream-Next-Offset: 0")
    async with RawOrigin(head, deaf) as origin, Client(origin.url, timeout=0.1) as hg:

        async def write() -> None:
            async with hg.writer("s", retry_for=0) as writer:
                await writer.write(b"x" * (32 << 20))

        with pytest.raises(headgate.Unavailable, match="no answer"):
            await write()
        over.set()


# ---------------------------------------------------------------- where a failure surfaces


@pytest.mark.parametrize("call", ["write", "flush", "aclose", "end"])
async def test_a_background_failure_of_a_writer_is_raised_by_every_later_call(
    call: str, way: Way
) -> None:
    url = await made(way.url)

    async def write() -> None:
        async with StreamWriter(url, flush_interval=0) as writer:
            async with StreamRequests(url) as stream:
                await stream.close()
            await writer.write("a")
            await until(lambda: len(way.appends) == 2)
            await asyncio.sleep(0.05)  # until the answer is there: no call must be needed for it
            arguments = ["b"] if call == "write" else []
            for _ in range(2):
                with pytest.raises(headgate.Closed):
                    await getattr(writer, call)(*arguments)

    assert isinstance(await failing(write()), headgate.Closed)
    assert await messages(url) == []


async def test_a_failure_of_the_last_append_is_raised_at_the_end_of_the_block(way: Way) -> None:
    url = await made(way.url)

    async def write() -> None:
        async with StreamWriter(url, flush_interval=LONG_S) as writer:
            await writer.write("a")
            async with StreamRequests(url) as stream:
                await stream.delete()

    assert isinstance(await failing(write()), headgate.StreamNotFound)


async def test_an_exception_in_the_block_gets_a_note_of_a_failed_append(way: Way) -> None:
    url = await made(way.url)

    async def write() -> None:
        async with StreamWriter(url, flush_interval=LONG_S) as writer:
            await writer.write("a")
            async with StreamRequests(url) as stream:
                await stream.close()
            raise ValueError("the model broke")

    with pytest.raises(ValueError, match="the model broke") as raised:
        await write()
    (note,) = raised.value.__notes__
    assert note.startswith("What was written before could not all be sent: http://")


async def test_a_write_waiting_for_room_raises_a_background_failure(way: Way) -> None:
    url = await made(way.url)

    async def write() -> None:
        async with StreamWriter(url, max_buffer_bytes=1) as writer:
            async with StreamRequests(url) as stream:
                await stream.close()
            await writer.write(1)
            await writer.write(2)

    assert isinstance(await failing(asyncio.wait_for(write(), 30)), headgate.Closed)


async def test_an_invalid_chunk_raises_and_the_others_are_stored(way: Way) -> None:
    url = await made(way.url, TEXT)
    async with StreamWriter(url) as writer:
        await writer.write("a")
        with pytest.raises(TypeError, match="takes bytes or str, not dict"):
            await writer.write({})
        with pytest.raises(ValueError, match="half of a surrogate pair"):
            await writer.write("\ud800")
        await writer.write("b")
    assert await data(url) == b"ab"


# ---------------------------------------------------------------- what is refused at once


async def test_opening_a_writer_for_an_unknown_stream_raises_stream_not_found(way: Way) -> None:
    with pytest.raises(headgate.StreamNotFound, match="404 Not Found"):
        async with StreamWriter(f"{way.url}/v1/stream/nowhere"):
            pass


async def test_a_writer_for_another_content_type_than_the_streams_raises_conflict(way: Way) -> None:
    url = await made(way.url, TEXT)
    async with StreamRequests(url) as stream:
        metadata = await stream.head()
    async with StreamWriter(url, metadata=metadata, content_type="Text/Plain; charset=utf-8"):
        pass
    with pytest.raises(headgate.Conflict, match="the stream is text/plain, not application/"):
        async with StreamWriter(url, metadata=metadata, content_type=JSON):
            pass

    async def write() -> None:
        async with StreamWriter(url, content_type=JSON) as writer:
            await writer.write("a")

    held = "the stream holds text/plain, not application/json: send Content-Type: text/plain"
    with pytest.raises(headgate.Conflict, match=held):
        await write()


async def test_opening_a_writer_for_a_closed_stream_raises_stream_closed(way: Way) -> None:
    url = await made(way.url)
    async with StreamRequests(url) as stream:
        await stream.close()
    with pytest.raises(headgate.Closed, match="the stream is closed"):
        async with StreamWriter(url):
            pass


async def test_opening_a_writer_at_another_kind_of_server_raises_a_protocol_error() -> None:
    async with RawOrigin(answer(b"", "Content-Type: text/html")) as origin:
        with pytest.raises(headgate.ProtocolError, match="not a Durable Streams server"):
            async with StreamWriter(f"{origin.url}/s"):
                pass
    async with RawOrigin(answer(b"", "Stream-Next-Offset: 0")) as origin:
        with pytest.raises(headgate.ProtocolError, match="the server sent no Content-Type"):
            async with StreamWriter(f"{origin.url}/s"):
                pass


@pytest.mark.parametrize("wrong", ["", pytest.param("a\nb", id="a-newline"), " a", "é"])
def test_an_invalid_producer_id_or_epoch_is_refused(wrong: str) -> None:
    with pytest.raises(ValueError, match="a producer id is printable ASCII"):
        StreamWriter("http://127.0.0.1:1/s", producer_id=wrong)
    with pytest.raises(ValueError, match="epoch is a whole number, 0 or more"):
        StreamWriter("http://127.0.0.1:1/s", epoch=-1)


# ---------------------------------------------------------------- chunks that are refused


async def test_a_chunk_refused_as_too_long_is_named_and_earlier_chunks_are_stored(way: Way) -> None:
    url = await made(way.url)
    writer = StreamWriter(url, flush_interval=LONG_S)

    async def write() -> None:
        async with writer:
            for number in range(5):
                await writer.write(str(number) * (2000 if number == 3 else 1))

    refusal = await failing(write())
    assert isinstance(refusal, headgate.TooLarge)
    assert str(refusal).endswith("; it was chunk 4, of 2,002 bytes")
    assert refusal.__notes__ == ["Append less at once."]
    assert writer.acknowledged == 3
    assert await messages(url) == ["0", "1", "2"]


async def test_a_chunk_refused_by_the_server_is_named_and_earlier_chunks_are_stored(
    way: Way,
) -> None:
    url = await made(way.url)
    deep = json.loads("[" * 70 + "]" * 70)

    async def write() -> None:
        async with StreamWriter(url, flush_interval=LONG_S) as writer:
            for value in ("a", deep, "b"):
                await writer.write(value)

    refusal = await failing(write())
    assert refusal.status == 400
    assert str(refusal).endswith("; it was chunk 2, of 140 bytes")
    assert await messages(url) == ["a"]


async def test_a_batch_that_may_be_stored_already_is_not_sent_in_parts() -> None:
    answers = [
        answer(b"", f"Content-Type: {JSON}", "Stream-Next-Offset: 0"),
        answer(status="503 Service Unavailable"),
        answer(status="413 Content Too Large"),
    ]
    async with RawOrigin(*answers) as origin:

        async def write() -> None:
            async with StreamWriter(f"{origin.url}/s") as writer:
                await writer.write(1)
                await writer.write(2)

        assert isinstance(await failing(write()), headgate.TooLarge)
        assert len(origin.heard) == 3


# ---------------------------------------------------------------- other writers


async def test_a_writer_is_fenced_by_a_newer_epoch(way: Way) -> None:
    url = await made(way.url)

    async def write() -> None:
        async with StreamWriter(url, producer_id="me", epoch=4) as older:
            await older.write("older")
            await older.flush()
            async with StreamWriter(url, producer_id="me", epoch=6) as newer:
                await newer.write("newer")
            await older.write("late")

    refusal = await failing(write())
    assert isinstance(refusal, headgate.Fenced)
    assert refusal.epoch == 6
    assert await messages(url) == ["older", "newer"]


@pytest.mark.parametrize("earlier", [1, 2])
@pytest.mark.parametrize("ending", ["aclose", "end"])
async def test_a_writer_that_reuses_an_epoch_raises_producer_fenced(
    earlier: int, ending: str, way: Way
) -> None:
    url = await made(way.url)
    async with StreamWriter(url, producer_id="me") as writer:
        for number in range(earlier):
            await writer.write(number)
            await writer.flush()

    async def write() -> None:
        async with StreamWriter(url, producer_id="me") as writer:
            await writer.write("again")
            await getattr(writer, ending)()

    refusal = await failing(write())
    assert isinstance(refusal, headgate.Fenced)
    assert refusal.epoch == 0
    assert str(refusal).endswith(
        "producer me has written in epoch 0 before: take over with epoch 1"
    )
    assert await messages(url) == list(range(earlier))


async def test_a_writer_that_reuses_an_epoch_is_fenced_even_after_a_lost_response(way: Way) -> None:
    url = await made(way.url)
    async with StreamWriter(url, producer_id="me") as writer:
        for number in range(2):
            await writer.write(number)
            await writer.flush()

    async def write() -> None:
        async with StreamWriter(url, producer_id="me") as writer:
            way.fates.append(Fate.LOST)
            await writer.write("again")

    assert isinstance(await failing(write()), headgate.Fenced)


async def test_a_writer_that_reuses_an_epoch_is_fenced_even_after_a_refused_connection() -> None:
    async with serving() as gateway:
        url = await made(f"http://127.0.0.1:{gateway.port}")
        async with StreamWriter(url, producer_id="me") as writer:
            await writer.write("a")
        away = RequestProxy(gateway.port)
        notes: list[str] = []

        async def write() -> None:
            late = url.replace(str(gateway.port), str(away.port))
            async with StreamWriter(
                late, content_type=JSON, producer_id="me", note=notes.append
            ) as writer:
                await writer.write("lost")

        writing = asyncio.create_task(write())
        await until(lambda: bool(notes))
        async with away:
            assert isinstance(await failing(writing), headgate.Fenced)
    assert "cannot connect" in notes[0]


async def test_a_stream_recreated_during_writing_raises_a_conflict(way: Way) -> None:
    url = await made(way.url)

    async def write() -> None:
        async with StreamWriter(url) as writer, StreamRequests(url) as stream:
            await writer.write("a")
            await writer.flush()
            await stream.delete()
            await stream.create(content_type=JSON)
            await writer.write("b")

    assert isinstance(await failing(write()), headgate.Conflict)
    assert await messages(url) == []


async def test_an_append_repeated_by_an_intermediary_is_stored_once(way: Way) -> None:
    url = await made(way.url)
    async with StreamWriter(url) as writer, StreamRequests(url) as stream:
        stamp = ProducerStamp(writer.producer_id, 0, 0)
        await stream.append(b'["a"]', content_type=JSON, producer=stamp)
        await writer.write("a")
    assert await messages(url) == ["a"]


async def test_a_server_without_producer_support_raises_a_protocol_error() -> None:
    answers = [
        answer(b"", f"Content-Type: {JSON}", "Stream-Next-Offset: 0"),
        answer(b"", "Stream-Next-Offset: 1", status="204 No Content"),
    ]
    async with RawOrigin(*answers) as origin:

        async def write() -> None:
            async with StreamWriter(f"{origin.url}/s") as writer:
                await writer.write(1)

        with pytest.raises(headgate.ProtocolError, match="knows no producers"):
            await write()
