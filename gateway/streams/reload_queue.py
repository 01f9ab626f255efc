"""A queue of streams to load for their followers, some at a time."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from gateway.errors import HeadgateError, LogUnavailable
from gateway.telemetry.logs import log

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

LOADS_AT_ONCE = 100  # a pass of the loop stays short, and pipelines long
RELOAD_S = 0.5  # until a log that could not be read is asked again


class ReloadQueue:
    """The streams to look at after a lost connection, LOADS_AT_ONCE at a time of thousands."""

    def __init__(self, look: Callable[[str], Awaitable[None]]) -> None:
        self._look = look
        self._behind: dict[str, None] = {}
        self._failed: dict[str, None] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def __len__(self) -> int:
        return len(self._behind) + len(self._failed)

    def add(self, *paths: str) -> None:
        """Look at these streams as soon as it is their turn."""
        self._behind.update(dict.fromkeys(paths))
        while len(self._tasks) < min(LOADS_AT_ONCE, len(self._behind)):
            task = asyncio.get_running_loop().create_task(self._run())
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _run(self) -> None:
        while self._behind:
            path = next(iter(self._behind))
            del self._behind[path]
            try:
                await self._look(path)
            except LogUnavailable:
                if not self._failed:
                    asyncio.get_running_loop().call_later(RELOAD_S, self._try_again)
                self._failed[path] = None
            except HeadgateError as damage:
                log.error("stream.not_followed", path=path, reason=damage.detail)
            except Exception:  # noqa: BLE001 - the others are still to be looked at
                log.exception("stream.not_followed", path=path)

    def _try_again(self) -> None:
        failed, self._failed = self._failed, {}
        self.add(*failed)
