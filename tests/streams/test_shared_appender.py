"""Appends to a log that other processes write to: nobody is answered from what may be old."""

from __future__ import annotations

import asyncio
from time import sleep
from typing import TYPE_CHECKING

import pytest

from headgate_gateway.background import LONGEST_TURN_S
from headgate_gateway.errors import (
    LogUnavailable,
    ProducerFenced,
    SequenceGap,
    StreamClosed,
    StreamNotFound,
)
from headgate_gateway.protocol.appends import AppendOutcome
from headgate_gateway.protocol.streams.state import ProducerState, Stamp
from headgate_gateway.streams.writes import MOST_PACKED
from tests.streams.readers import Readers
from tests.streams.service import Service, two
from tests.support.gated_log import turns

if TYPE_CHECKING:
    from collections.abc import Sequence

    from headgate_gateway.logs.contract import Settled
    from headgate_gateway.protocol.streams.state import Change


STAMP = Stamp("p", 0, 0)


async def recreate(service: Service, path: str) -> None:
    """An open stream in the place of another."""
    await service.lifecycle.delete(path)
    await service.create(path)


def position(outcome: object) -> int:
    """Where an append that was stored ends."""
    assert isinstance(outcome, AppendOutcome), outcome
    assert outcome.stored
    return int(outcome.next_offset[-16:])


# ---------------------------------------------------------------- from what is remembered


async def test_an_append_to_a_loaded_stream_needs_no_further_query_of_the_log() -> None:
    service, log, _ = two()
    await service.create("s")
    asked = (log.loaded, log.confirmed)
    assert [position(await service.submit("s", b"x")) for _ in range(3)] == [1, 2, 3]
    assert (log.loaded, log.confirmed) == asked


async def test_appends_of_two_processes_are_stored_in_one_order() -> None:
    service, _, other = two()
    await service.create("s")
    outcomes = await asyncio.gather(
        *[process.submit("s", b"x") for _ in range(20) for process in (service, other)]
    )
    assert sorted(map(position, outcomes)) == list(range(1, 41))
    assert await service.data("s") == await other.data("s") == b"x" * 40


@pytest.mark.parametrize("tells", [True, False])
async def test_a_conflict_is_followed_by_a_load_only_if_it_has_no_state(tells: bool) -> None:
    service, log, other = two()
    await service.create("s")
    log.tells = tells
    await other.append("s", b"a")
    asked = (log.loaded, log.confirmed)
    assert position(await service.submit("s", b"b")) == 2
    assert (log.loaded, log.confirmed) == (asked[0] + (not tells), asked[1])


async def test_an_append_after_a_redis_restart_gets_an_offset_in_the_new_history() -> None:
    service, log, _ = two()
    await service.create("s", b"a")
    log.server.history += 10**15
    outcome = await service.submit("s", b"b")
    state = (await service.table.load("s")).state
    assert state is not None
    assert isinstance(outcome, AppendOutcome)
    assert outcome.next_offset == state.offset(2)
    assert state.history == log.server.history
    assert state.generation == state.history + state.stream_id % 10**6


async def test_followers_are_notified_of_a_foreign_append_before_their_own_append() -> None:
    service, _, other = two()
    await service.create("s")
    readers = service.table.get("s").follower = Readers()
    await other.append("s", b"a")
    await service.append("s", b"b")
    assert readers.news == [(1, b""), (2, b"b")]


async def test_commits_of_many_streams_are_packed_in_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever packing them takes, no more of them delay others than a turn or a part."""
    service, log, _ = two()
    paths = [f"s{number}" for number in range(3 * MOST_PACKED + 1)]
    for path in paths:
        await service.create(path)
    commit_separately, packed = log.commit_separately, [0]  # changes in each pass of the loop

    def slowly(changes: Sequence[Change], settled: Settled) -> None:
        packed[-1] += len(changes)
        sleep(LONGEST_TURN_S)
        commit_separately(changes, settled)

    monkeypatch.setattr(log, "commit_separately", slowly)
    waiting = [service.submit(path, b"x") for path in paths]
    while not all(one.done() for one in waiting):
        await asyncio.sleep(0)
        packed.append(0)
    assert [position(await one) for one in waiting] == [1] * len(paths)
    assert (sum(packed), max(packed)) == (len(paths), MOST_PACKED)


# ---------------------------------------------------------------- refusals


async def test_an_append_to_a_stream_seen_closed_is_stored_if_it_was_recreated() -> None:
    service, _, other = two()
    await service.create("s", close=True)
    await recreate(other, "s")
    assert position(await service.submit("s", b"x")) == 1


async def test_an_append_to_a_stream_seen_absent_is_stored_if_it_was_created() -> None:
    service, log, other = two()
    assert isinstance(await service.submit("s", b"x"), StreamNotFound)
    await other.create("s")
    asked = log.loaded
    assert position(await service.submit("s", b"x")) == 1
    assert log.loaded == asked + 1


async def test_an_append_to_a_stream_deleted_elsewhere_is_not_found() -> None:
    service, _, other = two()
    await service.create("s")
    await other.lifecycle.delete("s")
    assert isinstance(await service.submit("s", b"x"), StreamNotFound)


async def test_a_refusal_is_confirmed_by_one_query_of_the_log() -> None:
    service, log, _ = two()
    await service.create("s", close=True)
    asked = log.loaded + log.confirmed
    assert isinstance(await service.submit("s", b"x"), StreamClosed)
    assert log.loaded + log.confirmed == asked + 1


async def test_a_producer_sequence_of_a_deleted_stream_is_stored_in_the_recreated_stream() -> None:
    service, _, other = two()
    await service.create("s")
    await service.append("s", b"x", producer=STAMP)
    await recreate(other, "s")
    outcome = await service.append("s", b"x", producer=STAMP)
    assert outcome.stored
    assert await other.data("s") == b"x"


async def test_a_duplicate_of_an_append_stored_by_another_process_is_recognised() -> None:
    service, _, other = two()
    await service.create("s")
    await other.append("s", b"x", producer=STAMP)
    outcome = await service.append("s", b"x", producer=STAMP)
    assert (outcome.stored, outcome.producer) == (False, ProducerState(0, 0, service.clock()))
    assert await service.data("s") == b"x"


async def test_a_producer_can_continue_in_another_process() -> None:
    service, _, other = two()
    await service.create("s")
    for seq, process in enumerate((service, other, other, service)):
        assert (await process.append("s", b"x", producer=Stamp("p", 0, seq))).stored
    gap = await other.submit("s", b"x", producer=Stamp("p", 0, 7))
    assert isinstance(gap, SequenceGap)
    assert (gap.expected, gap.received) == (4, 7)
    await service.append("s", b"x", producer=Stamp("p", 1, 0))
    fenced = await other.submit("s", b"x", producer=Stamp("p", 0, 4))
    assert isinstance(fenced, ProducerFenced)
    assert fenced.epoch == 1


# ---------------------------------------------------------------- while a question is under way


async def test_appends_during_the_load_of_their_stream_are_one_commit() -> None:
    service, log, other = two()
    await other.create("s")
    log.loads.clear()
    waiting = [service.submit("s", b"a")]
    await turns()
    waiting += [service.submit("s", b"b"), service.submit("s", b"c")]
    await turns()
    assert [future.done() for future in waiting] == [False] * 3
    log.loads.set()
    assert [position(outcome) for outcome in await asyncio.gather(*waiting)] == [1, 2, 3]
    assert (log.loaded, len(log.committed)) == (1, 1)


@pytest.mark.parametrize("found", ["remembered", "unknown", "absent"])
async def test_a_refusal_counts_only_for_appends_made_before_its_query(found: str) -> None:
    """The stream is closed or absent when the first is refused, and open when the second comes."""
    service, log, other = two()
    if found != "absent":
        await (service if found == "remembered" else other).create("s", close=True)
    gate = log.confirms if found == "remembered" else log.loads
    gate.clear()
    first = service.submit("s", b"a")
    await turns()
    if found == "absent":
        await other.create("s")
    else:
        await recreate(other, "s")
    second = service.submit("s", b"b")
    await turns()
    assert (first.done(), second.done()) == (False, False)
    gate.set()
    assert isinstance(await first, StreamNotFound if found == "absent" else StreamClosed)
    assert position(await second) == 1
    assert await other.data("s") == b"b"


async def test_a_duplicate_in_a_recreated_stream_is_stored() -> None:
    service, log, other = two()
    await service.create("s")
    await service.append("s", b"x", producer=STAMP)
    log.confirms.clear()
    first = service.submit("s", b"x", producer=STAMP)
    await turns()
    await recreate(other, "s")
    second = service.submit("s", b"x", producer=STAMP)
    await turns()
    log.confirms.set()
    outcomes = await asyncio.gather(first, second)
    assert [isinstance(one, AppendOutcome) and one.stored for one in outcomes] == [False, True]
    assert await other.data("s") == b"x"


async def test_a_commit_confirms_the_refusals_decided_in_its_batch() -> None:
    """What was in a batch with an append that is stored rests on the very state that stood."""
    service, log, _ = two()
    await service.create("s")
    asked = log.loaded + log.confirmed
    outcomes = await asyncio.gather(
        service.submit("s", b"a", producer=STAMP),
        service.submit("s", b"a", producer=STAMP),
        service.submit("s", b"b", producer=Stamp("q", 0, 3)),
        service.submit("s", b"c", close=True),
        service.submit("s", b"d"),
    )
    assert [type(one) for one in outcomes] == [
        AppendOutcome,
        AppendOutcome,
        SequenceGap,
        AppendOutcome,
        StreamClosed,
    ]
    assert log.loaded + log.confirmed == asked


async def test_decisions_of_a_batch_that_met_a_conflict_are_made_again() -> None:
    service, log, other = two()
    await service.create("s")
    await other.append("s", b"other", producer=STAMP, close=True)
    outcomes = await asyncio.gather(
        service.submit("s", b"mine"), service.submit("s", b"other", producer=STAMP, close=True)
    )
    assert isinstance(outcomes[0], StreamClosed)
    assert isinstance(outcomes[1], AppendOutcome)
    assert not outcomes[1].stored
    assert await service.data("s") == b"other"
    assert len(log.committed) == 2  # the creation, and the one that lost


# ---------------------------------------------------------------- outages


async def test_an_unreachable_log_refuses_an_append_that_needs_a_query() -> None:
    service, log, _ = two()
    await service.create("s", close=True)
    log.outages.append(LogUnavailable("the log is away"))
    outcome = await service.submit("s", b"x")
    assert isinstance(outcome, LogUnavailable)
    assert isinstance(await service.submit("s", b"x"), StreamClosed)


async def test_a_repeated_append_after_a_lost_reply_is_stored_once() -> None:
    service, log, _ = two()
    await service.create("s")
    log.forgets_answers.append(LogUnavailable("the log did not answer"))
    assert isinstance(await service.submit("s", b"x", producer=STAMP), LogUnavailable)
    outcome = await service.append("s", b"x", producer=STAMP)
    assert not outcome.stored
    assert await service.data("s") == b"x"
