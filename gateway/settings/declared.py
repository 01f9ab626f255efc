"""The declarations of all settings: name, type, default, unit, bounds and help."""

from __future__ import annotations

from typing import Annotated, Literal

from gateway.settings.alert_webhook import AlertSettings
from gateway.settings.arrays.access import TOKENS_KIND, USERS_KIND, AdminToken, AdminUser
from gateway.settings.arrays.jwt_issuers import ISSUERS_KIND, JwtIssuer
from gateway.settings.arrays.model_route import MODELS_KIND, ModelSettings, W, check_beside
from gateway.settings.arrays.proxy_route import PROXIES_KIND, ProxySettings
from gateway.settings.arrays.purged_cache import PURGES_KIND, PurgedCache
from gateway.settings.arrays.repeated import places, prefixes, repeated
from gateway.settings.auth import NONE, Auth, who_may_use
from gateway.settings.hosts import is_loopback
from gateway.settings.reading import files
from gateway.settings.reading.kinds import (
    ROUTES_KIND,
    Address,
    CorsOrigins,
    Count,
    FilePath,
    Hosts,
    Listen,
    LogFormat,
    LogLevel,
    Origin,
    RequestLevel,
    Seconds,
    Size,
    ValueKind,
    WholeSeconds,
    clash,
    read_json,
    split_origins,
)
from gateway.settings.reading.reload_effects import AT_ONCE, CREDENTIALS, FIXED, NEXT, SET_UP_ANEW
from gateway.settings.reading.tables import ValueContext, checks, setting
from gateway.settings.reading.units import DAY_S, GIB, HOUR_S
from gateway.settings.reading.values import Converter, Mistaken
from gateway.settings.route import Route

DEFAULT_PREFIX = "/v1/stream"
MOST_MODELS = MOST_PROXIES = 64  # each has connections of its own
MOST_PURGED = 32  # each has a task, a connection and an 8 MiB queue in every worker


class Settings(AlertSettings):
    """The settings of a gateway."""

    checks_defaults = True

    listen: Listen = setting(
        Address("127.0.0.1", 4437), description="Address of the listener for streams.", reload=FIXED
    )
    admin_users: Annotated[tuple[AdminUser, ...], Converter(read_json), ValueKind(USERS_KIND)] = (
        setting(
            (),
            description="Users who sign in to the admin listener with a password.",
            reload="yes; who is changed or removed has to sign in again",
        )
    )
    admin_tokens: Annotated[
        tuple[AdminToken, ...], Converter(read_json), ValueKind(TOKENS_KIND)
    ] = setting(
        (),
        description="Scripts that use the admin listener with a bearer token.",
        reload=AT_ONCE,
    )
    admin: Listen = setting(
        Address("127.0.0.1", 4439),
        description="Address of the listener for the console, health checks and metrics. "
        "Everybody who reaches it is an operator while there are no admin_users and "
        "admin_tokens, so it is then on loopback.",
        reload=FIXED,
    )
    admin_viewers_see_clients: Literal["on", "off"] = setting(
        "off",
        description="Whether viewers of the console see the addresses and user agents of clients, "
        "as operators do.",
        reload=AT_ONCE,
    )
    origin: Origin = setting(
        "file:./headgate-data",
        description=f"Where the streams of the only route, {DEFAULT_PREFIX}, live; "
        "not together with routes. Of several http(s) URLs the first is preferred.",
        reload=SET_UP_ANEW,
    )
    routes: Annotated[tuple[Route, ...], Converter(read_json), ValueKind(ROUTES_KIND)] = setting(
        (),
        description="Path prefixes and their origins; the longest matching prefix wins.",
        reload="yes; live reads of a removed route end after an event",
    )
    models: Annotated[tuple[ModelSettings, ...], Converter(read_json), ValueKind(MODELS_KIND)] = (
        setting(
            (),
            longest=MOST_MODELS,
            description="Path prefixes of model providers, whose answers become streams.",
            reload="yes; running answers of a changed or removed one may go on for shutdown_grace",
        )
    )
    proxies: Annotated[tuple[ProxySettings, ...], Converter(read_json), ValueKind(PROXIES_KIND)] = (
        setting(
            (),
            longest=MOST_PROXIES,
            description="Path prefixes at which responses of other servers become streams.",
            reload="yes; running ones of a changed or removed one may go on for shutdown_grace",
        )
    )
    auth: Auth = setting(
        (),
        description="Credentials that clients of streams need, on routes without their own auth; "
        "none lets everybody read, write and delete. Required if listen is no loopback "
        "address.",
        reload="yes; live reads of these routes end after an event, and are authorized again",
    )
    purges: Annotated[tuple[PurgedCache, ...], Converter(read_json), ValueKind(PURGES_KIND)] = (
        setting(
            (),
            longest=MOST_PURGED,
            description="Caches in front, from which a stream is purged when it is deleted, has "
            "expired or is created again.",
            reload="yes; what waits for a cache that is removed is purged first",
        )
    )
    tokens_file: FilePath = setting(
        "",
        description="TOML file of static tokens with their grants, and of revocations; it is read "
        "again when it changes. A relative path begins at the working directory.",
        reload=CREDENTIALS,
    )
    jwt_issuers: Annotated[tuple[JwtIssuer, ...], Converter(read_json), ValueKind(ISSUERS_KIND)] = (
        setting((), longest=16, description="Issuers whose JWTs are accepted.", reload=CREDENTIALS)
    )
    keys_file: FilePath = setting(
        "",
        description="JSON Web Key Set of the keys that sign and verify read tokens, which headgate "
        "token keys makes; it is read again when it changes. A relative path begins at the working "
        "directory.",
        reload=CREDENTIALS,
    )
    # A read token in a link or cookie works for anybody who gets hold of it, so it lasts briefly.
    read_token_max_age: WholeSeconds = setting(
        900,
        ge=1,
        le=DAY_S,
        description="How long a read token may last at most.",
        reload=NEXT,
    )
    workers: Count = setting(
        1, ge=1, le=1024, description="Processes that serve the streams on one port.", reload=FIXED
    )
    # In an hour NTP can correct the clock, and an operator can see the log line.
    expiry_grace: Seconds = setting(
        3600.0,
        ge=0,
        le=30 * DAY_S,
        description="How long the data of expired streams is kept while the clock may be wrong: "
        "when it jumped forward by more than this, at once or between the last commit and a start. "
        "Streams of http(s) origins are not affected.",
        reload=FIXED,
    )
    long_poll_timeout: Seconds = setting(
        20.0,
        ge=0.1,
        le=300,
        description="How long a long-poll at the tail waits for data.",
        reload="yes, for polls that begin then",
    )
    sse_heartbeat: Seconds = setting(
        15.0,
        ge=0.1,
        le=HOUR_S,
        description="How often an idle SSE response gets a comment, so that proxies keep the "
        "connection open.",
        reload="yes, for open responses too",
    )
    # Clients stop using SSE after a few connections that end within their first second.
    sse_max_age: Seconds = setting(
        60.0,
        ge=1,
        le=DAY_S,
        description="How long an SSE response lasts before the client has to reconnect.",
        reload="yes, for responses that begin then",
    )
    cache_size: Size = setting(
        256 << 20,
        ge=0,
        le=1024 * GIB,
        description="Memory for cached answers; 0 means no cache.",
        reload="yes; what no longer fits is dropped, the least used first",
    )
    header_timeout: Seconds = setting(
        10.0,
        ge=0.1,
        le=HOUR_S,
        description="How long a client may take to send the head of a request.",
        reload=NEXT,
    )
    body_timeout: Seconds = setting(
        30.0,
        ge=0.1,
        le=HOUR_S,
        description="Longest wait for more of a request's body, and for a client to receive more "
        "of its response.",
        reload=NEXT,
    )
    min_body_rate: Size = setting(
        100,
        ge=0,
        le=GIB,
        description="Lowest rate of a request's body, in bytes a second, after the first 10 s of "
        "waiting, or after body_timeout if that is less; 0 means no limit.",
        reload=NEXT,
    )
    keepalive_timeout: Seconds = setting(
        75.0, ge=0.1, le=HOUR_S, description="How long a connection may stay idle.", reload=AT_ONCE
    )
    shutdown_grace: Seconds = setting(
        10.0,
        ge=0,
        le=HOUR_S,
        description="How long requests may go on after SIGTERM.",
        reload="yes, for the next stop",
    )
    # While they are ended, those that come back wait for the next process: so it is short.
    drain_time: Seconds = setting(
        1.5,
        ge=0,
        le=HOUR_S,
        description="Time over which the live readers of a stream are disconnected before a stop, "
        "at least a thousand a second, so that they do not all reconnect at once.",
        reload="yes, for the next stop",
    )
    hosts: Hosts = setting(
        (),
        description="Values of Host that are accepted; requests with others are refused. Empty "
        "accepts any. Loopback names, and the host of listen, are always accepted.",
        reload=NEXT,
    )
    cors_origins: CorsOrigins = setting(
        ("*",),
        description="Web origins whose pages may read the streams; * means all. They may write, "
        "too, with a token in Authorization that the route accepts.",
        reload=NEXT,
    )
    write_origins: CorsOrigins = setting(
        (),
        description="Web origins whose pages may write without a token in Authorization, besides "
        "those of the host itself; * means all. cors_origins has to name them, too.",
        reload=NEXT,
    )
    log_level: LogLevel = setting(
        "info", description="Least severe level that is logged.", reload=AT_ONCE
    )
    log_format: LogFormat = setting(
        "auto",
        description="Shape of a log line; auto means console on a terminal, else json.",
        reload=FIXED,
    )
    log_requests: RequestLevel = setting(
        "debug",
        description="Level at which each request writes one line; off means never.",
        reload=AT_ONCE,
    )

    @checks("origin")
    @classmethod
    def _check_place(cls, origin: str, context: ValueContext) -> str:
        if isinstance(context.look, files.Look) and context.look.only_route:
            files.check_place(origin, context.look)
        return origin

    @checks("routes")
    @classmethod
    def _check_routes_differ(
        cls, routes: tuple[Route, ...], _around: ValueContext
    ) -> tuple[Route, ...]:
        twice = [*repeated(routes, "prefix", prefixes), *repeated(routes, "origin", places)]
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

    @checks("jwt_issuers")
    @classmethod
    def _check_issuers_differ(
        cls, issuers: tuple[JwtIssuer, ...], _around: ValueContext
    ) -> tuple[JwtIssuer, ...]:
        twice = [*repeated(issuers, "issuer", lambda one: (one.issuer,), "jwt_issuers")]
        if twice:
            raise Mistaken(twice)
        return issuers

    @checks("workers")
    @classmethod
    def _check_streams_can_be_shared(cls, workers: int, context: ValueContext) -> int:
        """Raise ValueError if several processes cannot serve the same streams."""
        for route in _routes_in(context) if workers > 1 else ():
            if why_alone := route.why_alone():
                raise ValueError(f"must be 1 while {why_alone}")
        return workers

    @checks("admin_users", "admin_tokens")
    @classmethod
    def _check_names_differ(
        cls, admitted: tuple[AdminUser | AdminToken, ...], context: ValueContext
    ) -> tuple[AdminUser | AdminToken, ...]:
        twice = [*repeated(admitted, "name", lambda one: (one.name,), str(context.key))]
        if twice:
            raise Mistaken(twice)
        return admitted

    @checks("admin")
    @classmethod
    def _check_admin_port(cls, admin: Address, context: ValueContext) -> Address:
        listen = context.values.get("listen")
        if listen is not None and clash(listen, admin):
            raise ValueError(f"must not share the port of listen, which is {listen}")
        return admin

    @checks("admin")
    @classmethod
    def _check_admin_is_guarded(cls, admin: Address, context: ValueContext) -> Address:
        """Raise ValueError if the console is open to the network without credentials."""
        credentials = [context.values.get(key) for key in ("admin_users", "admin_tokens")]
        if not any(credentials) and None not in credentials and not is_loopback(admin.host):
            raise ValueError(
                "must be on loopback, such as 127.0.0.1:4439, while there are no admin_users "
                "and no admin_tokens: everybody who reaches it would be an operator"
            )
        return admin

    @checks("auth")
    @classmethod
    def _check_open_streams_are_intended(
        cls, auth: tuple[str, ...], context: ValueContext
    ) -> tuple[str, ...]:
        """Raise ValueError if streams are open to the network without an explicit auth."""
        listen, routes = context.values.get("listen"), context.values.get("routes")
        if listen is not None and is_loopback(listen.host) and context.values.get("front"):
            listen = context.values.get("front_listen")
        if auth or listen is None or routes is None or is_loopback(listen.host):
            return auth
        written = *context.values.get("models", ()), *context.values.get("proxies", ())
        silent = [one.prefix for one in (*routes, *written) if not one.auth]
        if routes and not silent:
            return auth
        raise ValueError(who_may_use(" and ".join(silent) or DEFAULT_PREFIX, listen))

    @checks("write_origins")
    @classmethod
    def _check_writers_may_read(
        cls, origins: tuple[str, ...], context: ValueContext
    ) -> tuple[str, ...]:
        readers = context.values.get("cors_origins", ("*",))
        for origin in origins:
            if "*" not in readers and origin not in readers:
                raise ValueError(f"must not name {origin}, which cors_origins does not name")
        return origins

    @property
    def route_table(self) -> tuple[Route, ...]:
        """The routes in force, the longest prefix first."""
        routes = self.routes or (_only_route(self.origin, self.subscriptions),)
        return tuple(sorted(routes, key=lambda route: -len(route.prefix)))

    @property
    def written(self) -> tuple[ModelSettings | ProxySettings, ...]:
        """The routes that write streams of others: those to providers, and proxies."""
        return (*self.models, *self.proxies)

    @property
    def guarded(self) -> tuple[Route | ModelSettings | ProxySettings, ...]:
        """The routes in force, and those that write streams: each has a prefix and an auth."""
        return (*self.route_table, *self.written)

    def auth_of(self, route: Route | ModelSettings | ProxySettings) -> tuple[str, ...]:
        """Return the kinds of credentials that a route accepts; empty if it needs none."""
        kinds = route.auth or self.auth
        return () if kinds == NONE else kinds


def _routes_in(context: ValueContext) -> tuple[Route, ...]:
    """Return the routes in force, for the check of a later setting; none if they have a mistake."""
    routes, origin = context.values.get("routes"), context.values.get("origin")
    stored = str(context.values.get("subscriptions", ""))
    return routes or (() if origin is None or routes is None else (_only_route(origin, stored),))


def _only_route(origin: str, subscriptions: str) -> Route:
    stored = {"subscriptions": subscriptions} if subscriptions and split_origins(origin) else {}
    return Route(prefix=DEFAULT_PREFIX, origin=origin, **stored)
