"""The server of clients' connections to streams."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from headgate_gateway.errors import ClientLimitReached
from headgate_gateway.web.connections.connection import Connection
from headgate_gateway.web.connections.contract import Connections
from headgate_gateway.web.connections.requests import ConnectionRequests

if TYPE_CHECKING:
    from collections.abc import Collection

    from headgate_gateway.errors import HeadgateError
    from headgate_gateway.routes.services import Services
    from headgate_gateway.telemetry.traffic import Traffic
    from headgate_gateway.web.connections.contract import RequestHandlers
    from headgate_gateway.web.connections.fast_path import FastPath

LOOK_S = 0.05  # between two looks at the requests that a reload waits for


class ConnectionServer:
    """A server whose connections share handlers, fast path and limits."""

    def __init__(
        self, handlers: RequestHandlers, fast: FastPath, services: Services, keepalive_s: float
    ) -> None:
        self.handlers = handlers
        self.fast = fast
        self.services = services
        self.keepalive_s = keepalive_s
        self.is_closing = False  # True if each response is the last of its connection
        self.connections = Connections(services)

    def serve(self, handlers: RequestHandlers, fast: FastPath, keepalive_s: float) -> None:
        """Serve the next request of each connection by these, after a reload."""
        self.handlers, self.fast, self.keepalive_s = handlers, fast, keepalive_s

    def begin_close(self) -> None:
        """Let each response be the last of its connection, because the server stops."""
        self.is_closing = True

    async def requests_end(self, of: Collection[Traffic]) -> None:
        """Wait until no request is under way that counts in one of these traffics."""
        while any(  # noqa: ASYNC110 - looked at by reloads only, so that no request pays for it
            _traffic_of(it.requests) in of for it in self.connections
        ):
            await asyncio.sleep(LOOK_S)

    def requests_of(self, connection: Connection) -> ConnectionRequests:
        """Return the requests of a new connection."""
        return ConnectionRequests(connection, self)

    def on_refusal(self, error: HeadgateError, _client: str | None) -> bool:
        """Return whether to close the connection at once: one client's could crowd out others."""
        return isinstance(error, ClientLimitReached)

    def reader_lost(self, transport: asyncio.Transport) -> None:
        """Count down the connection of an SSE reader that is gone."""
        self.connections.handed_over.discard(transport)
        self.services.limits.connection_lost(self.services.quotas.connects_as(transport))

    def resume_http(self, transport: asyncio.Transport) -> None:
        """Serve HTTP again on a connection whose SSE response is over."""
        if self.is_closing or transport.is_closing():
            transport.close()
            return
        self.connections.handed_over.discard(transport)
        connection = Connection(self)
        # As after a response: the request of the SSE response was its last.
        connection.idle_since = asyncio.get_running_loop().time()
        connection.slot = (self.services.quotas.connects_as(transport),)
        transport.set_write_buffer_limits()
        transport.set_protocol(connection)
        connection.connection_made(transport)

    def stop_sweeping(self) -> None:
        """Cancel the timer, and abort the connections of SSE readers."""
        self.connections.stop_sweeping()
        for transport in tuple(self.connections.handed_over):
            transport.abort()


def _traffic_of(requests: ConnectionRequests) -> Traffic | None:
    """Return the counts of the route whose request is under way on a connection."""
    if requests.asks:
        traffic: Traffic = requests.asks[0].plan.route.traffic
        return traffic
    exchange = None if requests.request is None else requests.request.exchange
    return None if exchange is None else exchange.traffic
