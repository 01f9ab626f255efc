"""The search for expired streams in a data file.

Deadlines are one column with one index, but of two clocks (`protocol.streams.moments`): TTLs count
by the steady clock, and dates by the wall clock.
While these agree, the first rows are those that have expired. Where one clock is ahead, rows that
expire by the other may stand among them in any number. So each search looks at a bounded stretch of
the index, and the next search continues after it.
"""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gateway.backends.sqlite.rows import Deadline, RowReader
    from gateway.protocol.streams.moments import ClockReading

FIRST = (-inf, 0)
# Rows looked at for each wanted stream: a search for 200 takes some 2 ms of a reader thread.
ROWS_FOR_EACH = 5


class ExpirySearch:
    """A search of one file, of which each call continues where the last one ended."""

    def __init__(self) -> None:
        self._after: Deadline = FIRST

    def find(self, reader: RowReader, now: ClockReading, limit: int) -> list[str]:
        """Return paths of expired streams in the next stretch, and of streams to trim."""
        most = ROWS_FOR_EACH * limit
        rows = reader.with_deadline(self._after, max(now), most)
        found = [
            path
            for (deadline, _), path, slides in rows
            if deadline <= (now.steady if slides else now.wall)
        ]
        if len(found) < limit:
            self._after = rows[-1][0] if len(rows) == most else FIRST
        if len(found) < limit:
            found += reader.to_trim(now, limit - len(found))
        return found[:limit]
