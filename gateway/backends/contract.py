"""The contract of a log: it keeps streams and compares versions, and knows no protocol rule."""

from __future__ import annotations

from asyncio import get_running_loop
from functools import partial
from typing import TYPE_CHECKING, NamedTuple, Protocol

import msgspec
from typing_extensions import override

from gateway.protocol.lifecycle import PathState
from gateway.protocol.streams.state import ProducerState

if TYPE_CHECKING:
    from asyncio import Future
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from gateway.protocol.streams.chunks import Chunk
    from gateway.protocol.streams.moments import ClockNote, Moment
    from gateway.protocol.streams.state import Change, StreamState
    from gateway.telemetry.metrics import Histogram

    # Is told, from one of several commits on, why each does not stand; None of one that does.
    Settled = Callable[[int, Sequence[Exception | None]], None]


MOST_COUNTED = 1000  # streams: of more, a log that has to look at each says no more than that


class Loaded(msgspec.Struct, frozen=True):
    """What a log has at a path: the stream or none, and the stream's producers."""

    place: PathState
    producers: dict[str, ProducerState]


class Listed(NamedTuple):
    """Streams by path, as the log has them: also those that are over and not yet taken away.

    `after` is where the next ones begin; None when there are no more.
    """

    states: Sequence[StreamState]
    after: str | None


class Conflict(Exception):
    """A stream is no longer at the version that a change expects. Nothing was written.

    `found` is what is at the path of the first change instead, when the log has told.
    """

    def __init__(self, found: Loaded | None = None) -> None:
        super().__init__()
        self.found = found


class LogListener(Protocol):
    """Who hears what other processes do to a shared log, on the event loop."""

    def heard(self, change: Change) -> None:
        """A followed stream changed; records that are too long to be told are left out."""

    def missed(self, path: str) -> None:
        """A followed stream may have changed, or be gone."""

    def gone(self, path: str, stream_id: int) -> None:
        """A stream was removed, followed or not."""

    def removals_missed(self) -> None:
        """Any stream may be gone, followed or not."""

    def history_changed(self) -> None:
        """Any stream may have changed, and the log may have lost what it acknowledged."""


class Log(Protocol):
    """A log of streams, used from one event loop.

    When it is `shared`, other processes write to it too: what is remembered of a stream may be
    old, and has to be confirmed before somebody is told of it.
    Every method but `commit` may raise LogUnavailable; then nothing was changed.
    """

    @property
    def shared(self) -> bool:
        """Whether other processes write to it."""

    @property
    def batch_bytes(self) -> int:
        """How many bytes of appends make a commit; others wait for the next."""

    @property
    def repeats_wait(self) -> bool:
        """Whether a duplicate append must wait for a commit of its own.

        Its first copy may not have reached `wait_replicas` replicas yet.
        """

    def listen(self, listener: LogListener) -> None:
        """Tell somebody of what other processes do; called before `open`."""

    async def open(self) -> None:
        """Make ready, recovering what a crash left. Raises StartError with one clear sentence."""

    async def close(self) -> None:
        """Finish what was begun and release everything."""

    def new_stream_id(self) -> int:
        """An id that no stream of this log ever had."""

    def load(self, path: str) -> Awaitable[Loaded]:
        """What stands at `path`."""

    async def is_current(self, state: StreamState) -> bool:
        """Whether a stream is still at the version of `state`; its deadline may have moved."""

    def follow(self, path: str) -> None:
        """Tell the listener of the stream's changes, and once when that has begun."""

    def unfollow(self, path: str) -> None:
        """Tell the listener of the stream's changes no more."""

    def atomic(self, changes: Sequence[Change]) -> bool:
        """Whether one commit can take these changes."""

    def commit(self, changes: Sequence[Change]) -> Future[None]:
        """Compare and commit: all changes, durably, or none.

        The future fails with Conflict when a version is not as expected, with LogUnavailable when
        the log could not write, or cannot say whether it has. It is never done when it is
        returned, and the futures of one stream are resolved in the order of their commits.
        """

    def commit_apart(self, changes: Sequence[Change], settled: Settled) -> None:
        """Commit changes of different streams, each by itself, as `commit` does with one.

        `settled` is told of each once, in later passes of the loop, of as many as are known then:
        also of what raised here, when nobody can say whether it stands.
        """
        for number, change in enumerate(changes):
            try:
                commit = self.commit((change,))
            except Exception as error:  # noqa: BLE001 - the others go on
                get_running_loop().call_soon(settled, number, (error,))
            else:
                commit.add_done_callback(partial(_settle_one, settled, number))

    async def read(self, state: StreamState, start: int, end: int) -> Chunk:
        """The records after `start` up to the first record end at or past `end`, or to the tail.

        A `start` inside a record is where that record begins. The chunk's state is the stream as
        it stood when the records were read; that of a shared log may be a moment younger. Raises
        StreamNotFound when the stream is gone, RecordDamaged when a checksum does not match.
        """

    async def removal_time(self, now: Moment) -> Moment:
        """Return the present for removals: `now`, or the time of the log's server if earlier."""
        return now

    async def expired(self, now: Moment, limit: int) -> Sequence[str]:
        """Paths, at most `limit`, of streams whose deadline is at or before `now`."""

    async def count_expired(self, now: Moment) -> int:
        """Return how many streams end at or before `now`; a log may stop counting early."""
        return len(await self.expired(now, MOST_COUNTED))

    async def clock_note(self) -> ClockNote | None:
        """Return the state of the clocks that the log's last process noted."""
        return None

    def note(self, noted: ClockNote) -> None:
        """Note the state of the clocks: by and by, and when the log is closed."""

    async def reclaim(self) -> bool:
        """Free a little of what removed streams left behind; True when more remains."""
        return False

    async def list_streams(self, begins: str, after: str, limit: int) -> Listed:
        """The first streams, at most `limit`, of those that begin with `begins` and follow `after`.

        It costs about as much as they are many, however many streams the log has.
        """

    async def largest(self, begins: str, most: int) -> Sequence[tuple[int, str]]:
        """Bytes and path of the largest streams, at most `most`, whose paths begin with `begins`.

        All of these streams are looked at, which may take many seconds.
        """

    def why_unhealthy(self) -> str | None:
        """Why the log takes no appends at this moment, None when it does."""

    def takes_removals(self) -> bool:
        """Whether streams can be removed, perhaps although it takes no appends."""
        return self.why_unhealthy() is None

    def loss(self) -> str | None:
        """What an operator has not taken note of yet: that acknowledged appends are lost."""
        return None

    async def share_figures(self, instance: str, told: str) -> Mapping[str, str]:  # noqa: ARG002 - for logs that are shared
        """Leave a gateway's figures for others on this log, and bring theirs, by instance."""
        return {}

    def histograms(self) -> Mapping[str, Histogram]:
        """What it has of `CommitFigures`."""
        return {}

    def numbers(self) -> Mapping[str, float]:
        """What this kind of log counts, by the names of `hosted.metrics.OF_SOME_LOGS`."""
        return {}


def _settle_one(settled: Settled, number: int, commit: Future[None]) -> None:
    error = commit.exception()
    assert error is None or isinstance(error, Exception), "a log raises no BaseException"
    settled(number, (error,))


class SoleLog(Log):
    """The parts of a log that only this process writes to: nobody else can move its streams."""

    shared = False
    batch_bytes = 4 * 1024 * 1024  # so that one busy stream does not hold up the others' group
    repeats_wait = False

    @override
    def listen(self, listener: LogListener) -> None:
        """There is nothing to tell."""

    @override
    async def is_current(self, state: StreamState) -> bool:
        """What this process remembers is what stands."""
        return True

    @override
    def follow(self, path: str) -> None:
        """Every change is made here."""

    @override
    def unfollow(self, path: str) -> None:
        """Every change is made here."""

    @override
    def note(self, noted: ClockNote) -> None:
        """Note nothing: the log ends with the process, unless it says otherwise."""

    @override
    def atomic(self, changes: Sequence[Change]) -> bool:
        """Whether one commit can take these changes: it can take any."""
        return True
