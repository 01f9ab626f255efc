"""Answers retrieved by the id that their provider gave them, from the log alone."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
from typing import TYPE_CHECKING

import msgspec

from gateway.errors import BadRequest
from gateway.models.dialects.responses import ResponseState, sequence_number
from gateway.models.record import CONTENT_TYPE
from gateway.models.sse_events import WholeEvents, events_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from gateway.models.streams import AnswerStreams, StreamEnd


class _Indexed(msgspec.Struct):
    """The name of the answer that has an id."""

    answer: str


_indexed = msgspec.json.Decoder(list[_Indexed])


class AnswerIndex:
    """The names of answers by the ids of their responses: a small stream for each id.

    Only the owner of an answer can compute where its name is.
    """

    def __init__(self, prefix: str, streams: AnswerStreams) -> None:
        self._prefix = prefix
        self._streams = streams

    def _stream(self, owner: bytes, response_id: str) -> str:
        message = f"{self._prefix}\nresponse\n{response_id}".encode()
        return f"responses/{hmac.new(owner, message, hashlib.sha256).hexdigest()[:40]}"

    async def add(self, owner: bytes, response_id: str, name: str) -> None:
        """Store the name of the latest answer with this id. Raises HeadgateError."""
        stream, body = self._stream(owner, response_id), msgspec.json.encode(_Indexed(name))
        if not await self._streams.create(stream, CONTENT_TYPE, body):
            await self._streams.delete(stream)
            await self._streams.create(stream, CONTENT_TYPE, body)

    async def name_of(self, owner: bytes, response_id: str) -> str | None:
        """Return the name of the answer with this id, or None. Raises HeadgateError."""
        stream = self._stream(owner, response_id)
        end = await self._streams.end(stream)
        if end is None:
            return None
        entries = _indexed.decode(await self._streams.read(stream, end.offset_of(0)))
        return entries[-1].answer if entries else None


async def _stored_events(streams: AnswerStreams, name: str, end: StreamEnd) -> AsyncIterator[bytes]:
    """Yield the events of an answer up to `end`, in parts of one or more whole ones."""
    splitter = WholeEvents()
    position = 0
    while position < end.tail:
        data = await streams.read(name, end.offset_of(position))
        position += len(data)
        if events := splitter.feed(data):
            yield events
        await asyncio.sleep(0)  # the log may be in memory, and others want their turn


async def position_after(streams: AnswerStreams, name: str, end: StreamEnd, number: int) -> int:
    """Return the position behind the event with a sequence number.

    An event without a number has the one after its predecessor's. Raises BadRequest if there is no
    such event yet.
    """
    position, latest = 0, -1
    async for events in _stored_events(streams, name, end):
        for event in events_of(events):
            found = sequence_number(event, latest + 1)
            if found is not None and found > number:
                return position
            latest = latest if found is None else found
            position += len(event)
    if latest < number:
        raise BadRequest(f"starting_after is {number}, and the last event so far has {latest}")
    return position


async def response_state(streams: AnswerStreams, name: str, end: StreamEnd) -> bytes | None:
    """Return the response object of an answer as JSON; None if no event has one."""
    state = ResponseState()
    async for events in _stored_events(streams, name, end):
        state.add(events)
    if end.is_closed:
        state.end()
    return None if state.response is None else msgspec.json.encode(state.response)
