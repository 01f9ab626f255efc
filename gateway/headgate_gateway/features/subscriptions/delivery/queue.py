"""The queue of deliveries, and the pauses between attempts.

A few go to one receiver at once, and some hundred in all: a slow receiver delays its own only.
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from typing import TYPE_CHECKING, Generic, TypeVar

from headgate.retries import wait_s

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

T = TypeVar("T")

AT_ONCE = 256  # deliveries, each with a socket and a body of 1 MiB at most
AT_ONCE_TO_ONE = 8  # deliveries to one receiver: a slow one holds so many for ten seconds
FIRST_RETRY_S, LONGEST_RETRY_S, JITTER = 1.0, 60.0, 0.2  # PROTOCOL.md section 7.1
# After a day of failures an operator has to act: an attempt an hour shows when that is done. A day
# has over a thousand attempts. With few, a clock was set ahead, or the gateway was stopped.
STUCK_AFTER_S, SELDOM_S, LEAST_FAILURES = 86_400.0, 3_600.0, 100


class DeliveryQueue(Generic[T]):
    """The deliveries of one route, of which each item has one under way at most."""

    def __init__(
        self, deliver: Callable[[T], Awaitable[None]], receiver_of: Callable[[T], str]
    ) -> None:
        """`receiver_of` names the receiver of an item, "" for one that is not called.

        `deliver` raises nothing, and an item that is queued meanwhile is delivered once more.
        """
        self._deliver = deliver
        self._receiver_of = receiver_of
        self._ready: deque[T] = deque()
        self._held: dict[str, deque[T]] = {}  # by receiver, while it has enough
        self._to_one: Counter[str] = Counter()
        self._wanted: set[T] = set()  # those that wait for a delivery
        self._under_way: set[T] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._is_open = True

    @property
    def waiting(self) -> int:
        """The number of items whose delivery has not begun."""
        return len(self._ready) + sum(map(len, self._held.values()))

    @property
    def running(self) -> int:
        """The number of deliveries under way."""
        return len(self._tasks)

    def queue(self, item: T) -> None:
        """Deliver an item as soon as there is room."""
        if item not in self._wanted:
            self._wanted.add(item)
            if item not in self._under_way:
                self._ready.append(item)
                self._start_some()

    def is_under_way(self, item: T) -> bool:
        """Return whether an item is being delivered."""
        return item in self._under_way

    def _start_some(self) -> None:
        while self._is_open and self._ready and len(self._tasks) < AT_ONCE:
            item = self._ready.popleft()
            receiver = self._receiver_of(item)
            if receiver and self._to_one[receiver] >= AT_ONCE_TO_ONE:
                self._held.setdefault(receiver, deque()).append(item)
                continue
            self._to_one[receiver] += 1
            self._under_way.add(item)
            task = asyncio.create_task(self._run(item, receiver))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
            task.add_done_callback(lambda _: self._start_some())

    async def _run(self, item: T, receiver: str) -> None:
        self._wanted.discard(item)
        try:
            await self._deliver(item)
        finally:
            self._under_way.discard(item)
            self._leave(receiver)
            if item in self._wanted:
                self._ready.append(item)

    def _leave(self, receiver: str) -> None:
        """Let the next item of a receiver have its turn."""
        self._to_one[receiver] -= 1
        if not self._to_one[receiver]:
            del self._to_one[receiver]
        held = self._held.get(receiver)
        if held:
            self._ready.append(held.popleft())
            if not held:
                del self._held[receiver]

    async def close(self) -> None:
        """Cancel what is under way."""
        self._is_open = False
        tasks = list(self._tasks)
        self._ready.clear()
        self._held.clear()
        self._wanted.clear()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def is_stuck(failures: int, failing_s: float) -> bool:
    """Return whether attempts have failed for so long that an operator has to act."""
    return failing_s >= STUCK_AFTER_S and failures >= LEAST_FAILURES


def pause_s(failures: int, failing_s: float, chance: float) -> float:
    """Return the pause after a failure; `chance` from 0 to 1 spreads the attempts by 20 %."""
    pause = wait_s(failures - 1, FIRST_RETRY_S, LONGEST_RETRY_S)
    if is_stuck(failures, failing_s):
        pause = SELDOM_S
    return pause * (1.0 + JITTER * (2.0 * chance - 1.0))
