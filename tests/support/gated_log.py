"""The log in memory, whose answers come when a test lets them."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from headgate_gateway.logs.memory import MemoryLog
from tests.support.separate_commits import commit_separately

if TYPE_CHECKING:
    from collections.abc import Sequence

    from headgate_gateway.logs.contract import LoadedStream
    from headgate_gateway.protocol.streams.chunks import Chunk
    from headgate_gateway.protocol.streams.state import Change, StreamState


class GatedLog(MemoryLog):
    """A closed gate holds answers back after they were made: what they tell may be old by then."""

    def __init__(self) -> None:
        super().__init__()
        self.loads = asyncio.Event()
        self.reads = asyncio.Event()
        self.commits = asyncio.Event()
        for gate in (self.loads, self.reads, self.commits):
            gate.set()
        self.loaded = 0
        self.committed: list[tuple[Change, ...]] = []
        self.failures: list[Exception] = []  # outcomes of the next commits, instead of committing
        self._settling: set[asyncio.Task[None]] = set()

    async def load(self, path: str) -> LoadedStream:
        self.loaded += 1
        found = await super().load(path)
        await self.loads.wait()
        return found

    async def read(self, state: StreamState, start: int, end: int) -> Chunk:
        found = await super().read(state, start, end)
        await self.reads.wait()
        return found

    commit_separately = commit_separately

    def commit(self, changes: Sequence[Change]) -> asyncio.Future[None]:
        self.committed.append(tuple(changes))
        outcome: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        inner = None if self.failures else super().commit(changes)
        failure = self.failures.pop(0) if inner is None else None
        settling = asyncio.create_task(self._settle(outcome, inner, failure))
        self._settling.add(settling)
        settling.add_done_callback(self._settling.discard)
        return outcome

    async def _settle(
        self,
        outcome: asyncio.Future[None],
        inner: asyncio.Future[None] | None,
        failure: Exception | None,
    ) -> None:
        await self.commits.wait()
        if inner is not None:
            await asyncio.wait([inner])
            failure = inner.exception()  # type: ignore[assignment] # a log raises no BaseException
        if failure is not None:
            outcome.set_exception(failure)
        else:
            outcome.set_result(None)


async def turns(count: int = 10) -> None:
    """Let the loop turn: whatever can happen without a gate has happened."""
    for _ in range(count):
        await asyncio.sleep(0)
