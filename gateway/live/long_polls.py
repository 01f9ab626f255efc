"""The long-polls that wait in a feed."""

from __future__ import annotations

import asyncio
from functools import partial
from itertools import cycle, islice
from typing import TYPE_CHECKING, Generic

from gateway.errors import HeadgateError, OriginBroken, Unauthenticated
from gateway.live.contract import N, Parked, PollAnswer, V
from gateway.protocol.responses import RETRY_AFTER_S
from gateway.telemetry.logs import log

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from gateway.live.contract import FeedSource, FeedState, Waiter
    from gateway.protocol.requests import LongPoll
    from gateway.protocol.responses import Response
    from gateway.telemetry.live_traffic import Ended

    _Late = asyncio.Task[Response | None]
    _Key = tuple[str, int | None, bool | None, str]


NO_MORE = "the token counts no more"
UNTOLD = "what follows could not be read"


class LongPolls(Generic[V, N]):
    """Equal ones are answered with the same bytes. Those that came first stand first."""

    __slots__ = ("_counted", "_feed", "_given", "_hurries", "_late", "_source", "parked")

    def __init__(self, feed: FeedState[V], source: FeedSource[V, N]) -> None:
        self._feed = feed
        self._source = source
        self._counted = source.traffic.live.long_poll
        self._given: list[PollAnswer] = []  # not counted yet
        self._hurries = False
        self.parked: dict[Waiter, Parked] = {}
        self._late: dict[Waiter, _Late] = {}  # for whom what they need is being read

    def __len__(self) -> int:
        return len(self.parked)

    @property
    def due(self) -> float:
        """When the first one's time is over (loop time)."""
        return next(iter(self.parked.values())).deadline

    def readers(self, most: int) -> list[tuple[str, str]]:
        """Offset and state of each, at most so many, those first for whom something is read."""
        behind = sorted(self.parked[waiter].position for waiter in self._late)[:most]
        told = [(position, "catching up") for position in behind]
        others = (parked for waiter, parked in self.parked.items() if waiter not in self._late)
        return told + [(parked.position, "live") for parked in islice(others, most - len(told))]

    def park(self, waiter: Waiter, read: LongPoll, position: str) -> float:
        """Let a waiter wait; the end of its time."""
        deadline = asyncio.get_running_loop().time() + self._source.settings.long_poll_timeout
        parked = self.parked[waiter] = Parked(position, read, deadline)
        self._counted.joins += 1
        if waiter.principal is not None:
            self._source.shared.admitted.add(waiter, partial(self._end_one, waiter))
        if position < self._feed.position:
            self._answer_late(waiter, parked)
        return deadline

    def leave(self, waiter: Waiter, ended: Ended) -> bool:
        """The waiter waits no more, for example since its client is gone; whether it did."""
        if waiter not in self.parked:
            return False
        self._unpark(waiter, ended)
        self._feed.left()
        return True

    def _end_one(self, waiter: Waiter, ended: Ended) -> None:
        """Its credential counts no more: its time is over, and nothing new is told it."""
        parked = self.parked.get(waiter)
        if parked is None:
            return
        feed = self._feed
        response = None
        if parked.position == feed.tail and feed.lost is None:
            response = self._source.poll_ended(feed.stream, parked)
        if response is None:
            response = self._source.shared.problem(Unauthenticated(NO_MORE, is_refused=True))
        self._answer(waiter, self._answer_of(response, ended))
        self._count()

    def hurry(self, now: float) -> None:
        """End everybody's time."""
        self._hurries = True
        for waiter, parked in list(self.parked.items()):
            self.parked[waiter] = parked._replace(deadline=now)

    def refuse(self, reason: HeadgateError, ended: Ended) -> None:
        """Answer everybody with what went wrong."""
        if self.parked:
            refusals = self._refusals(reason, ended)
            for waiter in list(self.parked):
                self._answer(waiter, next(refusals))
            self._count()

    def break_off(self, reason: HeadgateError) -> None:
        """Answer with what went wrong those at the feed's tail, who alone are sure to be there.

        Who asked for the beginning gets it, wherever it is now.
        """
        feed = self._feed
        for waiter, parked in list(self.parked.items()):
            if parked.read.offset is None:
                self._answer_late(waiter, parked)
                continue
            ended = self._source.poll_ended(feed.stream, parked)
            if parked.position == feed.tail or ended is None:
                self._answer(waiter, self._refusal(reason, "closed"))
            else:
                self._answer(waiter, self._answer_of(ended, "closed"))
        self._count()

    def tell(self, news: Sequence[N]) -> int:
        """Answer those for whom there is news; how many of them were given data."""
        feed = self._feed
        with_data = _Alike(self, partial(self._source.poll_data, news=news), "answered")
        at_end = _Alike(self, self._source.poll_ended, "closed")
        for waiter, parked in list(self.parked.items()):
            if parked.position > feed.position:
                continue  # of what it has already, the feed will hear yet
            if parked.position < feed.position:
                with_data.answer(waiter, parked)
            elif feed.closed:
                at_end.answer(waiter, parked)
            # else it came after what this round tells
        self._collapsed(at_end)
        return self._collapsed(with_data)

    def end(self, now: float, *, news_wait: bool) -> None:
        """Answer those whose time is over."""
        feed = self._feed
        why: Ended = "drain" if self._hurries else "timeout"
        at_end = _Alike(self, self._source.poll_ended, why)
        refusals = None if feed.lost is None else self._refusals(feed.lost, "error")
        for waiter, parked in list(self.parked.items()):
            if parked.deadline > now:
                break
            if news_wait and parked.position < feed.tail:
                break  # data is on its way in the round that comes next
            if refusals is not None:
                self._answer(waiter, next(refusals))
            else:
                at_end.answer(waiter, parked)
        self._collapsed(at_end)

    def _answer_of(self, response: Response, ended: Ended) -> PollAnswer:
        """An answer to be given, and to be counted when all have it who get it now."""
        response, wire = self._source.shared.collapsed(response)
        answer = PollAnswer(response, wire, ended)
        self._given.append(answer)
        return answer

    def _refusals(self, reason: HeadgateError, ended: Ended) -> Iterator[PollAnswer]:
        """In turn, as often as wanted: each names another time to come back at."""
        return cycle([self._refusal(reason, ended) for _ in RETRY_AFTER_S])

    def _refusal(self, reason: HeadgateError, ended: Ended) -> PollAnswer:
        return self._answer_of(self._source.shared.problem(reason), ended)

    def _answer_late(self, waiter: Waiter, parked: Parked) -> None:
        """What the waiter needs is no news any more, so it is read for it."""
        under_way = self._late.get(waiter)
        if under_way is not None and not under_way.done():
            return
        late = self._source.late_poll(self._feed.stream, parked)
        read = self._late[waiter] = asyncio.get_running_loop().create_task(late)
        read.add_done_callback(partial(self._answer_read, waiter))

    def _answer_read(self, waiter: Waiter, done: _Late) -> None:
        if done.cancelled() or self._late.get(waiter) is not done:
            return  # the waiter has left, or waits anew
        del self._late[waiter]
        try:
            answer = self._late_answer(done)
        except Exception:  # noqa: BLE001 - it must not wait for ever
            log.exception("poll.unreadable")
            answer = self._refusal(OriginBroken(UNTOLD), "error")
        if answer is not None:
            self._answer(waiter, answer)
            self._count()

    def _late_answer(self, done: _Late) -> PollAnswer | None:
        """What was read, or why nothing could be; None while the waiter is to wait on."""
        error = done.exception()
        if isinstance(error, HeadgateError):
            return self._refusal(error, "error")
        response = done.result()
        if response is None:
            return None
        ended: Ended = "answered"
        if response.status == 204:
            ended = "closed" if self._feed.closed else "timeout"
        return self._answer_of(response, ended)

    def _answer(self, waiter: Waiter, answer: PollAnswer) -> None:
        del self.parked[waiter]
        if waiter.principal is not None:
            self._source.shared.admitted.discard(waiter)
        if self._late:
            self._read_no_more(waiter)
        answer.given += 1
        try:
            waiter.answer(answer)
        except Exception:  # noqa: BLE001 - it goes on with the client's next requests; the others wait
            log.exception("poll.unanswered")
            waiter.abandon()
        self._feed.left()

    def abandon(self) -> None:
        """Answer nobody: something has failed here, of which the log tells."""
        for waiter in list(self.parked):
            self._unpark(waiter, "error")
            waiter.abandon()
            self._feed.left()

    def _unpark(self, waiter: Waiter, ended: Ended) -> None:
        """It waits no more, and has no answer."""
        del self.parked[waiter]
        if waiter.principal is not None:
            self._source.shared.admitted.discard(waiter)
        self._counted.leaves[ended] += 1
        self._read_no_more(waiter)

    def _read_no_more(self, waiter: Waiter) -> None:
        """What is read for it may hold a place at the origin."""
        late = self._late.pop(waiter, None)
        if late is not None:
            late.cancel()

    # Counting

    def _collapsed(self, alike: _Alike[V, N]) -> int:
        """Count the answers; how many have one of those."""
        given = [answer.given for answer in alike.answers.values() if answer is not None]
        for readers in given:
            self._source.traffic.collapsed.observe(readers)
        self._count()
        return sum(given)

    def _count(self) -> None:
        """Count the answers that were given, each once for all who have it."""
        for answer in self._given:
            self._counted.leaves[answer.ended] += answer.given
            if answer.ended == "answered":
                self._counted.delivered(answer.given, len(answer.response.body))
            self._source.traffic.polls_answered(answer.response, answer.begun)
        self._given.clear()


class _Alike(Generic[V, N]):
    """Answers of one kind: each is rendered once, for all who ask the same.

    Who gets no answer so is read for.
    """

    __slots__ = ("_ended", "_polls", "_respond", "answers")

    def __init__(
        self,
        polls: LongPolls[V, N],
        respond: Callable[[V, Parked], Response | None],
        ended: Ended,
    ) -> None:
        self._polls = polls
        self._respond = respond
        self._ended = ended
        self.answers: dict[_Key, PollAnswer | None] = {}

    def answer(self, waiter: Waiter, parked: Parked) -> None:
        """Give it to one more."""
        read = parked.read
        key = (parked.position, read.cursor, read.by_key, read.told_key)
        try:
            answer = self.answers[key]
        except KeyError:
            answer = self.answers[key] = self._rendered(parked)
        if answer is None:
            self._polls._answer_late(waiter, parked)
        else:
            self._polls._answer(waiter, answer)

    def _rendered(self, parked: Parked) -> PollAnswer | None:
        response = self._respond(self._polls._feed.stream, parked)
        if response is None:
            return None
        return self._polls._answer_of(response, self._ended if response.status < 400 else "error")
