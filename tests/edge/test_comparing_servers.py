"""A comparison is of one server: what another one has says nothing of it."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING
from unittest.mock import Mock

import pytest
from multidict import CIMultiDict

from gateway.edge.followed.comparison import evidence_of
from gateway.edge.followed.evidence import StreamEvidence
from gateway.edge.followed.origin_reads import CannotFollow, PollQuestion
from gateway.edge.followed.poller import PolledOrigin, Poller
from gateway.edge.followed.recent_window import RecentWindow, WindowBudget
from gateway.errors import OriginBusy
from gateway.origin.answer import OriginAnswer
from gateway.origin.reuse import ConnectionHistory
from gateway.protocol.cache_headers import Freshness
from gateway.protocol.http.forwarding import IdentityHeaders
from gateway.rules.followed import Span
from gateway.rules.read_rules import LostOffsets
from tests.edge.followed_parts import KIND, reading, state_of

if TYPE_CHECKING:
    from gateway.rules.cached_response import CacheRequest


def answered(
    server: str, body: bytes, end: str, status: int = 200, *, is_tail: bool = True
) -> OriginAnswer:
    fields = CIMultiDict({"Content-Type": KIND, "Stream-Next-Offset": end})
    if is_tail:
        fields["Stream-Up-To-Date"] = "true"
    head = [(name.encode(), value.encode()) for name, value in fields.items()]
    return OriginAnswer(status, body, head, None, {}, ConnectionHistory(), server=server)


def evidence_with(lost: LostOffsets) -> StreamEvidence:
    return StreamEvidence(lost, lambda: 0.0)


def noted(evidence: StreamEvidence, request: CacheRequest, span: Span, server: str) -> None:
    read = evidence_of(KIND, span, server)
    assert read is not None
    evidence.add(request.stream_key, read)


def poller_of(evidence: StreamEvidence, request: CacheRequest, window: RecentWindow) -> Poller:
    origin = PolledOrigin(Mock(), IdentityHeaders(), False, Freshness(), Counter())
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
    evidence = evidence_with(LostOffsets())
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
    evidence = evidence_with(LostOffsets())
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
    evidence = evidence_with(LostOffsets())
    poller = poller_of(evidence, request, RecentWindow(KIND, "5", WindowBudget(1 << 20)))
    poller.verification.doubt()
    steps = poller.steps_to_answer(PollQuestion("5", None, waits=False))
    assert "offset=now" in next(steps).target
    noted(evidence, request, Span("2", "5", b"old"), "a")
    assert "offset=2" in steps.send(answered("b", b"", "8")).target
    with pytest.raises(CannotFollow):
        steps.send(answered("b", b"oXd new", "8"))


async def test_a_read_at_an_offset_that_the_origin_refuses_is_dropped_and_not_the_feed() -> None:
    request, lost = reading(), LostOffsets()
    evidence = evidence_with(lost)
    noted(evidence, request, Span("1", "4", b"odd"), "b")
    poller = doubting(evidence, request)
    steps = poller.steps_to_answer(PollQuestion("5", None, waits=False))
    next(steps)
    assert "offset=1" in steps.send(answered("a", b"old", "5")).target
    with pytest.raises(StopIteration):
        steps.send(answered("a", b"", "", 410))
    assert not poller.verification.is_in_doubt
    assert evidence.of(request.stream_key) == []


async def test_no_poll_is_sent_while_a_doubt_raised_during_the_comparison_is_open() -> None:
    """Until the poll was over, nobody could go on with what is known."""
    request = reading()
    evidence = evidence_with(LostOffsets())
    poller = doubting(evidence, request)
    steps = poller.steps_to_answer(PollQuestion("5", None, waits=True))
    next(steps)
    poller.verification.doubt()
    again = steps.send(answered("a", b"old", "5"))
    assert ("offset=2" in again.target, again.waits, poller.verification.is_in_doubt) == (
        True,
        False,
        True,
    )
    poll = steps.send(answered("a", b"old", "5"))
    assert (poll.waits, poller.verification.is_in_doubt) == (True, False)


async def test_reads_of_another_server_that_end_before_the_feed_are_compared() -> None:
    request, lost = reading(), LostOffsets()
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
    evidence = evidence_with(LostOffsets())
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
