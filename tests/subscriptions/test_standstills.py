"""Gateways that stand still: the lease stays where it was taken to, and no event is missed."""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import TYPE_CHECKING

import pytest

from gateway.features.beats import BEAT_S, MISSES
from gateway.features.redis.mailboxes import RedisMailboxes
from gateway.features.subscriptions.shared import lease
from gateway.features.subscriptions.shared.changes import RECEIPT_S
from gateway.features.subscriptions.shared.lease import work_sharing_of
from gateway.features.subscriptions.shared.relay import is_claim
from tests.logs.abilities import needed
from tests.subscriptions.receivers import deaf, ends_of, log_at, shared, subscribed, two
from tests.subscriptions.standstills import play
from tests.support.examples import IS_WHOLE
from tests.support.serving import PREFIX, request
from tests.support.waiting import until

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.features.subscriptions.shared import mail
    from tests.subscriptions.receivers import Subscribed

ROUNDS, PAIRS = (60, 3) if IS_WHOLE else (4, 2)
LATE_S = 3.0  # after the last gateway goes on, beside other work; 1 s on a quiet machine
TAKE_OVER_S = 8.0


@pytest.mark.usefixtures("processes")
@pytest.mark.timeout(1800)
@pytest.mark.parametrize(
    "is_before_origins",
    [
        pytest.param(False, id="of-a-log"),
        pytest.param(
            True, id="before-origins", marks=pytest.mark.torture("gateways of a log do the same")
        ),
    ],
)
def test_every_event_comes_soon_after_all_gateways_go_on(
    tmp_path: Path, *, is_before_origins: bool
) -> None:
    pairs = asyncio.run(play(tmp_path, ROUNDS, PAIRS, 8, is_before_origins=is_before_origins))
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
    comparisons = shared(other).comparisons
    await until(lambda: shared(other).engine is not None, within_s=TAKE_OVER_S)
    comparisons.schedule(3600.0)  # in place of the one that follows a take-over


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
        with deaf(owner):  # it is not told either
            await shared(other).lease.take_over()
            await until(lambda: shared(other).engine is not None)
            tail = (await other.create("e/a", body=b'{"n":1}')).next_offset
            assert shared(owner).lease.is_certain
            status, claimed = await owner.claim()
        assert (status, ends_of(claimed)) == (200, [("e/a", tail)])


async def test_a_claim_gets_503_within_a_second_where_nobody_is_sure(redis_url: str) -> None:
    async with two(redis_url) as (owner, other):
        await owner.pull("s", pattern="e/*")
        await other.create("e/a", body=b'{"n":1}')
        await shared(owner).stop()
        shared(owner).lease.doubt()
        target, began = f"{PREFIX}/__ds/subscriptions/s/claim", time.monotonic()
        with deaf(owner):
            answer = await other.gateway.ask(request("POST", target, body=b'{"worker":"w"}'))
        assert answer.status == 503
        assert int(answer.get("Retry-After") or 0) > 0
        assert time.monotonic() - began < 2.0


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


@pytest.mark.parametrize("lost", [1, 2])
async def test_a_report_that_nobody_took_is_repeated_until_it_is_taken(
    redis_url: str, monkeypatch: pytest.MonkeyPatch, lost: int
) -> None:
    async with two(redis_url) as (owner, other):
        await owner.pull("s", pattern="e/*")
        await until(lambda: shared(owner).comparisons.made > 0)
        take, reports = shared(owner).changed.add, []

        def lose(report: mail.ChangeReport) -> None:
            reports.append(report)
            if len(reports) > lost:
                take(report)

        monkeypatch.setattr(shared(owner).changed, "add", lose)
        await other.create("e/a", body=b'{"n":1}')
        await until(lambda: "e/a" in owner.engine.by_id["s"].pending)
        assert len(reports) == lost + 1
        await asyncio.sleep(2 * RECEIPT_S)  # in which it would be repeated again
        assert len(reports) == lost + 1


async def test_a_claim_that_was_granted_too_late_for_its_worker_is_released(
    redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with two(redis_url) as (owner, other):
        await owner.pull("s", pattern="e/*")
        await until(lambda: shared(other).changed.is_active)
        tail = (await other.create("e/a", body=b'{"n":1}')).next_offset
        carry_out = shared(owner).relay.carry_out
        assert carry_out is not None
        granted: list[int] = []

        async def be_late(handed: mail.HandedOnRequest) -> mail.HandedOnResponse:
            answer = await carry_out(handed)
            granted.append(answer.status)
            await asyncio.sleep(1.5 if handed.name.endswith("/claim") else 0.0)
            return answer

        with monkeypatch.context() as delay:
            delay.setattr(shared(owner).relay, "carry_out", be_late)
            assert (await other.claim())[0] == 503
        assert granted == [200]

        async def is_granted() -> bool:
            status, claimed = await owner.claim("another")
            return status == 200 and ends_of(claimed) == [("e/a", tail)]

        await until(is_granted, within_s=5.0)


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("subscriptions/s/claim", True),
        ("subscriptions/claim", False),
        ("subscriptions/claim/ack", False),
        ("subscriptions/s/streams/claim", False),
        ("subscriptions/s/streams/e/claim", False),
    ],
)
def test_only_the_path_of_a_claim_is_that_of_one(path: str, *, expected: bool) -> None:
    assert is_claim(f"__ds/{path}") is expected


@pytest.mark.parametrize("place", ["memory", "owner", "another"])
async def test_a_claim_whose_worker_has_left_before_the_response_is_released(
    redis_url: str, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    async with contextlib.AsyncExitStack() as stack:
        if place == "memory":
            owner = asked = await stack.enter_async_context(subscribed())
        else:
            owner, other = await stack.enter_async_context(two(redis_url))
            asked = owner if place == "owner" else other
        await owner.pull("s", pattern="e/*")
        tail = (await owner.create("e/a", body=b'{"n":1}')).next_offset
        await owner.quiet()
        flush, may_store, stores = owner.engine.rows.flush, asyncio.Event(), asyncio.Event()

        async def wait() -> None:
            stores.set()
            await may_store.wait()
            await flush()

        with monkeypatch.context() as delay:
            delay.setattr(owner.engine.rows, "flush", wait)
            client = await asked.gateway.connect()
            target = f"{PREFIX}/__ds/subscriptions/s/claim"
            client.send(request("POST", target, body=b'{"worker":"w"}'))
            await stores.wait()
            client.close()
            await until(lambda: asked.gateway.limits.connections == 0)
            may_store.set()
        counts = owner.engine.wakes.counts
        await until(lambda: counts["begun"] == 2)
        status, claimed = await owner.claim("another")
        assert (status, ends_of(claimed)) == (200, [("e/a", tail)])
