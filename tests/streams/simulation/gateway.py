"""A whole gateway in this process, but for its sockets: to Redis, and to its clients."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, TypeVar

from headgate.redis_url import parse_redis
from headgate_gateway import app
from headgate_gateway.logs.redis.connection import RedisConnection, Unreachable
from headgate_gateway.logs.redis.connector import RedisConnector, RedisSettings
from headgate_gateway.logs.redis.log import RedisLog
from headgate_gateway.routes.router import Router
from headgate_gateway.settings import Route
from headgate_gateway.web.asks.plans import Plans
from headgate_gateway.web.connections.connection import Connection
from headgate_gateway.web.connections.fast_path import FastPath
from headgate_gateway.web.connections.server import ConnectionServer
from tests.streams.simulation.link import Link
from tests.support.http1 import Client
from tests.support.serving import PREFIX, Options, hosted_route, settings_of

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from headgate_gateway.logs.redis.connector import Address
    from tests.streams.simulation.redis import Redis

T = TypeVar("T")

NO_SOCKET = -1  # a descriptor of which nothing can be asked, not even what is on its way

SETTINGS = RedisSettings(parse_redis("redis://simulated"))
HEARTBEAT_S = 4.0
PATIENCE_S = 90.0  # longer than everything together that a request may wait for


class _Connector(RedisConnector):
    def __init__(self, redis: Redis) -> None:
        super().__init__(SETTINGS)
        self._redis = redis

    async def connect(self, _: Address) -> RedisConnection:
        chance = self._redis.chance
        await asyncio.sleep(chance.uniform(0, 2) if chance.one_in(4) else chance.latency_s())
        if not self._redis.is_up:
            raise Unreachable("connection refused")
        connection, link = RedisConnection(), Link(self._redis)
        connection.connection_made(link)
        link.set_protocol(connection)
        return connection


class _Log(RedisLog):
    """Its streams' ids are the same in each run."""

    def __init__(self, redis: Redis) -> None:
        super().__init__(SETTINGS, _Connector(redis))
        self.documents = None  # the simulated Redis has no subscriptions
        self._chance = redis.chance

    def new_stream_id(self) -> int:
        return self._chance.getrandbits(62)


class Gateway:
    """One process."""

    def __init__(self, redis: Redis, clock: Callable[[], float], retention: int) -> None:
        options = Options(
            long_poll_timeout=redis.chance.choice((0.5, 5.0)),
            heartbeat=HEARTBEAT_S,
            sse_max_age=redis.chance.choice((8.0, 80.0)),
            max_connections=1000,
            max_live_readers=1000,
            cache_size=1 << 20,
            header_timeout=60.0,
            body_timeout=60.0,
            min_body_rate=1,
            keepalive_timeout=600.0,
        )
        settings = settings_of(options)
        self.redis = redis
        self.log = _Log(redis)
        self.services = app.make_services(settings, clock)
        route = Route(prefix=PREFIX, storage=str(SETTINGS.origin), retention_size=retention)
        self.route = hosted_route(settings, route, self.log, self.services)
        plans = Plans(Router([self.route]))
        fast = FastPath(plans, self.services)
        self.server = ConnectionServer(
            app.handlers_of(plans, self.services),
            fast,
            self.services,
            settings.http.keepalive_timeout,
        )
        self.pipes: dict[Pipe, None] = {}

    async def start(self) -> None:
        """As `headgate_gateway.app` does."""
        await self.route.open()

    async def stop(self) -> None:
        """The same backwards."""
        self.server.stop_sweeping()
        await self.server.connections.close(1.0)
        await self.route.close()

    def connect(self) -> PatientClient:
        """A client."""
        return PatientClient(Pipe(self))

    def leftovers(self) -> list[str]:
        """What is not as it was in the beginning, although nobody is there any more."""
        route, limits = self.route, self.services.limits
        counts = {
            "appends": route.writes.outcomes.pending,
            "bytes of appends": route.writes.outcomes.pending_bytes,
            "live readers": limits.live_readers,
            "connections": limits.connections,
            "feeds": len(route.feeds._feeds),
            "reads": len(route.table.reads.under_way) + len(route.reads.answers.under_way),
            "reads of events": len(route.feeds.source._event_reads.under_way),
            "streams to look at": len(route.table.loader._outdated)
            + len(route.table.loader._failed),
            "followed streams": self.log.numbers()["followed"],
            "streams in use": sum(not active.idle for active in route.table._streams.values()),
        }
        return [f"{count} {what} are left" for what, count in counts.items() if count]


class PatientClient(Client):
    """Waits for what may take long, but not for ever."""

    def __init__(self, pipe: Pipe) -> None:
        super().__init__(pipe.reader, pipe)  # type: ignore[arg-type] # it is written to by `send`
        self.pipe = pipe

    def send(self, data: bytes) -> None:
        self.pipe.receive(data)

    def close(self) -> None:
        self.pipe.abort()

    @staticmethod
    async def _within(waiting: Coroutine[None, None, T]) -> T:
        async with asyncio.timeout(PATIENCE_S):
            return await waiting


class Pipe(asyncio.Transport):
    """A client's connection, seen from the gateway; `slow` ones are full after a few bytes."""

    def __init__(self, gateway: Gateway) -> None:
        super().__init__({"descriptor": NO_SOCKET})
        self._loop = asyncio.get_running_loop()
        self._gateway = gateway
        gateway.pipes[self] = None
        self.reader = asyncio.StreamReader()
        self._held: list[bytes] | None = None
        self._is_closing = False
        self._protocol: Any = Connection(gateway.server)
        self._protocol.connection_made(self)

    # The client's side

    def receive(self, data: bytes) -> None:
        self._loop.call_soon(self._receive, data)

    def _receive(self, data: bytes) -> None:
        if not self._is_closing:
            self._protocol.data_received(data)

    def hold(self) -> None:
        """Take nothing for a while."""
        if self._held is None and not self._is_closing:
            self._held = []
            self._protocol.pause_writing()

    def let_go(self) -> None:
        """Take what has come meanwhile."""
        held, self._held = self._held, None
        if held is not None and not self._is_closing:
            self.reader.feed_data(b"".join(held))
            self._protocol.resume_writing()

    # The gateway's side

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if self._is_closing:
            return
        if self._held is not None:
            self._held.append(bytes(data))
        else:
            self.reader.feed_data(bytes(data))

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self._protocol = protocol

    def get_protocol(self) -> asyncio.BaseProtocol:
        protocol: asyncio.BaseProtocol = self._protocol
        return protocol

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        pass

    def get_write_buffer_size(self) -> int:
        return sum(map(len, self._held or ()))

    def is_closing(self) -> bool:
        return self._is_closing

    def pause_reading(self) -> None:
        pass

    def resume_reading(self) -> None:
        pass

    def close(self) -> None:
        self.abort()

    def abort(self) -> None:
        if not self._is_closing:
            self._is_closing = True
            self._gateway.pipes.pop(self, None)
            self.reader.feed_eof()
            self._loop.call_soon(self._protocol_lost)

    def _protocol_lost(self) -> None:
        self._protocol.connection_lost(None)
