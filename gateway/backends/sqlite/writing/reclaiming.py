"""Room of what is not kept any more, freed in steps of a few milliseconds of the writer's time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from gateway.backends.sqlite.writing.place_rows import number
from gateway.protocol.streams.offsets import MAX_POSITION

if TYPE_CHECKING:
    import apsw

RECLAIM_ROWS = 1000  # freed in one step, together with
RECLAIM_BYTES = 4 * 1024 * 1024  # a few milliseconds of the writer's time
VACUUM_PAGES = 256  # pages given back in one step
SPARE_PAGES = 1024  # free pages worth keeping for the next appends


class ReclaimStep(NamedTuple):
    """The result of one step: the bytes that went back to the disk, and whether more remains."""

    returned_bytes: int
    more: bool


def unused_bytes(connection: apsw.Connection) -> int:
    """Return the bytes of the data file that hold nothing: for appends, or for the disk."""
    return number(connection, "pragma freelist_count") * number(connection, "pragma page_size")


def used_bytes(connection: apsw.Connection) -> int:
    """Return the bytes of the data file that hold something."""
    pages = number(connection, "pragma page_count") - number(connection, "pragma freelist_count")
    return pages * number(connection, "pragma page_size")


def reclaim(connection: apsw.Connection, spare_pages: int = SPARE_PAGES) -> ReclaimStep:
    """Free some records that are not kept, or give some pages back to the disk."""
    removed: list[Any] = connection.execute("select stream from doomed limit 1").fetchall()
    for (stream,) in removed:
        with connection:
            if _free_records(connection, stream, MAX_POSITION):
                for table in ("producers", "trimmed", "doomed"):
                    connection.execute(f"delete from {table} where stream=?", (stream,))
        return ReclaimStep(0, more=True)
    places: list[Any] = connection.execute("select stream, first from trimmed limit 1").fetchall()
    for stream, first in places:
        with connection:
            if _free_records(connection, stream, first):
                connection.execute("delete from trimmed where stream=?", (stream,))
        return ReclaimStep(0, more=True)
    return _give_back(connection, spare_pages)


def _free_records(connection: apsw.Connection, stream: int, first: int) -> bool:
    """Delete some rows of a stream that end at or before `first`; return whether all are."""
    places: list[Any] = connection.execute(
        "select end, length(data) from messages where stream=? and end<=? order by end limit ?",
        (stream, first, RECLAIM_ROWS),
    ).fetchall()
    size, last = 0, 0
    for end, length in places:
        size, last = size + length, end
        if size >= RECLAIM_BYTES:
            break
    connection.execute("delete from messages where stream=? and end<=?", (stream, last))
    return size < RECLAIM_BYTES and len(places) < RECLAIM_ROWS


def _give_back(connection: apsw.Connection, spare_pages: int) -> ReclaimStep:
    free = number(connection, "pragma freelist_count")
    if free <= spare_pages:
        return ReclaimStep(0, more=False)
    connection.execute(f"pragma incremental_vacuum({VACUUM_PAGES})").fetchall()
    left = number(connection, "pragma freelist_count")
    returned = (free - left) * number(connection, "pragma page_size")
    return ReclaimStep(returned, more=left > spare_pages)
