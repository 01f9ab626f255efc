"""Changes of streams that concern many subscriptions, or whose names take long to match.

They are handled in turns, after the response to the client: an append to another stream waits for
one turn at most.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from gateway.background import at_once
from gateway.telemetry.logs import log

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from gateway.background import Turns

    Steps = Generator[None, None, bool]

# Streams that wait, of about 500 bytes each. Beyond them a change is taken at once, which slows
# down all clients; a name takes 60 ms at most, and an attacker needs 100,000 creations before.
MOST_WAITING = 100_000


class LateChanges:
    """Streams whose changes wait for a turn; each is handled with its state at that time."""

    def __init__(self, turns: Turns, make_steps: Callable[[str], Steps]) -> None:
        """`make_steps` makes the steps for a stream, which return whether it has to wait again."""
        self._turns = turns
        self._make_steps = make_steps
        self._waiting: dict[str, Steps] = {}
        self._handled = asyncio.Event()  # replaced with each stream
        self._task: asyncio.Task[None] | None = None

    def __len__(self) -> int:
        return len(self._waiting)

    def __contains__(self, path: str) -> bool:
        return path in self._waiting

    def add(self, path: str) -> None:
        """Have the changes of a stream handled, unless it waits already."""
        if path in self._waiting:
            return
        if len(self._waiting) >= MOST_WAITING:
            at_once(self._make_steps(path))
            return
        self._waiting[path] = self._make_steps(path)
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._run())

    def drop(self, path: str) -> None:
        """Take no changes of a stream that is gone."""
        self._waiting.pop(path, None)

    async def _run(self) -> None:
        try:
            while self._waiting:
                path, steps = next(iter(self._waiting.items()))
                waits_again = False
                try:
                    waits_again = await self._turns.run(self._while_waiting(path, steps))
                except Exception:  # noqa: BLE001 - the changes are committed all the same
                    log.exception("subscription.change_missed", path=path)
                if self._waiting.get(path) is steps:
                    del self._waiting[path]
                    if waits_again:  # after all others, as it may change all the time
                        self._waiting[path] = self._make_steps(path)
                self._handled.set()
                self._handled = asyncio.Event()
        finally:
            self._task = None

    def _while_waiting(self, path: str, steps: Steps) -> Steps:
        """Take steps until they end, or the stream is dropped."""
        while self._waiting.get(path) is steps:
            try:
                next(steps)
            except StopIteration as stop:
                waits_again: bool = stop.value
                return waits_again
            yield
        return False

    async def settle(self) -> None:
        """Wait until each stream that waits now is handled once, or dropped."""
        for path, steps in list(self._waiting.items()):
            while self._waiting.get(path) is steps:
                await self._handled.wait()

    async def close(self) -> None:
        """Take no more changes: a start finds them."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        self._waiting.clear()
        self._handled.set()
