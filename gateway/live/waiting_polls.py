"""The waits of long-polls: how each one ends, with a response or without.

Equal polls share a response: it is rendered and counted once for all that get it.
"""

from __future__ import annotations

import asyncio
from functools import partial
from time import perf_counter
from typing import TYPE_CHECKING, Generic

from msgspec.structs import replace

from gateway.errors import HeadgateError, LimitReached, OriginBroken, Unauthenticated
from gateway.live.contract import N, PollAnswer, V, drain_times
from gateway.protocol.streams.offsets import NOW
from gateway.telemetry.logs import log
from gateway.telemetry.traffic import NOWHERE

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.live.contract import FeedSource, FeedState, NewsAge, Parked, Waiter
    from gateway.protocol.responses import Response
    from gateway.telemetry.traffic import Ended

    _Late = asyncio.Task[Response | None]
    # By what the requests of equal polls have in common; None where the response has to be read.
    Answers = dict[tuple[str, str | None, int | None, bool | None, str], PollAnswer | None]

NO_MORE = "the token counts no more"
DISCONNECTED = "an operator has ended this request: connect again"
UNTOLD = "what follows could not be read"


class WaitingPolls(Generic[V, N]):
    """The long-polls of one feed that wait, the longest waiting first, and reads for them.

    `late` has the reads under way, by the waiter that each is for.
    """

    __slots__ = ("_ended", "_feed", "_source", "_uncounted", "late", "parked")

    def __init__(self, feed: FeedState[V]) -> None:
        self._feed = feed
        self._source: FeedSource[V, N] = feed.source
        self._ended: Ended = "timeout"  # what ends a wait; "drain" once the server stops
        self.late: dict[Waiter, _Late] = {}
        self.parked: dict[Waiter, Parked] = {}
        self._uncounted: list[PollAnswer] = []  # with readers that the metrics do not include yet

    @property
    def due(self) -> float:
        """The end of the first waiter's time (loop time)."""
        return next(iter(self.parked.values())).deadline

    def remove(self, waiter: Waiter, ended: Ended) -> bool:
        """Remove a waiter that gets no response; return whether it waited."""
        if self.parked.pop(waiter, None) is None:
            return False
        if waiter.principal is not None:
            self._source.services.admitted.discard(waiter, waiter.principal)
        self._source.traffic.live.long_poll.departures[ended] += 1
        self._cancel_read(waiter)
        self._feed.release_reader()
        return True

    def end_at_once(self, waiter: Waiter, ended: Ended) -> None:
        """Answer a waiter whose credential is no longer valid, or whom an operator disconnects."""
        parked = self.parked.get(waiter)
        if parked is None:
            return
        feed, services = self._feed, self._source.services
        is_at_tail = parked.position == feed.tail and feed.lost is None
        response = self._source.poll_ended(feed.stream, parked) if is_at_tail else None
        if response is None:
            is_disconnected = ended == "disconnected"
            response = services.problem(
                LimitReached(DISCONNECTED)
                if is_disconnected
                else Unauthenticated(NO_MORE, is_refused=True)
            )
        self._answer(waiter, self._rendered(response, ended))
        self._count()

    def hurry(self, now: float) -> None:
        """End the time of all waiters soon, in lots, because the server stops."""
        self._ended = "drain"
        times = drain_times(now, len(self.parked), self._source.settings.drain_time)
        for (waiter, parked), at in zip(list(self.parked.items()), times, strict=True):
            self.parked[waiter] = replace(parked, deadline=min(parked.deadline, at))

    def abandon(self) -> None:
        """End all waits without a response, after a failure that is in the log."""
        for waiter in list(self.parked):
            self.remove(waiter, "error")
            waiter.abandon()

    # Answers

    def _rendered(self, response: Response, ended: Ended, age: NewsAge | None = None) -> PollAnswer:
        """Render a response as the answer to equal long-polls."""
        return PollAnswer(*self._source.services.collapsed(response), ended, age)

    def _refusal(self, reason: HeadgateError, ended: Ended) -> PollAnswer:
        """Render an error as the answer to long-polls."""
        return self._rendered(self._source.services.problem(reason), ended)

    def _at_end(self, ended: Ended, parked: Parked) -> PollAnswer | None:
        """Render the answer without data; None if there may be data after the position."""
        response = self._source.poll_ended(self._feed.stream, parked)
        if response is None:
            return None
        return self._rendered(response, "error" if response.status >= 400 else ended)

    def _share(
        self,
        answers: Answers,
        render: Callable[[Parked], PollAnswer | None],
        waiter: Waiter,
        parked: Parked,
    ) -> None:
        """Answer a waiter as those with equal requests; read for it if `render` returns None."""
        read = parked.read
        # `now` and a URL without an offset mean another place soon, each in its own way.
        unfixed = read.offset if read.offset in {None, NOW} else ""
        key = (parked.position, unfixed, read.cursor, read.by_key, read.reader_key)
        try:
            answer = answers[key]
        except KeyError:
            answer = answers[key] = render(parked)
        if answer is None:
            self._read_for(waiter, parked)
        else:
            self._answer(waiter, answer)

    def _observe(self, answers: Answers) -> None:
        """Observe how many readers shared each answer, when these are used no more."""
        for answer in answers.values():
            if answer is not None:
                self._source.traffic.collapsed.observe(answer.readers)

    def _answer(self, waiter: Waiter, answer: PollAnswer) -> None:
        """End a wait with a response, which the caller has counted afterwards by `count`."""
        if answer.readers == answer.counted:
            self._uncounted.append(answer)
        answer.readers += 1
        del self.parked[waiter]
        if waiter.principal is not None:
            self._source.services.admitted.discard(waiter, waiter.principal)
        if self.late:
            self._cancel_read(waiter)
        try:
            waiter.answer(answer)
        except Exception:  # noqa: BLE001 - raised by later requests on it; the others wait
            log.exception("poll.unanswered")
            waiter.abandon()
        self._feed.release_reader()

    def _count(self) -> None:
        """Add the readers of the answers that were given to the metrics."""
        traffic, live = self._source.traffic, self._source.traffic.live
        for answer in self._uncounted:
            readers, resumes = answer.readers - answer.counted, answer.uncounted_resumes
            answer.counted, answer.uncounted_resumes = answer.readers, [0] * (NOWHERE + 1)
            live.long_poll.departures[answer.ended] += readers
            if answer.ended == "answered":
                live.long_poll.delivered(readers, len(answer.response.body))
            if answer.age is not None:
                at, trace_id = answer.age
                live.delays.observe(perf_counter() - at, readers, trace_id)
            traffic.polls_answered(answer.response, resumes)
        self._uncounted.clear()

    # Reads

    def _read_for(self, waiter: Waiter, parked: Parked) -> None:
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
            answer = self._refusal(OriginBroken(UNTOLD), "error")
        if answer is not None:
            self._answer(waiter, answer)
            self._count()

    def _late_answer(self, done: _Late) -> PollAnswer | None:
        """Return the answer of a read that has ended, or None if the waiter has to wait on."""
        error = done.exception()
        if isinstance(error, HeadgateError):
            return self._refusal(error, "error")
        response = done.result()
        if response is None:
            return None
        ended: Ended = "answered"
        if response.status == 204:
            ended = "closed" if self._feed.closed else "timeout"
        return self._rendered(response, ended)

    def _cancel_read(self, waiter: Waiter) -> None:
        """Cancel the waiter's read, which may hold a place at the origin."""
        if (late := self.late.pop(waiter, None)) is not None:
            late.cancel()
