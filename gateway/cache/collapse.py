"""Collapse: many equal reads wait for one."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Hashable

T = TypeVar("T")


class Collapse(Generic[T]):
    """Reads in flight by key. A waiter that leaves takes nothing from the others."""

    def __init__(self) -> None:
        self._flights: dict[Hashable, asyncio.Task[T]] = {}
        self.started = 0
        self.joined = 0

    def __contains__(self, key: Hashable) -> bool:
        """Whether such a read is under way."""
        return key in self._flights

    async def read(self, key: Hashable, read: Callable[[], Coroutine[None, None, T]]) -> T:
        """The result of the read under `key`, begun now unless it is already under way.

        An error reaches each waiter, and the next read begins anew.
        """
        flight = self._flights.get(key)
        if flight is None:
            self.started += 1
            flight = asyncio.get_running_loop().create_task(read())
            self._flights[key] = flight
            flight.add_done_callback(partial(self._landed, key))
        else:
            self.joined += 1
        return await asyncio.shield(flight)

    def _landed(self, key: Hashable, flight: asyncio.Task[T]) -> None:
        del self._flights[key]
        if not flight.cancelled():
            flight.exception()  # taken note of, even where every waiter has left
