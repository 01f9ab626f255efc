"""The comparison of a read with what is known of a followed stream, without any I/O."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.edge.followed.comparison import (
    ANOTHER,
    COMPARED_BYTES,
    LONGEST_COUNTED,
    SAME,
    SHORTER,
    UNFINISHED,
    Known,
    compare,
    evidence_of,
)
from gateway.edge.followed.recent_window import RecentWindow, WindowBudget
from gateway.rules.followed import Span

TEXT, JSON = "text/plain", "application/json"
PIECES = st.lists(st.sampled_from([b"1", b"2", b"11", b'"a"']), max_size=8)


def offset(at: int) -> str:
    return f"{at:04}"


def span(kind: str, pieces: list[bytes], begin: int, end: int) -> Span:
    """Return the piece of a stream between two of its pieces."""
    some = pieces[begin:end]
    body = b"[%b]" % b", ".join(some) if kind == JSON else b"".join(some)
    return Span(offset(begin), offset(end), body)


def known_of(kind: str, piece: Span, *, by_digest: bool) -> Known:
    found = evidence_of(kind, piece) if by_digest else piece
    assert found is not None
    return found


@given(st.sampled_from([TEXT, JSON]), st.booleans(), PIECES, PIECES, PIECES, st.data())
def test_a_read_is_the_same_stream_only_if_its_data_match_up_to_the_tail(
    kind: str,
    by_digest: bool,
    common: list[bytes],
    old: list[bytes],
    new: list[bytes],
    data: st.DataObject,
) -> None:
    before, after = [b"0", *common, *old], [b"0", *common, *new]
    begin = data.draw(st.integers(0, len(before) - 1))
    end = data.draw(st.integers(min(begin, len(after)), len(after)))
    known = known_of(kind, span(kind, before, begin, len(before)), by_digest=by_digest)
    is_tail = end == len(after)
    read = span(kind, after, begin, end)
    found = compare(kind, known, read, is_tail=is_tail)
    is_same = after[begin : len(before)] == before[begin:] and end >= len(before)
    if is_same:
        assert found.verdict is SAME
        rest = span(kind, after, len(before), end).body
        assert json.loads(found.rest) == json.loads(rest) if kind == JSON else found.rest == rest
    elif found.verdict is SAME:  # other pieces with the same bytes, which nothing tells apart
        mine, theirs = b"".join(before[begin:]), b"".join(after[begin:end])
        assert kind == TEXT
        assert theirs.startswith(mine)
    elif found.verdict is SHORTER:
        assert is_tail
        assert end < len(before)
    elif found.verdict is UNFINISHED:
        assert not is_tail


@given(st.sampled_from([TEXT, JSON]), PIECES, PIECES, PIECES)
def test_the_common_point_of_two_histories_is_where_their_data_differ(
    kind: str, common: list[bytes], old: list[bytes], new: list[bytes]
) -> None:
    before, after = [b"0", *common, b"3", *old], [b"0", *common, b"4", *new]
    known = span(kind, before, 0, len(before))
    found = compare(kind, known, span(kind, after, 0, len(after)), is_tail=True)
    assert found.verdict is ANOTHER
    assert found.common == (len(common) + 1 if kind == JSON else len(b"0" + b"".join(common)))


@pytest.mark.parametrize(
    ("read", "is_tail", "verdict"),
    [
        pytest.param(Span("0", "3", b"abc"), True, SAME, id="equal-data-up-to-the-tail"),
        pytest.param(Span("0", "5", b"abcde"), True, SAME, id="more-data"),
        pytest.param(Span("0", "2", b"ab"), True, SHORTER, id="less-data-up-to-the-tail"),
        pytest.param(
            Span("0", "2", b"ab"), False, UNFINISHED, id="less-data-of-an-unfinished-read"
        ),
        pytest.param(Span("0", "0", b""), True, SHORTER, id="no-data"),
        pytest.param(
            Span("0", "3", b"ab"), False, ANOTHER, id="less-data-and-the-same-end"
        ),  # fewer data, and no end of them
        pytest.param(Span("0", "5", b"ab"), True, ANOTHER, id="less-data-and-a-later-end"),
        pytest.param(
            Span("0", "3", b"abcd"), True, ANOTHER, id="more-data-and-the-same-end"
        ),  # more data, and the same end
        pytest.param(
            Span("0", "2", b"abc"), True, ANOTHER, id="equal-data-and-an-earlier-end"
        ),  # all data, and an earlier end
        pytest.param(Span("0", "2", b"ax"), False, ANOTHER, id="other-bytes"),
        pytest.param(Span("0", "9", b"abxabcabc"), True, ANOTHER, id="other-bytes-amid-more-data"),
    ],
)
@pytest.mark.parametrize("by_digest", [False, True])
def test_a_read_is_the_same_stream_only_if_its_offset_and_bytes_match(
    read: Span, is_tail: bool, verdict: object, by_digest: bool
) -> None:
    known = known_of(TEXT, Span("0", "3", b"abc"), by_digest=by_digest)
    found = compare(TEXT, known, read, is_tail=is_tail).verdict
    # Of what is too short to be compared with a digest it is not known that it is another.
    is_unknown = by_digest and len(read.body) < 3 and read.end < "3"
    assert found is (verdict if not is_unknown else SHORTER if is_tail else UNFINISHED)


@pytest.mark.parametrize(
    ("read", "verdict"),
    [(b"[1, 2]", SAME), (b"[ 1 ,2 ]", SAME), (b"[1,21]", ANOTHER), (b"[1,2,3]", SAME)],
)
def test_json_messages_are_compared_by_value_and_not_by_spelling(
    read: bytes, verdict: object
) -> None:
    end = "3" if b"3" in read else "2"
    known = Span("0", "2", b"[1,2]")
    assert compare(JSON, known, Span("0", end, read), is_tail=True).verdict is verdict


@pytest.mark.parametrize(
    ("more", "verdict", "rest"),
    [(b"]", SAME, b"[]"), (b",1]", SAME, b"[1]"), (b" , 1]", SAME, b"[ 1]"), (b"1]", ANOTHER, b"")],
)
def test_long_json_is_compared_as_bytes(more: bytes, verdict: object, rest: bytes) -> None:
    body = b"[%b" % (b"7" * LONGEST_COUNTED)
    known = Span("0", "1", body + b"]")
    found = compare(JSON, known, Span("0", "1" if more == b"]" else "2", body + more), is_tail=True)
    assert (found.verdict, found.rest) == (verdict, rest)


@pytest.mark.parametrize(
    ("sizes", "taken"), [([9, 9], 2), ([COMPARED_BYTES, 1], 1), ([1, 10**6], 1)]
)
def test_a_comparison_covers_at_most_a_chunk_or_the_latest_piece(
    sizes: list[int], taken: int
) -> None:
    window = RecentWindow(TEXT, offset(0), WindowBudget(1 << 30))
    for at, size in enumerate(sizes):
        window.append(Span(offset(at), offset(at + 1), b"x" * size))
    found = window.newest
    assert isinstance(found, Span)
    assert (found.start, found.end) == (offset(len(sizes) - taken), offset(len(sizes)))
    assert len(found.body) == sum(sizes[-taken:])
