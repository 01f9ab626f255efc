"""What is stored of a subscription counts after a restart: leases, retries, cursors, streams."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

import pytest

from headgate_gateway.errors import LogUnavailable
from headgate_gateway.features.subscriptions.delivery.documents import MemoryDocuments
from headgate_gateway.features.subscriptions.rows import SubscriptionRows
from headgate_gateway.logs.sqlite.log import SqliteLog
from tests.subscriptions.receivers import (
    Receiver,
    Subscribed,
    ends_of,
    receiver,
    stream_of,
    subscribed,
    subscription_of,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping
    from pathlib import Path

DONE = {"done": True}


@contextlib.asynccontextmanager
async def started(folder: Path) -> AsyncIterator[Subscribed]:
    """A gateway with the data folder, started again; its clock begins anew."""
    async with subscribed(SqliteLog(folder / "log")) as gateway:
        yield gateway


async def woken(gateway: Subscribed, at: Receiver) -> dict[str, Any]:
    """Create a subscription and a stream, and return the wake."""
    await gateway.webhook("s", at, pattern="*", streams=["named"])
    await gateway.create("a", body=b'{"n":1}')
    wake = await at.wake()
    await gateway.quiet()
    return wake


async def test_a_wake_stream_that_others_match_wakes_them_after_a_restart(tmp_path: Path) -> None:
    async with started(tmp_path) as gateway:
        members = {"type": "pull-wake", "pattern": "later", "wake_stream": "later"}
        assert (await gateway.put("first", **members))[0] == 201
        await gateway.pull("s", pattern="later")
        await gateway.create("later", body=b'{"n":1}')
    async with started(tmp_path) as gateway:
        assert (await gateway.claim())[0] == 200


async def test_configuration_cursors_and_links_are_there_after_a_restart(tmp_path: Path) -> None:
    async with receiver(answer=DONE) as at:
        async with started(tmp_path) as gateway:
            await woken(gateway, at)
            await gateway.ask("POST", "s/streams", {"streams": ["later"]})
            before = (await gateway.ask("GET", "s"))[1]
        async with started(tmp_path) as gateway:
            after = (await gateway.ask("GET", "s"))[1]
            by_path = [sorted(it.pop("streams"), key=str) for it in (before, after)]
            assert by_path[0] == by_path[1]
            assert before == after
            await gateway.quiet()
            assert len(at.wakes) == 1
            await gateway.append("a")
            assert (await at.wake(2))["generation"] == 2


async def test_a_wake_that_was_not_acknowledged_is_sent_again_as_the_same(tmp_path: Path) -> None:
    async with receiver(status=500) as at:
        async with started(tmp_path) as gateway:
            wake = await woken(gateway, at)
            subscription = gateway.engine.by_id["s"]
            due = subscription.delivery.next_attempt_at
        async with started(tmp_path) as gateway:
            subscription = gateway.engine.by_id["s"]
            assert subscription.delivery.next_attempt_at == due
            await gateway.quiet()
            assert len(at.wakes) == 1  # the pause is not over
            gateway.pass_time(2.0)
            again = await at.wake(2)
            assert (again["wake_id"], again["generation"]) == (wake["wake_id"], 1)
            status, told = await gateway.callback(wake, *ends_of(wake))
            assert (status, told) == (200, {"ok": True, "next_wake": False})


async def test_a_lease_lasts_over_a_restart_and_ends_at_its_time(tmp_path: Path) -> None:
    async with started(tmp_path) as gateway:
        await gateway.pull("s", pattern="e/*", lease_ttl_ms=10_000)
        await gateway.create("e/a", body=b'{"n":1}')
        _, claimed = await gateway.claim("first")
    async with started(tmp_path) as gateway:
        status, told = await gateway.claim("second")
        assert (status, told["error"]["current_holder"]) == (409, "first")
        gateway.pass_time(10.0)
        status, second = await gateway.claim("second")
        assert (status, second["generation"]) == (200, 2)
        answer = await gateway.ack(claimed)
        assert answer[1]["error"]["code"] == "FENCED"


async def test_streams_that_came_while_nobody_looked_wake_from_their_beginning(
    tmp_path: Path,
) -> None:
    """As after a crash between an append and its wake: nothing is stored of either wake."""
    async with receiver(answer=DONE) as at:
        async with started(tmp_path) as gateway:
            await woken(gateway, at)
            gateway.engine.streams.observe(None)
            await gateway.append("a")
            await gateway.create("b", body=b'{"n":1}')
        async with started(tmp_path):
            wake = await at.wake(2)
            assert stream_of(wake, "a")["has_pending"]
            assert stream_of(wake, "b")["acked_offset"] == "-1"


class BusyDocuments(MemoryDocuments):
    """Documents that somebody changes while others are being written."""

    def __init__(self) -> None:
        super().__init__({})
        self.rows: SubscriptionRows
        self.writes = 0

    async def write(self, changes: Mapping[str, bytes | None]) -> None:
        self.writes += 1
        await asyncio.sleep(0)
        if self.writes < 1_000:
            self.rows.mark(subscription_of("busy", "e/*"))
        await super().write(changes)


async def test_a_write_waits_for_what_was_marked_before_and_for_nothing_later() -> None:
    documents = BusyDocuments()
    rows = documents.rows = SubscriptionRows(documents)
    rows.mark(subscription_of("mine", "e/*"))
    await rows.flush()
    assert documents.writes < 5
    assert any("mine" in name for name, _ in await documents.read("", 10))


class FailingDocuments(MemoryDocuments):
    """Documents whose first write fails."""

    fails = True

    async def write(self, changes: Mapping[str, bytes | None]) -> None:
        if self.fails:
            self.fails = False
            raise LogUnavailable("the disk is full")
        await super().write(changes)


async def test_what_could_not_be_written_is_written_with_the_next_change() -> None:
    documents = FailingDocuments({})
    rows = SubscriptionRows(documents)
    rows.mark(subscription_of("first", "e/*"))
    with pytest.raises(LogUnavailable):
        await rows.flush()
    rows.mark(subscription_of("second", "e/*"))
    await rows.flush()
    names = [name for name, _ in await documents.read("", 10)]
    assert ["first" in names[0], "second" in names[1]] == [True, True]


async def test_a_repeated_deletion_is_refused_as_long_as_it_cannot_be_stored(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with subscribed() as gateway:
        await gateway.pull("s", pattern="events/*")
        documents = FailingDocuments({})
        # The rows have their log from the beginning, and no log can be told to fail.
        monkeypatch.setattr(gateway.engine.rows, "_documents", documents)
        for fails in (True, True, False):
            documents.fails = fails
            assert (await gateway.ask("DELETE", "s"))[0] == (503 if fails else 204)
