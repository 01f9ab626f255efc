"""Responses with 4xx and 5xx: how many by route and status over time, and the newest of them."""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING

import msgspec

from headgate_admin.model.kinds import OfSpan, Span, Viewer
from headgate_admin.operation import operation
from headgate_admin.record import figures, history
from headgate_gateway.features.questions.contract import ListRefusals, RefusalList
from headgate_gateway.telemetry.access_log import MOST_REFUSALS, RefusedRequest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from headgate_admin.record.recorder import Recorder
    from headgate_gateway.features.questions.process_source import ProcessSource, Setup


class RefusalCause(msgspec.Struct, frozen=True):
    """The responses of a route with one status (`5xx`: all of these) over a span."""

    route: str  # its prefix
    status: str
    count: int
    history: tuple[float | None, ...]  # a second, oldest first


class RefusalsView(msgspec.Struct, frozen=True):
    """Responses with 4xx and 5xx: by route and status, the most frequent first, and the newest."""

    taken_at: float
    span: Span
    causes: tuple[RefusalCause, ...]
    newest: tuple[RefusedRequest, ...]


class Refusals:
    """The refusals of a gateway, with all its workers; counts are also of others on its log."""

    def __init__(self, source: ProcessSource, setup: Setup, recorder: Recorder) -> None:
        self._source = source
        self._setup = setup
        self._recorder = recorder

    @operation("GET", "/api/v1/refusals")
    async def view(
        self, query: OfSpan, viewer: Viewer, between: tuple[float, float] | None = None
    ) -> RefusalsView:
        """Return the refusals of a span, with their clients for those who may see them.

        With `between`, those of this time within the span.
        """
        now, span = self._setup.clock(), query.span
        causes = sorted(
            self._causes(span, now, between), key=lambda it: (-it.count, it.route, it.status)
        )
        newest = await self._newest(between)
        if not viewer.is_operator:
            newest = [msgspec.structs.replace(row, client=None) for row in newest]
        return RefusalsView(now, span, tuple(causes), tuple(newest))

    def _causes(
        self, span: Span, now: float, between: tuple[float, float] | None
    ) -> Iterator[RefusalCause]:
        until = self._recorder.until(now)
        begin, step = self._recorder.history.start(span, until), history.step(span)
        for route in self._setup.settings.route_table:
            recorded = self._recorder.history.of(route.prefix, span, until)
            rows = [it for at, it in enumerate(recorded) if _is_in(between, begin + at * step)]
            whole = figures.summed(rows)
            for status, name in figures.CAUSES.items():
                count = 0 if whole is None else round(whole[figures.COLUMN[name]])
                if count:
                    rates = tuple(figures.value(figures.rate(name), row) for row in rows)
                    yield RefusalCause(route.prefix, status, count, rates)

    async def _newest(self, between: tuple[float, float] | None) -> list[RefusedRequest]:
        """Return the newest of all workers; those of one that does not answer are missing."""
        answers = await self._source.query(ListRefusals())
        rows = (row for it in answers if isinstance(it, RefusalList) for row in it.rows)
        begin, end = between or (-inf, inf)
        # A row stands for equal ones from its first to its newest.
        found = (row for row in rows if row.first_at < end and row.at >= begin)
        return sorted(found, key=lambda row: -row.at)[:MOST_REFUSALS]


def _is_in(between: tuple[float, float] | None, at: float) -> bool:
    return between is None or between[0] <= at < between[1]
