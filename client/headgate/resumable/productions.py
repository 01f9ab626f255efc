"""The sources that are being read in this process, held here until they end."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from headgate.keep_alive import end_of

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from headgate.keep_alive import KeepAlive
    from headgate.resumable.contract import FailureText

CLOSE_WITHIN_S = 5.0  # for what a source does as it is closed, until it is left to itself


_log = logging.getLogger("headgate.resumable")


class Productions:
    """Tasks that run to their end; `keep_alive` gets an awaitable of each one's end.

    What has failed in one is `failure_text` to its readers.
    """

    def __init__(self, keep_alive: KeepAlive | None, failure_text: FailureText) -> None:
        self._keep_alive = keep_alive
        self.failure_text = failure_text
        self._tasks: set[asyncio.Task[None]] = set()

    def start(self, production: Coroutine[None, None, None]) -> None:
        """Run a production in a task."""
        loop = asyncio.get_running_loop()
        task = loop.create_task(production)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        if self._keep_alive is not None:
            self._keep_alive(end_of(task))

    async def stop(self) -> None:
        """Cancel the productions of this event loop; each notifies its readers."""
        await asyncio.sleep(0)  # one that was just started begins, and so it ends properly
        loop = asyncio.get_running_loop()
        tasks = [task for task in list(self._tasks) if task.get_loop() is loop]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def read_up(stream_id: str, reading: Coroutine[None, None, None]) -> None:
    """Read a source in a task of its own, which a cancellation leaves behind if it must."""
    task = asyncio.get_running_loop().create_task(reading)
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        task.cancel()
        if (await asyncio.wait({task}, timeout=CLOSE_WITHIN_S))[1]:
            _log.error("the source of stream %r does not end when it is cancelled", stream_id)
        raise
