"""The state of a followed stream as polls, reads and writes have shown it, and its doubts."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from headgate_gateway.edge.followed.origin_reads import CannotFollow, with_directives
from headgate_gateway.edge.reads.shared_response import next_number
from headgate_gateway.errors import OriginBehind, StreamGone
from headgate_gateway.later import Later
from headgate_gateway.protocol.streams.offsets import NOW, TailBound
from headgate_gateway.rules.followed import is_of_type
from headgate_gateway.rules.read_rules import ANOTHER_STREAM, PERSISTS_S
from headgate_gateway.rules.served_lifetimes import shortened_lines

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from headgate_gateway.edge.followed.evidence import NewestData
    from headgate_gateway.edge.followed.origin_reads import PollResult, ReaderRequests
    from headgate_gateway.edge.followed.recent_window import RecentWindow
    from headgate_gateway.live.feed import Feed
    from headgate_gateway.protocol.cache_headers import Freshness
    from headgate_gateway.rules.followed import Snapshot, Span

# How the origin has shown the tail of a stream, in ascending order of certainty.
NOTHING, READ, POLL = range(3)
DIRECTIVES_S = 5.0  # that directives count as recent: lifetimes shrink towards a stream's end


class Verification:
    """The verification of one stream's known data: by which server, and what doubts remain.

    `on_settled` is called when comparisons have shown that the origin has the known data.
    """

    def __init__(self, window: RecentWindow, on_settled: Callable[[], None] = lambda: None) -> None:
        self.window = window
        self._on_settled = on_settled
        self.comparison: Later[None] = Later()  # set when the next one, or the feed, has ended
        # Once it was compared: the last offset that the old and a new stream have in common, or "",
        # and those beyond it that readers of the old stream may hold.
        self.lost: tuple[str, frozenset[str]] | None = None
        self.doubts = 0  # number of doubts so far
        self._settled = 0  # number of doubts that comparisons have ended
        self._is_shorter = False  # according to the response to another request
        self._behind_since: float | None = None  # loop time
        self.server = "" if window.evidence is None else window.evidence.server  # compared last
        self.answered_by = ""  # the server of the latest answer

    @property
    def is_in_doubt(self) -> bool:
        """True while the origin may have another stream than the one that is followed."""
        return self.doubts != self._settled

    def on_settled(self) -> None:
        """Wake the readers that wait, because the data were compared."""
        self.wake()
        self._on_settled()

    def wake(self) -> None:
        """Wake the readers that wait: the comparison is over, or will not take place."""
        comparison, self.comparison = self.comparison, Later[None]()
        comparison.set_result(None)

    def is_trusted(self, server: str) -> bool:
        """Return whether a server was the last one compared; also True while none was compared."""
        return self.server in {"", server}

    def is_sure_of(self, server: str, offset: str) -> bool:
        """Return whether a server is known to have the stream's data up to an offset."""
        return self.spares(offset) or (self.is_trusted(server) and not self.is_in_doubt)

    def spares(self, offset: str) -> bool:
        """Return whether all data up to an offset are in the new stream as well."""
        return self.lost is not None and "" < offset <= self.lost[0]

    @property
    def is_behind(self) -> bool:
        """True if the origin has shown a shorter stream, so that known data may be lost."""
        return self._is_shorter or self._behind_since is not None

    def doubt(self, *, is_shorter: bool = False) -> None:
        """Have known data compared with the origin's before anything is joined to them.

        The origin may have lost its end in any failure, or another server may answer. `is_shorter`
        is True if an answer has shown a stream that ends before the known end.
        """
        self.doubts += 1
        self._is_shorter |= is_shorter

    def note_shorter(self, end: str) -> Exception:
        """Doubt the data, and return the error for a shorter stream: at first it may only lag."""
        self.doubt()
        now = asyncio.get_running_loop().time()
        if self._behind_since is None:
            self._behind_since = now
        if now - self._behind_since >= PERSISTS_S:
            return CannotFollow(StreamGone(ANOTHER_STREAM))
        return OriginBehind("the origin reports an end before one that it reported earlier", end)

    def note_answer(self, server: str) -> None:
        """Note which server has answered; without a doubt it has the known data."""
        self.answered_by = server
        if not self.is_in_doubt:
            self.server = server

    def mark_caught_up(self) -> None:
        """Note an answer without a doubt: the origin does not lag behind the known data."""
        self._behind_since = None

    def settle(self, doubts: int) -> str:
        """End the first `doubts` doubts, and return the server that was compared before.

        Doubts that arose during the comparison remain.
        """
        self._settled, self._behind_since, self.lost = doubts, None, None
        before, self.server = self.server, self.answered_by
        self._is_shorter &= self.is_in_doubt
        return before


class KnownState:
    """The known state of one followed stream: its snapshot, and how sure it is.

    `feed` has the readers of the stream. Without `has_tail` the origin has only echoed the tail to
    a client that asked from there.
    """

    def __init__(  # noqa: PLR0913 - what a state is known by
        self,
        snapshot: Snapshot,
        feed: Feed[Any, Span],
        verification: Verification,
        requests: ReaderRequests,
        freshness: Freshness,
        newest: NewestData,
        *,
        has_tail: bool,
    ) -> None:
        self.snapshot = snapshot._replace(number=next_number())
        self.has_tail = has_tail
        self._newest = newest
        self._is_overtaken = False  # by newer data of another identity, and by nothing else
        self.confirmed_at = 0.0  # when the origin last confirmed the snapshot (epoch seconds)
        self.feed = feed
        self.verification = verification
        self.requests = requests
        self._freshness = freshness
        self._tail_shown_by = READ if snapshot.caught_up else NOTHING
        self._written = TailBound()  # by writes through this gateway
        self._written_at = 0.0  # loop time when that last grew
        self._directives_at = asyncio.get_running_loop().time()  # of `snapshot.read_directives`

    @property
    def certainty(self) -> int:
        """The certainty that the stream ends at the feed's tail: NOTHING, READ or POLL.

        After a READ a reader that asks for offset `now` begins there: the stream is polled since
        then, and data that came in between are on their way. A reader at the tail is told that it
        is up to date after a POLL.
        """
        feed, is_sure = self.feed, not self.verification.is_in_doubt
        is_followed = is_sure and feed.caught_up and feed.lost is None and not feed.closed
        return self._tail_shown_by if is_followed else NOTHING

    def start_of(self, offset: str) -> str:
        """Return the offset where a read begins: the tail for `now`, if that is known."""
        return self.feed.tail if offset == NOW and self.has_tail and self.certainty else offset

    def knows_tail(self, offset: str | None) -> bool:
        """Return whether the stream is known to end at an offset right now."""
        feed = self.feed
        return feed.position == feed.tail == offset and self.certainty == POLL

    @property
    def known_end(self) -> str:
        """The largest offset that the stream is known to reach."""
        return max(self.snapshot.tail, self._written.tail)

    @property
    def expected_end(self) -> str:
        """The offset that the origin's answers must reach, or the stream may be another one.

        An origin that does not show a write once no replica can lag so long has lost it.
        """
        return max(self.snapshot.tail, self._awaited(asyncio.get_running_loop().time()).tail)

    def _awaited(self, sent_at: float) -> TailBound:
        """Return the reach of the writes that a replica asked at `sent_at` may not have yet."""
        return self._written if sent_at - self._written_at < PERSISTS_S else TailBound()

    @property
    def has_recent_directives(self) -> bool:
        """True if the origin's cache directives for a read of the tail are known and recent."""
        age_s = asyncio.get_running_loop().time() - self._directives_at
        return self.snapshot.read_directives is not None and age_s < DIRECTIVES_S

    def contradicts(self, read: Snapshot, *, ends: bool) -> bool:
        """Return whether a read, which perhaps `ends`, shows that another stream is at the path.

        Another stream has another content type, or the known one is closed and the read goes on or
        ends elsewhere: readers that wait here would then wait for ever. A read that was sent before
        the end was known may have ended before it.
        """
        known, tail = self.snapshot, self.feed.tail
        if not is_of_type(read.content_type, known.content_type):
            return True
        if not self.feed.closed or (read.closed and read.tail == tail):
            return False
        return (ends and read.number > known.number) or read.closed or read.tail > tail

    def _is_newest(self, end: str, number: int) -> bool:
        return self._newest.is_newest(self.requests.current.stream_key, end, number)

    def overtake(self, end: str = "") -> None:
        """Note that a reader of another identity was given data, up to `end` if that is known."""
        known = self.snapshot
        if known.caught_up and not known.closed and not (end and end <= known.tail):
            self.mark_behind()
            self._is_overtaken = True

    def restore(self, number: int) -> None:
        """Note that the origin has confirmed the tail, in answer to the request of that number."""
        if self._is_overtaken and self._is_newest(self.snapshot.tail, number):
            self._is_overtaken = False
            self.snapshot = self.snapshot._replace(caught_up=True)
            feed, lost = self.feed, self.feed.lost
            feed.publish(feed.stream, self.snapshot.tail, [], closed=False)
            feed.lost = lost  # a poll may fail still

    def mark_behind(self) -> None:
        """Note that the stream may reach further than the snapshot, and tell the feed."""
        self._is_overtaken = False
        self.snapshot = self.snapshot._replace(caught_up=False)
        self.feed.mark_behind()

    def note_tail(self, tail: str) -> None:
        """Note the tail that the origin has returned for `now`."""
        self.has_tail |= tail == self.snapshot.tail

    def note_directives(self, directives: str) -> None:
        """Note the origin's cache directives for a read of the tail."""
        self._directives_at = asyncio.get_running_loop().time()
        known = self.snapshot.read_directives
        # A poll's directives hold only at the tail, where the known ones may amount to the same.
        is_known = known and directives == shortened_lines(known, self._freshness)
        if directives != known and not is_known:
            self.snapshot = with_directives(
                self.snapshot, self.requests.current, directives, self.snapshot.poll_directives
            )

    def note_write(self, written: TailBound) -> None:
        """Note how far a write reaches: the tail is unknown until a poll reports it."""
        reach = self._written.together(written)
        if reach != self._written:
            self._written = reach
            self._written_at = asyncio.get_running_loop().time()
        if not self._written.is_reached_by(self.snapshot.tail, closed=self.snapshot.closed):
            self.mark_behind()

    def note_answer(self, polled: PollResult, now: float, sent_at: float, number: int) -> Snapshot:
        """Note the stream as the answer to a poll shows it, and return the new snapshot.

        The poll was sent at `sent_at` (loop time), and has the `number`.
        """
        known, request = self.snapshot, self.requests.current
        poll_directives = known.poll_directives if polled.directives is None else polled.directives
        closed, awaited = polled.closed and polled.caught_up, self._awaited(sent_at)
        caught_up = polled.caught_up and awaited.is_reached_by(polled.end, closed=closed)
        self._is_overtaken = caught_up and not (closed or self._is_newest(polled.end, number))
        self.snapshot = with_directives(
            known, request, known.read_directives, poll_directives
        )._replace(
            tail=polled.end,
            closed=closed,
            caught_up=caught_up and not self._is_overtaken,
            cors=polled.cors,
            number=next_number(),
        )
        self.confirm(now)
        return self.snapshot

    def confirm(self, now: float) -> None:
        """Note that the origin has confirmed the snapshot, at `now` (epoch seconds)."""
        self.confirmed_at = now
        self._tail_shown_by = POLL

    def doubt_tail(self) -> None:
        """Note a failure of the origin: the tail that it has shown may be outdated."""
        self._tail_shown_by = NOTHING
