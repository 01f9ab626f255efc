"""Counts of a log: the bytes that it takes, compared with its quota, and its commits.

At its quota a log takes nothing that grows, and everything else. A log counts what it takes on the
disk or in memory, and asks before each commit. What one commit adds is an estimate until the log
has counted again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from headgate_gateway.errors import LogFull
from headgate_gateway.telemetry.health import Cause
from headgate_gateway.telemetry.metrics import Histogram

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from headgate_gateway.protocol.streams.state import Change

# Bytes that a log takes besides those of records, about: a record's index, a stream's state.
RECORD_BYTES = 100
STREAM_BYTES = 1024
APPENDS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)  # up to the largest batch of one stream
# Seconds, from a tenth of a millisecond: an append to memory, and a group commit to a fast disk.
BOUNDS_S = (
    *(0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5),
    *(1.0, 2.5, 5.0),
)


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
                "the storage of this route is full, as max_storage_size is "
                f"{self.max_bytes} bytes: nothing of this request was stored; delete streams, or "
                "have max_storage_size raised"
            )
        self.used += size
        return None

    def cause(self) -> Cause | None:
        """Return that the log is full, since a commit was refused and until there is more room.

        A short commit may still fit. It leaves less room for the next one, so the cause stays.
        """
        if self._room is None or not self.max_bytes or self.max_bytes - self.used > self._room:
            return None
        return Cause("full", {"used": self.used, "limit": self.max_bytes})


class CommitHistograms:
    """Histograms: appends per group (what a log stores in one step), and seconds per phase.

    A commit waits in `queue` until its group begins. `write` is until the log has all of the group,
    `sync` until that is durable, for logs that can distinguish the two.
    """

    __slots__ = ("appends", "queue", "sync", "write")

    def __init__(self) -> None:
        self.appends = Histogram(APPENDS)
        self.queue = Histogram(BOUNDS_S)
        self.write = Histogram(BOUNDS_S)
        self.sync = Histogram(BOUNDS_S)

    def stored(self, changes: Sequence[Change]) -> None:
        """Observe the number of appends in a group that was stored, if it has any."""
        appends = 0
        for change in changes:
            appends += change.appends
        if appends:
            self.appends.observe(appends)

    def by_name(self, *names: str) -> Mapping[str, Histogram]:
        """Return the histograms of these names, the only ones that a kind of log fills."""
        return {name: getattr(self, name) for name in names}
