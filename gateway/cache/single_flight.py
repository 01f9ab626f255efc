"""Single flight: many equal reads wait for one."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Hashable

    from gateway.telemetry.metrics import Histogram

T = TypeVar("T")


class _SharedRead(Generic[T]):
    """A read under way, and how many wait for it."""

    __slots__ = ("task", "waiters")

    def __init__(self, task: asyncio.Task[T]) -> None:
        self.task = task
        self.waiters = 0


class SingleFlight(Generic[T]):
    """Reads in flight by key. A waiter that leaves takes nothing from the others.

    With the last one the read ends: whatever it holds must not be held for nobody. `collapsed` is
    told how many a result was given to.
    """

    def __init__(self, collapsed: Histogram | None = None) -> None:
        self._fetches: dict[Hashable, _SharedRead[T]] = {}
        self._collapsed = collapsed
        self.started = 0
        self.joined = 0

    def __contains__(self, key: Hashable) -> bool:
        """Whether such a read is under way."""
        return key in self._fetches

    async def read(self, key: Hashable, read: Callable[[], Coroutine[None, None, T]]) -> T:
        """The result of the read under `key`, begun now unless it is already under way.

        An error reaches each waiter, and the next read begins anew.
        """
        fetch = self._join(key, read)
        try:
            return await asyncio.shield(fetch.task)
        finally:
            self._leave(key, fetch)

    def begin(
        self,
        key: Hashable,
        read: Callable[[], Coroutine[None, None, T]],
        over: Callable[[asyncio.Task[T]], object],
    ) -> Callable[[], object]:
        """The same for a waiter without a task, who is told when it is over; how to leave it.

        He may be told although he has left, when that was as it ended.
        """
        fetch = self._join(key, read)

        def leave() -> None:
            if fetch.task.remove_done_callback(over):  # else he is told, or has left
                self._leave(key, fetch)

        fetch.task.add_done_callback(over)
        return leave

    def _join(self, key: Hashable, read: Callable[[], Coroutine[None, None, T]]) -> _SharedRead[T]:
        fetch = self._fetches.get(key)
        if fetch is None or fetch.task.done():
            self.started += 1
            fetch = _SharedRead(asyncio.get_running_loop().create_task(read()))
            self._fetches[key] = fetch
            fetch.task.add_done_callback(partial(self._fetched, key, fetch))
        else:
            self.joined += 1
        fetch.waiters += 1
        return fetch

    def _leave(self, key: Hashable, fetch: _SharedRead[T]) -> None:
        fetch.waiters -= 1
        if not fetch.waiters and not fetch.task.done():
            self._close(key, fetch)
            fetch.task.cancel()

    def _fetched(self, key: Hashable, fetch: _SharedRead[T], task: asyncio.Task[T]) -> None:
        self._close(key, fetch)
        if task.cancelled():
            return
        error = task.exception()  # taken note of, even where every waiter has left
        if error is None and self._collapsed is not None and fetch.waiters:
            self._collapsed.observe(fetch.waiters)

    def _close(self, key: Hashable, fetch: _SharedRead[T]) -> None:
        """Let nobody join any more."""
        if self._fetches.get(key) is fetch:
            del self._fetches[key]
