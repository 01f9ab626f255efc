"""Equal long-polls, which share one response."""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic

from gateway.live.contract import N, V
from gateway.live.poll_answers import answer_of
from gateway.protocol.streams.offsets import NOW

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.live.contract import FeedSource, FeedState, NewsAge, Parked, PollAnswer, Waiter
    from gateway.live.waiting_polls import WaitingPolls
    from gateway.protocol.responses import Response
    from gateway.telemetry.live_traffic import Ended

    _Key = tuple[str, str | None, int | None, bool | None, str]


class SharedAnswers(Generic[V, N]):
    """The answers of one kind to waiters: each is rendered once for all equal requests.

    If `respond` returns None, the response is read for the waiter instead. `age_of` returns the
    age of the news behind a position, for answers that have some.
    """

    __slots__ = ("_age_of", "_answers", "_ended", "_feed", "_respond", "_source", "_waiting")

    def __init__(
        self,
        waiting: WaitingPolls[V, N],
        feed: FeedState[V],
        source: FeedSource[V, N],
        respond: Callable[[V, Parked], Response | None],
        ended: Ended,
        age_of: Callable[[str], NewsAge | None] = lambda _: None,
    ) -> None:
        self._waiting = waiting
        self._feed = feed
        self._source = source
        self._respond = respond
        self._ended: Ended = ended
        self._age_of = age_of
        self._answers: dict[_Key, PollAnswer | None] = {}

    def answer(self, waiter: Waiter, parked: Parked) -> None:
        """Answer one more waiter."""
        read = parked.read
        # `now` and a URL without an offset mean another place soon, each in its own way.
        unfixed = read.offset if read.offset in {None, NOW} else ""
        key = (parked.position, unfixed, read.cursor, read.by_key, read.reader_key)
        try:
            answer = self._answers[key]
        except KeyError:
            answer = self._answers[key] = self._rendered(parked)
        if answer is None:
            self._waiting.read_for(waiter, parked)
        else:
            self._waiting.answer(waiter, answer)

    def observe(self) -> None:
        """Observe how many readers shared each answer, when these are used no more."""
        for answer in self._answers.values():
            if answer is not None:
                self._source.traffic.collapsed.observe(answer.readers)

    def _rendered(self, parked: Parked) -> PollAnswer | None:
        response = self._respond(self._feed.stream, parked)
        if response is None:
            return None
        if response.status >= 400:
            return answer_of(self._source.shared, response, "error")
        age = self._age_of(parked.position)
        return answer_of(self._source.shared, response, self._ended, age)
