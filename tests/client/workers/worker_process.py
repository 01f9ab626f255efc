"""A worker in a process of its own, which notes what it does: `URL SUBSCRIPTION FILE NUMBER`.

It stops in the middle of the job in which it has noted so many messages, until it is killed; with
0, it goes on until SIGTERM.
"""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from headgate import Worker

if TYPE_CHECKING:
    from headgate import Job


async def main(url: str, subscription: str, path: Path, last: int) -> None:
    """Note each message in one line of the file."""
    noted = 0

    async def handle(job: Job) -> None:
        nonlocal noted
        for stream in job.pending:
            async for message in stream.messages():
                with path.open("a") as file:
                    file.write(json.dumps([stream.name, message]) + "\n")
                noted += 1
                if noted == last:
                    await asyncio.Event().wait()

    worker = Worker(url, subscription)
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, worker.stop)
    await worker.run(handle)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], Path(sys.argv[3]), int(sys.argv[4])))
