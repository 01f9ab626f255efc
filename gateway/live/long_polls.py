"""The long-polls that wait in a feed."""

from __future__ import annotations

import asyncio
from collections import Counter
from functools import partial
from itertools import cycle, islice
from typing import TYPE_CHECKING, Generic

from gateway.errors import HeadgateError, OriginBroken
from gateway.live.contract import N, Parked, V
from gateway.protocol.responses import RETRY_AFTER_S
from gateway.telemetry.logs import log

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from gateway.live.contract import FeedSource, FeedState, Waiter
    from gateway.protocol.requests import LongPoll
    from gateway.protocol.responses import Response
    from gateway.telemetry.live_traffic import Ended

    _Late = asyncio.Task[Response | None]
    _Answer = tuple[Response, bytes]
    _Key = tuple[str, int | None]


UNTOLD = "what follows could not be read"


class LongPolls(Generic[V, N]):
    """Equal ones are answered with the same bytes. Those that came first stand first."""

    __slots__ = ("_counted", "_feed", "_hurries", "_late", "_parked", "_source", "_traffic")

    def __init__(self, feed: FeedState[V], source: FeedSource[V, N]) -> None:
        self._feed = feed
        self._source = source
        self._traffic = source.traffic.live
        self._counted = self._traffic.long_poll
        self._hurries = False
        self._parked: dict[Waiter, Parked] = {}
        self._late: dict[Waiter, _Late] = {}  # for whom what they need is being read

    def __len__(self) -> int:
        return len(self._parked)

    @property
    def due(self) -> float:
        """When the first one's time is over (loop time)."""
        return next(iter(self._parked.values())).deadline

    def readers(self, most: int) -> list[tuple[str, str]]:
        """Offset and state of each, at most so many, those first for whom something is read."""
        behind = sorted(self._parked[waiter].position for waiter in self._late)[:most]
        told = [(position, "catching up") for position in behind]
        others = (parked for waiter, parked in self._parked.items() if waiter not in self._late)
        return told + [(parked.position, "live") for parked in islice(others, most - len(told))]

    def park(self, waiter: Waiter, read: LongPoll, position: str) -> float:
        """Let a waiter wait; the end of its time."""
        deadline = asyncio.get_running_loop().time() + self._source.settings.long_poll_timeout
        parked = self._parked[waiter] = Parked(position, read, deadline)
        self._counted.joins += 1
        if position < self._feed.position:
            self._answer_late(waiter, parked)
        return deadline

    def leave(self, waiter: Waiter, ended: Ended) -> bool:
        """The waiter waits no more, for example since its client is gone; whether it did."""
        if waiter not in self._parked:
            return False
        self._unpark(waiter, ended)
        self._feed.left()
        return True

    def hurry(self, now: float) -> None:
        """End everybody's time."""
        self._hurries = True
        for waiter, parked in list(self._parked.items()):
            self._parked[waiter] = parked._replace(deadline=now)

    def refuse(self, reason: HeadgateError, ended: Ended) -> None:
        """Answer everybody with what went wrong."""
        if self._parked:
            refusals = self._refusals(reason)
            for waiter in list(self._parked):
                self._answer(waiter, next(refusals), ended)

    def break_off(self, reason: HeadgateError) -> None:
        """Answer with what went wrong those at the feed's tail, who alone are sure to be there.

        Who asked for the beginning gets it, wherever it is now.
        """
        feed = self._feed
        for waiter, parked in list(self._parked.items()):
            if parked.read.offset is None:
                self._answer_late(waiter, parked)
                continue
            ended = self._collapsed(self._source.poll_ended(feed.stream, parked))
            if parked.position == feed.tail or ended is None:
                self._answer(waiter, self._refusal(reason), "closed")
            else:
                self._answer(waiter, ended, "closed")

    def tell(self, news: Sequence[N]) -> int:
        """Answer those for whom there is news; how many of them were given data."""
        feed = self._feed
        with_data = _Alike(self, partial(self._source.poll_data, news=news), "answered")
        at_end = _Alike(self, self._source.poll_ended, "closed")
        for waiter, parked in list(self._parked.items()):
            if parked.position > feed.position:
                continue  # of what it has already, the feed will hear yet
            if parked.position < feed.position:
                with_data.answer(waiter, parked)
            elif feed.closed:
                at_end.answer(waiter, parked)
            # else it came after what this round tells
        at_end.count()
        return with_data.count()

    def end(self, now: float, *, news_wait: bool) -> None:
        """Answer those whose time is over."""
        feed = self._feed
        why: Ended = "drain" if self._hurries else "timeout"
        at_end = _Alike(self, self._source.poll_ended, why)
        refusals = None if feed.lost is None else self._refusals(feed.lost)
        for waiter, parked in list(self._parked.items()):
            if parked.deadline > now:
                break
            if news_wait and parked.position < feed.tail:
                break  # data is on its way in the round that comes next
            if refusals is not None:
                self._answer(waiter, next(refusals), "error")
            else:
                at_end.answer(waiter, parked)
        at_end.count()

    def _collapsed(self, response: Response | None) -> _Answer | None:
        return None if response is None else self._source.shared.collapsed(response)

    def _refusals(self, reason: HeadgateError) -> Iterator[_Answer]:
        """In turn, as often as wanted: each names another time to come back at."""
        return cycle([self._refusal(reason) for _ in RETRY_AFTER_S])

    def _refusal(self, reason: HeadgateError) -> _Answer:
        return self._source.shared.collapsed(self._source.shared.problem(reason))

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
        ended: Ended = "error"
        answer: _Answer | None
        try:
            error = done.exception()
            if isinstance(error, HeadgateError):
                answer = self._refusal(error)
            else:
                answer, ended = self._collapsed(done.result()), "answered"
                if answer is not None and answer[0].status == 204:
                    ended = "closed" if self._feed.closed else "timeout"
        except Exception:  # noqa: BLE001 - it must not wait for ever
            log.exception("poll.unreadable")
            answer = self._refusal(OriginBroken(UNTOLD))
        if answer is not None:
            self._answer(waiter, answer, ended)

    def _answer(self, waiter: Waiter, answer: _Answer, ended: Ended) -> None:
        response, wire = answer
        self._unpark(waiter, ended)
        if ended == "answered":
            self._counted.delivered(1, len(response.body))
        try:
            waiter.answer(response, wire, ended)
        except Exception:  # noqa: BLE001 - it goes on with the client's next requests; the others wait
            log.exception("poll.unanswered")
            waiter.abandon()
        self._feed.left()

    def abandon(self) -> None:
        """Answer nobody: something has failed here, of which the log tells."""
        for waiter in list(self._parked):
            self._unpark(waiter, "error")
            waiter.abandon()
            self._feed.left()

    def _unpark(self, waiter: Waiter, ended: Ended) -> None:
        """It waits no more, nor is anything read for it, which may hold a place at the origin."""
        del self._parked[waiter]
        self._counted.leaves[ended] += 1
        late = self._late.pop(waiter, None)
        if late is not None:
            late.cancel()


class _Alike(Generic[V, N]):
    """Answers of one kind: each is rendered once, for all who ask the same.

    Who gets no answer so is read for.
    """

    __slots__ = ("_ended", "_given", "_polls", "_rendered", "_respond")

    def __init__(
        self,
        polls: LongPolls[V, N],
        respond: Callable[[V, Parked], Response | None],
        ended: Ended,
    ) -> None:
        self._polls = polls
        self._respond = respond
        self._ended = ended
        self._rendered: dict[_Key, _Answer | None] = {}
        self._given: Counter[_Key] = Counter()

    def answer(self, waiter: Waiter, parked: Parked) -> None:
        """Give it to one more."""
        polls = self._polls
        key = (parked.position, parked.read.cursor)
        if key not in self._rendered:
            response = self._respond(polls._feed.stream, parked)
            self._rendered[key] = polls._collapsed(response)
        answer = self._rendered[key]
        if answer is None:
            polls._answer_late(waiter, parked)
            return
        self._given[key] += 1
        polls._answer(waiter, answer, self._ended if answer[0].status < 400 else "error")

    def count(self) -> int:
        """Tell how many each was given to; how many those are together."""
        for given in self._given.values():
            self._polls._traffic.collapsed.observe(given)
        return self._given.total()
