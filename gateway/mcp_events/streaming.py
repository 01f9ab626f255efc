"""Streams of events: the response to one request, as Server-Sent Events, until its end."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from gateway.mcp_events.cursors import BEFORE_CREATION, cursor_at, place_of
from gateway.mcp_events.rpc import FORBIDDEN, RpcError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

    from gateway.mcp_events.event_types import EventType
    from gateway.mcp_events.reading import EventReader
    from gateway.mcp_events.rpc import RpcCall
    from gateway.protocol.streams.state import Record, StreamState

LONGEST_QUIET_S = 30.0  # the extension wants a heartbeat at least so often
AT_ONCE = 100  # events of one part
_ID_KEY = "io.modelcontextprotocol/subscriptionId"
_METHOD = "notifications/events/"


class EventStreamLimits(NamedTuple):
    """The limits of a stream of events, and the functions that it depends on.

    `may_read` is called before each part, and `release` once. `until` is when the credential ends.
    """

    heartbeat_s: float
    longest_s: float
    until: float
    may_read: Callable[[], bool]
    clock: Callable[[], float]
    release: Callable[[], None]


class EventStream:
    """A stream of events of one stream of the log, behind a cursor."""

    def __init__(  # noqa: PLR0913 - a request, and what it depends on
        self,
        call: RpcCall,
        event: EventType,
        stream: str,
        cursor: str | None,
        since: float,
        reader: EventReader,
        limits: EventStreamLimits,
    ) -> None:
        """Leave out events whose own time is before `since`."""
        self._call = call
        self.event = event
        self._stream = stream
        self._cursor = cursor
        self._since = since
        self._reader = reader
        self._limits = limits
        self._news = asyncio.Event()
        self._is_over = False
        self._is_released = False

    def end(self) -> None:
        """End the stream behind what was sent: the client comes back with its cursor."""
        self._is_over = True
        self._news.set()

    def release(self) -> None:
        """Free the place of the stream."""
        if not self._is_released:
            self._is_released = True
            self._limits.release()

    async def parts(self) -> AsyncIterator[bytes]:
        """Yield the messages as events of SSE. Raises HeadgateError if the log cannot be read."""
        table = self._reader.table
        stop = table.following.watch(table.get(self._stream), self._on_change)
        try:
            async for part in self._messages():
                yield part
        finally:
            stop()
            self.release()

    def _on_change(self, _state: StreamState | None, _records: Sequence[Record]) -> None:
        self._news.set()

    async def _messages(self) -> AsyncIterator[bytes]:
        time = asyncio.get_running_loop().time
        ends_at = time() + self._limits.longest_s
        is_active = False
        while not self._is_over:
            if not self._limits.may_read():
                yield self._terminated()
                break
            self._news.clear()
            gap, events, has_more = await self._next()
            if gap or not is_active:
                is_active = True
                yield self._note("active", cursor=gap or self._cursor, truncated=gap is not None)
            if events:
                yield b"".join(events)
            if time() >= ends_at:
                break
            if not has_more and not await self._has_news(ends_at):
                yield self._note("heartbeat", cursor=self._cursor)
        yield _frame(self._call.result({"_meta": {}}))

    async def _next(self) -> tuple[str | None, list[bytes], bool]:
        """Return the cursor behind a gap, the next events, and whether there are more."""
        state = await self._reader.state(self._stream)
        if state is None:
            self._cursor = self._cursor or BEFORE_CREATION
            return None, [], False
        place = place_of(state, self._cursor)
        gap = cursor_at(state, place.position) if place.is_truncated else None
        page = await self._reader.page(self.event, state, place.position, AT_ONCE)
        self._cursor = cursor_at(state, page.end)
        now = self._limits.clock()
        events = [
            self._note("event", **one.members(now, cursor=one.cursor))
            for one in page.events
            if one.is_since(self._since)
        ]
        return gap, events, page.has_more

    async def _has_news(self, ends_at: float) -> bool:
        """Wait for a change, or for the next heartbeat; return which it was."""
        loop = asyncio.get_running_loop()
        longest_s = min(self._limits.heartbeat_s, LONGEST_QUIET_S)
        wait_s = min(longest_s, max(0.0, self._limits.until - self._limits.clock()))
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout_at(min(ends_at, loop.time() + wait_s)):
                await self._news.wait()
        return self._news.is_set()

    def _terminated(self) -> bytes:
        error = RpcError(FORBIDDEN, "the credential does not permit to read these streams any more")
        return self._note("terminated", error=error.document)

    def _note(self, kind: str, **params: object) -> bytes:
        """Return a notification about the stream."""
        meta = {"_meta": {_ID_KEY: self._call.id}}
        return _frame({"jsonrpc": "2.0", "method": _METHOD + kind, "params": {**params, **meta}})


def _frame(document: object) -> bytes:
    """Return a message as an event of SSE, in one line: messages are stored with their blanks."""
    line = msgspec.json.encode(document).replace(b"\r", b" ").replace(b"\n", b" ")
    return b"event: message\r\ndata: %b\r\n\r\n" % line
