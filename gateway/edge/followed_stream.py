"""One stream of an origin that is followed: its feed, its follower and its latest news."""

from __future__ import annotations

import asyncio
import random
from contextlib import ExitStack
from itertools import count
from typing import TYPE_CHECKING, Protocol

from multidict import CIMultiDict

from gateway.cache import tails
from gateway.cache.directives import again_s
from gateway.cache.replica_lag import ANOTHER_STREAM, PERSISTS_S
from gateway.edge.follower import Ended, Polled, Question, follow
from gateway.edge.recent_window import RecentWindow
from gateway.edge.snapshots import is_coded, said_of_data
from gateway.errors import (
    HeadgateError,
    OriginBehind,
    OriginBroken,
    OriginBusy,
    StreamGone,
    StreamNotFound,
)
from gateway.live.contract import Host
from gateway.live.feed import Feed
from gateway.protocol import edge_target, followed, repair
from gateway.protocol.followed import Snapshot, Span
from gateway.protocol.header_names import CLOSED, CURSOR, NEXT_OFFSET, UP_TO_DATE
from gateway.protocol.offsets import NOW, is_plain
from gateway.telemetry.logs import log

if TYPE_CHECKING:
    from multidict import MultiMapping

    from gateway.cache.http_cache import CacheResult
    from gateway.edge.place import Place
    from gateway.edge.window_budget import WindowBudget
    from gateway.origin.client import Origin
    from gateway.protocol.cache_headers import Freshness
    from gateway.protocol.edge_target import EdgeRead
    from gateway.protocol.repair import StreamRead

LONGEST_READ = 64 << 20  # bytes of one answer that is taken apart for live readers
SAYS_S = 5.0  # it may change: lifetimes shrink towards the end of a stream
PASSING = frozenset({408, 425, 429})  # refusals that are worth another try

_versions = count()


class Keeper(Host["FollowedStream", Span], Protocol):
    """The followed streams of a route, to which one belongs."""

    origin: Origin
    ignores_no_store: bool
    freshness: Freshness
    budget: WindowBudget

    def moved(self, stream: FollowedStream) -> None:
        """The stream has grown, or was closed."""

    def over(self, stream: FollowedStream) -> None:
        """The stream is gone."""


class FollowedStream:
    """`confirmed` says that the origin itself has told where the tail is."""

    def __init__(self, place: Place, snapshot: Snapshot, keeper: Keeper) -> None:
        self.place = place
        self.snapshot = snapshot
        self.confirmed = False
        self._expected = ""  # what was written through this gateway reaches to here
        self._expects_end = False
        # Loop time at which `snapshot.reads_say` was told.
        self._said_at = asyncio.get_running_loop().time()
        self._doubted_at: float | None = None  # loop time: perhaps it is another stream since then
        self.closing: asyncio.TimerHandle | None = None
        self.resources = ExitStack()  # what it takes as long as the stream is followed
        self.feed: Feed[FollowedStream, Span] = Feed(
            self, snapshot.tail, keeper, closed=snapshot.closed
        )
        self.feed.caught_up = snapshot.caught_up
        self._keeper = keeper
        self.version = next(_versions)  # of the answers with its news
        self._window = RecentWindow(snapshot.content_type, snapshot.tail, keeper.budget)
        self._task: asyncio.Task[None] | None = None
        if not (snapshot.closed and snapshot.caught_up):  # else nothing can follow
            self._task = asyncio.get_running_loop().create_task(
                follow(snapshot.tail, self._ask, self, random.random)
            )
            self._task.add_done_callback(self._followed)

    def __repr__(self) -> str:
        health = self.feed.lost or "followed"
        return f"<FollowedStream {self.place.read.path} at {self.snapshot.tail}, {health}>"

    @property
    def is_current(self) -> bool:
        """Whether the stream is known as it is right now, as far as anybody can."""
        feed = self.feed
        return self.confirmed and feed.caught_up and feed.lost is None and not feed.closed

    def expect(self, next_offset: str, *, closed: bool) -> None:
        """Something was written: the tail is not known before the origin's poll tells of it."""
        if self.feed.closed and not (closed and next_offset == self.feed.tail):
            self.over(StreamGone(ANOTHER_STREAM))  # nothing can be written after an end
            return
        self._expected = max(self._expected, next_offset)
        self._expects_end = self._expects_end or closed
        if not self._has_heard(self.snapshot.tail, closed=self.snapshot.closed):
            self.snapshot = self.snapshot._replace(caught_up=False)
            self.feed.caught_up = False
            self.version = next(_versions)

    def _has_heard(self, tail: str, *, closed: bool) -> bool:
        """Whether a tail is not before what was written through this gateway."""
        return self._expected <= tail and (closed or not self._expects_end)

    def is_another(self, start: str, facts: StreamRead, body: bytes | None) -> bool:
        """Whether an answer of the origin, its body if it is whole, is not of this stream."""
        snapshot = self.snapshot._replace(
            content_type=facts.content_type,
            tail=facts.next_offset,
            closed=facts.closed and facts.up_to_date,
        )
        if self.is_contradicted(snapshot, ends=facts.up_to_date or facts.is_empty):
            return True
        if body is None or facts.is_coded or start == NOW:
            return False
        return self._window.contradicts(start, facts.next_offset, body)

    def is_contradicted(self, snapshot: Snapshot, *, ends: bool) -> bool:
        """Whether a read shows that another stream is at the path: of another type, for example.

        Where a closed one is seen to go on, or to end elsewhere, nobody follows it any more, and
        who waits here would wait for ever.
        """
        if not followed.is_of_type(snapshot.content_type, self.snapshot.content_type):
            return True
        if not self.feed.closed or (snapshot.closed and snapshot.tail == self.feed.tail):
            return False
        return ends or snapshot.closed or snapshot.tail > self.feed.tail

    def knows_tail(self, offset: str | None) -> bool:
        """Whether the stream is known to end at an offset, right now."""
        return self.feed.position == self.feed.tail == offset and self.is_current

    def reaches(self, offset: str) -> bool:
        """Whether a reader at an offset can be served without asking the origin first."""
        return not self.feed.closed and (
            self.feed.position == offset or self.since(offset) is not None
        )

    def since(self, offset: str) -> Span | None:
        """The news after an offset as one span, where they are still at hand."""
        if self._doubted_at is not None:
            return None  # of a stream that may be no more
        return self._window.since(offset)

    def latest(self, start: str) -> Span | None:
        """The latest news, however long they are, for one who was told what is before them."""
        last = self._window.last
        if self._doubted_at is not None or last is None or last.start != start:
            return None
        return last

    def read_by_somebody(self, span: Span, result: CacheResult) -> None:
        """A reader has come from one offset to another, and was told who may keep what is there."""
        said, facts = said_of_data(result.cached, self.place.request), result.cached.facts
        if said is None or facts is None or self._tells_less(span, facts):
            return
        if not followed.is_of_type(facts.content_type, self.snapshot.content_type):
            return
        sure = self._doubted_at is None  # else it may be of another stream
        if sure and result.current and result.source is None and not is_coded(result.cached):
            self._window.learn(*span)
        if span.end == self.snapshot.tail:  # of older parts an origin may say something else
            self._note_reads_say(said)

    def _tells_less(self, span: Span, facts: StreamRead) -> bool:
        """Whether it is the whole of a shorter stream: old, or of another one."""
        return facts.up_to_date and span.end < self.snapshot.tail

    @property
    def knows_what_reads_say(self) -> bool:
        """Whether the origin has told lately for how long caches may keep a read of the tail."""
        age_s = asyncio.get_running_loop().time() - self._said_at
        return self.snapshot.reads_say is not None and age_s < SAYS_S

    def _note_reads_say(self, said: str) -> None:
        self._said_at = asyncio.get_running_loop().time()
        if said != self.snapshot.reads_say:
            private = self._is_private(said, self.snapshot.polls_say)
            self.snapshot = self.snapshot._replace(reads_say=said, private=private)
            self.version = next(_versions)

    def end(self) -> None:
        """Follow the stream no more."""
        if self.closing is not None:
            self.closing.cancel()
        self._window.end()
        if self._task is not None and self._task is not asyncio.current_task():
            self._task.cancel()

    # Observer

    def heard(self, start: str, polled: Polled) -> None:
        """Tell the keeper and the feed."""
        news = [Span(start, polled.end, polled.body)] if polled.end != start else []
        polls_say = self.snapshot.polls_say if polled.said is None else polled.said
        closed = polled.closed and polled.caught_up
        self.snapshot = snapshot = Snapshot(
            self.snapshot.place,
            self.snapshot.content_type,
            polled.end,
            closed,
            polled.caught_up and self._has_heard(polled.end, closed=closed),
            self._is_private(self.snapshot.reads_say, polls_say),
            self.snapshot.lifetime,
            self.snapshot.reads_say,
            polls_say,
            polled.cors,
        )
        for span in news:
            self._window.append(span)
        self.version = next(_versions)
        if news or snapshot.closed:
            self._keeper.moved(self)
        self.confirmed = True
        self.feed.publish(
            self, snapshot.tail, news, closed=snapshot.closed, caught_up=snapshot.caught_up
        )

    def holds(self) -> None:
        """The origin has taken the poll."""
        self.confirmed = True
        self.feed.lost = None

    def failed(self, reason: HeadgateError, *, quietly: bool) -> None:
        """Tell the polls; SSE readers wait for better times."""
        self.confirmed = False
        if not quietly:
            self.feed.lose(reason)

    def over(self, reason: HeadgateError) -> None:
        """Let everybody go."""
        self._keeper.over(self)
        self.feed.end(reason)

    def _followed(self, task: asyncio.Task[None]) -> None:
        if task.cancelled() or task.exception() is None:
            return
        log.error("follower.failed", stream=self.place.read.path, exc_info=task.exception())
        self.over(OriginBroken("the origin's answer to a long-poll could not be used"))

    async def _ask(self, question: Question) -> Polled:
        """The answer, with what follows it where that is the rest of a character."""
        polled = await self._asked(question)
        for _ in range(followed.MOST_JOINED):
            if polled.caught_up or not followed.is_cut(polled.content_type, polled.body):
                break
            more = await self._asked(Question(polled.end, polled.cursor, waits=False))
            polled = more._replace(
                body=polled.body + more.body,
                content_type=polled.content_type,
                said=polled.said if more.said is None else more.said,
            )
        return polled

    async def _asked(self, question: Question) -> Polled:
        if self._doubted_at is not None and self._window.last is not None:
            await self._dispel(self._window.last)
        polled = await self._fetched(question)
        self._doubted_at = None
        return polled

    async def _dispel(self, last: Span) -> None:
        """Go on only when the latest news are still what was told of them."""
        again = await self._fetched(Question(last.start, None, waits=False))
        if again.end < last.end:
            raise self._behind()
        if not self._window.agrees(again.body):
            raise Ended(StreamGone(ANOTHER_STREAM))

    def _behind(self) -> Exception:
        """What a shorter stream at the origin means: at first that it may only lag."""
        now = asyncio.get_running_loop().time()
        if self._doubted_at is None:
            self._doubted_at = now
        if now - self._doubted_at >= PERSISTS_S:
            return Ended(StreamGone(ANOTHER_STREAM))
        return OriginBehind("the origin tells of a stream that ends before what it told of")

    async def _fetched(self, question: Question) -> Polled:
        read, start = self.place.read, question.start
        target = (
            edge_target.poll_target(read, start, question.cursor)
            if question.waits
            else edge_target.catch_up(read, start).target
        )
        fields = self.place.request.fields
        with ExitStack() as resources:
            answer = await self._keeper.origin.send("GET", target, fields, poll=question.waits)
            resources.callback(answer.release)
            if answer.status not in {200, 204}:
                refuse(answer.status, answer.headers)
            body = await answer.read(LONGEST_READ)
        return self._polled(question, answer.status, answer.headers, body)

    def _polled(
        self, question: Question, status: int, headers: MultiMapping[str], body: bytes
    ) -> Polled:
        nothing = status == 204
        content_type = "" if nothing else headers.get("Content-Type", "")
        end = headers.get(NEXT_OFFSET, question.start if nothing else "")
        if not is_plain(end) or "Content-Encoding" in headers:
            raise OriginBroken("the origin's answer to a long-poll is none of the protocol")
        if content_type and not followed.is_of_type(content_type, self.snapshot.content_type):
            raise Ended(StreamGone(ANOTHER_STREAM))
        if not followed.is_whole(content_type, body):
            raise OriginBroken("the origin's answer to a read of a JSON stream is no array")
        try:
            repair.check_end(question.start, end)
        except OriginBehind:
            raise self._behind() from None
        said = None if repair.is_nothing(content_type, body) else self._said(headers)
        caught_up = nothing or repair.is_true(headers, UP_TO_DATE)
        if said is not None and caught_up and not question.waits:
            self._note_reads_say(self._said(headers, of_the_tail=True))
        return Polled(
            end,
            headers.get(CURSOR),
            body,
            content_type,
            repair.is_true(headers, CLOSED),
            caught_up,
            said if question.waits else None,
            repair.cors(headers),
        )

    def _is_private(self, reads_say: str | None, polls_say: str) -> bool:
        reads_are = self.snapshot.private if reads_say is None else repair.is_private(reads_say)
        return self.place.request.identified or reads_are or repair.is_private(polls_say)

    def _said(self, headers: MultiMapping[str], *, of_the_tail: bool = False) -> str:
        ignore = self._keeper.ignores_no_store and not self.place.request.identified
        if of_the_tail:
            headers = CIMultiDict(headers)
            tails.shorten(headers, self._keeper.freshness.tail_max_age)
        return repair.said(headers, ignore_no_store=ignore)


def stream_key(host: str, read: EdgeRead, identity: str) -> tuple[str, str, tuple[str, ...], str]:
    """What readers have in common who share one feed: to others it may be another stream."""
    return host, read.path, read.others, identity


def refuse(status: int, headers: MultiMapping[str]) -> None:
    """Raise what a refused read means for those who follow the stream."""
    if status == 404:
        raise Ended(StreamNotFound("the stream was deleted"))
    if status == 410:
        raise Ended(StreamGone("the stream was deleted, or its offsets are of an earlier one"))
    answers = f"the origin answers a read of the stream with {status}"
    if status >= 500 or status in PASSING:
        raise OriginBusy(answers, again_s(headers))
    reason = OriginBroken(answers)
    if status >= 400:
        raise Ended(reason)  # it is worth a new request, which the origin answers by itself
    raise reason
