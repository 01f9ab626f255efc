"""The log in Redis: streams that many gateways serve, compared and committed by one call each."""

from __future__ import annotations

import asyncio
import itertools
import secrets
from functools import partial
from time import monotonic
from typing import TYPE_CHECKING

from typing_extensions import override

from gateway.backends.commit_figures import CommitFigures
from gateway.backends.contract import Conflict, Listed, Loaded, Log
from gateway.backends.redis.commands import (
    Commands,
    deliver,
    found_instead,
    is_current,
    loaded,
)
from gateway.backends.redis.deadline_index import DeadlineIndex
from gateway.backends.redis.names import RedisNames
from gateway.backends.redis.path_index import PathIndex
from gateway.backends.redis.path_search import PathSearch
from gateway.backends.redis.record_reader import RecordReader
from gateway.backends.redis.servers.call import RedisCall
from gateway.backends.redis.servers.connector import RedisSettings
from gateway.backends.redis.servers.losses import LossWatch
from gateway.backends.redis.servers.notifications import Notifications
from gateway.backends.redis.servers.primaries import Primaries
from gateway.backends.redis.servers.topology import Topology
from gateway.backends.redis.servers.vitals import VitalsWatch
from gateway.backends.redis.shared_figures import SharedFigures
from gateway.errors import LogUnavailable, RecordDamaged
from gateway.protocol.streams.moments import Moment

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from gateway.backends.contract import LogListener
    from gateway.backends.redis.connection import Packed, Reply
    from gateway.backends.redis.servers.pipeline import Answer
    from gateway.backends.redis.servers.primary import Primary
    from gateway.protocol.streams.chunks import Chunk
    from gateway.protocol.streams.moments import ClockNote
    from gateway.protocol.streams.state import Change, StreamState
    from gateway.settings import Route
    from gateway.telemetry.metrics import Histogram

ID_BITS = 62  # drawn at random: gateways need not agree on ids
AT_RISK = "stored, but fewer replicas than wait_replicas have it yet: it may be lost in a failover"


class RedisLog(Log):
    """`redis:` and its kin."""

    shared = True
    batch_bytes = 256 * 1024  # one entry, of which a read may want the last record

    def __init__(self, settings: RedisSettings, topology: Topology | None = None) -> None:
        self._settings = settings
        self._topology = topology or Topology(settings)
        self._names = RedisNames(settings.origin.prefix)
        self._commands = Commands(self._names, self._topology.connector, secrets.token_hex(4))
        self._deadlines = DeadlineIndex(self._commands, self._ask)
        self._paths = PathIndex(self._commands, self._ask, self._topology.together)
        self._shared_figures = SharedFigures(self._names, self._ask)
        self._records = RecordReader(self._commands, self._topology, self._ask)
        self._tokens = itertools.count()
        self._listener: LogListener | None = None
        self._notifications = Notifications(self._topology, self._names.gone, self._heard)
        self.primaries = Primaries(
            self._topology,
            self._commands,
            settings.wait_replicas,
            self._notifications,
            self._history_changed,
        )
        self._search = PathSearch(self._commands, self.primaries.all, self._ask)
        self._vitals = VitalsWatch(self._names, self.primaries.all)
        self._losses = LossWatch(self._commands, self._ask, self.primaries.primary_of)
        self._figures = CommitFigures()
        self.commits = 0
        self.conflicts = 0

    @override
    def __repr__(self) -> str:
        return f"RedisLog({self._settings.origin})"

    @property
    @override
    def repeats_wait(self) -> bool:
        """Replicas that are waited for may lack what a repeated append had stored."""
        return self._settings.wait_replicas > 0

    @override
    def listen(self, listener: LogListener) -> None:
        """Tell somebody of what other gateways do."""
        self._listener = listener

    @override
    async def open(self) -> None:
        """Connect; a Redis that is not there is waited for by whoever needs it."""
        self._topology.connector.check()
        await self.primaries.open()
        self._notifications.open()
        self._search.start()
        self._vitals.start()

    @override
    async def close(self) -> None:
        """Close all connections."""
        await self._vitals.stop()
        await self._search.stop()
        await self._paths.close()
        await self._losses.close()
        await self._notifications.close()
        await self.primaries.close()
        await self._topology.close()

    @override
    def new_stream_id(self) -> int:
        """An id that no stream of this log ever had."""
        return secrets.randbits(ID_BITS)

    @override
    def why_unhealthy(self) -> str | None:
        """What is wrong with the first server that takes no appends."""
        return self.primaries.why_unhealthy() or self._notifications.why_unhealthy

    @override
    def histograms(self) -> Mapping[str, Histogram]:
        """How large commits are, how long they wait, and how long Redis takes."""
        return self._figures.named("appends", "queue", "write")

    @override
    def numbers(self) -> Mapping[str, float]:
        """Commits, lost races, streams whose changes are told, changes of a server's history.

        And how the servers were when they were asked last.
        """
        return {
            **self._vitals.numbers,
            "commits": self.commits,
            "conflicts": self.conflicts,
            "followed": len(self._notifications),
            **{f"histories_{lost}": count for lost, count in self._losses.counts.items()},
        }

    def _history_changed(self, primary: Primary) -> None:
        self._losses.history_changed(primary)
        if self._topology.is_cluster:
            self._notifications.moved()
        self._notifications.renew()
        if self._listener is not None:
            self._listener.history_changed()

    # Reading

    async def _ask(
        self, key: str, *calls: Packed, commits: bool = False, expected: int = 0
    ) -> list[Reply]:
        answered: asyncio.Future[list[Reply]] = asyncio.get_running_loop().create_future()
        done = partial(_settle, answered)
        RedisCall(self.primaries, key, calls, done, commits=commits, expected=expected).go()
        return await answered

    @override
    async def load(self, path: str) -> Loaded:
        """What stands at `path`, as it goes on in the present history."""
        (reply,) = await self._ask(self._names.meta(path), self._commands.load(path))
        self.primaries.compare(int(reply[0]))
        return loaded(reply)

    @override
    async def is_current(self, state: StreamState) -> bool:
        """Whether the stream is still at this version."""
        path = state.path
        (reply,) = await self._ask(self._names.meta(path), self._commands.confirm(path))
        self.primaries.compare(int(reply[0]))
        return is_current(reply, state)

    @override
    async def read(self, state: StreamState, start: int, end: int) -> Chunk:
        """The records after `start`, and then the state: as new as they are, or newer."""
        return await self._records.read(state, start, end)

    # Committing

    @override
    def commit(self, changes: Sequence[Change]) -> asyncio.Future[None]:
        """One call for the one change."""
        (change,) = changes
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        key = self._names.meta(change.state.path)
        token = next(self._tokens)
        commit = self._commands.commit(change, token)
        asked_at = monotonic()
        committed = partial(self._committed, change, token, done, asked_at)
        note = self._deadlines.note(change)
        index = self._names.deadlines
        if note is None:
            self._write(key, [commit], committed)
        elif self._topology.together([key, index]):
            self._write(key, [note, commit], committed)
        else:
            self._write(index, [note], lambda _: self._write(key, [commit], committed))
        return done

    def _write(
        self, key: str, calls: list[Packed], done: Callable[[Answer | LogUnavailable], None]
    ) -> None:
        RedisCall(self.primaries, key, calls, done, commits=True).go()

    def _committed(
        self,
        change: Change,
        token: int,
        done: asyncio.Future[None],
        asked_at: float,
        answer: Answer | LogUnavailable,
    ) -> None:
        key = self._names.meta(change.state.path)
        if not isinstance(answer, LogUnavailable):
            self._stands(change, key, answer[0][-1])
            self._observe(key, asked_at)
        if done.done():  # whoever waited was cancelled; the commit stands or falls all the same
            return
        if isinstance(answer, LogUnavailable):
            done.set_exception(answer)
            return
        replies, replicas = answer
        wanted = self._settings.wait_replicas
        if replies[-1][0] == 0:
            self.conflicts += 1
            done.set_exception(_conflict(replies[-1]))
        elif wanted and not (isinstance(replicas, int) and replicas >= wanted):
            primary = self.primaries.primary_of(key)
            if primary is not None:
                primary.look()
            done.set_exception(LogUnavailable(AT_RISK))
        else:
            self.commits += 1
            primary = self.primaries.primary_of(key)
            if primary is not None:
                self._losses.acknowledged(primary, change, token)
            done.set_result(None)

    def _stands(self, change: Change, key: str, reply: Reply) -> None:
        """Do what a commit has left to be done, if it was carried out."""
        if reply == [1, 1]:
            self._write(key, [self._commands.tidy(change)], lambda _: None)
        if reply[0] != 1:
            return
        self._figures.stored([change])
        if change.expected is None or change.removes:
            self._paths.changed(change.state.path, stands=not change.removes)

    def _observe(self, key: str, asked_at: float) -> None:
        """Count how long a commit waited, and how long the server took for it and its way."""
        primary = self.primaries.primary_of(key)
        if primary is not None:
            sent_at = max(asked_at, primary.commits.answered_sent_at)
            self._figures.queue.observe(sent_at - asked_at)
            self._figures.write.observe(monotonic() - sent_at)

    @override
    def atomic(self, changes: Sequence[Change]) -> bool:
        """Only those of one stream: of several, a crash may let some come true and others not."""
        return len(changes) <= 1

    @override
    async def removal_time(self, now: Moment) -> Moment:
        """Return `now`, or the time of Redis if that is earlier.

        So a gateway with a clock that is ahead removes no stream that Redis takes for alive.
        """
        time = await self._deadlines.time()
        return Moment(min(now.wall, time), min(now.steady, time))

    @override
    async def expired(self, now: Moment, limit: int) -> Sequence[str]:
        """Paths of streams whose time, or that of a part of them, is over."""
        return await self._deadlines.expired(now.wall, limit)

    @override
    def note(self, noted: ClockNote) -> None:
        """Note nothing: every gateway goes by the wall clock."""

    # Listing

    @override
    async def list_streams(self, begins: str, after: str, limit: int) -> Listed:
        """The first streams after a path: one stretch of the list of paths."""
        return await self._paths.page(begins, after, limit)

    @override
    async def largest(self, begins: str, most: int) -> Sequence[tuple[int, str]]:
        """The largest streams: a look at every one."""
        return await self._paths.largest(begins, most)

    @override
    async def share_figures(self, instance: str, told: str) -> Mapping[str, str]:
        """Leave a gateway's figures for others on this log, and bring theirs, by instance."""
        return await self._shared_figures.share(instance, told)

    # Notifications of what other gateways do

    @override
    def follow(self, path: str) -> None:
        """Hear of the stream's changes from now on."""
        self._notifications.follow(self._names.meta(path))

    @override
    def unfollow(self, path: str) -> None:
        """Hear of the stream's changes no more."""
        self._notifications.unfollow(self._names.meta(path))

    def _heard(self, channel: bytes, message: bytes | None) -> None:
        if self._listener is not None:
            deliver(self._listener, self._names, channel, message)


def _conflict(reply: Reply) -> Conflict | RecordDamaged:
    try:
        return Conflict(found_instead(reply))
    except RecordDamaged as damage:
        return damage


def _settle(answered: asyncio.Future[list[Reply]], answer: Answer | LogUnavailable) -> None:
    if answered.done():
        return
    if isinstance(answer, LogUnavailable):
        answered.set_exception(answer)
    else:
        answered.set_result(answer[0])


def log_of(route: Route) -> RedisLog:
    """Return the log in the Redis of a route's origin."""
    return RedisLog(RedisSettings.of(route))
