"""What is answered, or parked, without a request object or a task.

Each method says False when it has nothing to do with a request; it then goes the ordinary way,
which gives the same bytes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.errors import HeadgateError
from gateway.protocol import http1, responses
from gateway.protocol.chunks import start_position
from gateway.protocol.paths import canonical_path
from gateway.protocol.requests import Live, Read, parse_append, parse_target

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aiohttp.http_parser import RawRequestMessage

    from gateway.protocol.appends import Appended
    from gateway.web.connection import Connection
    from gateway.web.route import Routes
    from gateway.web.shared import Shared

JOINED_BYTES = 32 * 1024  # up to here copying an answer costs less than a second write
_OK = http1.status_line(200)


class Fast:
    """The short ways of a connection."""

    def __init__(self, routes: Routes, shared: Shared) -> None:
        self._routes = routes
        self._store = shared.store
        self._lines = shared.lines
        self._any_origin = shared.lines.any_origin
        self._log = shared.log
        self._clock = shared.clock
        self._limits = shared.limits
        self.answered = 0

    def _has_wishes(self, headers: Mapping[str, str]) -> bool:
        """Whether the request wants an answer that others do not."""
        return "X-Request-Id" in headers or (not self._any_origin and "Origin" in headers)

    def get(self, connection: Connection, message: RawRequestMessage) -> bool:
        """A cached answer, or a long-poll that waits at the tail."""
        headers = message.headers
        if "If-None-Match" in headers or self._has_wishes(headers):
            return False
        target = message.path
        now = self._clock()
        entry = self._store.get(target, now)
        if entry is None:
            return "live=long-poll" in target and self._park(connection, target)
        common = self._lines.shared_at(now)
        rest = entry.rest
        if len(rest) <= JOINED_BYTES:
            connection.write(b"".join((_OK, common, rest)))
        else:
            connection.write(_OK + common)
            connection.write(rest)
        self.answered += 1
        if self._log.enabled:
            self._log.line("GET", target, 200, len(rest), "hit")
        return True

    def _park(self, connection: Connection, target: str) -> bool:
        read = parse_target(target)
        if not isinstance(read, Read) or read.live is not Live.LONG_POLL or self._log.enabled:
            return False
        try:
            route, name = self._routes.find(read.path)
            hot = route.table.peek(name)
            if hot is None or hot.state is None or self._limits.readers_full:
                return False
            state = route.table.present(hot)
            if state.closed or start_position(state, read.offset) != state.tail:
                return False
            route.table.touch(hot)
            feed = route.feed(hot, state)
        except HeadgateError:
            return False
        connection.take(feed.leave)
        feed.park(connection, read)
        return True

    def post(self, connection: Connection, message: RawRequestMessage, body: bytes) -> bool:
        """An append whose whole body is here."""
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
            route, name = self._routes.find(canonical_path(target))
            append = parse_append(headers, body)
        except HeadgateError as error:
            connection.write(self._wire(error))
            return True
        connection.take(None)

        def done(outcome: Appended | HeadgateError) -> None:
            connection.answer(None, self._wire(outcome))

        route.appender.submit(name, append, done)
        return True

    def _wire(self, outcome: Appended | HeadgateError) -> bytes:
        if isinstance(outcome, HeadgateError):
            common = self._lines.own(
                request_id=self._lines.new_request_id(), origin=None, connection=None
            )
            return http1.serialize(responses.problem(outcome), common)
        return http1.serialize(responses.appended(outcome), self._lines.shared())
