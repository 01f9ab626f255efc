"""What is remembered of reads is bounded, and found by the offset that a reader comes with."""

from __future__ import annotations

from collections import Counter

import pytest

from gateway.edge.comparison import Evidence
from gateway.edge.newest_reads import MAX_ENDS, MAX_STREAMS, UNKNOWN, NewestReads

KEY = ("h", "/s", (), "")


def read(end: str, server: str = "a") -> Evidence:
    return Evidence("-1", end, 1, b"", server)


@pytest.mark.parametrize("more", [0, 1])
def test_the_ends_of_reads_of_one_stream_are_bounded(more: int) -> None:
    reads = NewestReads()
    for number in range(MAX_ENDS + more):
        reads.add(KEY, read(f"{number:02}"))
    assert (reads.up_to(KEY, "00") is None) is bool(more)
    assert reads.forgotten == Counter(ends=more)


@pytest.mark.parametrize("more", [0, 1])
def test_the_streams_whose_reads_are_remembered_are_bounded(more: int) -> None:
    reads = NewestReads()
    for number in range(MAX_STREAMS + more):
        reads.add(("h", f"/{number}", (), ""), read("01"))
    assert len(reads) == MAX_STREAMS
    assert len(reads.keys_of("/0")) == 1 - more
    assert reads.forgotten == Counter(reads=more)


@pytest.mark.parametrize(
    ("start", "server", "found"),
    [("02", "a", None), ("02", "b", "02"), ("01", "b", "04"), ("05", "b", None), ("03", "a", "04")],
)
def test_what_another_server_has_told_up_to_an_offset_or_beyond_it_is_found(
    start: str, server: str, found: str | None
) -> None:
    reads = NewestReads()
    for end, told_by in (("02", "a"), ("04", "c")):
        reads.add(KEY, read(end, told_by))
    unlike = reads.unlike(KEY, start, server)
    assert (None if unlike is None else unlike.end) == found


def test_a_server_that_has_what_another_one_told_is_noted_for_that_alone() -> None:
    reads = NewestReads()
    for end, server in (("02", "a"), ("03", "b"), ("05", "a")):
        reads.add(KEY, read(end, server))
    reads.confirm(KEY, "04", "a", "c")
    assert [(one.end, one.server) for one in reads.of(KEY)] == [
        ("02", "c"),
        ("03", "b"),
        ("05", "a"),
    ]


def test_what_was_read_before_another_stream_was_created_is_known_of_no_server() -> None:
    reads = NewestReads()
    reads.add(KEY, read("02"))
    reads.doubt("/s")
    (one,) = reads.of(KEY)
    assert one.server == UNKNOWN
    assert reads.take(KEY) == {"02"}
    assert len(reads) == 0
    assert reads.keys_of("/s") == ()
