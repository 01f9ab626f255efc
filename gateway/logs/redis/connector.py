"""Opens connections to Redis: as whom, how encrypted, and with our functions on the server.

Sentinels are all asked at once for the primary, and the latest decision counts. A sentinel that is
frozen or cut off must not hold up those that are well, and one that has missed a failover names the
old primary in good faith.
"""

from __future__ import annotations

import asyncio
import contextlib
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

from redis import exceptions
from redis.asyncio.connection import Connection, SSLConnection, UnixDomainSocketConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from gateway import trust
from gateway.logs.redis.connection import Unreachable, lacks_functions, translated, words
from gateway.logs.redis.names import HISTORY_LIBRARY, LIBRARY, VERSION
from gateway.settings.log_kinds.redis import WITHOUT_FILE, parse_redis
from gateway.telemetry.logs import log

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence
    from ssl import SSLContext

    from redis.asyncio.connection import AbstractConnection

    from gateway.logs.redis.connection import RedisConnection
    from gateway.settings import Route
    from gateway.settings.log_kinds.redis import RedisOrigin

MOST_LOADS = 8  # of our functions by one connection: another program may flush them in between
ONLY = ("", 0)  # the address of the primary of what is no cluster: it is looked for anew each time
# Sentinels answer from memory: the others of those that are well come within this.
TOGETHER_S = 0.3
AT_MOST_S = 2.0

Address = tuple[str, int]


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


class RedisConnector:
    """Opens connections to an origin's servers.

    `is_cluster` is True if keys are spread over several servers; `sharded` if each slot has
    channels of its own, else channels are common to all servers.
    """

    def __init__(self, settings: RedisSettings) -> None:
        self.origin = settings.origin
        self.is_cluster: bool = self.origin.kind == "cluster"
        self.settings = settings
        self._warnings: set[str] = set()  # of what is logged
        self.sharded = True

    def check(self) -> None:
        """Raise StartError if the file of trusted authorities cannot be read."""
        if self.settings.tls_ca:  # those of the system take 30 ms, and need no check
            trust.context(self.settings.tls_ca)

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
                if not self.is_cluster:
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
            log.warning("log.may_evict", server=str(self.origin), maxmemory_policy=policy)
        if info.get(b"aof_enabled") == b"0" and self._is_new("no file"):
            log.warning("log.not_durable", server=str(self.origin), what=WITHOUT_FILE)

    def _is_new(self, finding: str) -> bool:
        """Return whether no other connection, made at the same time, has found it before."""
        is_new = finding not in self._warnings
        self._warnings.add(finding)
        return is_new

    async def _connection(self, address: Address) -> AbstractConnection:
        origin, options = self.origin, self.options()
        if origin.kind == "unix":
            return UnixDomainSocketConnection(path=origin.path, **options)
        if origin.kind == "sentinel":
            address = await primary_of(origin.service, origin.nodes, self._sentinel_options())
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
            async with asyncio.timeout(self.settings.connect_timeout):
                await connection.connect()  # type: ignore[no-untyped-call]  # of redis-py
                yield
        except BaseException:
            await connection.disconnect(nowait=True)
            raise

    def options(self) -> dict[str, Any]:
        """Return the arguments of redis-py's connections, besides host and port."""
        origin = self.origin
        own = {} if self.is_cluster else {"db": origin.db}
        return {**self._common(origin.username, origin.password), **own}

    def _sentinel_options(self) -> dict[str, Any]:
        return self._common(self.origin.sentinel_username, self.origin.sentinel_password)

    def _common(self, username: str | None, password: str | None) -> dict[str, Any]:
        timeout, verify = self.settings.connect_timeout, self.settings.tls_verify
        tls = {
            "ssl": True,
            "ssl_ca_certs": self.settings.tls_ca or None,
            "ssl_cert_reqs": "required" if verify else "none",
            "ssl_check_hostname": verify,
        }
        return {
            "protocol": 2,
            "client_name": "headgate",
            "username": username,
            "password": password,
            "socket_connect_timeout": timeout,
            # It would be given to `wait_for`, which passes over some cancellations in Python 3.11.
            "socket_timeout": None,
            "retry": Retry(NoBackoff(), 0),
            **(tls if self.origin.tls else {}),
        }


def connection_to(node: Address, options: Mapping[str, Any]) -> Connection:
    """Return a connection that is not open yet, encrypted if the option `ssl` is true."""
    others = dict(options)
    if not others.pop("ssl", False):
        return Connection(host=node[0], port=node[1], **others)
    connection = SSLConnection(host=node[0], port=node[1], **others)
    # The one that it makes trusts the system's authorities besides those that it is told of.
    connection.ssl_context.context = _trusted(others["ssl_ca_certs"], others["ssl_check_hostname"])
    return connection


@lru_cache(maxsize=64)
def _trusted(authorities: str | None, verify: bool) -> SSLContext:
    """Return the TLS context, made once: to read the system's takes longer than to connect."""
    return trust.context(authorities or "", verify=verify)


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


class NoPrimary(exceptions.ConnectionError):
    """No sentinel names a primary that is up."""


class SentinelReply(NamedTuple):
    """A sentinel's reply; `epoch` counts the failovers that the sentinel knows of."""

    epoch: int
    is_up: bool
    address: Address


async def primary_of(service: str, nodes: Sequence[Address], options: Mapping[str, Any]) -> Address:
    """Return the primary of a service; `options` are a connection's. Raises redis-py's errors."""
    asking = [asyncio.create_task(_ask(service, connection_to(node, options))) for node in nodes]
    try:
        replies = await _first_answers(asking)
    finally:
        for one in asking:
            one.cancel()
        failures = await asyncio.gather(*asking, return_exceptions=True)
    if not replies:
        why = next((words(one) for one in failures if isinstance(one, Exception)), "no answer")
        raise NoPrimary(f"no sentinel names a primary {service}: {why}")
    latest = max(replies)
    if not latest.is_up:
        raise NoPrimary(f"the sentinels take the primary of {service} for down")
    return latest.address


async def _first_answers(asking: Sequence[asyncio.Task[SentinelReply]]) -> list[SentinelReply]:
    """Return the replies that arrive soon, or else the first."""
    loop = asyncio.get_running_loop()
    until = loop.time() + AT_MOST_S
    done, waiting = await asyncio.wait(asking, timeout=TOGETHER_S)
    while not (replies := [one.result() for one in done if one.exception() is None]):
        if not waiting or loop.time() >= until:
            break
        done, waiting = await asyncio.wait(
            waiting, timeout=until - loop.time(), return_when=asyncio.FIRST_COMPLETED
        )
    return replies


async def _ask(service: str, connection: Connection) -> SentinelReply:
    try:
        await connection.connect()  # type: ignore[no-untyped-call]  # of redis-py
        await connection.send_command("SENTINEL", "MASTER", service)
        reply = await connection.read_response()
    finally:
        await connection.disconnect(nowait=True)
    told = dict(zip(reply[::2], reply[1::2], strict=True))
    flags = told[b"flags"].decode().split(",")
    return SentinelReply(
        int(told[b"config-epoch"]),
        not {"s_down", "o_down"}.intersection(flags),
        (told[b"ip"].decode(), int(told[b"port"])),
    )
