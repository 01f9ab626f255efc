"""Recovery of a WAL that a crash left: SQLite uses what it can, and the rest is examined here.

SQLite stops at the first frame that does not check, however many follow. Those that follow are
known by their salts, 64 bits that change each time the file is begun anew: a frame with other salts
is older. A single incomplete transaction may be the work of a power cut, if nothing follows its
commit: every commit is synced before the next transaction writes.

Where a transaction that had been committed may be lost, the log goes on in a new generation, so
that no offset is given out twice (`protocol.streams.state`). Where one is certainly lost, a
copy of the WAL is saved.
"""

from __future__ import annotations

import itertools
import os
import shutil
import struct
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, NamedTuple

import apsw

from headgate_gateway.errors import StartError
from headgate_gateway.logs.sqlite.data_folder import sync_folder
from headgate_gateway.protocol.streams.state import MICROSECONDS
from headgate_gateway.telemetry.logs import log

if TYPE_CHECKING:
    from collections.abc import Iterator

    from headgate_gateway.logs.sqlite.data_folder import DataFolder

MAX_KEPT = 4  # damaged WALs, some 4 MB each; a fifth replaces the oldest
HEADER_BYTES = 32
FRAME_BYTES = 24  # before each page
SECTOR = 512  # a disk writes that much whole or not at all
BIG_ENDIAN = b"\x37\x7f\x06\x83"  # the magic number of files whose checksums are of such words
MASK = 0xFFFFFFFF


def recover(folder: DataFolder, connection: apsw.Connection) -> None:
    """Examine the rest of the WAL, and cut it off: new frames can follow. Raises StartError.

    A crash between any two of its steps does no harm: the next start finds the same.
    """
    page_size = connection.pragma("page_size")
    frames = frames_taken(connection)
    _check_size(folder, connection, frames)
    found = skipped_frames(folder.wal, frames, page_size)
    if found.is_torn or found.is_damage:
        saved = _save(folder, connection) if found.is_damage else None
        begin_history(connection)
        file, frames = str(folder.wal), found.frames
        if saved is None:
            reason = "the last transaction is not whole: it was not acknowledged, if power was cut"
            log.warning("log.torn", file=file, frames=frames, reason=reason)
        else:
            reason = "acknowledged transactions are lost: offsets of them are refused from now on"
            more = {"commits": found.commits, "saved_wal": str(saved), "reason": reason}
            log.error("log.wal_damaged", file=file, frames=frames, **more)
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
        in_wal = pages(folder.wal, frames, page_size)
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
    size = bytes_of(frames_taken(connection), connection.pragma("page_size"))
    with folder.wal.open("rb+") as open_wal:
        if os.fstat(open_wal.fileno()).st_size > size:
            open_wal.truncate(size)
            os.fsync(open_wal.fileno())


def frames_taken(connection: apsw.Connection) -> int:
    """Return how many frames of the WAL SQLite can use."""
    frames, _ = connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_NOOP)
    return max(frames, 0)


def _save(folder: DataFolder, connection: apsw.Connection) -> Path:
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
        return _copy(folder)
    except OSError as error:
        raise StartError(
            f"{folder.wal} is damaged and a copy of it cannot be kept ({error.strerror}): it was"
            " left as it is; make room, or move it away to begin without it"
        ) from error


def _copy(folder: DataFolder) -> Path:
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())  # such names sort by age
    names = (Path(f"{folder.wal}.damaged-{stamp}.{number}") for number in itertools.count())
    saved = next(path for path in names if not path.exists())
    try:
        shutil.copy(folder.wal, saved)  # with its mode
        with saved.open("rb") as copy:
            os.fsync(copy.fileno())
    except OSError:
        saved.unlink(missing_ok=True)
        raise
    sync_folder(folder.folder)
    for old in folder.damaged_wals()[:-MAX_KEPT]:
        old.unlink()
    return saved


def begin_history(connection: apsw.Connection) -> None:
    """Have the generation of every stream rise at its tail: what came after may be lost."""
    connection.execute(
        "begin immediate; insert into meta values ('history', ?)"
        " on conflict (name) do update set value=max(value + 1, excluded.value); commit",
        (time.time_ns() * MICROSECONDS // 10**9,),
    )


# The frames of a WAL

_Checksum = tuple[int, int]


class SkippedFrames(NamedTuple):
    """The frames of this WAL that SQLite did not take, and the commits among them.

    `is_torn` when they are more than the beginning of a transaction that a killed process left.
    """

    frames: int
    commits: int
    is_torn: bool
    is_damage: bool


class _Frame(NamedTuple):
    """A frame: its salts, the checksum stored in it, and the bytes that the checksum is of.

    `commits` if it ends a transaction, and `is_of_one_write` if a power cut cannot have left new
    salts before the rest of an old frame.
    """

    salts: bytes
    stored: _Checksum
    content: bytes
    commits: bool
    is_of_one_write: bool

    def follows(self, before: _Checksum, order: str) -> bool:
        """Return whether its checksum follows from the frame before, without its salts."""
        return _checksum(before, self.content, order) == self.stored


def _frames(file: BinaryIO, page_size: int, first: int) -> Iterator[_Frame]:
    """Yield the frames that are there in full, from number `first`, counted from 0."""
    at, size = bytes_of(first, page_size), FRAME_BYTES + page_size
    file.seek(at)
    while len(frame := file.read(size)) == size:
        yield _Frame(
            frame[8:16],
            _checksum_in(frame[16:24]),
            frame[:8] + frame[24:],
            commits=any(frame[4:8]),
            is_of_one_write=at % SECTOR + 16 <= SECTOR,
        )
        at += size


def bytes_of(frames: int, page_size: int) -> int:
    """Return the size (bytes) of a WAL with this number of frames."""
    return HEADER_BYTES + frames * (FRAME_BYTES + page_size)


def pages(file: Path, sound_frames: int, page_size: int) -> set[int]:
    """Return the numbers, from 1, of the pages that the first `sound_frames` frames have."""
    with file.open("rb") as opened:
        frames = itertools.islice(_frames(opened, page_size, 0), sound_frames)
        return {int.from_bytes(one.content[:4]) for one in frames}


def skipped_frames(file: Path, sound_frames: int, page_size: int) -> SkippedFrames:
    """Examine what follows the `sound_frames` frames that SQLite could use, one page at a time."""
    with file.open("rb") as opened:
        header = opened.read(HEADER_BYTES)
        if len(header) < HEADER_BYTES:
            return SkippedFrames(0, 0, is_torn=False, is_damage=False)
        order = ">" if header.startswith(BIG_ENDIAN) else "<"
        stored = _checksum_in(header[24:])
        if sound_frames or _checksum((0, 0), header[:24], order) == stored:
            if sound_frames:
                stored = next(_frames(opened, page_size, sound_frames - 1)).stored
            skipped = _frames(opened, page_size, sound_frames)
            return _examined(skipped, order, stored, header[16:24])
        # The header is damaged, maybe in its magic number.
        order = "<" if sys.byteorder == "little" else ">"
        seeds = {stored, _checksum((0, 0), header[:24], order)}
        salts = _salts(_frames(opened, page_size, 0), order, seeds)
        if salts is None:
            return SkippedFrames(0, 0, is_torn=False, is_damage=False)
        found = _examined(_frames(opened, page_size, 0), order, (0, 0), salts)
    # The header is synced before the first frame is written: no cut damages it.
    return found._replace(is_damage=found.commits > 0)


def _examined(
    skipped: Iterator[_Frame], order: str, before: _Checksum, salts: bytes
) -> SkippedFrames:
    """Examine the frames that follow one with the checksum `before`, in a WAL with these salts."""
    frames = commits = 0
    is_whole = is_ours = True  # all frames so far; the frame before
    is_damage = False
    for frame in skipped:
        bears_them = frame.salts == salts
        # A frame with damaged salts is still ours if its checksum follows; of the old frames
        # after ours, only the first is checked.
        checks = (is_whole or not frame.is_of_one_write or not bears_them) and (
            is_ours and frame.follows(before, order)
        )
        is_ours = bears_them or checks
        before = frame.stored
        if not is_ours:
            continue
        is_damage = is_damage or commits > 0
        is_whole = is_whole and checks and bears_them
        frames += 1
        commits += frame.commits and (checks or frame.is_of_one_write)
    return SkippedFrames(frames, commits, bool(frames and not is_whole) or commits > 0, is_damage)


def _checksum_in(words: bytes) -> _Checksum:
    first, second = struct.unpack(">II", words)
    return first, second


def _salts(frames: Iterator[_Frame], order: str, seeds: set[_Checksum]) -> bytes | None:
    """Return the salts of a WAL with a damaged header: those of its first valid frames.

    `seeds` are the checksums that the first frame may follow.
    """
    before = None
    for frame in frames:
        if before in {None, frame.salts} and any(frame.follows(seed, order) for seed in seeds):
            return frame.salts
        before, seeds = frame.salts, {frame.stored}
    return None


def _checksum(seed: _Checksum, content: bytes, order: str) -> _Checksum:
    """Return SQLite's checksum of `content`, continued from the checksum `seed`."""
    first, second = seed
    words = iter(struct.unpack(f"{order}{len(content) // 4}I", content[: len(content) // 8 * 8]))
    for one, other in zip(words, words, strict=True):
        first = (first + one + second) & MASK
        second = (second + other + first) & MASK
    return first, second
