"""The operations of the JSON API that show something."""

from __future__ import annotations

from typing import TYPE_CHECKING

from admin.access.check import VIEWER
from admin.alerting.views import alerts_view
from admin.api.values import (
    OfCdnFile,
    OfEvents,
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
from admin.errors import NotTold
from admin.model.streams import MessagePlace, Messages, RunsView, StreamSearch
from admin.record.event_queries import EventQuery, select
from admin.streams.times import place_since

if TYPE_CHECKING:
    from aiohttp import web

    from admin.model.alerts import AlertsView
    from admin.model.cdn import CdnFile, CdnTargets
    from admin.model.doctor import DoctorView
    from admin.model.events import EventList
    from admin.model.gateways import GatewaysView
    from admin.model.overview import Overview
    from admin.model.settings import About, Configuration, PendingConfiguration
    from admin.model.tokens import TokensView
    from admin.record.refusals import RefusalsView
    from admin.streams.deletion import Deletion
    from gateway.features.questions.streams import Explanation, StreamDescription, StreamPage


async def overview(request: web.Request, query: OfSpan, _body: None) -> Overview:
    """Return the figures of the first page over a span."""
    return await request.app[CONSOLE].overview(query.span)


async def alerts(request: web.Request, _query: None, _body: None) -> AlertsView:
    """Return every alert rule with its state."""
    return alerts_view(request.app[CONSOLE].recorder.alerts)


async def routes(request: web.Request, query: OfSpan, _body: None) -> Routes:
    """Return every route with its figures."""
    return Routes(await request.app[CONSOLE].routes(query.span))


async def refusals(request: web.Request, query: OfSpan, _body: None) -> RefusalsView:
    """Return the refusals of a span, with their clients for those who may see them."""
    console = request.app[CONSOLE]
    with_clients = console.readers.shows_clients(request[VIEWER])
    return await console.refusals.view(query.span, with_clients=with_clients)


async def streams(request: web.Request, query: OfRoute, _body: None) -> StreamPage:
    """Return a page of the streams of a route."""
    return await request.app[CONSOLE].streams(
        StreamSearch(query.route, query.begins, query.contains, query.glob),
        order=query.order,
        after=query.after,
        limit=query.limit,
    )


async def stream(request: web.Request, query: OfStream, _body: None) -> StreamDescription:
    """Return what is known of a stream, of its producers and of its readers."""
    return await request.app[CONSOLE].stream(query.route, query.name)


async def deletion(request: web.Request, _query: None, _body: None) -> Deletion:
    """Return the deletion of many streams that was counted last."""
    found = request.app[CONSOLE].deletion.current
    if found is None:
        raise NotTold(404, "no deletion was counted since the start")
    return found


async def runs(request: web.Request, query: OfRuns, _body: None) -> RunsView:
    """Return a page of the runs of a route."""
    return await request.app[CONSOLE].runs(
        query.route, status=query.status, after=query.after, limit=query.limit
    )


async def events(request: web.Request, query: OfEvents, _body: None) -> EventList:
    """Return the events that fit a query, by their sequence."""
    wanted = EventQuery(
        after=query.after,
        kind=query.kind,
        level=query.level,
        route=query.route,
        text=query.text,
        since=query.since,
        until=query.until,
    )
    return select(request.app[CONSOLE].recorder.events.record, wanted, query.limit)


async def messages(request: web.Request, query: OfSearch, _body: None) -> Messages:
    """Return messages of a stream from a place on, all or those with a text."""
    console, place = request.app[CONSOLE], MessagePlace(query.offset, query.skip)
    if query.since is not None:
        place = place_since(await console.stream(query.route, query.name), query.since)
    return await console.messages(query.route, query.name, place, query.limit, query.text)


async def explain(request: web.Request, _query: None, body: RequestToExplain) -> Explanation:
    """Return what would become of a request, which is not made."""
    return await request.app[CONSOLE].explanation(body.url, body.headers, body.method)


async def cdn_targets(request: web.Request, _query: None, _body: None) -> CdnTargets:
    """Return every CDN and proxy that a configuration can be made for."""
    return request.app[CONSOLE].cdn_targets()


async def cdn_file(request: web.Request, query: OfCdnFile, _body: None) -> CdnFile:
    """Return a configuration for one of them."""
    return await request.app[CONSOLE].cdn_file(query.target, query)


async def cdn_doctor(request: web.Request, _query: None, _body: None) -> DoctorView:
    """Return the state of the examination of a deployment."""
    return request.app[CONSOLE].doctor.view


async def configuration(request: web.Request, _query: None, _body: None) -> Configuration:
    """Return the settings in effect."""
    return request.app[CONSOLE].configuration()


async def pending_configuration(
    request: web.Request, _query: None, _body: None
) -> PendingConfiguration:
    """Return what a reload would change."""
    return await request.app[CONSOLE].reloads.pending()


async def tokens(request: web.Request, query: OfTokens, _body: None) -> TokensView:
    """Return a page of the tokens of clients, without their hashes."""
    console = request.app[CONSOLE]
    return await console.credentials.page(
        query.text,
        query.after,
        query.limit,
        with_clients=console.readers.shows_clients(request[VIEWER]),
    )


async def gateways(request: web.Request, _query: None, _body: None) -> GatewaysView:
    """Return the processes of this gateway, and the gateways that share a log with it."""
    console = request.app[CONSOLE]
    return console.recorder.gateways.view(console.setup.clock())


async def about(request: web.Request, _query: None, _body: None) -> About:
    """Return versions, formats and limits."""
    return request.app[CONSOLE].about()
