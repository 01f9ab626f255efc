"""The settings of a route: its prefix, its origin, and how it stands before that origin."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from gateway.settings.auth import BY_ORIGIN, Anonymous, RouteAuth, Visibility
from gateway.settings.log_kinds import kind_of, kinds_with
from gateway.settings.reading import files
from gateway.settings.reading.kinds import (
    Count,
    FilePath,
    Flag,
    HeaderNames,
    HealthPath,
    Origin,
    Prefix,
    QueryKeys,
    Seconds,
    Size,
    WholeSeconds,
    shown_origin,
    split_origins,
)
from gateway.settings.reading.tables import Around, Table, checks, setting

if TYPE_CHECKING:
    from gateway.settings.log_kinds.declaration import LogKind

MINUTE_S, DAY_S = 60, 24 * 3600
YEAR_S = 365 * DAY_S
LONGEST_S = 3600
GIB = 1 << 30


class Route(Table):
    """A path prefix, and where its streams live."""

    prefix: Prefix = setting(description="Path that the URLs of the route's streams start with.")
    origin: Origin = setting(
        description="Where the route's streams live: a URL, or a list of http(s) URLs with the "
        "preferred one first."
    )
    auth: RouteAuth = setting(
        (),
        description="By which credentials those who use the route's streams are known; none lets "
        "everybody read, write and delete. Without it, what auth says before all of the routes.",
    )
    anonymous: Anonymous = setting(
        (), description="What everybody may do without a credential, where the route takes any."
    )
    visibility: Visibility = setting(
        "auto",
        description="Whether shared caches may keep answers: private forbids it. auto is public "
        "where everybody may read, else private.",
    )
    conceal: Literal["on", "off"] = setting(
        "off",
        description="Whether those whom the route does not admit are told that there is no stream, "
        "with the same 404 as where there is none.",
    )
    auth_ttl: Seconds = setting(
        30.0,
        ge=1,
        le=LONGEST_S,
        description="Where auth is origin, for how long the origin's yes to a reader counts: kept "
        "answers and news reach him without asking, and longer than that after it says no he is "
        "given nothing. A HEAD of the stream with his credentials asks.",
    )
    reader_keys: Literal["on", "off"] = setting(
        "off",
        description="Whether who may read a stream of a private route is told a key, and shared "
        "caches may keep what is read by a URL that has it as rk.",
    )
    chunk_max_age: WholeSeconds = setting(
        DAY_S,
        ge=0,
        le=YEAR_S,
        description="How long caches may keep a whole chunk. Where an offset may come to mean "
        "other data, that is for any origin but file:PATH, it is 60 unless it is given. "
        "What an http(s) origin says itself counts instead, except of reads from the beginning.",
    )
    stale_while_revalidate: WholeSeconds = setting(
        300,
        ge=0,
        le=YEAR_S,
        description="How long after its max-age caches may serve an answer while they ask "
        "for a new one.",
    )
    tail_max_age: WholeSeconds = setting(
        1,
        ge=0,
        le=LONGEST_S,
        description="How long shared caches may keep an answer that reached the tail of an open "
        "stream, or was read from the beginning (-1); browsers ask again each time. A shorter time "
        "that an http(s) origin says counts instead.",
    )
    tail_directive: Literal["no-cache", "max-age=0"] = setting(
        "no-cache",
        description="How Cache-Control has browsers ask again for what shared caches keep for "
        "tail_max_age, and for the 204 of a long-poll: max-age=0 is for caches that take no-cache "
        'for "never", such as CloudFront.',
    )
    stale_if_error: WholeSeconds = setting(
        300,
        ge=0,
        le=YEAR_S,
        description="How long after its max-age an answer may be served while the origin cannot "
        "be asked.",
    )
    # A route alone is to have the cache to itself; of several each is worth what its operator says.
    cache_share: Count = setting(
        100,
        ge=1,
        le=100,
        description="Most of cache_size, in percent, that answers of this route may take.",
    )
    drop_query: QueryKeys = setting(
        ("utm_*",),
        description="Query keys that the origin is not sent and the cache does not look at; "
        "a * at the end stands for anything.",
    )
    identity_headers: HeaderNames = setting(
        (),
        description="Request headers by which the origin knows readers, besides those whose names "
        "say so, such as Authorization, Cookie, X-Api-Key, X-Session-Id and X-Tenant-Id. Readers "
        "with one share only what the origin says is public.",
    )
    drop_headers: HeaderNames = setting(
        (),
        description="Request headers that reads do not pass on to the origin, and by which "
        "readers are not told apart: Cookie, where cookies do not matter to the streams.",
    )
    no_store: Literal["keep", "ignore"] = setting(
        "keep",
        description="What a no-store of the origin does to reads of streams: keep obeys it, "
        "ignore caches them as if it were not there.",
    )
    s_maxage: Literal["keep", "share"] = setting(
        "keep",
        description="What an s-maxage of the origin means for an answer to a request with identity "
        "headers: keep gives the answer to that reader only, share gives it to all, as public "
        "does.",
    )
    connect_timeout: Seconds = setting(
        5.0, ge=0.1, le=LONGEST_S, description="How long connecting to one server may take."
    )
    response_timeout: Seconds = setting(
        30.0,
        ge=0.1,
        le=LONGEST_S,
        description="How long the origin may take until the head of its answer.",
    )
    read_timeout: Seconds = setting(
        30.0,
        ge=0.1,
        le=LONGEST_S,
        description="Longest wait for more of the body of the origin's answer.",
    )
    # Servers hold a long-poll for 20 to 60 s.
    poll_timeout: Seconds = setting(
        75.0,
        ge=0.1,
        le=LONGEST_S,
        description="How long the origin may take until the head of its answer to a long-poll, "
        "which waits there for new data.",
    )
    max_origin_requests: Count = setting(
        512,
        ge=1,
        le=1_000_000,
        description="Most requests at the origin at once, besides one long-poll for each stream "
        "that is followed.",
    )
    health_path: HealthPath = setting(
        "",
        description="Path that is requested from each server to check its health. Without one, a "
        "server that could not be reached is up again when it takes a connection, and one that "
        "was silent when it answers a request for /.",
    )
    health_interval: Seconds = setting(
        5.0, ge=0.1, le=LONGEST_S, description="Time between two health checks of a server."
    )
    tls_ca: FilePath = setting(
        "",
        description="PEM file of the authorities to trust for TLS, instead of the system's.",
    )
    tls_verify: Literal["on", "off"] = setting(
        "on", description="Whether the certificates of servers are checked."
    )

    runs: Flag = setting(
        False,
        description="Whether applications keep runs of headgate.runs below the prefix, which the "
        "console then shows.",
    )

    retention_age: WholeSeconds = setting(
        0,
        ge=0,
        le=10 * YEAR_S,
        description="How long records are kept in Redis; 0 means for ever.",
    )
    retention_size: Size = setting(
        0,
        ge=0,
        le=1024 * GIB,
        description="How much of each stream is kept in Redis; 0 means all.",
    )
    wait_replicas: Count = setting(
        0,
        ge=0,
        le=10,
        description="Replicas of Redis that must have an append before it is acknowledged.",
    )

    @checks(
        "auth_ttl",
        "stale_if_error",
        "drop_query",
        "identity_headers",
        "drop_headers",
        "no_store",
        "s_maxage",
        "response_timeout",
        "read_timeout",
        "poll_timeout",
        "max_origin_requests",
        "health_path",
        "health_interval",
    )
    @classmethod
    def _is_for_http(cls, value: object, around: Around) -> object:
        """Only what is given comes here: a default is no mistake."""
        origin = around.values.get("origin")
        if origin is not None and not split_origins(origin):
            raise ValueError(f"must be left out: {shown_origin(origin)} is no http origin")
        return value

    @checks("auth")
    @classmethod
    def _origin_can_be_asked(cls, auth: tuple[str, ...], around: Around) -> tuple[str, ...]:
        origin = around.values.get("origin")
        if "origin" in auth and origin is not None and not split_origins(origin):
            raise ValueError(
                f"must not have origin: {shown_origin(origin)} is no http origin that decides"
            )
        return auth

    @checks("conceal")
    @classmethod
    def _is_ours_to_conceal(cls, value: str, around: Around) -> str:
        if value == "on" and "origin" in (around.values.get("auth") or ()):
            raise ValueError("must be off: the origin refuses in its own words, and can conceal")
        return value

    @checks("anonymous")
    @classmethod
    def _is_ours_to_say(cls, allowed: tuple[str, ...], around: Around) -> tuple[str, ...]:
        if allowed and around.values.get("auth") == BY_ORIGIN:
            raise ValueError("must be left out: the origin decides about everybody")
        return allowed

    @checks("origin")
    @classmethod
    def _is_no_file(cls, origin: str, around: Around) -> str:
        files.check_place(origin, around.look)
        return origin

    @checks("tls_ca")
    @classmethod
    def _has_authorities(cls, path: str, around: Around) -> str:
        files.check_authorities(path, around.look)
        return path

    @checks("drop_headers")
    @classmethod
    def _are_not_known_by(cls, names: tuple[str, ...], around: Around) -> tuple[str, ...]:
        """What the origin is not sent, it cannot know readers by."""
        known_by = {name.lower() for name in around.values.get("identity_headers", ())}
        for name in names:
            if name.lower() in known_by:
                raise ValueError(f"must not have {name}, which identity_headers has: choose one")
        return names

    @checks("runs")
    @classmethod
    def _is_for_logs(cls, value: bool, around: Around) -> bool:
        origin = around.values.get("origin")
        if origin is not None and split_origins(origin):
            raise ValueError(
                f"must be left out: {origin} is no log; a Headgate there shows its runs itself"
            )
        return value

    @checks("connect_timeout", "tls_ca", "tls_verify")
    @classmethod
    def _is_for_servers(cls, value: object, around: Around) -> object:
        origin = around.values.get("origin")
        if origin is None or split_origins(origin) or kind_of(origin) in kinds_with(around.key):
            return value
        raise ValueError(f"must be left out: {shown_origin(origin)} is no server")

    @checks("retention_age", "retention_size", "wait_replicas")
    @classmethod
    def _is_for_some_logs(cls, value: object, around: Around) -> object:
        origin, kinds = around.values.get("origin"), kinds_with(around.key)
        if origin is None or kind_of(origin) in kinds:
            return value
        titles = " or ".join(kind.title for kind in kinds)
        raise ValueError(f"must be left out: {shown_origin(origin)} is no {titles}")

    def is_private(self, auth: tuple[str, ...]) -> bool:
        """Whether answers are for no shared cache, where users are known by these credentials."""
        if self.visibility == "auto":
            return bool(auth) and "read" not in self.anonymous
        return self.visibility == "private"

    @property
    def chunk_lifetime(self) -> int:
        """How long caches may keep a whole chunk, in seconds.

        Not every log keeps what an offset means, and what the offsets of other servers mean after a
        stream was made anew is theirs.
        """
        kind = self.log_kind
        if (kind is not None and kind.keeps_offsets) or "chunk_max_age" in self.given:
            return self.chunk_max_age
        return MINUTE_S

    @property
    def origins(self) -> tuple[str, ...]:
        """The http(s) servers, the preferred one first; none when the streams live here."""
        return split_origins(self.origin)

    @property
    def is_http(self) -> bool:
        """Whether the streams live on other servers of streams."""
        return bool(self.origins)

    @property
    def log_kind(self) -> LogKind | None:
        """The kind of log that has the streams; None where they are on other servers."""
        return kind_of(self.origin)
