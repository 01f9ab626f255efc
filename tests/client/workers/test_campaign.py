"""Workers and the gateway are killed again and again: each message is handled, and acknowledged."""

from __future__ import annotations

import asyncio
import contextlib
import random
from typing import TYPE_CHECKING

import pytest
from headgate import Unavailable

from tests.client.workers.pools import Pool, pool
from tests.client.workers.test_kills import noted, worker_process
from tests.support.examples import IS_WHOLE
from tests.support.processes import Headgate
from tests.support.waiting import SERVER_PATIENCE_S, until

if TYPE_CHECKING:
    from asyncio.subprocess import Process
    from pathlib import Path

KILLS = 60 if IS_WHOLE else 6
STREAMS = 4
SEED = 37


class Campaign:
    """Writers, two workers, and who kills them."""

    def __init__(self, server: Headgate, work: Pool, notes: Path) -> None:
        self.server = server
        self.work = work
        self.notes = notes
        self.chance = random.Random(SEED)
        self.tails: dict[str, str | None] = {}
        self.written: set[str] = set()

    async def write(self, number: int) -> None:
        """Append messages until this is cancelled; what may be stored already comes twice."""
        name = f"s{number}"
        for count in range(10_000):
            message = f"{name}/{count}"
            self.tails[name] = await self._stored(name, message)
            self.written.add(message)
            await asyncio.sleep(0.02)

    async def _stored(self, name: str, message: str) -> str | None:
        """Append until it succeeds, and return the offset behind the message."""
        while True:
            with contextlib.suppress(Unavailable):
                return (await self.work.append(name, message)).next_offset
            await asyncio.sleep(0.05)

    async def run(self) -> None:
        """Kill so often, and then wait until all is acknowledged."""
        async with contextlib.AsyncExitStack() as stack:
            workers: list[Process] = []
            for _ in range(2):
                started = worker_process(self.work, self.notes)
                workers.append(await stack.enter_async_context(started))
            writers = [asyncio.create_task(self.write(number)) for number in range(STREAMS)]
            for kill in range(KILLS):
                seen = len(noted(self.notes))
                await until(
                    lambda seen=seen: len(noted(self.notes)) > seen,  # type: ignore[misc] # a bool
                    "work",
                    within_s=SERVER_PATIENCE_S,
                )
                await asyncio.sleep(self.chance.random() * 0.05)  # anywhere in the work
                if kill % 2:
                    self.server.kill()
                    await asyncio.to_thread(self.server.start)
                else:
                    workers.pop(0).kill()
                    started = worker_process(self.work, self.notes)
                    workers.append(await stack.enter_async_context(started))
            for writer in writers:
                writer.cancel()
            await asyncio.gather(*writers, return_exceptions=True)
            for name in self.tails:
                await until(lambda name=name: self.is_done(name), within_s=SERVER_PATIENCE_S)  # type: ignore[misc] # a coroutine

    async def is_done(self, name: str) -> bool:
        """Return whether a stream is acknowledged up to what was last stored."""
        return (await self.work.cursor(name) or "") >= (self.tails[name] or "")


@pytest.mark.usefixtures("processes")
@pytest.mark.timeout(600)
async def test_each_message_is_handled_and_acknowledged_though_everything_is_killed(
    tmp_path: Path,
) -> None:
    server = Headgate(f"file:{tmp_path / 'streams'}")
    notes = tmp_path / "notes"
    try:
        await asyncio.to_thread(server.start)
        async with pool(server.streams, lease_ttl_ms=1000) as work:
            campaign = Campaign(server, work, notes)
            await campaign.run()
        assert len(campaign.written) >= KILLS
        assert campaign.written <= set(noted(notes))
    finally:
        server.close()
