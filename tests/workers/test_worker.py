"""A worker under the messages of its supervisor."""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING, cast

from headgate_gateway.features.questions.process_source import Health
from headgate_gateway.workers import worker
from headgate_gateway.workers.channel import (
    LOOK,
    Channel,
    ReportStatus,
    WorkerReply,
    WorkerReport,
    WorkerRequest,
)

if TYPE_CHECKING:
    from headgate_gateway.process.gateway import Gateway


class LookingGateway:
    """A gateway that counts how often it looks at the journals of other workers."""

    def __init__(self) -> None:
        self.looks = 0

    def catch_up(self) -> None:
        self.looks += 1

    async def health(self) -> Health:
        return Health()

    def numbers(self) -> tuple[()]:
        return ()


async def test_a_worker_reads_the_write_journals_at_every_message() -> None:
    ours, theirs = socket.socketpair()
    here, there = await Channel.over(ours), await Channel.over(theirs)
    gateway, stop = LookingGateway(), asyncio.Event()
    listening = asyncio.create_task(worker._listen(there, cast("Gateway", gateway), stop))
    here.send(WorkerRequest(1, ReportStatus()))
    assert await here.receive() == WorkerReply(1, WorkerReport(Health(), ()))
    assert gateway.looks == 1
    here.send(LOOK)
    here.send(WorkerRequest(2, ReportStatus()))
    assert await here.receive() == WorkerReply(2, WorkerReport(Health(), ()))
    assert gateway.looks == 3
    await here.close()
    await listening
    assert stop.is_set()
    await there.close()
