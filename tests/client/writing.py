"""Streams to write to, and what is in them."""

from __future__ import annotations

import itertools
import json
from typing import TYPE_CHECKING, Any

from headgate import StreamWriter
from headgate.following import catch_up
from headgate.stream_requests import StreamRequests

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

JSON, TEXT, OCTETS = "application/json", "text/plain", "application/octet-stream"
_numbers = itertools.count()


async def made(base: str, content_type: str = JSON) -> str:
    """The URL of a new stream below a server's base."""
    url = f"{base}/v1/stream/written-{next(_numbers)}"
    async with StreamRequests(url) as stream:
        await stream.create(content_type=content_type)
    return url


async def write(
    url: str | StreamRequests, *steps: Any, ending: str = "aclose", **options: Any
) -> StreamWriter:
    """Write chunks, call the functions among them with the writer, and end it."""
    async with StreamWriter(url, **options) as writer:
        for step in steps:
            await (step(writer) if callable(step) else writer.write(step))
        await getattr(writer, ending)()
    return writer


async def data(url: str) -> bytes:
    """All the bytes of a stream that is read in one answer or several."""
    return b"".join([body async for body in _bodies(url)])


async def messages(url: str) -> list[object]:
    """All the messages of a JSON stream."""
    return [message async for body in _bodies(url) for message in json.loads(body)]


async def is_closed(url: str) -> bool:
    """Whether it takes no more appends."""
    async with StreamRequests(url) as stream:
        return (await stream.head()).is_closed


async def _bodies(url: str) -> AsyncIterator[bytes]:
    async with StreamRequests(url) as stream:
        async for _, batch in catch_up(stream, "-1"):
            for body in batch.bodies:
                yield body
