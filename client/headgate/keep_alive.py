"""Hosts that stop a process soon after an answer, and are told what it has still to do."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    import asyncio

# As `waitUntil` is in JavaScript.
KeepAlive: TypeAlias = Callable[[Awaitable[None]], object]


def end_of(task: asyncio.Task[None]) -> Awaitable[None]:
    """Return what ends when the task does; it raises nothing, and cancelling it ends no task."""
    ended: asyncio.Future[None] = task.get_loop().create_future()
    task.add_done_callback(lambda _: _set(ended))
    return ended


def _set(ended: asyncio.Future[None]) -> None:
    if not ended.done():  # the host may have cancelled it
        ended.set_result(None)
