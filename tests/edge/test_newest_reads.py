"""What is remembered of reads is bounded, and found by the offset that a reader comes with."""

from __future__ import annotations

from collections import Counter
from types import SimpleNamespace
from typing import TYPE_CHECKING, cast

import pytest

from gateway.edge.comparison import Evidence
from gateway.edge.followed.newest_reads import (
    LONGEST_EVIDENCE,
    MAX_ENDS,
    MAX_STREAMS,
    UNKNOWN,
    NewestReads,
)

if TYPE_CHECKING:
    from gateway.cache.rules.cached_response import CachedResponse, CacheRequest

KEY = ("h", "/s", (), "")
REQUEST = cast("CacheRequest", SimpleNamespace(stream_key=KEY, start="01"))


def read(end: str, server: str = "a") -> Evidence:
    return Evidence("-1", end, 1, b"", server)


def answered(end: str, body: bytes = b"x") -> CachedResponse:
    """Return an answer from further back: more follows it."""
    facts = SimpleNamespace(
        is_empty=False,
        is_coded=False,
        up_to_date=False,
        next_offset=end,
        content_type="text/plain",
    )
    stored = SimpleNamespace(vary=())
    return cast("CachedResponse", SimpleNamespace(facts=facts, body=body, stored=stored))


@pytest.mark.parametrize(("server", "ends"), [("a", ["05"]), ("b", ["05", "02"])])
def test_a_read_that_ends_earlier_is_noted_if_another_server_has_shown_more(
    server: str, ends: list[str]
) -> None:
    reads = NewestReads(lambda: 0.0)
    reads.add(KEY, read("05"))
    reads.note(REQUEST, answered("02"), server, in_doubt=False)
    assert [one.end for one in reads.of(KEY)] == ends


@pytest.mark.parametrize(
    ("server", "in_doubt", "later_s", "body", "kept"),
    [
        ("a", False, 1.0, b"y", "a"),  # the latest of one server
        ("a", True, 1.0, b"y", None),
        ("b", False, 1.0, b"y", None),
        ("b", False, 1.0, b"x", "b"),  # which has the same
        ("b", False, 59.9, b"y", None),
        ("b", False, 60.0, b"y", "b"),  # who was sent it must have come back
        ("b", True, 60.0, b"y", None),
    ],
)
def test_a_read_at_a_noted_offset_replaces_it_only_if_it_is_of_the_same_stream(
    server: str, in_doubt: bool, later_s: float, body: bytes, kept: str | None
) -> None:
    now = 100.0
    reads = NewestReads(lambda: now)
    reads.note(REQUEST, answered("02"), "a", in_doubt=False)
    (before,) = reads.of(KEY)
    now += later_s
    reads.note(REQUEST, answered("02", body), server, in_doubt=in_doubt)
    (after,) = reads.of(KEY)
    if kept is None:
        assert after is before
    else:
        assert (after.server, after is before) == (kept, False)


@pytest.mark.parametrize("more", [0, 1])
def test_a_read_is_noted_up_to_a_length_limit(more: int) -> None:
    reads = NewestReads(lambda: 0.0)
    reads.note(REQUEST, answered("02", bytes(LONGEST_EVIDENCE + more)), "a", in_doubt=False)
    assert len(reads) == 1 - more


def test_the_ends_read_from_other_servers_are_dropped_last() -> None:
    reads = NewestReads(lambda: 0.0)
    reads.add(KEY, read("00", "b"))
    for number in range(1, MAX_ENDS + 1):
        reads.add(KEY, read(f"{number:02}"))
    assert reads.up_to(KEY, "00") is not None
    assert reads.up_to(KEY, "01") is None


@pytest.mark.parametrize("more", [0, 1])
def test_the_noted_ends_of_one_stream_are_bounded(more: int) -> None:
    reads = NewestReads(lambda: 0.0)
    for number in range(MAX_ENDS + more):
        reads.add(KEY, read(f"{number:02}"))
    assert (reads.up_to(KEY, "00") is None) is bool(more)
    assert reads.forgotten == Counter(ends=more)


@pytest.mark.parametrize("more", [0, 1])
def test_the_streams_with_noted_reads_are_bounded(more: int) -> None:
    reads = NewestReads(lambda: 0.0)
    for number in range(MAX_STREAMS + more):
        reads.add(("h", f"/{number}", (), ""), read("01"))
    assert len(reads) == MAX_STREAMS
    assert len(reads.keys_of("/0")) == 1 - more
    assert reads.forgotten == Counter(reads=more)


@pytest.mark.parametrize(
    ("start", "server", "found"),
    [("02", "a", None), ("02", "b", "02"), ("01", "b", "04"), ("05", "b", None), ("03", "a", "04")],
)
def test_a_noted_read_of_another_server_is_found_at_or_past_an_offset(
    start: str, server: str, found: str | None
) -> None:
    reads = NewestReads(lambda: 0.0)
    for end, told_by in (("02", "a"), ("04", "c")):
        reads.add(KEY, read(end, told_by))
    unlike = reads.unlike(KEY, start, server)
    assert (None if unlike is None else unlike.end) == found


def test_a_server_confirmed_for_reads_of_another_is_noted_for_those_reads_alone() -> None:
    reads = NewestReads(lambda: 0.0)
    for end, server in (("02", "a"), ("03", "b"), ("05", "a")):
        reads.add(KEY, read(end, server))
    reads.confirm(KEY, "04", "a", "c")
    assert [(one.end, one.server) for one in reads.of(KEY)] == [
        ("02", "c"),
        ("03", "b"),
        ("05", "a"),
    ]


def test_reads_before_a_new_stream_was_created_count_for_no_server() -> None:
    reads = NewestReads(lambda: 0.0)
    reads.add(KEY, read("02"))
    reads.doubt("/s")
    (one,) = reads.of(KEY)
    assert one.server == UNKNOWN
    assert reads.pop(KEY) == {"02"}
    assert len(reads) == 0
    assert reads.keys_of("/s") == ()
