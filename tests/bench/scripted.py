"""A server on loopback that gives whatever answers it is told to, right or wrong."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from tests.support.listener import Listener

if TYPE_CHECKING:
    import asyncio
    from collections.abc import AsyncIterator, Callable


@contextlib.asynccontextmanager
async def server(
    answer: Callable[[str, str, bytes, asyncio.StreamWriter], bytes], piece: int = 1 << 20
) -> AsyncIterator[int]:
    """The port of a server whose answers are written in pieces."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            method, path, _ = head.split(" ", 2)
            length = int(head.partition("Content-Length: ")[2].partition("\r")[0] or 0)
            body = await reader.readexactly(length)
            await write(writer, answer(method, path, body, writer), piece)
            if "Connection: close" in head:
                break

    async with Listener(serve) as listener:
        yield listener.port


async def write(writer: asyncio.StreamWriter, data: bytes, piece: int) -> None:
    for start in range(0, len(data), piece):
        writer.write(data[start : start + piece])
        await writer.drain()


def with_length(body: bytes, status: str = "200 OK", *headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status}", f"content-length:{len(body)}", *headers]
    return "\r\n".join([*lines, "", ""]).encode() + body


def in_chunks(body: bytes) -> bytes:
    middle = len(body) // 2
    chunks = b"".join(b"%X;a=b\r\n%s\r\n" % (len(it), it) for it in (body[:middle], body[middle:]))
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nX: \r\n\r\n"
    return head + chunks + b"0\r\nTrailer: 1\r\n\r\n"
