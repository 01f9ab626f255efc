"""Single flight: concurrent reads with an equal key share one result.

Reads of logs, of followed streams and of the origin's permission use it. The fetches of the HTTP
cache, whose bodies are shared while they arrive, are in `edge.reads.fetches`.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast

from headgate_gateway.later import Later, turn
from headgate_gateway.stepped import Step
from headgate_gateway.telemetry import tracing

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Hashable

    from headgate_gateway.telemetry.metrics import Histogram

T = TypeVar("T")


class _SharedRead(Generic[T]):
    """A read under way, and the number of its waiters."""

    __slots__ = ("result", "step", "waiters")
    step: Step[T]

    def __init__(self) -> None:
        self.result: Later[T] = Later()
        self.waiters = 1


class SingleFlight(Generic[T]):
    """The reads in flight by key.

    A read that has to wait goes on as a `Step` of its own when a waiter is cancelled, and is
    cancelled with the last one. One whose result is there at once is not shared. `collapsed`
    observes how many waiters got each result. `under_way` has the reads that others can join.
    """

    def __init__(self, collapsed: Histogram | None = None) -> None:
        self.under_way: dict[Hashable, _SharedRead[T]] = {}
        self._collapsed = collapsed
        self.started = 0
        self.joined = 0

    async def read(self, key: Hashable, read: Callable[[], Coroutine[Any, None, T]]) -> T:
        """Return the result of the read under `key`, which is shared if it is under way.

        An error reaches each waiter, and the next call reads again.
        """
        fetch = self.under_way.get(key)
        if fetch is None or fetch.result.done():
            self.started += 1
            begun: Coroutine[Any, None, T] | None = None
            awaited: Any = None
            # Not inside a task: there, `read` would mistake the task of this waiter for its own.
            if turn.depth and tracing.current.get() is None:
                begun = read()
                try:
                    awaited = begun.send(None)
                except StopIteration as ended:
                    if self._collapsed is not None:
                        self._collapsed.observe(1)
                    return cast("T", ended.value)
            fetch = self.under_way[key] = _SharedRead()
            fetch.step = Step(read, partial(self._on_done, key, fetch), tracing.own_context())
            if begun is None:
                fetch.step.run()
            else:
                fetch.step.take_over(begun, awaited)
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

    def _on_done(
        self, key: Hashable, fetch: _SharedRead[T], result: T | None, error: BaseException | None
    ) -> None:
        try:
            self._close(key, fetch)
            if error is None and self._collapsed is not None and fetch.waiters:
                self._collapsed.observe(fetch.waiters)
        finally:  # also after an exception here, the waiters get the result
            if error is None:
                fetch.result.set_result(cast("T", result))
            else:
                fetch.result.set_exception(error)

    def _close(self, key: Hashable, fetch: _SharedRead[T]) -> None:
        """Let no further waiter join the read."""
        if self.under_way.get(key) is fetch:
            del self.under_way[key]
