"""Log lines about what may happen thousands of times at once."""

from __future__ import annotations

import asyncio

from gateway.telemetry.logs import log

EVERY_S = 1.0


class RareLine:
    """A warning that is written at once, then at most each second, about the latest of its kind.

    It says how many `times` that was since the line before it, so that all of them are told of.
    """

    def __init__(self, event: str) -> None:
        self._event = event
        self._times = 0
        self._said: dict[str, str] = {}
        self._timer: asyncio.TimerHandle | None = None

    def note(self, **said: str) -> None:
        """It has happened once more."""
        self._times += 1
        self._said = said
        if self._timer is None:
            self._write()

    def close(self) -> None:
        """Write what is left: there will be no more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._tell()

    def _write(self) -> None:
        self._timer = None
        if self._times:
            self._tell()
            self._timer = asyncio.get_running_loop().call_later(EVERY_S, self._write)

    def _tell(self) -> None:
        if self._times:
            log.warning(self._event, **self._said, times=self._times)
            self._times = 0
