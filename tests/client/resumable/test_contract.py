"""The promises of resumable streams between two replicas, and that nothing of a stream stays."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import inspect
import weakref
from typing import TYPE_CHECKING, Any

import pytest

from headgate import Conflict, Gone, SourceFailed
from headgate.resumable import production
from tests.client.resumable.doubles import Tap, chunks, resumed, state_is, whole
from tests.support.waiting import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from headgate.resumable.messages import Text
    from tests.client.resumable.conftest import MakeStreams


async def test_concurrent_calls_start_one_source_and_the_stream_is_known_as_done_at_its_end(
    replicas: MakeStreams,
) -> None:
    producer, other, tap = replicas(resume_timeout=10.0), replicas(resume_timeout=10.0), Tap()
    assert (await other.state("a"), await other.resume("a")) == (None, None)
    asked = asyncio.gather(*(each.resumable("a", tap) for each in (producer, other) * 10))
    tap.give("hello ")
    readers = [reader for reader in await asked if reader is not None]
    assert [await anext(reader) for reader in readers] == ["hello "] * 20
    assert await other.state("a") == "active"
    with pytest.raises(Conflict, match="'a'"):
        await other.create("a", tap)
    tap.give("world")
    tap.end()
    assert await asyncio.gather(*map(whole, readers)) == ["world"] * 20
    await until(lambda: state_is(other, "done"))
    async with asyncio.timeout(5):  # no producer is waited for
        assert (await other.resume("a"), await other.resumable("a", tap)) == (None, None)
    with pytest.raises(Conflict, match="'a'"):
        await other.create("a", tap)
    assert tap.calls == 1


@pytest.mark.parametrize(
    ("stream_id", "text"),
    [
        ('a/%2F:b?c#d "naïve 🙂"\n', "a\r\nb\r\n\n: id: 1\n\ufeff\0\x85\u2028"),
        ("x" * 10_000, "e\u0301 🙂👩\u200d🚀 end"),
    ],
    ids=["controls", "characters beyond ascii"],
)
async def test_every_reader_gets_the_characters_after_its_position_whatever_the_id(
    replicas: MakeStreams, stream_id: str, text: str
) -> None:
    producer, other, tap = replicas(), replicas(), Tap()
    creator = await producer.create(stream_id, tap)
    places = range(len(text) + 2)
    readers = [await other.resume(stream_id, at) for at in places[::2]]
    tap.give(text[:2], "", *text[2:])
    later = [await other.resumable(stream_id, tap, at) for at in places[1::2]]
    assert await other.state(stream_id + "x") is None
    tap.end()
    assert await whole(creator) == text
    assert [await whole(reader) for reader in readers] == [text[at:] for at in places[::2]]
    assert [await whole(reader) for reader in later] == [text[at:] for at in places[1::2]]


async def close(reader: Text) -> None:
    assert await anext(reader) == "one"
    await reader.aclose()


async def cancel(reader: Text) -> None:
    assert await anext(reader) == "one"
    waiting = asyncio.ensure_future(anext(reader))
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.wait({waiting})


async def never_read(reader: Text) -> None:
    pass


@pytest.mark.parametrize("leave", [close, cancel, never_read])
async def test_the_source_runs_to_its_end_though_readers_leave_or_do_not_read(
    replicas: MakeStreams, leave: Callable[[Text], Awaitable[None]]
) -> None:
    producer, other, tap = replicas(max_buffer_bytes=100_000), replicas(), Tap()
    leaving = [await producer.create("a", tap), await resumed(other)]
    slow = [await resumed(producer), await resumed(other)]
    tap.give("one")
    for reader in leaving:
        await leave(reader)
    tap.give(*("x" * 10_000,) * 100)
    late = await other.resume("a", len("one") + 1_000_000)
    tap.give("two")
    tap.end()
    assert await whole(late) == "two"
    assert tap.is_over
    for reader in slow:
        with pytest.raises(Gone):
            await whole(reader)
    for reader in leaving:
        await reader.aclose()


def _wrong(_: Exception) -> str:
    raise LookupError("of error_text itself")


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        pytest.param({}, "ValueError$", id="the class by default"),
        pytest.param({"error_text": str}, r"the model is away x{900,983}$", id="cut"),
        pytest.param({"error_text": _wrong}, "ValueError$", id="error_text fails"),
    ],
)
async def test_readers_get_the_error_of_a_source_after_its_text(
    replicas: MakeStreams, options: dict[str, Any], sentence: str
) -> None:
    producer, other, tap = replicas(**options), replicas(), Tap()
    creator = await producer.create("a", tap)
    reader = await resumed(other, 4)
    tap.give("some text")
    tap.end(ValueError("the model is away " + "x" * 10_000))
    for text, expected in ((creator, "some text"), (reader, " text")):
        assert await anext(text) == expected
        with pytest.raises(SourceFailed, match=f"^stream 'a' failed: {sentence}") as raised:
            await anext(text)
        assert isinstance(raised.value.__cause__, ValueError) == (text is creator)
    await until(lambda: state_is(other, "done"))


async def coroutine() -> str:
    return "text"


@pytest.mark.parametrize(
    ("make_source", "sentence"),
    [
        (lambda: None, "make_source must give .* not an object of type NoneType"),
        (lambda: ["text"], "make_source must give an async iterable of str .* of type list"),
        (coroutine, "make_source must give .* not an object of type coroutine"),
        (lambda: chunks(b"bytes"), "a source must give str, not .* of type bytes"),  # type: ignore[arg-type]
        (lambda: chunks("\ud83d"), "half of a surrogate pair"),
        (lambda: [][1], "IndexError$"),
    ],
    ids=["none", "list", "coroutine", "chunks of bytes", "half a character", "raises"],
)
async def test_a_source_of_a_wrong_type_fails_its_stream_with_an_error_that_names_it(
    in_memory: MakeStreams, make_source: Any, sentence: str
) -> None:
    with pytest.raises(SourceFailed, match=f"stream 'a' failed: .*{sentence}"):
        await whole(await in_memory().create("a", make_source))


async def test_a_called_source_is_refused_and_uses_no_id(in_memory: MakeStreams) -> None:
    streams = in_memory()
    for make in (coroutine, lambda: chunks("text")):
        for operation in (streams.create, streams.resumable):
            with pytest.raises(TypeError, match="pass the function itself, not "):
                await operation("a", make())  # type: ignore[arg-type]
    assert await streams.state("a") is None


@pytest.mark.parametrize("is_deaf", [False, True])
async def test_closing_ends_sources_and_gives_their_readers_an_error_though_a_source_ignores_it(
    replicas: MakeStreams, monkeypatch: pytest.MonkeyPatch, *, is_deaf: bool
) -> None:
    monkeypatch.setattr(production, "STOP_WITHIN_S", 0.1)
    producer, other, released, ended = replicas(), replicas(), asyncio.Event(), asyncio.Event()

    async def source() -> AsyncIterator[str]:
        try:
            yield "text"
            while not released.is_set():
                with contextlib.suppress(*([asyncio.CancelledError] if is_deaf else [])):
                    await released.wait()
            yield "more"
        finally:
            ended.set()

    readers = [await producer.create("a", source), await resumed(other)]
    for reader in readers:
        assert await anext(reader) == "text"
    try:
        await asyncio.wait_for(producer.aclose(wait=0), 30)
        for reader in readers:
            with pytest.raises(SourceFailed, match=r"^the producer of stream 'a' was stopped$"):
                await anext(reader)
        assert await other.state("a") == "done"
    finally:
        released.set()
        await ended.wait()


async def test_bad_ids_and_positions_are_refused(in_memory: MakeStreams) -> None:
    wrong: list[tuple[Any, Any, type[Exception], str]] = [
        ("", 0, ValueError, "empty"),
        (7, 0, TypeError, "a stream's id is a str, not int"),
        ("\ud83d", 0, ValueError, "surrogate"),
        ("a", -1, ValueError, "resume_at is a whole number, 0 or more"),
        ("a", "3", TypeError, "resume_at is a whole number"),
    ]
    for stream_id, resume_at, error, words in wrong:
        with pytest.raises(error, match=words):
            await in_memory().resume(stream_id, resume_at)


@pytest.mark.parametrize("call", ["resumable", "create", "resume", "state"])
async def test_an_id_that_was_not_awaited_is_refused_with_what_to_do_and_closed(
    in_memory: MakeStreams, call: str
) -> None:
    stream_id = coroutine()
    source = (lambda: chunks("text"),) if call in {"resumable", "create"} else ()
    sentence = "^a stream's id is a str, not coroutine: await it, and pass its result$"
    with pytest.raises(TypeError, match=sentence):
        await getattr(in_memory(), call)(stream_id, *source)
    assert inspect.getcoroutinestate(stream_id) == inspect.CORO_CLOSED


async def test_a_resume_before_the_buffered_text_says_from_where_on_it_is_there(
    replicas: MakeStreams,
) -> None:
    producer, other, tap = replicas(max_buffer_bytes=1000), replicas(), Tap()
    creator = await producer.create("a", tap)
    for number in range(20):  # each is read before the next: nobody is too slow
        tap.give(f"{number:02}" * 50)
        assert len(await anext(creator)) == 100
    reader = await resumed(other)
    with pytest.raises(Gone, match="stream 'a' is kept from character 1800 on"):
        await anext(reader)
    recent = await other.resume("a", 1990)
    tap.give("x" * 100_000)  # the newest chunk stays, however long it is
    tap.end()
    assert await whole(recent) == "19" * 5 + "x" * 100_000
    assert await whole(creator) == "x" * 100_000


async def test_a_new_stream_is_read_from_its_beginning_and_its_creation_takes_no_place(
    in_memory: MakeStreams,
) -> None:
    streams = in_memory()
    assert list(inspect.signature(streams.create).parameters) == ["stream_id", "make_source"]
    assert await whole(await streams.resumable("a", lambda: chunks("text"), 2)) == "text"


class Chunk(str):
    """Text whose end of life can be seen."""

    __slots__ = ("__weakref__",)


async def test_the_text_is_freed_after_its_end_though_an_application_holds_the_readers(
    in_memory: MakeStreams,
) -> None:
    streams, tap, chunk = in_memory(), Tap(), Chunk("text")
    held = weakref.ref(chunk)
    readers = [await streams.create("a", tap), await resumed(streams)]
    tap.give(chunk)
    tap.end()
    assert [await whole(reader) for reader in readers] == ["text", "text"]
    del chunk

    def is_freed() -> bool:
        gc.collect()
        return held() is None

    await until(is_freed)
    assert len(readers) == 2
