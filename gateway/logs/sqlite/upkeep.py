"""The note of the clocks in a data file, and the room of what was removed from it."""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING, Any, NamedTuple

from gateway.logs.sqlite.place_rows import number
from gateway.protocol.streams.offsets import MAX_POSITION
from gateway.protocol.streams.state import MICROSECONDS, ClockReading, ClockRecord

if TYPE_CHECKING:
    import apsw

# How the clocks stand, each in a row of `meta` (microseconds since the epoch, and 0 or 1).
CLOCKS = ("clock_wall", "clock_steady", "clock_in_doubt")
NOTE_EVERY_S = 60.0  # a write a minute costs little, and is what `expiry_grace` is compared with
LEAST_SET_S = 0.5  # a smaller step of a clock is not reported as one that was set

# Most that one step frees; the first bound that is reached ends it. Streams are bounded, too, as
# each has pages of its own, which all have to be written.
RECLAIM_STREAMS = 50
RECLAIM_ROWS = 1000
RECLAIM_BYTES = 4 * 1024 * 1024
VACUUM_PAGES = 256  # pages returned to the disk in one step
SPARE_PAGES = 1024  # free pages that stay in the file for the next appends


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


class ReclaimStep(NamedTuple):
    """The result of one step: the bytes that went back to the disk, and whether more remains."""

    returned_bytes: int
    more: bool


def file_bytes(connection: apsw.Connection) -> int:
    """Return the bytes of the data file when all of the WAL is in it."""
    return number(connection, "pragma page_count") * number(connection, "pragma page_size")


def unused_bytes(connection: apsw.Connection) -> int:
    """Return the bytes of the data file's free pages."""
    return number(connection, "pragma freelist_count") * number(connection, "pragma page_size")


def used_bytes(connection: apsw.Connection) -> int:
    """Return the bytes of the data file's pages in use."""
    return file_bytes(connection) - unused_bytes(connection)


def reclaim(connection: apsw.Connection, spare_pages: int = SPARE_PAGES) -> ReclaimStep:
    """Free some removed records; once there are none, return some free pages to the disk.

    `spare_pages` free pages stay in the file.
    """
    with connection:
        frees = _free_some(connection)
    return ReclaimStep(0, more=True) if frees else _return_pages(connection, spare_pages)


def _free_some(connection: apsw.Connection) -> bool:
    """Free records of removed streams, then trimmed records; return whether there were any."""
    streams: list[Any] = connection.execute(
        "select * from (select stream, null from doomed limit ?1)"
        " union all select * from (select stream, first from trimmed limit ?1) limit ?1",
        (RECLAIM_STREAMS,),
    ).fetchall()
    room = _Room(RECLAIM_ROWS, RECLAIM_BYTES)
    for stream, first in streams:
        is_removed = first is None
        room = _free_records(connection, stream, MAX_POSITION if is_removed else first, room)
        if room.rows <= 0 or room.size <= 0:
            break
        for table in ("producers", "trimmed", "doomed") if is_removed else ("trimmed",):
            connection.execute(f"delete from {table} where stream=?", (stream,))
    return bool(streams)


class _Room(NamedTuple):
    """The rows and bytes that may still be freed in a step."""

    rows: int
    size: int


def _free_records(connection: apsw.Connection, stream: int, first: int, room: _Room) -> _Room:
    """Delete rows of a stream up to `first`, all of them or until there is no room left."""
    places: list[Any] = connection.execute(
        "select end, length(data) from messages where stream=? and end<=? order by end limit ?",
        (stream, first, room.rows),
    ).fetchall()
    size, last = 0, 0
    for end, length in places:
        size, last = size + length, end
        if size >= room.size:
            break
    connection.execute("delete from messages where stream=? and end<=?", (stream, last))
    return _Room(room.rows - len(places), room.size - size)


def _return_pages(connection: apsw.Connection, spare_pages: int) -> ReclaimStep:
    free = number(connection, "pragma freelist_count")
    if free <= spare_pages:
        return ReclaimStep(0, more=False)
    connection.execute(f"pragma incremental_vacuum({VACUUM_PAGES})").fetchall()
    left = number(connection, "pragma freelist_count")
    returned = (free - left) * number(connection, "pragma page_size")
    return ReclaimStep(returned, more=left > spare_pages)
