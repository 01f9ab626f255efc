"""Checks of the tails of linked streams: soon where one is in doubt, and of all others in turn."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Iterable

# seconds: an append around this gateway is seen within this time, or, with so many streams that
# MOST_PER_S do not suffice for it, once all of them have been checked.
PERIOD_S = 10.0
MOST_PER_S = 50  # checks in turn; each is a HEAD, which costs an origin about a tenth of a read
AT_ONCE = 8  # checks under way: more would burden an origin that is slow
PAUSE_S = 1.0  # while the origin cannot be reached


class TailChecks:
    """The checks of one route. `check` returns False if the origin could not be reached."""

    def __init__(
        self, names: Callable[[], Collection[str]], check: Callable[[str], Awaitable[bool]]
    ) -> None:
        """`names` returns the streams that are checked in turn."""
        self._names = names
        self._check = check
        self._soon: dict[str, None] = {}  # in the order of their turns
        self._turns: deque[str] = deque()
        self._next_turn_at = 0.0  # loop time
        self._interval_s = PERIOD_S
        self._paused_until = 0.0
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._unseen: set[str] = set()  # since the start
        self._compared: asyncio.Future[None] | None = None
        self._news = asyncio.Event()
        self._loop: asyncio.Task[None] | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def longest_delay_s(self) -> float:
        """The time after which each stream is checked again, by their present number."""
        return max(PERIOD_S, len(self._names()) / MOST_PER_S)

    def start(self) -> None:
        """Begin to check, unless that has begun."""
        if self._loop is None:
            self._loop = asyncio.ensure_future(self._run())

    def compare_all(self, names: Iterable[str]) -> asyncio.Future[None]:
        """Check all these streams now; return the future of when each has been checked.

        If some are being compared already, it is that of all of them.
        """
        if self._compared is None or self._compared.done():
            self._compared = asyncio.get_running_loop().create_future()
        self._unseen.update(names)
        self._soon.update(dict.fromkeys(self._unseen))
        self._news.set()
        self._note_seen("")
        return self._compared

    def soon(self, name: str) -> None:
        """Check a stream as soon as there is room."""
        timer = self._timers.pop(name, None)
        if timer is not None:
            timer.cancel()
        self._soon[name] = None
        self._news.set()

    def later(self, name: str, delay_s: float) -> None:
        """Check a stream after a time, unless that is planned already."""
        if name not in self._timers:
            loop = asyncio.get_running_loop()
            self._timers[name] = loop.call_later(delay_s, self.soon, name)

    async def _run(self) -> None:
        time = asyncio.get_running_loop().time
        while True:
            name = self._next(time()) if len(self._tasks) < AT_ONCE else None
            if name is not None:
                task = asyncio.create_task(self._one(name))
                self._tasks.add(task)
                task.add_done_callback(self._end)
                continue
            self._news.clear()
            until = 0.0 if self._soon else self._next_turn_at
            if len(self._tasks) >= AT_ONCE:
                await self._news.wait()
                continue
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout_at(max(until, self._paused_until)):
                    await self._news.wait()

    def _end(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._news.set()  # there is room for another one

    def _next(self, now: float) -> str | None:
        """Return the stream to check now, or None."""
        if now < self._paused_until:
            return None
        if self._soon:
            name = next(iter(self._soon))
            del self._soon[name]
            return name
        if now < self._next_turn_at:
            return None
        if not self._turns:
            self._turns.extend(self._names())
            self._interval_s = max(PERIOD_S / max(len(self._turns), 1), 1 / MOST_PER_S)
        self._next_turn_at = max(self._next_turn_at + self._interval_s, now)
        return self._turns.popleft() if self._turns else None

    async def _one(self, name: str) -> None:
        if await self._check(name):
            self._note_seen(name)
        else:
            self._paused_until = asyncio.get_running_loop().time() + PAUSE_S
            self._soon[name] = None

    def _note_seen(self, name: str) -> None:
        self._unseen.discard(name)
        if not self._unseen and self._compared is not None and not self._compared.done():
            self._compared.set_result(None)

    def stop(self) -> None:
        """Check nothing any more, until it is started again."""
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()
        self._soon.clear()
        self._turns.clear()
        self._unseen.clear()
        if self._compared is not None:
            self._compared.cancel()  # else its callers would wait for ever
        if self._loop is not None:
            self._loop.cancel()
            self._loop = None

    async def close(self) -> None:
        """Stop, and wait for the checks under way."""
        tasks = [*self._tasks, *(() if self._loop is None else (self._loop,))]
        self.stop()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
