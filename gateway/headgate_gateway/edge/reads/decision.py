"""The decision on what answers a GET or HEAD of a route to an HTTP origin.

`HttpCache` carries it out. A fresh copy comes first (RFC 9111 section 4), then the recent data of a
followed stream, then a stale copy where that is allowed, then the origin. Cache directives of
requests are ignored, or any viewer could load the origin; only `only-if-cached` costs it nothing.
`cached_answer` serves a fresh copy without a task.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from typing import TYPE_CHECKING, Protocol
from weakref import ref

import msgspec

from headgate_gateway.edge.reads.variants import Variant, Variants
from headgate_gateway.errors import RangeNotSatisfiable
from headgate_gateway.protocol import http1
from headgate_gateway.rules.cached_response import CachedResponse
from headgate_gateway.rules.directives import parse_directives, requested_part, wants_all
from headgate_gateway.rules.followed import Snapshot, Span
from headgate_gateway.rules.policy import selects, serves_error
from headgate_gateway.runtime.request_fields import OWN_FIELDS

if TYPE_CHECKING:
    from collections.abc import Iterable

    from multidict import MultiMapping

    from headgate_gateway.routes.contract import CachedAnswer, PlainGet
    from headgate_gateway.routes.services import Services
    from headgate_gateway.rules.cached_response import CacheRequest
    from headgate_gateway.runtime.request_fields import Own

# Seconds after an origin has failed to answer a read, in which other reads do not wait for it. That
# is longer than its usual timeout: one read waits for an origin that hangs, not one after another.
LATELY_S = 60.0

# Lines that differ from request to request: a variant that they select is not served here.
_OWN = frozenset(map(str.lower, OWN_FIELDS))


class Use(Enum):
    """The way in which a GET or HEAD is answered."""

    HIT = "with the stored response"
    STALE = "with the stored response, which is validated meanwhile"
    STALE_ON_ERROR = "the same, since the origin has failed lately"
    # There may be a stored response, too, which is validated.
    RECENT_ON_ERROR = "with recent data of a followed stream, since the origin fails; it is fetched"
    RECENT = "with recent data of a followed stream, perhaps none: the offset is its tail"
    VALIDATE = "as the origin says, asked with the validators of the stored response"
    MISS = "as the origin says: nothing stored answers the request"
    REFUSE = "with 504, because of only-if-cached (RFC 9111, section 5.2.1.7)"
    PASS = "by the origin, without the cache"


# In Python 3.11 a member costs as much as a call when it is looked up in its class.
HIT, STALE, STALE_ON_ERROR, RECENT_ON_ERROR, RECENT, VALIDATE, MISS, REFUSE, PASS = Use
NEEDS_ORIGIN = (VALIDATE, MISS)  # for a response that others may share


class Decision(msgspec.Struct, frozen=True):
    """A decision on a request, with the cached responses that it is based on.

    `variant` is the stored response, and `recent` what answers in its place on errors; no other
    fetch begins before `rests_until`. `news` are data of a followed stream.
    """

    use: Use
    variant: Variant | None = None
    variants: Sequence[Variant] = ()
    is_hit_for_pass: bool = False
    recent: CachedResponse | None = None
    rests_until: float = 0.0
    news: tuple[Snapshot, Span] | None = None


class Followed(Protocol):
    """A followed stream, whose data for live readers can answer other reads as well."""

    @property
    def rests_until(self) -> float:
        """The time (epoch seconds) until which recent data are served while the origin fails."""

    def known_answer(self, request: CacheRequest) -> tuple[Snapshot, Span] | None:
        """Return what is known of the stream right now, if that answers a request, or None."""

    def recent_response(self, request: CacheRequest) -> CachedResponse | None:
        """Return recent data as the response to a read while the origin fails, or None."""


def decide(  # noqa: PLR0913 - what an answer depends on
    method: str,
    request: CacheRequest,
    variants: Sequence[Variant],
    stream: Followed | None,
    now: float,
    *,
    is_hit_for_pass: bool,
    is_down: bool,
) -> Decision:
    """Decide what answers a GET or HEAD that does not wait for new data.

    `variants` are the cached responses of its URL, the newest first; `stream` is the stream read,
    if it is followed. With `is_hit_for_pass` the response is known not to be cacheable. The
    origin `is_down` if it is known not to respond.
    """
    if is_hit_for_pass and method == "GET" and "Range" in request.headers:
        return Decision(PASS, None, variants)  # it is too long to be cut from the whole
    use, variant = reuse(request.headers, variants, now, is_down=is_down)
    # A HEAD of a stream asks for the tail, which is in no copy.
    if method == "HEAD" and not (use is HIT and variant and variant.cached.facts is None):
        return Decision(PASS, None, variants)
    if use is not HIT and stream is not None:  # a fresh copy of a followed stream is not outdated
        known = stream.known_answer(request)
        if known is not None:
            return Decision(RECENT, None, variants, news=known)
        is_failing = is_down or now < stream.rests_until + LATELY_S
        if is_failing and (use in NEEDS_ORIGIN or use is STALE_ON_ERROR):
            recent = stream.recent_response(request)
            if recent is not None:
                rests_until = stream.rests_until
                return Decision(
                    RECENT_ON_ERROR, variant, variants, recent=recent, rests_until=rests_until
                )
    return Decision(use, variant, variants, is_hit_for_pass)


def reuse(
    headers: MultiMapping[str], variants: Sequence[Variant], now: float, *, is_down: bool = False
) -> tuple[Use, Variant | None]:
    """Decide what the cache does for a GET, by its URL's variants (RFC 9111 section 4).

    Return the variant, too, if one answers the request, fresh or not.
    """
    variant = select(variants, headers) if variants else None
    if variant is not None:
        stored = variant.stored
        if stored.is_fresh(now):
            return HIT, variant
        if stored.is_within(stored.lifetime + stored.stale_while_revalidate, now):
            return STALE, variant
        is_failing = is_down or now < variant.rests_until + LATELY_S
        if is_failing and serves_error(stored, now):
            return STALE_ON_ERROR, variant
    # Directives of the request (5.2.1.7).
    if "Cache-Control" in headers and "only-if-cached" in parse_directives(
        headers.getall("Cache-Control", ())
    ):
        return REFUSE, variant
    return (MISS if variant is None else VALIDATE), variant


def select(variants: Iterable[Variant], headers: MultiMapping[str]) -> Variant | None:
    """Return the newest variant that answers the request, or None (section 4.1)."""
    for variant in variants:
        if fits(variant, headers):
            return variant
    return None


def fits(variant: Variant, headers: MultiMapping[str]) -> bool:
    """Return whether a variant answers a request; an identified reader gets only public ones."""
    cached = variant.cached
    is_allowed = cached.is_public or not cached.identity.identifies(headers)
    return is_allowed and selects(headers, variant.stored)


def fresh(variants: Iterable[Variant], headers: MultiMapping[str], now: float) -> Variant | None:
    """Return the variant that `reuse` would serve for an unconditional GET, or None.

    The fast path calls this without a request object: `decide` begins with the same check.
    """
    for variant in variants:
        if variant.fitted() is not headers:  # equal heads share one object
            if not fits(variant, headers):
                continue
            if not wants_all(headers):
                return None
            cached = variant.cached
            # Headers that identify a reader are not cached.
            if not (cached.is_public and cached.identity.identifies(headers)):
                variant.fitted = ref(headers)
        return variant if variant.stored.is_fresh(now) else None
    return None


def cached_answer(services: Services, get: PlainGet, own: Own, now: float) -> CachedAnswer | None:
    """Return the cached response to a plain GET, or None unless it is fresh."""
    entry = services.store.get(get.key, now)
    if not isinstance(entry, Variants):
        return None
    variant = fresh(entry.variants, get.headers, now)
    if variant is None or (own.fields and not entry.varies.isdisjoint(_OWN)):
        return None
    is_unchanged = own.tag is not None and variant.has_tag(own.tag)
    if is_unchanged and variant.is_end:
        return None  # a 304 does not count as the end of a stream
    body, part = variant.cached.body, None
    if own.requested_range is not None and variant.cached.may_be_cut and not is_unchanged:
        try:
            part = requested_part(own.requested_range, len(body))
        except RangeNotSatisfiable:
            return None
    entry.hits += 1
    moment = services.lines.referrer + get.connection
    recipient = entry.responses.recipient_of(entry.read.path, get.reader_key)
    status, ends = variant.cached.status, None
    if is_unchanged:
        status, ends, body = 304, (http1.UNCHANGED, b"\r\n"), b""
    elif part is not None:
        begin, end = part
        first = http1.PARTIAL + http1.range_line(begin, end, len(body))
        status, ends = 206, (first, b"Content-Length: %d\r\n\r\n" % (end - begin))
        body = body[begin:end]
    shared_lines = services.lines.parts_at(now)
    head = variant.fast_head(
        recipient, shared_lines, moment, now, own.id_line, ends, is_of_nginx=get.is_of_nginx
    )
    return status, head, body, variant.hit_counter
