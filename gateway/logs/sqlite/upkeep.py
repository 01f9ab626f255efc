"""The note of the clocks in a data file, and the room of what was removed from it."""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING, Any

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


def noted_clocks(connection: apsw.Connection) -> ClockRecord | None:
    """Return the note of the clocks; None in a file without one."""
    rows: list[Any] = connection.execute(
        "select name, value from meta where name in (?, ?, ?)", CLOCKS
    ).fetchall()
    values = dict(rows)
    if len(values) < len(CLOCKS):
        return None
    wall, steady, doubt = (values[name] for name in CLOCKS)
    return ClockRecord(ClockReading(wall / MICROSECONDS, steady / MICROSECONDS), bool(doubt))


def note_clocks(connection: apsw.Connection, clocks: ClockRecord) -> None:
    """Replace the note of the clocks."""
    (wall, steady), doubt = clocks
    values = (int(wall * MICROSECONDS), int(steady * MICROSECONDS), int(doubt))
    connection.execute(
        "insert into meta values (?, ?), (?, ?), (?, ?)"
        " on conflict (name) do update set value=excluded.value",
        tuple(chain.from_iterable(zip(CLOCKS, values, strict=True))),
    )


def is_news(noted: ClockRecord, later: ClockRecord) -> bool:
    """Return whether the last note is wrong, or so old that it would look like a stop.

    While nobody sets the wall clock, the last note stays right: both clocks move alike.
    """
    before, now = noted.moment, later.moment
    was_set = abs((now.wall - now.steady) - (before.wall - before.steady)) >= LEAST_SET_S
    is_old = not 0 <= now.steady - before.steady < NOTE_EVERY_S
    return was_set or is_old or noted.in_doubt != later.in_doubt


def file_bytes(connection: apsw.Connection) -> int:
    """Return the bytes of the data file when all of the WAL is in it."""
    return number(connection, "pragma page_count") * number(connection, "pragma page_size")


def unused_bytes(connection: apsw.Connection) -> int:
    """Return the bytes of the data file's free pages."""
    return number(connection, "pragma freelist_count") * number(connection, "pragma page_size")


def reclaim(connection: apsw.Connection, spare_pages: int = SPARE_PAGES) -> tuple[int, bool]:
    """Free some removed records; once there are none, return some free pages to the disk.

    `spare_pages` free pages stay in the file. Return the bytes that went back to the disk, and
    whether more remains.
    """
    with connection:
        if _free_some(connection):
            return 0, True
    free = number(connection, "pragma freelist_count")
    if free <= spare_pages:
        return 0, False
    connection.execute(f"pragma incremental_vacuum({VACUUM_PAGES})").fetchall()
    left = number(connection, "pragma freelist_count")
    return (free - left) * number(connection, "pragma page_size"), left > spare_pages


def _free_some(connection: apsw.Connection) -> bool:
    """Free records of removed and trimmed streams; return whether there were any."""
    streams: list[Any] = connection.execute(
        "select stream, first from trimmed limit ?", (RECLAIM_STREAMS,)
    ).fetchall()
    rows, size = RECLAIM_ROWS, RECLAIM_BYTES
    for stream, first in streams:
        places: list[Any] = connection.execute(
            "select end, length(data) from messages where stream=? and end<=? order by end limit ?",
            (stream, first, rows),
        ).fetchall()
        rows, last = rows - len(places), 0
        for end, length in places:
            size, last = size - length, end
            if size <= 0:
                break
        connection.execute("delete from messages where stream=? and end<=?", (stream, last))
        if rows <= 0 or size <= 0:
            break
        if first == MAX_POSITION:
            connection.execute("delete from producers where stream=?", (stream,))
        connection.execute("delete from trimmed where stream=?", (stream,))
    return bool(streams)
