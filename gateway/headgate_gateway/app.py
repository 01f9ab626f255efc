"""The composition root: builds the parts from the settings, and names the concrete classes."""

from __future__ import annotations

import pkgutil
import resource
import secrets
from time import monotonic
from typing import TYPE_CHECKING

from headgate_gateway.access.bans import Bans
from headgate_gateway.access.contract import RouteAccess
from headgate_gateway.access.principal import CredentialUses
from headgate_gateway.access.token_guard import TokenGuard
from headgate_gateway.errors import StartError
from headgate_gateway.features.composition import ChangedFeatures, requests_of, set_features
from headgate_gateway.live.admitted_readers import AdmittedReaders
from headgate_gateway.open_files import OPEN_FILES
from headgate_gateway.protocol.http.cache_status import BYPASS
from headgate_gateway.protocol.http.client_address import TrustedProxies
from headgate_gateway.routes.kinds import make_route
from headgate_gateway.routes.services import FrontCaches, ServedHosts, Services, Timeouts
from headgate_gateway.routes.setup import RouteSetup
from headgate_gateway.runtime.common_headers import CommonHeaders
from headgate_gateway.runtime.decoding_queue import DecodingQueue
from headgate_gateway.runtime.limits import Bounds, ServerLimits
from headgate_gateway.runtime.loudest import Loudest
from headgate_gateway.runtime.quotas import ClientRate, ClientRates, Quotas
from headgate_gateway.runtime.shedding import Shedding
from headgate_gateway.settings.credential_kinds import verified
from headgate_gateway.store import Store
from headgate_gateway.telemetry.access_log import AccessLog, NewestRefusals
from headgate_gateway.telemetry.logs import set_level
from headgate_gateway.web.handlers.dispatch import Handlers

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from headgate_gateway.access.authorities import Authorities
    from headgate_gateway.access.contract import Guard
    from headgate_gateway.open_files import SharedFiles
    from headgate_gateway.routes.contract import StreamRoute
    from headgate_gateway.runtime.write_journal import WriteJournal
    from headgate_gateway.settings import Route as RouteSettings
    from headgate_gateway.settings import Settings
    from headgate_gateway.telemetry.spans import Tracer
    from headgate_gateway.web.asks.plans import Plans
    from headgate_gateway.web.connections.contract import RequestHandlers
    from headgate_gateway.web.operations import RouteOperations

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
    files: SharedFiles | None = OPEN_FILES,
    console_mark: str = "",
) -> Services:
    """Return the parts that the routes and connections of a listener share.

    `clock` returns epoch seconds, `elapsed` seconds since any moment, `running` those of a clock
    that cannot be set, and runs on while the machine sleeps; by default `clock` is such a one.
    Refusals without a request have `refusal_lines`; `console_mark` marks the console's requests.
    """
    limits = ServerLimits(_bounds(settings), files)
    rates = ClientRates(
        ClientRate(settings.limits.max_client_appends, 1, elapsed),
        ClientRate(settings.limits.max_client_creations, HOUR_S, elapsed),
    )
    quotas = Quotas(limits, TrustedProxies(settings.http.trusted_proxies), rates)
    return Services(
        clock=clock,
        running=running or clock,
        scheme="https" if settings.tls.certificate else "http",
        via=f"1.1 headgate-{secrets.token_hex(4)}",
        store=Store(settings.limits.cache_size),
        limits=limits,
        decodings=DecodingQueue(limits),
        release_reader=limits.release_reader,
        shedding=_shedding(settings, limits, running or monotonic, journal),
        quotas=quotas,
        bans=Bans(clock, quotas.client_address),
        lines=CommonHeaders(clock, settings.http.cors_origins, settings.http.write_origins),
        refusal_lines=refusal_lines,
        timeouts=Timeouts(settings.http.body_timeout),
        log=AccessLog(settings.log.requests),
        hosts=ServedHosts(*_hosts(settings)),
        refusals=NewestRefusals(clock),
        credential_uses=CredentialUses(),
        loudest=Loudest(quotas.proxies, elapsed),
        admitted=AdmittedReaders(clock),
        front_caches=FrontCaches(),
        journal=journal,
        tracer=tracer,
        console_mark=console_mark,
    )


def _shedding(
    settings: Settings,
    limits: ServerLimits,
    running: Callable[[], float],
    journal: WriteJournal | None,
) -> Shedding:
    process = "the server" if journal is None else f"worker {journal.number}"
    return Shedding(settings.limits.max_loop_lag, limits, running, process)


def reconfigure(services: Services, settings: Settings) -> None:
    """Let the services of a running process follow new settings."""
    set_level(settings.log.level)
    services.timeouts.body = settings.http.body_timeout
    services.log.set_level(settings.log.requests)
    services.hosts.set(*_hosts(settings))
    services.lines.allow_origins(settings.http.cors_origins, settings.http.write_origins)
    services.limits.set_bounds(_bounds(settings))
    services.shedding.limit_lag(settings.limits.max_loop_lag)
    services.quotas.limit_rates(
        settings.limits.max_client_appends, settings.limits.max_client_creations
    )
    services.store.resize(settings.limits.cache_size)


def _bounds(settings: Settings) -> Bounds:
    # One address cannot use up the connections of all others; a company behind one address, or a
    # proxy that is not trusted, seldom comes near half of them.
    open_files = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    connections = settings.limits.connection_limit(open_files)
    return Bounds(
        max_connections=connections,
        max_client_connections=max(1, connections // 2),
        max_live_readers=settings.limits.reader_limit(open_files),
        max_feeds=settings.limits.max_feeds,
        max_append=settings.limits.max_append,
        max_pending_appends=settings.limits.max_pending_appends,
    )


def _hosts(settings: Settings) -> tuple[tuple[str, ...], str]:
    hosts = (*settings.http.hosts, *settings.front.hosts) if settings.http.hosts else ()
    return hosts, settings.listen.reached_at


def route_of(
    settings: Settings, route: RouteSettings, services: Services, access: RouteAccess
) -> StreamRoute:
    """Make the route that these settings describe. Raises StartError."""
    setup = RouteSetup(settings, route, services, access, requests_of(settings, route))
    made = make_route(setup)
    set_features(made, setup)
    kinds = settings.auth_of(route)
    if kinds and made.access.guard is None:
        raise _unguarded(route.prefix, kinds)
    return made


def renew_route(
    route: StreamRoute,
    settings: Settings,
    route_settings: RouteSettings,
    access: RouteAccess,
    services: Services,
) -> ChangedFeatures:
    """Let a route that goes on serving follow its new settings and access, after a reload."""
    setup = RouteSetup(settings, route_settings, services, access, is_reload=True)
    if access.guard is not None:
        access.guard.adopt(route.access.guard)
    is_other = route.renew(setup)
    changed = set_features(route, setup)
    has_other_paths = any(changed)  # one may be that of a cached stream
    if is_other or has_other_paths:
        services.store.clear(route.traffic.cache_share)
    return changed


def handlers_of(plans: Plans, services: Services) -> RequestHandlers:
    """Make the handlers of requests, and the lines of all responses."""
    routes = plans.router
    services.lines.guard(is_guarded=any(route.access.guard is not None for route in routes))
    operations: dict[type[StreamRoute], RouteOperations] = {
        kind: pkgutil.resolve_name(kind.operations)(plans, services)
        for kind in {type(route) for route in routes}
    }
    return Handlers(routes, operations, services)


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
