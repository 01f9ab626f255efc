"""What holds with every broker, between two replicas of an application."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

import pytest
from headgate import Conflict, SourceFailed, StreamError
from headgate.resumable import ResumableStreams, production

from tests.client.resumable.sources import Tap, chunks, whole
from tests.support.waiting import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from tests.client.resumable.conftest import MakeStreams


async def test_the_creator_of_a_stream_reads_all_text_of_its_source(replicas: MakeStreams) -> None:
    streams = replicas()
    assert await whole(await streams.create("a", lambda: chunks("one ", "two"))) == "one two"
    await until(lambda: _is(streams, "a", "done"))


async def test_the_state_of_an_unknown_stream_is_none_right_after_construction(
    replicas: MakeStreams,
) -> None:
    assert await replicas().state("unknown") is None


async def test_the_state_of_a_stream_is_active_until_its_source_ends_and_then_done(
    replicas: MakeStreams,
) -> None:
    producer, other, tap = replicas(), replicas(), Tap()
    assert await other.state("a") is None
    await producer.create("a", tap)
    assert await other.state("a") == "active"
    tap.end()
    await until(lambda: _is(other, "a", "done"))


async def test_resumable_creates_a_stream_once_and_then_resumes_it(replicas: MakeStreams) -> None:
    producer, other, tap, unused = replicas(), replicas(), Tap(), Tap()
    first = await producer.resumable("a", tap)
    tap.give("hello ")
    second = await other.resumable("a", unused)
    tap.give("world")
    tap.end()
    assert (await whole(first), await whole(second)) == ("hello world", "hello world")
    assert (tap.calls, unused.calls) == (1, 0)


async def test_twenty_concurrent_resumable_calls_start_one_source_and_all_read_its_text(
    replicas: MakeStreams,
) -> None:
    producer, tap = replicas(resume_timeout=10.0), Tap()
    asked = asyncio.gather(*(producer.resumable("a", tap) for _ in range(20)))
    tap.give("text")
    readers = await asked
    tap.end()
    assert await asyncio.gather(*map(whole, readers)) == ["text"] * 20
    assert tap.calls == 1


async def test_create_refuses_an_id_in_use(replicas: MakeStreams) -> None:
    producer, other, tap, unused = replicas(), replicas(), Tap(), Tap()
    await producer.create("a", tap)
    with pytest.raises(Conflict, match="'a'"):
        await other.create("a", unused)
    tap.end()
    await until(lambda: _is(other, "a", "done"))
    with pytest.raises(Conflict, match="'a'"):
        await other.create("a", unused)
    assert unused.calls == 0


async def test_resuming_an_unknown_stream_returns_none(replicas: MakeStreams) -> None:
    assert await replicas().resume("unknown") is None


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("a\r\nb", id="crlf"),
        pytest.param("a\rb\r", id="cr"),
        pytest.param("\ufeffa", id="a-byte-order-mark"),
        pytest.param("\0\x85\u2028", id="a-nul-and-line-separators"),
        pytest.param("\n\n: id: 1\n", id="lines-that-look-like-events"),
    ],
)
async def test_every_reader_gets_the_characters_that_the_source_gave(
    replicas: MakeStreams, text: str
) -> None:
    producer, other, tap = replicas(), replicas(), Tap()
    creator = await producer.create("a", tap)
    reader = await other.resume("a")
    tap.give(text[:1])
    assert reader is not None
    begun = [await anext(creator), await anext(reader)]
    tap.give(*text[1:])
    later = await other.resume("a", 2)
    tap.end()
    assert [begun[0] + await whole(creator), begun[1] + await whole(reader)] == [text, text]
    assert await whole(later) == text[2:]


async def test_the_source_runs_to_its_end_though_every_reader_leaves(
    replicas: MakeStreams,
) -> None:
    producer, other, tap = replicas(), replicas(), Tap()
    creator = await producer.create("a", tap)
    reader = await other.resume("a")
    assert reader is not None
    tap.give("one")
    assert await anext(creator) == "one"
    assert await anext(reader) == "one"
    await creator.aclose()
    await reader.aclose()
    tap.give("two")
    late = await other.resume("a")
    tap.give("three")
    tap.end()
    assert await whole(late) == "onetwothree"
    assert tap.is_over
    await until(lambda: _is(other, "a", "done"))


async def test_a_cancelled_reader_ends_no_source(replicas: MakeStreams) -> None:
    streams, tap = replicas(), Tap()
    creator = await streams.create("a", tap)
    reading = asyncio.create_task(whole(creator))
    await asyncio.sleep(0)
    reading.cancel()
    await asyncio.wait([reading])
    assert reading.cancelled()
    late = await streams.resume("a")
    tap.give("still here")
    tap.end()
    assert await whole(late) == "still here"


async def test_readers_get_the_error_of_a_source_after_its_text(replicas: MakeStreams) -> None:
    producer, other, tap = replicas(), replicas(), Tap()
    creator = await producer.create("a", tap)
    resumed = await other.resume("a", 4)
    tap.give("some text")
    tap.end(ValueError("the model is away"))
    for reader, expected in ((creator, "some text"), (resumed, " text")):
        assert reader is not None
        assert await anext(reader) == expected
        with pytest.raises(SourceFailed) as raised:
            await anext(reader)
        assert str(raised.value) == "stream 'a' failed: ValueError"
    await until(lambda: _is(other, "a", "done"))


def _wrong(_: Exception) -> str:
    raise LookupError("of error_text itself")


@pytest.mark.parametrize(("error_text", "told"), [(str, "the model is away"), (_wrong, "ValueErr")])
async def test_error_text_decides_which_message_readers_get_of_a_source_error(
    replicas: MakeStreams, error_text: Callable[[Exception], str], told: str
) -> None:
    tap = Tap()
    reader = await replicas(error_text=error_text).create("a", tap)
    tap.end(ValueError("the model is away"))
    with pytest.raises(SourceFailed, match=rf"^stream 'a' failed: {told}"):
        await whole(reader)


async def coroutine() -> str:
    return "text"


@pytest.mark.parametrize(
    "make",
    [coroutine, lambda: chunks("text"), lambda: None],
    ids=["coroutine", "async generator", "none"],
)
async def test_passing_a_called_source_instead_of_its_function_raises_and_uses_no_id(
    replicas: MakeStreams, make: Callable[[], Any]
) -> None:
    streams = replicas()
    for operation in (streams.create, streams.resumable):
        with pytest.raises(TypeError, match="pass the function itself, not "):
            await operation("a", make())
    assert await streams.state("a") is None


async def test_a_stream_whose_source_is_empty_is_done_at_once(replicas: MakeStreams) -> None:
    streams = replicas()
    assert await whole(await streams.resumable("a", chunks)) == ""
    await until(lambda: _is(streams, "a", "done"))


@pytest.mark.parametrize(
    "stream_id",
    [
        "a/b",
        "a%2Fb",
        "two words",
        '"quoted"',
        "a:b",
        "a?b#c",
        "naïve 🙂",
        "..",
        pytest.param("line\nbreak", id="a-newline"),
        pytest.param("x" * 10_000, id="ten-thousand-characters"),
    ],
)
async def test_any_text_is_an_id(replicas: MakeStreams, stream_id: str) -> None:
    producer, other, tap = replicas(), replicas(), Tap()
    await producer.create(stream_id, tap)
    tap.give("text")
    reader = await other.resume(stream_id, 1)
    assert await other.state(stream_id + "x") is None
    tap.end()
    assert await whole(reader) == "ext"


async def test_closing_resumable_streams_ends_their_sources_and_raises_in_readers(
    replicas: MakeStreams,
) -> None:
    producer, other, tap = replicas(), replicas(), Tap()
    await producer.create("a", tap)
    tap.give("text")
    reader = await other.resume("a")
    assert reader is not None
    assert await anext(reader) == "text"
    await producer.aclose()
    with pytest.raises(SourceFailed, match=r"^the producer of stream 'a' was stopped$"):
        await anext(reader)
    assert tap.is_over
    assert await other.state("a") == "done"


async def test_closing_does_not_wait_longer_than_its_limit_for_a_source_that_ignores_it(
    replicas: MakeStreams, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(production, "STOP_WITHIN_S", 0.1)
    producer, other, released, ended = replicas(), replicas(), asyncio.Event(), asyncio.Event()

    async def deaf() -> AsyncIterator[str]:
        try:
            yield "text"
            while not released.is_set():
                with contextlib.suppress(asyncio.CancelledError):
                    await released.wait()
            yield "more"
        finally:
            ended.set()

    await producer.create("a", deaf)
    reader = await other.resume("a")
    assert reader is not None
    assert await anext(reader) == "text"
    closing = asyncio.create_task(producer.aclose())
    try:
        assert await asyncio.wait({closing}, timeout=30) == ({closing}, set())
        with pytest.raises(SourceFailed, match=r"^the producer of stream 'a' was stopped$"):
            await anext(reader)
        assert await other.state("a") == "done"
    finally:
        released.set()
        await closing
        await ended.wait()


async def test_closing_resumable_streams_raises_in_readers_of_the_same_process(
    replicas: MakeStreams,
) -> None:
    streams, tap = replicas(), Tap()
    creator = await streams.create("a", tap)
    tap.give("text")
    assert await anext(creator) == "text"
    await streams.aclose()
    with pytest.raises(StreamError, match="was stopped"):
        await anext(creator)


@pytest.mark.parametrize(
    ("stream_id", "resume_at", "error", "match"),
    [
        ("", 0, ValueError, "empty"),
        (7, 0, TypeError, "int"),
        pytest.param("\ud83d", 0, ValueError, "surrogate", id="a-surrogate"),
        ("a", -1, ValueError, "from 0"),
        ("a", "3", TypeError, "resume_at counts characters, as an int, not str"),
    ],
)
async def test_resume_refuses_bad_stream_ids_and_positions(
    replicas: MakeStreams, stream_id: str, resume_at: int, error: type[Exception], match: str
) -> None:
    with pytest.raises(error, match=match):
        await replicas().resume(stream_id, resume_at)


@pytest.mark.parametrize("broker", [None, 6379, b"redis://127.0.0.1", {}])
def test_a_broker_that_is_no_url_redis_client_or_broker_is_refused_at_construction(
    broker: object,
) -> None:
    with pytest.raises(TypeError, match="the URL of a Redis, a client of"):
        ResumableStreams(broker)  # type: ignore[arg-type] # which is the mistake


async def _is(streams: ResumableStreams, stream_id: str, state: str) -> bool:
    return await streams.state(stream_id) == state
