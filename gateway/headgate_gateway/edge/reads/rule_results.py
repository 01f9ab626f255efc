"""Results of the response rules, cached for heads that differ only in fields of the moment.

Applying the rules (ResponseRules.apply) takes 45 us, and most responses of a route differ only in
tag, offset, cursor, date and age. So the result for one is the pattern for the next, in 7 us. What
else these fields decide is computed again each time, by the same rules; where they decide more than
that, nothing is cached.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace
from multidict import CIMultiDict

from headgate_gateway.protocol.cache_headers import TAG_HEADERS, tag_lines
from headgate_gateway.protocol.http import cache_status
from headgate_gateway.protocol.streams.offsets import (
    BEGINNING,
    NOW,
    current_cursor,
    is_one_past,
    is_plain,
)
from headgate_gateway.rules import policy, repair
from headgate_gateway.rules.cached_response import tail_lines
from headgate_gateway.rules.directives import age_said, normalised, parse_date
from headgate_gateway.rules.followed import FOREVER
from headgate_gateway.rules.policy import Times

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Hashable, Iterable, Mapping

    from headgate_gateway.origin.answer import OriginAnswer
    from headgate_gateway.rules.cached_response import CachedResponse, CacheRequest
    from headgate_gateway.rules.policy import ResponseMetadata
    from headgate_gateway.rules.repair import StreamRead
    from headgate_gateway.rules.response_rules import ResponseRules
    from headgate_gateway.rules.served_lifetimes import ServedFields

MOST_PATTERNS = 512  # an origin has a handful; 2 MB, then all are dropped
LARGEST_PATTERN = 4096  # bytes of a head
# Fields that differ in each answer; `_ResultPattern.fill` computes all that depends on them.
_COMPUTED = frozenset(
    {
        *("content-length", "date", "etag", "stream-cursor", "stream-next-offset"),
        *map(str.lower, cache_status.OF_THE_ANSWER),
    }
)
# With these, a lifetime depends on the moment, or a body on the reader.
_UNCACHED = ("Expires", "Set-Cookie", "Content-Encoding")
# The lines of a head that differ, and the tags of the stream, which stand together.
_ETAG, _CURSOR, _TAGS = "etag", "stream-cursor", "tags"
_SLOTS = {name: name for name in (_ETAG, _CURSOR, "stream-next-offset", "date")}
_TAG_SLOTS = {name.lower(): _TAGS for name, _ in TAG_HEADERS}
_OF_TAGS = f"%({_TAGS})s"


class RuleResults:
    """The results of one route's response rules."""

    def __init__(self, rules: ResponseRules) -> None:
        self.rules = rules
        # True once a head has come, which may have a line that differs each time. False if every
        # similar head needs the rules.
        self._patterns: dict[Hashable, _ResultPattern | bool] = {}

    def __len__(self) -> int:
        return len(self._patterns)

    def clear(self) -> None:
        """Drop all results, because the rules have changed."""
        self._patterns.clear()

    def apply(
        self, request: CacheRequest, answer: OriginAnswer, times: Times, body_prefix: bytes
    ) -> CachedResponse:
        """Return the result of `rules.apply`, with the body if it is whole. Raises as that does.

        The result also depends on the body's beginning. Answers in parts need the rules each time.
        """
        rules, patterns = self.rules, self._patterns
        key = None
        if (
            answer.body is not None
            and answer.stable is not None
            and not (request.identity or request.admitted_as)
            and request.lifetime is FOREVER
            and request.stream_key not in rules.lost.by_stream
        ):
            key = (
                answer.stable,  # and so which fields are volatile
                len(answer.body) <= repair.EMPTY_BYTES and answer.body,
                request.read.offset == NOW,
                request.read.offset is None,
                request.read.is_clear,  # with both of them, whether it is fixed
                rules.reports_tails,
            )
            known = patterns.get(key)
            if isinstance(known, _ResultPattern) and (filled := known.fill(request, answer, times)):
                return filled
            if known is None:
                if len(patterns) >= MOST_PATTERNS:
                    patterns.clear()
                patterns[key] = True
            if known is not True:
                key = None
        before = None if key is None else rules.repairs.copy()
        cached, fields = rules.apply(request, answer.status, answer.headers, times, body_prefix)
        if before is not None and key is not None and rules.reports_tails is key[-1]:
            patterns[key] = self._fits(request, cached, fields, answer) and _ResultPattern(
                rules, request, cached, answer, rules.repairs - before, fields
            )
        return cached

    def _fits(
        self,
        request: CacheRequest,
        cached: CachedResponse,
        fields: ServedFields,
        answer: OriginAnswer,
    ) -> bool:
        """Return whether a result can be the pattern for similar heads."""
        if not answer.volatile.keys() <= _COMPUTED:
            return False
        if any(name in answer.headers for name in _UNCACHED):
            return False
        if len(cached.lines) > LARGEST_PATTERN or cached.stored.vary == policy.OF_ONE_REQUEST:
            return False
        if cached.is_storable or answer.volatile.get("etag"):
            return True
        # A response without a validator may be too old to store, while a younger one is not.
        young, now = CIMultiDict(pair for part in fields for pair in part), Times(0, 0)
        young.popall("Date", None)
        if_error_s = self.rules.stale_if_error
        return not policy.storable("GET", request.headers, cached.status, young, now, if_error_s)


class _ResultPattern:
    """A result whose lines have slots for the values that differ each time."""

    __slots__ = (
        "_cached",
        "_lines_of",
        "_path",
        "_repairs",
        "_rules",
        "_shared_lines_of",
        "_tags_stream",
    )

    def __init__(
        self,
        rules: ResponseRules,
        request: CacheRequest,
        cached: CachedResponse,
        answer: OriginAnswer,
        repairs: Counter[str],
        fields: ServedFields,
    ) -> None:
        self._rules = rules
        self._cached = cached
        has_tag = "etag" in answer.volatile  # then its repair depends on it
        self._repairs = [name for name in repairs if not (has_tag and name == "etag")]
        # Which of an origin's tags remain depends on the stream.
        self._path = request.path if any(name in answer.headers for name, _ in TAG_HEADERS) else ""
        slots = _SLOTS if self._path else _SLOTS | _TAG_SLOTS
        self._lines_of = _template(fields.rest, slots)
        self._shared_lines_of = _template(fields.shared, slots)
        self._tags_stream = _OF_TAGS in self._shared_lines_of

    def fill(
        self, request: CacheRequest, answer: OriginAnswer, times: Times
    ) -> CachedResponse | None:
        """Return what the rules would return for a similar head; None if they must be applied."""
        volatile, cached, body = answer.volatile, self._cached, answer.body
        assert body is not None, "what comes in parts has no pattern"
        facts, read, rules = cached.facts, request.read, self._rules
        next_offset = volatile.get("stream-next-offset")
        if next_offset is not None:
            # Whether it is a read depends on the offset.
            if facts is None or not _differs_in_offset_alone(request, facts, next_offset):
                return None
            facts = replace(facts, next_offset=next_offset)
        tag = received = volatile.get(_ETAG)
        if received and facts is not None and read.offset != NOW:
            tag = repair.repaired_tag(received, facts)
        stored = self._stored(request, volatile, tag, times)
        if stored is None:
            return None
        for name in self._repairs:
            rules.repairs[name] += 1
        if tag != received:
            rules.repairs["etag"] += 1
        if rules.lag.since and facts is not None:
            rules.lag.reached(request.path, request.start)
        lines, shared_lines = self._head(request, volatile, tag, times)
        return replace(
            cached,
            lines=lines,
            shared_lines=shared_lines,
            tail_lines=None if cached.tail_lines is None else tail_lines(tag),
            body=b"" if cached.tagged_as is not None else body,
            stored=stored,
            facts=facts,
            validators=[] if received is None else [("If-None-Match", received)],
            length=len(body) if "content-length" in volatile else None,
            tagged_as=None if cached.tagged_as is None else (request.path, request.start),
        )

    def _stored(
        self, request: CacheRequest, volatile: Mapping[str, str], tag: str | None, times: Times
    ) -> ResponseMetadata | None:
        """Return the cache metadata of a response; None if it may be too old for any use."""
        stored = self._cached.stored
        if tag == "" or (self._path and self._path != request.path):
            return None  # an empty tag needs a repair, and tags of another path do not fit
        age_s = age_said(volatile["age"]) if "age" in volatile else 0
        vary = stored.vary
        if vary:
            vary = tuple([(name, normalised(name, request.headers)) for name, _ in vary])
        date = parse_date(volatile["date"]) if "date" in volatile else None
        age: float = age_s
        if self._cached.is_storable:
            age = policy.initial_age(age_s, date, times)
            if tag is None and age >= stored.longest:
                return None
        elif "date" not in volatile:
            date = stored.date
        return replace(stored, born=times.answered - age, etag=tag, vary=vary, date=date)

    def _head(
        self, request: CacheRequest, volatile: Mapping[str, str], tag: str | None, times: Times
    ) -> tuple[bytes, bytes]:
        """Return the lines for all clients, and those for shared caches only."""
        values: dict[str, object] = {**volatile, _ETAG: tag}
        if self._cached.facts is not None:  # it is ours
            values[_CURSOR] = current_cursor(times.answered)
        shared_lines = self._cached.shared_lines
        if self._tags_stream:
            values[_TAGS] = tag_lines(request.path, self._rules.freshness.route_tag)
            shared_lines = (self._shared_lines_of % values).encode("utf-8", "surrogateescape")
        return (self._lines_of % values).encode("utf-8", "surrogateescape"), shared_lines


def _differs_in_offset_alone(request: CacheRequest, facts: StreamRead, next_offset: str) -> bool:
    """Return whether the facts of a read differ from those of the pattern in their end alone."""
    if not is_plain(next_offset):
        return False
    start, read = request.start, request.read
    if read.offset is None or not read.is_clear:  # nothing is computed from such a beginning
        return True
    if start not in {BEGINNING, NOW} and next_offset < start:
        return False  # it ends before its beginning
    return not (facts.is_empty and facts.up_to_date and is_one_past(start, next_offset))


def _template(fields: Iterable[tuple[str, str]], slots: Mapping[str, str]) -> str:
    """Return lines with slots for the values that differ, named by `slots` for each header."""
    lines: list[str] = []
    for name, value in fields:
        slot = slots.get(name.lower())
        if slot is None:
            lines.append(f"{name}: {value}\r\n".replace("%", "%%"))
        elif slot != _TAGS:
            lines.append(f"{name}: %({slot})s\r\n")
        elif _OF_TAGS not in lines:
            lines.append(_OF_TAGS)
    return "".join(lines)
