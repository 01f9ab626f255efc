"""Streams that are deleted, expire, and are created again: what is remembered, and for how long."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from headgate_gateway.features.subscriptions.delivery.documents import documents_in
from headgate_gateway.logs.sqlite.log import SqliteLog
from tests.subscriptions.receivers import ends_of, receiver, stream_of, subscribed
from tests.support.serving import PREFIX, get
from tests.support.waiting import until

if TYPE_CHECKING:
    from pathlib import Path

    from tests.subscriptions.receivers import Subscribed

DONE = {"done": True}


async def documents_of(gateway: Subscribed) -> int:
    """Return how many documents the log has."""
    documents = documents_in(gateway.gateway.log)
    assert documents is not None
    await gateway.engine.rows.flush()
    return len(await documents.read("", 1_000))


async def test_nothing_stays_of_streams_that_are_removed(tmp_path: Path) -> None:
    async with subscribed(SqliteLog(tmp_path)) as gateway, receiver(answer=DONE) as at:
        await gateway.webhook("s", at, pattern="e/*")
        before = await documents_of(gateway)
        for number in range(3):
            await gateway.create("e/a", body=b'{"n":1}')
            await at.wake(number + 1)
            await gateway.quiet()
            assert await documents_of(gateway) == before + 1
            await gateway.delete("e/a")
            assert gateway.engine.membership.streams == {}
            assert await documents_of(gateway) == before


@pytest.mark.parametrize("restarts", [False, True], ids=["running", "restarted"])
async def test_a_stream_that_is_created_again_counts_from_its_beginning(
    restarts: bool, tmp_path: Path
) -> None:
    async with receiver(answer=DONE) as at:
        async with subscribed(SqliteLog(tmp_path)) as gateway:
            await gateway.webhook("s", at, pattern="*", streams=["named"])
            for number, name in enumerate(("a", "named")):
                await gateway.create(name, body=b'{"n":1}')
                await at.wake(number + 1)
                await gateway.quiet()
            if restarts:
                gateway.engine.streams.observe(None)
            for name in ("a", "named"):
                await gateway.delete(name)
                await gateway.create(name, body=b'{"n":22}')
            if not restarts:
                await until(lambda: not gateway.engine.by_id["s"].pending)
        if restarts:
            async with subscribed(SqliteLog(tmp_path)) as gateway:
                await until(lambda: not gateway.engine.by_id["s"].pending)
        again = [it for wake in at.wakes[2:] for it in wake["streams"] if it["has_pending"]]
        assert {it["path"] for it in again} == {"a", "named"}
        assert {it["acked_offset"] for it in again} == {"-1"}


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
