"""The quota of a log: at that size it takes nothing that grows, and everything else.

A log counts what it takes on the disk or in memory, and asks before each commit. What one commit
adds is an estimate until the log has counted again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.errors import LogFull

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from gateway.protocol.streams.state import Change

# What a log takes besides the bytes of records, about: the place of a record, a stream's state.
RECORD_BYTES = 100
STREAM_BYTES = 1024


def grows(changes: Sequence[Change]) -> bool:
    """Return whether a commit creates a stream or appends to one."""
    return any(change.records or change.expected is None for change in changes)


def size_of(changes: Sequence[Change]) -> int:
    """Return about how many bytes a commit adds to a log."""
    size = sum(len(record.data) + RECORD_BYTES for change in changes for record in change.records)
    return size + STREAM_BYTES * sum(change.expected is None for change in changes)


class Quota:
    """The bytes that a log takes, and the most that it may take; 0 means any number."""

    def __init__(self, max_bytes: int = 0, count: Callable[[], int] | None = None) -> None:
        """`count` returns the bytes taken now, for a log that counts none while it has no limit."""
        self.max_bytes = max_bytes
        self._count = count
        self.used = 0
        self.refused = 0  # commits
        self._room: int | None = None  # bytes that were left when a commit was refused

    def limit(self, max_bytes: int) -> None:
        """Take at most so many bytes from the next commit on."""
        if self._count is not None and not self.max_bytes:
            self.used = self._count()
        self.max_bytes = max_bytes

    def refusal(self, changes: Sequence[Change]) -> LogFull | None:
        """Return why a commit that grows the log does not fit; else count it as taken."""
        if not self.max_bytes or not grows(changes):
            return None
        size = size_of(changes)
        if self.used + size > self.max_bytes:
            self.refused += 1
            self._room = self.max_bytes - self.used
            return LogFull(
                f"the log of this route is full, as max_log_size is {self.max_bytes} bytes: nothing"
                " of this request was stored; delete streams, or have max_log_size raised"
            )
        self.used += size
        return None

    def note(self) -> str | None:
        """Return that the log is full, since a commit was refused and until there is more room.

        A short commit may still fit. It leaves less room for the next one, so the note stays.
        """
        if self._room is None or not self.max_bytes or self.max_bytes - self.used > self._room:
            return None
        return (
            f"{self.used:,} bytes are used of max_log_size, {self.max_bytes:,}: creations and"
            " appends that do not fit get 507 until streams are deleted or max_log_size is raised"
        )
