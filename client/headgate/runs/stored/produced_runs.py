"""The runs that this process produces, each in a task of its own."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from headgate.keep_alive import end_of
from headgate.runs.stored.production import CLOSE_TIMEOUT_S, SHUT_DOWN

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from headgate.keep_alive import KeepAlive
    from headgate.runs.stored.production import Production


class ProducedRuns:
    """The productions under way; a newer one of the same run replaces the older."""

    def __init__(self, keep_alive: KeepAlive | None) -> None:
        """Call `keep_alive` with an awaitable for each production, which ends when that does."""
        self._keep_alive = keep_alive
        self._latest: dict[str, Production] = {}  # by run id
        self._tasks: dict[asyncio.Task[None], Production] = {}

    def __len__(self) -> int:
        return len(self._tasks)

    def __contains__(self, run_id: str) -> bool:
        return run_id in self._latest

    def of(self, run_id: str) -> Production:
        """Return the production of a run. Raises KeyError if there is none here."""
        return self._latest[run_id]

    def start(
        self, run_id: str, production: Production, items: AsyncIterator[object], owner: object
    ) -> asyncio.Task[None]:
        """Produce a run from its source, in a task of its own.

        `owner`, whose session the production uses, stays in memory until that has ended.
        """
        self._latest[run_id] = production
        task = asyncio.create_task(production.run(items), name=f"run {run_id}")
        self._tasks[task] = production
        task.add_done_callback(lambda done: self._forget(run_id, done, owner))
        if self._keep_alive is not None:
            self._keep_alive(end_of(task))
        return task

    async def run(
        self, run_id: str, production: Production, items: AsyncIterator[object], owner: object
    ) -> None:
        """Produce a run and wait for its end; shut it down if the caller is cancelled."""
        task = self.start(run_id, production, items, owner)
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError:
            production.end(SHUT_DOWN)
            await asyncio.wait({task}, timeout=CLOSE_TIMEOUT_S)
            raise

    async def end(self, within_s: float) -> None:
        """Let all productions end within so many seconds, then end them."""
        if self._tasks:
            await asyncio.wait(list(self._tasks), timeout=within_s)
        for production in self._tasks.values():
            production.end(SHUT_DOWN)
        if self._tasks:
            await asyncio.wait(list(self._tasks))

    def _forget(self, run_id: str, task: asyncio.Task[None], _owner: object) -> None:
        production = self._tasks.pop(task)
        if self._latest.get(run_id) is production:
            del self._latest[run_id]
