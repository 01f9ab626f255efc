"""The composition root: builds the parts from the settings, and names the concrete classes."""

from __future__ import annotations

import resource
import secrets
from functools import partial
from time import monotonic
from typing import TYPE_CHECKING

from gateway.access.bans import Bans
from gateway.access.principal import CredentialUses
from gateway.access.token_guard import TokenGuard
from gateway.errors import StartError
from gateway.features.console.inspector import Inspector
from gateway.features.console.token_page import token_page
from gateway.features.kinds import operations_of, requests_of, set_features
from gateway.features.kinds.declaration import RouteSetup
from gateway.live.admitted_readers import AdmittedReaders
from gateway.live.source import FeedSettings
from gateway.logs.registry import log_for
from gateway.protocol.cache_headers import Freshness, route_tag
from gateway.protocol.http.cache_status import BYPASS
from gateway.protocol.http.client_address import TrustedProxies
from gateway.protocol.http.forwarding import READER_COOKIE, IdentityHeaders
from gateway.protocol.streams.limits import LifetimeLimits, Retention, renew
from gateway.routes.contract import OPEN, RouteAccess
from gateway.routes.services import FrontCaches, ServedHosts, Services, Timeouts
from gateway.runtime.common_headers import CommonHeaders
from gateway.runtime.limits import Bounds, ServerLimits
from gateway.runtime.quotas import ClientRate, ClientRates, Quotas
from gateway.runtime.shedding import Shedding
from gateway.settings.arrays.model_route import route_of_streams
from gateway.settings.credential_kinds import verified
from gateway.store import Store
from gateway.streams.route import HostedRoute, StreamRules
from gateway.telemetry.access_log import AccessLog, NewestRefusals
from gateway.telemetry.logs import set_level
from gateway.web.handlers.dispatch import Handlers, TracedHandlers
from gateway.web.handlers.hosted_handlers import HostedHandlers
from gateway.web.server_spans import ServerSpans

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from gateway.access.authorities import Authorities
    from gateway.access.contract import Guard
    from gateway.edge.route import EdgeRoute
    from gateway.logs.contract import Log
    from gateway.routes.contract import StreamRoute
    from gateway.runtime.write_journal import WriteJournal
    from gateway.settings import Route as RouteSettings
    from gateway.settings import Settings
    from gateway.telemetry.spans import Tracer
    from gateway.web.connections.contract import RequestHandlers
    from gateway.web.operations import RouteOperations
    from gateway.web.router import Router

HOUR_S = 3600.0


def make_services(  # noqa: PLR0913 - what differs between listeners
    settings: Settings,
    clock: Callable[[], float],
    elapsed: Callable[[], float] = monotonic,
    *,
    running: Callable[[], float] | None = None,
    tracer: Tracer | None = None,
    journal: WriteJournal | None = None,
    refusal_lines: bytes = BYPASS.lines,
) -> Services:
    """Return the parts that the routes and connections of a listener share.

    `clock` returns epoch seconds, and `elapsed` seconds since any moment. `running` returns seconds
    of a clock that cannot be set, and runs on while the machine sleeps. Without `running`, `clock`
    cannot be set either. `refusal_lines` are header lines of refusals without a request.
    """
    limits = ServerLimits(_bounds(settings))
    rates = ClientRates(
        ClientRate(settings.max_client_appends, 1, elapsed),
        ClientRate(settings.max_client_append_bytes, 1, elapsed),
        ClientRate(settings.max_client_creations, HOUR_S, elapsed),
    )
    quotas = Quotas(limits, TrustedProxies(settings.trusted_proxies), rates)
    return Services(
        clock=clock,
        running=running or clock,
        expiry_grace_s=settings.expiry_grace,
        scheme=settings.scheme,
        via=f"1.1 headgate-{secrets.token_hex(4)}",
        store=Store(settings.cache_size),
        limits=limits,
        release_reader=limits.release_reader,
        shedding=Shedding(settings.max_loop_lag, limits),
        quotas=quotas,
        bans=Bans(clock, quotas.client_address),
        lines=CommonHeaders(clock, settings.cors_origins, settings.write_origins),
        refusal_lines=refusal_lines,
        log=AccessLog(settings.log_requests),
        timeouts=_timeouts(settings),
        hosts=ServedHosts(*_hosts(settings)),
        refusals=NewestRefusals(clock),
        credential_uses=CredentialUses(),
        admitted=AdmittedReaders(clock),
        front_caches=FrontCaches(),
        journal=journal,
        tracer=tracer,
    )


def reconfigure(services: Services, settings: Settings) -> None:
    """Let the context of a running process follow new settings."""
    set_level(settings.log_level)
    renew(services.timeouts, _timeouts(settings))
    services.log.set_level(settings.log_requests)
    services.hosts.set(*_hosts(settings))
    services.lines.allow_origins(settings.cors_origins, settings.write_origins)
    services.limits.set_bounds(_bounds(settings))
    services.shedding.limit_lag(settings.max_loop_lag)
    services.quotas.limit_rates(
        settings.max_client_appends,
        settings.max_client_append_bytes,
        settings.max_client_creations,
    )
    services.store.resize(settings.cache_size)


def _bounds(settings: Settings) -> Bounds:
    connections = settings.connection_limit(resource.getrlimit(resource.RLIMIT_NOFILE)[0])
    return Bounds(
        max_connections=connections,
        max_client_connections=settings.client_connection_limit(connections),
        max_live_readers=settings.max_live_readers,
        max_feeds=settings.max_feeds,
        max_append=settings.max_append,
        max_pending_appends=settings.max_pending_appends,
    )


def _timeouts(settings: Settings) -> Timeouts:
    return Timeouts(settings.header_timeout, settings.body_timeout, settings.min_body_rate)


def _hosts(settings: Settings) -> tuple[tuple[str, ...], str]:
    hosts = (*settings.hosts, *settings.front) if settings.hosts else ()
    return hosts, settings.listen.reached_at


def route_of(
    settings: Settings, route: RouteSettings, services: Services, access: RouteAccess
) -> StreamRoute:
    """Make the route that these settings describe."""
    stream_route: StreamRoute
    if route.is_http:
        stream_route = edge_route(settings, route, services, access)
    else:
        stream_route = hosted_route(settings, route, log_for(route), services, access)
    kinds = settings.auth_of(route)
    if kinds and stream_route.access.guard is None:
        raise _unguarded(route.prefix, kinds)
    stream_route.traffic.cache_share.share = route.cache_share
    return stream_route


def hosted_route(
    settings: Settings,
    route: RouteSettings,
    log: Log,
    services: Services,
    access: RouteAccess = OPEN,
) -> HostedRoute:
    """Make a route to a log of our own."""
    hosted = HostedRoute(
        route.prefix,
        log,
        _freshness(route, _private_folders(settings, route), is_private=access.is_private),
        _stream_rules(route),
        _feeds(settings),
        services,
        access,
    )
    set_features(hosted, RouteSetup(settings, route, _feeds(settings), services))
    return hosted


def renew_route(
    route: StreamRoute,
    settings: Settings,
    route_settings: RouteSettings,
    access: RouteAccess,
    services: Services,
) -> None:
    """Let a route that goes on serving follow its new settings and access, after a reload."""
    folders = _private_folders(settings, route_settings)
    freshness = _freshness(route_settings, folders, is_private=access.is_private)
    feeds = _feeds(settings)
    had_paths = set(route.features)
    if isinstance(access.guard, TokenGuard):
        access.guard.adopt(route.access.guard)
    if isinstance(route, HostedRoute):
        is_other = renew(route.freshness, freshness)
        rules = _stream_rules(route_settings)
        renew(route.lifecycle.retention, rules.retention)
        renew(route.lifecycle.lifetimes, rules.lifetimes)
        if route.table.log.quota is not None:
            route.table.log.quota.limit(route_settings.max_log_size)
        renew(route.feeds.source.settings, feeds)
        route.access = access
        route.reads.reader_keys = access.reader_keys
        if access.reader_keys is not None:
            access.reader_keys.caches.add(route.table.caches)
    else:
        is_other = _renew_edge(route, route_settings, freshness, feeds, access)
    set_features(route, RouteSetup(settings, route_settings, feeds, services, is_reload=True))
    share = route.traffic.cache_share
    has_other_paths = route.features.keys() != had_paths  # one may be that of a cached stream
    if is_other or has_other_paths or share.share != route_settings.cache_share:
        services.store.clear(share)
        share.share = route_settings.cache_share


def end_readers(route: StreamRoute) -> None:
    """End the live readers of a route that goes on at an event: they come back and are judged."""
    assert isinstance(route, HostedRoute), "a route of another kind is set up anew"
    route.feeds.end_readers()


def edge_route(
    settings: Settings, route: RouteSettings, services: Services, access: RouteAccess = OPEN
) -> EdgeRoute:
    """Make a route to an HTTP origin."""
    # 1 MB, for HTTP origins only
    from gateway.edge.origin_requests import OriginRequests
    from gateway.edge.route import EdgeRoute
    from gateway.origin.client import Origin
    from gateway.origin.servers import OriginSettings
    from gateway.rules.response_rules import ResponseRules

    made = RouteSetup(settings, route, _feeds(settings), services)
    origin = Origin(OriginSettings.of(route), services.tracer)
    # Readers are told apart by these headers, without our own cookie.
    cookie = READER_COOKIE if access.guard is not None else ""
    rules = ResponseRules(
        freshness=_freshness(route),
        stale_if_error=route.stale_if_error,
        via=services.via,
        identity=IdentityHeaders(
            route.identity_headers, route.drop_headers, verified_cookie=cookie
        ),
        located=origin.servers.location,
        ignore_no_store=route.no_store == "ignore",
        shares_s_maxage=route.s_maxage == "share",
    )
    requests = requests_of(made, origin, rules.identity) or OriginRequests(
        origin, rules.identity, services.via, services.scheme
    )
    edge = EdgeRoute(
        route.prefix, origin, requests, rules, route.drop_query, made.feeds, services, access
    )
    set_features(edge, made)
    return edge


def _renew_edge(
    route: StreamRoute,
    route_settings: RouteSettings,
    freshness: Freshness,
    feeds: FeedSettings,
    access: RouteAccess,
) -> bool:
    """Apply new settings to a route to an HTTP origin; return whether they change its responses."""
    from gateway.edge.route import EdgeRoute
    from gateway.origin.servers import OriginSettings

    assert isinstance(route, EdgeRoute), "the only other kind of route"
    renew(route.feeds.source.settings, feeds)
    route.origin.renew(OriginSettings.of(route_settings))
    route.access = route.requests.access(access)
    return route.renew_rules(
        freshness,
        route_settings.stale_if_error,
        shares_s_maxage=route_settings.s_maxage == "share",
    )


def handlers_of(
    routes: Router, services: Services, models: Sequence[StreamRoute] = ()
) -> RequestHandlers:
    """Make the handlers of the requests to these routes, and the lines of all responses.

    `models` are those of the routes that lead to model providers, and proxies.
    """
    services.lines.guard(is_guarded=any(route.access.guard is not None for route in routes))
    hosted = HostedHandlers(routes, services)
    operations: dict[type[StreamRoute], RouteOperations] = {HostedRoute: hosted}
    if models:
        operations |= operations_of(hosted, services)
    if any(not isinstance(route, HostedRoute) and route not in models for route in routes):
        from gateway.edge.route import EdgeRoute  # with its parts 1 MB, for HTTP origins only
        from gateway.web.handlers.edge_handlers import EdgeHandlers

        operations[EdgeRoute] = EdgeHandlers(routes, services)
    if services.tracer is None:
        return Handlers(routes, operations, services)
    spans = ServerSpans(services.tracer, routes)
    return TracedHandlers(routes, operations, services, spans)


def inspector(
    routes: Router,
    services: Services,
    authorities: Authorities,
    models: Sequence[StreamRoute] = (),
) -> Inspector:
    """Make the inspector that answers questions about these routes, their tokens, and `models`."""
    list_tokens = partial(token_page, authorities, services.credential_uses)
    return Inspector(routes, services, list_tokens, models)


def access_of(
    settings: Settings, route: RouteSettings, authorities: Authorities, services: Services
) -> RouteAccess:
    """Return the access to a route by its settings."""
    guard: Guard | None = None
    kinds = settings.auth_of(route)
    if names := verified(kinds):
        verifier = authorities.verifier(names, services.admitted.end, services.credential_uses)
        guard = TokenGuard(route.prefix, verifier, frozenset(route.anonymous))
    elif kinds and not route.is_http:  # else the route may make a guard of its own
        raise _unguarded(route.prefix, kinds)
    is_private = route.is_private(kinds)
    reader_keys = authorities.reader_keys() if route.reader_keys == "on" else None
    if reader_keys is not None and not is_private:
        raise StartError(f"{route.prefix} is public, and has no use for reader_keys")
    return RouteAccess(guard, is_private, route.conceal == "on", reader_keys)


def _unguarded(prefix: str, kinds: Sequence[str]) -> StartError:
    auth = ", ".join(kinds)
    return StartError(f"{prefix} would be open to everybody: nothing checks its auth, {auth}")


def _stream_rules(route: RouteSettings) -> StreamRules:
    return StreamRules(
        Retention(route.retention_age, route.retention_size, route.retention_messages),
        LifetimeLimits(route.default_ttl, route.max_ttl),
    )


def _private_folders(settings: Settings, route: RouteSettings) -> tuple[str, ...]:
    """Return the beginnings of paths on a route that have answers for their owners only."""
    public = {it.prefix for it in settings.models if it.public}
    own = [it for it in settings.written if it.prefix not in public]
    places = [(it.streams, route_of_streams(it, settings.route_table)) for it in own]
    return tuple(f"{at}/" for at, found in places if found and found.prefix == route.prefix)


def _freshness(
    route: RouteSettings, private_folders: tuple[str, ...] = (), *, is_private: bool = False
) -> Freshness:
    return Freshness(
        route.chunk_lifetime,
        route.stale_while_revalidate,
        route.tail_max_age,
        route_tag(route.prefix),
        is_private,
        route.tail_directive,
        private_folders,
        route.closed_lifetime,
        route.keeps_offsets,
    )


def _feeds(settings: Settings) -> FeedSettings:
    return FeedSettings(
        settings.long_poll_timeout,
        settings.sse_heartbeat,
        settings.sse_max_age,
        settings.drain_time,
    )
