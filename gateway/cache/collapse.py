"""Collapse: many equal reads wait for one."""

from __future__ import annotations

import asyncio
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

    async def read(self, key: Hashable, read: Callable[[], Coroutine[None, None, T]]) -> T:
        """The result of the read under `key`, begun now unless it is already under way.

        An error reaches each waiter, and the next read begins anew.
        """
        flight = self._flights.get(key)
        if flight is None:
            self.started += 1
            flight = asyncio.get_running_loop().create_task(read())
            self._flights[key] = flight
            flight.add_done_callback(lambda _: self._flights.pop(key, None))
        else:
            self.joined += 1
        return await asyncio.shield(flight)
