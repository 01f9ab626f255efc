"""The operations on a stream, and those that a request needs."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from gateway.protocol.http.header_names import FORKED_FROM
from gateway.protocol.http.paths import canonical_path
from gateway.protocol.requests import is_closing
from gateway.settings.grants import BELOW, OPERATIONS, Operation

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
