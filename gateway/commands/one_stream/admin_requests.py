"""Requests to the admin listener of a gateway, with bounded answers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.commands.shell.failure import Failed

if TYPE_CHECKING:
    from collections.abc import Mapping

    from headgate.stream import Stream

# A page of 500 streams with names of 8 KiB, and metrics of 10,000 routes, fit.
LONGEST_ANSWER = 16 << 20


async def admin_answer(admin: Stream, path: str, query: Mapping[str, str] | None = None) -> bytes:
    """Return the answer to a GET of `path` below the URL of the admin listener.

    Raises Failed for an answer that is too long, and RequestRefused.
    """
    body = bytearray()
    url = f"{admin.url.removesuffix('/api')}/{path}"
    async with admin.beside(url).request("GET", query=query) as answer:
        async for piece in answer.content.iter_chunked(1 << 16):
            body += piece
            if len(body) > LONGEST_ANSWER:
                raise Failed(f"{admin.shown}: the answer is over {LONGEST_ANSWER >> 20} MiB")
    return bytes(body)
