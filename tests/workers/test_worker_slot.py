"""A worker that hangs is ended, and another one takes its seat."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import time
from typing import TYPE_CHECKING, NamedTuple

import pytest

from headgate_gateway.features.questions.process_source import Health, Restarts
from headgate_gateway.runtime.write_journal import share_memory
from headgate_gateway.settings import Settings
from headgate_gateway.telemetry.health import Cause, HealthNote
from headgate_gateway.workers import worker_slot
from headgate_gateway.workers import worker_slot as slots
from headgate_gateway.workers.channel import (
    READY,
    Channel,
    ReportStatus,
    StartMessage,
    WorkerReply,
    WorkerReport,
    WorkerRequest,
)
from headgate_gateway.workers.worker_slot import WorkerCalls, WorkerSlot
from tests.support.log_lines import capture_logs
from tests.support.ports import free_port
from tests.support.waiting import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


async def test_a_worker_that_reads_no_messages_is_sent_no_more_wake_messages() -> None:
    ours, theirs = socket.socketpair()
    slot = WorkerSlot(1, StartMessage("{}", b"", 0), lambda _: None, lambda: None)
    with theirs:
        channel = await Channel.over(ours)
        slot._calls = WorkerCalls(channel)
        slot.wake()
        while not channel.unsent:  # beyond what the socket itself takes
            slot.wake()
        before = channel.unsent
        for _ in range(1000):
            slot.wake()
        assert channel.unsent == before
    await channel.close()


# ---------------------------------------------------------------- one that does not answer

QUICK_S = 0.002
WELL = WorkerReport(Health((HealthNote("server"),)), ())


class Held(NamedTuple):
    """A seat whose worker is a test: `there` is its end of the channel, `living` its process."""

    slot: WorkerSlot
    there: Channel
    living: asyncio.Task[bytes]

    async def asked(self) -> int:
        """Wait until the worker is asked how it is; the number of the request."""
        message = await self.there.receive()
        assert isinstance(message, WorkerRequest)
        assert message.body == ReportStatus()
        return message.number

    async def misses_one_more(self) -> None:
        assert self.slot._calls is not None
        before = self.slot._calls.missed
        async with asyncio.timeout(30):
            while self.slot._calls.missed <= before:
                await asyncio.sleep(0)


@contextlib.asynccontextmanager
async def held(monkeypatch: pytest.MonkeyPatch, most_missed: int) -> AsyncIterator[Held]:
    """Asked much more often than workers are."""
    monkeypatch.setattr(slots, "ASK_EVERY_S", QUICK_S)
    monkeypatch.setattr(worker_slot, "REPORT_S", QUICK_S)
    monkeypatch.setattr(slots, "MOST_MISSED", most_missed)
    ours, theirs = socket.socketpair()
    slot = WorkerSlot(1, StartMessage("{}", b"", 0), lambda _: None, lambda: None)
    channel = await Channel.over(ours)
    calls = slot._calls = WorkerCalls(channel)
    there = await Channel.over(theirs)
    process = slot._process = await asyncio.create_subprocess_exec(
        "sleep", "60", stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    listening = asyncio.create_task(slot._listen(calls))
    asking = asyncio.create_task(slot._keep_asking(calls))
    there.send(READY)
    try:
        yield Held(slot, there, asyncio.create_task(process.stdout.read()))
    finally:
        asking.cancel()
        slot.kill()
        await process.wait()
        await there.close()
        await listening
        await channel.close()


@pytest.mark.usefixtures("processes")
@pytest.mark.parametrize("most", [1, 3])
async def test_a_serving_worker_that_does_not_answer_is_killed_at_the_limit(
    monkeypatch: pytest.MonkeyPatch, most: int
) -> None:
    with capture_logs() as lines:
        async with held(monkeypatch, most) as worker:
            async with asyncio.timeout(30):
                assert await worker.living == b""
            assert worker.slot.hangs == 1
    reason = f"did not answer {most} times in a row"
    assert [line for line in lines if line["event"] == "worker.hangs"] == [
        {"event": "worker.hangs", "log_level": "error", "worker": 1, "reason": reason}
    ]


@pytest.mark.usefixtures("processes")
async def test_a_worker_that_answers_late_each_time_is_not_killed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    most = 20
    async with held(monkeypatch, most) as worker:
        for _ in range(2 * most):
            number = await worker.asked()
            await worker.misses_one_more()
            worker.there.send(WorkerReply(number, WELL))
        await worker.asked()
        assert worker.slot.hangs == 0


@pytest.mark.usefixtures("processes")
async def test_a_pause_of_the_whole_process_counts_as_one_missed_answer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with held(monkeypatch, 20) as worker:
        number = await worker.asked()
        time.sleep(50 * QUICK_S)  # nothing else runs meanwhile
        await worker.misses_one_more()
        worker.there.send(WorkerReply(number, WELL))
        await worker.asked()
        assert worker.slot.hangs == 0


@pytest.mark.usefixtures("processes")
async def test_a_worker_that_does_not_serve_yet_is_not_killed_for_missing_answers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with held(monkeypatch, 2) as worker:
        await worker.asked()
        worker.slot.cause = Cause("ended", {"reason": "was killed by SIGKILL"})
        for _ in range(20):
            assert await worker.slot.report() is None
        assert worker.slot.hangs == 0


@pytest.mark.usefixtures("processes")
async def test_a_stopped_worker_process_is_replaced_by_one_that_serves(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A real worker, of which less patience is had."""
    monkeypatch.setattr(slots, "MOST_MISSED", 2)
    settings = Settings(
        listen=f"127.0.0.1:{free_port()}",
        origin=f"http://127.0.0.1:{free_port()}",
        workers=2,
    )
    given = json.dumps(settings.plain(explicit_only=True, secrets=True))
    slot = WorkerSlot(1, StartMessage(given, b"", share_memory(2)), lambda _: None, lambda: None)
    keeping = asyncio.create_task(slot.run())
    async with asyncio.timeout(60):
        await slot.started.wait()
    assert slot._process is not None
    first = slot._process.pid
    os.kill(first, signal.SIGSTOP)
    await until(lambda: slot.restarts.total > 0, within_s=50)
    told = slot.cause
    await until(lambda: slot.cause is None, within_s=50)
    assert slot.hangs >= 1
    assert told is not None
    assert told.sentence == "did not answer 2 times in a row, and was killed, starting again"
    assert slot._process.pid != first
    slot.stop()
    async with asyncio.timeout(60):
        await keeping


@pytest.mark.parametrize(("ago_s", "is_noted"), [(-1, True), (1, False)], ids=["before", "after"])
async def test_a_replaced_worker_is_noted_for_a_minute(ago_s: float, *, is_noted: bool) -> None:
    slot = WorkerSlot(2, StartMessage("{}", b"", 0), lambda _: None, lambda: None)
    ended_at = asyncio.get_running_loop().time() - slots.REPLACED_S - ago_s
    slot.restarts = Restarts(1, "was killed by SIGKILL", ended_at)
    assert [*slot.notes()] == []  # none serves in its place yet
    slot.cause = None
    sentences = [f"{it.name} {it.sentence}" for it in slot.notes()]
    assert [it.startswith("worker 2 was killed by SIGKILL; ") for it in sentences] == [
        True
    ] * is_noted
