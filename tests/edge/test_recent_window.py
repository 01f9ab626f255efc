"""The window of news: whatever it gives out is exactly what lies behind an offset."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate_gateway.edge.followed.comparison import LONGEST_COUNTED, MOST_COUNTED
from headgate_gateway.edge.followed.recent_window import (
    MAX_KNOWN,
    MAX_PIECES,
    WINDOW_BYTES,
    RecentWindow,
    WindowBudget,
)
from headgate_gateway.rules.followed import Span

if TYPE_CHECKING:
    from collections.abc import Sequence

KINDS = ["text/plain", "application/json", "application/octet-stream"]
MESSAGES = 60
PLENTY = 64 << 20


def offset(count: int) -> str:
    return f"{count:06d}" if count else "-1"


def body(content_type: str, begin: int, end: int) -> bytes:
    """What lies between two offsets, which count messages."""
    if content_type == "application/json":
        return b"[%b]" % b",".join(
            b'{"n": [%d], "s": "],[{"}' % number for number in range(begin, end)
        )
    return b"".join(b"message %d\n" % number for number in range(begin, end))


def span(content_type: str, begin: int, end: int) -> Span:
    return Span(offset(begin), offset(end), body(content_type, begin, end))


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["news", "learn", "learn from the beginning"]),
        st.integers(0, MESSAGES),
        st.integers(0, MESSAGES),
    ),
    max_size=40,
)


@pytest.mark.parametrize("content_type", KINDS)
@given(st.integers(0, 10), STEPS)
def test_the_window_returns_exactly_the_data_after_an_offset(
    content_type: str, tail: int, steps: Sequence[tuple[str, int, int]]
) -> None:
    window = RecentWindow(content_type, offset(tail), WindowBudget(PLENTY))
    for what, one, other in steps:
        begin, end = sorted((one, other))
        if what == "news" and other > tail:
            window.append(span(content_type, tail, other))
            tail = other
        elif what != "news":
            begin = 0 if what == "learn from the beginning" else begin
            window.learn(offset(begin), offset(end), body(content_type, begin, end))
        for count in range(MESSAGES + 1):
            news = window.since(offset(count))
            assert news is None or news == span(content_type, count, tail)


@pytest.mark.parametrize("content_type", KINDS)
@given(st.integers(0, 10), STEPS)
def test_the_window_contradicts_no_read_of_its_own_stream(
    content_type: str, tail: int, steps: Sequence[tuple[str, int, int]]
) -> None:
    window = RecentWindow(content_type, offset(tail), WindowBudget(PLENTY))
    for what, one, other in steps:
        begin, end = sorted((one, other))
        begin = 0 if what == "learn from the beginning" else begin
        assert not window.contradicts(offset(begin), offset(end), body(content_type, begin, end))
        if what == "news" and other > tail:
            window.append(span(content_type, tail, other))
            tail = other
        elif what != "news":
            window.learn(offset(begin), offset(end), body(content_type, begin, end))


@pytest.mark.parametrize(
    ("start", "end", "data", "contradicts"),
    [
        ("b", "d", b"BBCC", False),
        ("b", "d", b"BBCX", True),  # other data
        ("b", "d", b"BBC", True),  # between offsets that are farther apart
        ("a", "c", b"AABB", False),  # from farther back than the news reach
        ("a", "c", b"AAXB", True),
        ("b", "e", b"BBCCDD", False),  # farther than they reach
        ("b", "e", b"BBXCDD", True),
        ("b", "e", b"B", True),  # a later offset, nearer
        ("c", "cc", b"C", False),
        ("c", "cc", b"CC", False),  # nothing was between the two
        ("c", "cc", b"CCC", True),  # an earlier offset, farther
        ("-1", "d", b"CC", False),  # nothing is before the beginning but that
        ("x", "z", b"any", False),  # nothing is known of either
    ],
)
@pytest.mark.parametrize("content_type", ["text/plain", "application/json"])
def test_the_recent_window_contradicts_only_a_read_with_other_bytes(
    content_type: str, start: str, end: str, data: bytes, contradicts: bool
) -> None:
    window = RecentWindow(content_type, "b", WindowBudget(PLENTY))
    for piece in (Span("b", "c", b"BB"), Span("c", "d", b"CC")):
        window.append(piece._replace(body=in_type(content_type, piece.body)))
    assert window.contradicts(start, end, in_type(content_type, data)) is contradicts


def in_type(content_type: str, letters: bytes) -> bytes:
    if content_type == "application/json":
        return json.dumps([*letters.decode()]).encode()
    return letters


@pytest.mark.parametrize("content_type", KINDS)
def test_the_window_returns_the_rest_of_a_piece_to_a_reader_within_it(content_type: str) -> None:
    window = RecentWindow(content_type, offset(3), WindowBudget(PLENTY))
    window.learn(offset(3), offset(5), body(content_type, 3, 5))
    assert window.since(offset(5)) is None  # the news of it are to come
    window.append(span(content_type, 3, 9))
    assert window.since(offset(5)) == span(content_type, 5, 9)
    assert window.since(offset(4)) is None  # nobody has said where that is
    assert window.since(offset(9)) is None


@pytest.mark.parametrize(("size", "there"), [(0, True), (1, False)])
def test_the_oldest_pieces_are_dropped_at_the_window_bound(size: int, there: bool) -> None:
    window = RecentWindow("text/plain", "a", WindowBudget(PLENTY))
    window.append(Span("a", "b", b"x"))
    window.append(Span("b", "c", b"x" * (WINDOW_BYTES - 1 + size)))
    assert (window.since("a") is not None) is there
    assert window.since("b") is not None
    assert len(window) <= WINDOW_BYTES


@pytest.mark.parametrize(("size", "there"), [(WINDOW_BYTES, True), (WINDOW_BYTES + 1, False)])
def test_only_a_piece_that_fits_into_the_recent_window_is_cached(size: int, there: bool) -> None:
    window = RecentWindow("text/plain", "a", WindowBudget(PLENTY))
    window.append(Span("a", "b", b"x" * size))
    assert (window.since("a") is not None) is there
    window.append(Span("b", "c", b"x"))
    assert window.since("b") == Span("b", "c", b"x")


def test_a_malformed_json_piece_counts_as_one_message() -> None:
    window = RecentWindow("application/json", "a", WindowBudget(PLENTY))
    for span in (Span("a", "b", b"[1,"), Span("b", "c", b"[2]")):
        window.append(span)
    assert window.since("b") == Span("b", "c", b"[2]")


def test_the_known_offsets_of_a_window_are_bounded() -> None:
    window = RecentWindow("text/plain", offset(1), WindowBudget(PLENTY))
    for number in range(MAX_KNOWN + 10):
        window.learn(offset(1), f"z{number:06d}", b"x" * number)
    assert len(window.distances) == MAX_KNOWN
    window.append(Span(offset(1), "zz", b"x" * 1000))
    assert window.since(offset(1)) is not None


@pytest.mark.parametrize(("more", "known"), [(0, True), (1, False)])
def test_long_json_is_not_parsed_for_a_known_offset(more: int, known: bool) -> None:
    window = RecentWindow("application/json", "a", WindowBudget(PLENTY))
    window.learn("a", "b", b'["%b"]' % (b"x" * (LONGEST_COUNTED - 4 + more)))
    window.append(Span("a", "c", b'["x","y"]'))
    assert (window.since("b") is not None) is known


@pytest.mark.parametrize(
    ("long", "there"),
    [
        (b'["%b"]' % (b"x" * (LONGEST_COUNTED - 5)), True),
        (b'["%b"]' % (b"x" * (LONGEST_COUNTED - 4)), True),
        (b'["%b"]' % (b"x" * (LONGEST_COUNTED - 3)), False),
        (b"[%b]" % b",".join([b"1"] * MOST_COUNTED), True),
        (b"[%b]" % b",".join([b"1"] * (MOST_COUNTED + 1)), True),
        (b"[%b]" % b",".join([b"1"] * (MOST_COUNTED + 2)), False),
    ],
    ids=["n-1 bytes", "n bytes", "n+1 bytes", "n-1 commas", "n commas", "n+1 commas"],
)
def test_the_window_begins_anew_behind_json_that_is_too_long_to_count(
    long: bytes, there: bool
) -> None:
    window = RecentWindow("application/json", "a", WindowBudget(PLENTY))
    window.append(Span("a", "b", b"[1,2]"))
    window.append(Span("b", "c", long))
    assert window.last == Span("b", "c", long)
    assert (window.since("a") is not None) is (window.since("b") is not None) is there
    window.append(Span("c", "e", b"[3,4]"))
    window.learn("c", "d", b"[3]")
    assert window.since("c") == Span("c", "e", b"[3,4]")
    assert window.since("d") == Span("d", "e", b"[4]")
    assert (window.since("b") is not None) is there


def test_json_too_long_to_count_is_cached_until_the_next_piece() -> None:
    budget = WindowBudget(PLENTY)
    window = RecentWindow("application/json", "a", budget)
    long = Span("a", "b", b'["%b"]' % (b"x" * LONGEST_COUNTED))
    window.append(long)
    window.learn("-1", "b", b"[1]")  # cannot take its place
    assert (window.last, len(window), budget.bytes) == (long, len(long.body), len(long.body))
    window.append(Span("b", "c", b"[2]"))
    assert (window.last, len(window), budget.bytes) == (Span("b", "c", b"[2]"), 3, 3)


@pytest.mark.parametrize(("more", "there"), [(-1, True), (0, True), (1, False)])
def test_the_pieces_of_a_window_are_bounded(more: int, there: bool) -> None:
    window = RecentWindow("text/plain", offset(1), WindowBudget(PLENTY))
    for number in range(1, MAX_PIECES + more + 1):
        window.append(Span(offset(number), offset(number + 1), b"x"))
        window.learn(offset(1), offset(number + 1), b"x" * number)  # else its place is forgotten
    assert (window.since(offset(1)) is not None) is there
    assert len(window) == min(MAX_PIECES, MAX_PIECES + more)


@pytest.mark.parametrize(("room", "kept"), [(20, [False, True]), (21, [True, True])])
def test_all_windows_together_are_bounded_and_the_longest_idle_is_dropped(
    room: int, kept: list[bool]
) -> None:
    """Those of who had none for the longest time go first."""
    budget = WindowBudget(room)
    windows = [RecentWindow("text/plain", "a", budget) for _ in range(2)]
    for window, size in zip(windows, (10, 11), strict=True):
        window.append(Span("a", "b", b"x" * size))
    assert [window.since("a") is not None for window in windows] == kept
    assert budget.bytes == sum(map(len, windows)) <= room
    for window in windows:
        window.append(Span("b", "c", b"y"))
        assert window.since("b") == Span("b", "c", b"y")


def test_a_window_takes_no_piece_over_the_shared_budget_and_frees_its_bytes_when_closed() -> None:
    budget = WindowBudget(10)
    window = RecentWindow("text/plain", "a", budget)
    window.append(Span("a", "b", b"x" * 11))
    assert (window.since("a"), len(window), budget.bytes) == (None, 0, 0)
    window.append(Span("b", "c", b"x" * 10))
    assert (len(window), budget.bytes) == (10, 10)
    window.close()
    assert budget.bytes == 0


@pytest.mark.parametrize("body", [b'{"b": 2}', b"[1", b"null"])
def test_json_that_is_no_array_is_not_added_to_the_window(body: bytes) -> None:
    window = RecentWindow("application/json", "b", WindowBudget(PLENTY))
    window.append(Span("b", "c", b"[3]"))
    window.learn("a", "b", body)
    assert window.since("a") is None
