"""Creations of streams without a task: decided in the order of arrival, and committed together.

By `streams.lifecycle` each creation waits for a load and for a commit of its own, which takes two
tasks and four futures. Here the load calls a callback, and one commit has all creations that were
looked up at the same time. Only simple creations are handled, in a log without other writers. If an
expired stream is at the path, or another request was first, `streams.lifecycle` takes over.
"""

from __future__ import annotations

import asyncio
from collections import deque
from functools import partial
from typing import TYPE_CHECKING

from gateway.backends.contract import Conflict
from gateway.errors import HeadgateError, LogUnavailable
from gateway.protocol.bodies.content import is_long
from gateway.protocol.http.header_names import FORKED_FROM
from gateway.streams.appender import UNKNOWN
from gateway.telemetry.logs import log
from gateway.turns import LONGEST_TURN_S

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from gateway.protocol.lifecycle import CreationOutcome
    from gateway.protocol.requests import CreateRequest
    from gateway.protocol.streams.state import Change
    from gateway.streams.active_stream import ActiveStream
    from gateway.streams.lifecycle import Lifecycle
    from gateway.streams.stream_table import StreamTable

    Outcome = CreationOutcome | HeadgateError
    Done = Callable[[Outcome], None]


class _Creation:
    """A waiting creation; `active` is the stream at its path, which is loaded until `is_found`."""

    __slots__ = (
        "active",
        "done",
        "failure",
        "is_anew",
        "is_found",
        "outcome",
        "path",
        "request",
    )

    def __init__(self, path: str, request: CreateRequest, done: Done) -> None:
        self.path = path
        self.request = request
        self.done: Done | None = done  # None once it was called
        self.active: ActiveStream
        self.is_anew = False  # True if another stream was at the path before
        self.is_found = False
        self.failure: BaseException | None = None  # of the look-up in the log
        self.outcome: Outcome  # the outcome if its commit succeeds


class Creations:
    """The waiting creations of one log: at most one for each client, each with a whole body."""

    def __init__(self, table: StreamTable, lifecycle: Lifecycle) -> None:
        self._table = table
        self._lifecycle = lifecycle
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

    def submit(self, path: str, request: CreateRequest, done: Done) -> None:
        """Queue a creation; `done` gets its outcome, in a later pass of the loop."""
        creation = _Creation(path, request, done)
        self._look_up(creation)
        self._waiting.append(creation)
        self.pending += 1
        self.idle.clear()

    def _look_up(self, creation: _Creation) -> None:
        creation.is_found, creation.failure = False, None
        active = creation.active = self._table.get(creation.path)
        if active.state is None:
            loading = self._table.begin_load(creation.path)
            loading.add_done_callback(partial(self._on_loaded, creation))
        else:
            asyncio.get_running_loop().call_soon(self._on_loaded, creation)

    def _on_loaded(
        self, creation: _Creation, loading: asyncio.Future[object] | None = None
    ) -> None:
        creation.is_found = True
        if loading is not None and not loading.cancelled():
            creation.failure = loading.exception()
        if not self._advances:
            self._advances = True
            asyncio.get_running_loop().call_soon(self._advance)

    def _advance(self) -> None:
        """Decide and commit the first creations, up to one whose path is still being loaded."""
        loop = asyncio.get_running_loop()
        turn_ends = loop.time() + LONGEST_TURN_S
        self._advances = False
        decided: list[tuple[_Creation, Change]] = []
        while self._waiting and self._waiting[0].is_found:
            creation = self._waiting.popleft()
            try:
                change = self._decide(creation)
            except HeadgateError as refusal:
                self._end(creation, refusal)
            except Exception:  # noqa: BLE001 - nobody may wait for ever
                self._end_in_failure([creation])
            else:
                if change is not None:
                    decided.append((creation, change))
            if loop.time() >= turn_ends:
                self._advances = True
                loop.call_soon(self._advance)
                break
        if decided:
            self._commit(decided)

    def _decide(self, creation: _Creation) -> Change | None:
        """Return the change to commit; None if the creation is over, or continues otherwise."""
        active = creation.active
        if creation.failure is not None:
            raise creation.failure
        is_known = active.state is not None or active.absent
        if not is_known or self._table.peek(creation.path) is not active:  # evicted meanwhile
            self._look_up(creation)
            self._waiting.appendleft(creation)
            return None
        if active.state is not None and not self._is_present(active):
            self._create_by_lifecycle(creation)
            return None
        creation.is_anew = active.retired is not None
        created, changes = self._lifecycle.decide(active, creation.request)
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

    def _commit(self, decided: Sequence[tuple[_Creation, Change]]) -> None:
        """Commit the creations together, each with a result of its own."""
        try:
            changes = [change for _, change in decided]
            self._table.commits.commit_apart(changes, partial(self._on_committed, decided))
        except Exception:  # noqa: BLE001 - nobody may wait for ever
            self._end_in_failure([creation for creation, _ in decided])

    def _on_committed(
        self,
        decided: Sequence[tuple[_Creation, Change]],
        first: int,
        failures: Sequence[Exception | None],
    ) -> None:
        known = decided[first : first + len(failures)]
        for (creation, change), failure in zip(known, failures, strict=True):
            try:
                self._settle(creation, change, failure)
            except Exception:  # noqa: BLE001 - nobody may wait for ever
                self._end_in_failure([creation])

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
            outcome = await self._lifecycle.create(creation.path, creation.request, None)
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
            done, creation.done = creation.done, None
            if done is None:
                continue
            self.pending -= 1
            try:
                done(creation.outcome)
            except Exception:  # noqa: BLE001 - the others must get their answers
                log.exception("creation.unanswered")
            if loop.time() >= turn_ends and self._unanswered:
                self._answers = True
                loop.call_soon(self._answer)
                return
        if not self.pending:
            self.idle.set()
