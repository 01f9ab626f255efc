"""Objects that belong to an event loop, one for each loop."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")


class PerLoop(Generic[T]):
    """A set of objects, such as connections, each made at the first use in its event loop."""

    def __init__(self, make: Callable[[], T]) -> None:
        self._make = make
        self._by_loop: dict[asyncio.AbstractEventLoop, T] = {}

    def here(self) -> T:
        """Return the object of the running loop; make it at the first call."""
        loop = asyncio.get_running_loop()
        found = self._by_loop.get(loop)
        if found is None:
            self._forget_closed()
            found = self._by_loop[loop] = self._make()
        return found

    def pop(self) -> T | None:
        """Remove and return the object of the running loop, or None."""
        return self._by_loop.pop(asyncio.get_running_loop(), None)

    def are_elsewhere(self) -> bool:
        """Return whether a loop that is not closed has an object."""
        return any(not loop.is_closed() for loop in list(self._by_loop))

    def _forget_closed(self) -> None:
        # Weak keys would not do it: what belongs to a loop refers to it.
        for loop in list(self._by_loop):  # other threads add theirs
            if loop.is_closed():
                self._by_loop.pop(loop, None)
