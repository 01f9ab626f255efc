"""A writer that appends many small tokens in order, though over many connections at once."""

from __future__ import annotations

import asyncio
import contextlib
from itertools import islice
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import httpx

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

# So many appends wait for one commit together, instead of each for its own.
CONNECTIONS = 32


async def create_stream(url: str, content_type: str) -> None:
    """PUT a new stream."""
    async with httpx.AsyncClient() as client:
        answer = await client.put(url, headers={"Content-Type": content_type})
    assert answer.status_code == 201, f"{answer.status_code}: {answer.text}"


async def close_stream(url: str) -> None:
    """Close the stream for good."""
    async with httpx.AsyncClient() as client:
        answer = await client.post(url, headers={"Stream-Closed": "true"})
    assert answer.status_code == 204, f"{answer.status_code}: {answer.text}"


class TokenWriter:
    """An idempotent producer: sequence numbers keep the order, whichever connection is first."""

    def __init__(self, url: str, content_type: str) -> None:
        self._url = urlsplit(url)
        self._head = (
            f"POST {self._url.path} HTTP/1.1\r\nHost: {self._url.netloc}\r\n"
            f"Content-Type: {content_type}\r\nProducer-Id: tokens\r\nProducer-Epoch: 0\r\n"
        )
        self._next_seq = 0

    async def append(self, tokens: Sequence[bytes]) -> None:
        """One POST for each token; returns when every one is acknowledged."""
        async with contextlib.AsyncExitStack() as stack:
            connections = [
                await stack.enter_async_context(_connection(self._url.hostname, self._url.port))
                for _ in range(min(CONNECTIONS, len(tokens)))
            ]
            numbered = enumerate(tokens, start=self._next_seq)
            refused: list[tuple[int, bytes]] = []
            while wave := refused + list(islice(numbered, len(connections) - len(refused))):
                for (_, writer), (seq, token) in zip(connections, wave, strict=False):
                    writer.write(self._request(seq, token))
                statuses = [
                    await _read_status(reader)
                    for (reader, _), _ in zip(connections, wave, strict=False)
                ]
                assert set(statuses) <= {200, 409}, f"{statuses}"
                # It overtook an earlier one on its way: it goes again with the next wave.
                refused = [
                    item for item, status in zip(wave, statuses, strict=True) if status == 409
                ]
        self._next_seq += len(tokens)

    def _request(self, seq: int, token: bytes) -> bytes:
        fields = f"Producer-Seq: {seq}\r\nContent-Length: {len(token)}\r\n\r\n"
        return f"{self._head}{fields}".encode() + token


@contextlib.asynccontextmanager
async def _connection(
    host: str | None, port: int | None
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_connection(host, port)
    try:
        yield reader, writer
    finally:
        writer.close()


async def _read_status(reader: asyncio.StreamReader) -> int:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    for line in head.split("\r\n"):
        name, _, value = line.partition(":")
        if name.lower() == "content-length":
            await reader.readexactly(int(value))
    return int(head.split(" ", 2)[1])
