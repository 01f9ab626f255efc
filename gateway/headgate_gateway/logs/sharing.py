"""The ability of a log to be written by several processes, which it notifies of each other.

A stream's state in memory may be stale, and is confirmed before a client gets it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from headgate_gateway.protocol.streams.state import Change, ClockReading, StreamState


class LogListener:
    """An observer of what other processes do to a shared log, called on the event loop.

    It does nothing by default: a log of documents alone has no streams.
    """

    def on_change(self, change: Change) -> None:
        """Apply the change of a followed stream; records too long for a notification are absent."""

    def on_missed_changes(self, path: str) -> None:
        """Treat a followed stream as changed or removed: notifications may have been lost."""

    def on_removal(self, path: str, stream_id: int) -> None:
        """Drop a removed stream, followed or not."""

    def on_missed_removals(self) -> None:
        """Treat any stream as removed, followed or not: notifications may have been lost."""

    def on_history_change(self) -> None:
        """Treat any stream as changed: the log may have lost what it acknowledged."""


class Sharing(ABC):
    """The ability of a log to be written by other processes too.

    Every `async` method may raise LogUnavailable.
    """

    # True if a duplicate append must wait for a commit of its own: that of its first copy may not
    # have reached `wait_replicas` replicas yet.
    repeats_wait: bool

    @abstractmethod
    def listen(self, listener: LogListener) -> None:
        """Notify `listener` of what other processes do; called before the log is opened."""

    @abstractmethod
    async def is_current(self, state: StreamState) -> bool:
        """Return whether a stream is still at the version of `state`.

        Its deadline may have moved.
        """

    @abstractmethod
    def follow(self, path: str) -> None:
        """Notify the listener of the stream's changes, and once when that has begun."""

    @abstractmethod
    def unfollow(self, path: str) -> None:
        """Stop notifying the listener of the stream's changes."""

    @abstractmethod
    async def removal_time(self, now: ClockReading) -> ClockReading:
        """Return the present for removals: `now`, or the time of the log's server if earlier."""
