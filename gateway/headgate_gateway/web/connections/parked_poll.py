"""A long-poll that waits at the tail on its connection, without a task."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import msgspec
from aiohttp import hdrs

from headgate_gateway.access.principal import Principal
from headgate_gateway.live.contract import ReaderClient
from headgate_gateway.routes.contract import PlainGet
from headgate_gateway.runtime.loudest import OTHERS, SENT
from headgate_gateway.telemetry.access_log import LONGEST_SHOWN
from headgate_gateway.telemetry.logs import as_utf8
from headgate_gateway.telemetry.traffic import Polls
from headgate_gateway.web.connections.connection_state import IDLE, TAKEN
from headgate_gateway.web.requests.request import ClientConnection

if TYPE_CHECKING:
    from multidict import MultiMapping

    from headgate_gateway.live.contract import PollAnswer


class ParkedPoll(msgspec.Struct, gc=False, eq=False):
    """A long-poll as the feed sees it: a `ParkableConnection`."""

    connection: ClientConnection
    principal: Principal | None  # as the route's guard has admitted it
    get: PlainGet
    on_lost: Callable[[Any], object] | None = None
    counted: Polls | None = None

    @property
    def client(self) -> ReaderClient:
        """The client that reads."""
        return reader_client(self.connection, self.get.headers, self.get.path)

    def write(self, wire: bytes, size: int) -> None:
        """Write a response that was ready at once, with a body of `size` bytes."""
        services = self.connection.services
        services.count_sent(self.client, self.principal, size, requests=1)
        if self.principal is not None:
            self.principal.use.count(size)
        transport = self.connection.wire.transport
        if transport is not None:
            transport.write(wire)

    def defer(self, on_lost: Callable[[Any], object], counted: Polls) -> None:
        """Wait for the response; `on_lost` is called if the client disconnects first."""
        connection = self.connection
        assert connection.wire.state is IDLE, connection.wire.state.name
        connection.wire.state, connection.wire.deadline = TAKEN, None
        connection.poll, self.on_lost, self.counted = self, on_lost, counted

    def answer(self, answer: PollAnswer) -> None:
        """Write the response, and go on with the client's next request."""
        connection, counted = self.connection, self.counted
        if counted is not None:
            answer.uncounted_resumes[counted.resume_kind] += 1
        size, services = len(answer.response.body), connection.services
        if self.principal is not None:
            self.principal.use.count(size)
        counts = services.loudest.counted[connection.wire.peer, self.get, self.get.path]
        counts[OTHERS] += 1
        counts[SENT] += size
        connection.poll = None
        transport = connection.wire.transport
        if transport is not None:
            transport.write(answer.wire)
            connection.resume()

    def abandon(self) -> None:
        """End the connection: the client has to send its request again."""
        self.connection.wire.force_close()

    def on_disconnect(self) -> None:
        """Leave the feed, and count the poll as cut: the client is gone."""
        if self.on_lost is not None:
            self.on_lost(self)
        if self.counted is not None:
            self.counted.cut()


def reader_client(
    connection: ClientConnection, headers: MultiMapping[str], path: str
) -> ReaderClient:
    """Return the client of a live read at a path, by the fields of its request."""
    wire, quotas = connection.wire, connection.services.quotas
    agent = headers.get(hdrs.USER_AGENT)
    # Thousands of readers have the same few.
    shown = None if agent is None else sys.intern(as_utf8(agent, LONGEST_SHOWN))
    address = quotas.client_address(wire.transport, headers)
    return ReaderClient(wire.number, sys.intern(path), address, shown)
