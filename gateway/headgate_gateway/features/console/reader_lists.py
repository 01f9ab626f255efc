"""The live readers of this process, listed, counted and disconnected for the console."""

from __future__ import annotations

import asyncio
from collections import Counter
from functools import partial
from heapq import nlargest, nsmallest
from operator import attrgetter, itemgetter
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeVar

from headgate_gateway.access.bans import subjects_of
from headgate_gateway.background import Turns
from headgate_gateway.errors import BadRequest
from headgate_gateway.features.console.cached_answers import CachedAnswers
from headgate_gateway.features.console.inspected_streams import streams_of
from headgate_gateway.features.console.reader_states import reader_states
from headgate_gateway.features.questions.after import NO_PAGE, decode_after, encode_after
from headgate_gateway.features.questions.readers import (
    MOST_GROUPS,
    MOST_READERS,
    ApplyBans,
    EndedReaderCount,
    EndReaders,
    GroupReaders,
    ListReaders,
    Rank,
    ReaderGroup,
    ReaderGroups,
    ReaderPage,
    ReaderQuery,
    ReaderRow,
    ReaderSums,
    merged,
    rank,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator

    from headgate_gateway.features.console.inspected_streams import RoutedFeed
    from headgate_gateway.features.console.reader_states import ReaderState
    from headgate_gateway.features.questions.readers import GroupBy, ReaderMode, ReaderStatus
    from headgate_gateway.routes.contract import StreamRoute
    from headgate_gateway.routes.router import Router
    from headgate_gateway.routes.services import Services
    from headgate_gateway.telemetry.traffic import Ended

T = TypeVar("T")

AT_ONCE = 100  # readers between two turns: a third of a millisecond
SPARE = 4  # times as many rows as a page has are sorted at once: 2,000 take a millisecond


class _ListedReader(NamedTuple):
    row: ReaderRow
    end: Callable[[Ended], None]


class _FirstRows(Generic[T]):
    """The first `most` of the rows that were added, in the order of their keys."""

    def __init__(self, most: int, key: Callable[[T], Any]) -> None:
        self._most = most
        self._key = key
        self._rows: list[T] = []

    def add(self, row: T) -> None:
        self._rows.append(row)
        if len(self._rows) >= SPARE * self._most:
            self._rows = self.rows()

    def rows(self) -> list[T]:
        return nsmallest(self._most, self._rows, key=self._key)


class ReaderLists:
    """The lists of the readers of one process, whose name in them is `process`.

    Each answer may raise HeadgateError.
    """

    def __init__(self, routes: Router, services: Services, process: Callable[[], str]) -> None:
        self._routes = routes
        self._services = services
        self._process = process
        self._turns = Turns()
        self._grouped = CachedAnswers[ReaderGroups]()
        self._loop_started_at: float | None = None  # epoch seconds

    async def page(self, question: ListReaders) -> ReaderPage:
        """Return a page of readers. Raises BadRequest for an `after` that no page had."""
        after = decode_after(question.after, tuple[float | str, str])
        limit = max(1, min(question.limit, MOST_READERS))
        first: _FirstRows[tuple[Rank, ReaderRow]] = _FirstRows(limit + 1, itemgetter(0))

        def take(found: _ListedReader) -> None:
            place = rank(question.order, found.row)
            if after is None or place > after:
                first.add((place, found.row))

        try:
            sums = await self._each(question.where, take)
        except TypeError as error:  # `after` is of another order
            raise BadRequest(NO_PAGE) from error
        ranked = first.rows()
        more = encode_after(ranked[limit - 1][0]) if len(ranked) > limit else None
        rows = tuple(row for _, row in ranked[:limit])
        return ReaderPage(rows, sums.readers, more, sums)

    async def groups(self, question: GroupReaders) -> ReaderGroups:
        """Return the largest groups of readers."""
        return await self._grouped.get(question, partial(self._groups, question))

    async def _groups(self, question: GroupReaders) -> ReaderGroups:
        groups: dict[str, ReaderGroup] = {}

        def take(found: _ListedReader) -> None:
            one = _group_of(found.row, question.by)
            groups[one.key] = merged(groups[one.key], one) if one.key in groups else one

        sums = await self._each(question.where, take)
        largest = nlargest(MOST_GROUPS, groups.values(), key=attrgetter("readers"))
        return ReaderGroups(tuple(largest), len(groups), sums)

    async def end(self, question: EndReaders) -> EndedReaderCount:
        """Disconnect readers; those that have left meanwhile are not counted."""
        ids = {it for it in question.ids if it.startswith(f"{self._process()}-")}
        return await self._end(lambda row: row.id in ids) if ids else EndedReaderCount(0)

    async def apply_bans(self, question: ApplyBans) -> EndedReaderCount:
        """Refuse the banned clients from now on, and disconnect their readers."""
        subjects = {ban.subject for ban in self._services.bans.apply(question.bans)}
        if not subjects:
            return EndedReaderCount(0)

        def is_banned(account: str, address: str | None) -> bool:
            return not subjects.isdisjoint(subjects_of(account, address))

        held = [
            request
            for request in self._services.held
            if request.ended is None
            and is_banned(
                "" if request.principal is None else request.principal.account, request.address
            )
        ]
        for request in held:
            request.end("disconnected")
        ended = await self._end(lambda row: is_banned(row.account, row.address))
        return EndedReaderCount(ended.count + len(held))

    async def _end(self, is_meant: Callable[[ReaderRow], bool]) -> EndedReaderCount:
        count = 0

        def take(found: _ListedReader) -> None:
            nonlocal count
            if is_meant(found.row):
                found.end("disconnected")
                count += 1

        await self._each(ReaderQuery(with_clients=True), take)
        return EndedReaderCount(count)

    async def _each(self, where: ReaderQuery, take: Callable[[_ListedReader], None]) -> ReaderSums:
        """Call `take` with each chosen reader; return their sums."""
        modes: Counter[ReaderMode] = Counter()
        statuses: Counter[ReaderStatus] = Counter()
        sent_bytes = behind = 0

        def take_chosen(found: _ListedReader) -> None:
            nonlocal sent_bytes, behind
            row = found.row
            if where.fits(row):
                modes[row.mode] += 1
                statuses[row.status] += 1
                sent_bytes += row.sent_bytes or 0
                behind = max(behind, row.behind or 0)
                take(found)

        await self._in_turns(self._readers(where), take_chosen)
        return ReaderSums(dict(modes), dict(statuses), sent_bytes, behind)

    async def _in_turns(self, items: Iterable[T], take: Callable[[T], None]) -> None:
        """Call `take` with each item, in turns with other work."""

        def steps() -> Generator[None, None, None]:
            for number, item in enumerate(items, 1):
                take(item)
                if number % AT_ONCE == 0:
                    yield

        await self._turns.run(steps())

    def _readers(self, where: ReaderQuery) -> Iterator[_ListedReader]:
        """Yield the readers of the chosen streams; they may come and go between two of them."""
        epoch, process = self._epoch(), self._process()
        for route in self._routes:
            if where.route not in {"", route.prefix}:
                continue
            for place in streams_of(route).live_feeds():
                if where.stream not in {"", place.name}:
                    continue
                for state in reader_states(place.feed):
                    row = _row(process, route, place, state, epoch, where.with_clients)
                    yield _ListedReader(row, state.end)

    def _epoch(self) -> float:
        """Return the time at which the loop's clock was 0, in epoch seconds.

        It stays the same, so that the pages of a list have the same moments.
        """
        if self._loop_started_at is None:
            self._loop_started_at = self._services.clock() - asyncio.get_running_loop().time()
        return self._loop_started_at


def _row(
    process: str,
    route: StreamRoute,
    place: RoutedFeed,
    state: ReaderState,
    epoch: float,
    with_clients: bool,
) -> ReaderRow:
    """Return the row of a reader; `epoch` is the time at which the loop's clock was 0."""
    client, principal = state.reader.client, state.reader.principal
    return ReaderRow(
        id=f"{process}-{client.number}",
        route=route.prefix,
        stream=place.name,
        mode=state.mode,
        status=state.status,
        offset=state.offset,
        behind=place.behind(state.offset),
        since=epoch + state.since,
        sent_bytes=state.sent_bytes,
        principal="" if principal is None else principal.name,
        account="" if principal is None else principal.account,
        address=client.address if with_clients else None,
        user_agent=client.user_agent if with_clients else None,
    )


def _group_of(row: ReaderRow, by: GroupBy) -> ReaderGroup:
    keys: dict[GroupBy, tuple[str, str]] = {
        "principal": (row.account, row.principal),
        "address": (row.address or "", row.address or ""),
        "stream": (f"{row.route}/{row.stream}", row.stream),
    }
    key, name = keys[by]
    return ReaderGroup(key, name, 1, row.sent_bytes or 0, row.behind or 0, row.since)
