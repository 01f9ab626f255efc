"""A wall clock that a test sets while real processes run: libfaketime, with its time in a file.

Clocks that measure how long a process runs are left alone, as on a machine whose clock is set.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

DAY_S = 24 * 3600


class WallClock:
    """The clock of every process that is started with its `environment`."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / "wall-clock"
        self.ahead_s = 0
        self.set(0)

    @property
    def environment(self) -> Mapping[str, str]:
        (library,) = Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1")
        return {
            # The C library's malloc: jemalloc, which Redis has, looks at the clock too early.
            "LD_PRELOAD": f"{library} libc.so.6",
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        }

    def set(self, ahead_s: int) -> None:
        """Set the clock so many seconds ahead of the real time."""
        new = self._file.with_suffix(".new")
        new.write_text(f"{ahead_s:+d}\n")
        new.rename(self._file)
        self.ahead_s = ahead_s

    def time_in(self, seconds: float) -> str:
        """Return the time that the clock will show in so many seconds, as RFC 3339 text."""
        now = time.time()  # noqa: TID251 - the processes read it themselves
        moment = datetime.fromtimestamp(now + self.ahead_s + seconds, UTC)
        return moment.isoformat(timespec="seconds")
