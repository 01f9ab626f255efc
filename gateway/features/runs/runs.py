"""The runs of a route that says `runs = true`: seen as they are written, listed and counted."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.features.runs import run_metrics
from gateway.features.runs.run_list import RunList
from gateway.features.runs.run_table import RunTable

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gateway.hosted.route import HostedRoute
    from gateway.runtime.context import Context
    from gateway.telemetry.inspection import ListRuns, RunPage
    from gateway.telemetry.metrics import Sample


class RouteRuns:
    """The runs of one route."""

    def __init__(self, route: HostedRoute, shared: Context) -> None:
        self._prefix = route.prefix
        self._table = RunTable(
            route.prefix, shared.clock, shared.tracer, is_shared=route.table.is_shared
        )
        self._list = RunList(route.table, route.stream_list, self._table)
        route.appender.on_stored = self._table.on_stored
        route.lifecycle.on_stored = self._table.on_settled

    async def page(self, question: ListRuns) -> RunPage:
        """Return a page of the runs. Raises HeadgateError."""
        return await self._list.page(question)

    def samples(self) -> Iterator[Sample]:
        """Return the samples of the runs."""
        return run_metrics.samples(self._prefix, self._table.figures, len(self._table))

    async def close(self) -> None:
        """End the survey that is under way."""
        await self._list.close()
