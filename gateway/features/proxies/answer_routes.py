"""The routes that write the streams of others: to model providers, and proxies."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from headgate.dialects.registry import provider

from gateway.access.contract import RouteAccess
from gateway.errors import StartError
from gateway.features.models.route import ModelGuard, ModelRoute
from gateway.features.models.running import RunningAnswers
from gateway.features.proxies.guard import ProxyGuard, UrlSignatures
from gateway.features.proxies.route import ProxyRoute
from gateway.settings.arrays.model_route import provider_key, route_of_streams
from gateway.settings.arrays.proxy_route import signing_secret
from gateway.streams.route import HostedRoute

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.access.authorities import Authorities
    from gateway.access.token_guard import Verifier
    from gateway.features.feature_route import FeatureRoute
    from gateway.features.models.answer_route import AnswerRoute
    from gateway.routes.contract import StreamRoute
    from gateway.routes.services import Services
    from gateway.settings import ModelSettings, ProxySettings, Settings


R = TypeVar("R", bound="AnswerRoute")


class AnswerRoutes:
    """The maker of a process's routes that write answers, which remembers the answers that run."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._running = RunningAnswers()

    def make(
        self,
        settings: Settings,
        routes: Sequence[StreamRoute],
        authorities: Authorities,
        earlier: Sequence[FeatureRoute] = (),
    ) -> list[AnswerRoute]:
        """Make the routes of the settings; those of `earlier` that fit are used again.

        `routes` are the routes of streams. Raises StartError for a key that cannot be read.
        """
        made: list[AnswerRoute] = []
        for model in settings.models:
            streams = _streams(settings, model, routes)
            made.append(self._model(settings, model, streams, authorities, earlier))
        for proxy in settings.proxies:
            streams = _streams(settings, proxy, routes)
            made.append(self._proxy(settings, proxy, streams, authorities, earlier))
        return made

    def _proxy(
        self,
        settings: Settings,
        proxy: ProxySettings,
        streams: HostedRoute,
        authorities: Authorities,
        earlier: Sequence[FeatureRoute],
    ) -> AnswerRoute:
        try:
            secret = signing_secret(proxy.secret_file)
        except (OSError, ValueError) as error:
            raise StartError(f"secret_file {proxy.secret_file} {error}") from None
        signatures = UrlSignatures(secret, proxy.url_lifetime, self._services.clock)
        kinds = settings.auth_of(proxy)
        verifier = _verifier(kinds, authorities, self._services)
        guard = ProxyGuard(proxy.prefix, verifier, signatures, is_open=not kinds)
        access = RouteAccess(guard, is_private=True)
        found = _found(earlier, ProxyRoute, streams, (proxy, signatures))
        made = found or ProxyRoute(
            proxy, signatures, streams, self._running, self._services, access
        )
        return _prepared(made, access, settings, is_new=found is None)

    def _model(
        self,
        settings: Settings,
        model: ModelSettings,
        streams: HostedRoute,
        authorities: Authorities,
        earlier: Sequence[FeatureRoute],
    ) -> AnswerRoute:
        try:
            key = provider_key(model.key_file)
        except ValueError as error:
            raise StartError(f"key_file {model.key_file} {error}") from None
        access = _access(settings, model, authorities, self._services, has_own_key=bool(key))
        found = _found(earlier, ModelRoute, streams, (model, key))
        made = found or ModelRoute(model, key, streams, self._running, self._services, access)
        return _prepared(made, access, settings, is_new=found is None)


def _found(
    earlier: Sequence[FeatureRoute], kind: type[R], streams: HostedRoute, made_of: object
) -> R | None:
    """Return the route of before that writes the same streams and was made of the same parts."""
    for route in earlier:
        if isinstance(route, kind) and (route.streams.route, route.made_of) == (streams, made_of):
            return route
    return None


def _prepared(
    route: AnswerRoute, access: RouteAccess, settings: Settings, *, is_new: bool
) -> AnswerRoute:
    """Return a route that has its access: at once if it is new, else once the reload is made."""
    route.prepare(access, settings.principal_metrics)
    if is_new:
        route.commit()
    return route


def _streams(
    settings: Settings, one: ModelSettings | ProxySettings, routes: Sequence[StreamRoute]
) -> HostedRoute:
    """Return the route that has the streams of a table's answers."""
    stored_on = route_of_streams(one, settings.route_table)
    streams = next(it for it in routes if stored_on and it.prefix == stored_on.prefix)
    assert isinstance(streams, HostedRoute), "the settings allow no other"
    return streams


def _access(
    settings: Settings,
    model: ModelSettings,
    authorities: Authorities,
    services: Services,
    *,
    has_own_key: bool,
) -> RouteAccess:
    """Return who may call the provider."""
    kinds = settings.auth_of(model)
    if not kinds:
        return RouteAccess(None, is_private=True)
    verifier = _verifier(kinds, authorities, services)
    family = provider(model.dialect)
    guard = ModelGuard(model.prefix, verifier, family, has_own_key=has_own_key)
    return RouteAccess(guard, is_private=True)


def _verifier(kinds: Sequence[str], authorities: Authorities, services: Services) -> Verifier:
    """Return a verifier of tokens of these kinds, which counts their uses."""
    return authorities.verifier(kinds, services.admitted.end, services.credential_uses)
