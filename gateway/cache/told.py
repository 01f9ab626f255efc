"""Something that becomes known once: for tasks, which wait for it, and for who asks later.

A future costs its loop a turn for each who is told, and its maker an object of the loop even where
nobody waits. Of what is read without a task, nobody does.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")


class Told(Generic[T]):
    """A value, or the error instead of it."""

    # What most never come to differ in stands here: so to make one is cheap.
    _is_done = False
    _error: Exception | None = None
    _wakes: list[Callable[[], object]] | None = None
    _value: T

    def done(self) -> bool:
        """Whether it is known."""
        return self._is_done

    def result(self) -> T:
        """The value, once it is known. Raises the error."""
        assert self._is_done, "nobody asks before"
        if self._error is not None:
            raise self._error
        return self._value

    def exception(self) -> Exception | None:
        """The error, once it is known that there is one."""
        return self._error

    def set_result(self, value: T) -> None:
        """Tell the value."""
        assert not self._is_done, "told once"
        self._value = value
        if self._wakes is not None:
            self._wake()
        self._is_done = True

    def set_exception(self, error: Exception) -> None:
        """Tell of the error."""
        assert not self._is_done, "told once"
        self._error = error
        if self._wakes is not None:
            self._wake()
        self._is_done = True

    def _wake(self) -> None:
        wakes, self._wakes = self._wakes, None
        for wake in wakes or ():
            wake()

    async def wait(self, timeout_s: float | None = None) -> bool:
        """Wait until it is known, or for so long; whether it is."""
        if self._is_done:
            return True
        woken = asyncio.get_running_loop().create_future()

        def wake() -> None:
            if not woken.done():
                woken.set_result(None)

        if self._wakes is None:
            self._wakes = []
        self._wakes.append(wake)
        try:
            if timeout_s is None:
                await woken
            else:
                await asyncio.wait([woken], timeout=timeout_s)
        finally:
            if self._wakes is not None:
                self._wakes.remove(wake)
        return self._is_done
