"""Changes of streams that concern many subscriptions, or whose names take long to match.

They are taken in turns, behind the answer to the client: whoever appends to another stream waits
for one turn at most.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from gateway.telemetry.logs import log
from gateway.turns import at_once

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from gateway.turns import Turns

    Steps = Generator[None, None, None]

# Streams that wait, of about 500 bytes each. Beyond them a change is taken at once, which slows
# down all clients; a name takes 60 ms at most, and an attacker needs 100,000 creations before.
MOST_WAITING = 100_000


class LateChanges:
    """The streams whose changes are being taken, each by the newest state that is known of it."""

    def __init__(self, turns: Turns) -> None:
        self._turns = turns
        self._waiting: dict[str, Steps] = {}
        self._task: asyncio.Task[None] | None = None

    def __len__(self) -> int:
        return len(self._waiting)

    def __contains__(self, path: str) -> bool:
        return path in self._waiting

    def add(self, path: str, make_steps: Callable[[], Steps]) -> None:
        """Take the changes of a stream that does not wait yet, by these steps."""
        if len(self._waiting) >= MOST_WAITING:
            at_once(make_steps())
            return
        self._waiting[path] = make_steps()
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._run())

    def drop(self, path: str) -> None:
        """Take no changes of a stream that is gone."""
        self._waiting.pop(path, None)

    async def _run(self) -> None:
        try:
            while self._waiting:
                path, steps = next(iter(self._waiting.items()))
                try:
                    await self._turns.run(self._while_waiting(path, steps))
                except Exception:  # noqa: BLE001 - the changes are committed all the same
                    log.exception("subscription.change_missed", path=path)
                if self._waiting.get(path) is steps:
                    del self._waiting[path]
        finally:
            self._task = None

    def _while_waiting(self, path: str, steps: Steps) -> Steps:
        """Take steps until they end, or the stream is dropped."""
        for _ in steps:
            if self._waiting.get(path) is not steps:
                return
            yield

    async def settle(self) -> None:
        """Wait until no stream waits."""
        if self._task is not None:
            await asyncio.wait({self._task})

    async def close(self) -> None:
        """Take no more changes: a start finds them."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        self._waiting.clear()
