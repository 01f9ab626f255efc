"""Single flight: many equal reads wait for one."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Generic, TypeVar, cast

from gateway.later import Later
from gateway.stepped import Step
from gateway.telemetry import tracing

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Hashable

    from gateway.telemetry.metrics import Histogram

T = TypeVar("T")


class _SharedRead(Generic[T]):
    """A read under way, and how many wait for its result."""

    __slots__ = ("result", "step", "waiters")
    step: Step[T]

    def __init__(self) -> None:
        self.result: Later[T] = Later()
        self.waiters = 1


class SingleFlight(Generic[T]):
    """Reads in flight by key. A waiter that leaves takes nothing from the others.

    Each is a step of its own: one that ends at once needs no task. With the last waiter the read
    ends: whatever it holds must not be held for nobody. `collapsed` is told how many a result was
    given to.
    """

    def __init__(self, collapsed: Histogram | None = None) -> None:
        self._fetches: dict[Hashable, _SharedRead[T]] = {}
        self._collapsed = collapsed
        self.started = 0
        self.joined = 0

    def __contains__(self, key: Hashable) -> bool:
        """Return whether a read under `key` is under way."""
        return key in self._fetches

    async def read(self, key: Hashable, read: Callable[[], Coroutine[None, None, T]]) -> T:
        """Return the result of the read under `key`, which is shared if it is under way.

        An error reaches each waiter, and the next call reads again.
        """
        fetch = self._fetches.get(key)
        if fetch is None or fetch.result.done():
            self.started += 1
            fetch = self._fetches[key] = _SharedRead()
            fetch.step = Step(read, partial(self._over, key, fetch), tracing.own_context())
            fetch.step.run()
        else:
            self.joined += 1
            fetch.waiters += 1
        try:
            return await fetch.result
        finally:
            fetch.waiters -= 1
            if not fetch.waiters and not fetch.result.done():
                self._close(key, fetch)
                fetch.step.cancel()

    def _over(
        self, key: Hashable, fetch: _SharedRead[T], result: T | None, error: BaseException | None
    ) -> None:
        try:
            self._close(key, fetch)
            if error is None and self._collapsed is not None and fetch.waiters:
                self._collapsed.observe(fetch.waiters)
        finally:  # whatever happens, those who wait are told
            if error is None:
                fetch.result.set_result(cast("T", result))
            else:
                fetch.result.set_exception(error)

    def _close(self, key: Hashable, fetch: _SharedRead[T]) -> None:
        """Let nobody join any more."""
        if self._fetches.get(key) is fetch:
            del self._fetches[key]
