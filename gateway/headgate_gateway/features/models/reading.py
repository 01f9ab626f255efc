"""The events of a completion for a client: as they come, after a cursor, or as one object."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

import msgspec
from typing_extensions import override

from headgate.dialects.progress import EarlyEnd, cursor_in
from headgate.events import events_of, parse
from headgate.json_values import NOT_JSON
from headgate_gateway.errors import BadRequest, StreamGone
from headgate_gateway.features.models.completion import with_ids
from headgate_gateway.protocol.bodies.content import HEARTBEAT
from headgate_gateway.routes.answers import PushingSource

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from typing import Any

    from headgate.dialects.progress import Cursor
    from headgate_gateway.features.models.completion import Completion
    from headgate_gateway.features.models.streams import StreamEnd


REFUSED = EarlyEnd(
    "access_ended", "the client was disconnected, or has lost the right to read this answer"
)


class CompletionBody(PushingSource):
    """The events of a completion from `position` on, up to its end."""

    def __init__(
        self,
        completion: Completion,
        position: int,
        offset_of: Callable[[int], str],
    ) -> None:
        self.position = position  # sent up to it
        self.offset_of = offset_of
        self._completion = completion
        self._write: Callable[[bytes], bool] | None = None
        self._is_refused = False

    def refuse(self) -> None:
        """End the body with an event which says that its client may not read on."""
        self._is_refused = True
        self._completion.wake_readers()

    @override
    def push_to(self, write: Callable[[bytes], bool]) -> None:
        """Write events with `write` that come while the next part is awaited."""
        self._write = write

    def push(self, events: bytes, position: int) -> bool:
        """Send the next events, up to a position; return whether the client keeps up."""
        if self._write is None or not self._write(events):
            return False
        self.position = position
        return True

    @override
    async def parts(self) -> AsyncIterator[bytes]:
        """Yield the events after the position. Raises HeadgateError if the log cannot be read."""
        completion = self._completion
        while True:
            if self._is_refused:
                yield completion.request.dialect.failure_event(REFUSED, completion.next_number())
                return
            # Looked up before the read: what is appended after it is read next time.
            is_over = completion.is_over
            begin = self.position
            unread = completion.position - begin
            if unread > 0:
                found = completion.latest_after(begin) or await _read(
                    completion, self.offset_of, begin, unread
                )
                events = with_ids(found, begin, self.offset_of)
                self.position += sum(map(len, found))
            elif is_over and unread < 0:
                raise StreamGone("the log has lost what was sent of the answer")
            elif is_over:
                return
            else:
                await completion.wait_beyond(begin, self)
                if completion.position > self.position or completion.is_over:
                    continue
                # After a silence, for the client. It comes between events, because the beginning of
                # one is not sent before its end.
                events = HEARTBEAT
            yield events

    @override
    def release(self) -> None:
        """Do nothing: the completion goes on without this reader."""


async def position_after(cursor: Cursor, completion: Completion, end: StreamEnd) -> int:
    """Return the position after the event with a cursor, in a stream that ends at `end`.

    An event without a number has the one after its predecessor's. Raises BadRequest if there is
    no such event yet.
    """
    retrieval = completion.request.dialect.retrieval
    assert retrieval is not None, "its events have cursors"
    position, latest = completion.request.position, -1
    async for events in _stored(completion, end):
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


async def response_object(completion: Completion, end: StreamEnd) -> bytes | None:
    """Return the response object as JSON, as the events leave it; None if no event has one."""
    found: dict[str, Any] | None = None
    async for events in _stored(completion, end):
        found = completion.request.dialect.object_after(found, b"".join(events))
    return None if found is None else msgspec.json.encode(found)


async def _stored(completion: Completion, end: StreamEnd) -> AsyncIterator[list[bytes]]:
    """Yield the durable events of a completion, those of one read together."""
    position, until = completion.request.position, completion.position
    while position < until:
        events = await _read(completion, end.offset_of, position, until - position)
        position += sum(map(len, events))
        yield events
        await asyncio.sleep(0)  # the log may be in memory, and others want their turn


async def _read(
    completion: Completion, offset_of: Callable[[int], str], position: int, longest: int
) -> list[bytes]:
    """Return stored events after a position, which are not longer. Raises HeadgateError."""
    data, _ = await completion.streams.read(completion.name, offset_of(position))
    return [*events_of(data[:longest])]  # reads end after whole events
