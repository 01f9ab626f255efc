"""The clocks as the data file has them noted: rows of `meta`."""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING, Any

from gateway.protocol.streams.generations import MICROSECONDS
from gateway.protocol.streams.state import ClockReading, ClockRecord

if TYPE_CHECKING:
    import apsw

# How the clocks stand, each in a row of `meta` (microseconds since the epoch, and 0 or 1).
CLOCKS = ("clock_wall", "clock_steady", "clock_in_doubt")
NOTE_EVERY_S = 60.0  # a write a minute costs little, and is what `expiry_grace` is compared with
LEAST_SET_S = 0.5  # a smaller step of a clock is not reported as one that was set


class ClockRows:
    """The note of the clocks in one data file."""

    def __init__(self, connection: apsw.Connection) -> None:
        self._connection = connection
        self.noted = self._read()

    def _read(self) -> ClockRecord | None:
        names = ",".join("?" * len(CLOCKS))
        rows: list[Any] = self._connection.execute(
            f"select name, value from meta where name in ({names})", CLOCKS
        ).fetchall()
        values = dict(rows)
        if len(values) < len(CLOCKS):
            return None
        wall, steady, doubt = (values[name] for name in CLOCKS)
        return ClockRecord(ClockReading(wall / MICROSECONDS, steady / MICROSECONDS), bool(doubt))

    def note(self, to_note: ClockRecord | None) -> None:
        """Note the clocks, unless the last note is still good."""
        if to_note is not None and (self.noted is None or _is_news(self.noted, to_note)):
            self.write(to_note)

    def write(self, noted: ClockRecord) -> None:
        """Note the clocks."""
        (wall, steady), doubt = noted
        values = (int(wall * MICROSECONDS), int(steady * MICROSECONDS), int(doubt))
        row = "(?, ?)"
        self._connection.execute(
            f"insert into meta values {','.join([row] * len(CLOCKS))}"
            " on conflict (name) do update set value=excluded.value",
            tuple(chain.from_iterable(zip(CLOCKS, values, strict=True))),
        )
        self.noted = noted


def _is_news(noted: ClockRecord, later: ClockRecord) -> bool:
    """Return whether the last note is wrong, or so old that it would look like a stop.

    While nobody sets the wall clock, the last note stays right: both clocks move alike.
    """
    before, now = noted.moment, later.moment
    was_set = abs((now.wall - now.steady) - (before.wall - before.steady)) >= LEAST_SET_S
    is_old = not 0 <= now.steady - before.steady < NOTE_EVERY_S
    return was_set or is_old or noted.in_doubt != later.in_doubt
