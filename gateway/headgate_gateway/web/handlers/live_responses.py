"""Answer live reads: wait for a long-poll's answer, or hand an SSE connection over."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING

from headgate_gateway.errors import OriginBroken, ServerStopping
from headgate_gateway.live.long_polls import UNREADABLE
from headgate_gateway.live.sse_readers import SseReader
from headgate_gateway.protocol import http1
from headgate_gateway.protocol.http import cache_status
from headgate_gateway.protocol.streams.offsets import cursor_floor
from headgate_gateway.routes.answers import RouteAnswer
from headgate_gateway.telemetry import tracing
from headgate_gateway.web.connections.parked_poll import reader_client
from headgate_gateway.web.connections.requests import ConnectionRequests
from headgate_gateway.web.connections.server import ConnectionServer
from headgate_gateway.web.requests.request import exchange_of

if TYPE_CHECKING:
    from headgate_gateway.live.contract import PollAnswer, ReaderClient
    from headgate_gateway.live.feed import Join
    from headgate_gateway.protocol.requests import Events, LongPoll
    from headgate_gateway.protocol.responses import Response
    from headgate_gateway.routes.services import Services
    from headgate_gateway.telemetry.traffic import Ended
    from headgate_gateway.web.requests.request import Request


class _Poll:
    """A long-poll whose answer a task waits for."""

    def __init__(self, request: Request) -> None:
        self.principal = exchange_of(request).principal
        self._request = request
        self.answered: asyncio.Future[Response] = asyncio.get_running_loop().create_future()
        self.has_left = False  # True once the feed has removed it
        self.ended: Ended = "answered"

    @property
    def client(self) -> ReaderClient:
        """The client that has sent the poll."""
        request = self._request
        return reader_client(request.connection, request.headers, exchange_of(request).path)

    def answer(self, answer: PollAnswer) -> None:
        """Let `poll` return the answer."""
        self.has_left = True
        self.ended = answer.ended
        if not self.answered.done():
            self.answered.set_result(answer.response)

    def abandon(self) -> None:
        """Let `poll` raise OriginBroken, because the feed has no answer."""
        self.has_left = True
        if not self.answered.done():
            self.answered.set_exception(OriginBroken(UNREADABLE))


async def poll(request: Request, join: Join, read: LongPoll, position: str) -> RouteAnswer:
    """Park a long-poll at `position`, and return its answer once there is one."""
    exchange = exchange_of(request)
    waiter = _Poll(request)
    exchange.note_wait()  # even if the client disconnects
    feed = join()
    try:
        feed.long_polls.park(waiter, read, position)
        tracing.waits()
        response = await waiter.answered
        exchange.note_wait(waiter.ended)
        return RouteAnswer.of(response, cache_status.COLLAPSED)
    finally:
        ended: Ended = "client" if request.transport is None else "timeout"
        if not waiter.has_left and not feed.remove(waiter, ended):
            feed.release_reader()


def check_open(request: Request) -> None:
    """Raise ServerStopping if the server stops: no new wait begins."""
    if request.connection.owner.is_closing:
        raise ServerStopping("the server is stopping: connect again")


def stream_events(
    request: Request,
    services: Services,
    join: Join,
    head: Response,
    read: Events,
    start: str,
) -> None:
    """Write the head of an SSE response, then hand the connection to the feed."""
    exchange = exchange_of(request)
    exchange.note_wait()
    transport = request.transport
    if transport is None:
        raise ConnectionResetError("the client is gone")
    requests = request.connection
    assert isinstance(requests, ConnectionRequests), "only a ConnectionServer calls the handlers"
    server = requests.owner
    assert isinstance(server, ConnectionServer), "as above"
    sent_head = _sent_head(request, services, head, has_more=requests.has_more)
    cursor = cursor_floor(services.clock(), read.cursor, f"{read.path}:{start}")
    client, log = reader_client(requests, request.headers, exchange.path), services.log
    client = client._replace(accepts_trailers=http1.accepts_trailers(request.headers))
    feed = join()
    reader = None
    try:
        reader = SseReader(
            transport,
            feed.sse_readers,
            start,
            cursor,
            chunked=request.version.minor > 0,
            on_lost=server.reader_lost,
            resume_http=server.resume_http,
            client=client,
            on_end=partial(exchange.write_line, log, 200) if log.enabled else None,
        )
        transport.write(sent_head)
        exchange.start_events()
        reader.principal, reader.start = exchange.principal, head.facts.start
        reader.paused = requests.wire.writing_paused  # the client is behind already
        if requests.has_more or request.is_last:
            reader.data_received(b"")  # marks the connection to end with the response
        requests.wire.hand_over(reader)
        feed.join(reader)
    except BaseException:
        transport.abort()  # the head is sent: an error can no longer have a status
        if reader is None or reader not in feed.sse_readers:
            feed.release_reader()  # otherwise it leaves when its connection is lost
        raise


def _sent_head(request: Request, services: Services, head: Response, *, has_more: bool) -> bytes:
    """Return the head of an SSE response. If the client `has_more`, that is lost.

    Then the connection ends with this response.
    """
    lines = services.lines
    common = lines.own(
        request_id=exchange_of(request).client_request_id,
        origin=request.headers.get("Origin"),
        connection="close" if has_more else None,
        cors=not head.facts.has_cors,
    )
    chunked = request.version.minor > 0
    common += cache_status.COLLAPSED.lines
    return http1.stream_head(head, common, chunked=chunked, varies=lines.varies)
