"""Writes that wait for their commits, and their outcomes: counted, and delivered."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from time import perf_counter
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, TypeVar

import msgspec

from headgate_gateway.background import LONGEST_TURN_S
from headgate_gateway.errors import (
    HeadgateError,
    LimitReached,
    LogFull,
    LogUnavailable,
    RecordDamaged,
)
from headgate_gateway.later import turn
from headgate_gateway.logs.counts import BOUNDS_S
from headgate_gateway.protocol.appends import AppendOutcome, plain_media
from headgate_gateway.protocol.lifecycle import CreationOutcome
from headgate_gateway.protocol.requests import Append, CreateRequest
from headgate_gateway.protocol.streams.state import Stamp
from headgate_gateway.telemetry.logs import log
from headgate_gateway.telemetry.metrics import Histogram

if TYPE_CHECKING:
    from collections.abc import Sequence

    from headgate_gateway.later import Later

T = TypeVar("T")
Outcome = AppendOutcome | HeadgateError

UNTIMED = 16  # outcomes that are delivered without a look at the clock: 0.1 ms
NO_ROOM = "max_pending_appends is reached: the log is behind, try again"
TOO_MANY_WRITERS = "too many writers met on this stream: nothing was stored"
UNKNOWN = "something failed here: it is not known whether this request was stored"
# Failures of the server, not of a client.
OURS = (LogFull, LogUnavailable, LimitReached, RecordDamaged)


class Waiting(Protocol):
    """A write in the queue of its log, a `Taken` append or a creation with its `request`.

    Its attributes do not change while it waits.
    """

    is_creation: ClassVar[bool]
    body: bytes
    came: float  # perf_counter

    def answered(self, outcome: Any, /) -> object:  # noqa: ANN401 - of an append or a creation
        """Take the outcome, once it is known; called once, in a later pass of the loop."""

    def abandon(self) -> None:
        """End the client's connection, or the like: its response cannot be sent."""


class Submitted(msgspec.Struct, gc=False, eq=False):
    """An append of a part of this process, which `answered` gives the outcome to."""

    is_creation: ClassVar = False
    append: Append
    answered: Callable[[Outcome], object]
    body: bytes
    media: str | None
    stamp: Stamp | None
    stream_id: int | None
    came: float

    def parsed(self) -> Append:
        """Return the append."""
        return self.append

    def abandon(self) -> None:
        """Do nothing: the callback `answered` has raised, and must clean up itself."""


class SubmittedCreation(msgspec.Struct, gc=False, eq=False):
    """A creation of a handler or another part of this process; `answered` gets its outcome."""

    is_creation: ClassVar = True
    request: CreateRequest
    body: bytes
    answered: Callable[[CreationOutcome | HeadgateError], object]
    came: float

    def abandon(self) -> None:
        """Do nothing, as `Submitted` does."""


def submitted(append: Append, done: Callable[[Outcome], object]) -> Submitted:
    """Return an append that came just now; `done` gets its outcome."""
    media, came = plain_media(append), perf_counter()
    return Submitted(append, done, append.body, media, append.producer, append.stream_id, came)


def set_outcome(later: Later[T], outcome: T | HeadgateError) -> None:
    """Set the outcome of a write, which raises in the waiting caller if it is an error."""
    if isinstance(outcome, HeadgateError):
        later.set_exception(outcome)
    else:
        later.set_result(outcome)


class AppendMetrics:
    """Appends of data by result, and how long they took; a close without data does not count.

    `refused` are mistakes of clients, `failed` are failures of the log.
    """

    __slots__ = ("bytes", "duplicate", "duration", "failed", "messages", "refused", "stored")

    def __init__(self) -> None:
        self.stored = 0
        self.duplicate = 0
        self.refused = 0
        self.failed = 0
        self.bytes = 0  # of bodies that were stored
        self.messages = 0
        self.duration = Histogram(BOUNDS_S)

    def count(
        self,
        waiting: Sequence[Any],
        outcomes: Sequence[Any],
        now: float,
    ) -> None:
        """Count the appends among the writes whose outcome is known `now`."""
        times: list[float] = []
        for one, outcome in zip(waiting, outcomes, strict=True):
            if isinstance(outcome, AppendOutcome) and outcome.stored:
                self.stored += 1
                self.messages += outcome.stored
                self.bytes += len(one.body)
            elif one.is_creation or not one.body:
                continue
            elif isinstance(outcome, AppendOutcome):
                self.duplicate += 1
            elif isinstance(outcome, OURS):
                self.failed += 1
            else:
                self.refused += 1
            times.append(one.came)
        if times:
            self.duration.observe_since(sorted(times), now)


class Outcomes:
    """The writes of one log that are under way, and the delivery of their outcomes.

    `on_turn` is called after each turn of deliveries.
    """

    def __init__(self, on_turn: Callable[[], None] | None = None) -> None:
        self.pending = 0
        self.pending_bytes = 0
        self.idle = asyncio.Event()  # set while no write is under way
        self.idle.set()
        # Writes that wait no longer, with their outcomes: filled before `deliver` is called, so
        # that the next delivery has them if one raises.
        self.undelivered: deque[tuple[Waiting, Any]] = deque()
        self.refused: deque[tuple[Waiting, HeadgateError]] = deque()  # not in `pending_bytes`
        self._is_delivering = False
        self._on_turn = on_turn

    def refuse(self, one: Waiting, refusal: HeadgateError | None, figures: AppendMetrics) -> bool:
        """Deliver the refusal of a write in a later pass; return False if there is none."""
        if refusal is None:
            return False
        figures.count([one], [refusal], one.came)
        self.pending += 1
        self.idle.clear()
        self.refused.append((one, refusal))
        asyncio.get_running_loop().call_soon(self.deliver)
        return True

    def deliver(self) -> None:
        """Deliver what is undelivered, in turns.

        A client that gets its outcome sends its next request: a thousand requests take 50 ms.
        """
        if self._is_delivering:
            return
        turn_ends = perf_counter() + LONGEST_TURN_S
        self._is_delivering = True
        delivered = 0
        try:
            with turn:
                while self.undelivered or self.refused:
                    if self.undelivered:
                        one, outcome = self.undelivered.popleft()
                        self.pending_bytes -= len(one.body)
                    else:
                        one, outcome = self.refused.popleft()
                    self.pending -= 1
                    try:
                        one.answered(outcome)
                    except Exception:  # noqa: BLE001 - the others of the group must be answered
                        log.exception("write.unanswered")
                        one.abandon()
                    delivered += 1
                    if not delivered % UNTIMED and perf_counter() >= turn_ends:
                        asyncio.get_running_loop().call_soon(self.deliver)
                        return
        finally:
            self._is_delivering = False
            if self._on_turn is not None:
                self._on_turn()
            if not self.pending:
                self.idle.set()
