"""Days of appends with retention: how large the data file is then.

The days pass by a clock that is turned, with a sweep after each hour.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, NamedTuple

from headgate_gateway.logs.sqlite import recent
from headgate_gateway.logs.sqlite.place_rows import SPARE_PAGES
from tests.logs.contract import data_file, reclaimed
from tests.streams.service import Service

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from headgate_gateway.protocol.streams.limits import Retention


HOUR_S, DAY_S = 3600, 24 * 3600
PAGE_BYTES = 4096
WAL_BYTES = 5 * 1024 * 1024  # a thousand pages, and what came while they were copied
# What a file takes besides its records, however many these are: the spare pages, the WAL, and the
# short appends that wait in the table `recent`, or are still there.
FIXED_BYTES = SPARE_PAGES * PAGE_BYTES + WAL_BYTES + (recent.TABLE_LAPS + 1) * recent.MOST_BYTES
MOST_RATIO = 1.15  # of the file to the records that are kept, without FIXED_BYTES


class Writing(NamedTuple):
    """Appends of each hour: to so many streams, so many of so many bytes each."""

    streams: int
    appends: int
    size: int


class Sizes(NamedTuple):
    """Bytes: of all that was written what is kept, and the most that file and WAL have had."""

    written: int
    kept: int
    file: int

    @property
    def are_bounded(self) -> bool:
        """True if the file is not much larger than what is kept."""
        return self.file <= MOST_RATIO * self.kept + FIXED_BYTES


@contextlib.asynccontextmanager
async def service_on(folder: Path, retention: Retention) -> AsyncIterator[Service]:
    async with data_file(folder) as log:
        yield Service(log, retention=retention)


async def size_after(folder: Path, days: int, writing: Writing, retention: Retention) -> Sizes:
    """Write for so many days, and return what is kept and how large the file has been."""
    written = most = 0
    names = [f"s{number}" for number in range(writing.streams)]
    data = b"x" * writing.size
    async with service_on(folder, retention) as service:
        for name in names:
            await service.create(name)
        for _ in range(days * 24):
            for _ in range(writing.appends):
                await asyncio.gather(*(service.append(name, data) for name in names))
                written += len(data) * len(names)
            service.clock.advance(HOUR_S)
            await service.sweeper.round()
            await reclaimed(service.log)
            most = max(most, _file_size(folder))
        states = [(await service.table.load(name)).state for name in names]
        return Sizes(written, sum(state.size for state in states if state is not None), most)


def _file_size(folder: Path) -> int:
    return sum((folder / f"headgate.db{end}").stat().st_size for end in ("", "-wal"))
