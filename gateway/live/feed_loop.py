"""The event loop as a feed uses it: a failure in one of its steps leaves no reader waiting."""

from __future__ import annotations

import asyncio
from functools import partial
from math import inf
from typing import TYPE_CHECKING

from gateway.telemetry.logs import log

if TYPE_CHECKING:
    from collections.abc import Callable


class FeedLoop:
    """The running event loop, for the steps of one feed.

    An exception in a step is logged, and `on_failure` is called. Without that, readers would wait
    for a step that never comes. `call_soon` runs a step so in the next pass of the loop.
    """

    __slots__ = ("_loop", "_on_failure", "call_soon", "time")

    def __init__(self, on_failure: Callable[[], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._on_failure = on_failure
        self.time = self._loop.time
        # A partial, not a method: a requested step is lost only if the loop itself fails.
        self.call_soon: Callable[..., asyncio.Handle] = partial(
            self._loop.call_soon,
            self.run,  # type: ignore[arg-type] # its arguments come with each call
        )

    def run(self, step: Callable[..., None], *arguments: object) -> None:
        """Call `step` now."""
        try:
            step(*arguments)
        except Exception:  # noqa: BLE001 - the readers must not wait for ever
            log.exception("feed.failed")
            self._on_failure()

    def call_at(self, when: float, step: Callable[..., None]) -> asyncio.TimerHandle:
        """Call `step` at a time of the loop."""
        return self._loop.call_at(when, self.run, step)


class DueTimer:
    """The timer of a feed, which calls `on_due` at the earliest of the times that were set.

    `due` is that time (loop time), and `inf` while none is set.
    """

    __slots__ = ("_loop", "_on_due", "_timer", "due")

    def __init__(self, loop: FeedLoop, on_due: Callable[[], None]) -> None:
        self._loop = loop
        self._on_due = on_due
        self._timer: asyncio.TimerHandle | None = None
        self.due = inf

    def set(self, due: float) -> None:
        """Call `on_due` at a time of the loop, unless an earlier call is set already."""
        if due < self.due:
            self.cancel()
            self.due = due
            self._timer = self._loop.call_at(due, self._fire)

    def cancel(self) -> None:
        """Cancel the call, if one is set."""
        self.due = inf
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _fire(self) -> None:
        self.due, self._timer = inf, None
        self._on_due()
