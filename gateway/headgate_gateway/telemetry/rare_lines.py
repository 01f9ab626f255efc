"""Log lines about what may happen thousands of times at once."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from headgate_gateway.telemetry.logs import log

if TYPE_CHECKING:
    from collections.abc import Callable

EVERY_S = 1.0
LONGEST_S = 300.0  # between two lines about one outage
QUIET_S = 10.0  # without a failure, and with answers: then an outage is over


class CountedLine:
    """A warning about the latest of its kind, with how many `times` it was since the last line."""

    def __init__(self, event: str) -> None:
        self._event = event
        self._times = 0
        self._fields: dict[str, str] = {}
        self._timer: asyncio.TimerHandle | None = None  # until the next look

    def close(self) -> None:
        """Write what is left: there will be no more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._log_line()

    def _log_line(self) -> None:
        if self._times:
            log.warning(self._event, **self._fields, times=self._times)
            self._times = 0


class RareLine(CountedLine):
    """A warning that is written at once, then at most once a second."""

    def note(self, **fields: str) -> None:
        """Count one occurrence, and log it if the second is over."""
        self._times += 1
        self._fields = fields
        if self._timer is None:
            self._write()

    def _write(self) -> None:
        self._timer = None
        if self._times:
            self._log_line()
            self._timer = asyncio.get_running_loop().call_later(EVERY_S, self._write)


class OutageLine(CountedLine):
    """A warning about failures that go on: written at once, then at intervals that double.

    When nothing has failed for QUIET_S although there were answers, the end is logged once, as
    `over`.
    """

    def __init__(self, event: str, over: str, answered: Callable[[], int]) -> None:
        """Use `answered`, which counts all answers, to recognize the end of an outage."""
        super().__init__(event)
        self._over = over
        self._answered = answered
        self._answers = 0  # at the latest failure
        self._in_all = 0  # failures in this outage
        self._began = self._failed_at = self._due = self._wait_s = 0.0  # loop times

    def note(self, **fields: str) -> None:
        """Count a failure, and log it when it is time."""
        now = asyncio.get_running_loop().time()
        self._times += 1
        self._in_all += 1
        self._fields, self._failed_at, self._answers = fields, now, self._answered()
        if self._timer is None:
            self._began, self._due, self._wait_s = now, now, EVERY_S
            self._look()

    def _look(self) -> None:
        loop = asyncio.get_running_loop()
        now = loop.time()
        if self._times and now >= self._due:
            self._log_line()
            self._due = now + self._wait_s
            self._wait_s = min(2 * self._wait_s, LONGEST_S)
        self._timer = None
        if now - self._failed_at < QUIET_S or self._answered() <= self._answers:
            self._timer = loop.call_later(EVERY_S, self._look)
            return
        self._log_line()
        lasted_s = round(self._failed_at - self._began, 1)
        log.info(self._over, **self._fields, times=self._in_all, lasted_s=lasted_s)
        self._in_all = 0
