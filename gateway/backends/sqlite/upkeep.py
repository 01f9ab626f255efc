"""The upkeep of the data file, in small steps, and the counts that are taken with it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from typing_extensions import override

from gateway.backends.contract import Counts, Upkeep
from gateway.backends.sqlite.writing.reclaiming import unused_bytes
from gateway.protocol.streams.state import ClockReading, ClockRecord

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from gateway.backends.sqlite.data_folder import DataFolder
    from gateway.backends.sqlite.recent import Recent
    from gateway.backends.sqlite.row_readers import RowReaders
    from gateway.backends.sqlite.writing.writer import Writer
    from gateway.backends.sqlite.writing.writer_thread import WriterThread
    from gateway.telemetry.metrics import Histogram


class FileUpkeep(Upkeep, Counts):
    """The upkeep of a data file on its writer thread.

    The counts of its streams and its disk may be a second old.
    """

    def __init__(
        self, folder: DataFolder, thread: WriterThread, readers: RowReaders, recent: Recent
    ) -> None:
        self._folder = folder
        self._thread = thread
        self._readers = readers
        self._recent = recent
        self._noted: ClockRecord | None = None
        self._streams = 0
        self._size = 0  # bytes of the data file and its WAL
        self._free = 0  # free bytes on the disk
        self._unused = 0  # bytes of the data file that hold nothing
        self._returned = 0  # bytes that went back to the disk
        self.damaged: Sequence[Path] = ()  # damaged WALs that are in the folder, the newest last

    def before_opening(self) -> None:
        """Note when the file was last written, since opening it may write to it."""
        written_at = self._folder.written_at()
        if written_at is not None:
            self._noted = ClockRecord(ClockReading(written_at, written_at))

    def after_opening(self, writer: Writer) -> None:
        """Use the clocks that are noted in the file, if there are any; make the first counts."""
        self._noted = writer.clocks.noted or self._noted
        self._measure()
        self._look(writer)

    def _measure(self) -> None:
        """Measure the data file and the disk, which needs no open file: the disk may be full."""
        self.damaged = self._folder.damaged_wals()
        self._size, self._free = self._folder.size(), self._folder.free()

    def _look(self, writer: Writer) -> None:
        """Count the streams, and what of the data file holds nothing."""
        self._unused = unused_bytes(writer.connection)
        writer.count_used()
        self._streams = writer.streams

    @override
    def clock_note(self) -> ClockRecord | None:
        """Return the clocks as noted in the file, or else the time of its last write."""
        return self._noted

    @override
    def note(self, noted: ClockRecord) -> None:
        """Note the clocks with the next step if they say something new, and on closing."""
        self._thread.to_note = noted

    @override
    async def reclaim(self) -> bool:
        """Free some room on the writer thread, after the commits that wait there."""
        await asyncio.to_thread(self._measure)
        return await self._thread.run(self._reclaim)

    def _reclaim(self, writer: Writer) -> bool:
        self._look(writer)
        returned, more = self._thread.reclaim(writer)
        self._returned += returned
        return more

    @override
    def accepts_removals(self) -> bool:
        """Return whether the file can be written, on a full disk into the reserve."""
        return self._thread.accepts_removals()

    @override
    def loss(self) -> str | None:
        """Return what was lost, while the damaged WAL that shows it is in the folder."""
        if not self.damaged:
            return None
        return (
            "the WAL was damaged and acknowledged appends are lost, since when their offsets are"
            f" refused: move {self.damaged[-1]} away when you have taken note"
        )

    @override
    def histograms(self) -> Mapping[str, Histogram]:
        return self._thread.histograms.by_name("appends", "queue", "write", "sync")

    @override
    def numbers(self) -> Mapping[str, float]:
        return {
            "streams": self._streams,
            "size_bytes": self._size,
            "free_bytes": self._free,
            "unused_bytes": self._unused,
            "returned_bytes": self._returned,
            "recent_rows": self._recent.rows,
            "commits": self._thread.commits,
            "damaged_wals": len(self.damaged),
            "groups": self._thread.groups,
            "failed_groups": self._thread.failed_groups,
        }

    @override
    async def count_expired(self, now: ClockReading) -> int:
        return await self._readers.run(lambda reader: reader.count_expired(now))
