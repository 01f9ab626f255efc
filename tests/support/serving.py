"""A gateway in this process, put together by `headgate_gateway.app`, and clients on raw sockets."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

from headgate_gateway import app
from headgate_gateway.access.authorities import Authorities
from headgate_gateway.access.contract import OPEN
from headgate_gateway.edge.route import EdgeRoute
from headgate_gateway.features.composition import set_features
from headgate_gateway.features.inspector import Inspector
from headgate_gateway.logs.memory import MemoryLog
from headgate_gateway.protocol.cache_headers import Freshness
from headgate_gateway.routes.router import Router
from headgate_gateway.routes.services import Timeouts
from headgate_gateway.routes.setup import RouteSetup
from headgate_gateway.settings import Route, Settings
from headgate_gateway.streams.route import HostedRoute
from headgate_gateway.web.asks.plans import Plans
from headgate_gateway.web.connections.connection import Connection
from headgate_gateway.web.connections.fast_path import FastPath
from headgate_gateway.web.connections.requests import ConnectionRequests
from headgate_gateway.web.connections.server import ConnectionServer
from headgate_gateway.web.handlers.dispatch import Handlers
from tests.support.given_settings import PLACES, sections
from tests.support.http1 import Answer, Client
from tests.support.manual_clock import ManualClock
from tests.support.waiting import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence

    import pytest

    from headgate_gateway.access.contract import RouteAccess
    from headgate_gateway.edge.followed.feed_source import EdgeFeedSource
    from headgate_gateway.logs.contract import Log
    from headgate_gateway.routes.services import Services
    from headgate_gateway.settings import RequestLevel
    from headgate_gateway.store import Store
    from headgate_gateway.streams.feeds import HostedFeedSource
    from headgate_gateway.streams.reads import RenderedChunk
    from headgate_gateway.telemetry.spans import Tracer
    from headgate_gateway.web.handlers.edge_handlers import EdgeHandlers
    from headgate_gateway.web.handlers.passed_appends import PassedAppends
    from headgate_gateway.web.requests.request import Request
    from tests.support.raw_origin import RawOrigin

PREFIX = "/v1/stream"
EDGE = "/edge"  # the prefix of the route to an HTTP origin
VIA = "1.1 headgate-test"
DEFAULTS = Settings()  # which are never changed: to make them takes a millisecond


class Options(NamedTuple):
    """What an operator can choose, as far as these tests do."""

    long_poll_timeout: float = 30.0
    heartbeat: float = 30.0
    sse_max_age: float = 60.0
    max_connections: int = 100
    max_client_connections: int = 0  # as many as in all
    max_client_appends: int = 0
    max_client_creations: int = 0
    trusted_proxies: Sequence[str] = ()
    hosts: Sequence[str] = ()
    max_loop_lag: float = 0.0
    max_live_readers: int = 100
    max_feeds: int = 100
    max_append: int = 1 << 20
    max_pending_appends: int = 4 << 20
    cache_size: int = 16 << 20
    header_timeout: float = 10.0
    body_timeout: float = 10.0
    min_body_rate: int = 100
    keepalive_timeout: float = 60.0
    cors_origins: Sequence[str] = ("*",)
    write_origins: Sequence[str] = ()
    freshness: Freshness = Freshness()
    tracer: Tracer | None = None
    log_requests: RequestLevel = "off"
    own: Mapping[str, object] | None = None  # more settings of the route to the own log
    tokens_file: str = ""
    keys_file: str = ""


def settings_of(options: Options) -> Settings:
    """As they are, also where an operator could not choose so."""
    given = {name: it for name, it in options._asdict().items() if name in PLACES}
    given |= {"sse_heartbeat": options.heartbeat, "http_hosts": options.hosts}
    for name in ("trusted_proxies", "http_hosts", "cors_origins", "write_origins"):
        given[name] = tuple(given[name])
    return DEFAULTS.but(**sections(given))


def hosted_route(
    settings: Settings, route: Route, log: Log, services: Services, access: RouteAccess = OPEN
) -> HostedRoute:
    """Return a route to this log, with its features."""
    setup = RouteSetup(settings, route, services, access)
    made = HostedRoute(setup, log)
    set_features(made, setup)
    return made


def edge_route(
    settings: Settings, route: Route, services: Services, access: RouteAccess = OPEN
) -> EdgeRoute:
    """Return the route to an HTTP origin that these settings describe."""
    made = app.route_of(settings, route, services, access)
    assert isinstance(made, EdgeRoute)
    return made


class Serving:
    """A running gateway with its parts in sight."""

    def __init__(self, options: Options, log: Log, edge: Route | None = None) -> None:
        self.options = options
        self.log = log
        self.clock = ManualClock()
        self.elapsed = ManualClock()  # of which limits by time make room
        settings = settings_of(options)
        self._settings = settings
        services = app.make_services(settings, self.clock, self.elapsed, tracer=options.tracer)
        timeouts = Timeouts(options.body_timeout, options.header_timeout, options.min_body_rate)
        self.services = replace(services, via=VIA, timeouts=timeouts)
        self.limits = self.services.limits
        most = options.max_client_connections or options.max_connections
        self.limits.max_client_connections = most
        self.store: Store[RenderedChunk] = self.services.store
        freshness = options.freshness
        usual = {
            "prefix": PREFIX,
            "storage": "memory:",
            "chunk_max_age": freshness.chunk_max_age,
            "stale_while_revalidate": freshness.stale_while_revalidate,
            "tail_max_age": freshness.tail_max_age,
        }
        own = Route(**{**usual, **(options.own or {})})
        self.authorities = Authorities(settings, self.clock)
        self.route = hosted_route(settings, own, log, self.services, self._access(own))
        self.edges: list[EdgeRoute] = []
        if edge is not None:
            self.edges = [edge_route(settings, edge, self.services, self._access(edge))]
        self.routes = Router([self.route, *self.edges])
        self.plans = Plans(self.routes)
        self.inspector = Inspector(self.routes, self.services, self.authorities)
        self.fast = FastPath(self.plans, self.services)
        self.server = ConnectionServer(
            app.handlers_of(self.plans, self.services),
            self.fast,
            self.services,
            settings.http.keepalive_timeout,
        )
        self.port = 0
        self._sockets: asyncio.Server | None = None
        self._clients: list[Client] = []

    def _access(self, route: Route) -> RouteAccess:
        return app.access_of(self._settings, route, self.authorities, self.services)

    async def start(self) -> None:
        """Open the log and the origin, and listen."""
        await self.log.open()
        for edge in self.edges:
            await edge.open()
        loop = asyncio.get_running_loop()
        self._sockets = await loop.create_server(
            lambda: Connection(self.server), "127.0.0.1", 0, backlog=128
        )
        self.port = self._sockets.sockets[0].getsockname()[1]

    async def connect(self, *, receive_buffer: int = 1 << 16) -> Client:
        """A new connection."""
        client = await Client.connect(self.port, receive_buffer=receive_buffer)
        self._clients.append(client)
        return client

    async def ask(self, data: bytes) -> Answer:
        """One request on a connection of its own."""
        client = await self.connect()
        answer = await client.ask(data)
        client.close()
        return answer

    def polls_wait(self, seconds: float) -> None:
        """How long the polls wait that park from now on."""
        sources: list[HostedFeedSource | EdgeFeedSource] = [
            self.route.feeds.source,
            *(edge.feeds.source for edge in self.edges),
        ]
        for source in sources:
            source.settings.long_poll_timeout = seconds

    @property
    def url(self) -> str:
        """The URL of the route to the log, for a gateway in front."""
        return f"http://127.0.0.1:{self.port}{PREFIX}"

    @property
    def edge(self) -> EdgeRoute:
        """The route to the HTTP origin."""
        return self.edges[0]

    def watch_handlers(self) -> list[Request]:
        """Return a list that gets each request that has a handler from now on."""
        handled: list[Request] = []
        handlers = self.server.handlers
        handle = handlers.handle

        def watched(request: Request) -> object:
            handled.append(request)
            return handle(request)

        vars(handlers)["handle"] = watched
        return handled

    async def stop(self) -> None:
        """Let the clients go, then everything else."""
        for client in self._clients:
            client.abort()
        await until(lambda: self.limits.connections == 0)
        for edge in self.edges:
            await edge.drain()
        self.server.stop_sweeping()
        if self._sockets is not None:
            self._sockets.close()
        await self.server.connections.close(1.0)
        for edge in self.edges:
            await edge.close()
        await self.log.close()


@contextlib.asynccontextmanager
async def serving(log: Log | None = None, **options: object) -> AsyncIterator[Serving]:
    """A gateway that is stopped when the block ends."""
    gateway = Serving(Options(**options), log or MemoryLog())  # type: ignore[arg-type] # checked there
    await gateway.start()
    try:
        yield gateway
    finally:
        await gateway.stop()


@contextlib.asynccontextmanager
async def serving_with(
    creation: bytes, log: Log | None = None, **options: object
) -> AsyncIterator[Serving]:
    """A gateway that has created a stream."""
    async with serving(log, **options) as gateway:
        assert (await gateway.ask(creation)).status in {200, 201}
        yield gateway


@contextlib.asynccontextmanager
async def edge_serving(
    server: RawOrigin | Serving | str, route: Mapping[str, object] | None = None, **options: object
) -> AsyncIterator[Serving]:
    """A gateway with a log of its own, and a server behind EDGE; `route` has more settings."""
    url = server if isinstance(server, str) else server.url
    edge = Route(**{"prefix": EDGE, "origin": url, **(route or {})})
    gateway = Serving(Options(**options), MemoryLog(), edge)  # type: ignore[arg-type] # checked there
    await gateway.start()
    try:
        yield gateway
    finally:
        await gateway.stop()


def request(
    method: str, target: str, *lines: str, body: bytes = b"", version: str = "1.1"
) -> bytes:
    """A request's bytes; the target is a stream's name and query unless it has a slash."""
    if "/" not in target:
        target = f"{PREFIX}/{target}"
    length = [f"Content-Length: {len(body)}"] if body or method in {"POST", "PUT"} else []
    head = [f"{method} {target} HTTP/{version}", "Host: headgate.test", *length, *lines, "", ""]
    return "\r\n".join(head).encode("latin-1") + body


def put(name: str, *lines: str, body: bytes = b"", content_type: str = "text/plain") -> bytes:
    """A creation."""
    return request("PUT", name, f"Content-Type: {content_type}", *lines, body=body)


def post(name: str, body: bytes, *lines: str, content_type: str = "text/plain") -> bytes:
    """An append."""
    return request("POST", name, f"Content-Type: {content_type}", *lines, body=body)


def get(target: str, *lines: str) -> bytes:
    """A read."""
    return request("GET", target, *lines)


def noted(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """What is parsed, in all connections."""
    parsed: list[bytes] = []
    parse = ConnectionRequests._parse

    def noting(self: ConnectionRequests, data: bytes) -> None:
        parsed.append(data)
        parse(self, data)

    monkeypatch.setattr(ConnectionRequests, "_parse", noting)
    return parsed


def offset(position: int, generation: int = 0) -> str:
    """An offset's text."""
    return f"{generation:016d}_{position:016d}"


def handlers_of(gateway: Serving) -> Handlers:
    """Return what handles all requests."""
    handlers = gateway.server.handlers
    assert isinstance(handlers, Handlers)
    return handlers


def edge_handlers_of(gateway: Serving) -> EdgeHandlers:
    """Return what handles the requests below the route to the origin."""
    handlers: Any = handlers_of(gateway)
    handlers_of_edges: EdgeHandlers = handlers._operations[EdgeRoute]
    return handlers_of_edges


def passed_appends_of(gateway: Serving) -> PassedAppends:
    """Return the appends of the route to the origin that go by plans."""
    return edge_handlers_of(gateway).passed_appends[gateway.edge]
