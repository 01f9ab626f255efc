"""Judged heads of origins, remembered for heads that differ only in fields of the moment.

To judge a response (ResponseRules.apply) takes 45 us, and most responses of a route say the same of
caches: only tag, offset, cursor, date and age differ. So the first is judged, and the result
is the pattern for the next, in 7 us. What these fields decide besides themselves is
computed again each time, by the same rules; where they decide more, nothing is remembered.
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING

from msgspec.structs import replace
from multidict import CIMultiDict

from gateway.protocol.cache_headers import TAG_HEADERS, tag_lines
from gateway.protocol.http import cache_status
from gateway.protocol.streams.offsets import BEGINNING, NOW, current_cursor, is_one_past, is_plain
from gateway.rules import policy, repair
from gateway.rules.cached_response import tail_lines
from gateway.rules.directives import age_said, normalised, parse_date
from gateway.rules.followed import FOREVER
from gateway.rules.policy import Times

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Hashable, Iterable, Mapping

    from gateway.origin.answer import OriginAnswer
    from gateway.rules.cached_response import CachedResponse, CacheRequest
    from gateway.rules.policy import ResponseMetadata
    from gateway.rules.repair import StreamRead
    from gateway.rules.response_rules import ResponseRules
    from gateway.rules.served_lifetimes import ServedFields

MOST_PATTERNS = 512  # an origin has a handful; 2 MB, then all are forgotten
LARGEST_PATTERN = 4096  # bytes of a head
# What differs in each answer, and no more depends on it than `_AnswerPattern.fill` reckons.
_RECKONED = frozenset(
    {
        *("content-length", "date", "etag", "stream-cursor", "stream-next-offset"),
        *map(str.lower, cache_status.OF_THE_ANSWER),
    }
)
# By these, a lifetime depends on the moment, or a body on the reader.
_NOT_REMEMBERED = ("Expires", "Set-Cookie", "Content-Encoding")
# The lines of a head that differ, and the tags of the stream, which stand together.
_ETAG, _CURSOR, _TAGS = "etag", "stream-cursor", "tags"
_SLOTS = {name: name for name in (_ETAG, _CURSOR, "stream-next-offset", "date")}
_SLOTS_AND_TAGS = {**_SLOTS, **{name.lower(): _TAGS for name, _ in TAG_HEADERS}}
_OF_TAGS = f"%({_TAGS})s"


class _Known(Enum):
    """The knowledge about heads that have no pattern, or more than one."""

    ONCE = "it may differ each time, in some line that is no concern of ours"
    DIFFERENT = "each is judged anew"


# In Python 3.11 a member costs as much as a call when it is looked up in its class.
_ONCE, _DIFFERENT = _Known


class _ByPath:
    """A marker for heads that are alike for one stream, in the key of that stream's heads."""


class JudgedHeads:
    """`judge` gives what `rules.apply` does, and the body with it, if that takes no more."""

    def __init__(self, rules: ResponseRules) -> None:
        self.rules = rules
        self._patterns: dict[Hashable, _AnswerPattern | _ByPath | _Known] = {}

    def __len__(self) -> int:
        return len(self._patterns)

    def clear(self) -> None:
        """Forget what was judged, because the rules have changed."""
        self._patterns.clear()

    def judge(
        self, request: CacheRequest, answer: OriginAnswer, times: Times, body_prefix: bytes
    ) -> CachedResponse:
        """Return what an answer means, with its body or without it yet. Raises as `apply` does.

        The body's beginning decides, too. What came in parts is judged anew each time.
        """
        rules = self.rules
        if (
            answer.body is None
            or answer.stable is None
            or request.identity
            or request.admitted_as
            or request.lifetime is not FOREVER
            or request.stream_key in rules.lost.by_stream
        ):
            return self._apply(request, answer, times, body_prefix)
        key: tuple[Hashable, ...] = (
            answer.stable,  # and so which fields are volatile
            len(answer.body) <= repair.EMPTY_BYTES and answer.body,
            request.read.offset == NOW,
            request.read.offset is None,
            request.read.is_clear,  # with both of them, whether it is fixed
            rules.reports_tails,
        )
        known = self._patterns.get(key)
        if isinstance(known, _ByPath):
            key = (known, request.read.path)
            known = self._patterns.get(key)
        if isinstance(known, _AnswerPattern):
            filled = known.fill(request, answer, times)
            return filled or self._apply(request, answer, times, body_prefix)
        if known is _ONCE:
            return self._learn(key, request, answer, times, body_prefix)
        if known is None:
            if len(self._patterns) >= MOST_PATTERNS:
                self._patterns.clear()
            self._patterns[key] = _ONCE
        return self._apply(request, answer, times, body_prefix)

    def _learn(
        self,
        key: tuple[Hashable, ...],
        request: CacheRequest,
        answer: OriginAnswer,
        times: Times,
        body_prefix: bytes,
    ) -> CachedResponse:
        rules = self.rules
        before, was_told = rules.repairs.copy(), rules.reports_tails
        cached, fields = rules.apply(request, answer.status, answer.headers, times, body_prefix)
        if rules.reports_tails is not was_told:
            return cached  # the next one is judged otherwise
        if not self._is_pattern(request, cached, fields, answer):
            self._patterns[key] = _DIFFERENT
            return cached
        has_tags = any(name in answer.headers for name, _ in TAG_HEADERS)
        if has_tags and len(key) > 2:  # which of them are ours depends on it
            self._patterns[key] = by_path = _ByPath()
            key = (by_path, request.path)
        repairs = rules.repairs - before
        slots = _SLOTS if has_tags else _SLOTS_AND_TAGS
        templates = _template(fields.rest, slots), _template(fields.shared, slots)
        self._patterns[key] = _AnswerPattern(rules, cached, answer, repairs, templates)
        return cached

    def _is_pattern(
        self,
        request: CacheRequest,
        cached: CachedResponse,
        fields: ServedFields,
        answer: OriginAnswer,
    ) -> bool:
        """Return whether a judged response can be the pattern for similar ones."""
        if not answer.volatile.keys() <= _RECKONED:
            return False
        if any(name in answer.headers for name in _NOT_REMEMBERED):
            return False
        if len(cached.lines) > LARGEST_PATTERN or cached.stored.vary == policy.OF_ONE_REQUEST:
            return False
        if cached.is_storable or answer.volatile.get("etag"):
            return True
        # What has no validator may be too old to be kept, where a younger one would be.
        young, now = CIMultiDict(pair for part in fields for pair in part), Times(0, 0)
        young.popall("Date", None)
        if_error_s = self.rules.stale_if_error
        stored = policy.storable("GET", request.headers, cached.status, young, now, if_error_s)
        return stored is None

    def _apply(
        self, request: CacheRequest, answer: OriginAnswer, times: Times, body_prefix: bytes
    ) -> CachedResponse:
        return self.rules.apply(request, answer.status, answer.headers, times, body_prefix)[0]


class _AnswerPattern:
    """A judged response whose head has places for what differs each time."""

    __slots__ = (
        "_cached",
        "_has_own_tags",
        "_lines_of",
        "_repairs",
        "_rules",
        "_shared_lines_of",
        "_varies",
    )

    def __init__(
        self,
        rules: ResponseRules,
        cached: CachedResponse,
        answer: OriginAnswer,
        repairs: Counter[str],
        templates: tuple[str, str],
    ) -> None:
        self._rules = rules
        self._cached = cached
        has_tag = "etag" in answer.volatile  # then its repair depends on it
        self._repairs = [name for name in repairs if not (has_tag and name == "etag")]
        self._varies = [name for name, _ in cached.stored.vary]
        self._lines_of, self._shared_lines_of = templates
        self._has_own_tags = _OF_TAGS in self._shared_lines_of

    def fill(
        self, request: CacheRequest, answer: OriginAnswer, times: Times
    ) -> CachedResponse | None:
        """Return what `apply` would return for a similar response; None if it must be called."""
        volatile, cached, body = answer.volatile, self._cached, answer.body
        assert body is not None, "what comes in parts has no pattern"
        facts, read = cached.facts, request.read
        next_offset = volatile.get("stream-next-offset")
        if next_offset is not None:
            # Whether it is a read depends on the offset.
            if facts is None or not _is_only_place(request, facts, next_offset):
                return None
            facts = replace(facts, next_offset=next_offset)
        tag = received = volatile.get("etag")
        if received and facts is not None and read.offset != NOW:
            tag = repair.repaired_tag(received, facts)
        stored = self._stored(request, volatile, tag, times)
        if stored is None:
            return None
        rules = self._rules
        for name in self._repairs:
            rules.repairs[name] += 1
        if tag is not received and tag != received:
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
        if tag == "":
            return None  # it says that there is none, but for a repair
        age_s = age_said(volatile["age"]) if "age" in volatile else 0
        vary = stored.vary
        if vary:
            vary = tuple([(name, normalised(name, request.headers)) for name in self._varies])
        if not self._cached.is_storable:
            date = parse_date(volatile["date"]) if "date" in volatile else stored.date
            return replace(stored, born=times.answered - age_s, etag=tag, vary=vary, date=date)
        date = parse_date(volatile["date"]) if "date" in volatile else None
        age = policy.initial_age(age_s, date, times)
        if tag is None and age >= stored.longest:
            return None
        return replace(stored, born=times.answered - age, etag=tag, vary=vary, date=date)

    def _head(
        self, request: CacheRequest, volatile: Mapping[str, str], tag: str | None, times: Times
    ) -> tuple[bytes, bytes]:
        """Return the lines for all, and those for shared caches alone."""
        values: dict[str, object] = {**volatile, _ETAG: tag}
        if self._cached.facts is not None:  # it is ours
            values[_CURSOR] = current_cursor(times.answered)
        shared_lines = self._cached.shared_lines
        if self._has_own_tags:
            values[_TAGS] = tag_lines(request.path, self._rules.freshness.route_tag)
            shared_lines = (self._shared_lines_of % values).encode("utf-8", "surrogateescape")
        return (self._lines_of % values).encode("utf-8", "surrogateescape"), shared_lines


def _is_only_place(request: CacheRequest, facts: StreamRead, next_offset: str) -> bool:
    """Return whether the end of a read has only the next offset."""
    if not is_plain(next_offset):
        return False
    start, read = request.start, request.read
    if read.offset is None or not read.is_clear:  # of the beginning nothing is reckoned
        return True
    if start not in {BEGINNING, NOW} and next_offset < start:
        return False  # it is behind
    return not (facts.is_empty and facts.up_to_date and is_one_past(start, next_offset))


def _template(fields: Iterable[tuple[str, str]], slots: Mapping[str, str]) -> str:
    """Return lines with places for what differs; `slots` has their names by header name."""
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
