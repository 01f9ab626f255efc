"""Recovery of a WAL that a crash left: SQLite uses what it can, and the rest is judged here.

Where a transaction that had been committed may be lost, the log goes on in a new generation, so
that no offset is given out twice (`protocol.streams.generations`). Where one is certainly lost, a
copy of the WAL is kept.
"""

from __future__ import annotations

import os
import shutil
import time
from typing import TYPE_CHECKING

import apsw

from gateway.backends.sqlite import wal
from gateway.errors import StartError
from gateway.protocol.streams.generations import MICROSECONDS
from gateway.telemetry.logs import log

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.backends.sqlite.data_folder import DataFolder

MAX_KEPT = 4  # damaged WALs, some 4 MB each; a fifth replaces the oldest


def recover(folder: DataFolder, connection: apsw.Connection) -> None:
    """Judge the rest of the WAL, and cut it off, so that new frames can follow. Raises StartError.

    A crash between any two of its steps does no harm: the next start finds the same.
    """
    page_size = connection.pragma("page_size")
    frames = frames_taken(connection)
    _check_size(folder, connection, frames)
    found = wal.skipped_frames(folder.wal, frames, page_size)
    if found.is_torn or found.is_damage:
        kept = _keep(folder, connection) if found.is_damage else None
        begin_history(connection)
        _log_damage(folder, found, kept)
    if found.frames:
        truncate_wal(folder, connection)


def _check_size(folder: DataFolder, connection: apsw.Connection, frames: int) -> None:
    """Raise StartError if the end of the data file is missing, and the WAL does not have it.

    SQLite takes the size from the WAL, and would fill what is missing with zeros. A page that was
    freed as soon as it was new is in neither; a sound file does without it.
    """
    page_size, count = connection.pragma("page_size"), connection.pragma("page_count")
    there = folder.file.stat().st_size // page_size
    missing = count - there
    if missing > 0:
        in_wal = wal.pages(folder.wal, frames, page_size)
        missing = sum(page not in in_wal for page in range(there + 1, count + 1))
    if missing > 0 and not _is_sound(connection):
        raise StartError(
            f"{folder.file} is cut: {missing} of its {count} pages are missing, and"
            f" {folder.wal.name} does not have them: both were left as they are; restore a backup"
        )


def _is_sound(connection: apsw.Connection) -> bool:
    try:
        return bool(connection.execute("pragma integrity_check(1)").fetchone() == ("ok",))
    except apsw.CorruptError:
        return False


def truncate_wal(folder: DataFolder, connection: apsw.Connection) -> None:
    """Truncate the WAL after its last commit: the rest could look like damage later."""
    size = wal.bytes_of(frames_taken(connection), connection.pragma("page_size"))
    with folder.wal.open("rb+") as open_wal:
        if os.fstat(open_wal.fileno()).st_size > size:
            open_wal.truncate(size)
            os.fsync(open_wal.fileno())


def frames_taken(connection: apsw.Connection) -> int:
    """Return how many frames of the WAL SQLite can use."""
    frames, _ = connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_NOOP)
    return max(frames, 0)


def _keep(folder: DataFolder, connection: apsw.Connection) -> Path:
    """Copy the damaged WAL, and return the copy's path.

    Raises StartError, and leaves both files as they are, if the copy fails or the data file is not
    sound without the WAL. That is so if the damage came after pages of later transactions had been
    copied into the file, and before the WAL was begun anew.
    """
    if not _is_sound(connection):
        raise StartError(
            f"{folder.wal} is damaged, and without it {folder.file} is not sound: both were left"
            " as they are; restore a backup"
        )
    try:
        kept = _copy(folder)
    except OSError as error:
        raise StartError(
            f"{folder.wal} is damaged and a copy of it cannot be kept ({error.strerror}): it was"
            " left as it is; make room, or move it away to begin without it"
        ) from error
    return kept


def _copy(folder: DataFolder) -> Path:
    kept = folder.name_for_damaged(time.strftime("%Y%m%dT%H%M%SZ", time.gmtime()))
    try:
        shutil.copy(folder.wal, kept)  # with its mode
        with kept.open("rb") as copy:
            os.fsync(copy.fileno())
    except OSError:
        kept.unlink(missing_ok=True)
        raise
    folder.sync()
    for old in folder.damaged_wals()[:-MAX_KEPT]:
        old.unlink()
    return kept


def begin_history(connection: apsw.Connection) -> None:
    """Have the generation of every stream rise at its tail: what came after may be lost."""
    connection.execute(
        "begin immediate; insert into meta values ('history', ?)"
        " on conflict (name) do update set value=max(value + 1, excluded.value); commit",
        (time.time_ns() * MICROSECONDS // 10**9,),
    )


def _log_damage(folder: DataFolder, found: wal.SkippedFrames, saved_wal: Path | None) -> None:
    if saved_wal is None:
        log.warning(
            "log.torn",
            file=str(folder.wal),
            frames=found.frames,
            reason="the last transaction is not whole: it was not acknowledged, if power was cut",
        )
    else:
        log.error(
            "log.wal_damaged",
            file=str(folder.wal),
            frames=found.frames,
            commits=found.commits,
            saved_wal=str(saved_wal),
            reason="acknowledged transactions are lost: offsets of them are refused from now on",
        )
