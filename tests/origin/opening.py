"""An open origin for a test, and a short way to ask it."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import msgspec
from multidict import CIMultiDict

from gateway.origin.client import Origin, OriginSettings
from gateway.origin.connections import connector_of, key_of
from gateway.origin.pending_answer import answer_of
from gateway.origin.pending_answer import send as ask_raw
from gateway.origin.raw_connection import RawConnection
from tests.support.raw_origin import RawOrigin

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, AsyncIterator

    from aiohttp.client_reqrep import ConnectionKey

    from gateway.origin.connections import Connector
    from gateway.origin.whole_answer import AnyAnswer

PREFIX = "/v1/stream"
TARGET = f"{PREFIX}/s"
DEFAULTS = OriginSettings(urls=(), prefix=PREFIX, health_interval=0.05)
LIMIT = 1 << 20
WAYS = (GENERAL, RAW) = ("general", "raw")
way = GENERAL  # of the test that runs


@asynccontextmanager
async def opened(*servers: RawOrigin | str, **settings: object) -> AsyncIterator[Origin]:
    """The origin that these servers or URLs are."""
    urls = tuple(one.url if isinstance(one, RawOrigin) else one for one in servers)
    origin = Origin(msgspec.structs.replace(DEFAULTS, urls=urls, **settings))
    await origin.open()
    try:
        yield origin
    finally:
        await origin.close()


async def send(
    origin: Origin,
    method: str = "GET",
    target: str = TARGET,
    *fields: tuple[str, str],
    body: bytes | AsyncIterable[bytes] | None = None,
    poll: bool = False,
) -> AnyAnswer:
    """Ask for the head of an answer, on the way that the test is about as far as it goes."""
    headers = CIMultiDict(fields)
    if way == RAW and (body is None or isinstance(body, bytes)):
        await keep_one(origin)
        raw = origin.raw_polls if poll else origin.raw
        assert raw is not None, "open, and without a tracer"
        waiting = ask_raw(raw, method, target, raw.block(headers), body)
        if waiting is not None:
            return await answer_of(waiting)
    return await origin.send_by_client(method, target, headers, body, poll=poll)


async def keep_one(origin: Origin) -> None:
    """Have a connection to the server of choice in the pool, where one can be made."""
    server = origin.servers.chosen
    assert origin._pooled is not None, "open"
    connector = connector_of(origin._pooled)
    if server is None or connector.closed:
        return
    key = key_of(server.at("/"))
    kept = connector.acquire(key)
    if kept is None and not key.is_ssl:
        loop = asyncio.get_running_loop()
        try:
            _, kept = await loop.create_connection(
                partial(_made, connector, key), key.host, key.port or 80
            )
        except OSError:
            return
    if kept is not None:
        connector.return_idle(key, kept)


def _made(connector: Connector, key: ConnectionKey) -> RawConnection:
    connection = RawConnection(asyncio.get_running_loop(), connector.in_step)
    connection.server = connector.in_step.server(key)
    return connection


class Whole(NamedTuple):
    """An answer with all of its body."""

    status: int
    body: bytes


async def ask(
    origin: Origin,
    method: str = "GET",
    target: str = TARGET,
    *,
    body: bytes | AsyncIterable[bytes] | None = None,
    poll: bool = False,
) -> Whole:
    """Ask for a whole answer."""
    answer = await send(origin, method, target, body=body, poll=poll)
    return Whole(answer.status, await answer.read(LIMIT))
