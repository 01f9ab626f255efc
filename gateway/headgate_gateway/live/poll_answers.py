"""The answers of one feed's long-polls: equal polls share one, which is rendered and counted once.

The news that waiting polls may lack is stored while they are many, so that none of them costs a
read of the log or origin.
"""

from __future__ import annotations

from bisect import bisect_right
from itertools import cycle
from operator import attrgetter
from time import perf_counter
from typing import TYPE_CHECKING, Generic, NamedTuple

from headgate_gateway.live.contract import PollAnswer
from headgate_gateway.live.source import N, V
from headgate_gateway.protocol.responses import RETRY_AFTER_S
from headgate_gateway.protocol.streams.offsets import NOW
from headgate_gateway.telemetry.traffic import NOWHERE

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from headgate_gateway.errors import HeadgateError
    from headgate_gateway.live.contract import Parked
    from headgate_gateway.live.feed_state import FeedState
    from headgate_gateway.live.source import FeedSource
    from headgate_gateway.protocol.responses import Response
    from headgate_gateway.telemetry.traffic import Ended

    # By what the requests of equal polls have in common; None where the response has to be read.
    Answers = dict[tuple[str, str | None, int | None, bool | None, str], PollAnswer | None]

PIECE_BYTES = 256  # added to the size of each piece of news, so that their number is bounded, too


class _StoredNews(NamedTuple, Generic[N]):
    """The news of one publication, which ends at the offset `end`."""

    end: str
    news: Sequence[N]
    arrived_at: float  # perf_counter
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

    def add(self, end: str, news: Sequence[N], size: int, arrived_at: float) -> None:
        """Store the next news, which ends at the offset `end` and has `size` bytes."""
        self.end = end
        self._pieces.append(_StoredNews(end, news, arrived_at, size + PIECE_BYTES))
        self.bytes += size + PIECE_BYTES

    def covers(self, position: str) -> bool:
        """Return whether all news after `position` is stored, and there is some."""
        return "" != self.start <= position < self.end

    def since(self, position: str) -> tuple[Sequence[N], float | None]:
        """Return the stored news after `position`, and when the oldest of it arrived.

        Return nothing if it is not covered.
        """
        if not self.covers(position):
            return (), None
        pieces = self._pieces[bisect_right(self._pieces, position, key=_END) :]
        arrived_at = pieces[0].arrived_at
        if len(pieces) == 1:
            return pieces[0].news, arrived_at
        return [item for piece in pieces for item in piece.news], arrived_at

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


class PollAnswers(Generic[V, N]):
    """The answers of one feed's long-polls, and the `recent` news that they are rendered from."""

    __slots__ = ("_at_end", "_feed", "_source", "_with_data", "recent", "uncounted")

    def __init__(self, feed: FeedState[V]) -> None:
        self._feed = feed
        self._source: FeedSource[V, N] = feed.source
        self.recent: RecentNews[N] = RecentNews()
        self._with_data: Answers = {}  # with news up to the feed's tail
        self._at_end: Answers = {}  # without data, until the next `count`
        self.uncounted: list[PollAnswer] = []  # with readers that the metrics do not include yet

    def store(self, news: Sequence[N], arrived_at: float) -> None:
        """Store news up to the feed's tail."""
        self.recent.add(self._feed.tail, news, self._source.news_bytes(news), arrived_at)

    def with_data(self, parked: Parked) -> PollAnswer | None:
        """Return the answer with the news after a position, or None if it has to be read."""
        read = parked.read
        # `now` and a URL without an offset mean another place soon, each in its own way.
        unfixed = read.offset if read.offset in {None, NOW} else ""
        key = (parked.position, unfixed, read.cursor, read.by_key, read.reader_key)
        try:
            return self._with_data[key]
        except KeyError:
            answer = self._with_data[key] = self._data(parked)
            return answer

    def _data(self, parked: Parked) -> PollAnswer | None:
        news, arrived_at = self.recent.since(parked.position)
        response = self._source.poll_data(self._feed.stream, parked, news)
        if response is None:
            return None
        if response.status >= 400:
            return self.rendered(response, "error")
        return self.rendered(response, "answered", arrived_at)

    def at_end(self, parked: Parked, ended: Ended) -> PollAnswer | None:
        """Return the answer without data; None if there may be data after the position.

        All calls before the next `count` are about the same end.
        """
        read = parked.read
        unfixed = read.offset if read.offset in {None, NOW} else ""
        key = (parked.position, unfixed, read.cursor, read.by_key, read.reader_key)
        if key not in self._at_end:
            response = self._source.poll_ended(self._feed.stream, parked)
            if response is not None and response.status >= 400:
                ended = "error"
            self._at_end[key] = None if response is None else self.rendered(response, ended)
        return self._at_end[key]

    def rendered(
        self, response: Response, ended: Ended, arrived_at: float | None = None
    ) -> PollAnswer:
        """Render a response as the answer to equal long-polls."""
        return PollAnswer(*self._source.services.collapsed(response), ended, arrived_at)

    def refusal(self, reason: HeadgateError, ended: Ended) -> PollAnswer:
        """Render an error as the answer to long-polls."""
        return self.rendered(self._source.services.problem(reason), ended)

    def refusals(self, reason: HeadgateError, ended: Ended) -> Iterator[PollAnswer]:
        """Cycle through refusals with different Retry-After."""
        return cycle([self.refusal(reason, ended) for _ in RETRY_AFTER_S])

    def renew(self) -> None:
        """Drop the rendered responses, which lack the latest news."""
        if self._with_data or self._at_end:
            self._observe(self._with_data)
            self._observe(self._at_end)
            self._with_data, self._at_end = {}, {}

    def _observe(self, answers: Answers) -> None:
        """Observe how many readers shared each answer, when these are used no more."""
        for answer in answers.values():
            if answer is not None:
                self._source.traffic.collapsed.observe(answer.readers)

    def count(self) -> None:
        """Add the readers of the answers since the last call to the metrics."""
        if self._at_end:
            self._observe(self._at_end)
            self._at_end = {}
        traffic, live = self._source.traffic, self._source.traffic.live
        for answer in self.uncounted:
            readers, resumes = answer.readers - answer.counted, answer.uncounted_resumes
            answer.counted, answer.uncounted_resumes = answer.readers, [0] * (NOWHERE + 1)
            live.long_poll.departures[answer.ended] += readers
            if answer.ended == "answered":
                live.long_poll.delivered(readers, len(answer.response.body))
            if answer.arrived_at is not None:
                live.delays.observe(perf_counter() - answer.arrived_at, readers)
            traffic.polls_answered(answer.response, resumes)
        self.uncounted.clear()
