"""The events of one route, and streams of them: the response to one request until its end."""

from __future__ import annotations

import asyncio
import contextlib
from functools import cache
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from gateway.access.operations import READ, Need
from gateway.errors import OF_THE_ORIGIN, HeadgateError, LimitReached
from gateway.features.mcp.host_subscriptions import HostSubscriptions
from gateway.features.mcp.rpc import EXHAUSTED, FORBIDDEN, INTERNAL_ERROR, RpcError
from gateway.features.mcp.sender import WebhookEvents
from gateway.features.subscriptions.engine import RouteSubscriptions
from gateway.features.subscriptions.shared.subscriptions import SharedSubscriptions
from gateway.features.subscriptions.subscription_handlers import subscriptions_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from gateway.features.mcp.event_types import EventType
    from gateway.features.mcp.reading import EventReader, StreamWatch
    from gateway.features.mcp.rpc import RpcCall
    from gateway.features.subscriptions.state.delivery_state import EventPosition
    from gateway.features.subscriptions.state.owners import SubscriptionOwner
    from gateway.routes.contract import StreamRoute
    from gateway.runtime.limits import ServerLimits


LONGEST_QUIET_S = 30.0  # the extension wants a heartbeat at least so often
AT_ONCE = 100  # events of one part
RETRY_S = 1.0  # while an origin fails; polls of its followed streams go on meanwhile
_ID_KEY = "io.modelcontextprotocol/subscriptionId"
_METHOD = "notifications/events/"


class StreamedRequest(NamedTuple):
    """The events that a client wants: of one stream of the log, behind a cursor.

    Those whose own time is before `since` are left out. `reader` is what reads for the client.
    """

    reader: EventReader
    event: EventType
    stream: str
    cursor: str | None
    since: float


class EventStream:
    """A stream of events, which holds a place among the live readers of its route."""

    def __init__(
        self, route: RouteEvents, owner: SubscriptionOwner, call: RpcCall, choice: StreamedRequest
    ) -> None:
        self._route = route
        self._owner = owner
        self._call = call
        self._reader, self.event, self._stream, self._cursor, self._since = choice
        self._settings = self._reader.feed_settings
        self._news = asyncio.Event()
        self._at: EventPosition | None = None  # behind the events so far, in a stream that is there
        self._sent_at = 0.0  # loop time of the last message
        self._is_active = False
        self._is_over = False
        self._is_refused = False
        self._is_released = False

    def end(self) -> None:
        """End the stream behind what was sent: the client comes back with its cursor."""
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
        watch = self._reader.watch(self._stream, self._owner.account, self._news.set)
        try:
            async for part in self._messages(watch, time() + self._settings.sse_max_age):
                self._sent_at = time()
                yield part
        except HeadgateError as error:
            if self._is_active:
                raise
            yield _frame(self._call.error(RpcError(INTERNAL_ERROR, error.detail)))
        finally:
            watch.stop()
            self.release()

    async def _messages(self, watch: StreamWatch, ends_at: float) -> AsyncIterator[bytes]:
        time = asyncio.get_running_loop().time
        while not self._is_over:
            may_read = self._route.may_read(self._owner, self.event, self._stream)
            if self._is_refused or not may_read:
                yield self._termination()
                break
            self._news.clear()
            gap, events, has_more = await self._next_if_reached()
            if gap or not self._is_active:
                self._is_active = True
                yield self._note("active", cursor=gap or self._cursor, truncated=gap is not None)
            if events:
                yield b"".join(events)
            if time() >= ends_at:
                break
            if not has_more and not await self._has_news(watch, ends_at):
                yield self._note("heartbeat", cursor=self._cursor)
        yield _frame(self._call.result({"_meta": {}}))

    async def _next_if_reached(self) -> tuple[str | None, list[bytes], bool]:
        """Return the next events; none while an origin fails, once the stream has begun."""
        try:
            return await self._next()
        except OF_THE_ORIGIN:
            if not self._is_active:
                raise
            await asyncio.sleep(RETRY_S)
            return None, [], asyncio.get_running_loop().time() < self._quiet_until

    async def _next(self) -> tuple[str | None, list[bytes], bool]:
        """Return the cursor after a gap, the next events, and whether there are more."""
        page = await self._reader.next(self.event, self._stream, self._cursor, AT_ONCE)
        if page is None:
            self._cursor, self._at = self._cursor or self._reader.first_cursor(), None
            return None, [], False
        self._cursor, self._at = page.cursor, page.end
        now = self._route.clock()
        events = [
            self._note("event", **one.members(now, cursor=one.cursor))
            for one in page.events
            if one.is_since(self._since)
        ]
        return page.gap, events, page.has_more

    @property
    def _quiet_until(self) -> float:
        """The loop time at which a heartbeat is due."""
        return self._sent_at + min(self._settings.heartbeat, LONGEST_QUIET_S)

    async def _has_news(self, watch: StreamWatch, ends_at: float) -> bool:
        """Wait for a change, or for the next heartbeat; return which it was."""
        now = asyncio.get_running_loop().time()
        until = self._quiet_until
        if self._owner.principal is not None:
            left_s = self._owner.principal.until - self._route.clock()
            until = min(until, now + max(0.0, left_s))
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout_at(min(ends_at, until)):
                try:
                    await watch.wait_behind(self._at)
                except OF_THE_ORIGIN:
                    await asyncio.sleep(RETRY_S)
                    return True
                await self._news.wait()
        return self._news.is_set()

    def _termination(self) -> bytes:
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


@cache  # it is read from files
def _own_version() -> str:
    from importlib.metadata import version  # 2 MB, for those who speak MCP

    return version("headgate")


class RouteEvents:
    """The events of one route."""

    def __init__(
        self,
        route: StreamRoute,
        reader: EventReader,
        types: Mapping[str, EventType],
        limits: ServerLimits,
    ) -> None:
        self._route = route
        self._limits = limits
        self._streams: set[EventStream] = set()
        self.prefix = route.prefix
        self.clock = route.clock
        self.types = types
        self.reader = reader
        self.webhooks: HostSubscriptions | None = None
        self._sender: WebhookEvents | None = None
        subscriptions = subscriptions_of(route)
        if isinstance(subscriptions, SharedSubscriptions):
            subscriptions.opening_observers.append(self._attach)
            subscriptions = subscriptions.engine
        if isinstance(subscriptions, RouteSubscriptions):
            self._attach(subscriptions)
        self.server_info = {"name": "headgate", "title": "Headgate", "version": _own_version()}

    def _attach(self, engine: RouteSubscriptions) -> None:
        """Have events sent to webhooks by the subscriptions of this gateway."""
        self._sender = WebhookEvents(engine, self.reader, self.types)
        self.webhooks = HostSubscriptions(engine, self.reader, self._sender)
        engine.sender.send_events = self._sender.send

    def renew(self, types: Mapping[str, EventType]) -> None:
        """Offer these event types from now on."""
        self.types = types
        if self._sender is not None:
            self._sender.types = types
        for stream in self._streams:
            if stream.event.name not in types:
                stream.end()

    def close(self) -> None:
        """Send no more events to webhooks."""
        self.end_streams()
        subscriptions = subscriptions_of(self._route)
        if isinstance(subscriptions, SharedSubscriptions):
            subscriptions.opening_observers.remove(self._attach)
        if self.webhooks is not None:
            self.webhooks.engine.sender.send_events = None

    def end_streams(self) -> None:
        """End the open streams of events: their clients come back elsewhere."""
        for stream in self._streams:
            stream.end()

    def stream(
        self, owner: SubscriptionOwner, call: RpcCall, choice: StreamedRequest
    ) -> EventStream:
        """Return a stream of events, for which there is a place among the live readers.

        Raises RpcError.
        """
        try:
            self._limits.reader_joins()
        except LimitReached as refusal:
            raise RpcError(EXHAUSTED, refusal.detail, limit="max_live_readers") from None
        stream = EventStream(self, owner, call, choice)
        self._streams.add(stream)
        return stream

    def discard(self, stream: EventStream) -> None:
        """Free the place of a stream of events."""
        self._limits.release_reader()
        self._streams.discard(stream)

    def may_read(self, owner: SubscriptionOwner, event: EventType, stream: str | None) -> bool:
        """Return whether a client may read what an event is made of."""
        needs = [Need(path, READ) for path in event.read_paths(stream, self.prefix)]
        return owner.still_may(self._route.access.guard, needs, self.clock())

    def delivery(self, owner: SubscriptionOwner) -> list[str]:
        """Return the ways in which a client can get events; webhooks need a credential."""
        has_webhooks = subscriptions_of(self._route) is not None and owner.principal is not None
        return ["webhook", "push", "poll"] if has_webhooks else ["push", "poll"]
