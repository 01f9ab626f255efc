"""Reading a stream: up to its tail, or on and on with every disconnect survived."""

from __future__ import annotations

import asyncio
import base64
import binascii
import json
import logging
import random
from contextlib import aclosing, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from headgate.errors import Gone, ProtocolError, StreamNotFound, Unavailable
from headgate.events import Event, EventDecoder, EventTooLong
from headgate.names import CURSOR, SSE_ENCODING, START_OFFSET, UP_TO_DATE, is_closed
from headgate.retries import Backoff

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Mapping

    from aiohttp import ClientResponse

    from headgate.endpoint import Endpoint

    Live = Callable[[Endpoint, str, str | None], AsyncGenerator["Batch"]]

log = logging.getLogger("headgate")

FIRST_WAIT_S, LONGEST_WAIT_S = 0.5, 30.0  # before a lost connection is made again
# Servers end an SSE answer after about a minute and send comments in between.
SSE_IDLE_TIMEOUT_S = 90.0
# Longer than any server here lets a long-poll wait.
LONG_POLL_IDLE_TIMEOUT_S = 330.0
# Of one answer, unpacked: servers send a chunk of a few MiB at a time, or all that they have. What
# is longer is an endless body, or a bomb.
MOST_BYTES = 256 << 20
HELD_BYTES = 8 << 20  # before a part of an answer is passed on: what is shorter comes whole or not
PIECE_BYTES = 1 << 20
# A live answer that ends sooner and brings nothing is asked for again only after a wait.
SHORT_ANSWER_S = 1.0
# A path that holds the events of SSE until the answer ends brings its head with its end. After
# longer than a busy server takes to begin an answer, and so often in a row, that is no chance.
HELD_FOR_S, MOST_HELD = 10.0, 2
LONGEST_EMPTY_ARRAY = 16  # bytes, with white space


class AnswerHeld(Exception):
    """The end of an SSE answer of an open stream, whose head came only with this end."""


@dataclass(frozen=True, slots=True)
class Batch:
    """The data of one response or control event.

    Attributes:
        bodies: The pieces of data: of a JSON stream, each is an array of messages.
        offset: The offset to read on from.
        is_last: Whether the stream is closed, and this is the end of it.
        cursor: The cursor of a live response, if it has one.
        start: The offset at which the data begin, if they are read from `-1` and the server names
            it.
    """

    bodies: tuple[bytes, ...]
    offset: str
    is_last: bool
    cursor: str | None = None
    start: str | None = None


async def catch_up(
    stream: Endpoint, offset: str, *, in_parts: Callable[[str], bool] | None = None
) -> AsyncGenerator[tuple[str, Batch]]:
    """Yield everything from `offset` to the tail, each batch with its content type.

    An answer whose content type is wanted `in_parts` and that exceeds HELD_BYTES comes in several
    batches; all but the last of them carry the offset at which the answer began. ProtocolError for
    any other answer of more than MOST_BYTES.
    """
    while True:
        async with stream.request("GET", query={"offset": offset}) as answer:
            following, start = stream.next_offset(answer.headers), answer.headers.get(START_OFFSET)
            content_type = answer.headers.get("Content-Type", "")
            if in_parts is not None and in_parts(content_type):
                held = bytearray()
                async for piece in answer.content.iter_chunked(PIECE_BYTES):
                    held += piece
                    if len(held) > HELD_BYTES:
                        yield content_type, Batch((bytes(held),), offset, False)
                        held.clear()
                body = bytes(held)
            else:
                body = await _whole(stream, answer)
            # A cached answer may not know that it reached the tail; standing still says so too.
            at_tail = UP_TO_DATE in answer.headers or is_closed(answer.headers)
            at_tail = at_tail or following == offset
        _check_moved(stream, offset, following, (body,))
        yield content_type, Batch((body,) if body else (), following, at_tail, start=start)
        if at_tail:
            return
        offset = following


async def long_poll(stream: Endpoint, offset: str, cursor: str | None) -> AsyncGenerator[Batch]:
    """Yield the one batch of a long-poll; it has no bodies if the server timed out."""
    query = _query("long-poll", offset, cursor)
    idle_s = stream.live_timeout_s or LONG_POLL_IDLE_TIMEOUT_S
    async with stream.request("GET", query=query, idle_s=idle_s) as answer:
        body = await _whole(stream, answer)
        following = stream.next_offset(answer.headers)
        ended, start = is_closed(answer.headers), answer.headers.get(START_OFFSET)
    yield Batch((body,) if body else (), following, ended, answer.headers.get(CURSOR), start)


async def sse(stream: Endpoint, offset: str, cursor: str | None) -> AsyncGenerator[Batch]:
    """Yield the batches of one SSE answer.

    Data counts once its control event has come; a disconnect between the two sends it again.
    ProtocolError when more than MOST_BYTES come without a control event. AnswerHeld at the end of
    an answer that the path has held until then.
    """
    clock = asyncio.get_running_loop().time
    requested_at = clock()
    async with stream.request(
        "GET",
        query=_query("sse", offset, cursor),
        headers={"Accept": "text/event-stream"},
        idle_s=stream.live_timeout_s or SSE_IDLE_TIMEOUT_S,
    ) as answer:
        waits_since = clock()
        head_s, body_s = waits_since - requested_at, 0.0  # waited for each; the reader may be slow
        encoded = answer.headers.get(SSE_ENCODING, "").lower() == "base64"
        decoder = EventDecoder(MOST_BYTES)
        bodies: list[bytes] = []
        held = 0  # bytes since the last control event
        async for piece in answer.content.iter_any():
            body_s += clock() - waits_since
            held += len(piece)
            with suppress(EventTooLong):  # more than MOST_BYTES are held then
                for event in decoder.feed(piece):
                    if event.name == b"data":
                        bodies.append(_decoded(event.data) if encoded else event.data)
                    elif event.name == b"control":
                        yield _batch(bodies, event)
                        bodies = []
                        held = 0
            if held > MOST_BYTES:
                answer.close()  # the rest of the answer is not read
                raise ProtocolError(
                    f"more than {MOST_BYTES >> 20} MiB of events came, and no control event that "
                    "says where they lead",
                    stream=stream.shown,
                )
            waits_since = clock()
    if head_s > HELD_FOR_S and body_s + clock() - waits_since < SHORT_ANSWER_S:
        raise AnswerHeld


class _LiveAnswers:
    """The live answers of one reading: by SSE, and by long-polls once the path has held those."""

    def __init__(self, live: Live, note: Callable[[str], None]) -> None:
        self._live = live
        self._note = note
        self._held = 0  # in a row

    async def next(
        self, stream: Endpoint, offset: str, cursor: str | None
    ) -> AsyncGenerator[Batch]:
        """Yield the batches of one answer."""
        try:
            async with aclosing(self._live(stream, offset, cursor)) as batches:
                async for batch in batches:
                    yield batch
            self._held = 0
        except AnswerHeld:
            self._held += 1
            if self._held == MOST_HELD:
                self._live = long_poll
                self._note("the path holds events until their answer ends: going on by long-polls")


async def follow(
    stream: Endpoint,
    offset: str,
    live: Live = sse,
    *,
    backoff: Backoff | None = None,
    note: Callable[[str], None] = log.info,
) -> AsyncGenerator[Batch]:
    """Yield batches from `offset` on until the stream is closed, across lost connections.

    Where the path holds SSE until its end, it goes on by long-polls. Raises Gone if the stream is
    deleted or expires meanwhile.
    """
    cursor: str | None = None
    answers = _LiveAnswers(live, note)
    backoff = backoff or Backoff(FIRST_WAIT_S, LONGEST_WAIT_S, random.random)
    loop = asyncio.get_running_loop()
    is_lost = False
    while True:
        began = loop.time()
        brought_batch = brought_data = False
        failure = None
        try:
            async with aclosing(answers.next(stream, offset, cursor)) as batches:
                async for batch in batches:
                    if is_lost:
                        is_lost = False
                        note("connected again")
                    _check_moved(stream, offset, batch.offset, batch.bodies)
                    yield batch
                    if batch.is_last:
                        return
                    offset, cursor = batch.offset, batch.cursor
                    brought_batch, brought_data = True, brought_data or bool(batch.bodies)
        except StreamNotFound as refusal:  # it was there when the reading began
            raise Gone(
                "the stream is no longer there: deleted, expired, or lost by its server",
                stream=stream.shown,
                status=refusal.status,
                offset=offset,
                headers=refusal.headers,
            ) from refusal
        except Unavailable as refusal:
            failure = refusal
            is_lost = True
        is_good = brought_data or (brought_batch and loop.time() - began >= SHORT_ANSWER_S)
        if is_good:
            backoff.reset()
        await asyncio.sleep(_pause_s(failure, backoff, note, is_good=is_good))


def _query(live: str, offset: str, cursor: str | None) -> dict[str, str]:
    query = {"live": live, "offset": offset}
    return query if cursor is None else query | {"cursor": cursor}


def _check_moved(stream: Endpoint, offset: str, following: str, bodies: tuple[bytes, ...]) -> None:
    """Raise ProtocolError if data came for an offset, and do not lead past it.

    Whoever read on would get them again and again.
    """
    if following == offset and any(body and not _is_empty_array(body) for body in bodies):
        raise ProtocolError(
            f"data came for offset {offset}, and the next offset is the same: a cache on the way "
            "may ignore the query, and answer each read with one response",
            stream=stream.shown,
            offset=offset,
        )


def _is_empty_array(body: bytes) -> bool:
    """Return whether a body is the JSON array without messages that reads at the tail get."""
    return len(body) <= LONGEST_EMPTY_ARRAY and body.translate(None, b" \t\r\n") == b"[]"


def _pause_s(
    failure: Unavailable | None, backoff: Backoff, note: Callable[[str], None], *, is_good: bool
) -> float:
    """Return the seconds to wait before the next live request."""
    if failure is None:
        return 0.0 if is_good else backoff.next_s()
    wait_s = max(backoff.next_s(), failure.retry_after)
    note(f"{failure}; trying again in {wait_s:.1f} s")
    return wait_s


async def _whole(stream: Endpoint, answer: ClientResponse) -> bytes:
    """Return the body of an answer, decoded. ProtocolError beyond MOST_BYTES of it."""
    pieces: list[bytes] = []
    size = 0
    async for piece in answer.content.iter_any():
        pieces.append(piece)
        size += len(piece)
        if size > MOST_BYTES:
            answer.close()  # the rest of the answer is not read
            raise ProtocolError(
                f"an answer has more than {MOST_BYTES >> 20} MiB and no end so far",
                stream=stream.shown,
            )
    return b"".join(pieces)


def _batch(bodies: list[bytes], control: Event) -> Batch:
    try:
        fields: Mapping[str, object] = json.loads(control.data)
        offset = str(fields["streamNextOffset"])
    except (ValueError, KeyError, TypeError) as cause:
        raise ProtocolError("the server sent a control event without streamNextOffset") from cause
    cursor, start = (
        None if (value := fields.get(name)) is None else str(value)
        for name in ("streamCursor", "headgateStartOffset")
    )
    return Batch(tuple(bodies), offset, fields.get("streamClosed") is True, cursor, start)


def _decoded(data: bytes) -> bytes:
    try:
        return base64.b64decode(data.replace(b"\n", b""), validate=True)
    except binascii.Error as cause:
        raise ProtocolError("the server sent a data event that is no base64") from cause
