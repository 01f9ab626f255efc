"""What is answered, or parked, without a request object or a task.

Each method says False when it has nothing to do with a request; it then goes the ordinary way,
which gives the same bytes.
"""

from __future__ import annotations

from functools import lru_cache, partial
from typing import TYPE_CHECKING, NamedTuple

from gateway.cache.decision import fresh
from gateway.cache.rendered import RenderedChunk
from gateway.cache.variants import Variants
from gateway.edge.route import EdgeRoute
from gateway.errors import HeadgateError
from gateway.hosted.route import HostedRoute
from gateway.live.feed import park
from gateway.protocol import cache_status, http1, responses
from gateway.protocol.chunks import start_position
from gateway.protocol.content import is_long
from gateway.protocol.identity import IdentityHeaders
from gateway.protocol.offsets import Offset
from gateway.protocol.paths import canonical_path
from gateway.protocol.requests import LongPoll, parse_append, parse_target
from gateway.web.responses import JOINED_BYTES

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aiohttp.http_parser import RawRequestMessage

    from gateway.protocol.appends import Appended
    from gateway.runtime.context import Context
    from gateway.web.connection import Connection
    from gateway.web.router import Router

REMEMBERED_POLLS = 4096  # targets of long-polls: a thousand viewers of a stream send the same few
REMEMBERED_PATHS = 2048  # of streams that are written to: 1 MB, at worst 10
REMEMBERED_HEADS = 1024  # with what was parsed from them 4 MB; then all are forgotten
REMEMBERED_BYTES = 1024  # of the longest head that is remembered: browsers send about 700
_OK = http1.status_line(200)
_CLOSE = b"Connection: close\r\n"


class Head(NamedTuple):
    """What the head of a GET says: the same bytes say the same."""

    message: RawRequestMessage
    key: tuple[str, str]  # under which an answer of an HTTP origin is kept
    connection: bytes  # the line that tells what becomes of it


class FastPath:
    """The short ways of a connection."""

    def __init__(self, routes: Router, shared: Context) -> None:
        self._routes = routes
        self._store = shared.store
        self._lines = shared.lines
        self._any_origin = shared.lines.any_origin
        self._log = shared.log
        self._clock = shared.clock
        self._limits = shared.limits
        self._problem = shared.problem
        self._repeats = shared.repeats
        self._logs = any(isinstance(route, HostedRoute) for route in routes)
        self._identities = [IdentityHeaders()]
        self._identities += [route.identity for route in routes if isinstance(route, EdgeRoute)]
        self._edges = any(isinstance(route, EdgeRoute) for route in routes)
        self._poll = lru_cache(REMEMBERED_POLLS)(self._parse_poll)
        self._stream = lru_cache(REMEMBERED_PATHS)(self._find)
        self.answered = 0
        self.heads: dict[bytes, Head] = {}

    def remember(self, head: bytes, message: RawRequestMessage) -> None:
        """Keep what was parsed from a GET without wishes that was answered here.

        What a reader is known by is not kept.
        """
        headers = message.headers
        if len(head) > REMEMBERED_BYTES or message.method != "GET" or self._has_wishes(headers):
            return
        if any(identity.tell(headers) for identity in self._identities):
            return
        if len(self.heads) >= REMEMBERED_HEADS:
            self.heads.clear()
        self.heads[head] = _head(message)

    def _has_wishes(self, headers: Mapping[str, str]) -> bool:
        """Whether the request wants an answer that others do not."""
        return (
            "If-None-Match" in headers
            or "X-Request-Id" in headers
            or (not self._any_origin and "Origin" in headers)
        )

    def get(self, connection: Connection, message: RawRequestMessage) -> bool:
        """A cached answer, or a long-poll that waits at the tail."""
        if self._has_wishes(message.headers):
            return False
        if self.again(connection, _head(message)):
            return True
        if (
            "live=long-poll" not in message.path
            or message.should_close
            or not self._park(connection, message)
        ):
            return False
        self._note(connection, message)
        return True

    def again(self, connection: Connection, head: Head) -> bool:
        """A cached answer, for a request that is known to have no wishes."""
        ready = self.ready(head)
        if ready is None:
            return False
        first, rest = ready
        if len(rest) <= JOINED_BYTES:
            connection.write(first + rest)
        else:
            connection.write(first)
            connection.write(rest)
        self._note(connection, head.message)
        return True

    def _note(self, connection: Connection, message: RawRequestMessage) -> None:
        if self._repeats.looking:
            self._repeats.note(connection.transport, "GET", message.path, message.headers)

    def ready(self, head: Head) -> tuple[bytes, bytes] | None:
        """The same in two parts."""
        message, key, connection = head
        now = self._clock()
        chunk = self._store.get(message.path, now) if self._logs else None
        if isinstance(chunk, RenderedChunk) and chunk.confirm_after > now:
            self._store.hit(chunk)
            common = self._lines.shared_at(now)
            first = b"".join((_OK, common, connection, cache_status.hit(chunk.hits)))
            return self._told(message.path, first, chunk.rest)
        entry = self._store.get(key, now) if self._edges else None
        if not isinstance(entry, Variants):
            return None
        variant = fresh(entry.variants, message.headers, now)
        if variant is None:
            return None
        self._store.hit(variant.entry)
        first = variant.fast_head(*self._lines.parts_at(now), connection, now)
        return self._told(message.path, first, variant.cached.body)

    def _told(self, target: str, head: bytes, rest: bytes) -> tuple[bytes, bytes]:
        self.answered += 1
        if self._log.enabled:
            self._log.line("GET", target, 200, len(rest), "hit")
        return head, rest

    def _park(self, connection: Connection, message: RawRequestMessage) -> bool:
        if self._log.enabled or self._limits.readers_full:
            return False
        poll = self._poll(message.path)
        if poll is None:
            return False
        route, read, name = poll
        if isinstance(route, EdgeRoute):
            return route.park(connection, read, message.headers)
        return self._park_at(connection, route, read, name)

    @staticmethod
    def _park_at(connection: Connection, route: HostedRoute, read: LongPoll, name: str) -> bool:
        try:
            active = route.table.peek(name)
            if active is None or active.state is None or not route.table.hears_of(active):
                return False
            state = route.table.present(active)
            offset = read.offset
            if state.closed or start_position(state, offset) != state.tail:
                return False
            if isinstance(offset, Offset) and offset.position > state.tail:
                return False  # another gateway may know more: it goes the ordinary way
            route.table.deadlines.touch(active)
            tail = state.offset(state.tail)
            join = partial(route.feeds.join, active, state)
            park(connection, join, read, tail)
        except HeadgateError:
            return False
        return True

    def _find(self, path: str) -> tuple[HostedRoute | EdgeRoute, str]:
        return self._routes.find(canonical_path(path))

    def _parse_poll(self, target: str) -> tuple[HostedRoute | EdgeRoute, LongPoll, str] | None:
        try:
            route, name = self._find(target.partition("?")[0])
            read = parse_target(target) if isinstance(route, HostedRoute) else route.parse(target)
        except HeadgateError:
            return None
        if not isinstance(read, LongPoll):
            return None
        return route, read, name

    def post(self, connection: Connection, message: RawRequestMessage, body: bytes) -> bool:
        """An append to an own log whose whole body is here."""
        headers = message.headers
        target = message.path
        if (
            "?" in target
            or not target.startswith("/")
            or "Expect" in headers
            or "Content-Encoding" in headers
            or self._has_wishes(headers)
            or self._log.enabled
            or len(body) > self._limits.max_append
        ):
            return False
        try:
            route, name = self._stream(target)
            if not isinstance(route, HostedRoute):
                return False
            append = parse_append(headers, body)
            if is_long(append.content_type, body):
                return False
        except HeadgateError as error:
            connection.write(self._wire(error))
            return True
        connection.take(None)

        def done(outcome: Appended | HeadgateError) -> None:
            try:
                connection.answer(None, self._wire(outcome))
            except BaseException:
                connection.abandon()
                raise

        route.appender.submit(name, append, done)
        return True

    def _wire(self, outcome: Appended | HeadgateError) -> bytes:
        if isinstance(outcome, HeadgateError):
            common = self._lines.own(
                request_id=self._lines.new_request_id(), origin=None, connection=None
            )
            return http1.serialize(self._problem(outcome), common + cache_status.BYPASS)
        common = self._lines.shared() + cache_status.OTHER_METHOD
        return http1.serialize(responses.appended(outcome), common)


def _head(message: RawRequestMessage) -> Head:
    key = (message.headers.get("Host", ""), message.path)
    return Head(message, key, _CLOSE if message.should_close else b"")
