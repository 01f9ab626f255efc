"""The streams of an origin that this process knows: it follows them, or has them in its cache.

An origin does not list its streams, so others may exist that no client has requested here.
"""

from __future__ import annotations

from collections import Counter
from heapq import nsmallest
from itertools import islice
from typing import TYPE_CHECKING, Annotated

import msgspec
from typing_extensions import override

from headgate_gateway.errors import NotOffered, StreamNotFound
from headgate_gateway.features.console import edge_steps
from headgate_gateway.features.console.inspected_streams import InspectedStreams, RoutedFeed
from headgate_gateway.features.console.name_search import name_test
from headgate_gateway.features.console.reader_states import readers_by_mode
from headgate_gateway.features.questions.after import decode_after, encode_after
from headgate_gateway.features.questions.streams import (
    LARGEST_PAGE,
    StreamDescription,
    StreamPage,
    StreamRow,
)
from headgate_gateway.telemetry.access_log import LONGEST_SHOWN
from headgate_gateway.telemetry.logs import as_utf8

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Generator, Iterator, Sequence

    from headgate_gateway.edge.followed.followed_stream import FollowedStream
    from headgate_gateway.edge.route import EdgeRoute
    from headgate_gateway.features.console.inspected_streams import ExplainedRequest
    from headgate_gateway.features.questions.readers import ReaderMode
    from headgate_gateway.features.questions.streams import ExplainStep, ListStreams
    from headgate_gateway.routes.setup import RouteSetup
    from headgate_gateway.rules.cached_response import CachedResponse

PATHS_A_STEP = 1_000  # paths examined before other tasks get a turn: two milliseconds
ROWS_A_STEP = 100
# Rows before a page. More streams than that are not followed.
Skip = Annotated[int, msgspec.Meta(ge=0, le=10**9)]


class KnownStreams(InspectedStreams):
    """A view of the streams that a route follows or has in its cache, for the console."""

    def __init__(self, route: EdgeRoute, _made: RouteSetup) -> None:
        self._route = route
        self._above = f"{route.prefix}/"
        self._followed = route.feeds.table
        self._cache = route.cache
        self._turns = route.feeds.source.turns

    @override
    def live_feeds(self) -> Iterator[RoutedFeed]:
        for stream in list(self._followed):
            # Without a distance: an origin's offsets sort, and are no positions.
            yield RoutedFeed(stream.path.removeprefix(self._above), stream.feed, lambda _: None)

    @override
    async def page(self, question: ListStreams) -> StreamPage:
        """Return a page of streams by name, or of followed streams by readers.

        Raises NotOffered for another order.
        """
        limit = max(1, min(question.limit, LARGEST_PAGE))
        fits = self._test(question)
        if question.order == "name":
            rows = await self._turns.run(self._by_name(question, fits, limit + 1))
            after = rows[limit - 1].name if len(rows) > limit else None
        elif question.order == "readers":
            (skip,) = decode_after(question.after, tuple[Skip]) or (0,)
            found = await self._turns.run(self._by_readers(fits, skip + limit + 1))
            rows = found[skip:]
            after = encode_after((skip + limit,)) if len(rows) > limit else None
        else:
            raise NotOffered("streams of an HTTP origin are ordered by name or by readers")
        return StreamPage(tuple(rows[:limit]), after, known_only=True)

    @override
    async def describe(self, name: str) -> StreamDescription:
        """Return what is known of one stream. Raises StreamNotFound if that is nothing."""
        path = self._above + name
        streams, copies = self._followed.of_path(path), self._cache.responses.of_path(path)
        if not streams and not copies:
            raise StreamNotFound(
                "this gateway neither follows it nor has copies of it: read it, then look"
            )
        modes: Counter[ReaderMode] = Counter()
        for stream in streams:
            modes.update(readers_by_mode([stream.feed]))
        size = sum(len(copy.body) for copy in copies)
        metadata = {
            "followed": _how_followed(streams),
            "cached answers": f"{len(copies)}, {size} bytes",
        }
        return StreamDescription(
            self._row(path),
            metadata,
            producers_in_all=None,
            readers_by_mode=modes,
        )

    @override
    def explain(self, request: ExplainedRequest) -> AsyncIterator[ExplainStep]:
        return edge_steps.steps(self._route, request)

    def _test(self, question: ListStreams) -> Callable[[str], bool]:
        """Return a predicate of the paths that a question is about."""
        begin, above = self._above + question.name_prefix, len(self._above)
        fits = name_test(question.contains, question.glob)
        if fits is None:
            return lambda path: path.startswith(begin)
        return lambda path: path.startswith(begin) and fits(path[above:])

    def _by_name(
        self, question: ListStreams, fits: Callable[[str], bool], most: int
    ) -> Generator[None, None, list[StreamRow]]:
        after = self._above + question.after
        found: list[str] = []
        paths = iter([*self._followed.by_path, *self._cache.responses.paths()])
        while some := list(islice(paths, PATHS_A_STEP)):
            fitting = {path for path in some if path > after and fits(path)}
            found = nsmallest(most, fitting.union(found))
            yield
        return [self._row(path) for path in found]

    def _by_readers(
        self, fits: Callable[[str], bool], most: int
    ) -> Generator[None, None, list[StreamRow]]:
        found: list[StreamRow] = []
        paths = iter([path for path in self._followed.by_path if fits(path)])
        while some := list(islice(paths, ROWS_A_STEP)):
            rows = [*found, *map(self._row, some)]
            found = nsmallest(most, rows, key=lambda row: (-row.readers, row.name))
            yield
        return found

    def _row(self, path: str) -> StreamRow:
        streams = self._followed.of_path(path)
        name = path.removeprefix(self._above)
        if not streams:
            return _row_of_copies(name, self._cache.responses.of_path(path))
        # The stream that anonymous readers share, rather than one of an identified reader.
        known = min(streams, key=lambda stream: stream.requests.current.identified).state.snapshot
        return StreamRow(
            name=name,
            content_type=as_utf8(known.content_type, LONGEST_SHOWN),
            closed=known.closed,
            tail=known.tail,
            rate=None,
            is_copied=True,
            readers=sum(stream.feed.reader_count for stream in streams),
            expires_at=known.lifetime.expires_at,
        )


def _row_of_copies(name: str, copies: Sequence[CachedResponse]) -> StreamRow:
    """Return the row of a stream, as the cached response shows it that reaches furthest."""
    facts = [copy.facts for copy in copies if copy.facts is not None]
    if not facts:
        return StreamRow(name=name, rate=None, is_copied=True)
    last = max(facts, key=lambda fact: fact.next_offset)
    is_end = last.up_to_date
    return StreamRow(
        name=name,
        content_type=as_utf8(last.content_type, LONGEST_SHOWN),
        closed=last.closed and is_end,
        tail=last.next_offset if is_end else None,
        rate=None,
        is_copied=True,
    )


def _how_followed(streams: Sequence[FollowedStream]) -> str:
    if not streams:
        return "no: nobody waits for news of it"
    lost = [stream.feed.lost.detail for stream in streams if stream.feed.lost is not None]
    if lost:
        return f"yes, but the origin fails: {lost[0]}"
    return "yes" if len(streams) == 1 else f"yes, {len(streams)} times: some readers have their own"
