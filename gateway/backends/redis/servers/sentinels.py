"""The primary by the word of the sentinels: all are asked at once, the latest decision counts.

A sentinel that is frozen or cut off must not hold up those that are well, and one that has missed
a failover names the old primary in good faith.
"""

from __future__ import annotations

import asyncio
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

from redis import exceptions
from redis.asyncio.connection import Connection, SSLConnection

from gateway import trust
from gateway.backends.redis.servers.failures import words

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from ssl import SSLContext

    Address = tuple[str, int]

TOGETHER_S = 0.3  # they answer from memory: the others of those that are well come within this
AT_MOST_S = 2.0


class SentinelReply(NamedTuple):
    """A sentinel's reply; `epoch` counts the failovers that the sentinel knows of."""

    epoch: int
    is_up: bool
    address: Address


class NoPrimary(exceptions.ConnectionError):
    """No sentinel names a primary that is up."""


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
    waiting = set(asking)
    _, waiting = await asyncio.wait(waiting, timeout=TOGETHER_S)
    while not (replies := _answers(asking)) and waiting and loop.time() < until:
        _, waiting = await asyncio.wait(
            waiting, timeout=until - loop.time(), return_when=asyncio.FIRST_COMPLETED
        )
    return replies


def _answers(asking: Sequence[asyncio.Task[SentinelReply]]) -> list[SentinelReply]:
    return [one.result() for one in asking if one.done() and one.exception() is None]


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
