"""The settings of where a route's streams are, and of those in storage."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from typing_extensions import override

from headgate_gateway.settings.log_kinds import KINDS, kind_of, kinds_with
from headgate_gateway.settings.reading import files
from headgate_gateway.settings.reading.kinds import (
    STORAGE_KIND,
    Count,
    FilePath,
    Flag,
    Origin,
    Prefix,
    Size,
    Storage,
    WholeSeconds,
    redacted_origin,
    split_origins,
)
from headgate_gateway.settings.reading.reload_effects import AT_ONCE, SET_UP_ANEW
from headgate_gateway.settings.reading.tables import Table, ValueContext, checks, setting
from headgate_gateway.settings.reading.units import GIB, YEAR_S
from headgate_gateway.settings.reading.values import REQUIRED, Mistake, Mistaken

if TYPE_CHECKING:
    from headgate_gateway.settings.log_kinds.declaration import LogKind

# The largest values of retention and lifetimes, for a route or for one stream.
LONGEST_LIFETIME_S = 10 * YEAR_S
MOST_KEPT_BYTES = 1024 * GIB
MOST_KEPT_MESSAGES = 1_000_000_000


class RouteOrigin(Table):
    """A path prefix, and where its streams are."""

    prefix: Prefix = setting(
        description="Path that the URLs of the route's streams start with.",
        reload="yes; it is another route then",
    )
    storage: Storage = setting(
        "",
        description="Where this gateway stores the route's streams itself. A route has either "
        "this or an origin.",
        reload=SET_UP_ANEW,
    )
    origin: Origin = setting(
        "",
        description="Servers that have the route's streams: a URL, or a list with the preferred "
        "one first.",
        reload=SET_UP_ANEW,
    )

    @checks("storage")
    @classmethod
    def _check_storage(cls, storage: str, context: ValueContext) -> str:
        files.check_place(storage, context.look)
        return storage

    @checks("origin")
    @classmethod
    def _check_is_only_place(cls, origin: str, context: ValueContext) -> str:
        if origin and (storage := context.values.get("storage")):
            raise ValueError(f"must be left out beside storage, {redacted_origin(storage)}")
        return origin

    @override
    def check_whole(self) -> None:
        if not self.storage and not self.origin:
            must = f"must be {STORAGE_KIND}, unless the route has an origin"
            raise Mistaken([Mistake(("storage",), "missing", REQUIRED, must)])

    @property
    def location(self) -> str:
        """The place of the streams: the storage, or the origin."""
        return self.storage or self.origin

    @property
    def origins(self) -> tuple[str, ...]:
        """The http(s) servers, the preferred one first; none if the gateway stores the streams."""
        return split_origins(self.origin)

    @property
    def is_http(self) -> bool:
        """True when the streams are on http(s) servers."""
        return bool(self.origin)

    @property
    def log_kind(self) -> LogKind | None:
        """The kind of log that has the streams; None if they are on http(s) servers."""
        return kind_of(self.storage)


class LogSettings(RouteOrigin):
    """The settings of a route whose streams are in storage."""

    runs: Flag = setting(
        False,
        description="Whether applications store runs of the library headgate.runs below the "
        "prefix; the console then shows them.",
        reload=AT_ONCE,
    )
    mcp_events: Flag = setting(
        False,
        description="Whether hosts of MCP poll for events of the streams at /mcp below the "
        "prefix, where no stream can be then.",
        reload=AT_ONCE,
    )
    mcp_events_file: FilePath = setting(
        "",
        description="TOML file of the event types that mcp_events offers. Empty is one type, "
        "stream.appended, of all streams.",
        reload="yes, at once; streams of a type that is not there any more end",
    )
    listing: Literal["on", "off"] = setting(
        "off",
        description="Whether clients with a token that permits to read all of them get the names "
        "of streams, at /__ds/streams below the prefix.",
        reload=AT_ONCE,
    )
    retention_age: WholeSeconds = setting(
        0,
        ge=0,
        le=LONGEST_LIFETIME_S,
        description="How long records are kept; 0 means for ever.",
        reload="yes, at each stream's next append",
    )
    retention_size: Size = setting(
        0,
        ge=0,
        le=MOST_KEPT_BYTES,
        description="How much of each stream is kept; 0 means all.",
        reload="yes, at each stream's next append",
    )
    retention_messages: Count = setting(
        0,
        ge=0,
        le=MOST_KEPT_MESSAGES,
        description="How many messages of each stream are kept; 0 means all. An append is one "
        "message, except in JSON streams, where it may bring several.",
        reload="yes, at each stream's next append",
    )
    default_ttl: WholeSeconds = setting(
        0,
        ge=0,
        le=LONGEST_LIFETIME_S,
        description="Stream-TTL of a stream whose creation names no lifetime; 0 means that it "
        "lives for ever, or for max_ttl.",
        reload="yes, for streams that are created then",
    )
    max_ttl: WholeSeconds = setting(
        0,
        ge=0,
        le=LONGEST_LIFETIME_S,
        description="Longest lifetime with which a stream may be created: a longer Stream-TTL or "
        "Stream-Expires-At gets 400; 0 means no limit.",
        reload="yes, for streams that are created then",
    )
    max_storage_size: Size = setting(
        0,
        ge=0,
        le=MOST_KEPT_BYTES,
        description="About how many bytes the route's streams may take in memory or in the data "
        "file; beyond that, creations and appends get 507. 0 means no limit.",
        reload="yes, after the next commit",
    )
    wait_replicas: Count = setting(
        0,
        ge=0,
        le=10,
        description="How many replicas of Redis must have an append before it is acknowledged.",
        reload=SET_UP_ANEW,
    )

    def why_alone(self) -> str | None:
        """Return why one process must serve the streams alone; None if several may."""
        kind = self.log_kind
        if kind is None or kind.is_shared:
            return None
        others = ", ".join(one.title for one in KINDS.values() if one.is_shared)
        return (
            f"streams live in {redacted_origin(self.storage)}, as {kind.why_alone}; only streams "
            f"in {others} or at http(s) origins may have more"
        )

    @checks("runs", "mcp_events", "mcp_events_file", "listing")
    @classmethod
    def _check_origin_is_log(cls, value: object, context: ValueContext) -> object:
        _check_is_log(context, "set it in the Headgate that has the streams")
        return value

    @checks("retention_age", "retention_size", "retention_messages", "default_ttl", "max_ttl")
    @classmethod
    def _check_log_limits(cls, value: object, context: ValueContext) -> object:
        _check_is_log(context, "the server there decides what it keeps")
        return value

    @checks("max_ttl")
    @classmethod
    def _check_max_ttl(cls, value: int, context: ValueContext) -> int:
        default = context.values.get("default_ttl", 0)
        if value and value < default:
            raise ValueError(f"must not be shorter than default_ttl, which is {default}")
        return value

    @checks("max_storage_size", "wait_replicas")
    @classmethod
    def _check_log_kind(cls, value: object, context: ValueContext) -> object:
        kinds, where = kinds_with(context.key), _location(context)
        if not where or kind_of(where) in kinds:
            return value
        titles = " or ".join(kind.title for kind in kinds)
        raise ValueError(f"must be left out: {redacted_origin(where)} is not a {titles}")


def _check_is_log(context: ValueContext, instead: str) -> None:
    """Raise ValueError if a server has the streams: `instead` says what that does by itself."""
    if origin := context.values.get("origin"):
        raise ValueError(f"must be left out: {redacted_origin(origin)} is not a storage; {instead}")


def _location(context: ValueContext) -> str:
    """Return where a route's streams are, for the check of a later setting; "" if unknown."""
    return context.values.get("storage") or context.values.get("origin") or ""
