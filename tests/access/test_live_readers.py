"""Live readers are ended within a second of the end of their token, and come back to a 401."""

from __future__ import annotations

import asyncio
from time import perf_counter
from typing import TYPE_CHECKING

import pytest

from headgate_gateway.access.principal import Principal
from headgate_gateway.live import admitted_readers
from headgate_gateway.live.admitted_readers import AdmittedReaders
from tests.support.guarded_gateway import ROUTES, bearer, end_token, guarded, reach_tail, token
from tests.support.manual_clock import ManualClock
from tests.support.serving import EDGE, PREFIX, get, offset, post
from tests.support.waiting import until

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.http1 import Client
    from tests.support.serving import Serving

WITHIN_S = 1.0
ENDS = ("expired", "revoked")
TASK = "X-Request-Id:r"  # a poll that asks for an answer of its own waits in a task


def left(gateway: Serving, prefix: str, mode: str, reason: str) -> int:
    route = gateway.edge if prefix == EDGE else gateway.route
    live = route.traffic.live
    readers = live.sse if mode == "sse" else live.long_poll
    return readers.departures[reason]  # type: ignore[index] # checked by the tests that use it


async def parked(gateway: Serving, count: int) -> None:
    await until(lambda: len(gateway.services.admitted) == count)


async def poll(gateway: Serving, prefix: str, who: str, *lines: str) -> Client:
    """Return the client of one more long-poll, which waits."""
    count = len(gateway.services.admitted) + 1
    tail = await reach_tail(gateway, f"{prefix}/a/s", who)
    client = await gateway.connect()
    await client.send_all(get(f"{prefix}/a/s?offset={tail}&live=long-poll", bearer(who), *lines))
    await parked(gateway, count)
    return client


@pytest.mark.parametrize("how", ENDS)
@pytest.mark.parametrize("prefix", ROUTES)
async def test_a_long_poll_ends_with_204_within_a_second_of_the_end_of_its_token(
    prefix: str, how: str, tmp_path: Path
) -> None:
    """One that waits in a task, and those without, whose heads are cached as digests."""
    async with guarded(tmp_path) as gateway:
        polls = [await poll(gateway, prefix, "late", *lines) for lines in ((TASK,), (), (), ())]
        other = await poll(gateway, prefix, "ann")
        assert {len(head) for head in gateway.fast.heads.fresh} == {16}
        assert token("late") not in repr(gateway.fast.heads.fresh)
        await end_token(gateway, tmp_path, how)
        ended_at = perf_counter()
        for client in polls:
            answer = await client.answer()
            assert perf_counter() - ended_at < WITHIN_S
            assert (answer.status, answer.body) == (204, b""), answer
            again = get(f"{prefix}/a/s?offset={answer.next_offset}&live=long-poll", bearer("late"))
            assert (await client.ask(again)).status == 401
        assert left(gateway, prefix, "long_poll", how) == 4
        assert len(gateway.services.admitted) == 1
        await gateway.ask(post(f"{prefix}/a/s", b"more", bearer("all")))
        assert (await other.answer()).body == b"more"
        assert len(gateway.services.admitted) == 0


@pytest.mark.parametrize("how", ENDS)
@pytest.mark.parametrize("prefix", ROUTES)
async def test_an_sse_response_ends_properly_with_its_token(
    prefix: str, how: str, tmp_path: Path
) -> None:
    """Properly: with a control event that tells where to go on, and on a connection that lasts."""
    wire = get(f"{prefix}/a/s?offset=-1&live=sse", bearer("late"))
    async with guarded(tmp_path) as gateway:
        client = await gateway.connect()
        await client.send_all(wire)
        assert (await client.head()).status == 200
        await client.events_until(lambda events: len(events) >= 2)
        await parked(gateway, 1)
        await end_token(gateway, tmp_path, how)
        ended_at = perf_counter()
        events = await client.events_to_the_end()
        assert perf_counter() - ended_at < WITHIN_S
        assert events[-1].name == "control", events
        assert left(gateway, prefix, "sse", how) == 1
        assert (await client.ask(wire)).status == 401
        assert len(gateway.services.admitted) == 0


@pytest.mark.parametrize("how", ENDS)
async def test_a_stalled_sse_reader_is_cut_when_its_token_ends(how: str, tmp_path: Path) -> None:
    async with guarded(tmp_path) as gateway:
        client = await gateway.connect(receive_buffer=4096)
        await client.send_all(get(f"{PREFIX}/a/s?offset=-1&live=sse", bearer("late")))
        assert (await client.head()).status == 200
        await parked(gateway, 1)
        while not gateway.route.traffic.live.slow:
            await gateway.ask(post(f"{PREFIX}/a/s", b"x" * 500_000, bearer("all")))
        await end_token(gateway, tmp_path, how)
        await until(lambda: left(gateway, PREFIX, "sse", how) == 1, within_s=WITHIN_S)
        assert len(gateway.services.admitted) == 0


async def test_an_append_under_way_is_not_sent_to_a_revoked_reader(tmp_path: Path) -> None:
    async with guarded(tmp_path) as gateway:
        client = await poll(gateway, PREFIX, "late")
        active = gateway.route.table.peek("a/s")
        assert active is not None
        [feed] = active.feeds
        (waiter,) = feed.long_polls.parked
        feed.tail = offset(99)  # appended, and not told yet
        principal = waiter.principal
        assert principal is not None
        principal.until = 0.0
        gateway.services.admitted.end(principal)
        (await client.answer()).assert_problem(401, "counts no more")


async def test_a_long_poll_that_disconnects_is_not_waiting_any_more(tmp_path: Path) -> None:
    async with guarded(tmp_path) as gateway:
        for lines in ((), (TASK,)):
            client = await poll(gateway, PREFIX, "late", *lines)
            client.abort()
            await parked(gateway, 0)


def somebody(until_s: float) -> Principal:
    return Principal("somebody", (), until_s)


async def test_many_readers_of_one_token_are_ended_in_batches() -> None:
    """A loop that is busy with a crowd of one token serves others in between."""
    readers, clock = AdmittedReaders(ManualClock(0.0)), 0
    ended: list[int] = []
    crowd = somebody(10.0)
    for _ in range(3 * admitted_readers.AT_ONCE):
        readers.add(object(), crowd, lambda _: ended.append(clock))
    crowd.until = 0.0
    readers.end(crowd)
    while len(readers):
        clock += 1
        await asyncio.sleep(0)
    assert sorted({ended.count(turn) for turn in ended}) == [admitted_readers.AT_ONCE]


async def test_principals_without_readers_are_dropped_before_they_expire() -> None:
    clock = ManualClock(0.0)
    readers = AdmittedReaders(clock)
    for number in range(5 * admitted_readers.FORGOTTEN):
        reader, principal = object(), somebody(1e6 + number)
        readers.add(reader, principal, lambda _: None)
        readers.discard(reader, principal)
        assert len(readers._heap) <= admitted_readers.FORGOTTEN + 2
    assert len(readers) == 0


async def test_a_reader_whose_token_is_renewed_ends_at_the_later_time() -> None:
    """As an origin's yes is renewed while somebody waits."""
    clock, ended = ManualClock(0.0), list[str]()
    readers = AdmittedReaders(clock)
    anna = somebody(10.0)
    readers.add(object(), anna, ended.append)
    anna.until = 20.0
    clock.advance(10.0)
    readers._due()
    assert ended == []
    clock.advance(10.0)
    readers._due()
    assert ended == ["expired"]


async def test_a_reader_whose_token_has_ended_before_it_waits_ends_at_once() -> None:
    readers, ended = AdmittedReaders(ManualClock(10.0)), list[str]()
    readers.add(object(), somebody(10.0), ended.append)
    readers.add(object(), somebody(0.0), ended.append)
    await until(lambda: sorted(ended) == ["expired", "revoked"])
