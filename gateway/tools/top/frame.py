"""A frame of `headgate top`: what a server does now, in lines."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import msgspec

from admin.pages import show
from gateway.features.questions.readers import ReaderGroups
from gateway.features.questions.streams import StreamPage, StreamRow
from gateway.tools.server.admin_requests import admin_value
from gateway.tools.server.overview import (
    NO_OVERVIEW,
    attention_lines,
    get_overview,
    title,
    totals,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from headgate.stream import Stream

    from admin.model.overview import Overview
    from gateway.features.questions.readers import ReaderGroup

USUAL_ROWS, USUAL_WIDTH = 40, 100  # of a frame that is not for a terminal
FEWEST_STREAMS, MOST_STREAMS = 5, 500  # the API gives no more at once
MOST_CLIENTS = MOST_REFUSALS = MOST_ATTENTION = 5

T = TypeVar("T")


class RefusedCount(msgspec.Struct, frozen=True):
    """The responses of a route with one status over a span."""

    route: str
    status: str
    count: int


class _RefusedCounts(msgspec.Struct, frozen=True):
    causes: list[RefusedCount]


@dataclass(frozen=True, slots=True)
class TopFrame:
    """The figures of one moment; each list has its largest rows first."""

    overview: Overview
    streams: list[tuple[str, StreamRow]]  # each with the prefix of its route
    clients: tuple[ReaderGroup, ...]
    refusals: list[RefusedCount]

    def lines(self, height: int, width: int) -> list[str]:
        """Return at most `height` lines of at most `width` characters."""
        before, after = [*self._head()], [*self._clients(), *self._refusals()]
        room = max(FEWEST_STREAMS + 2, height - len(before) - len(after))
        streams = [*self._streams(width)][:room]
        return [show.visible(line)[:width] for line in (*before, *streams, *after)][:height]

    def _head(self) -> Iterator[str]:
        number = totals(self.overview)
        readers = self.overview.readers
        yield f"{title(self.overview)}  {show.clock(self.overview.taken_at)} UTC"
        yield (
            f"{show.rate(number['requests'])} requests, {show.rate(number['appends'])} appends, "
            f"{show.count(number['live_readers'])} live readers "
            f"({readers.get('sse', 0):,} SSE, {readers.get('long-poll', 0):,} long-poll), "
            f"{show.percent(number['without_origin'])} without the origin"
        )
        yield from (f"! {line}" for line in attention_lines(self.overview)[:MOST_ATTENTION])

    def _streams(self, width: int) -> Iterator[str]:
        yield ""
        yield f"{'APPENDS/S':>9} {'READERS':>8} {'SIZE':>9}  STREAM"
        for prefix, row in self.streams:
            name = show.middle(f"{prefix}/{row.name}", max(10, width - 30))
            rate = show.number(row.rate)
            yield f"{rate:>9} {row.readers:>8,} {show.size(row.size):>9}  {name}"

    def _clients(self) -> Iterator[str]:
        if self.clients:
            yield ""
            yield f"{'READERS':>9} {'SENT':>8} {'BEHIND':>9}  CLIENT"
        for it in self.clients:
            sent, behind = show.size(it.sent_bytes), show.size(it.behind)
            yield f"{it.readers:>9,} {sent:>8} {behind:>9}  {it.name}"

    def _refusals(self) -> Iterator[str]:
        if self.refusals:
            yield ""
            yield f"{'REFUSED':>9} {'STATUS':>8} {'':>9}  ROUTE, in 15 min"
        for it in self.refusals:
            yield f"{it.count:>9,} {it.status:>8} {'':>9}  {it.route}"


async def get_frame(admin: Stream, rows: int) -> TopFrame:
    """Return the figures of now, with at most `rows` streams. Raises Failed and RequestRefused."""
    overview = await get_overview(admin, "15m")
    streams: list[tuple[str, StreamRow]] = []
    for route in overview.routes:
        query = {"route": route.prefix, "limit": str(min(rows, MOST_STREAMS))}
        for order in ("rate", "readers") if route.kind != "http" else ("readers",):
            page = await _get(admin, "streams", {**query, "order": order}, StreamPage)
            streams += [(route.prefix, row) for row in page.rows]
    distinct = {(prefix, row.name): (prefix, row) for prefix, row in streams}
    busy = sorted(distinct.values(), key=_rank)
    groups = await _get(admin, "readers/groups", {"by": "address"}, ReaderGroups)
    refusals = await _get(admin, "refusals", {"span": "15m"}, _RefusedCounts)
    causes = [cause for cause in refusals.causes if cause.count]
    return TopFrame(overview, busy[:rows], groups.rows[:MOST_CLIENTS], causes[:MOST_REFUSALS])


def _rank(found: tuple[str, StreamRow]) -> tuple[float, int, str]:
    """Return the sort key of a stream: the largest numbers come first."""
    _, row = found
    return -(row.rate or 0.0), -row.readers, row.name


async def _get(admin: Stream, name: str, query: dict[str, str], kind: type[T]) -> T:
    return await admin_value(admin, f"api/v1/{name}", query, kind, NO_OVERVIEW)
