"""The operations of the JSON API that show something."""

from __future__ import annotations

from aiohttp import web

from admin.access.check import VIEWER
from admin.alerting.views import alerts_view
from admin.api.operation import operation
from admin.api.values import (
    OfCdnFile,
    OfRoute,
    OfRuns,
    OfSearch,
    OfSpan,
    OfStream,
    OfTokens,
    RequestToExplain,
    Routes,
)
from admin.console import CONSOLE
from admin.errors import ConsoleError
from admin.model.alerts import AlertsView
from admin.model.cdn import CdnFile, CdnTargets
from admin.model.doctor import DoctorView
from admin.model.overview import Overview
from admin.model.settings import About, Configuration, PendingConfiguration
from admin.model.streams import MessagePlace, Messages, RunsView, StreamSearch
from admin.model.tokens import TokensView
from admin.record.event_record import EventList, EventQuery
from admin.record.fleet import GatewaysView
from admin.record.refusals import RefusalsView
from admin.streams.deletion import Deletion
from gateway.features.questions.streams import Explanation, StreamDescription, StreamPage


@operation("GET", "/api/v1/overview")
async def overview(request: web.Request, query: OfSpan) -> Overview:
    """Return the figures of the first page over a span."""
    return await request.app[CONSOLE].overview(query.span)


@operation("GET", "/api/v1/alerts")
async def alerts(request: web.Request) -> AlertsView:
    """Return every alert rule with its state."""
    return alerts_view(request.app[CONSOLE].recorder.alerts)


@operation("GET", "/api/v1/routes")
async def routes(request: web.Request, query: OfSpan) -> Routes:
    """Return every route with its figures."""
    return Routes(await request.app[CONSOLE].routes(query.span))


@operation("GET", "/api/v1/refusals")
async def refusals(request: web.Request, query: OfSpan) -> RefusalsView:
    """Return the refusals of a span, with their clients for those who may see them."""
    console = request.app[CONSOLE]
    with_clients = console.readers.shows_clients(request[VIEWER])
    return await console.refusals.view(query.span, with_clients=with_clients)


@operation("GET", "/api/v1/streams")
async def streams(request: web.Request, query: OfRoute) -> StreamPage:
    """Return a page of the streams of a route."""
    return await request.app[CONSOLE].streams(
        StreamSearch(query.route, query.begins, query.contains, query.glob),
        order=query.order,
        after=query.after,
        limit=query.limit,
    )


@operation("GET", "/api/v1/stream")
async def stream(request: web.Request, query: OfStream) -> StreamDescription:
    """Return what is known of a stream, of its producers and of its readers."""
    return await request.app[CONSOLE].stream(query.route, query.name)


@operation("GET", "/api/v1/streams/deletion")
async def deletion(request: web.Request) -> Deletion:
    """Return the deletion of many streams that was counted last."""
    found = request.app[CONSOLE].deletion.current
    if found is None:
        raise ConsoleError(404, "no deletion was counted since the start")
    return found


@operation("GET", "/api/v1/runs")
async def runs(request: web.Request, query: OfRuns) -> RunsView:
    """Return a page of the runs of a route."""
    return await request.app[CONSOLE].runs(
        query.route, status=query.status, after=query.after, limit=query.limit
    )


@operation("GET", "/api/v1/events")
async def events(request: web.Request, query: EventQuery) -> EventList:
    """Return the events that fit a query, by their sequence."""
    return request.app[CONSOLE].recorder.events.record.select(query)


@operation("GET", "/api/v1/stream/messages")
async def messages(request: web.Request, query: OfSearch) -> Messages:
    """Return messages of a stream from a place on, all or those with a text."""
    console, place = request.app[CONSOLE], MessagePlace(query.offset, query.skip)
    return await console.messages(query.route, query.name, place, query.limit, query.text)


@operation("POST", "/api/v1/explain")
async def explain(request: web.Request, body: RequestToExplain) -> Explanation:
    """Return what would become of a request, which is not made."""
    return await request.app[CONSOLE].explanation(body.url, body.headers, body.method)


@operation("GET", "/api/v1/cdn")
async def cdn_targets(request: web.Request) -> CdnTargets:
    """Return every CDN and proxy that a configuration can be made for."""
    return request.app[CONSOLE].cdn_targets()


@operation("GET", "/api/v1/cdn/file")
async def cdn_file(request: web.Request, query: OfCdnFile) -> CdnFile:
    """Return a configuration for one of them."""
    return await request.app[CONSOLE].cdn_file(query.target, query)


@operation("GET", "/api/v1/cdn/doctor")
async def cdn_doctor(request: web.Request) -> DoctorView:
    """Return the state of the examination of a deployment."""
    return request.app[CONSOLE].doctor.view


@operation("GET", "/api/v1/configuration")
async def configuration(request: web.Request) -> Configuration:
    """Return the settings in effect."""
    return request.app[CONSOLE].configuration()


@operation("GET", "/api/v1/configuration/pending")
async def pending_configuration(request: web.Request) -> PendingConfiguration:
    """Return what a reload would change."""
    return await request.app[CONSOLE].reloads.pending()


@operation("GET", "/api/v1/tokens")
async def tokens(request: web.Request, query: OfTokens) -> TokensView:
    """Return a page of the tokens of clients, without their hashes."""
    console = request.app[CONSOLE]
    return await console.credentials.page(
        query.text,
        query.after,
        query.limit,
        with_clients=console.readers.shows_clients(request[VIEWER]),
    )


@operation("GET", "/api/v1/gateways")
async def gateways(request: web.Request) -> GatewaysView:
    """Return the processes of this gateway, and the gateways that share a log with it."""
    console = request.app[CONSOLE]
    return console.recorder.fleet.view(console.setup.clock())


@operation("GET", "/api/v1/about")
async def about(request: web.Request) -> About:
    """Return versions, formats and limits."""
    return request.app[CONSOLE].about()
