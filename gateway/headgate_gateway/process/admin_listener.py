"""The listener for the console, the admin API and the metrics, with limits like those for streams.

`process.listening` opens it with the aiohttp application that serves its requests. It accepts few
connections at once: a client that opens them all leaves nearly all of the process's descriptors
for streams.
"""

from __future__ import annotations

import asyncio
import resource
from typing import TYPE_CHECKING, Any, cast

from aiohttp import web
from aiohttp.http import StreamWriter
from aiohttp.web import RequestPayloadError
from typing_extensions import override

from headgate_gateway.errors import BadRequest, ClientLimitReached, HeadgateError, LimitReached
from headgate_gateway.open_files import admin_connections
from headgate_gateway.protocol.responses import problem_document
from headgate_gateway.runtime.quotas import peer_of
from headgate_gateway.stepped import in_task
from headgate_gateway.telemetry.logs import log
from headgate_gateway.telemetry.metrics import Sample, counter, gauge
from headgate_gateway.telemetry.rare_lines import RareLine
from headgate_gateway.web.connections.contract import Connections
from headgate_gateway.web.connections.listener import ConnectionListener
from headgate_gateway.web.connections.requests import ConnectionRequests
from headgate_gateway.web.requests import request_body
from headgate_gateway.web.requests.request_head import (
    LONGEST_LINE,
    MOST_HEADER_LINES,
    bad_body,
    check,
)
from headgate_gateway.web.requests.responses import WireResponse

if TYPE_CHECKING:
    import socket
    from collections.abc import Awaitable, Callable, Iterable, Sequence

    from headgate_gateway.routes.services import Services
    from headgate_gateway.settings import Address, Settings
    from headgate_gateway.telemetry.health import HealthNote
    from headgate_gateway.telemetry.metrics import Snapshot
    from headgate_gateway.tls.handshakes import Handshakes
    from headgate_gateway.web.connections.connection import Connection
    from headgate_gateway.web.requests.request import Request

    Handle = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]

BODY_BYTES = 1024 * 1024  # the longest append by a form or the API
RECEIVING_BYTES = 16 * 1024 * 1024  # all bodies under way together

CONNECTIONS = gauge("headgate_admin_connections", "Open connections of the admin listener.")
REFUSALS = counter(
    "headgate_admin_refusals_total",
    "Connections and requests that a limit of the admin listener has refused.",
    "limit",
)
LIMITS = (  # values of the label `limit`
    *("max_connections", "max_client_connections", "header_timeout", "body_timeout"),
    *("min_body_rate", "head_size", "max_append", "max_pending_appends"),
)
EXPECTED = "100-continue"
CLOSE_S = 2.0  # for requests under way when the server ends, most of which have ended by then


def with_admin_bounds(settings: Settings) -> Settings:
    """Return the settings with the bounds of admin connections in place of those for streams.

    The deadlines of clients stay as they are.
    """
    return settings.but(
        limits={
            "max_connections": admin_connections(resource.getrlimit(resource.RLIMIT_NOFILE)[0]),
            "max_append": BODY_BYTES,
            "max_pending_appends": RECEIVING_BYTES,
        },
        http={"cors_origins": (), "write_origins": ()},
        log={"requests": "off"},
    )


class AdminBounds:
    """The bounds on clients of an admin listener, in a context of their own."""

    def __init__(self, services: Services, handshakes: Handshakes | None = None) -> None:
        self.services = services
        self.handshakes = handshakes
        self.refused = RareLine("admin.request_refused")

    def log_refusal(self, reason: str, client: str | None) -> None:
        """Log a client's malformed request, at most once a second."""
        self.refused.note(reason=reason, client=client or "")

    @property
    def most_connections(self) -> int:
        """The largest number of connections that the listener has at once."""
        return self.services.limits.max_connections

    async def body(self, request: web.BaseRequest) -> bytes:
        """Return a request's body. Raises HeadgateError, or ConnectionError."""
        try:
            # aiohttp has sent 100 to a client that waits for it.
            return await request_body.whole(_of(request), self.services, is_invited=True)
        except RequestPayloadError as error:
            raise bad_body(error) from error

    def measure(self) -> Snapshot:
        """Return the connections now, and how often each bound was hit."""
        limits = self.services.limits
        refusals = (Sample(REFUSALS, (limit,), limits.refused[limit]) for limit in LIMITS)
        tls = () if self.handshakes is None else self.handshakes.samples()
        return (Sample(CONNECTIONS, (), limits.connections), *refusals, *tls)

    def notes(self) -> Iterable[HealthNote]:
        """Return what is wrong with the listener's certificate, or that nothing is."""
        return () if self.handshakes is None else self.handshakes.notes()


class AdminListener:
    """The listening sockets of an admin application, and the connections that were accepted."""

    def __init__(
        self, application: web.Application, bounds: AdminBounds, keepalive_s: float
    ) -> None:
        application.on_response_prepare.append(_note_response)
        self.services = bounds.services
        self.bounds = bounds
        self.handlers = self
        self.keepalive_s = keepalive_s
        self.is_closing = False  # it is closed without a drain
        self.connections = Connections(self.services)
        self.fast = None
        self._runner = web.AppRunner(application)
        self._listener = ConnectionListener(self, bounds.handshakes)

    async def open(self, address: Address, inherited: Sequence[socket.socket] = ()) -> None:
        """Start listening, at `inherited` sockets if there are any. Raises OSError."""
        await self._runner.setup()
        if inherited:
            self._listener.adopt(inherited)
        else:
            await self._listener.open(address.host, address.port)

    async def close(self) -> None:
        """Stop listening, and close every connection."""
        self._listener.close()
        self.connections.stop_sweeping()
        await self._runner.shutdown()
        await self.connections.close(CLOSE_S)
        await self._runner.cleanup()
        self.bounds.refused.close()

    async def handle(self, request: Request) -> WireResponse:
        """Return the application's reply. Raises HeadgateError, or ConnectionError."""
        check(request)
        if len(request.headers.getall("Authorization", ())) > 1:
            raise BadRequest("Authorization is given more than once")
        expected = request.headers.get("Expect", EXPECTED)
        if expected.lower() != EXPECTED:
            raise BadRequest(f"of the expectations only {EXPECTED} is understood")
        await in_task()
        converted, handle = self._application_request(request)
        try:
            return ApplicationReply(converted, await handle(converted))
        except web.HTTPException as answer:
            return ApplicationReply(converted, answer)
        except ConnectionError:
            reason = "the client left before the end of its request"
            self.bounds.log_refusal(reason, peer_of(request.transport))
            raise
        except HeadgateError:
            raise
        except Exception:  # noqa: BLE001 - whatever it is, the client gets an answer
            log.exception("admin.request_failed", method=request.method)
            return ApplicationReply(converted, _fault())

    def answer(self, _: Request, reply: WireResponse) -> WireResponse:
        """Return the reply that `handle` has made."""
        return reply

    def refuse(self, _: Request, _error: BaseException) -> None:
        """Return None: the connection itself answers if `handle` raises."""

    def _application_request(self, request: Request) -> tuple[web.BaseRequest, Handle]:
        """Return aiohttp's form of a request, and the application's handler for it."""
        server, loop = self._runner.server, asyncio.get_running_loop()
        assert server is not None, "it listens"
        # aiohttp's types say RequestHandler, of which a request needs what ApplicationProtocol has.
        protocol: Any = ApplicationProtocol(request)
        make: Any = server.request_factory
        writer, task = StreamWriter(protocol.connection, loop), asyncio.current_task()
        converted: web.BaseRequest = make(request.message, request.body, protocol, writer, task)
        return converted, server.request_handler

    def requests_of(self, connection: Connection) -> ConnectionRequests:
        """Return the requests of a new connection."""
        return ConnectionRequests(connection, self)

    def on_refusal(self, error: HeadgateError, client: str | None) -> bool:
        """Log the reason now and then; return whether a limit refuses the connection.

        Lingering would keep a descriptor, which the limit is there to save.
        """
        self.bounds.log_refusal(error.detail, client)
        return isinstance(error, LimitReached | ClientLimitReached)


class ApplicationProtocol:
    """A request's connection, with the names that aiohttp's request reads from its protocol."""

    max_field_size = LONGEST_LINE
    max_headers = MOST_HEADER_LINES

    def __init__(self, request: Request) -> None:
        self.request = request
        self.connection: Any = request.connection.wire
        transport = request.transport
        self.ssl_context, self.peername, self.sockname = (
            None if transport is None else transport.get_extra_info(name)
            for name in ("sslcontext", "peername", "sockname")
        )

    @property
    def transport(self) -> asyncio.Transport | None:
        """The client's transport, or None once the client is gone."""
        return self.request.transport


class ApplicationReply(WireResponse):
    """A response of the admin application, which writes itself."""

    def __init__(self, request: web.BaseRequest, response: web.StreamResponse) -> None:
        super().__init__(response.status, (), keep_alive=False)
        self._request = request
        self._response = response

    @override
    def write(self, _client: object) -> bool:
        """Return False: all is written by `send_rest`."""
        return False

    @override
    async def send_rest(self, _client: object) -> None:
        """Write the response. Raises ConnectionError."""
        await self._response.prepare(self._request)
        await self._response.write_eof()
        self.keep_alive = bool(self._response.keep_alive)


def _fault() -> web.Response:
    """Return the answer where the application has none."""
    body = problem_document(500, "internal_error", "the log tells what went wrong")
    return web.Response(status=500, body=body, content_type="application/problem+json")


def _of(request: web.BaseRequest) -> Request:
    """Return the request from which `request` was converted for aiohttp."""
    return cast("ApplicationProtocol", request.protocol).request


async def _note_response(request: web.BaseRequest, response: web.StreamResponse) -> None:
    """Close the connection after its last request, and at a FIN while events are sent.

    Raises ConnectionResetError if the client of events has sent one already.
    """
    if response.content_type == "text/event-stream":
        _of(request).end_with_fin()
    if _of(request).is_last:
        response.headers["Connection"] = "close"
        response.force_close()
