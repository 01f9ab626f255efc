"""An open origin for a test, and a short way to ask it."""

from __future__ import annotations

import socket
from contextlib import ExitStack, asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, NamedTuple

import msgspec
from multidict import CIMultiDict

from headgate_gateway.origin.answer import OriginAnswer, PendingAnswer
from headgate_gateway.origin.client import Origin
from headgate_gateway.origin.requests import OriginRequest, field_block
from headgate_gateway.origin.servers import OriginSettings
from tests.support.raw_origin import RawOrigin

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, AsyncIterator, Iterator


PREFIX = "/v1/stream"
TARGET = f"{PREFIX}/s"
DEFAULTS = OriginSettings(urls=(), prefix=PREFIX, health_interval=0.05)
LIMIT = 1 << 20


@asynccontextmanager
async def opened(*servers: RawOrigin | str, **settings: object) -> AsyncIterator[Origin]:
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
) -> OriginAnswer:
    if not poll:
        return await origin.send(method, target, CIMultiDict(fields), body)
    pending, block = PendingAnswer(), field_block(CIMultiDict(fields))
    request = OriginRequest(method, target, block, is_poll=True)
    pending.abandon = origin.start(request, pending).abandon
    return await pending


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


@contextmanager
def full_queue(host: str, port: int = 0) -> Iterator[int]:
    """Listen on a port of this host, where the kernel drops every further connection."""
    with socket.create_server((host, port), backlog=0) as full, ExitStack() as filling:
        for _ in range(8):
            one = filling.enter_context(socket.socket())
            one.setblocking(False)
            one.connect_ex(full.getsockname())
        yield full.getsockname()[1]
