"""Sending what waits in a backlog: each batch when it is due, and one request at a time."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

from headgate.errors import StreamError, TooLarge
from headgate.sending.framing import framing_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from headgate.sending.backlog import Backlog
    from headgate.sending.framing import Framing
    from headgate.sending.producer import Producer

# What is refused for what is in it: another part of the same batch may be taken.
OF_CONTENT = {400, 413, 422}


class Sender:
    """The sender of a writer's chunks: none are sent before `start`, nor after its task is over."""

    framing: Framing  # from `start` on

    def __init__(self, backlog: Backlog, producer: Producer) -> None:
        self.next_offset: str | None = None  # after what was sent
        self.is_open = False  # takes chunks, as far as is known
        self.is_ending = False  # closes the stream with the rest
        self._backlog = backlog
        self._producer = producer
        self._content_type = ""
        self._most_chunks = backlog.max_batch_chunks
        self._flushed_to = 0  # chunks that are to go without waiting for others
        self._wanted = asyncio.Event()  # there is something to look at
        self._moved = asyncio.Event()  # chunks were acknowledged, or none will be any more
        self._task: asyncio.Task[None] | None = None
        self._over: str | None = None  # why there is no writing any more

    def check_unused(self) -> None:
        """Raise RuntimeError if it has been started: its producer has one sequence of batches."""
        if self._over is not None or self._task is not None:
            raise RuntimeError(f"{self._over or 'the writer is open'}: make another StreamWriter")

    def start(self, content_type: str, *, takes_multi: bool) -> None:
        """Begin to send, in a task of its own."""
        self._content_type = content_type
        self._frame(takes_multi=takes_multi)
        self._task = asyncio.create_task(self._run())
        self.is_open = True

    def check_open(self) -> None:
        """Raise what ended the sending, and RuntimeError before it was started."""
        self.check_failure()
        if self._over is not None:
            raise RuntimeError(self._over)
        if self._task is None:
            raise RuntimeError(
                "a writer is used in its block: async with hg.writer(name) as writer, and in "
                "headgate.sync `with`"
            )

    def finish(self, why: str) -> None:
        """Take no more chunks; `why` is the message of the errors, if it is the first reason."""
        self.is_open = False
        self._over = self._over or why

    def is_done(self) -> bool:
        """Return whether nothing is sent any more, or nothing was."""
        return self._task is None or self._task.done()

    def check_failure(self) -> None:
        """Raise the error that the sending failed with, if it has."""
        task = self._task
        if task is not None and task.done() and not task.cancelled():
            failure = task.exception()
            if failure is not None:
                # Raised again and again, it would grow by each of these calls.
                raise failure.with_traceback(None)

    async def wait(self, is_so: Callable[[], bool]) -> None:
        """Wait until `is_so`; raise the error that the sending failed with."""
        while not is_so():
            self.check_failure()
            if self.is_done():
                raise RuntimeError(self._over)
            await self._moved.wait()
        self.check_failure()

    async def cancel(self) -> None:
        """Stop sending; a request under way may or may not be stored."""
        if self._task is not None and not self._task.done():
            self._task.cancel()
            await asyncio.wait({self._task})

    def wake(self) -> None:
        """Wake the sender, because a batch has begun or is full."""
        self._wanted.set()

    def flush(self) -> None:
        """Send all waiting chunks now, without waiting for full batches."""
        self._flushed_to = self._backlog.taken
        self._wanted.set()

    def end(self) -> None:
        """Send all waiting chunks, and close the stream with the last of them."""
        self.is_ending = True
        self._wanted.set()

    async def _run(self) -> None:
        """Send until the stream is closed. Raises StreamError when it cannot go on."""
        try:
            is_last = False
            while not is_last:
                await self._until_due()
                batch = self._backlog.next_batch()
                is_last = self.is_ending and self._backlog.is_empty
                await self._send(batch, is_closing=is_last)
        finally:
            self._tell()
            self.finish("the writer was aborted")

    def _frame(self, *, takes_multi: bool) -> None:
        self.framing = framing_of(self._content_type, takes_multi=takes_multi)
        most = self._most_chunks
        self._backlog.max_batch_chunks = min(most, self.framing.max_chunks or most)

    async def _until_due(self) -> None:
        loop = asyncio.get_running_loop()
        while not self.is_ending:
            self._wanted.clear()
            due_at = None
            if not self._backlog.is_empty:
                is_urgent = self._backlog.is_full or self._flushed_to > self._backlog.acknowledged
                if is_urgent or loop.time() >= self._backlog.due_at:
                    return
                due_at = self._backlog.due_at
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout_at(due_at):
                    await self._wanted.wait()

    async def _send(self, batch: list[bytes], *, is_closing: bool) -> None:
        """Send a batch, in smaller parts when it is refused for what is in it."""
        part, rest = batch, batch[:0]
        while True:
            try:
                await self._append(part, is_closing=is_closing and not rest)
            except StreamError as refusal:
                most = self._less(part, refusal)
                part, rest = part[:most], part[most:] + rest
                continue
            if not rest:
                return
            part, rest = rest[: len(part)], rest[len(part) :]

    def _less(self, part: list[bytes], refusal: StreamError) -> int:
        """Return the smaller batch size to try; raise the refusal if none can help."""
        # Whatever may be stored can only be sent again as it was.
        if refusal.status not in OF_CONTENT or self._producer.is_uncertain or not part:
            raise refusal
        if len(part) == 1:
            refusal._name_chunk(self._backlog.acknowledged + 1, len(part[0]))
            raise refusal
        half = len(part) // 2
        if isinstance(refusal, TooLarge):
            self._backlog.max_batch_bytes = sum(map(len, part)) // 2
        else:  # too many of them, or one is wrong: then there will be no further batch
            self._backlog.max_batch_chunks = half
        return half

    async def _append(self, batch: list[bytes], *, is_closing: bool) -> None:
        body, headers = self.framing.batch(batch) if batch else (b"", {})
        appended = await self._producer.append(
            body,
            content_type=self._content_type,
            headers=headers,
            is_closing=is_closing,
        )
        self._backlog.acknowledge(batch)
        if appended.takes_multi and self.framing.max_chunks is not None:
            self._frame(takes_multi=True)
        self.next_offset = appended.next_offset or self.next_offset
        self._tell()

    def _tell(self) -> None:
        """Wake all who wait for the sender."""
        self._moved.set()
        self._moved = asyncio.Event()
