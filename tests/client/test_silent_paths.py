"""Live reads over paths that bring nothing, or hold events until their response ends."""

from __future__ import annotations

import asyncio
import re
from contextlib import aclosing
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit

import pytest

import headgate
import headgate.sync
from headgate import following
from headgate.following import follow, long_poll, sse
from headgate.retries import Backoff
from headgate.stream_requests import StreamRequests
from tests.client.request_proxy import Fate, RequestProxy
from tests.support.raw_origin import RawOrigin, answer
from tests.support.threaded import threaded

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from aiohttp import web

    from tests.support.raw_origin import Play, Wire

    Read = Callable[[str], Awaitable[list[int]]]

PAGE = Path(__file__).parents[2] / "docs/client/streams.md"
EVENT_STREAM = "Content-Type: text/event-stream"
CLOSED = "Stream-Closed: true"
SILENT_S = 0.3  # after which a live read counts as silent here
HELD_S = 0.2  # after which a head is late here
HEAD = answer(b"", "Content-Type: application/json", "Stream-Next-Offset: 0_1")


def events(*messages: int, offset: str, is_closed: bool = False) -> bytes:
    """The events of some messages, and of the offset after them."""
    data = b"".join(b"event: data\ndata: [%d]\n\n" % message for message in messages)
    closed = ', "streamClosed": true' if is_closed else ""
    return data + f'event: control\ndata: {{"streamNextOffset": "{offset}"{closed}}}\n\n'.encode()


def query(target: str) -> dict[str, str]:
    return {name: values[0] for name, values in parse_qs(urlsplit(target).query).items()}


async def silent_sse(wire: Wire) -> None:
    """Send events up to an offset, and then nothing, on an open connection; later the rest."""
    if wire.heard.method == "HEAD":
        await wire.send(HEAD)
    elif query(wire.heard.target)["offset"] == "0_2":
        await wire.send(answer(events(2, offset="0_3", is_closed=True), EVENT_STREAM))
    else:
        head = f"HTTP/1.1 200 OK\r\n{EVENT_STREAM}\r\n\r\n".encode()
        await wire.send(head + events(1, offset="0_2"))
        await wire.rest()


async def silent(wire: Wire) -> None:
    await wire.rest()


async def followed(url: str) -> list[int]:
    async with headgate.Client(url, live_timeout=SILENT_S) as hg:
        return [message.value async for message in hg.stream("s").follow()]


async def followed_in_thread(url: str) -> list[int]:
    def read() -> list[int]:
        with headgate.sync.Client(url, live_timeout=SILENT_S) as hg:
            return [message.value for message in hg.stream("s").follow()]

    return await asyncio.to_thread(read)


@pytest.mark.parametrize("read", [followed, followed_in_thread])
async def test_a_follow_over_a_silent_path_continues_at_its_own_place(read: Read) -> None:
    async with RawOrigin(silent_sse) as origin:
        assert await read(origin.url) == [1, 2]
    lives = [query(heard.target).get("offset") for heard in origin.heard]
    assert lives == [None, "-1", "0_2"]


async def test_a_long_poll_that_gets_no_answer_is_made_again() -> None:
    async with (
        RawOrigin(silent, answer(b"[2]", "Stream-Next-Offset: 0_3", CLOSED)) as origin,
        StreamRequests(f"{origin.url}/s", live_timeout=SILENT_S) as stream,
        aclosing(follow(stream, "0_2", long_poll)) as batches,
    ):
        assert [batch.bodies async for batch in batches] == [(b"[2]",)]
    assert [query(heard.target)["offset"] for heard in origin.heard] == ["0_2", "0_2"]


@pytest.mark.parametrize("live", [sse, long_poll])
async def test_the_time_of_other_responses_does_not_end_a_live_read(live: following.Live) -> None:
    async def late(wire: Wire) -> None:
        await asyncio.sleep(SILENT_S)
        is_poll = query(wire.heard.target)["live"] == "long-poll"
        fields = ("Stream-Next-Offset: 0_3", CLOSED) if is_poll else (EVENT_STREAM,)
        await wire.send(answer(b"" if is_poll else events(offset="0_3", is_closed=True), *fields))

    async with (
        RawOrigin(late) as origin,
        StreamRequests(origin.url, timeout=0.1) as stream,
        aclosing(follow(stream, "0_2", live)) as batches,
    ):
        assert [batch.offset async for batch in batches] == ["0_3"]
    assert len(origin.heard) == 1


@pytest.mark.parametrize("seconds", [0, -1, float("nan")])
def test_an_invalid_live_timeout_is_refused(seconds: float) -> None:
    with pytest.raises(ValueError, match=r"^live_timeout is .*"):
        headgate.Client("http://127.0.0.1:1", live_timeout=seconds)


def test_the_page_says_how_long_a_live_read_may_be_silent() -> None:
    text = " ".join(PAGE.read_text().split())
    said = re.search(
        r"gives a live read up after (\d+) s without a byte, a long-poll after (\d+) s", text
    )
    assert said is not None
    assert float(said[1]) == following.SSE_IDLE_TIMEOUT_S
    assert float(said[2]) == following.LONG_POLL_IDLE_TIMEOUT_S
    held = re.search(r"its end, after more than (\d+) s and twice in a row", text)
    assert held is not None
    assert (float(held[1]), 2) == (following.HELD_FOR_S, following.MOST_HELD)


async def held(wire: Wire) -> None:
    await asyncio.sleep(2 * HELD_S)
    await wire.send(answer(events(offset="0_2"), EVENT_STREAM))


async def at_once(wire: Wire) -> None:
    await wire.send(answer(events(offset="0_2"), EVENT_STREAM))


async def lost(wire: Wire) -> None:
    await wire.reset()


async def late_and_live(wire: Wire) -> None:
    """Begin an answer late, as a busy server does, and then bring events as they come."""
    await asyncio.sleep(2 * HELD_S)
    await wire.send(f"HTTP/1.1 200 OK\r\n{EVENT_STREAM}\r\n\r\n".encode() + events(offset="0_2"))
    await asyncio.sleep(2 * HELD_S)
    await wire.close()


@pytest.mark.parametrize(
    ("answers", "last"),
    [
        pytest.param([held, held], "long-poll", id="two-held"),
        pytest.param([held, lost, held], "long-poll", id="two-held-and-a-lost-connection-between"),
        pytest.param([held], "sse", id="one-held"),
        pytest.param([held, at_once, held, at_once], "sse", id="never-two-in-a-row"),
        pytest.param([late_and_live, late_and_live, late_and_live], "sse", id="late-but-live"),
        pytest.param([at_once, at_once, at_once], "sse", id="short"),
    ],
)
async def test_a_follow_goes_on_by_long_polls_after_two_held_answers_in_a_row(
    answers: list[Play], last: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(following, "HELD_FOR_S", HELD_S)
    monkeypatch.setattr(following, "SHORT_ANSWER_S", HELD_S)

    async def end(wire: Wire) -> None:
        if query(wire.heard.target)["live"] == "sse":
            await wire.send(answer(events(1, offset="0_3", is_closed=True), EVENT_STREAM))
        else:
            await wire.send(answer(b"[1]", "Stream-Next-Offset: 0_3", CLOSED))

    notes: list[str] = []
    async with RawOrigin(*answers, end) as origin, StreamRequests(origin.url) as stream:
        batches = follow(stream, "0_2", backoff=Backoff(0.0, 0.0), note=notes.append)
        async with aclosing(batches):
            found = [body async for batch in batches for body in batch.bodies]
    assert found == [b"[1]"]
    lives = [query(heard.target)["live"] for heard in origin.heard]
    assert lives == ["sse"] * len(answers) + [last]
    is_noted = any("going on by long-polls" in note for note in notes)
    assert is_noted == (last == "long-poll")


async def test_a_path_that_holds_events_delays_no_message_for_longer_than_two_answers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A gateway whose SSE ends after a second, behind a proxy that passes on whole responses."""
    monkeypatch.setattr(following, "HELD_FOR_S", 0.5)
    lives: list[str] = []

    async def note_live(request: web.Request) -> Fate:
        if live := request.query.get("live"):
            lives.append(live)
        return Fate.PASSED

    with threaded(live={"sse_max_age": 1}) as server:
        async with (
            RequestProxy(server.port, note_live) as way,
            headgate.Client(f"{way.url}/v1/stream") as hg,
            headgate.Client(server.streams) as writer,
        ):
            written = await writer.create("s", json=True)
            reading = hg.stream("s").follow()
            for number in range(6):
                await written.append(number)
                assert (await anext(reading)).value == number
            assert lives[:2] == ["sse", "sse"]
            assert set(lives[2:]) == {"long-poll"}
            begun = asyncio.get_running_loop().time()
            await written.append(6)
            assert (await anext(reading)).value == 6
            assert asyncio.get_running_loop().time() - begun < 0.5
            await reading.aclose()
