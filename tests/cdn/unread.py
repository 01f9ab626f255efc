"""Clients that have read nothing of their response yet, and the chunks that an origin sends."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from tests.support.http1 import Client, request

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


@contextlib.asynccontextmanager
async def reading(port: int, target: str, **headers: str) -> AsyncIterator[Client]:
    """A client that has sent a request and has read nothing of the response."""
    client = await Client.connect(port)
    try:
        client.send(request("GET", target, None, **headers))
        yield client
    finally:
        client.close()


def chunk(data: bytes) -> bytes:
    """Return a chunk of a body as it is sent."""
    return b"%x\r\n%b\r\n" % (len(data), data)
