"""Streams that are deleted, expire, and are created again: what is remembered, and for how long."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from gateway.features.delivery.documents import documents_in
from gateway.features.subscriptions import membership
from gateway.logs.sqlite.log import SqliteLog
from tests.subscriptions.receivers import ends_of, receiver, stream_of, subscribed
from tests.support.serving import PREFIX, get
from tests.support.waiting import until

if TYPE_CHECKING:
    from pathlib import Path

    from tests.subscriptions.receivers import Receiver, Subscribed

DONE = {"done": True}
MOST = 5


@pytest.fixture
def _few_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have five removed streams remembered in place of 1,000."""
    monkeypatch.setattr(membership, "MOST_REMOVED", MOST)


async def documents_of(gateway: Subscribed) -> int:
    """Return how many documents the log has."""
    documents = documents_in(gateway.gateway.log)
    assert documents is not None
    await gateway.engine.rows.flush()
    return len(await documents.read("", 1_000))


@pytest.mark.usefixtures("_few_are_remembered")
async def test_no_more_removed_streams_are_remembered_than_the_limit(tmp_path: Path) -> None:
    log = SqliteLog(tmp_path)
    async with subscribed(log) as gateway, receiver(answer=DONE) as at:
        await gateway.webhook("s", at, pattern="e/*")
        before = await documents_of(gateway)
        for number in range(3 * MOST):
            await gateway.create(f"e/{number}", body=b'{"n":1}')
            await at.wake(number + 1)
            await gateway.quiet()
            await gateway.delete(f"e/{number}")
        subscription = gateway.engine.by_id["s"]
        assert list(subscription.removed) == [f"e/{number}" for number in range(2 * MOST, 3 * MOST)]
        assert len(gateway.engine.membership.streams) == MOST
        assert await documents_of(gateway) == before + MOST
        for number, is_recreated in [(0, False), (3 * MOST - 1, True)]:
            count = len(at.wakes)
            await gateway.create(f"e/{number}", body=b'{"n":1}')
            told = stream_of(await at.wake(count + 1), f"e/{number}")
            assert told.get("recreated", False) is is_recreated
            await gateway.quiet()


@pytest.mark.parametrize("restarts", [False, True], ids=["running", "restarted"])
async def test_a_stream_that_is_created_again_twice_says_so_until_something_is_acknowledged(
    restarts: bool, tmp_path: Path
) -> None:
    async with receiver(answer=DONE) as at:
        async with subscribed(SqliteLog(tmp_path)) as gateway:
            await gateway.webhook("s", at, pattern="*")
            await gateway.create("a", body=b'{"n":1}')
            await at.wake()
            await gateway.quiet()
            at.status = 500
            for _ in range(2):
                await gateway.delete("a")
                await gateway.create("a", body=b'{"n":22}')
            await gateway.quiet()
            if not restarts:
                await says_so(gateway, at)
        if restarts:
            async with subscribed(SqliteLog(tmp_path)) as gateway:
                await says_so(gateway, at)


async def says_so(gateway: Subscribed, at: Receiver) -> None:
    """Assert that the next wake tells the stream as a new one, and the one behind it does not."""
    at.status, count = 200, len(at.wakes)
    gateway.pass_time(90.0)
    assert stream_of(await at.wake(count + 1), "a")["recreated"] is True
    await gateway.quiet()
    await gateway.append("a")
    assert "recreated" not in stream_of(await at.wake(count + 2), "a")


async def test_a_stream_of_which_nothing_counted_is_told_as_any_new_one() -> None:
    async with subscribed() as gateway, receiver(status=500) as at:
        await gateway.webhook("s", at, pattern="*", streams=["a"])
        await gateway.create("a", body=b'{"n":1}')
        await at.wake()
        await gateway.quiet()
        await gateway.delete("a")
        await gateway.create("a", body=b'{"n":22}')
        gateway.pass_time(2.0)
        assert "recreated" not in stream_of(await at.wake(2), "a")


async def test_what_was_linked_at_its_tail_counts_as_acknowledged() -> None:
    async with subscribed() as gateway, receiver() as at:
        for name in ("matched", "named"):
            await gateway.create(name, body=b'{"n":1}')
        await gateway.webhook("s", at, pattern="matched", streams=["named"])
        for number, name in enumerate(["matched", "named"]):
            await gateway.delete(name)
            await gateway.create(name, body=b'{"n":22}')
            wake = await at.wake(number + 1)
            assert stream_of(wake, name)["recreated"] is True
            await gateway.callback(wake, *ends_of(wake))


async def test_the_beginning_of_a_stream_that_was_created_meanwhile_may_be_acknowledged() -> None:
    async with subscribed() as gateway, receiver() as at:
        await gateway.webhook("s", at, pattern="a", streams=["later"])
        await gateway.create("a", body=b'{"n":1}')
        wake = await at.wake()
        assert stream_of(wake, "later")["tail_offset"] == "-1"
        await gateway.create("later", body=b'{"n":1}')
        assert await gateway.callback(wake, *ends_of(wake)) == (
            200,
            {"ok": True, "next_wake": True},
        )
        second = await at.wake(2)
        assert stream_of(second, "later")["has_pending"] is True
        await gateway.callback(second, *ends_of(second))
        status, told = await gateway.callback(second, ("later", "-1"))
        assert (status, told["error"]["code"]) == (409, "FENCED")
        await gateway.append("later")
        status, told = await gateway.callback(await at.wake(3), ("later", "-1"))
        assert (status, told["error"]["code"]) == (409, "INVALID_OFFSET")


async def test_a_wake_stream_that_expires_gets_the_event_again_when_it_is_created() -> None:
    async with subscribed() as gateway:
        await gateway.create("wakes", "Stream-TTL: 5")
        document = {"type": "pull-wake", "pattern": "e/*", "wake_stream": "wakes"}
        await gateway.ask("PUT", "s", document)
        await gateway.create("e/a", body=b'{"n":1}')
        await until(lambda: gateway.engine.wakes.counts["delivered"] == 1)
        gateway.gateway.clock.advance(6.0)
        await gateway.gateway.route.sweeper.round()
        answer = await gateway.gateway.ask(get(f"{PREFIX}/wakes"))
        assert answer.status == 404
        await gateway.create("wakes")
        await gateway.quiet()
        assert [it["generation"] for it in await gateway.read("wakes")] == [1]


async def test_pending_work_keeps_no_stream_alive() -> None:
    async with subscribed() as gateway, receiver(status=500) as at:
        await gateway.webhook("s", at, pattern="*")
        await gateway.create("a", "Stream-TTL: 12", body=b'{"n":1}')
        for number in range(1, 4):
            await at.wake(number)
            await gateway.quiet()
            gateway.pass_time(number * 2.6)
        await gateway.gateway.route.sweeper.round()
        assert (await gateway.gateway.ask(get(f"{PREFIX}/a"))).status == 404
