"""Heads that come again and again are read the same as when they came first."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.origin import head_patterns
from gateway.origin.head_patterns import LONGEST_PATTERN, MOST_PATTERNS, WORTH_A_PATTERN
from gateway.origin.plain_head import PlainHeads
from tests.support.examples import IS_WHOLE
from tests.support.raw_origin import answer

if TYPE_CHECKING:
    import pytest

    from gateway.origin.head_patterns import PlainHead

CHUNKED = "Transfer-Encoding: chunked"
NAMES = ["ETag", "etag", "Stream-Next-Offset", "Date", "Age", "X-Plain", "Connection", "Location"]
VALUES = ["", "a", "a b", "a  b", " a", "a\t", "é", "close", "X-Plain", '"x"', "0", "a" * 300]
SEPARATORS = [": ", ":", ":  ", ":\t"]
LINES = st.lists(
    st.tuples(st.sampled_from(NAMES), st.sampled_from(SEPARATORS), st.sampled_from(VALUES)),
    max_size=4,
)
STATUSES = st.sampled_from(["200 OK", "200", "204 No Content", "304 Not Modified"])


def told(head: PlainHead | None) -> object:
    """All that a head says."""
    if head is None:
        return None
    kind = head.kind
    return (
        kind.status,
        kind.stable,
        kind.is_last,
        kind.answer_kind,
        kind.is_misframed,
        list(head.volatile.items()),
        head.body_start,
        head.size,
    )


def head_of(lines: list[tuple[str, str, str]], status: str, framing: str) -> bytes:
    fields = ["".join(line) for line in lines]
    return "\r\n".join([f"HTTP/1.1 {status}", *fields, framing, "", ""]).encode("latin-1")


FRAMINGS = st.sampled_from(
    ["Content-Length: 2", "Content-Length: 0", "Content-Length: 012", CHUNKED, "A: b"]
)


@settings(max_examples=300 if IS_WHOLE else 25)
@given(LINES, STATUSES, FRAMINGS, st.lists(st.sampled_from(VALUES), min_size=4, max_size=4))
def test_a_response_head_is_parsed_independently_of_earlier_heads(
    lines: list[tuple[str, str, str]], status: str, framing: str, values: list[str]
) -> None:
    known = PlainHeads()
    data = head_of(lines, status, framing)
    for _ in range(WORTH_A_PATTERN + 1):
        assert told(known.read(data, is_head=False)) == told(PlainHeads().read(data, is_head=False))
    others = [(name, by, value) for (name, by, _), value in zip(lines, values, strict=False)]
    for alike in (
        head_of(others, status, framing),
        head_of(others, status, "Content-Length: 9"),
        head_of(lines, "201 Created", framing),
        head_of(lines[1:], status, framing),
        data[:-2] + b"More: 1\r\n\r\n",
        data[:-1],
        data + b"ab",
    ):
        for is_head in (False, True):
            anew = PlainHeads().read(alike, is_head=is_head)
            assert told(known.read(alike, is_head=is_head)) == told(anew)


def sent(number: int, of: int = 0) -> bytes:
    return answer(b"ab", f"Kind: {of}", f'ETag: "{number}"', f"Stream-Next-Offset: {number}")


def test_a_head_read_worth_times_is_matched_by_a_pattern_from_then_on() -> None:
    heads = PlainHeads()
    for number in range(WORTH_A_PATTERN + 1):
        assert len(heads.patterns) == (number >= WORTH_A_PATTERN)
        heads.read(sent(number), is_head=False)
    head = heads.patterns.read(sent(77))
    assert told(head) == told(PlainHeads().read(sent(77), is_head=False))
    assert heads.patterns.read(sent(77, of=1)) is None
    assert heads.patterns.read(sent(77).replace(b'"77"', b"7\x007")) is None


def test_the_latest_head_patterns_are_retained_and_tried_first() -> None:
    heads = PlainHeads()
    kinds = range(MOST_PATTERNS + 1)
    for kind in kinds:
        for number in range(WORTH_A_PATTERN):
            heads.read(sent(number, of=kind), is_head=False)
        assert len(heads.patterns) == min(kind + 1, MOST_PATTERNS)
    assert [heads.patterns.read(sent(0, of=kind)) is None for kind in kinds] == [True] + [
        False
    ] * MOST_PATTERNS
    first = heads.patterns._patterns[0]
    heads.read(sent(0, of=MOST_PATTERNS), is_head=False)
    heads.read(sent(0, of=MOST_PATTERNS - 1), is_head=False)
    assert heads.patterns._patterns[1] is first


def test_head_candidates_that_are_long_or_unique_are_bounded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(head_patterns, "MAX_COUNTED", 5)
    heads = PlainHeads()
    for number in range(20):
        heads.read(sent(0, of=number), is_head=False)
        assert len(heads.patterns._counts) <= 5
    heads.patterns._counts.clear()
    fixed = len(answer(b"", "A: "))
    for size in (LONGEST_PATTERN, LONGEST_PATTERN + 1):
        heads.read(answer(b"", f"A: {'x' * (size - fixed)}"), is_head=False)
        assert len(heads.patterns._counts) == 1
