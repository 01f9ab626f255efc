"""The waits of long-polls: how each one ends, with a response or without."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Generic

from msgspec.structs import replace

from gateway.errors import HeadgateError, LimitReached, OriginBroken, Unauthenticated
from gateway.live.contract import N, V
from gateway.live.drain_times import drain_times
from gateway.live.poll_answers import UncountedAnswers, answer_of, refusal_of
from gateway.telemetry.logs import log

if TYPE_CHECKING:
    from gateway.live.contract import FeedSource, FeedState, Parked, PollAnswer, Waiter
    from gateway.protocol.responses import Response
    from gateway.telemetry.live_traffic import Ended

    _Late = asyncio.Task[Response | None]

NO_MORE = "the token counts no more"
DISCONNECTED = "an operator has ended this request: connect again"
UNTOLD = "what follows could not be read"


class WaitingPolls(Generic[V, N]):
    """The long-polls of one feed that wait, the longest waiting first, and reads for them.

    `late` has the reads under way, by the waiter that each is for.
    """

    __slots__ = ("_counted", "_feed", "_source", "late", "parked", "uncounted")

    def __init__(self, feed: FeedState[V], source: FeedSource[V, N]) -> None:
        self._feed = feed
        self._source = source
        self._counted = source.traffic.live.long_poll
        self.late: dict[Waiter, _Late] = {}
        self.parked: dict[Waiter, Parked] = {}
        self.uncounted = UncountedAnswers(source.traffic)

    @property
    def due(self) -> float:
        """The end of the first waiter's time (loop time)."""
        return next(iter(self.parked.values())).deadline

    def remove(self, waiter: Waiter, ended: Ended) -> bool:
        """Remove a waiter that gets no response; return whether it waited."""
        if waiter not in self.parked:
            return False
        self._unpark(waiter, ended)
        self._feed.release_reader()
        return True

    def _unpark(self, waiter: Waiter, ended: Ended) -> None:
        del self.parked[waiter]
        if waiter.principal is not None:
            self._source.shared.admitted.discard(waiter)
        self._counted.departures[ended] += 1
        self._cancel_read(waiter)

    def end_at_once(self, waiter: Waiter, ended: Ended) -> None:
        """Answer a waiter whose credential is no longer valid, or whom an operator disconnects."""
        parked = self.parked.get(waiter)
        if parked is None:
            return
        feed, shared = self._feed, self._source.shared
        is_at_tail = parked.position == feed.tail and feed.lost is None
        response = self._source.poll_ended(feed.stream, parked) if is_at_tail else None
        if response is None:
            is_disconnected = ended == "disconnected"
            response = shared.problem(
                LimitReached(DISCONNECTED)
                if is_disconnected
                else Unauthenticated(NO_MORE, is_refused=True)
            )
        self.answer(waiter, answer_of(shared, response, ended))
        self.uncounted.count()

    def hurry(self, now: float) -> None:
        """End the time of all waiters soon, in lots, because the server stops."""
        times = drain_times(now, len(self.parked), self._source.settings.drain_time)
        for (waiter, parked), at in zip(list(self.parked.items()), times, strict=True):
            self.parked[waiter] = replace(parked, deadline=min(parked.deadline, at))

    def answer(self, waiter: Waiter, answer: PollAnswer) -> None:
        """End a wait with a response; the caller has `uncounted` count it afterwards."""
        if answer.readers == answer.counted:
            self.uncounted.answers.append(answer)
        answer.readers += 1
        del self.parked[waiter]
        if waiter.principal is not None:
            self._source.shared.admitted.discard(waiter)
        if self.late:
            self._cancel_read(waiter)
        try:
            waiter.answer(answer)
        except Exception:  # noqa: BLE001 - raised by later requests on it; the others wait
            log.exception("poll.unanswered")
            waiter.abandon()
        self._feed.release_reader()

    def abandon(self) -> None:
        """End all waits without a response, after a failure that is in the log."""
        for waiter in list(self.parked):
            self._unpark(waiter, "error")
            waiter.abandon()
            self._feed.release_reader()

    # Reads

    def read_for(self, waiter: Waiter, parked: Parked) -> None:
        """Read the response for a waiter from the log or origin, if no such read is under way."""
        under_way = self.late.get(waiter)
        if under_way is not None and not under_way.done():
            return
        late = self._source.late_poll(self._feed.stream, parked)
        read = self.late[waiter] = asyncio.get_running_loop().create_task(late)
        read.add_done_callback(partial(self._answer_read, waiter))

    def _answer_read(self, waiter: Waiter, done: _Late) -> None:
        if done.cancelled():
            return
        done.exception()  # retrieved in any case, else asyncio logs it
        if self.late.get(waiter) is not done:
            return  # the waiter has left, or waits anew
        del self.late[waiter]
        try:
            answer = self._late_answer(done)
        except Exception:  # noqa: BLE001 - the waiter must not wait for ever
            log.exception("poll.unreadable")
            answer = refusal_of(self._source.shared, OriginBroken(UNTOLD), "error")
        if answer is not None:
            self.answer(waiter, answer)
            self.uncounted.count()

    def _late_answer(self, done: _Late) -> PollAnswer | None:
        """Return the answer of a read that has ended, or None if the waiter has to wait on."""
        shared, error = self._source.shared, done.exception()
        if isinstance(error, HeadgateError):
            return refusal_of(shared, error, "error")
        response = done.result()
        if response is None:
            return None
        ended: Ended = "answered"
        if response.status == 204:
            ended = "closed" if self._feed.closed else "timeout"
        return answer_of(shared, response, ended)

    def _cancel_read(self, waiter: Waiter) -> None:
        """Cancel the waiter's read, which may hold a place at the origin."""
        if (late := self.late.pop(waiter, None)) is not None:
            late.cancel()
