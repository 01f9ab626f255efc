"""The contract of a log: it stores streams and compares versions, and knows no protocol rule.

Every log has nine methods. The others have defaults: for a log that counts nothing for the metrics,
and for one without files to look after. A log may also have abilities: each is an attribute that
holds the object for it, or None. Features declare further ones next to their users.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from headgate_gateway.errors import NotOffered
from headgate_gateway.protocol.lifecycle import PathState
from headgate_gateway.protocol.streams.state import ProducerState

if TYPE_CHECKING:
    from asyncio import Future
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from headgate_gateway.errors import LogUnavailable
    from headgate_gateway.logs.counts import Quota
    from headgate_gateway.logs.searches import FoundPaths, PathTest
    from headgate_gateway.logs.sharing import Sharing
    from headgate_gateway.protocol.streams.chunks import Chunk
    from headgate_gateway.protocol.streams.state import (
        Change,
        ClockReading,
        ClockRecord,
        StreamState,
    )
    from headgate_gateway.telemetry.health import Cause
    from headgate_gateway.telemetry.metrics import Histogram

    # Called with the number of the first of several commits, and for each commit from that one on
    # the error with which it failed, or None if it succeeded.
    Settled = Callable[[int, Sequence[Exception | None]], None]


LAST = "\U0010ffff"  # prefix + LAST sorts after every path with this prefix


class LoadedStream(msgspec.Struct, frozen=True):
    """The stream that a log has at a path, or none, and the stream's producers."""

    path_state: PathState
    producers: dict[str, ProducerState]


class ListingPage(NamedTuple):
    """A page of a log's streams by path, with those that have ended and are not removed yet.

    `after` is the last path of the page: the next page begins after it. None on the last page.
    """

    states: Sequence[StreamState]
    after: str | None


class Conflict(Exception):
    """A stream is no longer at the version that a change expects. Nothing was written.

    `found` is what is at the path of the first change instead, if the log's reply has it.
    """

    def __init__(self, found: LoadedStream | None = None) -> None:
        super().__init__()
        self.found = found


class Listing(ABC):
    """The ability of a log to list its streams. Every method may raise LogUnavailable."""

    @abstractmethod
    async def page(self, prefix: str, after: str, limit: int) -> ListingPage:
        """Return the first streams, at most `limit`, that begin with `prefix` and follow `after`.

        The cost depends on their number, not on how many streams the log has.
        """

    @abstractmethod
    async def search(self, prefix: str, after: str, fits: PathTest, limit: int) -> FoundPaths:
        """Return the first paths, at most `limit`, that fit, begin with `prefix`, follow `after`.

        All such paths are compared in turns with other work. There may be no stream at some of
        them any more.
        """

    @abstractmethod
    async def largest(self, prefix: str, most: int) -> Sequence[tuple[int, str]]:
        """Return bytes and path of the largest streams, at most `most`, that begin with `prefix`.

        The log looks at each of these streams, which may take many seconds.
        """


class Log(ABC):
    """A log of streams, used from one event loop.

    `load`, `read` and `expired` may raise LogUnavailable; then nothing was changed. A kind that
    lacks an abstract method cannot be made.
    """

    batch_bytes: int = 4 << 20  # bytes of appends in a commit: one stream holds up no others
    sharing: Sharing | None = None  # None: only this process writes to the log
    listing: Listing | None = None
    quota: Quota | None = None  # None: the log does not know how much it takes

    @abstractmethod
    async def open(self) -> None:
        """Make ready, recovering what a crash left. Raises StartError with one clear sentence."""

    @abstractmethod
    async def close(self) -> None:
        """Finish what was begun and release everything."""

    @abstractmethod
    def why_unhealthy(self) -> str | None:
        """Return why the log takes no appends at this moment, None if it does."""

    def refusal_at_once(self, path: str) -> LogUnavailable | None:  # noqa: ARG002 - for logs elsewhere
        """Return the refusal of a write to `path`; None if the log tries to store it."""
        return None

    @abstractmethod
    def new_stream_id(self) -> int:
        """Return an id that no stream of this log ever had."""

    @abstractmethod
    def load(self, path: str) -> Awaitable[LoadedStream]:
        """Load the stream at `path` and its producers."""

    @abstractmethod
    async def read(self, state: StreamState, start: int, end: int) -> Chunk:
        """Return the records after `start` up to the first record end at or past `end`, or all.

        A `start` inside a record is where that record begins. The chunk's state is the stream as
        it stood when the records were read; that of a shared log may be a moment younger. Raises
        StreamNotFound when the stream is gone, StreamGone when it begins after `start` by now,
        RecordDamaged when a checksum does not match.
        """

    def can_commit_together(self, changes: Sequence[Change]) -> bool:  # noqa: ARG002 - for logs of several servers
        """Return whether one commit can take these changes."""
        return True

    @abstractmethod
    def commit(self, changes: Sequence[Change]) -> Future[None]:
        """Compare and commit: all changes, durably, or none.

        A change that `trims` frees the stream's own records before its `first`, then or later.

        The future fails with Conflict when a version is not as expected, with LogFull when the
        changes do not fit into the log's quota, with LogUnavailable when the log could not write,
        or cannot say whether it has. It is never done when it is returned, and the futures of one
        stream are resolved in the order of their commits.
        """

    @abstractmethod
    def commit_separately(self, changes: Sequence[Change], settled: Settled) -> None:
        """Commit changes of different streams, each by itself, as `commit` does with one.

        `settled` is called once for each change, in later passes of the loop, with as many as are
        known then. An exception raised here is passed to it, too: then it is unknown whether the
        change was written.
        """

    @abstractmethod
    async def expired(self, now: ClockReading, limit: int) -> Sequence[str]:
        """Return the paths, at most `limit`, of streams that are due (`StreamState.is_due`)."""

    def histograms(self) -> Mapping[str, Histogram]:
        """Return the histograms of `CommitHistograms` that the log fills, by name."""
        return {}

    def numbers(self) -> Mapping[str, float]:
        """Return what this kind of log counts, by the names of `streams.metrics.OF_SOME_LOGS`."""
        return {}

    async def count_expired(self, now: ClockReading) -> int:  # noqa: ARG002 - for logs that count
        """Return how many streams end at or before `now`; a log may stop counting early."""
        return 0

    def noted_clocks(self) -> ClockRecord | None:
        """Return the clocks as the log noted them last; None in a new log."""
        return None

    def note_clocks(self, clocks: ClockRecord) -> None:  # noqa: B027 - for logs with files
        """Note the clocks with one of the next commits."""

    async def reclaim(self) -> bool:
        """Free some room of removed streams; return True if there is more to free.

        Raises LogUnavailable.
        """
        return False

    def accepts_removals(self) -> bool:
        """Return whether streams can be removed, which may need room, too."""
        return self.why_unhealthy() is None

    def is_read_only(self) -> bool:
        """Return whether the log serves reads while it takes no appends.

        By default that is a log on a full disk, which still accepts removals.
        """
        return self.why_unhealthy() is not None and self.accepts_removals()

    def loss(self) -> Cause | None:
        """Return what acknowledged appends were lost, for as long as an operator should know."""
        return None


def listing_of(log: Log) -> Listing:
    """Return the log's listing. Raises NotOffered if it has none."""
    if log.listing is None:
        raise NotOffered("the log of this route cannot list its streams")
    return log.listing
