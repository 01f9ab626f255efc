"""Open connections to the servers of Redis, with our functions there.

Also ask the sentinels for the primary, and the nodes of a cluster for their slots.
"""

from __future__ import annotations

import asyncio
import contextlib
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

from redis.exceptions import RedisError

from headgate.redis_url import parse_redis
from headgate_gateway import trust
from headgate_gateway.logs.redis.connection import Refusal, Unreachable
from headgate_gateway.logs.redis.dialling import open_connection, reason_of, to_server, to_socket
from headgate_gateway.logs.redis.names import HISTORY_LIBRARY, LIBRARY, VERSION
from headgate_gateway.settings.log_kinds.redis import WITHOUT_FILE
from headgate_gateway.telemetry.logs import log

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Mapping
    from ssl import SSLContext

    from redis.asyncio.connection import AbstractConnection

    from headgate.redis_url import RedisUrl
    from headgate_gateway.logs.redis.connection import RedisConnection
    from headgate_gateway.settings import Route

MOST_LOADS = 8  # of our functions by one connection: another program may flush them in between
READ_PROBE = ("FCALL", f"headgate_state_ro_{VERSION}", 0)
UNREAD_ALL = "its streams were not read since it restarted or failed over, and cannot be read now"
ONLY = ("", 0)  # stands for the primary without a cluster: its address is looked up each time
# Sentinels answer from memory: those that are well all answer within this time after the first.
TOGETHER_S = 0.3
AT_MOST_S = 2.0
SLOTS = 16_384  # of a cluster

Address = tuple[str, int]


class RedisSettings(NamedTuple):
    """The settings of connections to an origin in Redis."""

    origin: RedisUrl
    connect_timeout: float = 5.0
    tls_ca: str = ""
    wait_replicas: int = 0

    @classmethod
    def of(cls, route: Route) -> RedisSettings:
        """Return the settings of a route."""
        return cls(
            parse_redis(route.storage),
            tls_ca=route.tls_ca,
            wait_replicas=route.wait_replicas,
        )


class RedisConnector:
    """Opens connections to an origin's servers.

    `is_cluster` is True if keys are spread over several servers.
    """

    def __init__(self, settings: RedisSettings) -> None:
        self.origin = settings.origin
        self.is_cluster: bool = self.origin.kind == "cluster"
        self.settings = settings
        self._has_warned = False

    def check(self) -> None:
        """Raise StartError if the file of trusted authorities cannot be read."""
        if self.settings.tls_ca:  # those of the system take 30 ms, and need no check
            trust.context(self.settings.tls_ca)

    async def connect(self, address: Address) -> RedisConnection:
        """Open a connection, with our functions on its server. Raises Unreachable."""
        if self.origin.kind == "sentinel":
            address = await self.primary_address()
        elif address == ONLY and self.origin.nodes:
            address = self.origin.nodes[0]
        async with self._opening(address) as connection:
            await _load_functions(connection)
            info = parse_info(await connection.ask("INFO", "memory", "persistence", "cluster"))
            if info.get("cluster_enabled") == "1" and not self.is_cluster:
                raise Unreachable(
                    "this Redis is a node of a cluster: its origin is redis+cluster://…"
                )
            self._warn_of_losses(info)
        return connection

    async def connect_sentinel(self, node: Address) -> RedisConnection:
        """Open a connection to a sentinel. Raises Unreachable."""
        async with self._opening(node, is_sentinel=True) as connection:
            return connection

    @contextlib.asynccontextmanager
    async def _opening(
        self, address: Address, *, is_sentinel: bool = False
    ) -> AsyncIterator[RedisConnection]:
        """Yield a connection that is logged in, for `connect_timeout`; close it on failure.

        Raises Unreachable.
        """
        connection: RedisConnection | None = None
        try:
            async with asyncio.timeout(self.settings.connect_timeout):
                connection = await open_connection(
                    self._unconnected(address, is_sentinel=is_sentinel)
                )
                yield connection
        except BaseException as error:
            if connection is not None:
                connection.close()
            if isinstance(error, Refusal):
                raise Unreachable(error.meaning) from error
            if isinstance(error, RedisError | OSError | RuntimeError):
                raise Unreachable(reason_of(error)) from error
            raise

    def _unconnected(self, address: Address, *, is_sentinel: bool) -> AbstractConnection:
        origin = self.origin
        login = {"username": origin.username, "password": origin.password, "db": origin.db}
        if is_sentinel:
            login = {
                "username": origin.sentinel_username,
                "password": origin.sentinel_password,
            }
        if origin.kind == "unix":
            return to_socket(origin.path, login)
        tls = _tls_context(self.settings.tls_ca) if origin.tls else None
        return to_server(address, tls, login)

    def _warn_of_losses(self, info: Mapping[str, str]) -> None:
        """Warn once of a Redis that loses streams silently: when it is full, or by a restart."""
        if self._has_warned:
            return
        policy = info.get("maxmemory_policy", "noeviction")
        if policy != "noeviction" and info.get("maxmemory") != "0":
            self._has_warned = True
            log.warning("log.may_evict", server=str(self.origin), maxmemory_policy=policy)
        if info.get("aof_enabled") == "0":
            self._has_warned = True
            log.warning("log.not_durable", server=str(self.origin), what=WITHOUT_FILE)

    # Which server takes writes

    async def primary_address(self) -> Address:
        """Return the primary that the sentinels name. Raises Unreachable.

        All sentinels are asked at once, and the latest decision counts. One that is frozen or cut
        off must not delay the others, and one that has missed a failover still names the old
        primary.
        """
        loop, service = asyncio.get_running_loop(), self.origin.service
        ends_at = loop.time() + AT_MOST_S
        replies: list[tuple[int, bool, Address]] = []
        failures: list[str] = []

        async def ask(node: Address) -> None:
            try:
                async with self._opening(node, is_sentinel=True) as connection:
                    reply = await connection.ask("SENTINEL", "MASTER", service)
                connection.close()
            except Unreachable as failure:
                failures.append(failure.why)
                return
            found = dict(zip(reply[::2], reply[1::2], strict=True))
            is_up = not {b"s_down", b"o_down"}.intersection(found[b"flags"].split(b","))
            address = found[b"ip"].decode(), int(found[b"port"])
            # The first number counts the failovers that the sentinel knows of.
            replies.append((int(found[b"config-epoch"]), is_up, address))

        asking = [loop.create_task(ask(node)) for node in self.origin.nodes]
        try:
            _, waiting = await asyncio.wait(asking, timeout=TOGETHER_S)
            while waiting and not replies and loop.time() < ends_at:
                _, waiting = await asyncio.wait(
                    waiting, timeout=ends_at - loop.time(), return_when=asyncio.FIRST_COMPLETED
                )
        finally:
            for one in asking:
                one.cancel()
            await asyncio.gather(*asking, return_exceptions=True)
        if not replies:
            why = failures[0] if failures else "no answer"
            raise Unreachable(f"no sentinel names a primary {service}: {why}")
        _, is_up, address = max(replies)
        if not is_up:
            raise Unreachable(f"the sentinels take the primary of {service} for down")
        return address

    async def slots(self, known: Iterable[Address]) -> list[Address]:
        """Return the primary of each slot of the cluster, as the first node that replies knows it.

        Nodes that are `known` are asked first. Raises Unreachable.
        """
        why = ""
        for node in dict.fromkeys([*known, *self.origin.nodes]):
            try:
                async with self._opening(node) as connection:
                    ranges = await connection.ask("CLUSTER", "SLOTS")
                connection.close()
            except Unreachable as failure:
                why = why or f"no node of the cluster can be reached: {failure.why}"
                continue
            slots = [ONLY] * SLOTS
            for first, last, (host, port, *_), *_ in ranges:
                # A node without a configured name is at the address that was asked.
                name = node[0] if host in {None, b"", b"?"} else host.decode()
                slots[first : last + 1] = [(name, port)] * (last + 1 - first)
            if ONLY not in slots:
                return slots
            why = "no node of the cluster has some of the slots"
        raise Unreachable(why)


def parse_info(reply: bytes) -> dict[str, str]:
    """Return the fields of a reply to INFO."""
    lines = (line.partition(":") for line in reply.decode().splitlines())
    return {name: value for name, colon, value in lines if colon}


@lru_cache(maxsize=64)
def _tls_context(authorities: str) -> SSLContext:
    """Return the TLS context, made once: to read the system's takes longer than to connect."""
    return trust.context(authorities)


async def _load_functions(connection: RedisConnection) -> None:
    """Load our functions where they are missing, and begin them in the process's history.

    A server that takes no writes refuses that, too. Then its functions go on in the history that an
    earlier connection has begun. Raises Unreachable if there is none.
    """
    for _ in range(MOST_LOADS):
        try:
            await _load(connection)
        except Refusal as refusal:
            if refusal.takes_no_writes:
                await _check_history(connection, refusal)
                return
            if not refusal.lacks_functions:
                raise
        else:
            return
    raise Unreachable("somebody deletes the functions of Headgate", is_passing=True)


async def _check_history(connection: RedisConnection, refusal: Refusal) -> None:
    try:
        await connection.ask(*READ_PROBE)
    except Refusal as failure:
        why = UNREAD_ALL if failure.lacks_functions else failure.meaning
        raise Unreachable(f"{refusal.meaning}; {why}") from failure


async def _load(connection: RedisConnection) -> None:
    for library in (HISTORY_LIBRARY, LIBRARY):
        try:
            await connection.ask("FUNCTION", "LOAD", library)
        except Refusal as refusal:  # out of memory: they are there, or a call will fail
            if refusal.code != "OOM" and "already exists" not in str(refusal):
                raise
    history, replication = await connection.ask("FCALL", "headgate_history", 0)
    begin = f"headgate_begin_{VERSION}"
    later = await connection.ask("FCALL", begin, 0, history, replication)
    if later != history:
        await connection.ask("FCALL", "headgate_history", 0, later)
