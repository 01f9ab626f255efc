"""The long-polls that wait in a feed: who waits, and how each wait ends.

A client that got its response asks for what follows at once. In a herd, others are still waiting
for their turn then: polls are answered in turns, the longest waiting first.
"""

from __future__ import annotations

from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Generic

from msgspec.structs import replace

from headgate_gateway.errors import HeadgateError, LimitReached, OriginBroken, Unauthenticated
from headgate_gateway.live.contract import Parked
from headgate_gateway.live.feed_state import drain_times
from headgate_gateway.live.poll_answers import PollAnswers
from headgate_gateway.live.source import N, V
from headgate_gateway.protocol.streams.offsets import BEGINNING, NOW
from headgate_gateway.telemetry.logs import log

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Sequence

    from headgate_gateway.live.contract import PollAnswer, Waiter
    from headgate_gateway.live.feed_state import FeedState, Round
    from headgate_gateway.live.source import FeedSource
    from headgate_gateway.protocol.requests import LongPoll
    from headgate_gateway.protocol.responses import Response
    from headgate_gateway.telemetry.traffic import Ended

    _Read = asyncio.Task[Response | None]

# Polls answered in one pass of the loop: 3 ms. Between two passes the clients that were answered
# come back, and the writer appends more, which the polls behind get in the same response.
AT_ONCE = 256
# Polls of one round that make a herd: the news is then stored for clients that come back late. A
# read for one of them costs ten times as much as its response, and many reads delay each other.
HERD = 64
HERD_S = 1.0  # for a client of a herd to come back; a later one is late for reasons of its own
# Bytes of news stored for polls that wait for their turn. Beyond it all polls are answered at once,
# however long that takes.
MOST_BYTES = 1 << 20
# Bytes of news stored for clients that come back late: a herd of HERD polls takes up as much.
STORED_BYTES = 64 * 1024

NO_MORE = "the token counts no more"
DISCONNECTED = "an operator has ended this request: connect again"
UNREADABLE = "what follows could not be read"


class LongPolls(Generic[V, N]):
    """The long-polls of one feed that wait, the longest waiting first.

    `due` has the waiters that news has come for; some may have left, or been answered otherwise.
    `late` has the reads under way, by the waiter that each is for.
    """

    __slots__ = (
        *("_ended", "_feed", "_herd_until", "_is_scheduled", "_source", "answers", "late"),
        *("parked", "due"),
    )

    def __init__(self, feed: FeedState[V]) -> None:
        self._feed = feed
        self._source: FeedSource[V, N] = feed.source
        self.answers: PollAnswers[V, N] = PollAnswers(feed)
        self.parked: dict[Waiter, Parked] = {}
        self.due: dict[Waiter, None] = {}
        self.late: dict[Waiter, _Read] = {}
        self._ended: Ended = "timeout"  # what ends a wait; "drain" once the server stops
        self._is_scheduled = False  # the next part of those due
        self._herd_until = 0.0  # loop time

    # Who waits

    def park(self, waiter: Waiter, read: LongPoll, position: str) -> None:
        """Let a waiter wait for the next data, or for the end of its time or credential."""
        feed, source = self._feed, self._source
        now = feed.loop.time()
        deadline = now + source.settings.long_poll_timeout
        self.parked[waiter] = parked = Parked(position, read, deadline, now)
        source.traffic.live.long_poll.joins += 1
        if waiter.principal is not None:
            source.services.admitted.add(
                waiter, waiter.principal, partial(self.end_at_once, waiter)
            )
        if deadline < feed.due:
            feed.set_timer(deadline)
        # A waiter that came after news gets that news as soon as possible.
        recent = self.answers.recent
        if position < recent.end and recent.covers(position):
            self.due[waiter] = None
            self._schedule()
        elif position < feed.position:
            self._read_for(waiter, parked)

    def remove(self, waiter: Waiter, ended: Ended) -> bool:
        """Remove a waiter that gets no response; return whether it waited."""
        if waiter not in self.parked:
            return False
        self._source.traffic.live.long_poll.departures[ended] += 1
        self._forget(waiter)
        self._feed.release_reader()
        return True

    def _forget(self, waiter: Waiter) -> None:
        """End a wait, and the waiter's read, which may hold a place at the origin."""
        del self.parked[waiter]
        if waiter.principal is not None:
            self._source.services.admitted.discard(waiter, waiter.principal)
        if self.late and (late := self.late.pop(waiter, None)) is not None:
            late.cancel()

    def _answer(self, waiter: Waiter, parked: Parked, answer: PollAnswer | None) -> None:
        """End a wait with an answer, which the caller has counted; read for it if that is None."""
        if answer is None:
            self._read_for(waiter, parked)
            return
        if answer.readers == answer.counted:
            self.answers.uncounted.append(answer)
        answer.readers += 1
        self._forget(waiter)
        try:
            waiter.answer(answer)
        except Exception:  # noqa: BLE001 - raised by later requests on it; the others wait
            log.exception("poll.unanswered")
            waiter.abandon()
        self._feed.release_reader()

    # News, and the turns in which polls get it

    @property
    def are_coming_back(self) -> bool:
        """True if a herd was answered just now, and news is stored for its return."""
        return bool(self.answers.recent) and self._feed.loop.time() < self._herd_until

    def add_news(self, news: Sequence[N], arrived_at: float) -> bool:
        """Store news up to the feed's tail: waiters answered from now on get it, too.

        Return whether more than MOST_BYTES are stored.
        """
        answers = self.answers
        answers.renew()
        if not answers.recent:
            return False
        if news:
            answers.store(news, arrived_at)
        return answers.recent.bytes > MOST_BYTES

    def serve_round(self, one: Round[N]) -> None:
        """Start to answer the waiters that a round has news for."""
        feed, parked, answers = self._feed, self.parked, self.answers
        if not parked and not answers.recent:
            return
        if one.news and not answers.recent:
            answers.recent.restart(one.start)
            answers.store(one.news, one.arrived_at)
        # Waiters past the feed's position have data that the feed will get later; those at it came
        # after the news of this round.
        due, position = self.due, feed.position
        due.update(dict.fromkeys([who for who, it in parked.items() if it.position < position]))
        if len(due) >= HERD:
            self._herd_until = feed.loop.time() + HERD_S
        if feed.closed:
            due.update((who, None) for who, it in parked.items() if it.position == position)
        self.serve()

    def serve(self, most: int = AT_ONCE) -> None:
        """Answer `most` waiters that news has come for, the longest waiting first."""
        feed, answers = self._feed, self.answers
        for waiter in list(islice(self.due, most)):
            del self.due[waiter]
            parked = self.parked.get(waiter)
            if parked is None:
                continue
            if parked.position < feed.tail:
                self._answer(waiter, parked, answers.with_data(parked))
            elif feed.closed and parked.position == feed.tail:
                self._answer(waiter, parked, answers.at_end(parked, "closed"))
        if self.due:
            self._schedule()
        else:
            answers.renew()
            answers.recent.trim(feed.position, STORED_BYTES if self.are_coming_back else 0)
        answers.count()

    def _schedule(self) -> None:
        """Answer the next waiters that news has come for in another pass of the loop."""
        if not self._is_scheduled:
            self._is_scheduled = True
            self._feed.call_soon(self._serve_next)

    def _serve_next(self) -> None:
        self._is_scheduled = False
        self.serve()

    # Other ends

    def end(self, now: float, *, news_wait: bool) -> None:
        """Answer the waiters whose time is over."""
        feed, answers = self._feed, self.answers
        refusals = None if feed.lost is None else answers.refusals(feed.lost, "error")
        for waiter, parked in list(self.parked.items()):
            if parked.deadline > now:
                break
            if (news_wait or self.due) and parked.position < feed.tail:
                break  # it gets data in its turn, or in the next round
            answer = next(refusals) if refusals else answers.at_end(parked, self._ended)
            self._answer(waiter, parked, answer)
        answers.count()

    def end_at_once(self, waiter: Waiter, ended: Ended) -> None:
        """Answer a waiter whose credential is no longer valid, or whom an operator disconnects."""
        parked = self.parked.get(waiter)
        if parked is None:
            return
        feed, answers = self._feed, self.answers
        is_at_tail = parked.position == feed.tail and feed.lost is None
        response = self._source.poll_ended(feed.stream, parked) if is_at_tail else None
        if response is None:
            response = self._source.services.problem(
                LimitReached(DISCONNECTED)
                if ended == "disconnected"
                else Unauthenticated(NO_MORE, is_refused=True)
            )
        self._answer(waiter, parked, answers.rendered(response, ended))
        answers.count()

    def refuse(
        self, reason: HeadgateError, ended: Ended, spares: Callable[[str], bool] | None = None
    ) -> None:
        """Answer all polls with the error, except those from `now` and those spared."""
        self._forget_news()
        if not self.parked:
            return
        refusals = self.answers.refusals(reason, ended)
        for waiter, parked in list(self.parked.items()):
            at = NOW if parked.read.offset == NOW else parked.position
            if spares is not None and (at == NOW or spares(at)):
                self._read_for(waiter, replace(parked, position=at, deadline=0.0))
            else:
                self._answer(waiter, parked, next(refusals))
        self.answers.count()

    def break_off(self, reason: HeadgateError) -> None:
        """Answer all polls, because another stream has taken the place of this one.

        `now` and the beginning mean other offsets in it, so those polls are read for.
        """
        self._forget_news()
        answers = self.answers
        for waiter, parked in list(self.parked.items()):
            if parked.read.offset in {None, NOW}:
                start = parked.read.offset or BEGINNING
                self._read_for(waiter, replace(parked, position=start))
                continue
            is_ahead = parked.position != self._feed.tail
            answer = answers.at_end(parked, "closed") if is_ahead else None
            self._answer(waiter, parked, answer or answers.refusal(reason, "closed"))
        answers.count()

    def hurry(self, now: float) -> None:
        """End the time of all waiters soon, in lots, because the server stops."""
        self._ended = "drain"
        times = drain_times(now, len(self.parked))
        for (waiter, parked), at in zip(list(self.parked.items()), times, strict=True):
            self.parked[waiter] = replace(parked, deadline=min(parked.deadline, at))

    def abandon(self) -> None:
        """End all waits without a response, after a failure that is in the log."""
        self._forget_news()
        for waiter in list(self.parked):
            self.remove(waiter, "error")
            waiter.abandon()

    def _forget_news(self) -> None:
        """Drop the stored news, for which no waiter is due any more."""
        self.answers.renew()
        self.due.clear()
        self.answers.recent.restart("")

    # Reads

    def _read_for(self, waiter: Waiter, parked: Parked) -> None:
        """Read the response for a waiter from the log or origin, if no such read is under way."""
        under_way = self.late.get(waiter)
        if under_way is not None and not under_way.done():
            return
        late = self._source.late_poll(self._feed.stream, parked)
        read = self.late[waiter] = self._feed.loop.create_task(late)
        read.add_done_callback(partial(self._answer_read, waiter))

    def _answer_read(self, waiter: Waiter, done: _Read) -> None:
        if done.cancelled():
            return
        error = done.exception()  # retrieved in any case, else asyncio logs it
        if self.late.get(waiter) is not done:
            return  # the waiter has left, or waits anew
        del self.late[waiter]
        answers = self.answers
        try:
            if isinstance(error, HeadgateError):
                answer = answers.refusal(error, "error")
            elif (response := done.result()) is None:
                return  # the waiter has to wait on
            elif response.status == 204:
                answer = answers.rendered(response, "closed" if self._feed.closed else "timeout")
            else:
                answer = answers.rendered(response, "answered")
        except Exception:  # noqa: BLE001 - the waiter must not wait for ever
            log.exception("poll.unreadable")
            answer = answers.refusal(OriginBroken(UNREADABLE), "error")
        self._answer(waiter, self.parked[waiter], answer)
        answers.count()
