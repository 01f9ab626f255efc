"""Creations of streams without a task: decided in the order of arrival, and committed together.

By `streams.lifecycle` each creation waits for a load and for a commit of its own, which takes two
tasks and four futures. Here the load calls a callback, and one commit has all creations that were
looked up at the same time. Only simple creations are handled, in a log without other writers. If an
expired stream is at the path, or another request was first, `streams.lifecycle` takes over.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from gateway.backends.contract import Conflict
from gateway.errors import HeadgateError, LimitReached, LogUnavailable
from gateway.protocol.bodies.content import is_long
from gateway.protocol.http.header_names import FORKED_FROM
from gateway.protocol.lifecycle import CreationOutcome
from gateway.protocol.requests import CreateRequest
from gateway.streams.appender import UNKNOWN
from gateway.telemetry.logs import log
from gateway.turns import LONGEST_TURN_S

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from gateway.protocol.streams.state import Change
    from gateway.streams.active_stream import ActiveStream
    from gateway.streams.lifecycle import Lifecycle
    from gateway.streams.stream_table import StreamTable

Outcome = CreationOutcome | HeadgateError


class WaitingCreation(Protocol):
    """A creation in the queue of its log. Its request does not change while it waits."""

    request: CreateRequest

    def answered(self, outcome: Outcome, /) -> object:
        """Take the outcome, once it is known; called once, in a later pass of the loop."""

    def abandon(self) -> None:
        """End whoever waits for an answer that cannot be given."""


class SubmittedCreation(msgspec.Struct, gc=False, eq=False):
    """A creation of a part of this process, which `answered` gives the outcome to."""

    request: CreateRequest
    answered: Callable[[Outcome], object]

    def abandon(self) -> None:
        """Do nothing: `answered` has raised, and has to see to what it leaves behind."""


class BodyBounds(Protocol):
    """The bound on all bodies that wait, those of creations among them."""

    receiving_bytes: int

    def receive(self, size: int) -> None:
        """Count the bytes of a body; raises LimitReached if all bodies are too long."""


class _Creation:
    """A creation in the queue; `active` is the stream at its path, which `loading` loads."""

    __slots__ = ("active", "is_anew", "is_over", "loading", "one", "outcome", "path", "size")

    def __init__(self, path: str, one: WaitingCreation) -> None:
        self.path = path
        self.one = one
        self.size = 0  # of its body, as far as that is counted
        self.active: ActiveStream
        self.loading: asyncio.Future[Any] | None = None  # None if the stream was loaded
        self.is_anew = False  # True if another stream was at the path before
        self.is_over = False  # True once it has its outcome
        self.outcome: Outcome  # the outcome if its commit succeeds


class Creations:
    """The waiting creations of one log, each with a whole body."""

    def __init__(self, table: StreamTable, lifecycle: Lifecycle, bounds: BodyBounds) -> None:
        self._table = table
        self._lifecycle = lifecycle
        self._bounds = bounds
        self._waiting: deque[_Creation] = deque()
        self._advances = False  # `_advance` is scheduled
        self._unanswered: deque[_Creation] = deque()
        self._answers = False
        self._tasks: set[asyncio.Task[None]] = set()  # creations by `lifecycle`
        self.pending = 0
        self.idle = asyncio.Event()  # set while no creation is under way
        self.idle.set()

    def is_simple(self, headers: Mapping[str, str], body: bytes) -> bool:
        """Return whether a creation needs only the state of its path and a commit."""
        if self._table.is_shared or FORKED_FROM in headers:
            return False
        return not is_long(headers.get("Content-Type"), body)

    def submit(self, path: str, one: WaitingCreation) -> None:
        """Queue a creation, which gets its outcome in a later pass of the loop."""
        creation, size = _Creation(path, one), len(one.request.body)
        try:
            self._bounds.receive(size)
        except LimitReached as refusal:
            self._end(creation, refusal)
        else:
            creation.size = size
            try:
                self._look_up(creation)
            except BaseException:
                self._bounds.receiving_bytes -= size
                raise
            self._waiting.append(creation)
        self.pending += 1
        self.idle.clear()

    def _look_up(self, creation: _Creation) -> None:
        active = creation.active = self._table.get(creation.path)
        if active.state is None:
            creation.loading = self._table.loader.start(active)
            creation.loading.add_done_callback(self._advance_soon)
        else:
            creation.loading = None
            self._advance_soon()

    def _advance_soon(self, _loaded: object = None) -> None:
        if not self._advances:
            self._advances = True
            asyncio.get_running_loop().call_soon(self._advance)

    def _advance(self) -> None:
        """Decide and commit the first creations, up to one whose path is still being loaded."""
        loop = asyncio.get_running_loop()
        turn_ends = loop.time() + LONGEST_TURN_S
        self._advances = False
        decided: list[_Creation] = []
        changes: list[Change] = []
        while self._waiting and ((loading := self._waiting[0].loading) is None or loading.done()):
            creation = self._waiting.popleft()
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
            if loop.time() >= turn_ends:
                self._advances = True
                loop.call_soon(self._advance)
                break
        if decided:
            self._commit(decided, changes)

    def _decide(self, creation: _Creation) -> Change | None:
        """Return the change to commit; None if the creation is over, or continues otherwise."""
        active, loading = creation.active, creation.loading
        failure = None if loading is None or loading.cancelled() else loading.exception()
        if failure is not None:
            raise failure
        is_known = active.state is not None or active.absent
        if not is_known or self._table.peek(creation.path) is not active:  # evicted meanwhile
            self._look_up(creation)
            self._waiting.appendleft(creation)
            return None
        if active.state is not None and not self._is_present(active):
            self._create_by_lifecycle(creation)
            return None
        creation.is_anew = active.retired is not None
        created, changes = self._lifecycle.decide(active, creation.one.request)
        creation.outcome = created
        if not changes:
            self._end(creation, created)
            return None
        (change,) = changes
        return change

    def _is_present(self, active: ActiveStream) -> bool:
        try:
            self._table.present(active)
        except HeadgateError:
            return False
        return True

    def _commit(self, decided: Sequence[_Creation], changes: Sequence[Change]) -> None:
        """Commit the creations together, each with a result of its own."""
        try:
            settled = partial(self._on_committed, decided, changes)
            self._table.commits.commit_apart(changes, settled)
        except Exception:  # noqa: BLE001 - nobody may wait for ever
            self._end_in_failure(decided)

    def _on_committed(
        self,
        decided: Sequence[_Creation],
        changes: Sequence[Change],
        first: int,
        failures: Sequence[Exception | None],
    ) -> None:
        for number, failure in enumerate(failures, first):
            try:
                self._settle(decided[number], changes[number], failure)
            except Exception:  # noqa: BLE001 - nobody may wait for ever
                self._end_in_failure([decided[number]])

    def _settle(self, creation: _Creation, change: Change, failure: Exception | None) -> None:
        if isinstance(failure, Conflict):
            self._table.forget(creation.path)
            self._create_by_lifecycle(creation)
            return
        self._lifecycle.on_settled((change,), failure, anew=creation.is_anew)
        if failure is None:
            self._end(creation, creation.outcome)
        elif isinstance(failure, HeadgateError):
            self._end(creation, failure)
        else:
            raise failure

    def _create_by_lifecycle(self, creation: _Creation) -> None:
        task = asyncio.get_running_loop().create_task(self._create(creation))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _create(self, creation: _Creation) -> None:
        try:
            outcome = await self._lifecycle.create(creation.path, creation.one.request, None)
        except HeadgateError as refusal:
            self._end(creation, refusal)
        except Exception:  # noqa: BLE001 - nobody may wait for ever
            self._end_in_failure([creation])
        else:
            self._end(creation, outcome)

    def _end_in_failure(self, creations: Sequence[_Creation]) -> None:
        """Log the exception being handled; end these creations with an unknown outcome."""
        log.exception("creation.failed", path=creations[0].path, streams=len(creations))
        for creation in creations:
            self._table.forget(creation.path)
            self._end(creation, LogUnavailable(UNKNOWN))

    def _end(self, creation: _Creation, outcome: Outcome) -> None:
        """Queue the outcome for delivery in turns: each client then sends its next request."""
        creation.outcome = outcome
        self._unanswered.append(creation)
        if not self._answers:
            self._answers = True
            asyncio.get_running_loop().call_soon(self._answer)

    def _answer(self) -> None:
        loop = asyncio.get_running_loop()
        turn_ends = loop.time() + LONGEST_TURN_S
        self._answers = False
        while self._unanswered:
            creation = self._unanswered.popleft()
            if creation.is_over:
                continue
            creation.is_over = True
            self.pending -= 1
            self._bounds.receiving_bytes -= creation.size
            try:
                creation.one.answered(creation.outcome)
            except Exception:  # noqa: BLE001 - the others must get their answers
                log.exception("creation.unanswered")
                creation.one.abandon()
            if loop.time() >= turn_ends and self._unanswered:
                self._answers = True
                loop.call_soon(self._answer)
                return
        if not self.pending:
            self.idle.set()
