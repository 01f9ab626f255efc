"""Free the room of removed records, in steps of a few milliseconds of the writer's time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from gateway.backends.sqlite.writing.place_rows import number
from gateway.protocol.streams.offsets import MAX_POSITION

if TYPE_CHECKING:
    import apsw

# Most that one step frees; the first bound that is reached ends it. Streams are bounded, too, as
# each has pages of its own, which all have to be written.
RECLAIM_STREAMS = 50
RECLAIM_ROWS = 1000
RECLAIM_BYTES = 4 * 1024 * 1024
VACUUM_PAGES = 256  # pages returned to the disk in one step
SPARE_PAGES = 1024  # free pages that stay in the file for the next appends


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
    pages = number(connection, "pragma page_count") - number(connection, "pragma freelist_count")
    return pages * number(connection, "pragma page_size")


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
