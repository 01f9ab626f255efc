"""The routes that write the streams of others: to model providers, and proxies."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from headgate.dialects.contract import provider
from headgate_gateway.access.contract import RouteAccess
from headgate_gateway.errors import StartError
from headgate_gateway.features.models.completion import RunningCompletions
from headgate_gateway.features.models.completion_route import CompletionRoute
from headgate_gateway.features.models.route import ModelGuard, ModelRoute
from headgate_gateway.features.proxies.guard import ProxyGuard, UrlSignatures
from headgate_gateway.features.proxies.route import ProxiedProvider, ProxyRoute
from headgate_gateway.settings.arrays.model_route import (
    ModelSettings,
    provider_key,
    route_of_streams,
)
from headgate_gateway.settings.arrays.proxy_route import signing_secret
from headgate_gateway.streams.route import HostedRoute

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from headgate_gateway.access.authorities import Authorities
    from headgate_gateway.access.token_guard import TokenGuard
    from headgate_gateway.features.feature_route import FeatureRoute
    from headgate_gateway.routes.contract import StreamRoute
    from headgate_gateway.routes.services import Services
    from headgate_gateway.settings import ProxySettings, Settings


class CompletionRoutes:
    """Makes the routes of a process that write completions, and remembers those that run."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._running = RunningCompletions()

    def make(
        self,
        settings: Settings,
        routes: Sequence[StreamRoute],
        authorities: Authorities,
        earlier: Sequence[FeatureRoute] = (),
    ) -> list[CompletionRoute]:
        """Make the routes of the settings; those of `earlier` that fit are used again.

        `routes` are the routes of streams. Raises StartError for a key that cannot be read.
        """
        tables: list[ModelSettings | ProxySettings] = [*settings.models, *settings.proxies]
        return [self._route(settings, it, routes, authorities, earlier) for it in tables]

    def _route(
        self,
        settings: Settings,
        table: ModelSettings | ProxySettings,
        routes: Sequence[StreamRoute],
        authorities: Authorities,
        earlier: Sequence[FeatureRoute],
    ) -> CompletionRoute:
        """Return a route with its access: at once if it is new, else once the reload is made."""
        services, kinds = self._services, settings.auth_of(table)
        verifier = authorities.verifier(kinds, services.admitted.end, services.credential_uses)
        guard: TokenGuard | None
        parts: tuple[object, ...]
        make: Callable[..., CompletionRoute]
        if isinstance(table, ModelSettings):
            key, family = _provider_key(table), provider(table.dialect)
            guard = ModelGuard(table.prefix, verifier, family, has_own_key=bool(key))
            guard, parts = guard if kinds else None, (table, key)
            make = partial(ModelRoute, table, key)
        else:
            signatures = _signatures(table, services)
            guard = ProxyGuard(table.prefix, verifier, signatures, is_open=not kinds)
            hosts = ProxiedProvider(table, settings.outbound.proxy.reveal())
            parts, make = (
                (table, signatures, hosts.outgoing),
                partial(ProxyRoute, hosts, signatures),
            )
        access = RouteAccess(guard, is_private=True)
        streams = _streams(settings, table, routes)
        completion_routes = (it for it in earlier if isinstance(it, CompletionRoute))
        made_of = streams, parts
        found = (it for it in completion_routes if (it.streams.route, it.made_of) == made_of)
        if (route := next(found, None)) is not None:
            route.prepare(access)
            return route
        route = make(streams, self._running, services, access)
        route.prepare(access)
        route.commit()
        return route


def _provider_key(model: ModelSettings) -> str:
    try:
        return provider_key(model.key_file)
    except ValueError as error:
        raise StartError(f"key_file {model.key_file} {error}") from None


def _signatures(proxy: ProxySettings, services: Services) -> UrlSignatures:
    try:
        secret = signing_secret(proxy.secret_file)
    except (OSError, ValueError) as error:
        raise StartError(f"secret_file {proxy.secret_file} {error}") from None
    return UrlSignatures(secret, proxy.ttl, services.clock)


def _streams(
    settings: Settings, table: ModelSettings | ProxySettings, routes: Sequence[StreamRoute]
) -> HostedRoute:
    """Return the route that has the streams of a table's completions."""
    stored_on = route_of_streams(table, settings.route_table)
    streams = next(it for it in routes if stored_on and it.prefix == stored_on.prefix)
    assert isinstance(streams, HostedRoute), "the settings allow no other"
    return streams
