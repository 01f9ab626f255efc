"""Room on the disk that is reserved for removals, so that they succeed on a full disk.

A removal writes before it frees room: some pages into the WAL, for which the data file must have
room, too. While there is no reserve, only removals are accepted.
"""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING

from headgate_gateway.logs.counts import grows
from headgate_gateway.telemetry.logs import log

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from headgate_gateway.protocol.streams.state import Change

# A WAL of 1000 pages may be all new to the data file, which then has to grow by 4 MB; 4 MiB more
# are for the removals: each is some ten pages, and the WAL is emptied after AT_ONCE of them. The
# rest is for a start, which compacts the short appends that a killed process left in `recent`.
RESERVE_BYTES = 20 * 1024 * 1024
AT_ONCE = 50
ROOM_BYTES = 4 * 1024 * 1024  # for appends; without it, the disk would be full again at once

FULL = (
    f"the disk is full: only removals are taken until {(RESERVE_BYTES + ROOM_BYTES) >> 20} MiB"
    " are free"
)


def removes(changes: Sequence[Change]) -> bool:
    """Return whether a commit removes a stream, or records of one, and adds nothing."""
    return not grows(changes) and any(
        change.removes or change.trims or change.state.soft_deleted for change in changes
    )


class Reserve:
    """A file that occupies room on the disk until a removal needs it."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self.is_held = False

    def make(self) -> bool:
        """Allocate the file if the disk has room for it and some appends; return if it is held."""
        if not self.is_held:
            with contextlib.suppress(OSError):  # a missing or read-only folder has no reserve
                allocated = self._file.stat().st_blocks * 512 if self._file.exists() else 0
                self.is_held = allocated >= RESERVE_BYTES or (self._has_room() and self._allocate())
        return self.is_held

    def _has_room(self) -> bool:
        disk = os.statvfs(self._file.parent)
        return disk.f_bavail * disk.f_frsize >= RESERVE_BYTES + ROOM_BYTES

    def _allocate(self) -> bool:
        file = os.open(self._file, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(file, 0, RESERVE_BYTES)
            else:  # as on macOS
                for _ in range(RESERVE_BYTES >> 20):
                    os.write(file, bytes(1 << 20))
        except OSError:
            self._file.unlink()
            return False
        finally:
            os.close(file)
        return True

    def release(self) -> bool:
        """Free the room for the removal that follows; return whether any was freed, and log it."""
        is_given_up = self.is_held and self.give_up()
        if is_given_up:
            log.warning("log.reserve_released", file=str(self._file))
        return is_given_up

    def give_up(self) -> bool:
        """Delete the file; return False if the folder does not allow it."""
        with contextlib.suppress(OSError):
            self._file.unlink(missing_ok=True)
            self.is_held = False
        return not self.is_held
