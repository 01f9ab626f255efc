"""Files that are sent while they are made."""

from __future__ import annotations

import re
from contextlib import aclosing
from typing import TYPE_CHECKING

from aiohttp import web

from admin.errors import NotTold
from gateway.telemetry.logs import log

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

LONGEST_NAME = 80  # characters of a file's name, with which every file system can do
TYPES = {"ndjson": "application/x-ndjson", "raw": "application/octet-stream"}


def file_name(stream: str, kind: str) -> str:
    """Return a name for the file of a stream, which no shell, page or header misreads."""
    plain = re.sub(r"[^A-Za-z0-9._-]+", "_", stream).strip("._-")[-LONGEST_NAME:]
    return f"{plain or 'stream'}.{'ndjson' if kind == 'ndjson' else 'bin'}"


async def serve_file(
    request: web.Request, parts: AsyncGenerator[bytes], name: str
) -> web.StreamResponse:
    """Send the parts of a file. One that cannot be finished ends as an incomplete response.

    Raises NotTold if there is no first part.
    """
    kind = name.rpartition(".")[2]
    response = web.StreamResponse(headers={"Content-Disposition": f'attachment; filename="{name}"'})
    response.content_type = TYPES.get(kind, TYPES["raw"])
    async with aclosing(parts):
        first = await anext(parts, b"")
        await response.prepare(request)
        await response.write(first)
        try:
            async for part in parts:
                await response.write(part)
        except NotTold as failure:
            log.warning("admin.export_failed", status=failure.status, reason=failure.reason)
            if request.transport is not None:
                request.transport.abort()
            return response
        await response.write_eof()
    return response
