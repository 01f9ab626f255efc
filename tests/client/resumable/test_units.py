"""Places in UTF-16 code units, as `text.length` of JavaScript counts."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import subprocess
import time
import tracemalloc
from bisect import bisect_right
from itertools import accumulate
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from hypothesis import example, given, settings
from hypothesis import strategies as st

from headgate import Gone, ResumableStreams, Unavailable
from headgate.resumable.messages import replies, requests, sentinel
from headgate.resumable.production import TextBuffer
from tests.client.resumable.doubles import MemoryBroker, Tap, resumed, whole
from tests.support.examples import examples
from tests.support.processes import NODE, ROOT
from tests.support.virtual_time import in_virtual_time
from tests.support.waiting import until

if TYPE_CHECKING:
    from headgate.resumable.messages import Text
    from tests.client.resumable.conftest import MakeStreams

# Of one to four bytes of UTF-8, of one and of two code units of UTF-16, and joined ones.
CHARACTERS = "a\n\0éß\u0301€\u2028\ufeff\uffff\U00010000🙂👩\u200d🚀\U0010ffff"
TEXTS = st.lists(st.text(st.sampled_from(CHARACTERS), max_size=6), max_size=12)


def length(text: str) -> int:
    """Return `text.length` of JavaScript."""
    return len(text.encode("utf-16-le")) // 2


async def outcome(text: Text | None) -> str:
    """Return what a reader gets, or that it is gone."""
    try:
        return await whole(text)
    except Gone:
        return "gone"


@pytest.mark.parametrize("kept", [pytest.param(1 << 20, id="all"), pytest.param(1000, id="some")])
@given(texts=TEXTS, at=st.integers(0, 80), after=st.integers(0, 12))
@example(texts=["ab", "c🙂", "d"], at=4, after=0)  # within the pair, before it is there
@settings(max_examples=examples(400), deadline=None)
@in_virtual_time
async def test_a_reader_gets_the_text_after_its_place_in_utf_16(
    kept: int, texts: list[str], at: int, after: int
) -> None:
    """It resumes after some chunks; the expected place counts each character before it."""
    broker, tap = MemoryBroker(), Tap()
    options = {"max_buffer_bytes": kept}
    async with broker.streams(**options) as streams, broker.streams(unit="utf-16") as other:
        await streams.create("a", tap)
        tap.give(*texts[:after])
        await asyncio.sleep(1)
        ends = list(accumulate(map(length, "".join(texts)), initial=0))
        place = bisect_right(ends, at) - 1 if at <= ends[-1] else len(ends)
        reading = [await resumed(other, at), await resumed(streams, place)]
        tap.give(*texts[after:])
        tap.end()
        got, expected = await asyncio.gather(*map(outcome, reading))
    assert got == expected
    assert kept == 1000 or got == "".join(texts)[place:]


@in_virtual_time
async def test_a_place_in_text_that_was_dropped_is_gone_and_the_first_one_kept_is_read() -> None:
    broker, tap = MemoryBroker(), Tap()
    async with broker.streams(max_buffer_bytes=2000, unit="utf-16") as streams:
        await streams.create("a", tap)
        tap.give(*(f"🙂{number:02}" for number in range(100)))
        await asyncio.sleep(1)
        with pytest.raises(Gone) as raised:
            await whole(await resumed(streams, 1))
        assert "UTF-16 code unit 384 on, and unit 1 was asked for" in str(raised.value)
        tap.end()
        assert await whole(await resumed(streams, 385)) == "🙂96🙂97🙂98🙂99"


@in_virtual_time
async def test_a_reader_whose_place_the_text_never_reaches_waits_for_the_producer() -> None:
    broker, tap = MemoryBroker(), Tap()
    async with broker.streams(unit="utf-16") as streams:
        creator = await streams.create("a", tap)
        reader = asyncio.create_task(whole(await resumed(streams, 3)))
        tap.give("🙂")
        assert await anext(creator) == "🙂"
        await asyncio.sleep(100)  # it asks meanwhile, and each answer says that it is not reached
        tap.give("🙂🙂")
        tap.end()
        assert await reader == "🙂🙂"


class OldAsk(msgspec.Struct, array_like=True):
    """The message of a reader that counts in characters alone, as a producer of then takes it."""

    reader: str
    at: int = 0
    limit: int = 0
    again: bool = False
    leaves: bool = False
    production: str | None = None


class OldPart(msgspec.Struct, array_like=True):
    """The message of such a producer."""

    production: str
    kind: str
    position: int
    text: str = ""


@pytest.mark.parametrize("kind", ["text", "end", "failed", "stopped", "trimmed"])
@in_virtual_time
async def test_a_producer_that_does_not_know_the_unit_is_refused_whatever_it_answers(
    kind: str,
) -> None:
    broker, asked = MemoryBroker(), list[OldAsk]()

    async def answer(ask: OldAsk) -> None:
        part = OldPart("production", kind, ask.at, "text" if kind == "text" else "")
        await broker.publish(replies(ask.reader), msgspec.json.encode(part).decode())
        await broker.publish(replies(ask.reader), msgspec.json.encode(part).decode())

    def on_message(message: str) -> None:
        asked.append(msgspec.json.decode(message, type=OldAsk))
        if not asked[-1].leaves:
            answering.create_task(answer(asked[-1]))

    async with asyncio.TaskGroup() as answering, broker.streams(unit="utf-16") as streams:
        await broker.incr(sentinel("a"))
        await broker.subscribe(requests("a"), on_message)
        with pytest.raises(Unavailable, match=r"'a' has an older version .* count in UTF-16: up"):
            await streams.resume("a", 4)
        assert [ask.leaves for ask in asked] == [False, True]
        assert [*broker.channels] == [requests("a")]
        if kind == "text":  # the beginning is the same in both units
            assert await anext(await resumed(streams)) == "text"


async def test_a_reader_that_does_not_know_the_unit_reads_what_a_newer_producer_sends() -> None:
    broker, tap, got = MemoryBroker(), Tap(), list[OldPart]()
    async with broker.streams(unit="utf-16") as streams:
        await streams.create("a", tap)
        await broker.subscribe(
            replies("b"), lambda message: got.append(msgspec.json.decode(message, type=OldPart))
        )
        ask = msgspec.json.encode(OldAsk("b", 1, 100)).decode()
        tap.give("🙂🚀")
        await broker.publish(requests("a"), ask)
        tap.end()
        await until(lambda: bool(got) and got[-1].kind == "end")
        assert "".join(part.text for part in got) == "🚀"
        assert got[-1].position == 2
        await streams.aclose(wait=0)  # the reader does not say that it leaves


@pytest.mark.parametrize("unit", ["utf8", "UTF-16", None, 16])
def test_an_unknown_unit_is_refused_with_the_two_that_there_are(unit: Any) -> None:
    with pytest.raises(ValueError, match=f"^unit is 'characters' or 'utf-16', not {unit!r}$"):
        ResumableStreams("redis://127.0.0.1", unit=unit)


def test_a_place_is_found_without_a_look_at_each_chunk() -> None:
    buffer, number = TextBuffer("a", 1 << 30), 50_000
    for _ in range(number):
        buffer.append("🙂")
    began = time.process_time()
    for place in range(number):
        assert buffer.position_of(2 * place + 1) == place
    assert time.process_time() - began < 10.0  # it takes half a second, and a minute otherwise


def test_the_bound_of_the_buffer_counts_what_it_costs_to_find_places() -> None:
    most_bytes = 4_000_000
    buffer = TextBuffer("a", most_bytes)
    tracemalloc.start()
    try:
        for _ in range(20_000):
            buffer.append("🙂")
        assert tracemalloc.get_traced_memory()[0] <= most_bytes
    finally:
        tracemalloc.stop()
    assert buffer.start > 0


@pytest.mark.usefixtures("processes")
async def test_a_page_in_javascript_that_resumes_at_the_length_of_its_text_gets_each_character(
    in_memory: MakeStreams,
) -> None:
    """It leaves after each piece, and may have half of a surrogate pair then."""
    streams, chance = in_memory(unit="utf-16", resume_timeout=10.0), random.Random(1)
    texts = ["".join(chance.choices(CHARACTERS, k=12)) for _ in range(20)]
    taps = [Tap() for _ in texts]
    chunks = [iter(text) for text in texts]

    async def read(request: web.Request) -> web.StreamResponse:
        stream_id, at = request.match_info["stream"], int(request.query["resume_at"])
        number = int(stream_id)
        text = await streams.resumable(stream_id, taps[number], at)
        assert text is not None
        response = web.StreamResponse(headers={"Content-Type": "text/plain; charset=utf-8"})
        await response.prepare(request)
        taps[number].give(next(chunks[number], ""))
        if at == length(texts[number]):
            taps[number].end()
        async with contextlib.aclosing(text):
            async for chunk in text:
                await response.write(chunk.encode())
        return response

    app = web.Application()
    app.router.add_get("/{stream}", read)
    async with TestServer(app) as server:
        script, url = ROOT / "tests/node/resuming_page.mjs", str(server.make_url(""))
        command = list(map(str, (NODE, script, url.rstrip("/"), len(texts))))
        printed = await asyncio.to_thread(lambda: subprocess.check_output(command, timeout=60))
    assert json.loads(printed) == texts
