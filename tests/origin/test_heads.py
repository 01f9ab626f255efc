"""Heads that come again and again are read the same as when they came first."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headgate_gateway.origin import heads
from headgate_gateway.origin.heads import (
    LONGEST_PATTERN,
    MOST_PATTERNS,
    WORTH_A_PATTERN,
    HeadPatterns,
)
from tests.origin.feeding import Fed, fed
from tests.support.examples import IS_WHOLE
from tests.support.raw_origin import answer

if TYPE_CHECKING:
    from collections.abc import Iterator

CHUNKED = "Transfer-Encoding: chunked"
NAMES = ["ETag", "etag", "Stream-Next-Offset", "Date", "Age", "X-Plain", "Connection", "Location"]
VALUES = ["", "a", "a b", "a  b", " a", "a\t", "é", "close", "X-Plain", '"x"', "0", "a" * 300]
SEPARATORS = [": ", ":", ":  ", ":\t"]
LINES = st.lists(
    st.tuples(st.sampled_from(NAMES), st.sampled_from(SEPARATORS), st.sampled_from(VALUES)),
    max_size=4,
)
STATUSES = st.sampled_from(["200 OK", "200", "204 No Content", "304 Not Modified"])
FRAMINGS = st.sampled_from(
    ["Content-Length: 2", "Content-Length: 0", "Content-Length: 012", CHUNKED, "A: b"]
)


@pytest.fixture(name="loop", scope="module")
def fixture_loop() -> Iterator[asyncio.AbstractEventLoop]:
    loop = asyncio.new_event_loop()
    yield loop
    loop.close()


def head_of(lines: list[tuple[str, str, str]], status: str, framing: str) -> bytes:
    fields = ["".join(line) for line in lines]
    return "\r\n".join([f"HTTP/1.1 {status}", *fields, framing, "", ""]).encode("latin-1")


@settings(max_examples=300 if IS_WHOLE else 25)
@given(LINES, STATUSES, FRAMINGS, st.lists(st.sampled_from(VALUES), min_size=4, max_size=4))
def test_a_response_is_parsed_independently_of_earlier_heads(
    lines: list[tuple[str, str, str]], status: str, framing: str, values: list[str]
) -> None:
    loop, known = asyncio.new_event_loop(), HeadPatterns()
    try:
        data = head_of(lines, status, framing)
        body = b"ab" if data.endswith(b"2\r\n\r\n") and status.startswith("200") else b""
        for _ in range(WORTH_A_PATTERN + 1):
            fed([data + body], known, loop)
        others = [(name, by, value) for (name, by, _), value in zip(lines, values, strict=False)]
        for alike in (
            data + body,
            data,
            head_of(others, status, framing) + body,
            head_of(others, status, "Content-Length: 9") + b"123456789",
            head_of(lines, "201 Created", framing) + body,
            head_of(lines[1:], status, framing) + body,
            data[:-2] + b"More: 1\r\n\r\n" + body,
            data[:-1],
            data + b"ab",
            data + b"abc",
        ):
            for is_head in (False, True):
                for parts in ([alike], [alike[:-1], alike[-1:]]):
                    now = fed(parts, known, loop, is_head=is_head)
                    assert now == fed(parts, HeadPatterns(), loop, is_head=is_head)
    finally:
        loop.close()


def sent(number: int, of: int = 0) -> bytes:
    return answer(b"ab", f"Kind: {of}", f'ETag: "{number}"', f"Stream-Next-Offset: {number}")


def test_a_head_read_worth_times_is_matched_by_a_pattern_from_then_on(
    loop: asyncio.AbstractEventLoop,
) -> None:
    patterns = HeadPatterns()
    for number in range(WORTH_A_PATTERN + 1):
        assert len(patterns) == (number >= WORTH_A_PATTERN)
        fed([sent(number)], patterns, loop)
    known = patterns.read(sent(77))
    assert known is not None
    assert known[1] == {"etag": '"77"', "stream-next-offset": "77", "content-length": "2"}
    assert patterns.read(sent(77, of=1)) is None
    assert patterns.read(sent(77).replace(b'"77"', b"7\x007")) is None


def test_the_latest_head_patterns_are_retained_and_tried_first(
    loop: asyncio.AbstractEventLoop,
) -> None:
    patterns = HeadPatterns()
    kinds = range(MOST_PATTERNS + 1)
    for kind in kinds:
        for number in range(WORTH_A_PATTERN):
            fed([sent(number, of=kind)], patterns, loop)
        assert len(patterns) == min(kind + 1, MOST_PATTERNS)
    known = [patterns.read(sent(0, of=kind)) is not None for kind in kinds]
    assert known == [False] + [True] * MOST_PATTERNS
    first = patterns._patterns[0]
    for kind in (MOST_PATTERNS, MOST_PATTERNS - 1):
        fed([sent(0, of=kind)], patterns, loop)
    assert patterns._patterns[1] is first


def test_head_candidates_that_are_long_or_unique_are_bounded(
    monkeypatch: pytest.MonkeyPatch, loop: asyncio.AbstractEventLoop
) -> None:
    monkeypatch.setattr(heads, "MAX_COUNTED", 5)
    patterns = HeadPatterns()
    for number in range(20):
        fed([sent(0, of=number)], patterns, loop)
        assert len(patterns._counts) <= 5
    patterns._counts.clear()
    fixed = len(answer(b"", "A: "))
    for size in (LONGEST_PATTERN, LONGEST_PATTERN + 1):
        fed([answer(b"", f"A: {'x' * (size - fixed)}")], patterns, loop)
        assert len(patterns._counts) == 1


def stable(wire: bytes, loop: asyncio.AbstractEventLoop) -> object:
    got = fed([wire], HeadPatterns(), loop)
    assert isinstance(got, Fed)
    return got.stable


def test_responses_that_differ_only_in_volatile_fields_share_their_stable_head(
    loop: asyncio.AbstractEventLoop,
) -> None:
    one = answer(b"ab", "A: 1", 'ETag: "e"', "Stream-Next-Offset: 9")
    alike = answer(b"abc", "A: 1", 'ETag: "f"', "Stream-Next-Offset: 10")
    others = [
        answer(b"ab", "A: 2", 'ETag: "e"', "Stream-Next-Offset: 9"),
        answer(b"ab", "A: 1", "Stream-Next-Offset: 9", 'ETag: "e"'),
        answer(b"ab", "A: 1", 'etag: "e"', "Stream-Next-Offset: 9"),
        answer(b"ab", "A: 1", "Stream-Next-Offset: 9"),
        answer(b"ab", "A: 1", 'ETag: "e"', "Stream-Next-Offset: 9", status="200 Fine"),
        answer(b"ab", "A: 1", 'ETag: "e"', "Stream-Next-Offset: 9", "Connection: close"),
        answer(b"ab", "A: 1", 'ETag: "e"', "Stream-Next-Offset: 9", "Connection: close, X"),
    ]
    found = [stable(wire, loop) for wire in (one, alike, *others)]
    assert found[0] == found[1] is not None
    assert len(set(found)) == 1 + len(others)


@pytest.mark.parametrize("fields", [("Set-Cookie: a",), ("ETag: a", "ETag: b")])
def test_a_head_that_is_not_worth_its_memory_has_no_stable_part(
    fields: tuple[str, ...], loop: asyncio.AbstractEventLoop
) -> None:
    assert stable(answer(b"ab", *fields), loop) is None
