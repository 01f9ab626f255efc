"""Names of streams that a program has forgotten to await."""

from __future__ import annotations

import asyncio
import inspect
from typing import TYPE_CHECKING, Any

import pytest

import headgate
from headgate import sync

if TYPE_CHECKING:
    from collections.abc import Callable

URL = "http://127.0.0.1:1/v1/stream"  # where nothing listens: a name is looked at before it is sent
STREAM = "a stream is named by a str, not coroutine: await it, and pass its result"
RUN = "the id of a run is a str, not coroutine: await it, and pass its result"
CHAT = "the id of a chat is a str, not coroutine: await it, and pass its result"

# What takes the name of a stream, by an expression of a client `hg` and a `name`.
DOORS = {
    "hg.stream(name)": STREAM,
    "hg.create(name)": STREAM,
    "hg.open(name)": STREAM,
    "hg.delete(name)": STREAM,
    "hg.writer(name)": STREAM,
    "hg.list(name)": STREAM.replace("a stream is named by", "the beginning of a name is"),
    "hg.runs.follow(name)": RUN,
    "hg.runs.stop(name)": RUN,
    "hg.runs.stopped(name)": RUN,
    "hg.runs.state(name)": RUN,
    "hg.runs.delete(name)": RUN,
    "hg.runs.start(name, source())": RUN,
    "hg.runs.take_over(name, lambda _: source())": RUN,
    "hg.chats.send(name, MESSAGE, source)": CHAT,
    "hg.chats.resume(name)": CHAT,
    "hg.chats.stop(name)": CHAT,
    "hg.chats.history(name)": CHAT,
    "hg.chats.state(name)": CHAT,
    "hg.chats.delete(name)": CHAT,
}
MESSAGE = {"id": "m", "role": "user", "parts": [{"type": "text", "text": "Hello"}]}


async def run_id() -> str:
    return "run-1"


async def chunks() -> Any:
    yield "chunk"


async def called(door: str, known: dict[str, Any]) -> None:
    """Call a door, whose result may be awaitable."""
    result = eval(door, known)
    if inspect.isawaitable(result):
        await result


@pytest.mark.parametrize(("door", "sentence"), DOORS.items(), ids=DOORS)
async def test_a_name_that_was_not_awaited_is_refused_with_what_to_do_and_closed(
    door: str, sentence: str
) -> None:
    name = run_id()
    async with headgate.Client(URL, retries=0) as hg:
        known = {"hg": hg, "name": name, "source": chunks, "MESSAGE": MESSAGE}
        with pytest.raises(TypeError) as refusal:
            await called(door, known)
    assert str(refusal.value) == sentence
    assert inspect.getcoroutinestate(name) == inspect.CORO_CLOSED


@pytest.mark.parametrize(("door", "sentence"), DOORS.items(), ids=DOORS)
def test_a_name_that_was_not_awaited_is_refused_without_asyncio_and_closed(
    door: str, sentence: str
) -> None:
    name = run_id()
    with sync.Client(URL, retries=0) as hg:
        known = {"hg": hg, "name": name, "source": lambda *_: iter(["chunk"]), "MESSAGE": MESSAGE}
        with pytest.raises(TypeError) as refusal:
            eval(door, known)
    assert str(refusal.value) == sentence
    assert inspect.getcoroutinestate(name) == inspect.CORO_CLOSED


@pytest.mark.parametrize(
    "make",
    [headgate.StreamWriter, sync.StreamWriter, headgate.Client, sync.Client, headgate.Runs],
    ids=["writer", "sync-writer", "client", "sync-client", "runs"],
)
def test_a_url_that_was_not_awaited_is_refused_with_what_to_do_and_closed(
    make: Callable[[Any], object],
) -> None:
    name = run_id()
    with pytest.raises(
        TypeError, match=r"^a URL is a str such as .*, not coroutine: await it, and"
    ):
        make(name)
    assert inspect.getcoroutinestate(name) == inspect.CORO_CLOSED


def test_chunks_that_were_not_awaited_are_refused_with_what_to_do_and_closed() -> None:
    chunks = run_id()
    with pytest.raises(TypeError) as refusal:
        headgate.encode_multi_chunks(chunks)  # type: ignore[arg-type]
    assert str(refusal.value) == (
        "encode_multi_chunks takes several chunks, such as a list, not coroutine: await it, and "
        "pass its result"
    )
    assert inspect.getcoroutinestate(chunks) == inspect.CORO_CLOSED


async def test_a_name_that_is_still_to_come_from_a_task_is_refused_and_the_task_goes_on() -> None:
    task = asyncio.ensure_future(run_id())
    async with headgate.Client(URL) as hg:
        with pytest.raises(TypeError, match=r"not Task: await it, and pass its result$"):
            hg.stream(task)  # type: ignore[arg-type]
    assert await task == "run-1"
