"""The declarations of all settings: name, type, default, unit, bounds and help."""

from __future__ import annotations

from typing import Annotated, Any

from headgate.hosts import is_loopback
from headgate_gateway.settings.arrays.model_route import MODELS_KIND, ModelSettings, W, check_beside
from headgate_gateway.settings.arrays.proxy_route import PROXIES_KIND, ProxySettings
from headgate_gateway.settings.arrays.purged_cache import PURGES_KIND, PurgedCache
from headgate_gateway.settings.arrays.repeated import places, prefixes, repeated
from headgate_gateway.settings.auth import NONE, Auth, who_may_use
from headgate_gateway.settings.reading import files
from headgate_gateway.settings.reading.feature_modules import kind_in
from headgate_gateway.settings.reading.kinds import (
    AS_TEXT,
    ROUTES_KIND,
    Address,
    Count,
    Listen,
    Origin,
    Storage,
    ValueKind,
    clash,
)
from headgate_gateway.settings.reading.reload_effects import AT_ONCE, FIXED, SET_UP_ANEW
from headgate_gateway.settings.reading.sourced import SourcedSettings
from headgate_gateway.settings.reading.tables import ValueContext, checks, section, setting
from headgate_gateway.settings.reading.values import Mistake, Mistaken, of_other_type
from headgate_gateway.settings.route import Route
from headgate_gateway.settings.sections.admin import AdminSettings
from headgate_gateway.settings.sections.credentials import CredentialSettings
from headgate_gateway.settings.sections.front import FrontSettings
from headgate_gateway.settings.sections.http import HttpSettings
from headgate_gateway.settings.sections.limits import LimitSettings
from headgate_gateway.settings.sections.live import LiveSettings
from headgate_gateway.settings.sections.log_output import LogOutputSettings
from headgate_gateway.settings.sections.outbound import OutboundSettings
from headgate_gateway.settings.sections.shutdown import ShutdownSettings
from headgate_gateway.settings.sections.subscriptions import SubscriptionSettings
from headgate_gateway.settings.sections.tls import TlsFiles, TlsSettings

Features = Annotated[tuple[str, ...], *AS_TEXT, ValueKind("a list of Python modules")]
DEFAULT_PREFIX = "/v1/stream"
MOST_MODELS = MOST_PROXIES = 64  # each has connections of its own
MOST_PURGED = 32  # each has a task, a connection and an 8 MiB queue in every worker


class Settings(SourcedSettings):
    """The settings of a gateway."""

    checks_defaults = True

    listen: Listen = setting(
        Address("127.0.0.1", 4437), description="Address of the listener for streams.", reload=FIXED
    )
    storage: Storage = setting(
        "file:./headgate-data",
        description=f"Where this gateway stores the streams of the only route, {DEFAULT_PREFIX}; "
        "not together with an origin or routes.",
        reload=SET_UP_ANEW,
    )
    origin: Origin = setting(
        "",
        description=f"Servers that have the streams of the only route, {DEFAULT_PREFIX}; of "
        "several the first is preferred. Not together with storage or routes.",
        reload=SET_UP_ANEW,
    )
    routes: Annotated[tuple[Route, ...], ValueKind(ROUTES_KIND)] = setting(
        (),
        description="Path prefixes, each with its storage or origin; the longest that matches "
        "wins.",
        reload="yes; live reads of a removed route end after an event",
    )
    models: Annotated[tuple[ModelSettings, ...], ValueKind(MODELS_KIND)] = setting(
        (),
        longest=MOST_MODELS,
        description="Path prefixes of model providers, whose answers become streams.",
        reload="yes; running answers of a changed or removed one may go on for shutdown.grace",
    )
    proxies: Annotated[tuple[ProxySettings, ...], ValueKind(PROXIES_KIND)] = setting(
        (),
        longest=MOST_PROXIES,
        description="Path prefixes at which responses of other servers become streams.",
        reload="yes; running ones of a changed or removed one may go on for shutdown.grace",
    )
    purges: Annotated[tuple[PurgedCache, ...], ValueKind(PURGES_KIND)] = setting(
        (),
        longest=MOST_PURGED,
        description="Caches in front, from which a stream is purged when it is deleted, has "
        "expired or is created again.",
        reload="yes; what waits for a cache that is removed is purged first",
    )
    features: Features = setting(
        (),
        description="Python modules from outside that add a feature each, by their KIND.",
        reload=AT_ONCE,
    )
    front: FrontSettings = section("The front: Caddy as a child of this server.")
    admin: AdminSettings = section("The admin listener: console, health checks and metrics.")
    auth: Auth = setting(
        (),
        description="Credentials that clients of streams need, on routes without their own auth; "
        "none lets everybody read, write and delete. Required if listen is no loopback "
        "address.",
        reload="yes; live reads of these routes end after an event, and are authorized again",
    )
    workers: Count = setting(
        1, ge=1, le=1024, description="Processes that serve the streams on one port.", reload=FIXED
    )
    http: HttpSettings = section("Requests over HTTP.")
    tls: TlsSettings = section("TLS on the listener for streams.")
    credentials: CredentialSettings = section("The credentials of clients.")
    limits: LimitSettings = section("What all clients, and each of them, may use.")
    live: LiveSettings = section("Long-polls and SSE.")
    log: LogOutputSettings = section("Log lines.")
    shutdown: ShutdownSettings = section("How a server stops.")
    subscriptions: SubscriptionSettings = section("Subscriptions and their webhooks.")
    outbound: OutboundSettings = section("Requests to hosts that clients name.")

    @checks("storage")
    @classmethod
    def _check_storage(cls, storage: str, context: ValueContext) -> str:
        if not storage:
            raise of_other_type(storage)
        if isinstance(context.look, files.Look) and context.look.is_stored:
            files.check_place(storage, context.look)
        return storage

    @checks("routes")
    @classmethod
    def _check_routes_differ(
        cls, routes: tuple[Route, ...], _around: ValueContext
    ) -> tuple[Route, ...]:
        twice = [*repeated(routes, "prefix", prefixes), *repeated(routes, "storage", places)]
        if twice:
            raise Mistaken(twice)
        return routes

    @checks("models", "proxies")
    @classmethod
    def _check_answers_have_streams(cls, written: tuple[W, ...], at: ValueContext) -> tuple[W, ...]:
        if written and (routes := _routes_in(at)):
            others = at.values.get("models", ()) if at.key == "proxies" else ()
            check_beside(written, routes, str(at.key), others)
        return written

    @checks("workers")
    @classmethod
    def _check_streams_can_be_shared(cls, workers: int, context: ValueContext) -> int:
        """Raise ValueError if several processes cannot serve the same streams."""
        for route in _routes_in(context) if workers > 1 else ():
            if why_alone := route.why_alone():
                raise ValueError(f"must be 1 while {why_alone}")
        return workers

    @checks("admin")
    @classmethod
    def _check_admin_port(cls, admin: AdminSettings, context: ValueContext) -> AdminSettings:
        listen = context.values.get("listen")
        if listen is not None and clash(listen, admin.listen):
            must = f"must not share the port of listen, which is {listen}"
            raise Mistaken([Mistake(("listen",), "refused", admin.listen, must)])
        return admin

    @checks("auth")
    @classmethod
    def _check_open_streams_are_intended(
        cls, auth: tuple[str, ...], context: ValueContext
    ) -> tuple[str, ...]:
        """Raise ValueError if streams are open to the network without an explicit auth."""
        listen, routes = context.values.get("listen"), context.values.get("routes")
        front = context.values.get("front")
        if listen is not None and is_loopback(listen.host) and front is not None and front.hosts:
            listen = front.listen
        if auth or listen is None or routes is None or is_loopback(listen.host):
            return auth
        written = *context.values.get("models", ()), *context.values.get("proxies", ())
        silent = [one.prefix for one in (*routes, *written) if not one.auth]
        if routes and not silent:
            return auth
        raise ValueError(who_may_use(" and ".join(silent) or DEFAULT_PREFIX, listen))

    @checks("features")
    @classmethod
    def _check_features(cls, features: tuple[str, ...], _: ValueContext) -> tuple[str, ...]:
        """Raise ValueError if a module is no feature, or brings a section that is there."""
        found: set[str] = set()
        for module in features:
            kind = kind_in(module)
            if kind.name in found:
                raise ValueError(f"must name each feature once, and {kind.name} is there twice")
            if kind.section is not None and kind.name in Settings.settings:
                raise ValueError(
                    f"must bring no section of Headgate's own, as {module}: {kind.name}"
                )
            found.add(kind.name)
        return features

    def section(self, name: str) -> Any:  # noqa: ANN401 - of the feature's own class
        """Return the section that a feature from outside has brought."""
        return getattr(self, name)

    @property
    def listener_tls(self) -> TlsFiles | None:
        """The files of the listener for streams; None if it speaks plain HTTP."""
        return self.tls.files("tls", self.tls.minimum_version)

    @property
    def admin_tls(self) -> TlsFiles | None:
        """The files of the admin listener; None if it speaks plain HTTP."""
        return self.admin.tls.files("admin.tls", self.tls.minimum_version)

    @property
    def route_table(self) -> tuple[Route, ...]:
        """The routes in force, the longest prefix first."""
        routes = self.routes or (_only_route(self.storage, self.origin),)
        return tuple(sorted(routes, key=lambda route: -len(route.prefix)))

    @property
    def written(self) -> tuple[ModelSettings | ProxySettings, ...]:
        """The routes that write streams of others: those to providers, and proxies."""
        return (*self.models, *self.proxies)

    @property
    def guarded(self) -> tuple[Route | ModelSettings | ProxySettings, ...]:
        """The routes in force, and those that write streams: each has a prefix and an auth."""
        return (*self.route_table, *self.written)

    @property
    def keyed_routes(self) -> tuple[Route, ...]:
        """The routes in force whose readers get reader keys."""
        return tuple(route for route in self.route_table if route.reader_keys == "on")

    def auth_of(self, route: Route | ModelSettings | ProxySettings) -> tuple[str, ...]:
        """Return the kinds of credentials that a route accepts; empty if it needs none."""
        kinds = route.auth or self.auth
        return () if kinds == NONE else kinds


def _routes_in(context: ValueContext) -> tuple[Route, ...]:
    """Return the routes in force, for the check of a later setting; none if they have a mistake."""
    given = context.values
    if given.get("routes"):
        return given["routes"]  # type: ignore[no-any-return] # they are valid
    if not {"storage", "origin", "routes"} <= given.keys():
        return ()
    return (_only_route(given["storage"], given["origin"]),)


def _only_route(storage: str, origin: str) -> Route:
    """Return the route of a server without routes; an origin takes the place of the storage."""
    if not origin:
        return Route(prefix=DEFAULT_PREFIX, storage=storage)
    return Route(prefix=DEFAULT_PREFIX, origin=origin)
