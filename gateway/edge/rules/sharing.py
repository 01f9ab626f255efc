"""Sharing of an origin's response with other clients than the one that requested it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.edge.rules import policy
from gateway.edge.rules.directives import governing, members
from gateway.protocol.streams.offsets import NOW

if TYPE_CHECKING:
    from multidict import MultiMapping

    from gateway.edge.rules.cached_response import CacheRequest
    from gateway.edge.rules.policy import ResponseMetadata
    from gateway.protocol.http.identity import IdentityHeaders
    from gateway.protocol.origins.repair import StreamRead


def may_be_shared(request: CacheRequest, fields: MultiMapping[str], *, is_public: bool) -> bool:
    """Return whether a storable response may be given to other readers.

    RFC 9111 allows more. But a response to an identified reader, or one that identifies the next
    reader, is for others only if the origin says so.
    """
    return is_public or not (request.identified or "Set-Cookie" in fields)


def may_be_joined(
    request: CacheRequest,
    stored: ResponseMetadata,
    fields: MultiMapping[str],
    facts: StreamRead | None,
) -> bool:
    """Return whether waiting requests may share a response that is not stored.

    Otherwise all waiting requests would be sent to an origin that fails or has no data yet. A
    response that sets a cookie is for one request, and so is a private one to an anonymous reader.
    """
    directives = governing(fields)
    if "Set-Cookie" in fields or stored.vary == policy.OF_ONE_REQUEST:
        return False
    if "private" in directives and not request.identified:
        return False  # the origin knows its readers by something that says nothing to us
    failed = stored.status >= 500 or stored.status in {404, 429}
    is_tail = request.read.offset == NOW and facts is not None
    return failed or is_tail or (request.identified and "no-store" not in directives)


def is_ones_own(
    status: int, fields: MultiMapping[str], identity: IdentityHeaders, *, ignore_no_store: bool
) -> bool:
    """Return whether a response is for its requester only, and not for all permitted readers.

    Refusals are, since they depend on the requester's rights, but failures are not. For data, the
    origin must say so.
    """
    if status >= 500:
        return False
    if status >= 300 or "Set-Cookie" in fields:
        return True
    directives = governing(fields)
    if "private" in directives or ("no-store" in directives and not ignore_no_store):
        return True
    return any(name == "*" or identity.has(name) for name in members(fields.getall("Vary", ())))
