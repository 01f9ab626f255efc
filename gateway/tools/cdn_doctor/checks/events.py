"""Checks whether server-sent events arrive as they happen, with keep-alives between them."""

from __future__ import annotations

import asyncio
import contextlib
from http import HTTPStatus
from typing import TYPE_CHECKING

import aiohttp
from headgate.errors import RequestRefused
from headgate.events import EventDecoder

from gateway.tools.cdn_doctor.evidence import AnswerSource, cache_claims, source
from gateway.tools.cdn_doctor.finding import Finding, failed, passed, unknown
from gateway.tools.cdn_doctor.probe_sender import words
from gateway.tools.cdn_doctor.streams import TEXT, given_time
from gateway.tools.shell.failure import FAILURES, Failed

if TYPE_CHECKING:
    from gateway.tools.cdn_doctor.deployment import Deployment
    from gateway.tools.cdn_doctor.finding import Check
    from gateway.tools.cdn_doctor.gateway_counters import GatewayCounters
    from gateway.tools.cdn_doctor.streams import OwnStream

OF_EVENTS: tuple[Check, ...] = ("SSE", "SSE resume", "keep-alive")
EVENT_STREAM, LAST_EVENT_ID = "text/event-stream", "Last-Event-ID"
FIRST, SECOND = b"first", b"second"
# An event takes a round trip. A hop that buffers holds it until its buffer is full, or until the
# response ends.
PROMPT_S = 3.0
# Hops commonly end a connection that is silent for a minute, some of them after half of one. Unless
# the gateway says how often it sends a comment, more silence decides nothing.
KEEP_ALIVE_S = 30.0
# Varnish shares a response for two seconds from its beginning.
SHARED_S = 2.5
# What the gateway says is waited for, but no longer: other checks have all ended by then.
LONGEST_SILENCE_S = 100.0
# By which two clocks may differ over a time that both measure.
TOLERANCE_S = 0.5
# Two events of a few bytes, and comments; more is no answer to this question.
MOST_BYTES = 1 << 16


class EventsEnded(Failed):
    """The answer ended before what was waited for."""


class EventWatch:
    """A reader of an event stream, which counts its events and comments as they come."""

    def __init__(self, answer: aiohttp.ClientResponse) -> None:
        self.content_type = answer.content_type
        self.opened_s = asyncio.get_running_loop().time()
        self._content = answer.content
        self._decoder = EventDecoder()
        self._received = 0
        self._line_begins = True
        self.comments = 0
        self.data = 0
        self.first_data = b""
        self.has_ids = False

    async def data_event(self) -> None:
        """Wait until one more event with data has come."""
        before = self.data
        while self.data == before:
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
            raise Failed(
                f"more than {MOST_BYTES >> 10} KiB of events came, which were not appended"
            )
        before = b"\n" if self._line_begins else b""
        self.comments += (before + piece).count(b"\n:")
        self.has_ids = self.has_ids or b"\nid:" in before + piece
        self._line_begins = piece.endswith(b"\n")
        for event in self._decoder.feed(piece):
            if event.name == b"data":
                self.first_data = self.first_data if self.data else event.data
                self.data += 1


async def server_sent_events(deployment: Deployment) -> list[Finding]:
    """Check an event that is there, one that is appended, a reconnect, and a late comment."""
    own = await deployment.streams.create("-sse", TEXT)
    behind_first = await own.append(FIRST)
    try:
        async with contextlib.AsyncExitStack() as connection:
            opened = deployment.asker.opened(
                own.stream,
                query={"live": "sse", "offset": own.start},
                headers={"Accept": EVENT_STREAM},
            )
            answer = await given_time(connection.enter_async_context(opened), own, PROMPT_S)
            return await _watched(EventWatch(answer), own, behind_first, deployment.gateway)
    except TimeoutError:
        wrong = f"not even the head of the answer came within {PROMPT_S:g} s"
    except RequestRefused as refusal:
        wrong = words(refusal)
        # A time-out is that of an append or of a usual read, which says nothing of events.
        is_silent = isinstance(refusal.__cause__, TimeoutError)
        if is_silent or refusal.status == HTTPStatus.TOO_MANY_REQUESTS:
            return [unknown(name, wrong) for name in OF_EVENTS]
    return _wrong(wrong)


async def events_kept(deployment: Deployment) -> Finding:
    """Check that a complete SSE response is sent to nobody later, and not after a deletion."""
    check: Check = "SSE kept"
    own = await deployment.streams.create("-sse-kept", TEXT)
    await own.append(FIRST, close=True)  # so that the response ends by itself
    query, headers = {"live": "sse", "offset": own.start}, {"Accept": EVENT_STREAM}
    first = await own.read(query, headers)
    if FIRST not in first.body:
        return unknown(check, "no events came")
    await asyncio.sleep(SHARED_S)
    again = await own.read(query, headers)
    is_kept = source(again) is AnswerSource.SHARED
    if source(again) is AnswerSource.UNKNOWN:
        # Nothing but a copy has events of a stream that was deleted meanwhile.
        if not (await own.asker.send(own.stream, "DELETE")).is_good:
            return unknown(check, "nothing says whether an answer comes from a cache")
        await asyncio.sleep(SHARED_S)
        again = await own.read(query, headers)
        is_kept = FIRST in again.body
    if not is_kept:
        return passed(check, "a complete response is sent to no later reader")
    saw = f"{SHARED_S:g} s after a response was complete, another reader got it"
    return failed(check, f"{saw}{cache_claims(again)}")


def _wrong(saw: str) -> list[Finding]:
    none = "no events come as they happen"
    return [failed("SSE", saw), unknown("SSE resume", none), unknown("keep-alive", none)]


async def _watched(
    watch: EventWatch, own: OwnStream, behind_first: str, gateway: GatewayCounters | None
) -> list[Finding]:
    if watch.content_type != EVENT_STREAM:
        return _wrong(f"the answer is not {EVENT_STREAM}")
    # At once: a cache that shares responses shares the latest ones.
    resuming = asyncio.create_task(_resumed(own, behind_first))
    try:
        if wrong := await _arrival(watch, own, "the first event"):
            return _wrong(wrong)
        await own.append(SECOND)
        if wrong := await _arrival(watch, own, "an event that was appended"):
            return _wrong(wrong)
        resumed = await resuming
    finally:
        resuming.cancel()
    if not watch.has_ids:
        resumed = unknown("SSE resume", "events have no id with which a browser could resume")
    return [
        passed("SSE", "an event came at once, and one that was appended, too"),
        resumed,
        await _keep_alive(watch, gateway),
    ]


async def _arrival(watch: EventWatch, own: OwnStream, waited: str) -> str | None:
    """Return what is wrong with the way that the next event takes; None if it comes at once."""
    try:
        await given_time(watch.data_event(), own, PROMPT_S)
    except TimeoutError:
        return f"{waited} did not come within {PROMPT_S:g} s"
    except EventsEnded:
        return f"the answer ended before {waited} came"
    return None


async def _resumed(own: OwnStream, behind_first: str) -> Finding:
    """Check that a reader that reconnects after the first event does not get it again."""
    headers = {"Accept": EVENT_STREAM, LAST_EVENT_ID: behind_first}
    query = {"live": "sse", "offset": own.start}
    try:
        async with contextlib.AsyncExitStack() as connection:
            opened = own.asker.opened(own.stream, query=query, headers=headers)
            answer = await given_time(connection.enter_async_context(opened), own, PROMPT_S)
            again = EventWatch(answer)
            await given_time(again.data_event(), own, 2 * PROMPT_S)
    except (TimeoutError, *FAILURES, aiohttp.ClientError):
        return unknown(
            "SSE resume", f"a reader that reconnected with {LAST_EVENT_ID} got no events"
        )
    if again.first_data == FIRST:
        saw = f"a reader that reconnected with {LAST_EVENT_ID} got old events again"
        return failed("SSE resume", saw)
    return passed("SSE resume", f"a reader that reconnects continues after {LAST_EVENT_ID}")


async def _keep_alive(watch: EventWatch, gateway: GatewayCounters | None) -> Finding:
    loop = asyncio.get_running_loop()
    began_s = loop.time()
    patience_s = KEEP_ALIVE_S
    if gateway is not None:
        patience_s = min(gateway.heartbeat_s + PROMPT_S, LONGEST_SILENCE_S)
    try:
        async with asyncio.timeout(patience_s):
            await watch.comment()
    except TimeoutError:
        return _silent(patience_s, gateway)
    except EventsEnded:
        return _ended(loop.time() - began_s, loop.time() - watch.opened_s, gateway)
    except aiohttp.ClientError:
        after = f"after {loop.time() - began_s:.1f} s of silence"
        return failed("keep-alive", f"a quiet answer was cut {after}")
    return passed("keep-alive", f"a quiet answer had a comment after {loop.time() - began_s:.1f} s")


def _silent(silence_s: float, gateway: GatewayCounters | None) -> Finding:
    """Return the finding when nothing came; a longer heartbeat may be meant by its operator."""
    saw = f"a quiet answer was silent for {silence_s:.1f} s"
    if gateway is None:
        return unknown("keep-alive", f"{saw}; --admin tells when a comment is due")
    due = f"{saw}; the gateway sends a comment after {gateway.heartbeat_s:g} s"
    return (
        unknown("keep-alive", due) if silence_s < gateway.heartbeat_s else failed("keep-alive", due)
    )


def _ended(silence_s: float, age_s: float, gateway: GatewayCounters | None) -> Finding:
    """Return the finding when a response ended as it should, before any comment."""
    saw = f"a quiet answer ended after {silence_s:.1f} s of silence"
    if gateway is None:
        return unknown("keep-alive", f"{saw}; --admin tells when the server ends one")
    if age_s < gateway.sse_max_age_s - TOLERANCE_S:
        return failed("keep-alive", f"{saw}; the gateway lets it last {gateway.sse_max_age_s:g} s")
    if silence_s > gateway.heartbeat_s + TOLERANCE_S:
        return _silent(silence_s, gateway)
    return passed("keep-alive", f"{saw}, by sse_max_age; no comment was due")
