"""What is noted of reads is bounded, and found by the offset that a reader comes with."""

from __future__ import annotations

from collections import Counter
from types import SimpleNamespace
from typing import TYPE_CHECKING, cast
from unittest.mock import Mock

import pytest

from headgate_gateway.edge.followed.checks import LONGEST_EVIDENCE, StreamChecks
from headgate_gateway.edge.followed.comparison import Evidence
from headgate_gateway.edge.followed.evidence import (
    MAX_ENDS,
    MAX_READS,
    MAX_STREAMS,
    WHOLE_BYTES,
    StreamEvidence,
)
from headgate_gateway.edge.followed.followed_table import FollowedTable
from headgate_gateway.edge.reads.shared_response import FETCHED
from headgate_gateway.rules.read_rules import LostOffsets
from headgate_gateway.rules.repair import StreamRead

if TYPE_CHECKING:
    from headgate_gateway.edge.reads.fetches import Fetch

KEY = ("h", "/s", (), "")
TEXT, JSON = "text/plain", "application/json"


def read(end: str, server: str = "a", body: bytes | None = None) -> Evidence:
    return Evidence("-1", end, server, TEXT, body=body, length=len(body or b""))


def noted() -> StreamEvidence:
    return StreamEvidence(LostOffsets(), lambda: 0.0)


class Reads:
    """The reads of one stream, as fetches bring them from further back: more follows each."""

    def __init__(self) -> None:
        self.reader = Mock()
        self.evidence = noted()
        self.checks = StreamChecks(self.evidence, FollowedTable(), self.reader, Mock())

    def note(
        self,
        end: str = "02",
        server: str = "a",
        body: bytes = b"x",
        *,
        number: int = 1,
        content_type: str = TEXT,
    ) -> bool:
        facts = StreamRead(content_type, end, False, False, False, False)
        cached = SimpleNamespace(
            facts=facts, body=body, stored=SimpleNamespace(vary=()), status=200
        )
        request = SimpleNamespace(stream_key=KEY, path="/s", start="01", identity="")
        fetch = SimpleNamespace(
            whole=cached,
            how=FETCHED,
            is_joinable=True,
            request=request,
            is_of_the_past=False,
            server=server,
            number=number,
        )
        return self.checks.note(cast("Fetch", fetch))


@pytest.mark.parametrize(("server", "ends"), [("a", ["05"]), ("b", ["05", "02"])])
def test_a_read_that_ends_earlier_is_noted_if_another_server_has_shown_more(
    server: str, ends: list[str]
) -> None:
    reads = Reads()
    reads.evidence.add(KEY, read("05"))
    reads.note("02", server)
    assert [one.end for one in reads.evidence.of(KEY)] == ends


@pytest.mark.parametrize("more", [0, 1])
def test_a_read_is_noted_up_to_a_length_limit(more: int) -> None:
    reads = Reads()
    reads.note(body=bytes(LONGEST_EVIDENCE + more))
    assert len(reads.evidence) == 1 - more


@pytest.mark.parametrize(
    ("number", "content_type", "is_of_now", "is_another"),
    [
        (4, TEXT, True, False),
        (4, "Text/Plain; charset=utf-8", True, False),
        (4, JSON, False, False),
        (6, JSON, True, True),
    ],
)
def test_a_later_read_of_another_content_type_is_of_another_stream(
    number: int, content_type: str, is_of_now: bool, is_another: bool
) -> None:
    reads = Reads()
    assert reads.note(number=5)
    assert reads.note(number=number, content_type=content_type) is is_of_now
    assert reads.reader.forget.called is is_another


def test_a_late_response_to_an_earlier_request_does_not_lower_the_latest_number() -> None:
    reads = Reads()
    assert reads.note(number=5)
    assert reads.note(number=3)
    assert not reads.note(number=4, content_type=JSON)


def test_the_ends_read_from_other_servers_are_dropped_last() -> None:
    reads = noted()
    reads.add(KEY, read("00", "b"))
    for number in range(1, MAX_ENDS + 1):
        reads.add(KEY, read(f"{number:02}"))
    assert reads.up_to(KEY, "00") is not None
    assert reads.up_to(KEY, "01") is None
    assert reads.streams[KEY].server is None


@pytest.mark.parametrize("more", [0, 1])
def test_the_noted_ends_of_one_stream_are_bounded(more: int) -> None:
    reads = noted()
    for number in range(MAX_ENDS + more):
        reads.add(KEY, read(f"{number:02}"))
    assert (reads.up_to(KEY, "00") is None) is bool(more)
    assert reads.streams[KEY].server == "a"
    assert reads.forgotten == Counter(ends=more)


@pytest.mark.parametrize("more", [0, 1])
def test_the_streams_with_noted_reads_are_bounded(more: int) -> None:
    reads = noted()
    for number in range(MAX_STREAMS + more):
        reads.add(("h", f"/{number}", (), ""), read("01"))
    assert len(reads) == MAX_STREAMS
    assert (("h", "/0", (), "") in reads.streams) is not bool(more)
    assert reads.forgotten == Counter(reads=more)


@pytest.mark.parametrize("more", [0, 1])
def test_the_noted_reads_of_all_streams_are_bounded(more: int) -> None:
    reads = noted()
    for number in range(MAX_READS + more):
        stream, end = divmod(number, MAX_ENDS)
        reads.add(("h", f"/{stream}", (), ""), read(f"{end:02}", body=b"x"))
    assert len(reads) == MAX_READS
    assert (reads.up_to(("h", "/0", (), ""), "00") is None) is bool(more)
    assert reads.forgotten == Counter(reads=more)


@pytest.mark.parametrize("more", [0, 1])
def test_of_the_oldest_reads_only_checksums_are_kept_beyond_a_number_of_bytes(more: int) -> None:
    reads, half = noted(), bytes(WHOLE_BYTES // 2)
    for number, body in enumerate((half, half, bytes(more))):
        reads.add(KEY, read(f"{number:02}", body=body))
    oldest, *later = reads.of(KEY)
    assert (oldest.body is None) is bool(more)
    assert all(one.body is not None for one in later)
    assert oldest.is_same(read("00", body=half))
    assert not oldest.is_same(read("00", body=half[1:]))


def test_reads_before_a_new_stream_was_created_count_for_no_server() -> None:
    reads = noted()
    reads.add(KEY, read("02"))
    assert reads.streams[KEY].server == "a"
    reads.doubt("/s")
    (one,) = reads.of(KEY)
    assert one.server not in {"", "a"}
    assert reads.streams[KEY].server == one.server
    assert reads.drop_beyond(KEY, "") == {"02"}
    assert len(reads) == 0
