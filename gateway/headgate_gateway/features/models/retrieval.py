"""Answers retrieved by the id that their provider gave them, from the log alone."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

import msgspec

from headgate.dialects.progress import cursor_in
from headgate.events import events_of, parse
from headgate.json_values import NOT_JSON
from headgate_gateway.errors import BadRequest
from headgate_gateway.features.models.record import CONTENT_TYPE, owner_digest

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from typing import Any

    from headgate.dialects.progress import Cursor
    from headgate_gateway.features.models.live_answer import Answer
    from headgate_gateway.features.models.streams import AnswerStreams, StreamEnd


class IndexedAnswer(msgspec.Struct, frozen=True):
    """The answer that has an id: its stream, and where it begins there."""

    name: str
    position: int


_indexed = msgspec.json.Decoder(list[IndexedAnswer])


class AnswerIndex:
    """The places of answers by the ids of their responses: a small stream for each id.

    Only the owner of an answer can compute its name.
    """

    def __init__(self, prefix: str, streams: AnswerStreams) -> None:
        self._prefix = prefix
        self._streams = streams

    def _stream(self, owner: bytes, response_id: str) -> str:
        digest = owner_digest(owner, f"{self._prefix}\nresponse\n{response_id}")
        return f"responses/{digest}"

    async def add(self, owner: bytes, response_id: str, answer: IndexedAnswer) -> None:
        """Store where the latest answer with this id is. Raises HeadgateError."""
        stream = self._stream(owner, response_id)
        await self._streams.replace(stream, CONTENT_TYPE, msgspec.json.encode(answer))

    async def find(self, owner: bytes, response_id: str) -> IndexedAnswer | None:
        """Return where the answer with this id is, or None. Raises HeadgateError."""
        stream = self._stream(owner, response_id)
        async for data, _ in self._streams.chunks(stream, 0, await self._streams.end(stream)):
            return _indexed.decode(data)[0]
        return None


class StoredEvents:
    """The durable events of an answer, read from its log."""

    def __init__(self, answer: Answer, streams: AnswerStreams, end: StreamEnd) -> None:
        """Read them in a stream whose end is or was `end`."""
        self._answer = answer
        self._streams = streams
        self._offset_of = end.offset_of

    async def _parts(self) -> AsyncIterator[list[bytes]]:
        """Yield the events, those of one read together."""
        position, end = self._answer.request.position, self._answer.position
        while position < end:
            data = await self._streams.read(self._answer.name, self._offset_of(position))
            data = data[: end - position]
            position += len(data)
            yield [*events_of(data)]  # reads end after whole events
            await asyncio.sleep(0)  # the log may be in memory, and others want their turn

    async def position_after(self, cursor: Cursor) -> int:
        """Return the position after the event with a cursor.

        An event without a number has the one after its predecessor's. Raises BadRequest if there
        is no such event yet.
        """
        retrieval = self._answer.request.dialect.retrieval
        assert retrieval is not None, "its events have cursors"
        position, latest = self._answer.request.position, -1
        async for events in self._parts():
            for event in events:
                found, position = parse(event), position + len(event)
                if found is None:
                    continue
                its_cursor: Cursor | None = None
                with contextlib.suppress(*NOT_JSON):
                    its_cursor = cursor_in(found.data)
                latest = its_cursor if isinstance(its_cursor, int) else latest + 1
                if cursor in {its_cursor, latest}:
                    return position
                if isinstance(cursor, int) and latest > cursor:
                    return position - len(event)
        field = retrieval.cursor_field
        raise BadRequest(f"{field} is {cursor}, which none of the {latest + 1} events so far has")

    async def response_object(self) -> bytes | None:
        """Return the response object as JSON, as the events leave it; None if no event has one."""
        found: dict[str, Any] | None = None
        async for events in self._parts():
            found = self._answer.request.dialect.object_after(found, b"".join(events))
        return None if found is None else msgspec.json.encode(found)
