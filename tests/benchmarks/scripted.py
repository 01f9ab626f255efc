"""An origin that gives whatever answers it is told to, in pieces, right or wrong."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.support.raw_origin import RawOrigin

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.raw_origin import Wire


def server(answer: Callable[[str, str, bytes, Wire], bytes], piece: int = 1 << 20) -> RawOrigin:
    """A server whose answers are written in pieces."""

    async def play(wire: Wire) -> None:
        body = await wire.body()
        data = answer(wire.heard.method, wire.heard.target, body, wire)
        for start in range(0, len(data), piece):
            await wire.send(data[start : start + piece])
        if "Connection: close" in wire.heard.fields:
            await wire.close()

    return RawOrigin(play)


def with_length(body: bytes, status: str = "200 OK", *headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status}", f"content-length:{len(body)}", *headers]
    return "\r\n".join([*lines, "", ""]).encode() + body


def in_chunks(body: bytes) -> bytes:
    middle = len(body) // 2
    chunks = b"".join(b"%X;a=b\r\n%s\r\n" % (len(it), it) for it in (body[:middle], body[middle:]))
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nX: \r\n\r\n"
    return head + chunks + b"0\r\nTrailer: 1\r\n\r\n"
