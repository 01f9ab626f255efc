"""The events of one route, and streams of them: the response to one request until its end."""

from __future__ import annotations

import asyncio
import contextlib
from functools import cache
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from headgate_gateway.access.contract import still_admits
from headgate_gateway.access.operations import READ, Need
from headgate_gateway.errors import HeadgateError, LimitReached
from headgate_gateway.features.mcp.event_reading import BEFORE_CREATION, EventReader
from headgate_gateway.features.mcp.rpc import EXHAUSTED, FORBIDDEN, INTERNAL_ERROR, RpcError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from headgate_gateway.access.principal import Principal
    from headgate_gateway.features.mcp.event_types import EventType
    from headgate_gateway.features.mcp.rpc import RpcCall
    from headgate_gateway.runtime.limits import ServerLimits
    from headgate_gateway.streams.route import HostedRoute


LONGEST_QUIET_S = 30.0  # the extension wants a heartbeat at least so often
AT_ONCE = 100  # events of one part
_ID_KEY = "io.modelcontextprotocol/subscriptionId"
_METHOD = "notifications/events/"


class StreamedRequest(NamedTuple):
    """The events that a client wants: those of one stream after a cursor."""

    event: EventType
    stream: str
    cursor: str | None


class EventStream:
    """A stream of events, which holds a place among the live readers of its route."""

    def __init__(
        self, route: RouteEvents, client: Principal | None, call: RpcCall, choice: StreamedRequest
    ) -> None:
        self._route = route
        self._client = client
        self._call = call
        self.event, self._stream, self._cursor = choice
        self._settings = route.reader.feed_settings
        self._news = asyncio.Event()
        self._sent_at = 0.0  # loop time of the last message
        self._is_active = False
        self._is_over = False
        self._is_refused = False
        self._is_released = False

    def end(self) -> None:
        """End the stream after what was sent: the client comes back with its cursor."""
        self._is_over = True
        self._news.set()

    def refuse(self) -> None:
        """End the stream with a notification, because its client has no right to it any more."""
        self._is_refused = True
        self._news.set()

    def release(self) -> None:
        """Free the place of the stream."""
        if not self._is_released:
            self._is_released = True
            self._route.discard(self)

    async def parts(self) -> AsyncIterator[bytes]:
        """Yield the messages as events of SSE. Raises HeadgateError if the log cannot be read."""
        time = asyncio.get_running_loop().time
        stop_watching = self._route.reader.watch(self._stream, self._news.set)
        try:
            async for part in self._messages(time() + self._settings.sse_max_age):
                self._sent_at = time()
                yield part
        except HeadgateError as error:
            if self._is_active:
                raise
            yield _frame(self._call.error(RpcError(INTERNAL_ERROR, error.detail)))
        finally:
            stop_watching()
            self.release()

    async def _messages(self, ends_at: float) -> AsyncIterator[bytes]:
        time = asyncio.get_running_loop().time
        while not self._is_over:
            if self._is_refused or not self._route.may_read(self._client, self._stream):
                yield self._termination()
                break
            self._news.clear()
            gap, events, has_more = await self._next()
            if gap or not self._is_active:
                self._is_active = True
                yield self._note("active", cursor=gap or self._cursor, truncated=gap is not None)
            if events:
                yield b"".join(events)
            if time() >= ends_at:
                break
            if not has_more and not await self._has_news(ends_at):
                yield self._note("heartbeat", cursor=self._cursor)
        yield _frame(self._call.result({"_meta": {}}))

    async def _next(self) -> tuple[str | None, list[bytes], bool]:
        """Return the cursor after a gap, the next events, and whether there are more."""
        page = await self._route.reader.next(self.event, self._stream, self._cursor, AT_ONCE)
        if page is None:
            self._cursor = self._cursor or BEFORE_CREATION
            return None, [], False
        self._cursor = page.cursor
        now = self._route.clock()
        events = [self._note("event", **one.members(now, cursor=one.cursor)) for one in page.events]
        return page.gap, events, page.has_more

    async def _has_news(self, ends_at: float) -> bool:
        """Wait for a change, or for the next heartbeat; return which it was."""
        until = min(ends_at, self._sent_at + min(self._settings.heartbeat, LONGEST_QUIET_S))
        if self._client is not None:
            left_s = self._client.until - self._route.clock()
            until = min(until, asyncio.get_running_loop().time() + max(0.0, left_s))
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout_at(until):
                await self._news.wait()
        return self._news.is_set()

    def _termination(self) -> bytes:
        error = RpcError(FORBIDDEN, "the credential does not permit to read this stream any more")
        return self._note("terminated", error=error.document)

    def _note(self, kind: str, **params: object) -> bytes:
        """Return a notification about the stream."""
        meta = {"_meta": {_ID_KEY: self._call.id}}
        return _frame({"jsonrpc": "2.0", "method": _METHOD + kind, "params": {**params, **meta}})


def _frame(document: object) -> bytes:
    """Return a message as an event of SSE, in one line: messages are stored with their blanks."""
    line = msgspec.json.encode(document).replace(b"\r", b" ").replace(b"\n", b" ")
    return b"event: message\r\ndata: %b\r\n\r\n" % line


@cache  # it is read from files
def _own_version() -> str:
    from importlib.metadata import version  # 2 MB, for those who speak MCP

    return version("headgate")


class RouteEvents:
    """The events of one route."""

    def __init__(
        self, route: HostedRoute, types: Mapping[str, EventType], limits: ServerLimits
    ) -> None:
        self._route = route
        self._limits = limits
        self._streams: set[EventStream] = set()
        self.clock = route.clock
        self.types = types
        self.reader = EventReader(route)
        self.server_info = {"name": "headgate", "title": "Headgate", "version": _own_version()}

    def renew(self, types: Mapping[str, EventType]) -> None:
        """Offer these event types from now on."""
        self.types = types
        for stream in self._streams:
            if stream.event.name not in types:
                stream.end()

    def end_streams(self) -> None:
        """End the open streams of events: their clients come back elsewhere."""
        for stream in self._streams:
            stream.end()

    def stream(
        self, client: Principal | None, call: RpcCall, choice: StreamedRequest
    ) -> EventStream:
        """Return a stream of events, for which there is a place among the live readers.

        Raises RpcError.
        """
        try:
            self._limits.reader_joins()
        except LimitReached as refusal:
            raise RpcError(EXHAUSTED, refusal.detail, limit="max_live_readers") from None
        stream = EventStream(self, client, call, choice)
        self._streams.add(stream)
        return stream

    def discard(self, stream: EventStream) -> None:
        """Free the place of a stream of events."""
        self._limits.release_reader()
        self._streams.discard(stream)

    def may_read(self, client: Principal | None, stream: str) -> bool:
        """Return whether a client may read a stream."""
        need = Need(f"{self._route.prefix}/{stream}", READ)
        return still_admits(self._route.access.guard, client, (need,), self.clock())
