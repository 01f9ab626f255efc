"""The writer: its batches, its ends, and what it makes of servers that refuse or lose answers."""

from __future__ import annotations

import asyncio
import json
import tracemalloc
from collections import deque
from typing import TYPE_CHECKING, Any

import pytest
from yarl import URL

import headgate
from headgate import StreamWriter
from headgate.sending import producer
from headgate.sending.backlog import CHUNK_BYTES, Backlog
from headgate.stream_requests import StreamRequests
from tests.client.histories import campaign
from tests.client.request_proxy import Fate, RequestProxy
from tests.client.writing import JSON, OCTETS, TEXT, data, is_closed, made, messages, write
from tests.support.delaying_proxy import DelayingProxy
from tests.support.origin_servers import reference
from tests.support.raw_origin import RawOrigin, answer
from tests.support.serving import serving
from tests.support.waiting import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

    from aiohttp import web

    from tests.support.origin_servers import Reference
    from tests.support.raw_origin import Wire

MAX_APPEND = 200_000  # what the gateway of these tests takes
LONG_S = 3600.0  # a flush interval that no test waits for
flush = StreamWriter.flush


class Way(RequestProxy):
    """The way to a gateway: appends wait while the gate is shut, and meet the next of `fates`."""

    def __init__(self, port: int) -> None:
        super().__init__(port, self._fate)
        self.gate = asyncio.Event()
        self.gate.set()
        self.arrived = 0  # appends, before the gate
        self.fates: deque[Fate] = deque()

    async def _fate(self, request: web.Request) -> Fate:
        if request.method != "POST":
            return Fate.PASSED
        self.arrived += 1
        await self.gate.wait()
        return self.fates.popleft() if self.fates else Fate.PASSED

    @property
    def batches(self) -> list[object]:
        """The bodies of the appends to a JSON stream so far."""
        return [json.loads(heard.body) for heard in self.appends]


@pytest.fixture
async def way() -> AsyncIterator[Way]:
    async with serving(max_append=MAX_APPEND) as gateway, Way(gateway.port) as way:
        yield way


@pytest.fixture(scope="module")
def server(processes: None) -> Iterator[Reference]:
    with reference() as server:
        yield server


def raising(error: BaseException) -> Callable[[StreamWriter], None]:
    def step(_: StreamWriter) -> None:
        raise error

    return step


def beside(
    url: str, *operations: Callable[[StreamRequests], Awaitable[object]]
) -> Callable[[StreamWriter], Awaitable[None]]:
    """Return a step that does something to the stream beside its writer."""

    async def do(_: StreamWriter) -> None:
        async with StreamRequests(url) as stream:
            for operation in operations:
                await operation(stream)

    return do


async def forked(stream: StreamRequests) -> None:
    """Fork a stream: once it is deleted, its data stay for the fork, and it answers 410."""
    source = URL(stream.url).path
    await stream.beside(f"{stream.url}-fork").create(headers={"Stream-Forked-From": source})


async def test_chunks_written_without_a_pause_are_sent_in_one_request(way: Way) -> None:
    url = await made(way.url)
    writer = await write(url, *({"token": number} for number in range(100)))
    assert way.batches == [[{"token": number} for number in range(100)]]
    assert await messages(url) == way.batches[0]
    assert (writer.taken, writer.acknowledged) == (100, 100)
    assert not await is_closed(url)


async def test_unflushed_chunks_are_sent_after_the_flush_interval(way: Way) -> None:
    url = await made(way.url)
    async with StreamWriter(url, flush_interval=0.001) as writer:
        for number in (1, 2):
            await writer.write(number)
            await until(lambda number=number: writer.acknowledged == number)  # type: ignore[misc]
        assert way.batches == [[1], [2]]


def test_a_chunk_waits_ten_milliseconds_for_others_by_default() -> None:
    backlog = StreamWriter("http://127.0.0.1:1/s")._backlog
    assert backlog.due_at() is None
    for now in (5.0, 5.004):
        backlog.take(b"a", lambda now=now: now)  # type: ignore[misc]
        assert backlog.due_at() == 5.0 + 0.010


@pytest.mark.parametrize("content_type", [JSON, TEXT])
async def test_2000_tokens_for_a_distant_server_wait_for_few_of_its_responses(
    content_type: str,
) -> None:
    """One request for each would take 80 seconds."""
    tokens = [f"token {number} " for number in range(2000)]
    async with serving() as gateway, DelayingProxy(gateway.port, latency_s=0.020) as way:
        url = await made(f"http://127.0.0.1:{way.port}", content_type)
        async with asyncio.timeout(10):
            await write(url, *tokens)
        assert way.appends <= 10
        stored = await (messages if content_type == JSON else data)(url)
        assert stored == (tokens if content_type == JSON else "".join(tokens).encode())


@pytest.mark.parametrize(
    ("limit", "batches"),
    [
        ({"max_batch_chunks": 2}, [[10, 20], [300, 40], [5]]),
        ({"max_batch_bytes": 4}, [[10, 20], [300], [40, 5]]),
        ({"max_buffer_bytes": 1, "max_batch_bytes": 1}, [[10], [20], [300], [40], [5]]),
    ],
    ids=["chunks", "bytes", "a longer chunk is sent alone"],
)
async def test_a_full_batch_is_sent_before_the_flush_interval(
    limit: dict[str, Any], batches: list[object], way: Way
) -> None:
    async def sent(writer: StreamWriter) -> None:
        await until(lambda: writer.acknowledged >= 2)

    chunks = (b"10", b"20", b"300", b"40", b"5")
    await write(await made(way.url), *chunks, sent, flush_interval=LONG_S, **limit)
    assert way.batches == batches


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


async def test_a_writer_with_given_metadata_sends_no_head_request(way: Way) -> None:
    url = f"{way.url}/v1/stream/known"
    async with StreamRequests(url) as stream:
        metadata = await stream.create(content_type=JSON)
        async with StreamWriter(stream, metadata=metadata) as writer:
            assert writer.next_offset == metadata.next_offset
            await writer.write("a")
        assert writer.next_offset == (await stream.head()).next_offset
    assert [heard.method for heard in way.heard] == ["PUT", "POST", "HEAD"]


async def test_text_chunks_are_sent_in_a_multi_append_where_the_server_offers_it(way: Way) -> None:
    url = await made(way.url, TEXT)
    await write(url, "", "a", "é", b"c" * 300, b"", ending="end")
    (append,) = way.appends
    assert append.body == b"\0\0\0\1a" + b"\0\0\0\2\xc3\xa9" + b"\0\0\1\x2c" + b"c" * 300
    assert append.headers["X-Stream-Multi"] == "true"
    assert await data(url) == "aé".encode() + b"c" * 300
    assert await is_closed(url)


async def test_a_writer_with_a_content_type_learns_of_multi_appends_from_its_first_response(
    way: Way,
) -> None:
    url = await made(way.url, TEXT)
    await write(url, "a", "b", "c", content_type=TEXT, flush_interval=LONG_S)
    assert [heard.method for heard in way.heard] == ["PUT", "POST", "POST"]
    assert [heard.body for heard in way.appends] == [b"a", b"\0\0\0\1b\0\0\0\1c"]


async def test_a_writer_finds_the_multi_append_limit_of_a_server_only_once(way: Way) -> None:
    url = await made(way.url, TEXT)
    chunks = "x" * 30_000
    limits: dict[str, Any] = {"max_batch_chunks": 10_000, "max_buffer_bytes": 100 * len(chunks)}
    await write(url, *chunks, flush_interval=LONG_S, **limits)
    refused = [10_000, 5_000]  # of a gateway that takes 4,096
    sizes = [len(heard.body) // len(b"\0\0\0\1x") for heard in way.appends]
    assert sizes == refused + [2_500] * 12
    assert await data(url) == chunks.encode()


def test_a_backlog_of_tiny_chunks_uses_no_more_memory_than_its_limit() -> None:
    backlog = Backlog(0.010, 10, 3, max_buffer_bytes=1 << 16)
    tracemalloc.start()
    try:
        while backlog.has_room(2):
            backlog.take(b"%02d" % (backlog.taken % 100), lambda: 5.0)
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert backlog.taken == (1 << 16) // (2 + CHUNK_BYTES)
    assert held <= 1 << 16


@pytest.mark.parametrize("chunks", [[], [1, 2, 3]])
async def test_end_closes_the_stream_with_the_last_batch_of_its_producer(
    chunks: list[int], way: Way
) -> None:
    url = await made(way.url)
    options: dict[str, Any] = {"producer_id": "me", "epoch": 3, "max_batch_chunks": 2}
    await write(url, *chunks, ending="end", flush_interval=LONG_S, **options)
    names = ("Producer-Id", "Producer-Epoch", "Producer-Seq", "Stream-Closed")
    sent = [[heard.headers.get(name) for name in names] for heard in way.appends]
    assert sent == [["me", "3", "0", None]] * bool(chunks) + [
        ["me", "3", "1" if chunks else "0", "true"]
    ]
    assert (await messages(url), await is_closed(url)) == (chunks, True)


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
    with pytest.raises(RuntimeError, match=f"{said}.*: make another"):
        await writer.__aenter__()


async def test_abort_cancels_the_active_request_and_raises_in_waiting_calls(way: Way) -> None:
    url = await made(way.url)
    async with StreamWriter(url, max_buffer_bytes=1) as writer:
        way.gate.clear()
        await writer.write(1)
        calls = (writer.flush(), writer.write(2), writer.aclose())
        waiting = [asyncio.create_task(call) for call in calls]
        await until(lambda: way.arrived == 1)
        await writer.abort()
        _, late = await asyncio.wait(waiting, timeout=10)
        way.gate.set()
        assert not late
        for task in waiting:
            with pytest.raises(RuntimeError, match=r"the writer (was aborted|is closed)"):
                await task


@pytest.mark.parametrize(
    ("error", "stored"), [(ValueError, ["half"]), (asyncio.CancelledError, [])]
)
async def test_an_exception_in_the_block_flushes_the_writer_and_a_cancellation_discards(
    error: type[BaseException], stored: list[str], way: Way
) -> None:
    url = await made(way.url)
    with pytest.raises(error):
        await write(url, "half", raising(error()), flush_interval=LONG_S)
    assert await messages(url) == stored


@pytest.mark.parametrize("call", ["aclose", "end"])
async def test_a_cancelled_close_or_end_of_a_writer_can_be_waited_for_again(
    call: str, way: Way
) -> None:
    url = await made(way.url)
    async with StreamWriter(url, flush_interval=LONG_S) as writer:
        way.gate.clear()
        await writer.write("a")
        closing = asyncio.create_task(getattr(writer, call)())
        await until(lambda: way.arrived == 1)
        closing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await closing
        way.gate.set()
        await writer.aclose()
        assert (await messages(url), await is_closed(url)) == (["a"], call == "end")


async def test_writes_wait_in_order_while_the_buffer_is_full_and_may_be_cancelled(
    way: Way,
) -> None:
    url = await made(way.url)
    async with StreamWriter(url, max_buffer_bytes=14 + 2 * CHUNK_BYTES) as writer:
        way.gate.clear()
        await writer.write("a" * 8)
        writes = [asyncio.create_task(writer.write(text)) for text in ("b" * 8, "no", "c", "d")]
        await until(lambda: way.arrived == 1)
        are_waiting = not any(write.done() for write in writes)
        writes.pop(1).cancel()
        way.gate.set()  # for whatever comes, the block ends
        await asyncio.gather(*writes)
        assert are_waiting
    assert await messages(url) == ["a" * 8, "b" * 8, "c", "d"]


def test_an_option_with_which_nothing_could_be_written_is_refused() -> None:
    for name in ("flush_interval", "epoch", "max_batch_bytes", "max_batch_chunks"):
        with pytest.raises(ValueError, match=f"{name} is a .*number"):
            StreamWriter("http://127.0.0.1:1/s", **{name: -1})  # type: ignore[arg-type]
    for wrong in ("", "a\nb", " a", "é"):
        with pytest.raises(ValueError, match="a producer id is printable ASCII"):
            StreamWriter("http://127.0.0.1:1/s", producer_id=wrong)


@pytest.mark.parametrize("fate", list(Fate)[1:])
async def test_an_append_whose_response_is_lost_is_stored_once(fate: Fate, way: Way) -> None:
    url = await made(way.url)
    notes: list[str] = []
    way.fates.extend([fate, Fate.PASSED, Fate.PASSED] * 3)  # also of the first, and of the end
    chunks = (step for number in range(4) for step in (number, flush))
    await write(url, *chunks, ending="end", producer_id="me", note=notes.append)
    assert await messages(url) == [0, 1, 2, 3]
    assert await is_closed(url)
    assert len(way.appends) == 5 + 3
    assert sum("; trying again in 0." in note for note in notes) == 3
    assert notes[1::2] == ["connected again"] * 3


async def test_a_writer_retries_until_its_server_starts() -> None:
    """And it is fenced as ever: what was not sent is no append that may have been stored."""
    async with serving() as gateway:
        url = await made(f"http://127.0.0.1:{gateway.port}")
        await write(url, "a", producer_id="me")
        away = RequestProxy(gateway.port)
        late = url.replace(str(gateway.port), str(away.port))
        notes: list[str] = []
        writing = [
            asyncio.create_task(write(late, "b", note=notes.append, **options))
            for options in ({}, {"content_type": JSON, "producer_id": "me"})
        ]
        await until(lambda: len(notes) >= 2)
        async with away:
            await writing[0]
            with pytest.raises(headgate.Fenced):
                await writing[1]
        assert await messages(url) == ["a", "b"]
    assert "cannot connect: Connection refused; trying again in 0." in notes[0]


async def test_a_flush_raises_unavailable_when_the_server_stays_away(way: Way) -> None:
    url = await made(way.url)
    way.fates.extend([Fate.PASSED, *[Fate.LOST] * 100])

    async def fail(writer: StreamWriter) -> None:
        with pytest.raises(headgate.Unavailable, match="the connection was lost"):
            await writer.flush()

    with pytest.raises(headgate.Unavailable, match="the connection was lost") as lost:
        await asyncio.wait_for(write(url, "a", flush, "b", fail, retry_for=0.05), 30)
    assert not lost.value.is_unsent  # it may be stored
    way.fates.clear()
    assert await messages(url) == ["a"]


@pytest.mark.parametrize("size", [1, pytest.param(32 << 20, id="a body that is not read")])
async def test_an_append_without_a_response_times_out(
    size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    over = asyncio.Event()

    async def deaf(wire: Wire) -> None:
        await over.wait()
        await wire.reset()

    monkeypatch.setattr(producer, "SLOWEST_BYTES_S", 1 << 30)
    head = answer(b"", f"Content-Type: {TEXT}", "Stream-Next-Offset: 0")
    async with RawOrigin(head, deaf) as it, StreamRequests(f"{it.url}/s", timeout=0.1) as stream:
        with pytest.raises(headgate.Unavailable, match="no answer"):
            await write(stream, b"x" * size, retry_for=0)
        over.set()


@pytest.mark.parametrize("call", ["write", "flush", "aclose", "end"])
async def test_a_background_failure_of_a_writer_is_raised_by_every_later_call(
    call: str, way: Way
) -> None:
    url = await made(way.url)

    async def calls(writer: StreamWriter) -> None:
        await until(lambda: len(way.appends) == 2)
        await asyncio.sleep(0.05)  # until the answer is there: no call must be needed for it
        for _ in range(2):
            with pytest.raises(headgate.Closed):
                await getattr(writer, call)(*(["b"] if call == "write" else []))

    with pytest.raises(headgate.Closed):
        await write(url, beside(url, StreamRequests.close), "a", calls, flush_interval=0)
    assert await messages(url) == []


async def test_a_write_waiting_for_room_raises_a_background_failure(way: Way) -> None:
    url = await made(way.url)
    writing = write(url, beside(url, StreamRequests.close), 1, 2, max_buffer_bytes=1)
    with pytest.raises(headgate.Closed):
        await asyncio.wait_for(writing, 30)


async def test_an_exception_in_the_block_gets_a_note_of_a_failed_append(way: Way) -> None:
    url = await made(way.url)
    steps = ("a", beside(url, StreamRequests.close), raising(ValueError("the model broke")))
    with pytest.raises(ValueError, match="the model broke") as raised:
        await write(url, *steps, flush_interval=LONG_S)
    (note,) = raised.value.__notes__
    assert note.startswith("What was written before could not all be sent: http://")


async def test_an_invalid_chunk_raises_and_the_others_are_stored(way: Way) -> None:
    url = await made(way.url, TEXT)

    async def fail(writer: StreamWriter) -> None:
        with pytest.raises(TypeError, match="takes bytes or str, not dict"):
            await writer.write({})

    await write(url, "a", fail, "b")
    assert await data(url) == b"ab"


async def test_a_writer_for_another_content_type_than_the_streams_raises_conflict(way: Way) -> None:
    url = await made(way.url, TEXT)
    async with StreamRequests(url) as stream:
        metadata = await stream.head()
    await write(url, metadata=metadata, content_type="Text/Plain; charset=utf-8")
    with pytest.raises(headgate.Conflict, match="the stream is text/plain, not application/"):
        await write(url, metadata=metadata, content_type=JSON)
    held = "the stream holds text/plain, not application/json: send Content-Type: text/plain"
    with pytest.raises(headgate.Conflict, match=held):
        await write(url, "a", content_type=JSON)


HEAD = answer(b"", f"Content-Type: {JSON}", "Stream-Next-Offset: 0")
NO_PRODUCERS = answer(b"", "Stream-Next-Offset: 1", status="204 No Content")


@pytest.mark.parametrize(
    ("answers", "words"),
    [
        ([answer(b"", "Content-Type: text/html")], "not a Durable Streams server"),
        ([answer(b"", "Stream-Next-Offset: 0")], "the server sent no Content-Type"),
        ([HEAD, NO_PRODUCERS], "knows no producers"),
    ],
    ids=["no offset", "no type", "no producers"],
)
async def test_another_kind_of_server_raises_a_protocol_error(
    answers: list[Any], words: str
) -> None:
    async with RawOrigin(*answers) as origin:
        with pytest.raises(headgate.ProtocolError, match=words):
            await write(f"{origin.url}/s", 1)


@pytest.mark.parametrize(
    ("bad", "status", "words"),
    [
        pytest.param("3" * MAX_APPEND, 413, "of 200,002 bytes", id="too long"),
        pytest.param(json.loads("[" * 70 + "]" * 70), 400, "of 140 bytes", id="nested too deeply"),
    ],
)
async def test_a_chunk_that_the_server_refuses_is_named_and_earlier_chunks_are_stored(
    bad: object, status: int, words: str, way: Way
) -> None:
    url = await made(way.url)
    with pytest.raises(headgate.StreamError) as refused:
        await write(url, "0", "1", "2", bad, "4", flush_interval=LONG_S)
    assert refused.value.status == status
    assert str(refused.value).endswith(f"; it was chunk 4, {words}")
    assert refused.value.__notes__  # what to do about it
    assert await messages(url) == ["0", "1", "2"]


async def test_a_batch_that_may_be_stored_already_is_not_sent_in_parts() -> None:
    busy = answer(status="503 Service Unavailable")
    async with RawOrigin(HEAD, busy, answer(status="413 Content Too Large")) as origin:
        with pytest.raises(headgate.TooLarge):
            await write(f"{origin.url}/s", 1, 2)
        assert len(origin.heard) == 3


async def test_a_writer_is_fenced_by_a_newer_epoch(way: Way) -> None:
    url = await made(way.url)

    async def newer(_: StreamWriter) -> None:
        await write(url, "newer", producer_id="me", epoch=6)

    with pytest.raises(headgate.Fenced) as fenced:
        await write(url, "older", flush, newer, "late", producer_id="me", epoch=4)
    assert fenced.value.epoch == 6
    assert await messages(url) == ["older", "newer"]


@pytest.mark.parametrize(
    ("earlier", "ending", "fates"),
    [([0], "aclose", []), ([0, flush, 1], "end", []), ([0, flush, 1], "aclose", [Fate.LOST])],
    ids=["one append before", "two appends before", "its first response is lost"],
)
async def test_a_writer_that_reuses_an_epoch_is_fenced(
    earlier: list[Any], ending: str, fates: list[Fate], way: Way
) -> None:
    url = await made(way.url)
    await write(url, *earlier, producer_id="me")
    way.fates.extend(fates)
    words = "producer me has written in epoch 0 before: take over with epoch 1$"
    with pytest.raises(headgate.Fenced, match=words) as fenced:
        await write(url, "again", ending=ending, producer_id="me")
    assert fenced.value.epoch == 0
    assert await messages(url) == [it for it in earlier if it is not flush]


@pytest.mark.parametrize(
    ("operations", "error"),
    [
        ([StreamRequests.delete], headgate.StreamNotFound),
        ([forked, StreamRequests.delete], headgate.Gone),
        ([StreamRequests.close], headgate.Closed),
        ([StreamRequests.delete, lambda it: it.create(content_type=JSON)], headgate.Conflict),
    ],
    ids=["deleted", "deleted but forked", "closed", "created again"],
)
async def test_a_stream_that_is_deleted_closed_or_recreated_is_no_place_to_write(
    operations: list[Any], error: type[headgate.StreamError], way: Way
) -> None:
    url = await made(way.url)
    with pytest.raises(error):
        await write(url, "a", flush, beside(url, *operations), "b")
    if error is headgate.Conflict:
        assert await messages(url) == []
    else:
        with pytest.raises(error):
            await write(url)


@pytest.mark.parametrize(("content_type", "requests"), [(JSON, 1), (TEXT, 3), (OCTETS, 3)])
async def test_chunks_are_one_batch_of_json_messages_or_one_chunk_per_request(
    content_type: str, requests: int, server: Reference
) -> None:
    url = await made(server.url, content_type)
    before = server.counts()
    await write(url, "one ", b"[2]", "three", ending="end")
    stored = [await messages(url)] if content_type == JSON else await data(url)
    assert stored in ([["one ", [2], "three"]], b"one [2]three")
    assert (server.counts() - before).writes == requests
    assert await is_closed(url)


async def test_the_reference_server_stores_each_chunk_once_and_fences_used_or_outdated_epochs(
    server: Reference,
) -> None:
    async with Way(server.port) as way:
        url = await made(way.url)
        for fate in (Fate.LOST, Fate.LOST_AFTER, Fate.FAILED_AFTER):
            way.fates.extend([fate, Fate.PASSED])
        await write(url, 0, flush, 1, flush, 2, producer_id="me", epoch=2)
        assert len(way.appends) == 6
        for epoch in (1, 2):
            with pytest.raises(headgate.Fenced) as fenced:
                await write(url, "late", producer_id="me", epoch=epoch)
            assert fenced.value.epoch == 2
        await write(url, 3, producer_id="me", epoch=3)
        assert await messages(url) == [0, 1, 2, 3]


async def test_chunks_written_over_a_hostile_connection_are_read_once_and_in_order() -> None:
    assert await campaign(range(10)) > 200
