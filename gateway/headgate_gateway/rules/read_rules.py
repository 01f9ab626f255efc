"""The rules by which an origin's response to a read is repaired, made uncacheable, or refused.

A read from an offset of a lost stream is refused. Clients come back with such offsets: SSE readers
whose response has ended, readers whose next poll was under way, and readers that were
disconnected. The present stream does not continue their data.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Callable  # noqa: TC003 - the type of a field
from typing import NamedTuple

import msgspec
from multidict import CIMultiDict

from headgate_gateway.errors import OriginBehind, StreamGone
from headgate_gateway.protocol import cache_headers
from headgate_gateway.protocol.cache_headers import Freshness
from headgate_gateway.protocol.http.header_names import CURSOR, UP_TO_DATE
from headgate_gateway.protocol.streams.offsets import BEGINNING, NOW, current_cursor
from headgate_gateway.rules.cached_response import CacheRequest, StreamKey
from headgate_gateway.rules.repair import (
    LIFETIMES,
    StreamRead,
    check_end,
    is_brief,
    repaired_tag,
)
from headgate_gateway.rules.served_lifetimes import shorten

ANOTHER_STREAM = "the stream was made anew, or has lost its end: read from the beginning"
PERSISTS_S = 5.0  # no replica in service lags for so long
MAX_SETBACKS = 1000  # reads, some 100 B each; the oldest is dropped first
REFUSED_S = 60.0  # the longest that clients wait before they come back
# For so long an offset of both streams counts as the old one's: its readers come back at once.
AMBIGUOUS_S = 5.0
MAX_LOST_STREAMS = 1000  # some 100 kB each at most; the oldest is dropped first
MAX_PRESENT_OFFSETS = 1024  # per stream, some 100 B each; beyond it all offsets are allowed
MAX_HELD_OFFSETS = 4096  # per stream; beyond it only those of the next loss

# Surrogate-Control is no lifetime: it lets a surrogate store a response that others must not.
_LIFETIME_FIELDS = tuple(name for name in LIFETIMES if name != "Surrogate-Control")


class _Lost(NamedTuple):
    """The lost offsets beyond `common` and up to `last`; readers were sent those in `held`.

    Those in `echoed` may be inventions of a client. `present_offsets` are offsets that the
    present stream has, too.
    """

    common: str
    last: str
    held: frozenset[str]
    echoed: frozenset[str]
    at: float
    present_offsets: set[str]


class LostOffsets:
    """The lost offsets of each stream, for as long as clients may come back with them."""

    def __init__(self) -> None:
        self.by_stream: OrderedDict[StreamKey, _Lost] = OrderedDict()
        self.forgotten: Counter[str] = Counter()  # by which bound

    def __len__(self) -> int:
        return len(self.by_stream)

    def lose(
        self, key: StreamKey, common: str, last: str, held: frozenset[str], now: float
    ) -> None:
        """Refuse offsets beyond `common` ("" is the beginning) up to `last`, and those in `held`.

        If `last` is "", only those in `held`.
        """
        self._lose(key, _Lost(common, last, held, frozenset(), now, set()))

    def lose_echoed(self, key: StreamKey, offset: str, now: float) -> None:
        """Refuse an offset that a client may have invented, and no other offsets."""
        self._lose(key, _Lost("", "", frozenset(), frozenset({offset}), now, set()))

    def _lose(self, key: StreamKey, lost: _Lost) -> None:
        self._drop_old(lost.at)
        before = self.by_stream.pop(key, None)
        if before is not None:
            if len(before.held) + len(before.echoed) > MAX_HELD_OFFSETS:
                before = before._replace(held=frozenset(), echoed=frozenset())
                self.forgotten["held"] += 1
            common, last = lost.common, lost.last
            if before.last:
                common = min(common, before.common) if last else before.common
                last = max(last, before.last)
            held, echoed = lost.held | before.held, lost.echoed | before.echoed
            lost = _Lost(common, last, held, echoed, lost.at, set())
        self.by_stream[key] = lost
        if len(self.by_stream) > MAX_LOST_STREAMS:
            self.by_stream.popitem(last=False)
            self.forgotten["losses"] += 1

    def note(self, key: StreamKey, offset: str) -> None:
        """Note an offset of the present stream."""
        lost = self.by_stream.get(key)
        if lost is None:
            return
        lost.present_offsets.add(offset)
        if len(lost.present_offsets) > MAX_PRESENT_OFFSETS:
            del self.by_stream[key]
            self.forgotten["told"] += 1

    def note_for_all(self, path: str, offset: str, now: float) -> None:
        """Note an offset of the present stream, for all readers of the path."""
        self._drop_old(now)
        for key in [key for key in self.by_stream if key[1] == path]:
            self.note(key, offset)

    def refuses(self, key: StreamKey, offset: str, now: float) -> bool:
        """Return whether reading on from an offset would mix two streams."""
        self._drop_old(now)
        lost = self.by_stream.get(key)
        if lost is None:
            return False
        is_held = offset in lost.held
        is_lost = is_held or offset in lost.echoed or lost.common < offset <= lost.last
        if offset in {BEGINNING, NOW} or not is_lost:
            return False
        return (is_held and now - lost.at < AMBIGUOUS_S) or offset not in lost.present_offsets

    def _drop_old(self, now: float) -> None:
        """Forget the streams whose readers must have come back by now; the oldest is the first."""
        while self.by_stream and now - next(iter(self.by_stream.values())).at >= REFUSED_S:
            self.by_stream.popitem(last=False)


class ReplicaLag:
    """The time (epoch) since when replicas lag, by path and offset."""

    def __init__(self) -> None:
        self.since: OrderedDict[tuple[str, str], float] = OrderedDict()

    def __len__(self) -> int:
        return len(self.since)

    def saw(self, path: str, offset: str, now: float) -> bool:
        """Note one more such response; return whether it lasts too long to be a lag."""
        since = self.since.pop((path, offset), now)
        self.since[path, offset] = since
        if len(self.since) > MAX_SETBACKS:
            self.since.popitem(last=False)
        return now - since >= PERSISTS_S

    def reached(self, path: str, offset: str) -> None:
        """Note a response that reaches an offset."""
        self.since.pop((path, offset), None)


class RouteState(msgspec.Struct, kw_only=True):
    """The settings and the observations of a route that rules depend on."""

    freshness: Freshness  # the lifetimes that responses get
    lag: ReplicaLag = msgspec.field(default_factory=ReplicaLag)
    lost: LostOffsets = msgspec.field(default_factory=LostOffsets)


class ReadResponse(msgspec.Struct):
    """An origin's response to a read of a stream, which the rules change one after the other."""

    route: RouteState
    request: CacheRequest
    facts: StreamRead
    fields: CIMultiDict[str]
    answered: float  # epoch seconds
    origin_directives: list[tuple[str, str]] = []  # a lifetime that was capped
    is_ours: bool = False  # the lifetime is the route's: the origin has sent none


class ReadRule(NamedTuple):
    """A rule: `apply` changes the fields of a response, and returns whether it did.

    It raises a HeadgateError to refuse the response. A change is counted as the `repair` of this
    name in the metrics and on the console; a rule that only refuses has none.

    The result for one response is reused for responses that differ only in volatile fields, such
    as the offset (`rule_results`): so a rule may depend on the other fields only.
    """

    repair: str
    apply: Callable[[ReadResponse], bool]


def _check_offset(response: ReadResponse) -> bool:
    """Raise OriginBehind for a response that ends before the requested offset.

    Raises StreamGone when that persists, or the offset is of a lost stream.
    """
    route, request, ends = response.route, response.request, response.facts.next_offset
    if route.lost and route.lost.refuses(request.stream_key, request.start, response.answered):
        raise StreamGone(ANOTHER_STREAM)
    try:
        if request.read.is_clear:
            check_end(request.read.offset, ends)
    except OriginBehind as behind:
        if route.lag.saw(request.path, request.start, response.answered):
            raise StreamGone(ANOTHER_STREAM) from behind
        raise
    route.lag.reached(request.path, request.start)
    if route.lost:
        route.lost.note(request.stream_key, ends)
    return False


def _is_for_one_client(response: ReadResponse) -> bool:
    """Return whether the response is for one client: it is never made public."""
    return response.request.identified or "Set-Cookie" in response.fields


def _give_lifetime(response: ReadResponse) -> bool:
    """Give a response without a lifetime the route's own."""
    fields = response.fields
    if any(name in fields for name in _LIFETIME_FIELDS):
        return False
    if is_brief(response.request.read, response.facts):
        fields.popall("Surrogate-Control", None)
    fields.extend(_lifetime(response))
    response.is_ours = True
    return True


def _lifetime(response: ReadResponse) -> list[tuple[str, str]]:
    read, facts, now = response.request.read, response.facts, response.answered
    if _is_for_one_client(response):
        return cache_headers.fields(cache_headers.PRIVATE)
    lifetime = cache_headers.read_lifetime(
        read,
        response.route.freshness,
        response.request.lifetime.remaining(now),
        now,
        is_fixed=read.is_fixed,
        is_whole=not facts.reaches_open_tail,
        ends=facts.closed,
    )
    return cache_headers.fields(lifetime)


def _shorten(response: ReadResponse) -> bool:
    """Cap the lifetime of a response that is soon stale, or whose stream ends soon.

    The origin's statement about the tail gets one spelling, so that a cached response can omit it.
    """
    fields, facts = response.fields, response.facts
    fields.popall(UP_TO_DATE, None)
    if facts.up_to_date:
        fields[UP_TO_DATE] = "true"
    longest_s = None if response.is_ours else _longest_s(response)
    if longest_s is not None:
        tail_directive = response.route.freshness.tail_directive
        response.origin_directives = shorten(fields, longest_s, tail_directive)
    return bool(response.origin_directives)


def _longest_s(response: ReadResponse) -> int | None:
    """Return how long the response may be fresh at most; None where the origin decides."""
    remaining = response.request.lifetime.remaining(response.answered)
    ends_s = None if remaining is None else max(0, int(remaining))
    if not is_brief(response.request.read, response.facts):
        return ends_s
    freshness = response.route.freshness
    at_end_s = freshness.closed_max_age if response.facts.closed else freshness.tail_max_age
    return at_end_s if ends_s is None else min(at_end_s, ends_s)


def _repair_tag(response: ReadResponse) -> bool:
    """Repair a malformed tag; return True also if it is missing, and is added to the whole body."""
    fields = response.fields
    if response.request.read.offset == NOW:
        return False
    received = fields.get("ETag")
    if received is None:
        return True
    tag = repaired_tag(received, response.facts)
    if "Content-Encoding" in fields and not tag.startswith("W/"):
        tag = f"W/{tag}"  # the bytes differ from those of the same range in another coding
    if tag == received:
        return False
    fields["ETag"] = tag
    return True


def _set_cursor(response: ReadResponse) -> bool:
    """Replace the cursor by ours, which is equal for all readers; return True if there was none."""
    lacks = CURSOR not in response.fields and not response.facts.closed
    response.fields.popall(CURSOR, None)
    if not response.facts.closed:
        response.fields[CURSOR] = str(current_cursor(response.answered))
    return lacks


# In the order in which they are applied: each sees the fields as changed by those before it.
RULES = (
    ReadRule("", _check_offset),
    ReadRule("cache_control", _give_lifetime),
    ReadRule("etag", _repair_tag),
    ReadRule("cursor", _set_cursor),
    # CORS fields are added whenever a response without any is sent.
    ReadRule("cors", lambda response: "Access-Control-Allow-Origin" not in response.fields),
    ReadRule("tail", _shorten),
)


def repairs() -> tuple[str, ...]:
    """Return the names under which the changes of rules are counted."""
    return tuple(sorted(rule.repair for rule in RULES if rule.repair))
