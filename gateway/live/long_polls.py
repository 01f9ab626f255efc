"""The long-polls that wait in a feed."""

from __future__ import annotations

import asyncio
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

    _Late = asyncio.Task[Response | None]
    _Answer = tuple[Response, bytes]
    _Rendered = dict[tuple[str, int | None], _Answer | None]


UNTOLD = "what follows could not be read"


class LongPolls(Generic[V, N]):
    """Equal ones are answered with the same bytes. Those that came first stand first."""

    __slots__ = ("_feed", "_late", "_parked", "_source")

    def __init__(self, feed: FeedState[V], source: FeedSource[V, N]) -> None:
        self._feed = feed
        self._source = source
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
        if position < self._feed.position:
            self._answer_late(waiter, parked)
        return deadline

    def leave(self, waiter: Waiter) -> bool:
        """The waiter's client is gone; whether it waited still."""
        if waiter not in self._parked:
            return False
        self._unpark(waiter)
        self._feed.left()
        return True

    def hurry(self, now: float) -> None:
        """End everybody's time."""
        for waiter, parked in list(self._parked.items()):
            self._parked[waiter] = parked._replace(deadline=now)

    def refuse(self, reason: HeadgateError) -> None:
        """Answer everybody with what went wrong."""
        if self._parked:
            refusals = self._refusals(reason)
            for waiter in list(self._parked):
                self._answer(waiter, next(refusals))

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
                self._answer(waiter, self._refusal(reason))
            else:
                self._answer(waiter, ended)

    def tell(self, news: Sequence[N]) -> None:
        """Answer those for whom there is news."""
        feed, with_data = self._feed, partial(self._source.poll_data, news=news)
        rendered: _Rendered = {}
        for waiter, parked in list(self._parked.items()):
            if parked.position > feed.position:
                continue  # of what it has already, the feed will hear yet
            if parked.position < feed.position:
                self._answer_alike(waiter, parked, with_data, rendered)
            elif feed.closed:
                self._answer_alike(waiter, parked, self._source.poll_ended, rendered)
            # else it came after what this round tells

    def end(self, now: float, *, news_wait: bool) -> None:
        """Answer those whose time is over."""
        feed = self._feed
        rendered: _Rendered = {}
        refusals = None if feed.lost is None else self._refusals(feed.lost)
        for waiter, parked in list(self._parked.items()):
            if parked.deadline > now:
                break
            if news_wait and parked.position < feed.tail:
                break  # data is on its way in the round that comes next
            if refusals is not None:
                self._answer(waiter, next(refusals))
            else:
                self._answer_alike(waiter, parked, self._source.poll_ended, rendered)

    def _answer_alike(
        self,
        waiter: Waiter,
        parked: Parked,
        respond: Callable[[V, Parked], Response | None],
        rendered: _Rendered,
    ) -> None:
        """Answer as all who asked the same; who gets no answer so is read for."""
        key = (parked.position, parked.read.cursor)
        if key not in rendered:
            rendered[key] = self._collapsed(respond(self._feed.stream, parked))
        answer = rendered[key]
        if answer is None:
            self._answer_late(waiter, parked)
        else:
            self._answer(waiter, answer)

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
        try:
            error = done.exception()
            answer = (
                self._refusal(error)
                if isinstance(error, HeadgateError)
                else self._collapsed(done.result())
            )
        except Exception:  # noqa: BLE001 - it must not wait for ever
            log.exception("poll.unreadable")
            answer = self._refusal(OriginBroken(UNTOLD))
        if answer is not None:
            self._answer(waiter, answer)

    def _answer(self, waiter: Waiter, answer: _Answer) -> None:
        self._unpark(waiter)
        try:
            waiter.answer(*answer)
        except Exception:  # noqa: BLE001 - it goes on with the client's next requests; the others wait
            log.exception("poll.unanswered")
            waiter.abandon()
        self._feed.left()

    def abandon(self) -> None:
        """Answer nobody: something has failed here, of which the log tells."""
        for waiter in list(self._parked):
            self._unpark(waiter)
            waiter.abandon()
            self._feed.left()

    def _unpark(self, waiter: Waiter) -> None:
        """It waits no more, nor is anything read for it, which may hold a place at the origin."""
        del self._parked[waiter]
        late = self._late.pop(waiter, None)
        if late is not None:
            late.cancel()
