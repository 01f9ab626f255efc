"""Creation, forks, deletion and expiry: in one commit where the log can, repeated when it races.

Expired streams are removed and their space is reclaimed in the background, in small steps.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Literal, TypeVar

from typing_extensions import override

from headgate.shielding import shielded
from headgate_gateway.background import Background
from headgate_gateway.errors import HeadgateError, LogUnavailable, StreamNotFound
from headgate_gateway.logs.contract import Conflict
from headgate_gateway.protocol import lifecycle as rules
from headgate_gateway.protocol.streams.limits import (
    EVERYTHING,
    UNLIMITED,
    LifetimeLimits,
    Retention,
    begun,
    decide_limits,
    trim,
)
from headgate_gateway.streams.outcomes import TOO_MANY_WRITERS
from headgate_gateway.telemetry.logs import log

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from headgate_gateway.protocol.lifecycle import CreationOutcome, PathState
    from headgate_gateway.protocol.requests import CreateRequest, ForkRequest
    from headgate_gateway.protocol.streams.limits import LimitChanges
    from headgate_gateway.protocol.streams.state import Change, ClockReading, StreamState
    from headgate_gateway.streams.active_stream import ActiveStream
    from headgate_gateway.streams.stream_table import Remover, StreamTable

T = TypeVar("T")
Fate = Literal["created", "expired", "deleted"]

MAX_RACES = 20  # lost races before a request is refused with a Retry-After
INTERVAL_S = 1.0
EXPIRIES = 200  # streams looked for in one round; when there are as many, the next follows at once
AT_ONCE = 50  # streams ended together: a few commits of the writer's time
AHEAD_S = 10.0  # from the clock of the log's server; NTP keeps clocks within milliseconds
STEPS = 20  # reclaiming steps in one round; each frees at most a thousand records


class Lifecycle:
    """The operations on whole streams: creation, forks, deletion and expiry."""

    def __init__(
        self,
        table: StreamTable,
        retention: Retention = EVERYTHING,
        lifetimes: LifetimeLimits = UNLIMITED,
    ) -> None:
        self._table = table
        self.retention = retention
        self.lifetimes = lifetimes
        # Each is called with each committed change.
        self.observers: list[Callable[[Change], None]] = []
        # Streams that this process has created, and those it has taken from their paths, by why.
        self.figures: dict[Fate, int] = {"created": 0, "expired": 0, "deleted": 0}

    async def fork(self, path: str, request: CreateRequest, source_path: str) -> CreationOutcome:
        """Carry out a PUT of a fork, from the source that its request names."""
        return await self._racing(lambda: self._fork(path, request, source_path))

    async def _fork(self, path: str, request: CreateRequest, source_path: str) -> CreationOutcome:
        fork = request.fork
        assert fork is not None, "other creations need no task"
        source = await self.source(source_path, path)
        prefix = await self._prefix(source, fork)
        if fork.sub_offset:  # `_prefix` may have waited: the source may have changed
            stream_id = source.stream_id
            source = await self.source(source_path, path)
            if source.stream_id != stream_id:
                raise Conflict
        active = await self._table.load(path)
        if active.state is not None and self.is_left_over(active, active.state):
            await self.expire(path, self._table.deadlines.now(active))
            active = await self._table.load(path)
        created, changes = rules.decide_fork(
            active.path_state,
            path,
            request,
            source,
            prefix,
            self._table.log.new_stream_id(),
            self._table.deadlines.now(active),
            self.lifetimes,
        )
        await self._commit(self.with_marks(changes), replaces=active.retired is not None)
        return created

    async def source(self, path: str, fork_path: str) -> StreamState:
        """Return the state of a stream to be forked to `fork_path`. Raises HeadgateError."""
        existing = (await self._table.load(fork_path)).state
        active = await self._table.load(path)
        return rules.source_of(active.state, self._table.deadlines.now(active), existing)

    def with_marks(self, changes: tuple[Change, ...]) -> tuple[Change, ...]:
        """Return the changes of a creation with data, with the marks that its retention needs."""
        if not self.retention:
            return changes
        now = self._table.clock.wall()
        return tuple(begun(change, now, self.retention) for change in changes)

    async def _prefix(self, source: StreamState, fork: ForkRequest) -> bytes:
        """Return the bytes before a sub-offset; the read at the fork's position also checks it."""
        position = rules.fork_position(source, fork)
        following = None
        if position < source.tail:
            chunk = await self._table.log.read(source, position, position + 1)
            rules.check_fork_begins(position, chunk.start)
            following = chunk.records[0]
        return await self._table.turns.run(rules.fork_prefix(source, fork, following))

    async def delete(self, path: str, stream_id: str | None = None) -> None:
        """Carry out a DELETE; with `stream_id` only of the stream with this id."""

        async def attempt() -> None:
            active = await self._table.load(path)
            state = self._table.present(active)
            if stream_id not in {None, str(state.stream_id)}:
                raise StreamNotFound("the stream with this id is gone; another one is at its path")
            await self._commit(rules.remove(state), ends="deleted")

        await self._racing(attempt)

    async def set_limits(self, path: str, changes: LimitChanges) -> None:
        """Give a stream other limits than its route's and its creation's. Raises HeadgateError."""

        async def attempt() -> None:
            active = await self._table.load(path)
            state, now = self._table.present(active), self._table.clock()
            await self._commit(decide_limits(state, changes, now, self.retention, self.lifetimes))

        await self._racing(attempt)

    async def expire(self, path: str, now: ClockReading) -> bool:
        """Remove a stream that has expired, trim it, or write down that it is in use.

        `now` is the time on which the log agrees. A stream that has expired by this process's
        clock alone stays. Return True if the stream was removed.
        """

        async def attempt() -> bool:
            active = await self._table.load(path)
            if active.state is None:
                return False
            try:
                self._table.present(active)
            except HeadgateError:
                if active.state.soft_deleted:
                    return False
                if active.state.expired(now):
                    await self._commit(rules.remove(active.state), ends="expired")
                    return True
            rest = trim(active.state, now.wall, self.retention)
            if not rest and not active.state.expired(now):
                rest = rules.touched(active.state)
            await self._commit(rest)
            return False

        return await self._racing(attempt)

    def is_left_over(self, active: ActiveStream, state: StreamState) -> bool:
        """Return whether an expired stream must be removed before a creation at its path."""
        if state.soft_deleted or state.references:
            return False
        try:
            self._table.present(active)
        except HeadgateError:
            return True
        return False

    async def _commit(
        self, changes: tuple[Change, ...], ends: Fate | None = None, *, replaces: bool = False
    ) -> None:
        """Commit changes, with the consequences of a fork's end for its sources.

        `ends` is the reason why the first change removes its stream, if it does; `replaces` says
        that another stream was at the path of the created one before.
        """
        everything = list(changes)
        for change in everything:  # grows while it is walked: an end may cascade
            fork = change.state.fork
            if change.removes and fork is not None:
                active = await self._table.load(fork.source_path)
                if active.state is not None and active.state.stream_id == fork.source_id:
                    everything.extend(rules.release(active.state))
        if self._table.log.can_commit_together(everything):
            await self._commit_together(tuple(everything), ends, replaces=replaces)
        else:
            first, others = everything[0], changes[1:]
            await shielded(self._commit_one_by_one(first, others, ends, replaces=replaces))

    async def _commit_together(
        self, changes: tuple[Change, ...], ends: Fate | None = None, *, replaces: bool = False
    ) -> None:
        if not changes:
            return

        def on_committed(done: asyncio.Future[None]) -> None:  # even if no caller waits any more
            if not done.cancelled():
                self.on_settled(changes, done.exception(), replaces=replaces)
                if ends is not None and done.exception() is None:
                    self.figures[ends] += 1

        committed = self._table.commits.commit(changes)
        committed.add_done_callback(on_committed)
        try:
            await shielded(committed)
        except Conflict:
            for change in changes:
                self._table.reload(change.state.path)
            raise

    def on_settled(
        self, changes: Sequence[Change], failure: BaseException | None, *, replaces: bool
    ) -> None:
        """Count creations that succeeded; report streams that end, or replace an earlier one.

        After a `failure` other than a conflict, the changes may or may not have been committed.
        """
        if isinstance(failure, Conflict):
            return
        for change in changes:
            path, is_new = change.state.path, change.expected is None
            if failure is None:
                for observe in self.observers:
                    observe(change)
                self.figures["created"] += is_new
            is_gone = change.removes or change.state.soft_deleted
            if is_gone or (is_new and replaces):
                remover: Remover = "here" if is_gone else "successor"
                for notify in self._table.removal_observers:
                    notify(path, change.state.stream_id, remover)

    async def _commit_one_by_one(
        self, first: Change, others: tuple[Change, ...], ends: Fate | None, *, replaces: bool
    ) -> None:
        """Commit a fork's change and its source's, where they cannot be one commit.

        The source gets its reference before the fork exists, and loses it after the fork has gone:
        a crash in between leaves a reference too many, which keeps data, never one too few.
        """
        await self._commit_together((first,), ends)
        fork = first.state.fork
        if first.removes and fork is not None:
            await self._racing(lambda: self._release(fork.source_path, fork.source_id))
        try:
            await self._commit_together(others, replaces=replaces)
        except Conflict as lost:  # after any other failure the fork may exist
            source = first.state
            if lost.found is not None and _never_was(others[0].state, lost.found.path_state):
                await self._racing(lambda: self._release(source.path, source.stream_id))
            raise

    async def _release(self, path: str, stream_id: int) -> None:
        active = await self._table.load(path)
        if active.state is not None and active.state.stream_id == stream_id:
            await self._commit(rules.release(active.state))

    async def _racing(self, attempt: Callable[[], Awaitable[T]]) -> T:
        for _ in range(MAX_RACES):
            try:
                return await attempt()
            except Conflict:
                continue
        raise LogUnavailable(TOO_MANY_WRITERS)


class Sweeper(Background):
    """The task that does a round every INTERVAL_S; it stops between two steps."""

    def __init__(self, table: StreamTable, lifecycle: Lifecycle) -> None:
        self._table = table
        self._log = table.log
        self._lifecycle = lifecycle
        self._last_failure = ""  # the last failure, until a round without one
        self._logged_doubt: ClockReading | None = None
        self._has_logged_ahead = False
        self.expired = 0

    @override
    async def _run(self) -> None:
        await self._look()
        while True:
            await asyncio.sleep(INTERVAL_S)
            while await self.round():
                pass

    async def round(self) -> bool:
        """Do one round of everything; a step that fails is logged, and the others go on.

        While the wall clock is in doubt no stream is ended, and never one that has not expired by
        the clock of the log's server as well. A log that accepts no removals has reported that, and
        is skipped. Return True if more streams are to be ended.
        """
        now = await self._look()
        if not self._log.accepts_removals():
            return False
        paths: Sequence[str] = ()
        removal_time = None
        if self._table.clock.in_doubt_since is None:
            sharing = self._log.sharing
            removal_time = now if sharing is None else await self._step(sharing.removal_time(now))
        if removal_time is not None:
            await self._compare(now, removal_time)
            now = removal_time
            paths = await self._step(self._log.expired(now, EXPIRIES)) or ()
        before = self.expired
        for start in range(0, len(paths), AT_ONCE):
            together = [
                self._lifecycle.expire(path, now) for path in paths[start : start + AT_ONCE]
            ]
            ended = await asyncio.gather(*map(self._step, together))
            self.expired += sum(map(bool, ended))
        for _ in range(STEPS):
            if not await self._step(self._log.reclaim()):
                break
        return len(paths) == EXPIRIES and self.expired > before

    def note(self) -> ClockReading:
        """Look at the clocks, and let the log note them; return the present."""
        now = self._table.clock.look()
        noted = self._table.clock.to_note(now)
        if noted is not None:
            self._log.note_clocks(noted)
        return now

    async def _look(self) -> ClockReading:
        """Note the time, and log once how many streams have expired by a clock in doubt."""
        now = self.note()
        doubted = self._table.clock.in_doubt_since
        if doubted is not None and doubted is not self._logged_doubt:
            route, grace_s = self._table.clock.route, self._table.clock.grace_s
            if count := await self._step(self._log.count_expired(doubted)):
                log.warning(
                    "streams.expired_in_doubt", route=route, count=count, kept_for_s=grace_s
                )
        self._logged_doubt = doubted
        return now

    async def _compare(self, now: ClockReading, removal_time: ClockReading) -> None:
        """Log once that the wall clock is ahead of the clock of the log's server."""
        ahead_s = now.wall - removal_time.wall
        if ahead_s > AHEAD_S and not self._has_logged_ahead:
            count = await self._step(self._log.count_expired(now)) or 0
            route, by_s = self._table.clock.route, round(ahead_s, 3)
            log.warning("clock.ahead", route=route, by_s=by_s, count=count)
        self._has_logged_ahead = ahead_s > AHEAD_S

    async def _step(self, step: Awaitable[T]) -> T | None:
        try:
            return await step
        except Exception as error:  # noqa: BLE001 - the sweeper has to outlive any failure
            reason = error.detail if isinstance(error, HeadgateError) else repr(error)
            if reason != self._last_failure:
                log.warning("sweep.failed", reason=reason)
            self._last_failure = reason
            return None


def _never_was(fork: StreamState, path_state: PathState) -> bool:
    """Return whether the state of its path shows that a fork was never created.

    It may still be created in another history. If it was removed since, its source was released.
    """
    is_retired = path_state.retired is not None and path_state.retired >= fork.generation
    return path_state.history == fork.history and not is_retired
