"""The Redis servers of an origin: how they are found and connected to, and how they are."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any, NamedTuple

from redis import exceptions
from redis.asyncio import RedisCluster
from redis.asyncio.cluster import ClusterNode
from redis.asyncio.connection import UnixDomainSocketConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.crc import key_slot

from gateway.backends.redis.commands import LIBRARY
from gateway.backends.redis.pipeline import Unreachable
from gateway.backends.redis.sentinels import connection_to, primary_of, words
from gateway.settings import trust
from gateway.telemetry.logs import log

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Sequence

    from redis.asyncio.connection import AbstractConnection

    from gateway.backends.redis.connection import RedisConnection
    from gateway.settings import Route
    from gateway.settings.redis_origin import RedisOrigin

ONLY = ("", 0)  # the address of the primary of what is no cluster: it is looked for anew each time


class RedisSettings(NamedTuple):
    """How an origin in Redis is connected to."""

    origin: RedisOrigin
    connect_timeout: float = 5.0
    tls_ca: str = ""
    tls_verify: bool = True
    wait_replicas: int = 0

    @classmethod
    def of(cls, route: Route) -> RedisSettings:
        """Those of a route."""
        return cls(
            route.redis,
            route.connect_timeout,
            route.tls_ca,
            route.tls_verify == "on",
            route.wait_replicas,
        )


Address = tuple[str, int]


class Topology:
    """Finds the server that has a key, and opens connections to it.

    `trouble` says why a cluster's servers are not known, `sharded` whether they publish by slots.
    """

    def __init__(self, settings: RedisSettings) -> None:
        self._settings = settings
        self._origin = settings.origin
        self._cluster: RedisCluster | None = None
        self._is_known = not self.is_cluster
        self._surveying: asyncio.Task[None] | None = None
        self._is_warned = False
        self.trouble: str | None = None
        self.sharded = True

    def __repr__(self) -> str:
        return str(self._origin)

    @property
    def sentinels(self) -> Sequence[Address]:
        """Those that name the primary, when there are any."""
        return self._origin.nodes if self._origin.kind == "sentinel" else ()

    @property
    def service(self) -> str:
        """The name under which they know it."""
        return self._origin.service

    def check(self) -> None:
        """Raises StartError when the authorities to trust cannot be read."""
        trust.context(self._settings.tls_ca)

    @property
    def is_cluster(self) -> bool:
        """Whether keys are spread over several servers."""
        return self._origin.kind == "cluster"

    def together(self, keys: Sequence[str]) -> bool:
        """Whether one call can have all these keys."""
        if not self.is_cluster:
            return True
        return len({key_slot(key.encode()) for key in keys}) <= 1

    def known_address(self, key: str) -> Address | None:
        """The server that has a key; None when the cluster must be asked first."""
        if not self.is_cluster:
            return ONLY
        if self._cluster is None or not self._is_known:
            return None
        with contextlib.suppress(exceptions.RedisError, exceptions.RedisClusterException):
            node = self._cluster.get_node_from_key(key)
            if node is not None:
                return str(node.host), int(node.port)
        return None

    async def address(self, key: str) -> Address:
        """The server that has a key. Raises Unreachable."""
        await self._survey()
        address = self.known_address(key)
        if address is None:
            self._is_known = False
            # As while a slot moves: those who know tell the others within a moment.
            raise Unreachable("the cluster has no server for this slot", is_passing=True)
        return address

    async def primaries(self) -> list[Address]:
        """All servers that take writes. Raises Unreachable."""
        await self._survey()
        if self._cluster is None:
            return [ONLY]
        addresses = [(str(node.host), int(node.port)) for node in self._cluster.get_primaries()]
        if not addresses:
            raise Unreachable("no node of the cluster has any slots")
        return addresses

    def moved(self) -> None:
        """What was known of the cluster is no longer so."""
        self._is_known = not self.is_cluster

    async def _survey(self) -> None:
        """Ask the cluster which server has what, unless that is known; all who wait share it."""
        if self._is_known:
            return
        if self._surveying is None:
            self._surveying = asyncio.get_running_loop().create_task(self._look_around())
        await asyncio.shield(self._surveying)

    async def _look_around(self) -> None:
        try:
            with _telling():
                await self._ask_cluster()
        except Unreachable as failure:
            if self.trouble is None:
                log.error("log.failed", server=str(self), reason=failure.why)
            self.trouble = failure.why
            raise
        finally:
            self._surveying = None
        if self.trouble is not None:
            log.info("log.recovered", server=str(self))
        self.trouble = None
        self._is_known = True

    async def _ask_cluster(self) -> None:
        if self._cluster is not None:
            await self._cluster.nodes_manager.initialize()
            return
        nodes = [ClusterNode(host, port) for host, port in self._origin.nodes]
        options = {**self._options(), "socket_timeout": self._settings.connect_timeout}
        cluster = RedisCluster(startup_nodes=nodes, **options)
        await cluster.initialize()
        self._cluster = cluster

    async def connect(self, redis_connection: RedisConnection, address: Address) -> None:
        """Open a connection, with our functions on its server, and give it to the wire.

        Raises Unreachable.
        """
        with _telling():
            connection = await self._connection(address)
            async with self._making(connection):
                await _load_functions(connection)
                await connection.send_command("COMMAND", "INFO", "SPUBLISH")
                self.sharded = None not in await connection.read_response()
                if not self.is_cluster:
                    await _check_alone(connection)
                await self._warn_of_eviction(connection)
        redis_connection.take_over(connection)

    async def _warn_of_eviction(self, connection: AbstractConnection) -> None:
        """Once: a Redis that takes keys away when it is full does it without telling anybody."""
        await connection.send_command("INFO", "memory")
        told: bytes = await connection.read_response()
        memory = dict(line.split(b":", 1) for line in told.splitlines() if b":" in line)
        policy = memory.get(b"maxmemory_policy", b"noeviction").decode()
        if policy != "noeviction" and memory.get(b"maxmemory") != b"0" and not self._is_warned:
            self._is_warned = True
            log.warning("log.may_evict", server=str(self), maxmemory_policy=policy)

    async def _connection(self, address: Address) -> AbstractConnection:
        origin, options = self._origin, self._options()
        if origin.kind == "unix":
            return UnixDomainSocketConnection(path=origin.path, **options)
        if origin.kind == "sentinel":
            address = await self._primary()
        elif address == ONLY:
            address = origin.nodes[0]
        return connection_to(address, options)

    async def connect_sentinel(self, redis_connection: RedisConnection, node: Address) -> None:
        """Open a connection to a sentinel. Raises Unreachable."""
        with _telling():
            connection = connection_to(node, self._sentinel_options())
            async with self._making(connection):
                pass
        redis_connection.take_over(connection)

    @contextlib.asynccontextmanager
    async def _making(self, connection: AbstractConnection) -> AsyncIterator[None]:
        """Connected, with what is left of the time for it; closed on failure."""
        try:
            async with asyncio.timeout(self._settings.connect_timeout):
                await connection.connect()  # type: ignore[no-untyped-call]  # of redis-py
                yield
        except BaseException:
            await connection.disconnect(nowait=True)
            raise

    async def _primary(self) -> tuple[str, int]:
        """Whom the sentinels take for the primary now."""
        origin = self._origin
        return await primary_of(origin.service, origin.nodes, self._sentinel_options())

    def _sentinel_options(self) -> dict[str, Any]:
        origin = self._origin
        own = {"username": origin.sentinel_username, "password": origin.sentinel_password}
        return {**self._common(), **own}

    def _options(self) -> dict[str, Any]:
        origin = self._origin
        return {
            **self._common(),
            "username": origin.username,
            "password": origin.password,
            **({} if self.is_cluster else {"db": origin.db}),
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

    async def close(self) -> None:
        """Close what was opened to find the servers."""
        if self._surveying is not None:
            self._surveying.cancel()
            await asyncio.gather(self._surveying, return_exceptions=True)
        with contextlib.suppress(exceptions.RedisError, OSError):
            if self._cluster is not None:
                await self._cluster.aclose()


async def _check_alone(connection: AbstractConnection) -> None:
    await connection.send_command("INFO", "cluster")
    if b"cluster_enabled:1" in await connection.read_response():
        raise Unreachable("this Redis is a node of a cluster: its origin is redis+cluster://…")


async def _load_functions(connection: AbstractConnection) -> None:
    await connection.send_command("FUNCTION", "LOAD", LIBRARY)
    try:
        await connection.read_response()
    except exceptions.OutOfMemoryError:
        return  # they are there, or a call will tell
    except exceptions.ResponseError as error:
        if "already exists" not in str(error):
            raise


# redis-py turns some errors' codes into types.
CODES: dict[type[Exception], str] = {
    exceptions.ReadOnlyError: "READONLY",
    exceptions.BusyLoadingError: "LOADING",
    exceptions.NoPermissionError: "NOPERM",
    exceptions.AuthenticationError: "WRONGPASS",
    exceptions.MasterDownError: "MASTERDOWN",
    exceptions.ClusterDownError: "CLUSTERDOWN",
}


@contextlib.contextmanager
def _telling() -> Iterator[None]:
    """Failures of redis-py as ours."""
    try:
        yield
    except tuple(CODES) as error:
        code = next(code for kind, code in CODES.items() if isinstance(error, kind))
        raise Unreachable(explained(f"{code} {error}")) from error
    except (
        exceptions.RedisError,
        exceptions.RedisClusterException,  # which is no RedisError
        OSError,
        TimeoutError,
        RuntimeError,  # of uvloop, when the other side was faster
    ) as error:
        raise Unreachable(explained(words(error))) from error


# The beginnings of what Redis says, and what that means here.
MEANINGS = {
    "OOM": "Redis is out of memory: raise maxmemory or remove streams",
    "READONLY": "this Redis is a replica, which takes no writes",
    "LOADING": "Redis is loading its data",
    "MISCONF": "Redis cannot write its data to disk",
    "NOREPLICAS": "Redis has fewer replicas than min-replicas-to-write",
    "NOAUTH": "Redis asks for a password",
    "WRONGPASS": "Redis does not take the user name or password, or asks for one",
    "NOPERM": "the Redis user may not do what Headgate needs",
    "The user executing the script": "the Redis user may not do what Headgate needs",
    "CLUSTERDOWN": "the Redis cluster is down",
    "MASTERDOWN": "the Redis primary is down",
    "BUSY": "Redis is busy with a script of somebody else",
    "WRONGTYPE": "the key of this stream in Redis holds something else",
    "Redis Cluster cannot be connected": "no node of the cluster can be reached",
    "All slots are not covered": "no node of the cluster has some of the slots",
    "unknown command": "this Redis is older than 7.0, which has no functions",
}


def explained(text: str) -> str:
    """What Redis said, in words for an operator."""
    plain = text.removeprefix("ERR ")
    for beginning, meaning in MEANINGS.items():
        if plain.startswith(beginning):
            return f"{meaning} ({text})" if beginning == "NOPERM" else meaning
    return text
