"""The live readers of this process, listed, counted and disconnected for the console."""

from __future__ import annotations

import asyncio
from functools import partial
from heapq import nlargest, nsmallest
from operator import attrgetter, itemgetter
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import msgspec

from gateway.access.bans import subjects_of
from gateway.background import Turns
from gateway.errors import BadRequest
from gateway.features.console.inspected_streams import streams_of
from gateway.features.console.reader_states import reader_states
from gateway.features.questions.readers import (
    MOST_GROUPS,
    MOST_READERS,
    MOST_USAGES,
    ApplyBans,
    EndedReaderCount,
    EndReaders,
    GroupReaders,
    ListReaders,
    ListUsages,
    Rank,
    ReaderGroup,
    ReaderGroups,
    ReaderPage,
    ReaderRow,
    UsageList,
    UsageRow,
    merged,
    rank,
    usage_rank,
)
from gateway.protocol.bodies.json_text import NOT_JSON

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator

    from gateway.access.principal import CredentialUse
    from gateway.features.console.inspected_streams import RoutedFeed
    from gateway.features.console.reader_states import ReaderState
    from gateway.features.held_answers import HeldRequest
    from gateway.features.questions.readers import (
        GroupBy,
        ReaderQuery,
        UsageOrder,
    )
    from gateway.routes.contract import StreamRoute
    from gateway.routes.router import Router
    from gateway.routes.services import Services
    from gateway.telemetry.traffic import Ended

T = TypeVar("T")

AT_ONCE = 100  # readers between two turns: a third of a millisecond
SPARE = 4  # times as many rows as a page has are sorted at once: 2,000 take a millisecond
_decoder = msgspec.json.Decoder(tuple[float | str, str])


class _ListedReader(NamedTuple):
    row: ReaderRow
    end: Callable[[Ended], None]


class ReaderLists:
    """The lists of readers and principals of one process, whose name in them is `process`."""

    def __init__(self, routes: Router, services: Services, process: Callable[[], str]) -> None:
        self._routes = routes
        self._services = services
        self._process = process
        self._turns = Turns()
        self._loop_started_at: float | None = None  # epoch seconds

    async def page(self, question: ListReaders) -> ReaderPage:
        """Return a page of readers. Raises BadRequest for an `after` that no page had."""
        after = _rank_of(question.after) if question.after else None
        limit = max(1, min(question.limit, MOST_READERS))
        try:
            total, ranked = await self._turns.run(self._ranked(question, after, limit + 1))
        except TypeError as error:  # `after` is of another order
            raise _not_a_place() from error
        more = msgspec.json.encode(ranked[limit - 1][0]).decode() if len(ranked) > limit else None
        return ReaderPage(tuple(row for _, row in ranked[:limit]), total, more)

    async def groups(self, question: GroupReaders) -> ReaderGroups:
        """Return the largest groups of readers."""
        groups = await self._turns.run(self._grouped(question))
        largest = nlargest(MOST_GROUPS, groups.values(), key=attrgetter("readers"))
        return ReaderGroups(tuple(largest), len(groups))

    async def end(self, question: EndReaders) -> EndedReaderCount:
        """Disconnect readers; those that have left meanwhile are not counted."""
        own = f"{self._process()}-"
        numbers = {it.removeprefix(own) for it in question.ids if it.startswith(own)}
        if not numbers:
            return EndedReaderCount(0)
        return await self._turns.run(
            self._ended(lambda found: found.row.id.removeprefix(own) in numbers)
        )

    async def apply_bans(self, question: ApplyBans) -> EndedReaderCount:
        """Refuse the banned clients from now on, and disconnect their readers."""
        subjects = {ban.subject for ban in self._services.bans.apply(question.bans)}
        if not subjects:
            return EndedReaderCount(0)

        def is_banned(found: _ListedReader) -> bool:
            return not subjects.isdisjoint(subjects_of(found.row.account, found.row.address))

        def is_held_by_banned(held: HeldRequest) -> bool:
            account = "" if held.principal is None else held.principal.account
            return not subjects.isdisjoint(subjects_of(account, held.address))

        held = [it for it in self._services.held if it.ended is None and is_held_by_banned(it)]
        for request in held:
            request.end("disconnected")
        ended = await self._turns.run(self._ended(is_banned))
        return EndedReaderCount(ended.count + len(held))

    async def usages(self, question: ListUsages) -> UsageList:
        """Return the principals that use this process most."""
        total, rows = await self._turns.run(self._used(question.order))
        return UsageList(tuple(rows), total)

    # Steps

    def _ended(
        self, is_meant: Callable[[_ListedReader], bool]
    ) -> Generator[None, None, EndedReaderCount]:
        count = 0
        for number, found in enumerate((yield from self._found(None)), 1):
            if is_meant(found):
                found.end("disconnected")
                count += 1
            if number % AT_ONCE == 0:
                yield
        return EndedReaderCount(count)

    def _ranked(
        self, question: ListReaders, after: Rank | None, most: int
    ) -> Generator[None, None, tuple[int, list[tuple[Rank, ReaderRow]]]]:
        """Return the number of chosen readers, and the first `most` behind `after` in order."""
        ranked: list[tuple[Rank, ReaderRow]] = []
        chosen = yield from self._chosen(question.where)
        for number, row in enumerate(chosen, 1):
            place = rank(question.order, row)
            if after is None or place > after:
                ranked.append((place, row))
            if number % AT_ONCE == 0:
                ranked = _shortened(ranked, most, itemgetter(0))
                yield
        return len(chosen), nsmallest(most, ranked, key=itemgetter(0))

    def _used(self, order: UsageOrder) -> Generator[None, None, tuple[int, list[UsageRow]]]:
        """Return the number of principals, and those of most use in order."""
        readers: dict[str, tuple[int, int]] = {}
        for number, found in enumerate((yield from self._found(None)), 1):
            count, size = readers.get(found.row.account, (0, 0))
            readers[found.row.account] = (count + 1, size + (found.row.sent_bytes or 0))
            if number % AT_ONCE == 0:
                yield
        rows: list[UsageRow] = []
        ranking = partial(usage_rank, order)
        uses = list(self._services.credential_uses)
        for number, use in enumerate(uses, 1):
            rows.append(_usage_of(use, *readers.get(use.holder.account, (0, 0))))
            if number % AT_ONCE == 0:
                rows = _shortened(rows, MOST_USAGES, ranking)
                yield
        return len(uses), nsmallest(MOST_USAGES, rows, key=ranking)

    def _grouped(self, question: GroupReaders) -> Generator[None, None, dict[str, ReaderGroup]]:
        groups: dict[str, ReaderGroup] = {}
        for count, row in enumerate((yield from self._chosen(question.where)), 1):
            one = _group_of(row, question.by)
            groups[one.key] = merged(groups[one.key], one) if one.key in groups else one
            if count % AT_ONCE == 0:
                yield
        return groups

    def _chosen(self, where: ReaderQuery) -> Generator[None, None, list[ReaderRow]]:
        chosen: list[ReaderRow] = []
        for count, found in enumerate((yield from self._found(where)), 1):
            if where.fits(found.row):
                chosen.append(found.row)
            if count % AT_ONCE == 0:
                yield
        return chosen

    def _found(self, where: ReaderQuery | None) -> Generator[None, None, list[_ListedReader]]:
        found: list[_ListedReader] = []
        epoch, process = self._epoch(), self._process()
        with_clients = where is None or where.with_clients
        for place, state, route in self._states(where):
            found.append(
                _ListedReader(
                    _row(process, route, place, state, epoch, with_clients=with_clients), state.end
                )
            )
            if len(found) % AT_ONCE == 0:
                yield
        return found

    def _epoch(self) -> float:
        """Return the time at which the loop's clock was 0, in epoch seconds.

        It stays the same, so that the pages of a list have the same moments.
        """
        if self._loop_started_at is None:
            self._loop_started_at = self._services.clock() - asyncio.get_running_loop().time()
        return self._loop_started_at

    def _states(
        self, where: ReaderQuery | None
    ) -> Iterator[tuple[RoutedFeed, ReaderState, StreamRoute]]:
        for route in self._routes:
            if where is not None and where.route not in {"", route.prefix}:
                continue
            for place in streams_of(route).live_feeds():
                if where is None or where.stream in {"", place.name}:
                    for state in reader_states(place.feed):
                        yield place, state, route


def _row(
    process: str,
    route: StreamRoute,
    place: RoutedFeed,
    state: ReaderState,
    epoch: float,
    *,
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


def _shortened(rows: list[T], most: int, key: Callable[[T], Any]) -> list[T]:
    """Return the rows without those that are not among the first `most`, if these are many."""
    return rows if len(rows) < SPARE * most else nsmallest(most, rows, key=key)


def _usage_of(use: CredentialUse, readers: int, sent_bytes: int) -> UsageRow:
    """Return the row of a principal with live readers that were sent so many bytes."""
    return UsageRow(
        account=use.holder.account,
        name=use.holder.name,
        requests=use.requests,
        appends=use.appends,
        failures=use.failures,
        sent_bytes=use.sent_bytes + sent_bytes,
        received_bytes=use.received_bytes,
        readers=readers,
        last_used_at=use.at or None,
    )


def _group_of(row: ReaderRow, by: GroupBy) -> ReaderGroup:
    keys: dict[GroupBy, tuple[str, str]] = {
        "principal": (row.account, row.principal),
        "address": (row.address or "", row.address or ""),
        "stream": (f"{row.route}/{row.stream}",) * 2,
    }
    key, name = keys[by]
    return ReaderGroup(key, name, 1, row.sent_bytes or 0, row.behind or 0, row.since)


def _rank_of(after: str) -> Rank:
    try:
        return _decoder.decode(after)
    except NOT_JSON as error:
        raise _not_a_place() from error


def _not_a_place() -> BadRequest:
    return BadRequest("after must be what came with the page before")
