"""The operations on a stream, those that a request needs, and grants of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, cast
from urllib.parse import quote

from headgate_gateway.protocol.http.header_names import FORKED_FROM
from headgate_gateway.protocol.http.paths import canonical_path
from headgate_gateway.protocol.requests import is_closing
from headgate_gateway.settings.grants import BELOW, CLAIM, OPERATIONS, Operation, check_pattern

if TYPE_CHECKING:
    from collections.abc import Mapping


__all__ = ["BELOW", "OPERATIONS", "READ", "Grant", "Need", "Operation", "needs"]

READ: frozenset[Operation] = frozenset({"read"})
SAFE = frozenset({"GET", "HEAD", "OPTIONS"})  # methods that change nothing
_BY_METHOD: dict[str, frozenset[Operation]] = {
    "GET": READ,
    "HEAD": READ,
    "OPTIONS": READ,
    "POST": frozenset({"append"}),
    "PUT": frozenset({"create"}),
    "DELETE": frozenset({"delete"}),
}
# An HTTP origin may know methods that the protocol does not have, and these may change anything.
_UNKNOWN: frozenset[Operation] = OPERATIONS


class Grant(NamedTuple):
    """Operations on the stream at a canonical path, or on all below it with `/*` at the end."""

    streams: str
    operations: frozenset[Operation]

    def covers(self, path: str) -> bool:
        """Return whether the grant covers the stream at a canonical path, compared byte by byte."""
        pattern = self.streams
        if pattern.endswith(BELOW):
            return path.startswith(pattern[:-1]) and len(path) > len(pattern) - 1
        return path == pattern


class Need(NamedTuple):
    """The operations on one stream that a request needs; a fork has two needs.

    `query` is that of the request, without the token: an origin, or a signature, may decide by it.
    """

    path: str
    operations: frozenset[Operation]
    query: str = ""
    method: str = "GET"


def needs(method: str, path: str, headers: Mapping[str, str], query: str = "") -> tuple[Need, ...]:
    """Return what a request for a canonical path needs. Raises BadRequest if a fork names no path.

    A fork reads its source (PROTOCOL.md section 4.2), so it needs `read` there.
    """
    operations = _BY_METHOD.get(method, _UNKNOWN)
    if method in {"POST", "PUT"} and is_closing(headers):
        only_closes = method == "POST" and _has_no_body(headers)
        operations = (frozenset() if only_closes else operations) | {"close"}
    need = Need(path, operations, query, method)
    source = headers.get(FORKED_FROM) if method == "PUT" else None
    return (need,) if source is None else (need, Need(canonical_path(source), READ))


def _has_no_body(headers: Mapping[str, str]) -> bool:
    """Return whether the head announces no body (RFC 9112 section 6.3); chunks may hold one."""
    return "Transfer-Encoding" not in headers and headers.get("Content-Length", "0") == "0"


def fill(template: str, claims: Mapping[str, object]) -> str | None:
    """Return the pattern filled with the claims, each percent-encoded as one segment.

    Return None if a claim is missing. Raises ValueError if one cannot be a segment of a path.
    """
    names = CLAIM.findall(template)
    if not all(name in claims for name in names):
        return None
    return check_pattern(CLAIM.sub(lambda match: _segment(match[1], claims), template))


def _segment(name: str, claims: Mapping[str, object]) -> str:
    value = claims[name]
    if not isinstance(value, str) or value in {"", ".", ".."}:
        raise ValueError(f"must have a claim {name} that can be a segment of a path")
    try:
        return quote(value, safe="")  # a * too, which would stand for everything below
    except UnicodeEncodeError:
        raise ValueError(f"must have a claim {name} of Unicode characters") from None


def grant_of(streams: object, operations: object) -> Grant:
    """Return a grant from a token's own claims. Raises ValueError."""
    names = operations if isinstance(operations, list) else []
    are_known = all(isinstance(it, str) and it in OPERATIONS for it in names)
    if not isinstance(streams, str) or not names or not are_known:
        raise ValueError("must have a pattern as streams and a list of operations")
    return Grant(check_pattern(streams), frozenset(cast("list[Operation]", names)))
