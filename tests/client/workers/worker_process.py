"""A worker in a process of its own, which notes each message: `URL SUBSCRIPTION FILE`."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from headgate import Worker

if TYPE_CHECKING:
    from headgate import Job


async def main(url: str, subscription: str, path: Path) -> None:
    """Note each message in one line of the file."""

    async def handle(job: Job) -> None:
        for stream in job.pending:
            async for message in stream.messages():
                with path.open("a") as file:
                    file.write(json.dumps([stream.name, message]) + "\n")

    await Worker(url, subscription).run(handle)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], Path(sys.argv[3])))
