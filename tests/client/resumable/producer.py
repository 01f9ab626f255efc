"""`python -m tests.client.resumable.producer URL ID`: makes a stream of the lines on its stdin."""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING

from headgate import ResumableStreams

from tests.client.resumable.sources import whole

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


async def lines() -> AsyncIterator[str]:
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while line := await reader.readline():
        yield line.decode()


async def main(url: str, stream_id: str) -> None:
    async with ResumableStreams(url) as streams:
        reader = await streams.create(stream_id, lines)
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        await whole(reader)
        while await streams.state(stream_id) != "done":
            await asyncio.sleep(0.01)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
