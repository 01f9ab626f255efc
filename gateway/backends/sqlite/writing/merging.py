"""Short appends that are rows of their own, merged in their stream's place once they are many.

An append that changes more of its stream than its length cannot wait in the table `recent`: where
messages are counted, where each use moves a deadline, or where a producer numbers its appends. As a
row of its own a message of 96 bytes takes 150, and one of 2 KiB a page of 4. So what such appends
have added to a stream becomes one row, in the transaction of the append that completes it.
"""

from __future__ import annotations

import struct
from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple

from gateway.backends.sqlite.recent import COMPACTED_BYTES, LONGEST
from gateway.backends.sqlite.records import checksum

if TYPE_CHECKING:
    from collections.abc import Sequence

    import apsw

    from gateway.protocol.streams.state import Change

# Rows that become one, at most: merging them takes two or three milliseconds of the writer's time.
MOST_ROWS = 1000
# Fewer that are as large together stay, as most of their bytes were compacted before.
LEAST_ROWS = 16
# Streams whose rows are counted, about 150 bytes each: the rows of others stay as they are.
MAX_STREAMS = 10_000


class _Tail(NamedTuple):
    """The number of rows after a position of a stream."""

    start: int
    rows: int


class SmallRows:
    """The rows of short appends, counted by stream; the counts end with the process."""

    def __init__(self, connection: apsw.Connection) -> None:
        self._connection = connection
        self._tails: dict[int, _Tail] = {}

    def forget(self) -> None:
        """Forget all streams, as what was written is rolled back."""
        self._tails.clear()

    def note(self, changes: Sequence[Change]) -> None:
        """Merge rows of the streams that these changes were written to, each as a row."""
        tails = self._tails
        for change in changes:
            state, size = change.state, sum([len(record.data) for record in change.records])
            if not 0 < size <= LONGEST:
                continue
            known = tails.pop(state.stream_id, None) or _Tail(state.tail - size, 0)
            tail = _Tail(max(known.start, state.first), known.rows + 1)
            is_large = state.tail - tail.start >= COMPACTED_BYTES
            if is_large or tail.rows >= MOST_ROWS:
                if tail.rows >= LEAST_ROWS:
                    self._merge(state.stream_id, tail.start, state.tail)
                tail = _Tail(state.tail, 0)
            tails[state.stream_id] = tail
        for stream_id in list(islice(tails, max(0, len(tails) - MAX_STREAMS))):
            del tails[stream_id]

    def _merge(self, stream_id: int, start: int, end: int) -> None:
        """Replace the rows between two positions by one, unless one is damaged or missing."""
        place = (stream_id, start, end)
        rows: list[Any] = self._connection.execute(
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
        self._connection.execute("delete from messages where stream=? and end>? and end<=?", place)
        self._connection.execute(
            "insert into messages (stream, end, crc, sizes, data) values (?, ?, ?, ?, ?)",
            (stream_id, last, checksum(stream_id, last, sizes, data), sizes, data),
        )


def _are_sound(stream_id: int, rows: Sequence[Any]) -> bool:
    """Return whether rows follow each other and match their checksums: damage stays visible."""
    position = rows[0][0] - len(rows[0][3])
    for end, crc, sizes, data in rows:
        if end - len(data) != position or checksum(stream_id, end, sizes, data) != crc:
            return False
        position = end
    return True
