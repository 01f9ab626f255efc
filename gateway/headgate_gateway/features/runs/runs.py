"""The runs of a route that says `runs = true`: seen as they are written, listed and counted."""

from __future__ import annotations

from typing import TYPE_CHECKING

from typing_extensions import override

from headgate_gateway.features.console.inspected_streams import ListedRuns, streams_of
from headgate_gateway.features.console.stream_list import StreamList
from headgate_gateway.features.runs import run_table
from headgate_gateway.features.runs.run_list import RunList
from headgate_gateway.features.runs.run_table import RunTable

if TYPE_CHECKING:
    from collections.abc import Iterator

    from headgate_gateway.features.questions.runs import ListRuns, RunPage
    from headgate_gateway.routes.setup import RouteSetup
    from headgate_gateway.streams.route import HostedRoute
    from headgate_gateway.telemetry.metrics import Sample


class RouteRuns(ListedRuns):
    """The runs of one route."""

    def __init__(self, route: HostedRoute, made: RouteSetup) -> None:
        services = made.services
        self._route = route
        self._prefix = route.prefix
        self._table = RunTable(
            route.prefix, services.clock, services.tracer, is_shared=route.table.is_shared
        )
        streams = streams_of(route)
        assert isinstance(streams, StreamList), "that of a route to a log"
        self._list = RunList(route.table, streams, self._table)
        route.writes.observers.append(self._table.on_stored)
        route.lifecycle.observers.append(self._table.on_settled)

    @override
    async def page(self, question: ListRuns) -> RunPage:
        return await self._list.page(question)

    @override
    def samples(self) -> Iterator[Sample]:
        return run_table.samples(self._prefix, self._table.figures, len(self._table))

    @override
    async def close(self) -> None:
        self._route.writes.observers.remove(self._table.on_stored)
        self._route.lifecycle.observers.remove(self._table.on_settled)
        await self._list.close()
