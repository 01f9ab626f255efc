"""Writes log lines to stderr: several in one system call, and without waiting for their reader."""

from __future__ import annotations

import asyncio
import contextlib
import os
import select
import stat
import time
from collections import deque
from threading import RLock
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from collections.abc import Callable

# Bytes of one write. Pipes take so many whole or not at all, so that lines of workers, which share
# one, are never mixed.
AT_ONCE = select.PIPE_BUF
MANY = 64  # lines of requests, with what they are made of, before the end of the turn
# Bytes that wait for a reader of the log that has stalled: the lines of 3,000 requests. What comes
# then is dropped and counted, since requests matter more than their lines.
MAX_WAITING = 1024 * 1024
AGAIN_S = 0.02  # until the next try, if no other line makes one: a pipe holds 64 KiB
LAST_S = 1.0  # for a reader that is slow, when the process ends


class LogOutput:
    """The lines on their way to a file descriptor, at most MAX_WAITING bytes of them.

    Any thread may write lines. `dropped` counts those that were not written, because too many
    waited or the file took none.
    """

    def __init__(
        self,
        descriptor: int,
        *,
        encoding: str = "utf-8",
        on_recovered: Callable[[int], object] = lambda _: None,
    ) -> None:
        """Call `on_recovered` with the number of dropped lines once no line waits any more."""
        self.dropped = 0
        self._descriptor, self._poll = _unblocked(descriptor)
        self._encoding = encoding
        self._on_recovered = on_recovered
        self._reported = 0  # of the dropped ones
        # Lines of this turn, MANY at most: what renders each, and of what.
        self._soon: deque[tuple[Callable[..., str], tuple[object, ...]]] = deque()
        self._waiting = bytearray()
        self._is_stuck = False  # at the last try not everything was taken
        self._is_flushing = False
        self._ends_turn = False  # a call at the end of the event loop's turn is scheduled
        self._tries_again = False  # a call after AGAIN_S is scheduled
        # Reentrant: what is collected while a line is written may have a warning written.
        self._lock = RLock()

    def write(self, text: str) -> None:
        """Queue whole lines; `flush` writes them."""
        with self._lock:
            self._render_soon()
            self._queue(text)

    def write_soon(self, render: Callable[..., str], *facts: object) -> None:
        """Have a line rendered and written with the others of this turn of the event loop.

        One behind the other, lines take half of the time that each of them takes by itself, and
        clients have their answers before.
        """
        soon = self._soon
        soon.append((render, facts))
        if len(soon) >= MANY:
            self.flush()
        if self._ends_turn:
            return
        try:
            asyncio.get_running_loop().call_soon(self._end_turn)
        except RuntimeError:  # there is no turn to wait for
            self.flush()
        else:
            self._ends_turn = True

    def flush(self) -> None:
        """Write what waits, as far as it is taken at once."""
        missing = 0
        with self._lock:
            self._render_soon()
            if self._is_flushing or not self._waiting:
                return  # the call that is under way writes it
            self._is_flushing = True
            try:
                self._write_waiting()
                self._is_stuck = False
                missing, self._reported = self.dropped - self._reported, self.dropped
            except BlockingIOError:
                self._is_stuck = True
            except OSError:  # its reader has gone, or the disk is full
                self.dropped += self._waiting.count(b"\n")
                self._waiting.clear()
                self._is_stuck = False
            finally:
                self._is_flushing = False
        if self._is_stuck:
            self._try_again()
        elif missing:
            self._on_recovered(missing)

    def close(self) -> None:
        """Write what waits when the process ends, and wait LAST_S at most for its reader."""
        ends = time.monotonic() + LAST_S
        self.flush()
        while self._is_stuck and time.monotonic() < ends:
            time.sleep(AGAIN_S)
            self.flush()

    def _end_turn(self) -> None:
        self._ends_turn = False
        self.flush()

    def _try_again(self) -> None:
        """Flush after AGAIN_S, in case that no line comes before."""
        if not self._tries_again:
            with contextlib.suppress(RuntimeError):  # without a loop the next line does it
                asyncio.get_running_loop().call_later(AGAIN_S, self._flush_again)
                self._tries_again = True

    def _flush_again(self) -> None:
        self._tries_again = False
        self.flush()

    def _render_soon(self) -> None:
        """Queue the lines of this turn; popped one by one, since another thread may do that."""
        soon = self._soon
        while soon:
            render, facts = soon.popleft()
            self._queue(render(*facts))

    def _queue(self, text: str) -> None:
        lines = text.encode(self._encoding, "backslashreplace")
        if len(self._waiting) + len(lines) > MAX_WAITING:
            self.dropped += 1
        else:
            self._waiting += lines

    def _write_waiting(self) -> None:
        while waiting := self._waiting:
            if self._poll is not None and not self._poll.poll(0):
                raise BlockingIOError
            # As many whole lines as fit, or one that is longer.
            end = waiting.rfind(b"\n", 0, AT_ONCE) + 1 or waiting.find(b"\n") + 1 or len(waiting)
            del waiting[: os.write(self._descriptor, waiting[:end])]


_standard: LogOutput | None = None  # from `start` on


def start(stderr: TextIO, *, on_recovered: Callable[[int], object]) -> LogOutput:
    """Return the output of this process's log lines."""
    global _standard
    _standard = LogOutput(stderr.fileno(), encoding=stderr.encoding, on_recovered=on_recovered)
    return _standard


def lines_dropped() -> int:
    """Return how many log lines of this process were not written."""
    return 0 if _standard is None else _standard.dropped


def _unblocked(descriptor: int) -> tuple[int, select.poll | None]:
    """Return a descriptor whose writes do not wait; otherwise with a poll that says when not.

    O_NONBLOCK holds for all who share an open file, so that it is set on one opened anew.
    """
    if stat.S_ISREG(os.fstat(descriptor).st_mode):
        return descriptor, None  # another opened file would have its own place in it
    with contextlib.suppress(OSError):  # it is a socket, or another user's
        flags = os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY
        return os.open(f"/proc/self/fd/{descriptor}", flags), None
    poll = select.poll()
    poll.register(descriptor, select.POLLOUT)
    return descriptor, poll
