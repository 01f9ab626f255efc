"""Streams of events: the response to one request, as Server-Sent Events, until its end."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, NamedTuple, Protocol

import msgspec

from gateway.mcp_events.cursors import BEFORE_CREATION, cursor_at, place_of
from gateway.mcp_events.rpc import FORBIDDEN, RpcError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

    from gateway.live.contract import FeedSettings
    from gateway.mcp_events.event_types import EventType
    from gateway.mcp_events.reading import EventReader
    from gateway.mcp_events.rpc import RpcCall
    from gateway.protocol.streams.state import Record, StreamState
    from gateway.subscriptions.state.owners import SubscriptionOwner

LONGEST_QUIET_S = 30.0  # the extension wants a heartbeat at least so often
AT_ONCE = 100  # events of one part
_ID_KEY = "io.modelcontextprotocol/subscriptionId"
_METHOD = "notifications/events/"


class StreamedRequest(NamedTuple):
    """The events that a client wants: of one stream of the log, behind a cursor.

    Those whose own time is before `since` are left out.
    """

    event: EventType
    stream: str
    cursor: str | None
    since: float


class StreamedRoute(Protocol):
    """The route of a stream of events, with what the stream needs of it."""

    reader: EventReader

    @property
    def clock(self) -> Callable[[], float]:
        """The clock that credentials are judged by."""

    @property
    def feed_settings(self) -> FeedSettings:
        """The settings of live reads."""

    def may_read(self, owner: SubscriptionOwner, event: EventType, stream: str | None) -> bool:
        """Return whether a client may read what an event is made of."""

    def discard(self, stream: EventStream) -> None:
        """Free the place of a stream of events."""


class EventStream:
    """A stream of events, which holds a place among the live readers of its route."""

    def __init__(
        self, route: StreamedRoute, owner: SubscriptionOwner, call: RpcCall, choice: StreamedRequest
    ) -> None:
        self._route = route
        self._owner = owner
        self._call = call
        self.event, self._stream, self._cursor, self._since = choice
        self._reader = route.reader
        self._settings = route.feed_settings
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
            self._route.discard(self)

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
        ends_at = time() + self._settings.sse_max_age
        is_active = False
        while not self._is_over:
            if not self._route.may_read(self._owner, self.event, self._stream):
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
        now = self._route.clock()
        events = [
            self._note("event", **one.members(now, cursor=one.cursor))
            for one in page.events
            if one.is_since(self._since)
        ]
        return gap, events, page.has_more

    async def _has_news(self, ends_at: float) -> bool:
        """Wait for a change, or for the next heartbeat; return which it was."""
        loop = asyncio.get_running_loop()
        wait_s = min(self._settings.heartbeat, LONGEST_QUIET_S)
        if self._owner.principal is not None:
            wait_s = min(wait_s, max(0.0, self._owner.principal.until - self._route.clock()))
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
