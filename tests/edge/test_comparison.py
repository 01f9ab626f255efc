"""The comparison of reads with what is known of a followed stream, and the polls around it.

Nothing is sent: a test takes the requests of a poller's steps and gives it the servers' answers.
"""

from __future__ import annotations

import json
import tracemalloc
from collections import Counter
from typing import TYPE_CHECKING
from unittest.mock import Mock

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict

from headgate_gateway.edge.followed.comparison import (
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
from headgate_gateway.edge.followed.evidence import StreamEvidence
from headgate_gateway.edge.followed.origin_reads import CannotFollow, PollQuestion
from headgate_gateway.edge.followed.poller import PolledOrigin, Poller
from headgate_gateway.edge.followed.recent_window import RecentWindow, WindowBudget
from headgate_gateway.errors import OriginBusy
from headgate_gateway.origin.answer import OriginAnswer
from headgate_gateway.origin.reuse import ConnectionHistory
from headgate_gateway.protocol.cache_headers import Freshness
from headgate_gateway.protocol.http.forwarding import IdentityHeaders
from headgate_gateway.rules.followed import Span
from headgate_gateway.rules.read_rules import LostOffsets
from tests.edge.followed_parts import KIND, reading, state_of

if TYPE_CHECKING:
    from headgate_gateway.rules.cached_response import CacheRequest

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


@pytest.mark.parametrize("kind", [TEXT, JSON])
def test_the_checksum_of_a_long_read_is_made_without_a_copy_of_its_data(kind: str) -> None:
    piece = span(kind, [b'"%b"' % (b"a" * 100)] * 10_000, 0, 10_000)
    tracemalloc.start()
    try:
        assert evidence_of(kind, piece) is not None
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < 10_000 < len(piece.body)


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
        pytest.param(Span("0", "2", b"ab"), False, UNFINISHED, id="less-data-amid-a-read"),
        pytest.param(Span("0", "0", b""), True, SHORTER, id="no-data"),
        pytest.param(Span("0", "3", b"ab"), False, ANOTHER, id="less-data-and-the-same-end"),
        pytest.param(Span("0", "5", b"ab"), True, ANOTHER, id="less-data-and-a-later-end"),
        pytest.param(Span("0", "3", b"abcd"), True, ANOTHER, id="more-data-and-the-same-end"),
        pytest.param(Span("0", "2", b"abc"), True, ANOTHER, id="equal-data-and-an-earlier-end"),
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


def answered(
    server: str, body: bytes, end: str, status: int = 200, *, is_tail: bool = True
) -> OriginAnswer:
    fields = CIMultiDict({"Content-Type": KIND, "Stream-Next-Offset": end})
    if is_tail:
        fields["Stream-Up-To-Date"] = "true"
    head = [(name.encode(), value.encode()) for name, value in fields.items()]
    return OriginAnswer(status, body, head, None, {}, ConnectionHistory(), server=server)


def evidence_with(lost: LostOffsets | None = None) -> StreamEvidence:
    return StreamEvidence(LostOffsets() if lost is None else lost, lambda: 0.0)


def noted(evidence: StreamEvidence, request: CacheRequest, span: Span, server: str) -> None:
    read = evidence_of(KIND, span, server)
    assert read is not None
    evidence.add(request.stream_key, read)


def poller_of(evidence: StreamEvidence, request: CacheRequest, window: RecentWindow) -> Poller:
    origin = PolledOrigin(Mock(), IdentityHeaders(), Freshness(), Counter())
    return Poller(origin, state_of(window, request), evidence)


def doubting(evidence: StreamEvidence, request: CacheRequest) -> Poller:
    """One in doubt, whose feed has got `old` from 2 to 5."""
    window = RecentWindow(KIND, "2", WindowBudget(1 << 20))
    window.append(Span("2", "5", b"old"))
    poller = poller_of(evidence, request, window)
    poller.verification.server = "a"
    poller.verification.doubt()
    return poller


@pytest.mark.parametrize(("second", "is_settled"), [("a", True), ("b", False)])
async def test_data_checked_on_two_servers_are_joined_only_if_one_server_gave_both(
    second: str, is_settled: bool
) -> None:
    request = reading()
    evidence = evidence_with()
    noted(evidence, request, Span("2", "8", b"old new"), "a")
    poller = doubting(evidence, request)
    steps = poller.steps_to_answer(PollQuestion("5", None, waits=False))
    assert "offset=2" in next(steps).target
    assert "offset=2" in steps.send(answered("a", b"old new", "8")).target
    with pytest.raises(StopIteration if is_settled else OriginBusy) as ended:
        steps.send(answered(second, b"old new", "8"))
    assert poller.verification.is_in_doubt is not is_settled
    if isinstance(ended.value, StopIteration):
        assert ended.value.value.body == b" new"


async def test_the_first_response_is_compared_if_readers_came_from_another_server() -> None:
    request = reading()
    evidence = evidence_with()
    poller = poller_of(evidence, request, RecentWindow(KIND, "5", WindowBudget(1 << 20)))
    steps = poller.steps_to_answer(PollQuestion("5", None, waits=True))
    assert "live=long-poll" in next(steps).target
    noted(evidence, request, Span("2", "5", b"old"), "b")  # while the poll was out
    compared = steps.send(answered("a", b" new", "8"))
    assert "live=" not in compared.target
    with pytest.raises(CannotFollow):
        steps.send(answered("a", b"oXd new", "8"))


async def test_a_feed_without_data_ends_if_a_read_during_the_comparison_proves_lost() -> None:
    """They wait in it, and their read was not known yet when the comparison began."""
    request = reading()
    evidence = evidence_with()
    poller = poller_of(evidence, request, RecentWindow(KIND, "5", WindowBudget(1 << 20)))
    poller.verification.doubt()
    steps = poller.steps_to_answer(PollQuestion("5", None, waits=False))
    assert "offset=now" in next(steps).target
    noted(evidence, request, Span("2", "5", b"old"), "a")
    assert "offset=2" in steps.send(answered("b", b"", "8")).target
    with pytest.raises(CannotFollow):
        steps.send(answered("b", b"oXd new", "8"))


async def test_a_read_at_an_offset_that_the_origin_refuses_is_dropped_and_not_the_feed() -> None:
    request = reading()
    lost = LostOffsets()
    evidence = evidence_with(lost)
    noted(evidence, request, Span("1", "4", b"odd"), "b")
    poller = doubting(evidence, request)
    steps = poller.steps_to_answer(PollQuestion("5", None, waits=False))
    next(steps)
    assert "offset=1" in steps.send(answered("a", b"old", "5")).target
    with pytest.raises(StopIteration):
        steps.send(answered("a", b"", "", 410))
    assert not poller.verification.is_in_doubt
    assert len(evidence) == 0


async def test_no_poll_is_sent_while_a_doubt_raised_during_the_comparison_is_open() -> None:
    """Until the poll was over, nobody could go on with what is known."""
    request = reading()
    evidence = evidence_with()
    poller = doubting(evidence, request)
    steps = poller.steps_to_answer(PollQuestion("5", None, waits=True))
    next(steps)
    poller.verification.doubt()
    again = steps.send(answered("a", b"old", "5"))
    assert "offset=2" in again.target
    assert (again.waits, poller.verification.is_in_doubt) == (False, True)
    poll = steps.send(answered("a", b"old", "5"))
    assert (poll.waits, poller.verification.is_in_doubt) == (True, False)


async def test_reads_of_another_server_that_end_before_the_feed_are_compared() -> None:
    request = reading()
    lost = LostOffsets()
    evidence = evidence_with(lost)
    for end, body, server in (("3", b"o", "a"), ("4", b"oX", "b")):
        noted(evidence, request, Span("2", end, body), server)
    poller = doubting(evidence, request)
    steps = poller.steps_to_answer(PollQuestion("5", None, waits=False))
    next(steps)
    assert "offset=2" in steps.send(answered("a", b"old", "5")).target
    with pytest.raises(StopIteration):
        steps.send(answered("a", b"old", "5"))
    refused = [one for one in "2345" if lost.refuses(request.stream_key, one, 0.0)]
    assert refused == ["4"]
    assert [one.end for one in evidence.of(request.stream_key)] == ["3"]


async def test_a_doubt_during_the_completion_of_a_cut_character_repeats_no_data() -> None:
    request = reading()
    evidence = evidence_with()
    poller = doubting(evidence, request)
    poller.verification.settle(1)
    poller.verification.server = "a"
    steps = poller.steps_to_answer(PollQuestion("5", None, waits=False))
    next(steps)
    cut = answered("a", b"new\xc3", "9", is_tail=False)
    assert "offset=9" in steps.send(cut).target
    assert "offset=2" in steps.send(answered("b", b"\xa9", "A")).target, "the known data first"
    with pytest.raises(StopIteration) as ended:
        steps.send(answered("b", b"oldnew\xc3\xa9", "A"))
    assert (ended.value.value.body, ended.value.value.end) == (b"new\xc3\xa9", "A")
