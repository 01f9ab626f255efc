"""The settings of a route: its prefix, its origin, and how its requests are handled."""

from __future__ import annotations

from typing import Literal

from headgate_gateway.settings.auth import Anonymous, Visibility  # noqa: TC001 - read as type hints
from headgate_gateway.settings.log_kinds import kind_of, kinds_with
from headgate_gateway.settings.origin_auth import OriginAuthChecks, RouteAuth
from headgate_gateway.settings.reading import files
from headgate_gateway.settings.reading.kinds import (
    Count,
    FilePath,
    HeaderNames,
    HealthPath,
    QueryKeys,
    Seconds,
    WholeSeconds,
    redacted_origin,
)
from headgate_gateway.settings.reading.reload_effects import (
    JUDGED_ANEW,
    NEXT,
    RENDERED_ANEW,
    SET_UP_ANEW,
)
from headgate_gateway.settings.reading.tables import ValueContext, checks, setting
from headgate_gateway.settings.reading.units import DAY_S, HOUR_S, MINUTE_S, YEAR_S


class Route(OriginAuthChecks):
    """A path prefix with the origin of its streams."""

    auth: RouteAuth = setting(
        (),
        description="Credentials that clients of the route's streams need; none lets everybody "
        "read, write and delete. By default the auth of all routes.",
        reload=JUDGED_ANEW,
    )
    anonymous: Anonymous = setting(
        (),
        description="Operations that need no credential, on a route that otherwise needs one.",
        reload=JUDGED_ANEW,
    )
    visibility: Visibility = setting(
        "auto",
        description="Whether shared caches may store responses: private forbids it. auto is public "
        "where everybody may read, else private.",
        reload=JUDGED_ANEW,
    )
    conceal: Literal["on", "off"] = setting(
        "off",
        description="Whether clients that the route does not admit get the 404 of a stream that "
        "does not exist.",
        reload=JUDGED_ANEW,
    )
    reader_keys: Literal["on", "off"] = setting(
        "off",
        description="Whether readers of a private route get a key; shared caches may then store "
        "responses to URLs with the key as rk.",
        reload=JUDGED_ANEW,
    )
    chunk_max_age: WholeSeconds = setting(
        DAY_S,
        ge=0,
        le=YEAR_S,
        description="How long caches may store a whole chunk. Where an offset may come to mean "
        "other data, that is anywhere but in file:PATH, the default is 60. What an http(s) "
        "origin says itself takes precedence, except for reads from the beginning.",
        reload=RENDERED_ANEW,
    )
    stale_while_revalidate: WholeSeconds = setting(
        300,
        ge=0,
        le=YEAR_S,
        description="How long after its max-age caches may serve a stale response while they "
        "revalidate it.",
        reload=RENDERED_ANEW,
    )
    tail_max_age: WholeSeconds = setting(
        1,
        ge=0,
        le=HOUR_S,
        description="How long shared caches may store a response that reached the tail of an open "
        "stream, or was read from the beginning (-1) of one; browsers revalidate each time. A "
        "shorter time that an http(s) origin gives takes precedence.",
        reload=RENDERED_ANEW,
    )
    closed_max_age: WholeSeconds = setting(
        MINUTE_S,
        ge=0,
        le=MINUTE_S,  # for so long readers may get a deleted stream that a new one has replaced
        description="How long shared caches may store a read from the beginning of a closed "
        "stream: all of it, or its first whole chunk; browsers revalidate each time. For file:PATH "
        "a cache whose purges succeed may store it for chunk_max_age. The default is not above "
        "chunk_max_age, and for memory: and http(s) origins it is tail_max_age.",
        reload=RENDERED_ANEW,
    )
    tail_directive: Literal["no-cache", "max-age=0"] = setting(
        "no-cache",
        description="How Cache-Control makes browsers revalidate what shared caches store for "
        "tail_max_age, and the 204 of a long-poll: max-age=0 is for caches that do not store "
        "no-cache responses at all, such as CloudFront.",
        reload=RENDERED_ANEW,
    )
    stale_if_error: WholeSeconds = setting(
        300,
        ge=0,
        le=YEAR_S,
        description="How long after its max-age a stale response may be served while the origin "
        "cannot be reached.",
        reload=RENDERED_ANEW,
    )
    drop_query: QueryKeys = setting(
        ("utm_*",),
        description="Query keys that are not sent to the origin and are no part of the cache key; "
        "a * at the end matches anything.",
        reload=SET_UP_ANEW,
    )
    identity_headers: HeaderNames = setting(
        (),
        description="Request headers that identify readers to the origin, besides those whose "
        "names say so, such as Authorization, Cookie, X-Api-Key, X-Session-Id and X-Tenant-Id. "
        "Readers with such a header share only responses that the origin marks as public.",
        reload=SET_UP_ANEW,
    )
    drop_headers: HeaderNames = setting(
        (),
        description="Request headers of reads that are not sent to the origin and do not tell "
        "readers apart, such as Cookie where the streams do not depend on cookies.",
        reload=SET_UP_ANEW,
    )
    response_timeout: Seconds = setting(
        30.0,
        ge=0.1,
        le=HOUR_S,
        description="Longest wait for the origin: for the head of a response, 45 s longer for that "
        "of a long-poll, and for more of a body.",
        reload=SET_UP_ANEW,
    )
    max_origin_requests: Count = setting(
        512,
        ge=1,
        le=1_000_000,
        description="Most requests to the origin at once, besides one long-poll for each followed "
        "stream.",
        reload=NEXT,
    )
    health_path: HealthPath = setting(
        "",
        description="Path that is requested from each server to check its health; a status of 400 "
        "or more means down. Without it, several servers are probed every 0.25 s, and any response "
        "to /healthz will do; a server that is alone is checked only while it is down.",
        reload=SET_UP_ANEW,
    )
    health_interval: Seconds = setting(
        5.0,
        ge=0.1,
        le=HOUR_S,
        description="Longest time between two health checks of a server.",
        reload=SET_UP_ANEW,
    )
    tls_ca: FilePath = setting(
        "",
        description="PEM file of the certificate authorities to trust for TLS, instead of the "
        "system's.",
        reload=SET_UP_ANEW,
    )

    @checks(
        "stale_if_error",
        "drop_query",
        "identity_headers",
        "drop_headers",
        "response_timeout",
        "max_origin_requests",
        "health_path",
        "health_interval",
    )
    @classmethod
    def _check_origin_is_http(cls, value: object, context: ValueContext) -> object:
        """Raise ValueError if the streams are in storage; defaults are not checked."""
        if storage := context.values.get("storage"):
            raise ValueError(f"must be left out: {redacted_origin(storage)} is not an http origin")
        return value

    @checks("tls_ca")
    @classmethod
    def _check_authorities(cls, path: str, context: ValueContext) -> str:
        files.check_authorities(path, context.look)
        return path

    @checks("drop_headers")
    @classmethod
    def _check_no_identity_header(
        cls, names: tuple[str, ...], context: ValueContext
    ) -> tuple[str, ...]:
        """Raise ValueError if a dropped header is to identify readers to the origin."""
        known_by = {name.lower() for name in context.values.get("identity_headers", ())}
        for name in names:
            if name.lower() in known_by:
                raise ValueError(f"must not have {name}, which identity_headers has: choose one")
        return names

    @checks("tls_ca")
    @classmethod
    def _check_origin_is_server(cls, value: object, context: ValueContext) -> object:
        storage = context.values.get("storage")
        if not storage or kind_of(storage) in kinds_with(context.key):
            return value
        raise ValueError(f"must be left out: {redacted_origin(storage)} is not a server")

    def is_private(self, auth: tuple[str, ...]) -> bool:
        """Return whether shared caches must not store responses, if `auth` is in force."""
        if self.visibility == "auto":
            return bool(auth) and "read" not in self.anonymous
        return self.visibility == "private"

    @property
    def chunk_lifetime(self) -> int:
        """The time for which caches may store a whole chunk, in seconds.

        It is chunk_max_age only if that is given, or if offsets of the log never come to mean other
        data. They may in some logs, and on other servers when a stream is created again.
        """
        if self.keeps_offsets or "chunk_max_age" in self.explicit_keys:
            return self.chunk_max_age
        return MINUTE_S

    @property
    def keeps_offsets(self) -> bool:
        """True if an offset never means other data, as streams end by requests and expiry only."""
        return self.log_kind is not None and self.log_kind.keeps_offsets

    @property
    def closed_lifetime(self) -> int:
        """The time for which shared caches may store the beginning of a closed stream, in seconds.

        It is closed_max_age if that is given. Else only streams that outlive the process have it,
        and no longer than their chunks.
        """
        if "closed_max_age" in self.explicit_keys:
            return self.closed_max_age
        if self.log_kind is None or self.log_kind.lasts:
            return self.tail_max_age
        return min(self.closed_max_age, self.chunk_lifetime)
