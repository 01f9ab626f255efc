"""A queue of streams to load, read together: many cost little more than one."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from gateway.backends.contract import LoadedStream

    Outcomes = Mapping[str, LoadedStream | Exception]

MAX_LOADS = 500  # paths of one read: far below SQLite's limit of parameters, some 5 ms of a thread


class LoadQueue:
    """A queue of paths to load: one read at a time, the next for all paths queued meanwhile."""

    def __init__(self, read: Callable[[Sequence[str]], Awaitable[Outcomes]]) -> None:
        """`read` returns the stream at each path, or the error that kept it from being read."""
        self._read = read
        self._waiting: list[tuple[str, asyncio.Future[LoadedStream]]] = []
        self._reading: asyncio.Task[None] | None = None

    def load(self, path: str) -> asyncio.Future[LoadedStream]:
        """Load the stream at `path` with the next read, which has not begun yet."""
        loop = asyncio.get_running_loop()
        found: asyncio.Future[LoadedStream] = loop.create_future()
        self._waiting.append((path, found))
        if self._reading is None:
            self._reading = loop.create_task(self._read_all())
        return found

    async def _read_all(self) -> None:
        try:
            while self._waiting:
                part, self._waiting = self._waiting[:MAX_LOADS], self._waiting[MAX_LOADS:]
                try:
                    outcomes = await self._read([path for path, _ in part])
                except Exception as error:  # noqa: BLE001 - raised in every caller
                    outcomes = dict.fromkeys([path for path, _ in part], error)
                for path, found in part:
                    _settle(found, outcomes[path])
        finally:
            self._reading = None


def _settle(found: asyncio.Future[LoadedStream], outcome: LoadedStream | Exception) -> None:
    if found.done():  # nobody waits any more
        return
    if isinstance(outcome, Exception):
        found.set_exception(outcome)
    else:
        found.set_result(outcome)
