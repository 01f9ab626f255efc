"""Room of removed streams, freed in steps of a few milliseconds of the writer's time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gateway.backends.sqlite.writing.place_rows import number

if TYPE_CHECKING:
    import apsw

RECLAIM_ROWS = 1000  # freed in one step, together with
RECLAIM_BYTES = 4 * 1024 * 1024  # a few milliseconds of the writer's time
VACUUM_PAGES = 256  # pages given back in one step
SPARE_PAGES = 1024  # free pages worth keeping for the next appends


def reclaim(connection: apsw.Connection, spare_pages: int = SPARE_PAGES) -> bool:
    """Free some records of a removed stream, or some pages; return True if more remains."""
    row = connection.execute("select stream from doomed limit 1").fetchone()
    if row is None:
        return _give_back(connection, spare_pages)
    places: list[Any] = connection.execute(
        "select end, length(data) from messages where stream=? order by end limit ?",
        (*row, RECLAIM_ROWS),
    ).fetchall()
    size, last = 0, 0
    for end, length in places:
        size, last = size + length, end
        if size >= RECLAIM_BYTES:
            break
    with connection:
        connection.execute("delete from messages where stream=? and end<=?", (*row, last))
        if size < RECLAIM_BYTES and len(places) < RECLAIM_ROWS:
            connection.execute("delete from producers where stream=?", row)
            connection.execute("delete from doomed where stream=?", row)
    return True


def _give_back(connection: apsw.Connection, spare_pages: int) -> bool:
    free = number(connection, "pragma freelist_count")
    if free <= spare_pages:
        return False
    connection.execute(f"pragma incremental_vacuum({VACUUM_PAGES})").fetchall()
    return free - VACUUM_PAGES > spare_pages
