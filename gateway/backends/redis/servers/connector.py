"""Opens connections to Redis: as whom, how encrypted, and with our functions on the server."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any, NamedTuple

from redis import exceptions
from redis.asyncio.connection import UnixDomainSocketConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from gateway import trust
from gateway.backends.redis.names import HISTORY_LIBRARY, LIBRARY, VERSION
from gateway.backends.redis.servers.failures import lacks_functions, translated
from gateway.backends.redis.servers.pipeline import Unreachable
from gateway.backends.redis.servers.sentinels import connection_to, primary_of
from gateway.settings.log_kinds.redis import WITHOUT_FILE, parse_redis
from gateway.telemetry.logs import log

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from redis.asyncio.connection import AbstractConnection

    from gateway.backends.redis.connection import RedisConnection
    from gateway.settings import Route
    from gateway.settings.log_kinds.redis import RedisOrigin

MOST_LOADS = 8  # of our functions by one connection: another program may flush them in between
ONLY = ("", 0)  # the address of the primary of what is no cluster: it is looked for anew each time


class RedisSettings(NamedTuple):
    """The settings of connections to an origin in Redis."""

    origin: RedisOrigin
    connect_timeout: float = 5.0
    tls_ca: str = ""
    tls_verify: bool = True
    wait_replicas: int = 0

    @classmethod
    def of(cls, route: Route) -> RedisSettings:
        """Return the settings of a route."""
        return cls(
            parse_redis(route.origin),
            route.connect_timeout,
            route.tls_ca,
            route.tls_verify == "on",
            route.wait_replicas,
        )

    @property
    def is_cluster(self) -> bool:
        """True if keys are spread over several servers."""
        return self.origin.kind == "cluster"


Address = tuple[str, int]


class RedisConnector:
    """Opens connections to an origin's servers; `sharded` says whether they publish by slots."""

    def __init__(self, settings: RedisSettings) -> None:
        self._settings = settings
        self._origin = settings.origin
        self._warnings: set[str] = set()  # of what is logged
        self.sharded = True

    def check(self) -> None:
        """Raise StartError if the file of trusted authorities cannot be read."""
        if self._settings.tls_ca:  # those of the system take 30 ms, and need no check
            trust.context(self._settings.tls_ca)

    async def connect(self, redis_connection: RedisConnection, address: Address) -> None:
        """Open a connection, with our functions on its server, which `redis_connection` takes over.

        Raises Unreachable.
        """
        with translated():
            connection = await self._connection(address)
            async with self._making(connection):
                await _load_functions(connection)
                await connection.send_command("COMMAND", "INFO", "SPUBLISH")
                self.sharded = None not in await connection.read_response()
                if not self._settings.is_cluster:
                    await _check_alone(connection)
                await self._warn_of_losses(connection)
        redis_connection.adopt(connection)

    async def _warn_of_losses(self, connection: AbstractConnection) -> None:
        """Warn once of a Redis that loses streams silently: when it is full, or by a restart."""
        if self._warnings:
            return
        await connection.send_command("INFO", "memory", "persistence")
        told: bytes = await connection.read_response()
        info = dict(line.split(b":", 1) for line in told.splitlines() if b":" in line)
        policy = info.get(b"maxmemory_policy", b"noeviction").decode()
        evicts = policy != "noeviction" and info.get(b"maxmemory") != b"0"
        if evicts and self._is_new("eviction"):
            log.warning("log.may_evict", server=str(self._origin), maxmemory_policy=policy)
        if info.get(b"aof_enabled") == b"0" and self._is_new("no file"):
            log.warning("log.not_durable", server=str(self._origin), what=WITHOUT_FILE)

    def _is_new(self, finding: str) -> bool:
        """Return whether no other connection, made at the same time, has found it before."""
        is_new = finding not in self._warnings
        self._warnings.add(finding)
        return is_new

    async def _connection(self, address: Address) -> AbstractConnection:
        origin, options = self._origin, self.options()
        if origin.kind == "unix":
            return UnixDomainSocketConnection(path=origin.path, **options)
        if origin.kind == "sentinel":
            address = await self._primary()
        elif address == ONLY:
            address = origin.nodes[0]
        return connection_to(address, options)

    async def connect_sentinel(self, redis_connection: RedisConnection, node: Address) -> None:
        """Open a connection to a sentinel. Raises Unreachable."""
        with translated():
            connection = connection_to(node, self._sentinel_options())
            async with self._making(connection):
                pass
        redis_connection.adopt(connection)

    @contextlib.asynccontextmanager
    async def _making(self, connection: AbstractConnection) -> AsyncIterator[None]:
        """Connect, and yield within `connect_timeout`; close the connection on failure."""
        try:
            async with asyncio.timeout(self._settings.connect_timeout):
                await connection.connect()  # type: ignore[no-untyped-call]  # of redis-py
                yield
        except BaseException:
            await connection.disconnect(nowait=True)
            raise

    async def _primary(self) -> tuple[str, int]:
        """Return the address of the server that the sentinels name as primary."""
        origin = self._origin
        return await primary_of(origin.service, origin.nodes, self._sentinel_options())

    def _sentinel_options(self) -> dict[str, Any]:
        origin = self._origin
        own = {"username": origin.sentinel_username, "password": origin.sentinel_password}
        return {**self._common(), **own}

    def options(self) -> dict[str, Any]:
        """Return the arguments of redis-py's connections, besides host and port."""
        origin = self._origin
        return {
            **self._common(),
            "username": origin.username,
            "password": origin.password,
            **({} if self._settings.is_cluster else {"db": origin.db}),
        }

    def _common(self) -> dict[str, Any]:
        timeout = self._settings.connect_timeout
        return {
            "protocol": 2,
            "client_name": "headgate",
            "socket_connect_timeout": timeout,
            # It would be given to `wait_for`, which passes over some cancellations in Python 3.11.
            "socket_timeout": None,
            "retry": Retry(NoBackoff(), 0),
            **self._tls(),
        }

    def _tls(self) -> dict[str, Any]:
        if not self._origin.tls:
            return {}
        verify = self._settings.tls_verify
        return {
            "ssl": True,
            "ssl_ca_certs": self._settings.tls_ca or None,
            "ssl_cert_reqs": "required" if verify else "none",
            "ssl_check_hostname": verify,
        }


async def _check_alone(connection: AbstractConnection) -> None:
    await connection.send_command("INFO", "cluster")
    if b"cluster_enabled:1" in await connection.read_response():
        raise Unreachable("this Redis is a node of a cluster: its origin is redis+cluster://…")


async def _load_functions(connection: AbstractConnection) -> None:
    """Load our functions where they are missing, and begin them in the process's history."""
    for _ in range(MOST_LOADS):
        try:
            await _load(connection)
        except exceptions.ResponseError as error:
            if not lacks_functions(str(error)):
                raise
        else:
            return
    raise Unreachable("somebody deletes the functions of Headgate", is_passing=True)


async def _load(connection: AbstractConnection) -> None:
    for library in (HISTORY_LIBRARY, LIBRARY):
        await connection.send_command("FUNCTION", "LOAD", library)
        try:
            await connection.read_response()
        except exceptions.OutOfMemoryError:
            pass  # they are there, or a call will tell
        except exceptions.ResponseError as error:
            if "already exists" not in str(error):
                raise
    history, replication = await _call(connection, "headgate_history")
    later = await _call(connection, f"headgate_begin_{VERSION}", history, replication)
    if later != history:
        await _call(connection, "headgate_history", later)


async def _call(connection: AbstractConnection, function: str, *arguments: bytes) -> Any:  # noqa: ANN401 - as Redis has it
    await connection.send_command("FCALL", function, 0, *arguments)
    return await connection.read_response()
