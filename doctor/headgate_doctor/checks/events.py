"""Checks whether server-sent events arrive as they happen, with keep-alives between them."""

from __future__ import annotations

import asyncio
import contextlib
import re
from http import HTTPStatus
from typing import TYPE_CHECKING

import aiohttp

from headgate.errors import StreamError
from headgate.events import EventDecoder
from headgate.names import SSE_ENCODING
from headgate_doctor.evidence import (
    AnswerSource,
    cache_claims,
    is_headgate,
    source,
)
from headgate_doctor.finding import Finding, ProbeFailed, failed, noted, passed, unknown
from headgate_doctor.probe_sender import ProbeBounds, words
from headgate_doctor.streams import TEXT, given_time

if TYPE_CHECKING:
    from collections.abc import Mapping

    from headgate_doctor.deployment import Deployment
    from headgate_doctor.finding import Check
    from headgate_doctor.streams import OwnStream

OF_EVENTS: tuple[Check, ...] = ("SSE", "keep-alive")
OF_JOINS: tuple[Check, ...] = ("SSE joined", "Last-Event-ID")
EVENT_STREAM = "text/event-stream"
FIRST, SECOND = b"first", b"second"
# Readers that come while LARGE is being sent.
LATE = 3
LAST_EVENT_ID = "Last-Event-ID"
# Longer than the buffers of most hops, so that a part of it has arrived when another reader comes.
LARGE = b"a large event " * 8000
# An event takes a round trip. A hop that buffers holds it until its buffer is full, or until the
# response ends.
PROMPT_S = 3.0
# Twice in turn, so that it is no pause of a busy machine.
GATHERED_S = 0.7
# Hops commonly end a connection that is silent for a minute, some of them after half of one.
KEEP_ALIVE_S = 30.0
# The events of a closed stream end at once, unless a hop holds the response open.
CLOSED_S = 10.0
# Varnish shares a response for two seconds from its beginning.
SHARED_S = 2.5
# Two events of a few bytes and a large one, and comments; more is no answer to this question.
MOST_BYTES = 1 << 18
_ID = re.compile(rb"^id: ?(.*)$", re.MULTILINE)


class EventsEnded(ProbeFailed):
    """The answer ended before what was waited for."""


class EventWatch:
    """A reader of an event stream, which counts its events and comments as they come."""

    def __init__(self, answer: aiohttp.ClientResponse) -> None:
        self.content_type = answer.content_type
        self.is_of_headgate = is_headgate(answer.headers)
        self.is_text = SSE_ENCODING not in answer.headers
        self.coding = answer.headers.get("Content-Encoding", "identity")
        self._content = answer.content
        self._decoder = EventDecoder()
        self._received = 0
        self._line_begins = True
        self.comments = 0
        self.data = 0
        # The data of all events, and the last event about the stream.
        self.text = b""
        self.control = b""
        self.has_ids = False

    async def data_event(self) -> None:
        """Wait until one more event with data has come."""
        before = self.data
        while self.data == before:
            await self._receive()

    async def data_until(self, text: bytes, offset: str) -> None:
        """Wait until the events have at least as much data, and an event has this offset."""
        while len(self.text) < len(text) or offset.encode() not in self.control:
            await self._receive()

    async def comment(self) -> None:
        """Wait until one more comment has come."""
        before = self.comments
        while self.comments == before:
            await self._receive()

    async def _receive(self) -> None:
        piece = await self._content.readany()
        if not piece:
            raise EventsEnded("the answer ended")
        self._received += len(piece)
        if self._received > MOST_BYTES:
            raise ProbeFailed(
                f"more than {MOST_BYTES >> 10} KiB of events came, which were not appended"
            )
        before = b"\n" if self._line_begins else b""
        self.comments += (before + piece).count(b"\n:")
        self._line_begins = piece.endswith(b"\n")
        self.has_ids = self.has_ids or _ID.search(before + piece) is not None
        for event in self._decoder.feed(piece):
            if event.name == b"data":
                self.data += 1
                self.text += event.data
            elif event.name == b"control":
                self.control = event.data


async def server_sent_events(deployment: Deployment) -> list[Finding]:
    """Check an event that is there, one that is appended, and a late comment."""
    own = await deployment.streams.create("-sse", TEXT)
    await own.append(FIRST)
    try:
        async with contextlib.AsyncExitStack() as connection:
            opened = deployment.asker.opened(
                own.stream,
                query={"live": "sse", "offset": own.start},
                headers={"Accept": EVENT_STREAM},
            )
            began_s = asyncio.get_running_loop().time()
            answer = await given_time(connection.enter_async_context(opened), own, PROMPT_S)
            return await _check_events(EventWatch(answer), own, began_s)
    except TimeoutError:
        wrong = f"not even the head of the answer came within {PROMPT_S:g} s"
    except StreamError as refusal:
        wrong = words(refusal)
        # A time-out is that of an append or of a usual read, which says nothing of events.
        is_silent = isinstance(refusal.__cause__, TimeoutError)
        if is_silent or refusal.status == HTTPStatus.TOO_MANY_REQUESTS:
            return [unknown(name, wrong) for name in OF_EVENTS]
    return _wrong(wrong)


async def events_joined(deployment: Deployment) -> list[Finding]:
    """Check readers that come while others are reading, and one that reconnects."""
    own = await deployment.streams.create("-sse-joined", TEXT)
    first = await own.append(FIRST)
    async with contextlib.AsyncExitStack() as end:
        try:
            early = await given_time(_watch(end, own), own, PROMPT_S)
            if not early.is_text:
                return [unknown(name, "events of text are encoded") for name in OF_JOINS]
            await given_time(early.data_event(), own, PROMPT_S)
            back = await given_time(_watch(end, own, {LAST_EVENT_ID: first}), own, PROMPT_S)
            middle = await given_time(_watch(end, own), own, PROMPT_S)
            appending = asyncio.create_task(own.append(LARGE))
            try:
                late = [await given_time(_watch(end, own), own, PROMPT_S) for _ in range(LATE)]
            finally:
                tail = await appending
        except (TimeoutError, EventsEnded, StreamError) as failure:
            saw = words(failure) or f"events do not come within {PROMPT_S:g} s"
            return [unknown(name, saw) for name in OF_JOINS]
        readers = {
            "the first reader": early,
            "a reader that came after an event": middle,
            **{
                f"reader {2 + turn} that came during an event": one for turn, one in enumerate(late)
            },
        }
        whole = FIRST + LARGE
        await _all_read(dict.fromkeys(readers.values(), whole) | {back: LARGE}, tail, own)
    found = _whole(readers, whole, tail)
    if found.is_pass:
        return [found, _resumed(back, first)]
    return [found, unknown("Last-Event-ID", "events are not whole")]


def _whole(readers: Mapping[str, EventWatch], whole: bytes, tail: str) -> Finding:
    """Return the finding about readers, each of which has to get all data."""
    check: Check = "SSE joined"
    early, *_ = readers.values()
    has_end = tail.encode() in early.control
    if early.text != whole and not has_end and whole.startswith(early.text):
        return unknown(check, "events do not come as they happen")
    if early.text == whole and not has_end:
        return failed(check, f"no event has the offset {tail[:60]}, from which to go on", "control")
    for name, watch in readers.items():
        if watch.text != whole:
            return failed(check, _short_of(name, watch, whole))
    saw = f"{len(readers)} readers of one stream each got all events, whenever they came"
    return passed(check, saw)


def _short_of(name: str, watch: EventWatch, whole: bytes) -> str:
    return f"{name} got {len(watch.text):,} bytes, which are not the {len(whole):,} of all events"


def _resumed(watch: EventWatch, last: str) -> Finding:
    """Return the finding of a reader that reconnected with the id of the first event."""
    check: Check = "Last-Event-ID"
    if not watch.has_ids:
        saw = "the events have no ids"
        return (
            failed(check, f"{saw}: a hop removes them")
            if watch.is_of_headgate
            else noted(check, f"not examined: {saw}")
        )
    if watch.text == LARGE:
        return passed(check, "a reader that comes back gets what follows the event that it names")
    saw = "every event again" if watch.text.startswith(FIRST) else f"{len(watch.text):,} bytes"
    return failed(check, f"a reader that came back with the id {last[:60]} got {saw}")


async def _watch(
    end: contextlib.AsyncExitStack, own: OwnStream, headers: Mapping[str, str] | None = None
) -> EventWatch:
    """Open the events of a stream from its beginning, until the stack ends."""
    sent = {"Accept": EVENT_STREAM, **(headers or {})}
    opened = own.asker.opened(own.stream, query={"live": "sse", "offset": own.start}, headers=sent)
    return EventWatch(await end.enter_async_context(opened))


async def _all_read(watches: Mapping[EventWatch, bytes], tail: str, own: OwnStream) -> None:
    """Read until each reader has its text and the offset of the tail, at most for PROMPT_S."""
    readings = [
        asyncio.create_task(watch.data_until(text, tail)) for watch, text in watches.items()
    ]
    try:
        with contextlib.suppress(TimeoutError):
            await given_time(_ended(readings), own, PROMPT_S)
    finally:
        for reading in readings:
            reading.cancel()
        await _ended(readings)


async def _ended(readings: list[asyncio.Task[None]]) -> None:
    await asyncio.gather(*readings, return_exceptions=True)


async def events_kept(deployment: Deployment) -> Finding:
    """Check that a complete SSE response is sent to nobody later, and not after a deletion."""
    check: Check = "SSE kept"
    own = await deployment.streams.create("-sse-kept", TEXT)
    await own.append(FIRST, close=True)  # so that the response ends by itself
    query, headers = {"live": "sse", "offset": own.start}, {"Accept": EVENT_STREAM}
    bounds = ProbeBounds(within_s=CLOSED_S)
    first = await own.read(query, headers, bounds)
    if FIRST not in first.body:
        return unknown(check, "no events came")
    await asyncio.sleep(SHARED_S)
    again = await own.read(query, headers, bounds)
    is_kept = source(again) is AnswerSource.SHARED
    if source(again) is AnswerSource.UNKNOWN:
        # Nothing but a copy has events of a stream that was deleted meanwhile.
        if not (await own.asker.send(own.stream, "DELETE")).is_good:
            return unknown(check, "nothing says whether an answer comes from a cache")
        await asyncio.sleep(SHARED_S)
        again = await own.read(query, headers, bounds)
        is_kept = FIRST in again.body
    if not is_kept:
        return passed(check, "a complete response is sent to no later reader")
    saw = f"{SHARED_S:g} s after a response was complete, another reader got it"
    return failed(check, f"{saw}{cache_claims(again)}")


def _wrong(saw: str, coding: str = "identity") -> list[Finding]:
    silent = unknown("keep-alive", "no events come as they happen")
    if coding == "identity":
        return [failed("SSE", saw), silent]
    coding = "".join(one for one in coding[:20] if "!" <= one <= "~")
    saw = f"{saw}: a hop compresses events, with {coding}, and holds them for that"
    return [failed("SSE", saw, "SSE compressed"), silent]


async def _check_events(watch: EventWatch, own: OwnStream, began_s: float) -> list[Finding]:
    if watch.content_type != EVENT_STREAM:
        return _wrong(f"the answer is not {EVENT_STREAM}")
    if wrong := await _arrival(watch, own, "the first event"):
        return _wrong(wrong, watch.coding)
    loop = asyncio.get_running_loop()
    prompt = passed("SSE", "an event came at once, and one that was appended, too")
    late_s = 0.0
    for _ in range(2):
        await own.append(SECOND)
        appended_s = loop.time()
        if wrong := await _arrival(watch, own, "an event that was appended"):
            return _wrong(wrong, watch.coding)
        if (late_s := loop.time() - appended_s) <= GATHERED_S:
            break
    else:
        saw = f"events came up to {late_s:.1f} s after they were appended"
        prompt = noted("SSE", f"{saw}: a hop gathers them before it sends them on")
    return [prompt, await _keep_alive(watch, began_s)]


async def _arrival(watch: EventWatch, own: OwnStream, waited: str) -> str | None:
    """Return what is wrong with the way that the next event takes; None if it comes at once."""
    try:
        await given_time(watch.data_event(), own, PROMPT_S)
    except TimeoutError:
        return f"{waited} did not come within {PROMPT_S:g} s"
    except EventsEnded:
        return f"the answer ended before {waited} came"
    return None


async def _keep_alive(watch: EventWatch, opened_s: float) -> Finding:
    check: Check = "keep-alive"
    loop = asyncio.get_running_loop()
    began_s = loop.time()
    try:
        async with asyncio.timeout(KEEP_ALIVE_S):
            await watch.comment()
    except TimeoutError:
        saw = f"a quiet answer was silent for {KEEP_ALIVE_S:g} s"
        return failed(check, saw) if watch.is_of_headgate else unknown(check, saw)
    except EventsEnded:
        saw = f"a quiet answer ended {loop.time() - opened_s:.1f} s after it began"
        why = "by live.sse_max_age, 60 s unless set, or by a hop that lets none take longer"
        return noted(check, f"{saw}: {why}")
    except aiohttp.ClientError:
        now_s = loop.time()
        after = f"after {now_s - began_s:.1f} s of silence, {now_s - opened_s:.1f} s after it began"
        return failed(check, f"a quiet answer was cut {after}")
    return passed(check, f"a quiet answer had a comment after {loop.time() - began_s:.1f} s")
