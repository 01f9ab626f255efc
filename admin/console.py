"""The console: the one place that the pages and the API both get their data from.

The pages use it as `request.app[CONSOLE]`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, get_args

from aiohttp import web

from admin.about import about
from admin.answers import answers_of
from admin.cdn_doctor import CdnDoctor
from admin.configuration.in_force import configuration
from admin.configuration.reloads import ConsoleReloads
from admin.credentials.credentials import ConsoleCredentials
from admin.errors import ConsoleError
from admin.model.overview import Instance
from admin.readers.console_readers import ConsoleReaders
from admin.record.overview import Overviews
from admin.record.refusals import Refusals
from admin.streams import lists, runs
from admin.streams.changes import ConsoleChanges, ConsoleRoutes
from admin.streams.deletion import PrefixDeletion
from admin.streams.search import search
from admin.subscriptions import ConsoleSubscriptions
from gateway.features.questions.runs import ListRuns, RunPage
from gateway.features.questions.streams import (
    LARGEST_PAGE,
    PAGE,
    DescribeStream,
    ExplainRequest,
    Explanation,
    ListStreams,
    StreamDescription,
    StreamOrder,
    StreamPage,
)

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence

    from admin.cdn import Choice
    from admin.model.cdn import CdnFile, CdnTargets
    from admin.model.kinds import Span
    from admin.model.overview import Overview, RouteView
    from admin.model.settings import About, Configuration
    from admin.model.streams import MessagePlace, Messages, RunsView, StreamSearch
    from admin.record.recorder import Recorder
    from admin.streams.client import StreamClient
    from gateway.features.questions.process_source import ProcessSource, Setup
    from gateway.features.questions.runs import RunStatus
    from gateway.features.questions.streams import LimitStream
    from gateway.settings import Settings


class Console:
    """The data of the pages and the API. What cannot be had raises ConsoleError."""

    def __init__(
        self,
        source: ProcessSource,
        setup: Setup,
        recorder: Recorder,
        streams: StreamClient,
    ) -> None:
        self._source = source
        settings = setup.settings
        self.streams_scheme = "https" if settings.tls.certificate else "http"
        self.setup = setup
        self.recorder = recorder
        self._overviews = Overviews(recorder, setup, self.instance)
        self.readers = ConsoleReaders(source, setup, recorder.bans)
        self.refusals = Refusals(source, setup, recorder)
        self.doctor = CdnDoctor(settings, setup.clock)
        self.reloads = ConsoleReloads(setup, source.health)
        self.credentials = ConsoleCredentials(source, setup)
        self._routes = ConsoleRoutes(settings)
        self._streams = streams
        self.changes = ConsoleChanges(streams, self._routes, self._described)
        self.deletion = PrefixDeletion(self.streams, self.changes, setup.clock)

    def use_settings(self, settings: Settings) -> None:
        """Show and change what these settings say, after a reload."""
        self._routes.use_settings(settings)
        self.doctor.use_settings(settings)

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
        return ConsoleSubscriptions(self._source, self._routes.of_subscriptions)

    @property
    def name(self) -> str:
        """The name of this instance: the address of its streams."""
        return str(self.setup.settings.listen)

    async def overview(self, span: Span) -> Overview:
        """Return the first page; requests within a second get the same."""
        return await self._overviews.of(span)

    async def overview_as_json(self, span: Span) -> bytes:
        """Return the first page as JSON, encoded once for all who get the same."""
        return await self._overviews.as_json(span)

    async def routes(self, span: Span = "15m") -> tuple[RouteView, ...]:
        """Return every route, in the order in which they are tried."""
        return (await self.overview(span)).routes

    async def streams(
        self,
        search: StreamSearch,
        *,
        order: StreamOrder = "name",
        after: str = "",
        limit: int = PAGE,
    ) -> StreamPage:
        """Return a page of the streams that a search finds. Raises ConsoleError."""
        self._routes.check(search.route)
        if order not in get_args(StreamOrder):
            raise ConsoleError(400, f"order must be one of {', '.join(get_args(StreamOrder))}")
        limit = max(1, min(limit, LARGEST_PAGE))
        question = ListStreams(
            search.route, search.begins, search.contains, search.glob, order, after, limit
        )
        processes = self.setup.settings.workers
        answers = await answers_of(self._source, lists.asked(question, processes), StreamPage)
        return lists.page(question, answers, processes)

    @property
    def routes_of_runs(self) -> tuple[str, ...]:
        """The prefixes of the routes below which there are runs, or answers of models."""
        return (*self._routes.of_runs, *self._routes.of_answers)

    async def runs(
        self, route: str, *, status: RunStatus | None = None, after: str = "", limit: int = PAGE
    ) -> RunsView:
        """Return a page of a route's runs, or of a model route's answers. Raises ConsoleError."""
        self._routes.check_runs(route)
        question = ListRuns(route, status, after, max(1, min(limit, LARGEST_PAGE)))
        answers = await answers_of(self._source, question, RunPage)
        return runs.page(question, answers, self.setup.clock())

    async def stream(self, route: str, name: str) -> StreamDescription:
        """Return a stream, its producers and readers. The name is percent-encoded, as in a URL."""
        _, name = self._routes.stream(route, name)
        return await self._described(DescribeStream(route, name))

    async def messages(
        self,
        route: str,
        name: str,
        place: MessagePlace,
        limit: int,
        text: str = "",
    ) -> Messages:
        """Return messages from a place on, or with the offset LATEST the last ones.

        With `text` those that have it in them, of a bounded number.
        """
        path, _ = self._routes.stream(route, name)
        if text:
            return await search(self._streams, path, place, limit, text)
        return await self._streams.messages(path, place, limit)

    def follow(self, route: str, name: str, offset: str) -> AsyncGenerator[Messages]:
        """Yield messages after an offset as they come, until the stream is closed."""
        path, _ = self._routes.stream(route, name)
        return self._streams.follow(path, offset)

    async def explanation(
        self, url: str, headers: Sequence[tuple[str, str]] = (), method: str = "GET"
    ) -> Explanation:
        """Explain how a request for this URL, or path and query, would be answered now."""
        question = ExplainRequest(url, tuple(headers), method)
        return lists.explanations(await answers_of(self._source, question, Explanation))

    def cdn_targets(self) -> CdnTargets:
        """Return the CDNs and proxies that there are configurations for."""
        from admin.cdn import told_targets  # like whoever asks, on demand

        return told_targets()

    async def cdn_file(self, target: str, choice: Choice) -> CdnFile:
        """Return the configuration of a CDN or proxy for these settings."""
        from admin.cdn import make_file

        return await make_file(self.setup.settings, target, choice)

    def configuration(self) -> Configuration:
        """Return the settings in effect."""
        return configuration(self.setup.settings)

    def about(self) -> About:
        """Return versions, formats and limits."""
        return about(self.setup.settings, self.setup.formats())

    async def _described(self, question: DescribeStream | LimitStream) -> StreamDescription:
        return lists.descriptions(await answers_of(self._source, question, StreamDescription))


CONSOLE: web.AppKey[Console] = web.AppKey("console", Console)
