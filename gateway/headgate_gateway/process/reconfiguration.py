"""A reload: from the configuration in force to another one, while readers stay connected.

Everything that may fail is prepared first, while the configuration in force goes on serving. Then
one call without an await makes the change, so that no request sees half of it. Afterwards the parts
that are no longer used are drained and closed.
"""

from __future__ import annotations

import asyncio
import gc
import time
from typing import TYPE_CHECKING, NamedTuple

from headgate_gateway import app
from headgate_gateway.access.authorities import Authorities
from headgate_gateway.errors import HeadgateError, RestartNeeded
from headgate_gateway.features.composition import ChangedFeatures, check_features, open_needed
from headgate_gateway.features.console_token import ConsoleAuthority
from headgate_gateway.features.inspector import Inspector
from headgate_gateway.process.listening import prepare_tls
from headgate_gateway.purge.purges import Purges, longest_copy_s
from headgate_gateway.routes.router import Router
from headgate_gateway.settings.reached import stream_tls
from headgate_gateway.settings.reload_plan import restart_reasons, route_outcome, why_log_is_in_use
from headgate_gateway.telemetry.logs import log
from headgate_gateway.web.asks.plans import Plans
from headgate_gateway.web.connections.fast_path import FastPath

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from headgate_gateway.access.contract import RouteAccess
    from headgate_gateway.features.composition import FeatureRoutes
    from headgate_gateway.features.feature_route import FeatureRoute
    from headgate_gateway.routes.contract import StreamRoute
    from headgate_gateway.routes.services import Services
    from headgate_gateway.settings import Route, Settings
    from headgate_gateway.tls.handshakes import Handshakes
    from headgate_gateway.web.connections.server import ConnectionServer


class ActiveConfiguration:
    """Settings, with the authorities, purges, routes and models that follow them.

    The routes and models are in the order of the settings. A reload replaces the whole object;
    authorities, purges, routes and models may go on into the next one.
    """

    def __init__(
        self,
        settings: Settings,
        authorities: Authorities,
        purges: Purges,
        routes: Sequence[StreamRoute],
        models: Sequence[FeatureRoute],
        services: Services,
    ) -> None:
        self.settings = settings
        self.authorities = authorities
        self.purges = purges
        self.routes = tuple(routes)
        self.models = tuple(models)
        services.front_caches.purge_by(purges)
        plans = Plans(Router([*self.routes, *self.models]))
        self.router = plans.router
        self.fast_path = FastPath(plans, services)
        self.handlers = app.handlers_of(plans, services)
        self.inspector = Inspector(
            Router(self.routes), services, authorities, self.models, settings.features
        )


def check_fixed(current: Settings, new_settings: Settings) -> None:
    """Raise RestartNeeded with a sentence for each setting that differs and needs a restart."""
    if reasons := restart_reasons(current, new_settings):
        raise RestartNeeded(".\n".join(reasons))


class Maker(NamedTuple):
    """The maker of a configuration's parts for one process; each function raises StartError.

    All verifiers accept the console's token, whose hash is `console`. `features` reuses the routes
    in force whose settings have not changed.
    """

    features: FeatureRoutes
    console: bytes
    clock: Callable[[], float]  # epoch seconds

    def authorities(self, settings: Settings, earlier: Authorities | None = None) -> Authorities:
        """Return the authorities for tokens; what the `earlier` ones have fetched goes on."""
        return Authorities(settings, self.clock, (ConsoleAuthority(self.console),), earlier)

    def purges(self, settings: Settings) -> Purges:
        """Return the purges of the caches in front."""
        return Purges(
            settings.purges,
            time.monotonic,
            wall_clock=self.clock,
            retry_for_s=longest_copy_s(settings.route_table),
            prefix=settings.route_table[0].prefix,
        )


class _RenewedRoute(NamedTuple):
    """A route that stays open, its new settings and access.

    If `is_authorized_anew`, its live readers are disconnected, and authorized when they come back.
    """

    route: StreamRoute
    route_settings: Route
    access: RouteAccess
    is_authorized_anew: bool


class Reload:
    """The change from one configuration to another; its methods are called in their order."""

    def __init__(
        self,
        current: ActiveConfiguration,
        settings: Settings,
        services: Services,
        maker: Maker,
        handshakes: Handshakes | None,
    ) -> None:
        self._current = current
        self._settings = settings
        self._services = services
        self._maker = maker
        self._handshakes = handshakes
        self._authorities: Authorities
        self._purges: Purges
        self._use_certificates: Callable[[], None]
        self._renewed: list[_RenewedRoute] = []
        self._opened: list[StreamRoute] = []
        self._routes: list[StreamRoute] = []  # all of the new settings, in their order
        self._models: list[FeatureRoute] = []  # all model routes of the new settings
        self._changed: list[ChangedFeatures] = []  # of renewed routes

    async def prepare(self) -> None:
        """Make the new parts. Raises StartError, and then leaves nothing open."""
        current, settings = self._current, self._settings
        check_fixed(current.settings, settings)
        self._purges = current.purges
        if settings.purges != current.settings.purges:
            self._purges = self._maker.purges(settings)
        self._use_certificates = prepare_tls(self._handshakes, stream_tls(settings))
        self._authorities = self._maker.authorities(settings, current.authorities)
        earlier = {
            route.prefix: (current_route, route)
            for current_route, route in zip(
                current.routes, current.settings.route_table, strict=True
            )
        }
        try:
            for route in settings.route_table:
                await self._prepare_route(route, *earlier.get(route.prefix, (None, None)))
            await self._prepare_models()
        except BaseException:
            await self.abandon()
            raise

    async def _prepare_route(
        self, route_settings: Route, current_route: StreamRoute | None, present: Route | None
    ) -> None:
        settings = self._settings
        check_features(settings, route_settings)
        access = app.access_of(settings, route_settings, self._authorities, self._services)
        outcome = route_outcome(self._current.settings, present, settings, route_settings)
        if current_route is not None and outcome not in {"opened", "set up anew"}:
            is_authorized_anew = outcome == "authorized anew"
            await open_needed(current_route, settings, route_settings)
            self._renewed.append(
                _RenewedRoute(current_route, route_settings, access, is_authorized_anew)
            )
            self._routes.append(current_route)
            return
        if reason := why_log_is_in_use(self._current.settings, route_settings):
            raise RestartNeeded(reason)
        route = app.route_of(settings, route_settings, self._services, access)
        await route.open()
        self._opened.append(route)
        self._routes.append(route)

    async def _prepare_models(self) -> None:
        current = self._current.models
        self._models = self._maker.features.make(
            self._settings, self._routes, self._authorities, current
        )
        for model in self._models:
            if model not in current:
                await model.open()
                self._opened.append(model)

    async def abandon(self) -> None:
        """Close the prepared routes; the configuration in force stays as it is."""
        while self._opened:
            await self._opened.pop().close()

    def commit(self) -> ActiveConfiguration:
        """Return the new configuration, in force from the next request on."""
        settings, current = self._settings, self._current
        app.reconfigure(self._services, settings)
        self._changed = [
            app.renew_route(it.route, settings, it.route_settings, it.access, self._services)
            for it in self._renewed
        ]
        for model in self._models:
            model.commit()
        self._drop_cached_responses()
        new = ActiveConfiguration(
            settings, self._authorities, self._purges, self._routes, self._models, self._services
        )
        if self._purges is not current.purges:
            self._purges.open()
        self._use_certificates()
        self._authorities.start()
        self._authorities.recheck_principals()
        for renewed in self._renewed:
            if renewed.is_authorized_anew:
                renewed.route.end_readers()
        return new

    def _drop_cached_responses(self) -> None:
        """Drop the cached responses of removed routes, and of those below which one was opened.

        Responses are found by their URLs alone, whichever route has a URL now.
        """
        removed = self._removed
        for route in (*self._current.routes, *self._current.models):
            is_above = any(it.prefix.startswith(f"{route.prefix}/") for it in self._opened)
            if is_above or route in removed:
                self._services.store.clear(route.traffic.cache_share)

    @property
    def _removed(self) -> list[StreamRoute]:
        """The routes of the former configuration that are not in the new one.

        The answers of a model are written to the streams of another route, so they are the first.
        """
        current = self._current
        models: list[StreamRoute] = [it for it in current.models if it not in self._models]
        return [*models, *(route for route in current.routes if route not in self._routes)]

    @property
    def removes_routes(self) -> bool:
        """True if a route of the former configuration is not in the new one."""
        return any(route not in self._routes for route in self._current.routes)

    async def retire(self, connections: ConnectionServer, grace_s: float) -> None:
        """Open the features that routes have got; drain and close the parts that are not used.

        Requests that began before the reload have `grace_s` seconds to end, as at a stop.
        """
        current, removed = self._current, self._removed
        await current.authorities.stop()
        for changed in self._changed:
            await _follow(changed)
        try:
            async with asyncio.timeout(grace_s):
                for route in removed:
                    await route.drain()
                await connections.requests_end([route.traffic for route in removed])
                if self._purges is not current.purges:
                    await current.purges.drain()
        except TimeoutError:
            log.warning("server.drain_incomplete", grace_s=grace_s)
        for route in removed:
            self._services.store.clear(route.traffic.cache_share)  # what came since the reload
            await route.close()
        if self._purges is not current.purges:
            await current.purges.close()


async def _follow(changed: ChangedFeatures) -> None:
    """Open the features that a route has got, and close those that it has lost."""
    for feature in changed.added:
        try:
            await feature.open()
        except HeadgateError as error:
            log.error("feature.not_opened", reason=error.detail)
    for feature in changed.removed:
        feature.drain()
        await feature.close()


def collect_frozen() -> None:
    """Let the garbage collector free removed routes, if it was frozen after the start."""
    if gc.get_freeze_count():
        gc.unfreeze()
        gc.collect()
        gc.freeze()
