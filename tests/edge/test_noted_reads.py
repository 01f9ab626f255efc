"""What is noted of reads is bounded, and found by the offset that a reader comes with."""

from __future__ import annotations

from collections import Counter
from types import SimpleNamespace
from typing import TYPE_CHECKING, cast
from unittest.mock import Mock

import pytest

from headgate_gateway.edge.followed.checks import LONGEST_EVIDENCE, StreamChecks
from headgate_gateway.edge.followed.comparison import Evidence, evidence_of
from headgate_gateway.edge.followed.evidence import (
    MAX_ENDS,
    MAX_READS,
    MAX_STREAMS,
    StreamEvidence,
)
from headgate_gateway.edge.followed.followed_table import FollowedTable
from headgate_gateway.edge.reads.shared_response import FETCHED
from headgate_gateway.rules.followed import Span
from headgate_gateway.rules.read_rules import REFUSED_S, LostOffsets
from headgate_gateway.rules.repair import StreamRead

if TYPE_CHECKING:
    from headgate_gateway.edge.reads.fetches import Fetch

KEY = ("h", "/s", (), "")
TEXT = "text/plain"


def read(end: str, server: str = "a") -> Evidence:
    found = evidence_of(TEXT, Span("-1", end, b"x"), server)
    assert found is not None
    return found


def noted() -> StreamEvidence:
    return StreamEvidence(LostOffsets(), lambda: 0.0)


class Reads:
    """The reads of one stream that nobody follows, as fetches bring them."""

    def __init__(self) -> None:
        self.now = 100.0
        self.evidence = StreamEvidence(LostOffsets(), lambda: self.now)
        self.checks = StreamChecks(self.evidence, FollowedTable(), Mock(), Mock())

    def note(
        self, end: str = "02", server: str = "a", body: bytes = b"x", *, is_tail: bool = False
    ) -> None:
        facts = StreamRead(TEXT, end, is_tail, False, False, False)
        cached = SimpleNamespace(
            facts=facts, body=body, stored=SimpleNamespace(vary=()), status=200
        )
        request = SimpleNamespace(stream_key=KEY, path="/s", start="01", identity="")
        fetch = SimpleNamespace(
            whole=cached, how=FETCHED, request=request, is_of_the_past=False, server=server
        )
        self.checks.note(cast("Fetch", fetch))

    def ends(self) -> list[str]:
        return [one.end for one in self.evidence.of(KEY)]


@pytest.mark.parametrize(
    ("server", "is_tail", "ends"),
    [
        ("a", False, ["05"]),
        ("a", True, ["05", "02"]),
        ("b", False, ["05", "02"]),
    ],
)
def test_a_read_that_ends_earlier_is_noted_unless_its_server_is_known_to_have_more(
    server: str, is_tail: bool, ends: list[str]
) -> None:
    reads = Reads()
    reads.evidence.add(KEY, read("05"))
    reads.note("02", server, is_tail=is_tail)
    assert reads.ends() == ends


@pytest.mark.parametrize(
    ("later_s", "server", "body", "is_replaced"),
    [
        (REFUSED_S - 1, "b", b"y", False),
        (REFUSED_S, "b", b"y", True),
        (0, "b", b"x", True),
        (0, "a", b"y", True),
    ],
)
def test_a_read_by_another_server_replaces_one_with_other_data_after_a_minute(
    later_s: float, server: str, body: bytes, is_replaced: bool
) -> None:
    reads = Reads()
    reads.note(body=b"x")
    (before,) = reads.evidence.of(KEY)
    reads.now += later_s
    reads.note(body=body, server=server)
    assert (reads.evidence.up_to(KEY, "02") is not before) is is_replaced


@pytest.mark.parametrize("more", [0, 1])
def test_a_read_is_noted_up_to_a_length_limit(more: int) -> None:
    reads = Reads()
    reads.note(body=bytes(LONGEST_EVIDENCE + more))
    assert len(reads.evidence) == 1 - more


def test_the_ends_read_from_other_servers_are_dropped_last() -> None:
    reads = noted()
    reads.add(KEY, read("00", "b"))
    for number in range(1, MAX_ENDS + 1):
        reads.add(KEY, read(f"{number:02}"))
    assert reads.up_to(KEY, "00") is not None
    assert reads.up_to(KEY, "01") is None


@pytest.mark.parametrize("more", [0, 1])
def test_the_noted_ends_of_one_stream_are_bounded(more: int) -> None:
    reads = noted()
    for number in range(MAX_ENDS + more):
        reads.add(KEY, read(f"{number:02}"))
    assert (reads.up_to(KEY, "00") is None) is bool(more)
    assert reads.forgotten == Counter(ends=more)


@pytest.mark.parametrize("more", [0, 1])
def test_the_streams_with_noted_reads_are_bounded(more: int) -> None:
    reads = noted()
    for number in range(MAX_STREAMS + more):
        reads.add(("h", f"/{number}", (), ""), read("01"))
    assert len(reads) == MAX_STREAMS
    assert (reads.up_to(("h", "/0", (), ""), "01") is None) is bool(more)
    assert reads.forgotten == Counter(reads=more)


@pytest.mark.parametrize("more", [0, 1])
def test_the_stream_read_longest_ago_goes_when_there_are_too_many_reads(more: int) -> None:
    reads = noted()
    for number in range(MAX_READS + more):
        stream, end = divmod(number, MAX_ENDS)
        reads.add(("h", f"/{stream}", (), ""), read(f"{end:02}"))
    assert len(reads) == MAX_READS + more * (1 - MAX_ENDS)
    assert (reads.up_to(("h", "/0", (), ""), "15") is None) is bool(more)
    assert reads.forgotten == Counter(reads=more)
