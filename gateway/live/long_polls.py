"""The long-polls that wait in a feed."""

from __future__ import annotations

import asyncio
from functools import partial
from itertools import cycle, islice
from typing import TYPE_CHECKING, Generic

from gateway.errors import HeadgateError, OriginBroken, Unauthenticated
from gateway.live.contract import N, Parked, PollAnswer, V
from gateway.live.poll_answers import GivenAnswers
from gateway.live.recent_news import RecentNews
from gateway.protocol.responses import RETRY_AFTER_S
from gateway.protocol.streams.offsets import BEGINNING, NOW
from gateway.telemetry.logs import log

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from gateway.live.contract import FeedSource, FeedState, NewsAge, Waiter
    from gateway.protocol.requests import LongPoll
    from gateway.protocol.responses import Response
    from gateway.telemetry.live_traffic import Ended

    _Late = asyncio.Task[Response | None]
    Spares = Callable[[str], bool]
    _Key = tuple[str, str | None, int | None, bool | None, str]


NO_MORE = "the token counts no more"
UNTOLD = "what follows could not be read"
# Polls that are answered before others have their turn: 3 ms. Whoever was answered comes back
# meanwhile, and the writer with what follows, which is then told with the rest; and in one answer.
AT_ONCE = 256
# From so many on the news are kept for those who come back late: to read for one costs ten times
# what it costs to answer it, and together they would be in each other's way.
HERD = 64
HERD_S = 1.0  # who is answered is back before, or has come late by more than others make it
# Of what is kept for those who have to be served. Beyond it all of them are, however long it takes.
MOST_BYTES = 1 << 20
# For those who come back late: what a herd of the least size takes up by itself.
KEPT_BYTES = 64 * 1024


class LongPolls(Generic[V, N]):
    """Equal ones are answered with the same bytes. Those that came first stand first."""

    __slots__ = (
        "_counted",
        "_feed",
        "_given",
        "_herd_until",
        "_hurries",
        "_late",
        "_recent",
        "_source",
        "_turns",
        "_with_data",
        "parked",
    )

    def __init__(self, feed: FeedState[V], source: FeedSource[V, N]) -> None:
        self._feed = feed
        self._source = source
        self._counted = source.traffic.live.long_poll
        self._given = GivenAnswers(source.traffic)
        self._hurries = False
        self.parked: dict[Waiter, Parked] = {}
        self._late: dict[Waiter, _Late] = {}  # for whom what they need is being read
        # For whom there is news; some may have left meanwhile, or been answered otherwise.
        self._turns: dict[Waiter, None] = {}
        self._recent: RecentNews[N] = RecentNews()
        self._with_data: _Alike[V, N] | None = None  # answers up to the feed's tail
        self._herd_until = 0.0  # loop time

    def __len__(self) -> int:
        return len(self.parked)

    @property
    def due(self) -> float:
        """Return when the first waiter's time is over (loop time)."""
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
        if self._recent.covers(position):
            self._turns[waiter] = None
        elif position < self._feed.position:
            self._answer_late(waiter, parked)
        return deadline

    def leave(self, waiter: Waiter, ended: Ended) -> bool:
        """Remove a waiter, for example because its client is gone; return whether it waited."""
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
        is_at_tail = parked.position == feed.tail and feed.lost is None
        response = self._source.poll_ended(feed.stream, parked) if is_at_tail else None
        if response is None:
            response = self._source.shared.problem(Unauthenticated(NO_MORE, is_refused=True))
        self._answer(waiter, self._answer_of(response, ended))
        self._given.count()

    def hurry(self, now: float) -> None:
        """End everybody's time."""
        self._hurries = True
        for waiter, parked in list(self.parked.items()):
            self.parked[waiter] = parked._replace(deadline=now)

    def refuse(self, reason: HeadgateError, ended: Ended, spares: Spares | None = None) -> None:
        """Answer all polls with the error, except those from `now` and those spared."""
        self._forget_turns()
        if self.parked:
            refusals = self._refusals(reason, ended)
            for waiter, parked in list(self.parked.items()):
                at = NOW if parked.read.offset == NOW else parked.position
                if spares is not None and (at == NOW or spares(at)):
                    self._answer_late(waiter, parked._replace(position=at, deadline=0.0))
                else:
                    self._answer(waiter, next(refusals))
            self._given.count()

    def break_off(self, reason: HeadgateError) -> None:
        """Answer the polls at the feed's tail: `now` and the beginning may have moved."""
        feed = self._feed
        self._forget_turns()
        for waiter, parked in list(self.parked.items()):
            if parked.read.offset in {None, NOW}:
                self._answer_late(waiter, parked._replace(position=parked.read.offset or BEGINNING))
                continue
            ended = self._source.poll_ended(feed.stream, parked)
            if parked.position == feed.tail or ended is None:
                self._answer(waiter, self._refusal(reason, "closed"))
            else:
                self._answer(waiter, self._answer_of(ended, "closed"))
        self._given.count()

    # Turns

    @property
    def has_turns(self) -> bool:
        """True while waiters have to be served still."""
        return bool(self._turns)

    @property
    def is_overfull(self) -> bool:
        """True if the news kept for waiters have more bytes than they are worth."""
        return self._recent.bytes > MOST_BYTES

    @property
    def are_coming_back(self) -> bool:
        """True if many waiters were answered just now, and the news for their return are kept."""
        return bool(self._recent) and asyncio.get_running_loop().time() < self._herd_until

    def reaches(self, position: str) -> bool:
        """Return whether the news after an offset are kept for a client that comes from there."""
        return self._recent.covers(position)

    def published(self, news: Sequence[N], told: NewsAge) -> None:
        """Keep news up to the feed's tail: waiters served from now on get them, too."""
        self.renew()
        if self._recent and news:
            self._recent.add(self._feed.tail, news, self._source.news_bytes(news), told)

    def tell(self, start: str, news: Sequence[N], told: NewsAge) -> int:
        """Serve those for whom there is news, which follow `start`; how many are given data."""
        feed = self._feed
        if news and not self._recent:
            self._recent.begin(start)
            self._recent.add(feed.tail, news, self._source.news_bytes(news), told)
        # Of what those past its position have already, the feed will hear yet; and who is there
        # came after what this round tells.
        turns, position = self._turns, feed.position
        turns.update((who, None) for who, it in self.parked.items() if it.position < position)
        behind = len(turns)
        if behind >= HERD:
            self._herd_until = asyncio.get_running_loop().time() + HERD_S
        if feed.closed:
            turns.update((who, None) for who, it in self.parked.items() if it.position == position)
        self.serve()
        return behind

    def serve(self, most: int = AT_ONCE) -> None:
        """Answer those who have waited for longest."""
        feed = self._feed
        with_data = self._with_data
        if with_data is None:
            with_data = self._with_data = _Alike(self, self._data, "answered")
        at_end = _Alike(self, self._source.poll_ended, "closed")
        for waiter in list(islice(self._turns, most)):
            del self._turns[waiter]
            parked = self.parked.get(waiter)
            if parked is None:
                continue
            if parked.position < feed.tail:
                with_data.answer(waiter, parked)
            elif feed.closed and parked.position == feed.tail:
                at_end.answer(waiter, parked)
        at_end.observe()
        if not self._turns:
            self.renew()
            self._recent.trim(feed.position, KEPT_BYTES if self.are_coming_back else 0)
            if not self._recent.bytes:
                self._recent.clear()
        self._given.count()

    def _data(self, stream: V, parked: Parked) -> Response | None:
        return self._source.poll_data(stream, parked, self._recent.since(parked.position))

    def renew(self) -> None:
        """Drop the rendered responses, which lack the newest news."""
        if self._with_data is not None:
            self._with_data.observe()
            self._with_data = None

    def _forget_turns(self) -> None:
        """Drop the kept news and all turns."""
        self.renew()
        self._turns.clear()
        self._recent.clear()

    # Other ends

    def end(self, now: float, *, news_wait: bool) -> None:
        """Answer those whose time is over."""
        feed = self._feed
        why: Ended = "drain" if self._hurries else "timeout"
        at_end = _Alike(self, self._source.poll_ended, why)
        refusals = None if feed.lost is None else self._refusals(feed.lost, "error")
        for waiter, parked in list(self.parked.items()):
            if parked.deadline > now:
                break
            if (news_wait or self._turns) and parked.position < feed.tail:
                break  # data is on its way in its turn, or in the round that comes next
            if refusals is not None:
                self._answer(waiter, next(refusals))
            else:
                at_end.answer(waiter, parked)
        at_end.observe()
        self._given.count()

    def _answer_of(
        self, response: Response, ended: Ended, told: NewsAge | None = None
    ) -> PollAnswer:
        """Return a response as an answer for waiters."""
        return PollAnswer(*self._source.shared.collapsed(response), ended, told)

    def _refusals(self, reason: HeadgateError, ended: Ended) -> Iterator[PollAnswer]:
        """Cycle through refusals that name different times to return."""
        return cycle([self._refusal(reason, ended) for _ in RETRY_AFTER_S])

    def _refusal(self, reason: HeadgateError, ended: Ended) -> PollAnswer:
        return self._answer_of(self._source.shared.problem(reason), ended)

    def _answer_late(self, waiter: Waiter, parked: Parked) -> None:
        """Read for a waiter what is not among the kept news any more."""
        under_way = self._late.get(waiter)
        if under_way is not None and not under_way.done():
            return
        late = self._source.late_poll(self._feed.stream, parked)
        read = self._late[waiter] = asyncio.get_running_loop().create_task(late)
        read.add_done_callback(partial(self._answer_read, waiter))

    def _answer_read(self, waiter: Waiter, done: _Late) -> None:
        if done.cancelled():
            return
        done.exception()  # is seen, also where nobody waits for it: else asyncio logs it
        if self._late.get(waiter) is not done:
            return  # the waiter has left, or waits anew
        del self._late[waiter]
        try:
            answer = self._late_answer(done)
        except Exception:  # noqa: BLE001 - it must not wait for ever
            log.exception("poll.unreadable")
            answer = self._refusal(OriginBroken(UNTOLD), "error")
        if answer is not None:
            self._answer(waiter, answer)
            self._given.count()

    def _late_answer(self, done: _Late) -> PollAnswer | None:
        """Return the read's answer, or its refusal; None while the waiter is to wait on."""
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
        self._given.note(answer)
        del self.parked[waiter]
        if waiter.principal is not None:
            self._source.shared.admitted.discard(waiter)
        if self._late:
            self._read_no_more(waiter)
        try:
            waiter.answer(answer)
        except Exception:  # noqa: BLE001 - it goes on with the client's next requests; the others wait
            log.exception("poll.unanswered")
            waiter.abandon()
        self._feed.left()

    def abandon(self) -> None:
        """Answer nobody: something has failed here, of which the log tells."""
        self._forget_turns()
        for waiter in list(self.parked):
            self._unpark(waiter, "error")
            waiter.abandon()
            self._feed.left()

    def _unpark(self, waiter: Waiter, ended: Ended) -> None:
        """Remove a waiter that gets no answer."""
        del self.parked[waiter]
        if waiter.principal is not None:
            self._source.shared.admitted.discard(waiter)
        self._counted.leaves[ended] += 1
        self._read_no_more(waiter)

    def _read_no_more(self, waiter: Waiter) -> None:
        """Cancel the waiter's read, which may hold a place at the origin."""
        if (late := self._late.pop(waiter, None)) is not None:
            late.cancel()


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
        # The URL of one without an offset of its own means another place soon, each in its way.
        unfixed = read.offset if read.offset in {None, NOW} else ""
        key = (parked.position, unfixed, read.cursor, read.by_key, read.told_key)
        try:
            answer = self.answers[key]
        except KeyError:
            answer = self.answers[key] = self._rendered(parked)
        if answer is None:
            self._polls._answer_late(waiter, parked)
        else:
            self._polls._answer(waiter, answer)

    def observe(self) -> None:
        """Note how many share an answer: nobody is given one of these any more."""
        for answer in self.answers.values():
            if answer is not None:
                self._polls._source.traffic.collapsed.observe(answer.given)

    def _rendered(self, parked: Parked) -> PollAnswer | None:
        polls = self._polls
        response = self._respond(polls._feed.stream, parked)
        if response is None:
            return None
        if response.status >= 400:
            return polls._answer_of(response, "error")
        is_news = self._ended == "answered"
        told = polls._recent.told(parked.position) if is_news else None
        return polls._answer_of(response, self._ended, told)
