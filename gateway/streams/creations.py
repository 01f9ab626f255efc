"""Creations of an own log's streams, without a task: those of one pass of the loop in one commit.

Each waits until the state of its path is loaded. It is decided again where something else was
first: an expired stream is still at its path, or another request's commit has changed it.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from functools import partial
from time import perf_counter
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from gateway.background import LONGEST_TURN_S
from gateway.errors import HeadgateError, LimitReached, LogUnavailable
from gateway.later import Later
from gateway.logs.contract import Conflict
from gateway.protocol import lifecycle as rules
from gateway.protocol.bodies.content import is_long, long_records
from gateway.protocol.bodies.json_text import SLICE_BYTES
from gateway.protocol.lifecycle import CreationOutcome
from gateway.protocol.requests import CreateRequest
from gateway.stepped import in_task
from gateway.streams.active_stream import ActiveStream
from gateway.streams.append_outcomes import TOO_MANY_WRITERS, UNKNOWN, Outcomes, set_outcome
from gateway.streams.lifecycle import MAX_RACES
from gateway.telemetry.logs import log

if TYPE_CHECKING:
    from collections.abc import Awaitable, Sequence

    from gateway.protocol.streams.state import Change
    from gateway.runtime.limits import ServerLimits
    from gateway.streams.lifecycle import Lifecycle
    from gateway.streams.stream_table import StreamTable

Outcome = CreationOutcome | HeadgateError


class WaitingCreation(Protocol):
    """A creation in the queue of its log. Its request does not change while it waits."""

    request: CreateRequest
    body: bytes

    def answered(self, outcome: Outcome, /) -> object:
        """Take the outcome, once it is known; called once, in a later pass of the loop."""

    def abandon(self) -> None:
        """End whoever waits for an answer that cannot be given."""


class _Submitted(msgspec.Struct, gc=False, eq=False):
    """A creation that a handler or a part of this process waits for."""

    request: CreateRequest
    body: bytes
    answered: Callable[[Outcome], object]

    def abandon(self) -> None:
        """Do nothing: whoever waits has the outcome, and has raised."""


class _Creation(msgspec.Struct, eq=False):
    """A creation in the queue."""

    path: str
    one: WaitingCreation
    active: ActiveStream  # at the path
    failure: BaseException | None = None  # to load the state of its path
    is_anew: bool = False  # True if another stream was at the path before
    races: int = 0  # how often something else was first
    outcome: Any = None  # a CreationOutcome, if its commit succeeds


class Creations:
    """The waiting creations of one log."""

    def __init__(self, table: StreamTable, lifecycle: Lifecycle, limits: ServerLimits) -> None:
        self._table = table
        self._lifecycle = lifecycle
        self._limits = limits
        self._ready: deque[_Creation] = deque()  # whose paths are loaded
        self._advances = False  # `_advance` is scheduled
        self.outcomes = Outcomes()

    def create(
        self, path: str, request: CreateRequest, source_path: str | None = None
    ) -> Awaitable[CreationOutcome]:
        """Carry out a PUT; `source_path` is the fork's source when the request names one."""
        if source_path is not None or is_long(request.content_type, request.body):
            return self._create_in_turns(path, request, source_path)
        return self._queued(path, request)

    def _queued(self, path: str, request: CreateRequest) -> Later[CreationOutcome]:
        created: Later[CreationOutcome] = Later()
        self.submit(path, _Submitted(request, request.body, partial(set_outcome, created)))
        return created

    async def _create_in_turns(
        self, path: str, request: CreateRequest, source_path: str | None
    ) -> CreationOutcome:
        """Create a fork, or parse a long body in turns with other work before."""
        await in_task()
        size, content_type = len(request.body), request.content_type
        self._limits.receive(size)
        try:
            if content_type is None and source_path is not None and size > SLICE_BYTES:
                content_type = (await self._lifecycle.source(source_path)).content_type
            if is_long(content_type, request.body):
                records = await self._table.turns.run(long_records(request.body))
                request = msgspec.structs.replace(request, records=records)
            if source_path is not None:
                return await self._lifecycle.fork(path, request, source_path)
        finally:
            self._limits.receiving_bytes -= size
        return await self._queued(path, request)

    def submit(self, path: str, one: WaitingCreation) -> None:
        """Queue a creation without a fork, which gets its outcome in a later pass of the loop."""
        creation, size = _Creation(path, one, self._table.get(path)), len(one.body)
        try:
            self._limits.receive(size)
        except LimitReached as refusal:
            asyncio.get_running_loop().call_soon(self.outcomes.give, one, refusal)
            return
        try:
            self._look_up(creation)
        except BaseException:
            self._limits.receiving_bytes -= size
            raise
        self.outcomes.pending += 1
        self.outcomes.pending_bytes += size
        self.outcomes.idle.clear()

    def _look_up(self, creation: _Creation) -> None:
        if creation.active.state is None or self._table.is_shared:
            loading = self._table.loader.start(creation.active)
            loading.add_done_callback(partial(self._loaded, creation))
        else:
            self._loaded(creation)

    def _loaded(self, creation: _Creation, loading: asyncio.Future[Any] | None = None) -> None:
        if loading is not None and not loading.cancelled():
            creation.failure = loading.exception()
        self._ready.append(creation)
        if not self._advances:
            self._advances = True
            asyncio.get_running_loop().call_soon(self._advance)

    def _advance(self) -> None:
        """Decide and commit the creations that are ready, in the order in which they became so."""
        turn_ends = perf_counter() + LONGEST_TURN_S
        self._advances = False
        decided: list[_Creation] = []
        changes: list[Change] = []
        for _ in range(len(self._ready)):
            creation = self._ready.popleft()
            try:
                change = self._decide(creation)
            except HeadgateError as refusal:
                self._end(creation, refusal)
            except Exception:  # noqa: BLE001 - nobody may wait for ever
                self._end_in_failure([creation])
            else:
                if change is not None:
                    decided.append(creation)
                    changes.append(change)
            if perf_counter() >= turn_ends:
                break
        if self._ready and not self._advances:
            self._advances = True
            asyncio.get_running_loop().call_soon(self._advance)
        self._commit(decided, changes)

    def _decide(self, creation: _Creation) -> Change | None:
        """Return the change to commit; None if the creation is over, or waits on."""
        active, table = creation.active, self._table
        if creation.failure is not None:
            raise creation.failure
        is_known = active.state is not None or active.absent
        if not is_known or table.peek(creation.path) is not active:  # evicted meanwhile
            creation.active = table.get(creation.path)
            self._look_up(creation)
            return None
        now = table.deadlines.now(active)
        if active.state is not None and self._lifecycle.is_left_over(active, active.state):
            removal = self._lifecycle.expire(creation.path, now)
            self._try_again(creation, asyncio.get_running_loop().create_task(removal))
            return None
        creation.is_anew = active.retired is not None
        creation.outcome, changes = rules.decide_create(
            active.place,
            active.path,
            creation.one.request,
            table.log.new_stream_id(),
            now,
            self._lifecycle.lifetimes,
        )
        if not changes:
            self._end(creation, creation.outcome)
            return None
        (change,) = self._lifecycle.begun(changes)
        return change

    def _try_again(self, creation: _Creation, after: asyncio.Future[Any] | None = None) -> None:
        """Load the path anew, `after` something; refuse where something else was first for ever."""
        creation.races += 1
        if creation.races >= MAX_RACES:
            self._end(creation, LogUnavailable(TOO_MANY_WRITERS))
        elif after is not None:
            after.add_done_callback(partial(self._loaded, creation))
        else:
            self._table.forget(creation.path)
            creation.active = self._table.get(creation.path)
            self._look_up(creation)

    def _commit(self, decided: Sequence[_Creation], changes: Sequence[Change]) -> None:
        """Commit the creations together, each with a result of its own; the others are over."""
        if self.outcomes.undelivered:
            self.outcomes.deliver()
        if not decided:
            return
        try:
            settled = partial(self._on_committed, decided, changes)
            self._table.commits.commit_apart(changes, settled)
        except Exception:  # noqa: BLE001 - nobody may wait for ever
            self._end_in_failure(decided)
            self.outcomes.deliver()

    def _on_committed(
        self,
        decided: Sequence[_Creation],
        changes: Sequence[Change],
        first: int,
        failures: Sequence[Exception | None],
    ) -> None:
        for number, failure in enumerate(failures, first):
            creation = decided[number]
            try:
                if isinstance(failure, Conflict):
                    self._try_again(creation)
                    continue
                self._lifecycle.on_settled((changes[number],), failure, anew=creation.is_anew)
                outcome = creation.outcome if failure is None else _refusal(failure)
            except Exception:  # noqa: BLE001 - nobody may wait for ever
                self._end_in_failure([creation])
            else:
                self._end(creation, outcome)
        self.outcomes.deliver()

    def _end(self, creation: _Creation, outcome: Outcome) -> None:
        self._limits.receiving_bytes -= len(creation.one.body)
        self.outcomes.undelivered.append((creation.one, outcome))

    def _end_in_failure(self, creations: Sequence[_Creation]) -> None:
        """Log the exception being handled; end these creations with an unknown outcome."""
        log.exception("creation.failed", path=creations[0].path, streams=len(creations))
        for creation in creations:
            self._table.forget(creation.path)
            self._end(creation, LogUnavailable(UNKNOWN))


def _refusal(failure: Exception) -> HeadgateError:
    """Return an expected failure of a commit; raise any other."""
    if isinstance(failure, HeadgateError):
        return failure
    raise failure
