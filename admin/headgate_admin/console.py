"""The console: the one place that the pages and the API both get their data from.

The pages use it as `request.app[CONSOLE]`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
from aiohttp import web

from headgate_admin.about import About, about
from headgate_admin.alerting.views import AlertsView, alerts_view
from headgate_admin.answers import answers_of
from headgate_admin.configuration.in_force import Configuration, configuration
from headgate_admin.configuration.reloads import ConsoleReloads
from headgate_admin.credentials import ConsoleCredentials
from headgate_admin.model.kinds import OfSpan
from headgate_admin.model.overview import Instance, Overview, RouteView
from headgate_admin.model.streams import (
    Messages,
    OfMessages,
    OfRuns,
    OfStream,
    RequestToExplain,
    RunsView,
    StreamSearch,
    SummedStreamPage,
)
from headgate_admin.operation import operation
from headgate_admin.readers.console_readers import ConsoleReaders
from headgate_admin.record.event_record import EventList, EventQuery
from headgate_admin.record.fleet import GatewaysView
from headgate_admin.record.overview import Overviews
from headgate_admin.record.refusals import Refusals
from headgate_admin.streams import lists, runs
from headgate_admin.streams.changes import ConsoleChanges, ConsoleRoutes
from headgate_admin.streams.deletion import ConsoleDeletions
from headgate_admin.streams.histories import StreamHistories
from headgate_admin.streams.search import search
from headgate_admin.subscriptions import ConsoleSubscriptions
from headgate_gateway.features.questions.runs import ListRuns, RunPage
from headgate_gateway.features.questions.streams import (
    DescribeStream,
    ExplainRequest,
    Explanation,
    ListStreams,
    StreamDescription,
    StreamPage,
)

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from headgate_admin.record.recorder import Recorder
    from headgate_admin.streams.client import StreamClient
    from headgate_gateway.features.questions.process_source import ProcessSource, Setup
    from headgate_gateway.features.questions.streams import LimitStream


class Routes(msgspec.Struct, frozen=True):
    """Every route, in the order in which they are tried."""

    routes: tuple[RouteView, ...]


class Console:
    """The data of the pages and the API. What cannot be had raises ConsoleError."""

    def __init__(
        self,
        source: ProcessSource,
        setup: Setup,
        recorder: Recorder,
        streams: StreamClient,
    ) -> None:
        self.source = source
        self.streams_scheme = "https" if setup.settings.tls.certificate else "http"
        self.setup = setup
        self.recorder = recorder
        self.overviews = Overviews(recorder, setup, self.instance)
        self.readers = ConsoleReaders(source, setup, recorder.bans)
        self.refusals = Refusals(source, setup, recorder)
        self.reloads = ConsoleReloads(setup, source.health)
        self.credentials = ConsoleCredentials(source, setup)
        self._routes = ConsoleRoutes(setup)
        self._streams = streams
        self.changes = ConsoleChanges(streams, self._routes, self._described)
        self.histories = StreamHistories()
        self.deletions = ConsoleDeletions(self.streams, self._routes, streams, setup.clock)

    async def instance(self) -> Instance:
        """Return this gateway's name and state."""
        samples = self.recorder.samples
        started = [it.number for it in samples if it.metric.name == "process_start_time_seconds"]
        return Instance(
            name=self.name,
            state=self.recorder.state,
            workers=self.setup.settings.workers,
            version=self.about().versions["headgate"],
            started_at=min(started, default=None),
            gateways=self.recorder.fleet.size,
            attention=sum(it.mute is None for it in self.recorder.incidents.attention),
        )

    @property
    def subscriptions(self) -> ConsoleSubscriptions:
        """The subscriptions of all routes."""
        return ConsoleSubscriptions(self.source, self._routes.of_logs)

    @property
    def name(self) -> str:
        """The name of this instance: the address of its streams."""
        return str(self.setup.settings.listen)

    @operation("GET", "/api/v1/overview")
    async def overview(self, query: OfSpan) -> Overview:
        """Return the figures of the first page over a span, shared until the next look."""
        return await self.overviews.of(query.span)

    @operation("GET", "/api/v1/routes")
    async def routes(self, query: OfSpan) -> Routes:
        """Return every route with its figures."""
        return Routes((await self.overview(query)).routes)

    @property
    def prefixes(self) -> tuple[str, ...]:
        """The prefixes of the routes, in the order in which they are tried."""
        return tuple(route.prefix for route in self.setup.settings.route_table)

    @operation("GET", "/api/v1/alerts")
    def alerts(self) -> AlertsView:
        """Return every alert rule with its state."""
        return alerts_view(self.recorder.alerts)

    @operation("GET", "/api/v1/events")
    def events(self, query: EventQuery) -> EventList:
        """Return the events that fit a query, by their sequence."""
        return self.recorder.events.record.select(query)

    @operation("GET", "/api/v1/gateways")
    def gateways(self) -> GatewaysView:
        """Return the processes of this gateway, and the gateways that share a log with it."""
        return self.recorder.fleet.view(self.setup.clock(), self.recorder.state)

    @operation("GET", "/api/v1/streams")
    async def streams(self, query: StreamSearch) -> SummedStreamPage:
        """Return a page of the streams of a route, and the sums of all."""
        self._routes.check(query.route)
        question = ListStreams(
            query.route,
            query.begins,
            query.contains,
            query.glob,
            query.order,
            query.after,
            query.limit,
        )
        processes = self.setup.settings.workers
        answers = await answers_of(self.source, lists.asked(question, processes), StreamPage)
        page = msgspec.structs.asdict(lists.page(question, answers, processes))
        return SummedStreamPage(**page, sums=self.recorder.sums(query.route))

    @property
    def routes_of_runs(self) -> tuple[str, ...]:
        """The prefixes of the routes below which there are runs, or answers of models."""
        return (*self._routes.of_runs, *self._routes.of_answers)

    @operation("GET", "/api/v1/runs")
    async def runs(self, query: OfRuns) -> RunsView:
        """Return a page of the runs of a route, or of the answers of a model route."""
        if query.route not in self._routes.of_answers:
            self._routes.check(query.route)
        question = ListRuns(query.route, query.status, query.after, query.limit)
        answers = await answers_of(self.source, question, RunPage)
        return runs.page(question, answers, self.setup.clock())

    @operation("GET", "/api/v1/stream")
    async def stream(self, query: OfStream) -> StreamDescription:
        """Return what is known of a stream, of its producers and of its readers."""
        _, name = self._routes.stream(query)
        return await self._described(DescribeStream(query.route, name))

    @operation("GET", "/api/v1/stream/messages")
    async def messages(self, query: OfMessages) -> Messages:
        """Return messages of a stream from a place on, all or those with a text.

        With the offset LATEST they are the last ones.
        """
        path, _ = self._routes.stream(query)
        if query.text:
            return await search(self._streams, path, query)
        return await self._streams.messages(path, query.place, query.limit)

    def follow(self, stream: OfStream, offset: str) -> AsyncGenerator[Messages]:
        """Yield messages after an offset as they come, until the stream is closed."""
        path, _ = self._routes.stream(stream)
        return self._streams.follow(path, offset)

    @operation("POST", "/api/v1/explain")
    async def explanation(self, body: RequestToExplain) -> Explanation:
        """Return what would become of a request, which is not made."""
        question = ExplainRequest(body.url, body.headers, body.method)
        return lists.explanations(await answers_of(self.source, question, Explanation))

    @operation("GET", "/api/v1/configuration")
    def configuration(self) -> Configuration:
        """Return the settings in effect."""
        return configuration(self.setup.settings)

    @operation("GET", "/api/v1/about")
    def about(self) -> About:
        """Return versions, formats and limits."""
        return about(self.setup.settings, self.setup.formats())

    async def _described(self, question: DescribeStream | LimitStream) -> StreamDescription:
        return lists.descriptions(await answers_of(self.source, question, StreamDescription))


CONSOLE: web.AppKey[Console] = web.AppKey("console", Console)
