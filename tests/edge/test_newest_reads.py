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


def test_reads_before_a_new_stream_was_created_count_for_no_server() -> None:
    reads = NewestReads(lambda: 0.0)
    reads.add(KEY, read("02"))
    reads.doubt("/s")
    (one,) = reads.of(KEY)
    assert one.server == UNKNOWN
    assert reads.pop(KEY) == {"02"}
    assert len(reads) == 0
    assert reads.keys_of("/s") == ()
