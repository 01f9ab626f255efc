"""Pages of a log's streams, in one of five orders.

By name they come from the log, by size from a survey of it. A search compares the names of all
streams, and loads those that it has found. By readers, rate and growth only those are listed that
have readers, or were appended to in the last minute or hour, in this process.
"""

from __future__ import annotations

import asyncio
import heapq
from functools import partial
from time import perf_counter
from typing import TYPE_CHECKING

from typing_extensions import override

from headgate_gateway.errors import BadRequest
from headgate_gateway.features.console import hosted_steps
from headgate_gateway.features.console.cached_answers import CachedAnswers
from headgate_gateway.features.console.description import described
from headgate_gateway.features.console.inspected_streams import InspectedStreams, RoutedFeed
from headgate_gateway.features.console.name_search import glob_beginning, name_test
from headgate_gateway.features.console.size_survey import SizeSurvey
from headgate_gateway.features.questions.after import decode_after, encode_after
from headgate_gateway.features.questions.streams import LARGEST_PAGE, StreamPage, StreamRow
from headgate_gateway.logs.contract import listing_of
from headgate_gateway.protocol.streams.offsets import parse_offset
from headgate_gateway.protocol.views import END_MARK
from headgate_gateway.streams.present_streams import present_page, present_states

if TYPE_CHECKING:
    from collections.abc import (
        AsyncIterator,
        Callable,
        Generator,
        Iterable,
        Iterator,
        Mapping,
        Sequence,
    )

    from headgate_gateway.features.console.inspected_streams import ExplainedRequest
    from headgate_gateway.features.questions.streams import (
        ExplainStep,
        ListStreams,
        StreamDescription,
        StreamOrder,
    )
    from headgate_gateway.logs.searches import FoundPaths
    from headgate_gateway.protocol.streams.limits import LimitChanges
    from headgate_gateway.protocol.streams.state import ClockReading, StreamState
    from headgate_gateway.routes.setup import RouteSetup
    from headgate_gateway.streams.active_stream import ActiveStream
    from headgate_gateway.streams.follower import HostedFeed
    from headgate_gateway.streams.route import HostedRoute

    NameTest = Callable[[str], bool]
    Ranked = tuple[float, str]  # what a stream is ranked by, and its path


class StreamList(InspectedStreams):
    """The streams of a route to a log."""

    def __init__(self, route: HostedRoute, _made: RouteSetup) -> None:
        self._route = route
        self._table = table = route.table
        self.survey = SizeSurvey(table.log, table.clock.wall)
        self._searches: CachedAnswers[FoundPaths] = CachedAnswers()

    @override
    async def close(self) -> None:
        await self.survey.close()

    @override
    def live_feeds(self) -> Iterator[RoutedFeed]:
        for active in list(self._table):  # streams come and go as well
            for feed in active.feeds:
                yield RoutedFeed(active.path, feed, partial(_bytes_behind, feed))

    @override
    async def page(self, question: ListStreams) -> StreamPage:
        prefix = question.name_prefix
        limit = max(1, min(question.limit, LARGEST_PAGE))
        fits = name_test(question.contains, question.glob)
        if question.order == "name":
            if fits is not None:
                return await self._search(question, fits, limit)
            return await self._by_name(prefix, question.after, limit)
        if question.order == "size":
            if fits is not None:
                raise BadRequest("by size, streams can be searched by the beginning of names only")
            survey = await self.survey.largest(prefix)
            found: Iterable[Ranked] = survey.largest
            return await self._ranked(found, question.after, limit, survey.taken_at)
        steps = _busy(list(self._table), RANKS[question.order], prefix, fits)
        busy = await self._table.turns.run(steps)
        return await self._ranked(busy, question.after, limit, None)

    @override
    async def describe(self, name: str) -> StreamDescription:
        active = await self._table.load(name)
        state = self._table.present(active)
        return described(self.row(state), state, active, self._route.lifecycle.retention)

    @override
    def explain(self, request: ExplainedRequest) -> AsyncIterator[ExplainStep]:
        return hosted_steps.steps(self._route, request)

    @override
    async def set_limits(self, name: str, changes: LimitChanges) -> None:
        await self._route.lifecycle.set_limits(name, changes)

    async def _by_name(self, prefix: str, after: str, limit: int) -> StreamPage:
        listed = await present_page(self._table, prefix, after, limit)
        return StreamPage(tuple(self.row(state) for state in listed.states), listed.after)

    async def _search(self, question: ListStreams, fits: NameTest, limit: int) -> StreamPage:
        beginning = question.name_prefix or glob_beginning(question.glob)
        search = partial(listing_of(self._table.log).search, beginning, question.after, fits, limit)
        found = await self._searches.get(question, search)
        states = await asyncio.gather(*map(self._state, found.paths))
        rows = self._rows(state for state in states if state is not None)
        return StreamPage(tuple(rows), found.after, compared=found.compared)

    async def _ranked(
        self, found: Iterable[Ranked], after: str, limit: int, as_of: float | None
    ) -> StreamPage:
        """Return a page, highest ranks first, behind the rank and path where another page ended."""
        last = decode_after(after, tuple[float, str])
        if last is not None:
            found = (it for it in found if it < last)
        page = heapq.nlargest(limit + 1, found)
        more = encode_after(page[limit - 1]) if len(page) > limit else None
        states = await asyncio.gather(*(self._state(path) for _, path in page[:limit]))
        rows = self._rows(state for state in states if state is not None)
        return StreamPage(tuple(rows), more, as_of)

    async def _state(self, path: str) -> StreamState | None:
        return (await self._table.log.load(path)).path_state.state

    async def present(self, path: str) -> StreamState | None:
        """Return the stream of a path as a client may use it now, which does not count as a use."""
        active = None if self._table.is_shared else self._table.peek(path)
        is_known = active is not None and (active.state is not None or active.absent)
        state = active.state if active is not None and is_known else await self._state(path)
        found = present_states(self._table, () if state is None else (state,))
        return found[0] if found else None

    def _rows(self, states: Iterable[StreamState]) -> Sequence[StreamRow]:
        return [self.row(state) for state in present_states(self._table, states)]

    def row(self, state: StreamState) -> StreamRow:
        """Return a stream as a row of the list."""
        active, now = self._table.peek(state.path), perf_counter()
        activity = None if active is None else active.activity
        return StreamRow(
            name=state.path,
            content_type=state.content_type,
            closed=state.closed,
            tail=state.offset(state.tail),
            size=state.size,
            readers=0 if active is None else readers_of(active),
            rate=0.0 if active is None else rate_of(active),
            growth=None if activity is None else activity.growth(now),
            last_append_at=None
            if activity is None
            else self._table.clock.wall() - now + activity.last_at,
            expires_at=_ends_at(state, self._table.clock()),
            forked_from=None if state.fork is None else state.fork.source_path,
            created_at=state.created_at,
            stream_id=str(state.stream_id),
        )


def readers_of(active: ActiveStream) -> int:
    """Return the number of a stream's live readers in this process."""
    return sum(feed.reader_count for feed in active.feeds)


def rate_of(active: ActiveStream) -> float:
    """Return the appends per second through this process in the last minute."""
    activity = active.activity
    return 0.0 if activity is None else activity.per_second(perf_counter())


def growth_of(active: ActiveStream) -> float:
    """Return the bytes appended through this process in the last hour."""
    activity = active.activity
    return 0.0 if activity is None else activity.growth(perf_counter())


RANKS: Mapping[StreamOrder, Callable[[ActiveStream], float]] = {
    "readers": readers_of,
    "rate": rate_of,
    "growth": growth_of,
}


def _busy(
    active_streams: Sequence[ActiveStream],
    rank_of: Callable[[ActiveStream], float],
    prefix: str,
    fits: NameTest | None,
) -> Generator[None, None, list[Ranked]]:
    """Return the ranks of the streams that have one, with a step for each stream."""
    found: list[Ranked] = []
    for active in active_streams:
        rank = rank_of(active)
        if rank and active.path.startswith(prefix) and (fits is None or fits(active.path)):
            found.append((rank, active.path))
        yield
    return found


def _ends_at(state: StreamState, now: ClockReading) -> float | None:
    """Return when a stream ends by the present wall clock, unless it is used before."""
    if state.deadline is None:
        return None
    return state.deadline + now.wall - state.lifetime.clock(now)


def _bytes_behind(feed: HostedFeed, offset: str) -> int:
    """Return the bytes from an offset to the tail of a feed's stream."""
    position = parse_offset(offset.removesuffix(END_MARK), "offset").position
    return max(0, feed.stream.tail - position)
