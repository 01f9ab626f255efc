"""The long-polls that wait in a feed, and the news that is stored for them.

A client that got its response asks for what follows at once. In a herd, others are still waiting
for their turn then. The news that any of them may lack is stored while they are many, so that none
of them costs a read of the log or origin.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_right
from functools import partial
from itertools import cycle, islice
from operator import attrgetter
from typing import TYPE_CHECKING, Generic, NamedTuple

from msgspec.structs import replace
from typing_extensions import override

from gateway.live.contract import N, NewsAge, Parked, V
from gateway.live.waiting_polls import WaitingPolls
from gateway.protocol.responses import RETRY_AFTER_S
from gateway.protocol.streams.offsets import BEGINNING, NOW

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from gateway.errors import HeadgateError
    from gateway.live.contract import FeedState, PollAnswer, Round, Waiter
    from gateway.live.waiting_polls import Answers
    from gateway.protocol.requests import LongPoll
    from gateway.telemetry.traffic import Ended

    Spares = Callable[[str], bool]

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
KEPT_BYTES = 64 * 1024
PIECE_BYTES = 256  # added to the size of each piece, so that their number is bounded, too


class _StoredNews(NamedTuple, Generic[N]):
    """The news of one publication, which ends at the offset `end`."""

    end: str
    news: Sequence[N]
    age: NewsAge
    size: int


_END = attrgetter("end")


class RecentNews(Generic[N]):
    """The news between the offsets `start` and `end`; empty before the first `restart`."""

    __slots__ = ("_pieces", "bytes", "end", "start")

    def __init__(self) -> None:
        self.start = self.end = ""
        self.bytes = 0
        self._pieces: list[_StoredNews[N]] = []

    def __bool__(self) -> bool:
        """Return whether news is being stored."""
        return self.start != ""

    def restart(self, start: str) -> None:
        """Drop everything, and store the news that follows `start` from now on."""
        self.start = self.end = start
        self.bytes = 0
        self._pieces.clear()

    def add(self, end: str, news: Sequence[N], size: int, age: NewsAge) -> None:
        """Store the next news, which ends at the offset `end` and has `size` bytes."""
        self.end = end
        self._pieces.append(_StoredNews(end, news, age, size + PIECE_BYTES))
        self.bytes += size + PIECE_BYTES

    def covers(self, position: str) -> bool:
        """Return whether all news after `position` is stored, and there is some."""
        return "" != self.start <= position < self.end

    def since(self, position: str) -> tuple[Sequence[N], NewsAge | None]:
        """Return the stored news after `position`, and its age; nothing if it is not covered."""
        if not self.covers(position):
            return (), None
        pieces = self._pieces[bisect_right(self._pieces, position, key=_END) :]
        age = NewsAge(pieces[0].age.at, pieces[-1].age.trace_id)
        if len(pieces) == 1:
            return pieces[0].news, age
        return [item for piece in pieces for item in piece.news], age

    def trim(self, sent: str, most: int) -> None:
        """Drop the oldest news up to the offset `sent`, until at most `most` bytes are left.

        Where nothing is left, no news is stored before the next `restart`.
        """
        oldest = 0
        for piece in self._pieces:
            if self.bytes <= most or piece.end > sent:
                break
            self.bytes -= piece.size
            self.start = piece.end
            oldest += 1
        del self._pieces[:oldest]
        if not self._pieces:
            self.restart("")


class LongPolls(WaitingPolls[V, N]):
    """The long-polls of one feed, and the turns in which they are answered.

    `turns` has the waiters that news has come for; some may have left, or been answered otherwise.
    """

    __slots__ = ("_herd_until", "_is_scheduled", "_with_data", "recent", "turns")

    def __init__(self, feed: FeedState[V]) -> None:
        super().__init__(feed)
        self.turns: dict[Waiter, None] = {}
        self._is_scheduled = False  # the next of these turns
        self.recent: RecentNews[N] = RecentNews()
        self._with_data: Answers = {}  # with news up to the feed's tail
        self._herd_until = 0.0  # loop time

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
        if position < self.recent.end and self.recent.covers(position):
            self.turns[waiter] = None
            self._schedule()
        elif position < feed.position:
            self._read_for(waiter, parked)

    def refuse(self, reason: HeadgateError, ended: Ended, spares: Spares | None = None) -> None:
        """Answer all polls with the error, except those from `now` and those spared."""
        self._forget_turns()
        if self.parked:
            refusals = self._refusals(reason, ended)
            for waiter, parked in list(self.parked.items()):
                at = NOW if parked.read.offset == NOW else parked.position
                if spares is not None and (at == NOW or spares(at)):
                    self._read_for(waiter, replace(parked, position=at, deadline=0.0))
                else:
                    self._answer(waiter, next(refusals))
            self._count()

    def break_off(self, reason: HeadgateError) -> None:
        """Answer all polls, because another stream has taken the place of this one.

        `now` and the beginning mean other offsets in it, so those polls are read for.
        """
        self._forget_turns()
        for waiter, parked in list(self.parked.items()):
            if parked.read.offset in {None, NOW}:
                start = parked.read.offset or BEGINNING
                self._read_for(waiter, replace(parked, position=start))
                continue
            answer = None
            if parked.position != self._feed.tail:
                answer = self._at_end("closed", parked)
            self._answer(waiter, answer or self._refusal(reason, "closed"))
        self._count()

    # Turns

    @property
    def are_coming_back(self) -> bool:
        """True if a herd was answered just now, and news is stored for its return."""
        return bool(self.recent) and asyncio.get_running_loop().time() < self._herd_until

    def add_news(self, news: Sequence[N], age: NewsAge) -> bool:
        """Store news up to the feed's tail: waiters answered from now on get it, too.

        Return whether more than MOST_BYTES are stored.
        """
        self.renew()
        if self.recent and news:
            self.recent.add(self._feed.tail, news, self._source.news_bytes(news), age)
        return self.recent.bytes > MOST_BYTES

    def serve_round(self, one: Round[N]) -> int:
        """Start to answer the waiters that a round has news for; return their number."""
        feed, parked = self._feed, self.parked
        if not parked and not self.recent:
            return 0
        if one.news and not self.recent:
            self.recent.restart(one.start)
            self.recent.add(feed.tail, one.news, self._source.news_bytes(one.news), one.age)
        # Waiters past the feed's position have data that the feed will get later; those at it came
        # after the news of this round.
        turns, position = self.turns, feed.position
        turns.update(dict.fromkeys([who for who, it in parked.items() if it.position < position]))
        behind = len(turns)
        if behind >= HERD:
            self._herd_until = asyncio.get_running_loop().time() + HERD_S
        if feed.closed:
            turns.update((who, None) for who, it in parked.items() if it.position == position)
        self.serve()
        return behind

    def serve(self, most: int = AT_ONCE) -> None:
        """Answer `most` waiters that news has come for, the longest waiting first."""
        feed = self._feed
        closed: Answers = {}
        for waiter in list(islice(self.turns, most)):
            del self.turns[waiter]
            parked = self.parked.get(waiter)
            if parked is None:
                continue
            if parked.position < feed.tail:
                self._share(self._with_data, self._data, waiter, parked)
            elif feed.closed and parked.position == feed.tail:
                self._share(closed, partial(self._at_end, "closed"), waiter, parked)
        self._observe(closed)
        if self.turns:
            self._schedule()
        else:
            self.renew()
            self.recent.trim(feed.position, KEPT_BYTES if self.are_coming_back else 0)
        self._count()

    def _schedule(self) -> None:
        """Answer the next waiters that news has come for in another pass of the loop."""
        if not self._is_scheduled:
            self._is_scheduled = True
            self._feed.call_soon(self._serve_next)

    def _serve_next(self) -> None:
        self._is_scheduled = False
        self.serve()

    def _data(self, parked: Parked) -> PollAnswer | None:
        news, age = self.recent.since(parked.position)
        response = self._source.poll_data(self._feed.stream, parked, news)
        if response is None:
            return None
        if response.status >= 400:
            return self._rendered(response, "error")
        return self._rendered(response, "answered", age)

    def renew(self) -> None:
        """Drop the rendered responses, which lack the latest news."""
        if self._with_data:
            self._observe(self._with_data)
            self._with_data = {}

    def _forget_turns(self) -> None:
        """Drop the stored news and all turns."""
        self.renew()
        self.turns.clear()
        self.recent.restart("")

    # Other ends

    def end(self, now: float, *, news_wait: bool) -> None:
        """Answer the waiters whose time is over."""
        feed = self._feed
        at_end: Answers = {}
        refusals = None if feed.lost is None else self._refusals(feed.lost, "error")
        for waiter, parked in list(self.parked.items()):
            if parked.deadline > now:
                break
            if (news_wait or self.turns) and parked.position < feed.tail:
                break  # it gets data in its turn, or in the next round
            if refusals is not None:
                self._answer(waiter, next(refusals))
            else:
                self._share(at_end, partial(self._at_end, self._ended), waiter, parked)
        self._observe(at_end)
        self._count()

    @override
    def abandon(self) -> None:
        self._forget_turns()
        super().abandon()

    def _refusals(self, reason: HeadgateError, ended: Ended) -> Iterator[PollAnswer]:
        """Cycle through refusals with different Retry-After."""
        return cycle([self._refusal(reason, ended) for _ in RETRY_AFTER_S])
