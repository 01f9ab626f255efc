"""Appends in order: folding, races, and the bound on what waits."""

from __future__ import annotations

import asyncio
from functools import partial

import pytest

from headgate_gateway.errors import (
    HeadgateError,
    LimitReached,
    LogUnavailable,
    StreamClosed,
    StreamNotFound,
)
from headgate_gateway.logs.contract import Conflict
from headgate_gateway.protocol.appends import LEAST_BYTES, QUICK_BYTES, AppendOutcome
from headgate_gateway.protocol.streams.offsets import format_offset
from headgate_gateway.protocol.streams.state import ProducerState, Stamp
from headgate_gateway.streams import outcomes, writes
from headgate_gateway.streams.outcomes import UNKNOWN
from headgate_gateway.streams.writes import MAX_BATCH, MAX_CONFLICTS
from tests.logs.contract import appended
from tests.streams.service import Service, gated
from tests.support.gated_log import GatedLog, turns


def stored(position: int, *, closed: bool = False) -> AppendOutcome:
    return AppendOutcome(format_offset(0, position), closed=closed, stored=True)


async def test_simultaneous_appends_are_one_commit_in_order() -> None:
    service, log = await gated()
    before = len(log.committed)
    outcomes = await asyncio.gather(*[service.submit("s", b"%d" % number) for number in range(9)])
    assert outcomes == [stored(number + 1) for number in range(9)]
    assert len(log.committed) == before + 1
    assert await service.data("s") == b"012345678"


async def test_appends_that_arrive_during_a_commit_form_the_next_commit() -> None:
    service, log = await gated()
    log.commits.clear()
    before = len(log.committed)
    first = service.submit("s", b"a")
    await turns()
    later = [service.submit("s", b"b"), service.submit("s", b"c")]
    await turns()
    assert len(log.committed) == before + 1
    assert not first.done()
    log.commits.set()
    assert await asyncio.gather(first, *later) == [stored(1), stored(2), stored(3)]
    assert len(log.committed) == before + 2


async def test_no_append_is_answered_before_its_batch_is_durable() -> None:
    service, log = await gated()
    log.commits.clear()
    stamp = Stamp("p", 0, 0)
    waiting = [service.submit("s", b"a", producer=stamp) for _ in range(2)]
    waiting.append(service.submit("s", b"a", content_type="text/html"))
    await turns()
    assert [future.done() for future in waiting] == [False] * 3
    log.commits.set()
    first, duplicate, refused = await asyncio.gather(*waiting)
    accepted = ProducerState(0, 0, service.clock())
    assert first == AppendOutcome(format_offset(0, 1), closed=False, stored=True, producer=accepted)
    assert duplicate == AppendOutcome(
        format_offset(0, 1), closed=False, stored=False, producer=accepted
    )
    assert isinstance(refused, HeadgateError)


def _note(answered: list[int], number: int, _: object) -> None:
    answered.append(number)


async def test_appends_of_a_commit_are_answered_in_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    """However long each answer takes, others wait for no more of them than fit in a turn."""
    service, log = await gated()
    log.commits.clear()
    before = len(log.committed)
    answered: list[int] = []
    writers = [service.submit("s", b"x") for _ in range(5)]
    await turns()
    monkeypatch.setattr(outcomes, "UNTIMED", 1)
    monkeypatch.setattr(outcomes, "LONGEST_TURN_S", 0.0)
    log.commits.set()
    for number, writer in enumerate(writers):
        writer.add_done_callback(partial(_note, answered, number))
    seen = set()
    while len(answered) < 5:
        await asyncio.sleep(0)
        seen.add(len(answered))
    assert (answered, seen) == ([0, 1, 2, 3, 4], {0, 1, 2, 3, 4, 5})
    assert len(log.committed) == before + 1
    await asyncio.wait_for(service.writes.outcomes.idle.wait(), 1)


async def test_an_append_to_one_stream_commits_while_another_streams_commit_waits() -> None:
    log = GatedLog()
    service = Service(log)
    for name in "ab":
        await service.create(name)
    log.commits.clear()
    first = service.submit("a", b"x")
    await turns()
    before = len(log.committed)
    second = service.submit("b", b"y")
    await turns()
    assert len(log.committed) == before + 1
    log.commits.set()
    assert [await first, await second] == [stored(1), stored(1)]


@pytest.mark.parametrize(("count", "commits"), [(MAX_BATCH, 1), (MAX_BATCH + 1, 2)])
async def test_a_batch_holds_a_bounded_number_of_appends(
    count: int, commits: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writes, "LONGEST_TURN_S", 3600.0)
    service, log = await gated()
    before = len(log.committed)
    outcomes = await asyncio.gather(*[service.submit("s", b"x") for _ in range(count)])
    assert outcomes[-1] == stored(count)
    assert len(log.committed) == before + commits


async def test_a_batch_holds_a_bounded_number_of_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writes, "LONGEST_TURN_S", 3600.0)
    log = GatedLog()
    service = Service(log, max_pending_bytes=4 * log.batch_bytes)
    await service.create("s")
    before = len(log.committed)
    half = b"x" * (log.batch_bytes // 2)
    await asyncio.gather(*[service.submit("s", half) for _ in range(5)])
    sizes = [sum(len(record.data) for record in commit[0].records) for commit in log.committed]
    assert sizes[before:] == [2 * len(half), 2 * len(half), len(half)]


@pytest.mark.parametrize(
    ("body", "most"),
    [(b"x", QUICK_BYTES // (LEAST_BYTES + 1) + 1), (b"x" * QUICK_BYTES, 1)],
    ids=["short", "long"],
)
async def test_a_batch_ends_with_its_turn(
    body: bytes, most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is left comes in the next one; a few short appends are decided without a look."""
    monkeypatch.setattr(writes, "LONGEST_TURN_S", 0.0)
    service, log = await gated(max_pending_bytes=1 << 30)
    before = len(log.committed)
    outcomes = await asyncio.gather(*[service.submit("s", body) for _ in range(20)])
    assert outcomes == [stored(len(body) * number) for number in range(1, 21)]
    batches = [len(commit[0].records) for commit in log.committed[before:]]
    assert batches == [most] * (20 // most) + [20 % most] * (20 % most > 0)


@pytest.mark.parametrize(("races", "refused"), [(MAX_CONFLICTS, False), (MAX_CONFLICTS + 1, True)])
async def test_an_append_is_refused_after_too_many_lost_races(races: int, refused: bool) -> None:
    service, log = await gated()
    log.failures += [Conflict() for _ in range(races)]
    outcome = await service.submit("s", b"a")
    if refused:
        assert isinstance(outcome, LogUnavailable)
        assert outcome.detail == "too many writers met on this stream: nothing was stored"
    else:
        assert outcome == stored(1)
    assert isinstance(await service.submit("s", b"b"), AppendOutcome)
    assert await service.data("s") == (b"b" if refused else b"ab")


async def test_a_failed_commit_refuses_every_append_of_its_batch() -> None:
    service, log = await gated()
    log.failures.append(LogUnavailable("the disk is full"))
    outcomes = await asyncio.gather(
        service.submit("s", b"a", close=True), service.submit("s", b"b"), service.submit("s", b"c")
    )
    assert [type(outcome) for outcome in outcomes] == [LogUnavailable] * 3
    assert await service.append("s", b"d") == stored(1)


class Broken(Exception):
    """What no log should raise."""


@pytest.mark.parametrize("when", ["at once", "later"])
async def test_an_unexpected_exception_in_a_commit_fails_its_appends_and_none_waits(
    when: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    service, log = await gated()
    with monkeypatch.context() as patch:
        if when == "later":
            log.failures.append(Broken())
        else:
            patch.setattr(log, "commit", raising)
        waiting = [service.submit("s", b"a"), service.submit("s", b"b")]
        outcomes = await asyncio.gather(*waiting)
    assert [str(outcome) for outcome in outcomes] == [UNKNOWN] * 2
    assert (service.writes.outcomes.pending, service.writes.outcomes.pending_bytes) == (0, 0)
    assert service.writes.outcomes.idle.is_set()
    assert await service.append("s", b"c") == stored(1)


def raising(*_: object) -> None:
    raise Broken


async def test_an_append_whose_notification_raised_is_stored(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    service = Service(GatedLog())
    await service.create("s")
    with monkeypatch.context() as patch:
        patch.setattr(service.table.deadlines, "committed", raising)
        assert await service.append("s", b"a") == stored(1)
    assert await service.data("s") == b"a"
    assert await service.append("s", b"b") == stored(2)


async def test_an_append_after_a_failed_load_loads_again(monkeypatch: pytest.MonkeyPatch) -> None:
    log = GatedLog()
    await Service(log).create("s")
    service = Service(log)
    with monkeypatch.context() as patch:
        patch.setattr(log, "load", raising)
        assert str(await service.submit("s", b"a")) == UNKNOWN
    assert await service.append("s", b"b") == stored(1)


async def test_a_close_refuses_the_appends_behind_it_in_the_batch() -> None:
    service = Service()
    await service.create("s")
    first, second = await asyncio.gather(
        service.submit("s", b"a", close=True), service.submit("s", b"b")
    )
    assert first == stored(1, closed=True)
    assert isinstance(second, StreamClosed)
    assert second.next_offset == format_offset(0, 1)


async def test_an_append_loads_again_if_its_stream_was_dropped_during_the_load() -> None:
    """A conflict elsewhere makes the table forget just when an append's look-up is done."""
    service, log = await gated(b"a")
    service.table.reload("s")
    log.loads.clear()
    waiting = service.submit("s", b"b")
    await turns()
    active = service.table.get("s")
    assert active.loading is not None
    active.loading.add_done_callback(lambda _: service.table.reload("s"))
    log.loads.set()
    assert await waiting == stored(2)


async def test_an_append_during_another_change_is_decided_on_the_changed_state() -> None:
    log = GatedLog()
    service = Service(log)
    state = (await service.create("s")).state
    log.commits.clear()
    moving = service.table.commits.commit([appended(state, b"moved")])
    waiting = service.submit("s", b"!")
    await turns()
    log.commits.set()
    await moving
    assert await waiting == stored(6)
    assert await service.data("s") == b"moved!"


# ---------------------------------------------------------------- the bound


@pytest.mark.parametrize(("size", "accepted"), [(9, True), (10, True), (11, False)])
async def test_an_append_waits_only_if_the_bytes_of_waiting_appends_are_within_the_bound(
    size: int, accepted: bool
) -> None:
    log = GatedLog()
    service = Service(log, max_pending_bytes=100)
    for name in "ab":
        await service.create(name)
    log.commits.clear()
    first = service.submit("a", b"x" * 90)
    await turns()
    too_long = service.submit("a", b"z" * 1000)  # whose bytes do not count as waiting ones
    second = service.submit("b", b"y" * size)
    await turns()
    assert second.done() is not accepted
    log.commits.set()
    assert await first == stored(90)
    assert isinstance(await too_long, LimitReached)
    outcome = await second
    if accepted:
        assert outcome == stored(size)
    else:
        assert isinstance(outcome, LimitReached)
        assert outcome.detail == "max_pending_appends is reached: the log is behind, try again"
    assert service.writes.refused_for_room == (1 if accepted else 2)
    assert (service.writes.outcomes.pending, service.writes.outcomes.pending_bytes) == (0, 0)
    assert await service.append("b", b"z" * 100) == stored(size + 100 if accepted else 100)


async def test_the_queue_is_idle_only_when_no_append_is_under_way() -> None:
    service, log = await gated()
    assert service.writes.outcomes.idle.is_set()
    log.commits.clear()
    waiting = [service.submit("s", b"a"), service.submit("nothing", b"b")]
    assert not service.writes.outcomes.idle.is_set()
    assert isinstance(await waiting[1], StreamNotFound)
    assert not service.writes.outcomes.idle.is_set()
    log.commits.set()
    await waiting[0]
    assert service.writes.outcomes.idle.is_set()
