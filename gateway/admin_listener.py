"""The admin listener's connections: bounds and deadlines as at the streams' listener.

The listener takes few connections at once, so that whoever opens all of them leaves nearly all of
the process's descriptors for streams.
"""

from __future__ import annotations

import resource
from typing import TYPE_CHECKING

from aiohttp import web
from aiohttp.web_protocol import RequestPayloadError

from gateway.errors import BadRequest, LimitReached
from gateway.runtime.quotas import peer_of
from gateway.telemetry.metrics import Sample, counter, gauge
from gateway.telemetry.rare_lines import RareLine
from gateway.web import request_body
from gateway.web.bounded_connection import BoundedConnection
from gateway.web.entrance import Entrance
from gateway.web.listener import ConnectionListener
from gateway.web.request_head import bad_body, check, is_last
from gateway.web.responses import HandedOver

if TYPE_CHECKING:
    import socket
    from collections.abc import Awaitable, Callable

    from aiohttp.web_request import BaseRequest

    from gateway.errors import HeadgateError
    from gateway.runtime.context import Context
    from gateway.settings import Address, Settings
    from gateway.telemetry.metrics import Snapshot

    Handle = Callable[[BaseRequest], Awaitable[web.StreamResponse]]

MOST_CONNECTIONS = 256  # 192 pages that listen for events, and the requests of their people
LEAST_CONNECTIONS = 8  # a scraper, a health check, and a browser, which opens six
SHARE = 16  # one in so many of the process's descriptors may be an admin connection
BODY_BYTES = 1024 * 1024  # the longest append by a form or the API
RECEIVING_BYTES = 16 * 1024 * 1024  # all bodies under way together

CONNECTIONS = gauge("headgate_admin_connections", "Open connections of the admin listener.")
REFUSALS = counter(
    "headgate_admin_refusals_total",
    "Connections and requests that a bound of the admin listener has turned away.",
    "limit",
)
DECLARED = (CONNECTIONS, REFUSALS)
LIMITS = (  # their names in counters and refusals
    *("max_connections", "max_client_connections", "header_timeout", "body_timeout"),
    *("min_body_rate", "head_size", "max_append", "max_pending_appends"),
)
EXPECTED = "100-continue"


def most_connections(open_files: int) -> int:
    """Return the largest number of admin connections for a process with so many descriptors."""
    if open_files == resource.RLIM_INFINITY:
        return MOST_CONNECTIONS
    return max(LEAST_CONNECTIONS, min(MOST_CONNECTIONS, open_files // SHARE))


def with_admin_bounds(settings: Settings) -> Settings:
    """Return the settings with the bounds of admin connections in place of those for streams.

    The deadlines of clients stay as they are.
    """
    return settings.but(
        max_connections=most_connections(resource.getrlimit(resource.RLIMIT_NOFILE)[0]),
        max_client_connections=0,  # half of them
        max_append=BODY_BYTES,
        max_pending_appends=RECEIVING_BYTES,
        cors_origins=(),
        write_origins=(),
        log_requests="off",
    )


class AdminBounds:
    """The bounds on clients of an admin listener, in a context of their own."""

    def __init__(self, shared: Context) -> None:
        self.shared = shared
        self.refused = RareLine("admin.request_refused")

    def log_refusal(self, reason: str, client: str | None) -> None:
        """Log a client's malformed request, at most once a second."""
        self.refused.note(reason=reason, client=client or "")

    @property
    def most_connections(self) -> int:
        """The largest number of connections that the listener has at once."""
        return self.shared.limits.max_connections

    async def body(self, request: BaseRequest) -> bytes:
        """Return a request's body. Raises HeadgateError, or ConnectionError."""
        try:
            # aiohttp has sent 100 to a client that waits for it.
            return await request_body.whole(request, self.shared, is_invited=True)
        except RequestPayloadError as error:
            raise bad_body(error) from error

    def measure(self) -> Snapshot:
        """Return the connections now, and how often each bound was hit."""
        limits = self.shared.limits
        refusals = (Sample(REFUSALS, (limit,), limits.refused[limit]) for limit in LIMITS)
        return (Sample(CONNECTIONS, (), limits.connections), *refusals)


class AdminListener:
    """The listening sockets of an admin application, and the connections that were accepted."""

    def __init__(self, application: web.Application, bounds: AdminBounds) -> None:
        application.on_response_prepare.append(_end_behind_last)
        self.shared = bounds.shared
        self.bounds = bounds
        self._runner = web.AppRunner(application)
        self._listener = ConnectionListener(self)
        self._entrance: Entrance | None = None

    async def open(self, address: Address, keepalive_s: float) -> None:
        """Begin to listen. Raises OSError."""
        await self._runner.setup()
        server = self._runner.server
        assert server is not None, "it is set up"
        server.request_handler = self._checked(server.request_handler)
        self._server, self._keepalive_s = server, keepalive_s
        self._entrance = Entrance(self.shared, lambda: server.connections)
        await self._listener.open(address.host, address.port)

    async def close(self) -> None:
        """Stop to listen, and end every connection."""
        self._listener.close()
        if self._entrance is not None:
            self._entrance.close()
        await self._runner.cleanup()
        self.bounds.refused.close()

    def _checked(self, handle: Handle) -> Handle:
        """Return a handler that refuses requests on which the application would fail."""

        async def handle_checked(request: BaseRequest) -> web.StreamResponse:
            check(request)
            expected = request.headers.get("Expect", EXPECTED)
            if expected.lower() != EXPECTED:
                raise BadRequest(f"of the expectations only {EXPECTED} is understood")
            try:
                return await handle(request)
            except ConnectionError:
                reason = "the client left before the end of its request"
                self.bounds.log_refusal(reason, request.remote)
                return HandedOver()

        return handle_checked

    def last_answer(self, _data: bytes) -> None:
        """Return None: every request takes a connection."""

    def enter(self, client: socket.socket, early: bytes, late: bytes) -> None:
        """Give an accepted socket its connection."""
        assert self._entrance is not None, "it listens"
        connection = AdminConnection(
            self._server,
            self,
            early,
            late,
            access_log=None,
            auto_decompress=False,
            keepalive_timeout=self._keepalive_s,
        )
        self._entrance.enter(connection, client)

    def tell_idle(self) -> None:
        """Do nothing: nobody waits for admin connections before they are ended."""


class AdminConnection(BoundedConnection):
    """A connection whose requests all go to the admin application."""

    __slots__ = ()
    owner: AdminListener

    def refuse(self, error: HeadgateError) -> None:
        """Answer, end the connection, and log the reason now and then."""
        if isinstance(error, LimitReached):
            # To linger would take a descriptor, which the bound is there to spare.
            self.refuse_at_once(error)
        else:
            self._log_reason(error)
            super().refuse(error)

    def refuse_at_once(self, error: HeadgateError) -> None:
        """Answer, free the connection's descriptor, and log the reason now and then."""
        self._log_reason(error)
        super().refuse_at_once(error)

    def _log_reason(self, error: HeadgateError) -> None:
        self.owner.bounds.log_refusal(error.detail, peer_of(self.transport))


async def _end_behind_last(request: BaseRequest, response: web.StreamResponse) -> None:
    """End the connection behind a request that must be its last one."""
    if is_last(request._message):
        response.headers["Connection"] = "close"
        response.force_close()
