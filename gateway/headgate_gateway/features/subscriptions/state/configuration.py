"""The configuration of a subscription, as clients write it, in its one normalised form."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Literal, get_args

import msgspec

from headgate.json_values import NOT_JSON
from headgate_gateway.errors import BadRequest
from headgate_gateway.features.subscriptions.errors import invalid
from headgate_gateway.features.subscriptions.state.patterns import (
    StreamPattern,
    pattern_of,
    stream_name,
)

if TYPE_CHECKING:
    from collections.abc import Set as AbstractSet

Kind = Literal["webhook", "pull-wake"]

DEFAULT_LEASE_MS = 30_000
LEASES_MS = range(1_000, 10 * 60_000 + 1)
LONGEST_DESCRIPTION = 1_024  # characters; it is for people
LONGEST_BODY = 1 << 20  # bytes of a request: 10,000 names of 100 bytes
LONGEST_ID = 256  # bytes of an id as it stands in the path
LONGEST_TOLD = 100  # characters of a name in an error
MOST_JUDGED = 20  # unknown members that are compared with the known ones: a body may have 100,000
CLOSE = 0.8  # likeness of a misspelt name to the right one: `lease_ttl` has 0.86, `stream` 0.92

MEMBERS = frozenset(
    ("type", "pattern", "streams", "webhook", "wake_stream", "lease_ttl_ms", "description")
)


class SubscriptionConfiguration(msgspec.Struct, frozen=True, kw_only=True):
    """The configuration of a subscription; `streams` are sorted, and each is there once."""

    type: Kind
    pattern: str | None
    streams: tuple[str, ...]
    webhook_url: str | None
    wake_stream: str | None
    lease_ttl_ms: int
    description: str | None

    @property
    def lease_s(self) -> float:
        """The lease in seconds."""
        return self.lease_ttl_ms / 1000

    @property
    def parsed_pattern(self) -> StreamPattern | None:
        """The pattern by its segments, or None."""
        return None if self.pattern is None else pattern_of(self.pattern)

    def read_paths(self, prefix: str) -> list[str]:
        """Return the paths that a subscriber must be permitted to read."""
        pattern = self.parsed_pattern
        paths = [] if pattern is None else pattern.read_paths(prefix)
        return paths + [f"{prefix}/{name}" for name in self.streams]


def parse_configuration(body: bytes, prefix: str) -> SubscriptionConfiguration:
    """Return the configuration in a body. Raises SubscriptionRefused; the URL is not checked.

    `prefix` is that of the route, with which no name begins.
    """
    members = json_object(body, MEMBERS)
    kind = members.get("type")
    if kind not in get_args(Kind):
        raise invalid('type must be "webhook" or "pull-wake"')
    pattern = _text(members, "pattern")
    streams = names_in(members, prefix, required=False)
    if not pattern and not streams:
        raise invalid("at least one of pattern and streams must be there")
    lease_ms = members.get("lease_ttl_ms", DEFAULT_LEASE_MS)
    if type(lease_ms) is not int or lease_ms not in LEASES_MS:
        raise invalid("lease_ttl_ms must be a whole number from 1000 to 600000")
    description = _text(members, "description")
    if description is not None and len(description) > LONGEST_DESCRIPTION:
        raise invalid(f"description has over {LONGEST_DESCRIPTION} characters")
    try:
        return SubscriptionConfiguration(
            type="webhook" if kind == "webhook" else "pull-wake",
            pattern=pattern_of(_below(pattern, prefix)).text if pattern else None,
            streams=streams,
            webhook_url=_webhook_url(members) if kind == "webhook" else None,
            wake_stream=_wake_stream(members, prefix) if kind == "pull-wake" else None,
            lease_ttl_ms=lease_ms,
            description=description,
        )
    except BadRequest as refusal:
        raise invalid(refusal.detail) from None


def json_object(body: bytes, known: AbstractSet[str]) -> dict[str, object]:
    """Return the object in a body, which may be empty. Raises SubscriptionRefused.

    A member that is not `known` is ignored, unless it can only be the misspelling of one that is.
    """
    if len(body) > LONGEST_BODY:
        raise invalid(f"the body is over {LONGEST_BODY} bytes")
    try:
        members = msgspec.json.decode(body or b"{}", type=dict[str, object])
    except NOT_JSON:
        raise invalid("the body must be a JSON object") from None
    if not members.keys() <= known:
        _check_spelling(members, known)
    return members


def _check_spelling(members: dict[str, object], known: AbstractSet[str]) -> None:
    """Raise SubscriptionRefused for an unknown member that resembles a known one that is missing.

    All others pass: a client may speak a later version of the protocol.
    """
    import difflib  # imported only for a member that is not known

    missing = {_plain(name): name for name in sorted(known - members.keys())}
    unknown = (name for name in members if name not in known and len(name) <= LONGEST_TOLD)
    for name in islice(unknown, MOST_JUDGED):
        for found in difflib.get_close_matches(_plain(name), missing, n=1, cutoff=CLOSE):
            raise invalid(f"there is no member {name}; the nearest is {missing[found]}")


def _plain(name: str) -> str:
    """Return a member's name by its letters, so that `leaseTtlMs` is `lease_ttl_ms`."""
    return name.lower().replace("_", "").replace("-", "")


def names_in(members: dict[str, object], prefix: str, *, required: bool = True) -> tuple[str, ...]:
    """Return the normalised `streams` of a body, sorted. Raises SubscriptionRefused."""
    streams = members.get("streams")
    if streams is None and not required:
        return ()
    if not isinstance(streams, list) or (required and not streams):
        raise invalid("streams must be an array of names of streams")
    return tuple(sorted({check_name(name, prefix) for name in streams}))


def check_name(name: object, prefix: str = "") -> str:
    """Return the canonical name of a stream below `prefix`. Raises SubscriptionRefused."""
    if not isinstance(name, str):
        raise invalid("streams must have only names of streams")
    try:
        return stream_name(_below(name, prefix))
    except BadRequest as refusal:
        raise invalid(refusal.detail) from None


def _below(name: str, prefix: str) -> str:
    """Return a name or pattern as it is. Raises BadRequest if it is a path or a URL.

    As a name it would be found below the prefix once more, where there is no stream.
    """
    if name.startswith(("http://", "https://")):
        raise BadRequest(f"{name[:LONGEST_TOLD]} is a URL: write the name below {prefix or '/'}")
    if prefix and name.startswith(f"{prefix}/"):
        inner = name[len(prefix) + 1 :][:LONGEST_TOLD]
        raise BadRequest(f"names begin below {prefix}: write {inner}")
    return name


def _text(members: dict[str, object], key: str) -> str | None:
    value = members.get(key)
    if value is not None and not isinstance(value, str):
        raise invalid(f"{key} must be a text")
    return value


def _webhook_url(members: dict[str, object]) -> str:
    webhook = members.get("webhook")
    url = webhook.get("url") if isinstance(webhook, dict) else None
    if not isinstance(url, str) or not url:
        raise invalid("a webhook subscription needs webhook.url")
    return url


def _wake_stream(members: dict[str, object], prefix: str) -> str:
    name = _text(members, "wake_stream")
    if not name:
        raise invalid("a pull-wake subscription needs wake_stream")
    return check_name(name, prefix)
