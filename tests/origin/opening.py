"""An open origin for a test, and a short way to ask it."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import msgspec
from multidict import CIMultiDict

from gateway.errors import OriginBroken
from gateway.origin.client import Origin, OriginSettings
from gateway.origin.connections import connector_of, key_of
from gateway.origin.raw_connection import RawConnection
from tests.support.raw_origin import RawOrigin

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, AsyncIterator

    from gateway.errors import HeadgateError
    from gateway.origin.client import OriginAnswer
    from gateway.origin.whole_answer import WholeAnswer

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


class Waiting:
    """Who asks on the raw way, and waits for the answer in a task after all."""

    def __init__(self) -> None:
        self.done: asyncio.Future[OriginAnswer | Taken] = asyncio.get_running_loop().create_future()

    def answered(self, answer: WholeAnswer) -> None:
        """Of an Asker."""
        self.done.set_result(Taken(answer))

    def began(self, answer: OriginAnswer) -> None:
        """Of an Asker."""
        if self.done.cancelled():
            answer.release()
        else:
            self.done.set_result(answer)

    def failed(self, error: HeadgateError) -> None:
        """Of an Asker."""
        self.done.set_exception(error)


class Taken:
    """A whole answer, in the shape of one that is still to be read."""

    def __init__(self, answer: WholeAnswer) -> None:
        self.whole = answer
        self.status = answer.status
        self.headers = answer.headers
        self.server = answer.server
        self.complete_by_length = answer.complete_by_length

    async def parts(self) -> AsyncIterator[bytes]:
        """The body, if there is any."""
        if self.whole.body:
            yield self.whole.body

    async def read(self, limit: int) -> bytes:
        """The body, within a limit."""
        if len(self.whole.body) > limit:
            raise OriginBroken(f"the origin's answer is over {limit} bytes")
        return self.whole.body

    def release(self) -> None:
        """Nothing is held."""


async def send(
    origin: Origin,
    method: str = "GET",
    target: str = TARGET,
    *fields: tuple[str, str],
    body: bytes | AsyncIterable[bytes] | None = None,
    poll: bool = False,
) -> OriginAnswer | Taken:
    """Ask for the head of an answer, on the way that the test is about as far as it goes."""
    headers = CIMultiDict(fields)
    if way == RAW and not poll and (body is None or isinstance(body, bytes)):
        asked = await _ask_raw(origin, method, target, headers, body or b"")
        if asked is not None:
            return asked
    return await origin.send(method, target, headers, body, poll=poll)


async def _ask_raw(
    origin: Origin, method: str, target: str, headers: CIMultiDict[str], body: bytes
) -> OriginAnswer | Taken | None:
    raw = origin.raw
    assert raw is not None, "open, and without a tracer"
    block = raw.block(headers)
    if block is None:
        return None
    await keep_one(origin)
    waiting = Waiting()
    question = raw.ask(method, target, block, body, waiting)
    if question is None:
        return None
    try:
        return await waiting.done
    except asyncio.CancelledError:
        question.abandon()
        raise


async def keep_one(origin: Origin) -> None:
    """Have a connection to the server of choice in the pool, where one can be made."""
    server = origin.servers.next()
    assert origin._pooled is not None, "open"
    connector = connector_of(origin._pooled)
    if server is None or connector.closed:
        return
    key = key_of(server.at("/"))
    kept = connector.take(key)
    if kept is None and not key.is_ssl:
        loop = asyncio.get_running_loop()
        try:
            _, kept = await loop.create_connection(
                partial(RawConnection, loop), key.host, key.port or 80
            )
        except OSError:
            return
    if kept is not None:
        connector.give_back(key, kept)


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
