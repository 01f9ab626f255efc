"""The log in Redis: streams that many gateways serve, compared and committed by one call each."""

from __future__ import annotations

import asyncio
import itertools
import secrets
from functools import partial
from time import monotonic
from typing import TYPE_CHECKING

from typing_extensions import override

from gateway.errors import LogUnavailable, RecordDamaged
from gateway.logs.contract import Conflict, Log, settle
from gateway.logs.counts import CommitHistograms
from gateway.logs.redis.commands import decode_stream
from gateway.logs.redis.connector import RedisConnector, RedisSettings
from gateway.logs.redis.indexes import DeadlineIndex, PathIndex
from gateway.logs.redis.losses import LossWatch
from gateway.logs.redis.records import read_records
from gateway.logs.redis.server_status import ServerStatusWatch
from gateway.logs.redis.store import AT_RISK, RedisCall, RedisStore
from gateway.stepped import in_task

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import TypeAlias

    from gateway.logs.contract import LoadedStream, Settled
    from gateway.logs.redis.connection import Packed, Reply
    from gateway.logs.redis.indexes import IndexNote
    from gateway.logs.redis.primary import Primary
    from gateway.logs.redis.store import CallReplies
    from gateway.protocol.streams.chunks import Chunk
    from gateway.protocol.streams.state import Change, ClockReading, StreamState
    from gateway.settings import Route
    from gateway.telemetry.metrics import Histogram

    Done: TypeAlias = Callable[[CallReplies | LogUnavailable], None]
    Settle: TypeAlias = Callable[[Exception | None], object]

ID_BITS = 62  # random, so gateways need not agree on ids
MOST_COUNTED = 1000  # expired streams; each takes a call to Redis


class RedisLog(Log):
    """A log in a Redis, its replicas or its cluster (`redis:`, `rediss:`, `redis+sentinel:` …)."""

    batch_bytes = 256 * 1024  # one entry is read whole, even for its last record

    def __init__(self, settings: RedisSettings, connector: RedisConnector | None = None) -> None:
        connector = connector or RedisConnector(settings)
        self.store: RedisStore = RedisStore(connector, self._on_history_change)
        self.sharing: RedisStore = self.store
        self.listing: PathIndex = PathIndex(self.store)
        self._deadlines = DeadlineIndex(self.store)
        self._server_status = ServerStatusWatch(self.store)
        self._losses = LossWatch(self.store)
        self._commits = RedisCommits(self.store, self._deadlines, self.listing, self._losses)

    @override
    def __repr__(self) -> str:
        return f"RedisLog({self.store.servers.connector.origin})"

    @override
    async def open(self) -> None:
        self.store.servers.connector.check()
        await self.store.servers.open()
        self._server_status.start()

    @override
    async def close(self) -> None:
        await self._server_status.stop()
        await self.listing.close()
        await self._losses.close()
        await self.store.servers.close()

    def _on_history_change(self, primary: Primary) -> None:
        self._losses.history_changed(primary)
        self.listing.on_history_change()
        self.store.servers.notifications.on_history_change()

    @override
    def why_unhealthy(self) -> str | None:
        """Return what is wrong with the first server that takes no appends."""
        return self.store.servers.why_unhealthy()

    @override
    def new_stream_id(self) -> int:
        return secrets.randbits(ID_BITS)

    @override
    async def load(self, path: str) -> LoadedStream:
        """Load the stream at `path`, with its generation raised to the server's history."""
        store = self.store
        (reply,) = await store.execute(store.names.meta(path), store.commands.load(path))
        store.servers.compare(int(reply[0]))
        return decode_stream(reply)

    @override
    async def read(self, state: StreamState, start: int, end: int) -> Chunk:
        """Return the records after `start`; the chunk's state is as new as they are, or newer."""
        await in_task()  # a server is asked, with a time limit
        return await read_records(self.store, state, start, end)

    @override
    def can_commit_together(self, changes: Sequence[Change]) -> bool:
        """Return whether there is one change at most: a crash could store some of several."""
        return len(changes) <= 1

    @override
    def commit(self, changes: Sequence[Change]) -> asyncio.Future[None]:
        (change,) = changes
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._commits.commit(change, partial(settle, done))
        return done

    @override
    def commit_apart(self, changes: Sequence[Change], settled: Settled) -> None:
        later = asyncio.get_running_loop().call_soon  # as a future's callbacks: in commit order
        for number, change in enumerate(changes):

            def settle(error: Exception | None, number: int = number) -> None:
                later(settled, number, (error,))

            try:
                self._commits.commit(change, settle)
            except Exception as error:  # noqa: BLE001 - the others go on
                settle(error)

    @override
    async def expired(self, now: ClockReading, limit: int) -> Sequence[str]:
        """Return the paths of streams that have ended, or whose oldest part has."""
        return await self._deadlines.expired(now.wall, limit)

    @override
    def histograms(self) -> Mapping[str, Histogram]:
        """Return the sizes of commits, how long they wait, and how long Redis takes."""
        return self._commits.histograms.by_name("appends", "queue", "write")

    @override
    def numbers(self) -> Mapping[str, float]:
        """Return the counts; the state of the servers is that of the last check."""
        return {
            **self._server_status.numbers,
            "commits": self._commits.stored,
            "conflicts": self._commits.conflicts,
            "followed": len(self.store.servers.notifications),
            **{f"histories_{lost}": count for lost, count in self._losses.counts.items()},
        }

    @override
    async def count_expired(self, now: ClockReading) -> int:
        return len(await self._deadlines.expired(now.wall, MOST_COUNTED))


class RedisCommits:
    """The commits of one gateway, and their histograms."""

    def __init__(
        self, store: RedisStore, deadlines: DeadlineIndex, paths: PathIndex, losses: LossWatch
    ) -> None:
        self._store = store
        self._meta = store.names.meta
        self._deadlines = deadlines
        self._paths = paths
        self._losses = losses
        self._tokens = itertools.count()
        self.histograms = CommitHistograms()
        self.stored = 0
        self.conflicts = 0

    def commit(self, change: Change, settle: Settle) -> None:
        """Commit one change, and note before it where its stream is to be looked for.

        `settle` gets the error with which it failed, or None, in a later pass of the loop.
        """
        key = self._meta(change.state.path)
        token = next(self._tokens)
        commit = self._store.commands.commit(change, token)
        committed = partial(self._committed, change, token, settle, monotonic())
        notes = [*self._deadlines.notes(change), *self._paths.notes(change)]
        beside = [one for one in notes if self._store.servers.together([key, one.key])]
        elsewhere = [one for one in notes if one not in beside]
        self._write_after(elsewhere, change, [*(one.call for one in beside), commit], committed)

    def _write_after(
        self, notes: Sequence[IndexNote], change: Change, calls: list[Packed], done: Done
    ) -> None:
        """Write once the servers of other keys have replied to the notes.

        A stream is not created while one of them is refused: nothing else would list the stream, or
        end it. Other changes do not wait for the server of the deadlines.
        """
        if not notes:
            self._write(self._meta(change.state.path), calls, done)
            return
        note, *others = notes

        def noted(answer: CallReplies | LogUnavailable) -> None:
            if isinstance(answer, LogUnavailable):
                if change.expected is None:
                    done(answer)
                    return
                self._deadlines.note_later(change.state.path, note)
            self._write_after(others, change, calls, done)

        self._write(note.key, [note.call], noted)

    def _write(self, key: str, calls: list[Packed], done: Done) -> None:
        RedisCall(self._store.servers, key, calls, done, commits=True).go()

    def _committed(
        self,
        change: Change,
        token: int,
        settle: Settle,
        requested_at: float,
        answer: CallReplies | LogUnavailable,
    ) -> None:
        if isinstance(answer, LogUnavailable):
            settle(answer)
            return
        reply, primary = answer.replies[-1], answer.primary
        self._follow_up(change, reply)
        self._observe(primary, requested_at)
        if reply[0] == 0:
            self.conflicts += 1
            settle(_conflict(reply))
        elif answer.is_at_risk(self._store.wait_replicas):
            primary.look()
            settle(LogUnavailable(AT_RISK))
        else:
            self.stored += 1
            self._losses.acknowledged(primary, change, token)
            settle(None)

    def _follow_up(self, change: Change, reply: Reply) -> None:
        """Delete what a commit left over, count it, and correct the list of paths.

        A new stream is listed once more: a removal of its predecessor, or a page, may have dropped
        its path just before it was there.
        """
        path = change.state.path
        if reply == [1, 1]:
            self._write(self._meta(path), [self._store.commands.tidy(change)], lambda _: None)
        if reply[0] != 1:
            return
        self.histograms.stored([change])
        if change.removes:
            self._paths.drop(path)
        elif change.expected is None:
            note = self._paths.note([path])
            self._write(note.key, [note.call], lambda _: None)

    def _observe(self, primary: Primary, requested_at: float) -> None:
        """Observe how long a commit waited, and how long the server and the network took."""
        sent_at = max(requested_at, primary.commits.answered_sent_at)
        self.histograms.queue.observe(sent_at - requested_at)
        self.histograms.write.observe(monotonic() - sent_at)


def _conflict(reply: Reply) -> Conflict | RecordDamaged:
    """Return the refusal of a commit, with the stream that it found instead if the reply has it."""
    _, history, (fields, retired) = reply
    try:
        return Conflict(None if fields is None else decode_stream((history, fields, retired)))
    except RecordDamaged as damage:
        return damage


def log_of(route: Route) -> RedisLog:
    """Return the log in the Redis of a route's origin."""
    return RedisLog(RedisSettings.of(route))
