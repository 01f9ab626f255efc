"""For whom an origin's answer is, besides the one who asked for it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.cache.rules import policy
from gateway.cache.rules.directives import governing, members
from gateway.protocol.streams.offsets import NOW

if TYPE_CHECKING:
    from multidict import MultiMapping

    from gateway.cache.rules.cached_response import CacheRequest
    from gateway.cache.rules.policy import Stored
    from gateway.protocol.http.identity import IdentityHeaders
    from gateway.protocol.origins.repair import StreamRead


def may_be_shared(request: CacheRequest, fields: MultiMapping[str], *, is_public: bool) -> bool:
    """Whether a storable answer may be given to other readers.

    RFC 9111 would let more be shared. But what was given to somebody, or makes the next reader
    somebody, is for others only when the origin says so.
    """
    return is_public or not (request.identified or "Set-Cookie" in fields)


def may_be_joined(
    request: CacheRequest,
    stored: Stored,
    fields: MultiMapping[str],
    facts: StreamRead | None,
) -> bool:
    """Of what is not kept: failures, absence, the tail, and what one reader asks for twice at once.

    Else all who wait would go and ask an origin that fails, or for what is not there yet. What
    sets a cookie is for one request, and so is what is private to somebody who did not say who he
    is.
    """
    said = governing(fields)
    if "Set-Cookie" in fields or stored.vary == policy.OF_ONE_REQUEST:
        return False
    if "private" in said and not request.identified:
        return False  # the origin knows its readers by something that says nothing to us
    failed = stored.status >= 500 or stored.status in {404, 429}
    is_tail = request.read.offset == NOW and facts is not None
    return failed or is_tail or (request.identified and "no-store" not in said)


def is_ones_own(
    status: int, fields: MultiMapping[str], identity: IdentityHeaders, *, ignore_no_store: bool
) -> bool:
    """Whether an answer is for the one alone who asked, of all whom the origin lets read.

    Refusals are, since they tell of his permission, but not failures. Of what is read, the origin
    has to say so.
    """
    if status >= 500:
        return False
    if status >= 300 or "Set-Cookie" in fields:
        return True
    said = governing(fields)
    if "private" in said or ("no-store" in said and not ignore_no_store):
        return True
    return any(name == "*" or identity.has(name) for name in members(fields.getall("Vary", ())))
