"""Gateways that stand still: the lease stays where it was taken to, and no event is missed."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

import pytest

from headgate_gateway.features.redis.mailboxes import RedisMailboxes
from headgate_gateway.features.subscriptions.shared import lease, owned
from headgate_gateway.features.subscriptions.shared.beats import BEAT_S, MISSES
from headgate_gateway.features.subscriptions.shared.lease import work_sharing_of
from tests.logs.abilities import needed
from tests.subscriptions.receivers import deaf, ends_of, log_at, shared, two
from tests.subscriptions.standstills import play
from tests.support.examples import IS_WHOLE
from tests.support.serving import PREFIX, request
from tests.support.waiting import until

if TYPE_CHECKING:
    from pathlib import Path

    from tests.subscriptions.receivers import Subscribed

ROUNDS, PAIRS = (60, 3) if IS_WHOLE else (4, 2)
LATE_S = 3.0  # after the last gateway goes on, beside other work; 1 s on a quiet machine
TAKE_OVER_S = 8.0


@pytest.mark.usefixtures("processes")
@pytest.mark.timeout(1800)
def test_every_event_comes_soon_after_all_gateways_go_on(tmp_path: Path) -> None:
    pairs = asyncio.run(play(tmp_path, ROUNDS, PAIRS, 8))
    assert [one for pair in pairs for one in pair.rounds if one.late_s > LATE_S] == []
    assert all(pair.appends and pair.answers["claim 200"] for pair in pairs)


@pytest.mark.parametrize("answers", [True, False], ids=["runs", "stands-still"])
async def test_a_silent_owner_is_told_of_its_election_and_keeps_the_lease_if_it_beats(
    redis_url: str, monkeypatch: pytest.MonkeyPatch, *, answers: bool
) -> None:
    now = 100.0
    monkeypatch.setattr(lease, "monotonic", lambda: now)
    async with contextlib.AsyncExitStack() as stack:
        logs = [log_at(redis_url) for _ in range(2)]
        for log in logs:
            await log.open()
            stack.push_async_callback(log.close)
        owner, other = (lease.SubscriptionsLease(needed(work_sharing_of(log))) for log in logs)
        messages: list[bytes | None] = []
        RedisMailboxes(logs[0].store).open(owner.name, messages.append)
        await until(lambda: None in messages)  # from now on, it hears
        await owner.beat()
        await other.beat()
        messages.clear()
        for _ in range(MISSES - 1):
            assert (other.owner.name, messages) == (owner.name, [])
            now += BEAT_S
            await other.beat()
        await until(lambda: len(messages) == 1)
        if answers:
            await owner.beat()
        now += BEAT_S
        await other.beat()
        assert other.is_ours is not answers
        assert owner.is_ours  # as far as it knows
        if not answers:
            await until(lambda: len(messages) == 2)
            await owner.confirm()
            assert owner.owner == other.owner


async def taken_over(owner: Subscribed, other: Subscribed) -> None:
    """Have the other gateway take over from one that stands still, or so it seems."""
    await shared(owner).stop()  # its beats
    await until(lambda: shared(other).engine is not None, within_s=TAKE_OVER_S)
    await shared(other).comparisons.stop()  # they would find what nobody reports


async def test_many_requests_to_a_gateway_that_stood_still_take_no_lease_back(
    redis_url: str,
) -> None:
    async with two(redis_url) as (owner, other):
        await owner.pull("s", pattern="e/*")
        await taken_over(owner, other)
        await asyncio.gather(*(shared(owner).confirm_ownership() for _ in range(20)))
        assert shared(other).engine is not None
        assert shared(other).lease.take_overs == 1
        assert shared(owner).lease.take_overs == 1
        assert shared(owner).lease.other_owner == shared(other).lease.name


async def test_a_claim_at_a_gateway_that_lost_the_lease_is_granted_by_its_holder(
    redis_url: str,
) -> None:
    async with two(redis_url) as (owner, other):
        await owner.pull("s", pattern="e/*")
        await shared(owner).stop()
        await shared(owner).comparisons.stop()  # they would find what nobody reports to it
        with deaf(owner):  # it is not told either
            await shared(other).lease.take_over()
            await until(lambda: shared(other).engine is not None)
            tail = (await other.create("e/a", body=b'{"n":1}')).next_offset
            assert shared(owner).lease.is_certain
            status, claimed = await owner.claim()
        assert (status, ends_of(claimed)) == (200, [("e/a", tail)])


async def test_what_a_former_owner_took_before_it_knew_is_reported_to_the_present_one(
    redis_url: str,
) -> None:
    async with two(redis_url) as (owner, other):
        await owner.pull("s", pattern="e/*")
        await shared(owner).stop()
        with deaf(owner):
            await shared(other).lease.take_over()
            await until(lambda: shared(other).engine is not None)
            await until(lambda: shared(other).comparisons.made > 0)
            assert shared(owner).engine is not None
            await owner.create("e/a", body=b'{"n":1}')
        shared(owner).start()
        await until(lambda: "e/a" in other.engine.by_id["s"].pending)


@pytest.mark.parametrize("is_new", [False, True], ids=["an append", "a creation"])
async def test_a_claim_gets_what_a_gateway_that_stood_still_has_acknowledged_since(
    redis_url: str, monkeypatch: pytest.MonkeyPatch, *, is_new: bool
) -> None:
    monkeypatch.setattr(owned, "ON_THE_WAY_S", 1.0)  # long enough for a busy machine
    async with two(redis_url) as (former, owner):
        await former.pull("s", pattern="e/*")
        if not is_new:
            await former.create("e/a")
        await taken_over(former, owner)
        assert shared(former).lease.is_ours  # as far as it knows
        line, body = "Content-Type: application/json", b'{"n":1}'
        written = await former.gateway.ask(
            request("PUT" if is_new else "POST", f"{PREFIX}/e/a", line, body=body)
        )
        status, claimed = await owner.claim()
        assert (status, ends_of(claimed)) == (200, [("e/a", written.get("Stream-Next-Offset"))])
