"""The task that a writer's chunks are sent in, and how it ends."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from headgate.sending.sender import Sender


class SenderTask:
    """The task of a writer's sender: none before `start`, and over by an error or for a reason."""

    def __init__(self) -> None:
        self.sender: Sender | None = None
        self.open_sender: Sender | None = None  # while it takes chunks, as far as is known
        self._task: asyncio.Task[None] | None = None
        self._over: str | None = None  # why there is no writing any more

    def check_unused(self) -> None:
        """Raise RuntimeError if it has been started: its producer has one sequence of batches."""
        if self._over is not None or self._task is not None:
            raise RuntimeError(f"{self._over or 'the writer is open'}: make another StreamWriter")

    def start(self, sender: Sender) -> None:
        """Begin to send, in a task of its own."""
        self._task = asyncio.create_task(self._run(sender))
        self.sender = self.open_sender = sender

    async def _run(self, sender: Sender) -> None:
        try:
            await sender.run()
        finally:
            self.finish("the writer was aborted")

    def opened(self) -> Sender:
        """Return the sender; raise RuntimeError before the block is entered and after its end."""
        self.check_failure()
        if self._over is not None:
            raise RuntimeError(self._over)
        if self.sender is None:
            raise RuntimeError("a writer is used as: async with StreamWriter(url) as writer")
        return self.sender

    def finish(self, why: str) -> None:
        """Take no more chunks; `why` is the message of the errors, if it is the first reason."""
        self.open_sender = None
        self._over = self._over or why

    def is_done(self) -> bool:
        """Return whether nothing is sent any more."""
        return self._task is not None and self._task.done()

    def check_failure(self) -> None:
        """Raise the error that the sender failed with, if it has."""
        task = self._task
        if task is not None and task.done() and not task.cancelled():
            failure = task.exception()
            if failure is not None:
                # Raised again and again, it would grow by each of these calls.
                raise failure.with_traceback(None)

    async def wait(self, sender: Sender, is_so: Callable[[], bool]) -> None:
        """Wait until `is_so`; raise the error that the sender failed with."""
        while not is_so():
            self.check_failure()
            if self.is_done():
                raise RuntimeError(self._over)
            await sender.moved()
        self.check_failure()

    async def cancel(self) -> None:
        """Stop sending; a request under way may or may not be stored."""
        if self._task is not None and not self._task.done():
            self._task.cancel()
            await asyncio.wait({self._task})
