"""A writer that appends many small tokens in order, pipelined on one connection."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import httpx

if TYPE_CHECKING:
    from collections.abc import Sequence

# Requests sent ahead of their answers. A server answers one connection in order, so they commit
# in order; the bound keeps both sides' socket buffers small.
WINDOW = 64


async def create_stream(url: str, content_type: str) -> None:
    """PUT a new stream."""
    async with httpx.AsyncClient() as client:
        answer = await client.put(url, headers={"Content-Type": content_type})
        assert answer.status_code == 201, (answer.status_code, answer.text)


async def close_stream(url: str) -> None:
    """Close the stream for good."""
    async with httpx.AsyncClient() as client:
        answer = await client.post(url, headers={"Stream-Closed": "true"})
        assert answer.status_code == 204, (answer.status_code, answer.text)


async def append_tokens(url: str, content_type: str, tokens: Sequence[bytes]) -> None:
    """One POST for each token; returns when every one is acknowledged."""
    parts = urlsplit(url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    head = f"POST {parts.path} HTTP/1.1\r\nHost: {parts.netloc}\r\nContent-Type: {content_type}\r\n"
    window = asyncio.Semaphore(WINDOW)
    try:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(_confirm(reader, len(tokens), window))
            for token in tokens:
                await window.acquire()
                writer.write(f"{head}Content-Length: {len(token)}\r\n\r\n".encode() + token)
    finally:
        writer.close()


async def _confirm(reader: asyncio.StreamReader, count: int, window: asyncio.Semaphore) -> None:
    for index in range(count):
        answer = await reader.readuntil(b"\r\n\r\n")
        assert answer.startswith(b"HTTP/1.1 204 "), f"append {index}: {answer.decode()}"
        window.release()
