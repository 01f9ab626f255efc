"""Rows in a stream's own place: its state, records and producers, and the room of removed ones.

Each statement hands the interpreter over and takes it back, which under load costs more than the
statement itself; so a group's rows are written by one statement a table.
"""

from __future__ import annotations

import struct
from itertools import chain, islice
from typing import TYPE_CHECKING, Any, TypeVar

from headgate_gateway.logs.sqlite.recent import COMPACTED_BYTES, LONGEST, compacted_rows
from headgate_gateway.logs.sqlite.rows import (
    MOVE,
    RECORD_COLUMNS,
    STATE_COLUMNS,
    UPSERT,
    UPSERT_PRODUCER,
    checksum,
    row_of,
    row_of_state,
)
from headgate_gateway.protocol.streams.offsets import MAX_POSITION

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence, Set

    import apsw

    from headgate_gateway.logs.sqlite.recent import Changes
    from headgate_gateway.protocol.streams.state import Change, ProducerState, StreamState

MAX_ROWS = 500  # rows of one statement; its parameters stay far below SQLite's 32,766
MESSAGES = f"messages ({RECORD_COLUMNS})"
# Rows that become one, at most: merging them takes two or three milliseconds of the writer's time.
MOST_MERGED = 1000
# Fewer that are as large together stay, as most of their bytes were compacted before.
LEAST_MERGED = 16
# Streams whose rows are counted, about 150 bytes each: the rows of others stay as they are.
MAX_COUNTED = 10_000

# Most that one step frees; the first bound that is reached ends it. Streams are bounded, too, as
# each has pages of its own, which all have to be written.
RECLAIM_STREAMS = 50
RECLAIM_ROWS = 1000
RECLAIM_BYTES = 4 * 1024 * 1024
VACUUM_PAGES = 256  # pages returned to the disk in one step
SPARE_PAGES = 1024  # free pages that stay in the file for the next appends

# Of a stream, a position and the number of small rows after it.
Tails = dict[int, tuple[int, int]]

# A removed stream is trimmed up to MAX_POSITION: its records and producers are freed later.
UPSERT_TRIMMED = " on conflict (stream) do update set first=excluded.first"

T = TypeVar("T")


def write(
    connection: apsw.Connection, changes: Sequence[Change], whole: Set[int], tails: Tails
) -> None:
    """Write states, records and producers; the states of `whole` in all columns.

    Note where streams that are trimmed begin; their earlier records are freed later.
    """
    states = {change.state.stream_id: change.state for change in changes}
    full = [row_of_state(state) for stream_id, state in states.items() if stream_id in whole]
    insert(connection, f"streams ({STATE_COLUMNS})", full, UPSERT)
    _move(connection, [state for stream_id, state in states.items() if stream_id not in whole])
    rows = [row_of(it.state.stream_id, it.records) for it in changes if it.records]
    insert(connection, MESSAGES, rows)
    _write_producers(connection, changes)
    merge_small(connection, changes, tails)
    trimmed = [(it.state.stream_id, it.state.first) for it in changes if it.trims]
    insert(connection, "trimmed", trimmed, UPSERT_TRIMMED)


def compact(connection: apsw.Connection, streams: Sequence[Changes]) -> None:
    """Write in its stream's place what was in the table `recent` only."""
    insert(connection, MESSAGES, list(chain.from_iterable(map(compacted_rows, streams))))
    _move(connection, [changes[-1].state for changes in streams])
    _write_producers(connection, list(chain.from_iterable(streams)))


def _move(connection: apsw.Connection, states: Sequence[StreamState]) -> None:
    """Write version and tail alone, which takes half the time."""
    for part in parts([(state.stream_id, state.version, state.tail) for state in states]):
        marks = ",".join(["(?,?,?)"] * len(part))
        connection.execute(MOVE.format(rows=marks), tuple(chain.from_iterable(part)))


def _write_producers(connection: apsw.Connection, changes: Sequence[Change]) -> None:
    last: dict[tuple[int, str], ProducerState | None] = {}
    for change in changes:
        if change.producers or change.forgotten:
            stream_id = change.state.stream_id
            last.update({(stream_id, name): None for name in change.forgotten})
            last.update({(stream_id, name): state for name, state in change.producers})
    gone = [key for key, state in last.items() if state is None]
    if gone:
        connection.executemany("delete from producers where stream=? and producer=?", gone)
    rows = [
        (*key, state.epoch, state.seq, state.used_at)
        for key, state in last.items()
        if state is not None
    ]
    insert(connection, "producers", rows, UPSERT_PRODUCER)


def insert(
    connection: apsw.Connection, table: str, rows: Sequence[tuple[object, ...]], suffix: str = ""
) -> None:
    """Insert rows by as few statements as the bound allows.

    A failure rolls the transaction back, so `or fail` spares SQLite the journal with which
    it could undo one statement alone: a third of the cost of a commit.
    """
    for part in parts(rows):
        row = f"({','.join('?' * len(part[0]))})"
        connection.execute(
            f"insert or fail into {table} values {','.join([row] * len(part))}{suffix}",
            tuple(chain.from_iterable(part)),
        )


def remove(connection: apsw.Connection, state: StreamState, max_retired: int) -> None:
    """Remove a stream's row; its records are freed later, and its generation is remembered.

    The generations of the last `max_retired` removals are remembered by path, and the highest of
    those before them for every other path.
    """
    connection.execute("delete from streams where id=?", (state.stream_id,))
    insert(connection, "trimmed", [(state.stream_id, MAX_POSITION)], UPSERT_TRIMMED)
    connection.execute("delete from retired where path=?", (state.path,))
    connection.execute(
        "insert into retired (path, generation) values (?, ?)", (state.path, state.generation)
    )
    last = connection.last_insert_rowid() - max_retired
    if last > 0:
        connection.execute(
            "insert into meta select 'generation_floor', generation from retired where nr<=?"
            " on conflict (name) do update set value=max(value, excluded.value)",
            (last,),
        )
        connection.execute("delete from retired where nr<=?", (last,))


def merge_small(connection: apsw.Connection, changes: Sequence[Change], tails: Tails) -> None:
    """Merge rows of the streams that these changes were written to, once they are many.

    An append that changes more of its stream than its length cannot wait in the table `recent`:
    where messages are counted, where each use moves a deadline, or where a producer numbers its
    appends. As a row of its own a message of 96 bytes takes 150, and one of 2 KiB a page of 4. So
    what such appends have added to a stream becomes one row, in the transaction of the append that
    completes it.
    """
    for change in changes:
        state, size = change.state, sum([len(record.data) for record in change.records])
        if not 0 < size <= LONGEST:
            continue
        start, rows = tails.pop(state.stream_id, (state.tail - size, 0))
        start, rows = max(start, state.first), rows + 1
        if state.tail - start >= COMPACTED_BYTES or rows >= MOST_MERGED:
            if rows >= LEAST_MERGED:
                _merge(connection, state.stream_id, start, state.tail)
            start, rows = state.tail, 0
        tails[state.stream_id] = (start, rows)
    for stream_id in list(islice(tails, max(0, len(tails) - MAX_COUNTED))):
        del tails[stream_id]


def _merge(connection: apsw.Connection, stream_id: int, start: int, end: int) -> None:
    """Replace the rows between two positions by one, unless one is damaged or missing."""
    place = (stream_id, start, end)
    rows: list[Any] = connection.execute(
        "select end, crc, sizes, data from messages where stream=? and end>? and end<=?"
        " order by end",
        place,
    ).fetchall()
    if len(rows) < 2 or not _are_sound(stream_id, rows):
        return
    sizes = b"".join(
        [struct.pack(">I", len(data)) if own is None else own for _, _, own, data in rows]
    )
    data = b"".join([row[3] for row in rows])
    last = rows[-1][0]
    connection.execute("delete from messages where stream=? and end>? and end<=?", place)
    row = (stream_id, last, checksum(stream_id, last, sizes, data), sizes, data)
    insert(connection, MESSAGES, [row])


def _are_sound(stream_id: int, rows: Sequence[Any]) -> bool:
    """Return whether rows follow each other and match their checksums: damage stays visible."""
    position = rows[0][0] - len(rows[0][3])
    for end, crc, sizes, data in rows:
        if end - len(data) != position or checksum(stream_id, end, sizes, data) != crc:
            return False
        position = end
    return True


def number(connection: apsw.Connection, statement: str, values: Sequence[float] = ()) -> int:
    """Return the whole number that a statement selects."""
    for (found,) in connection.execute(statement, values):
        if isinstance(found, int):
            return found
    raise AssertionError(f"no number from {statement!r}")


def parts(rows: Sequence[T]) -> Iterable[Sequence[T]]:
    """Split rows into those of one statement each."""
    return (rows[at : at + MAX_ROWS] for at in range(0, len(rows), MAX_ROWS))


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
