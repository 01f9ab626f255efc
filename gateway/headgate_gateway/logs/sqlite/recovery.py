"""Recovery of a WAL that a crash left: SQLite uses what it can, and the rest is cut off.

SQLite stops at the first frame that does not check, however many follow. If what follows is more
than a killed process leaves, transactions that had been committed may be lost. The log then goes on
in a new generation, so that no offset is given out twice (`protocol.streams.state`). A power cut
can leave the same amid the last transaction, which was not acknowledged.
"""

from __future__ import annotations

import itertools
import os
import struct
import time
from typing import TYPE_CHECKING, BinaryIO, NamedTuple

import apsw

from headgate_gateway.errors import StartError
from headgate_gateway.protocol.streams.state import MICROSECONDS
from headgate_gateway.telemetry.logs import log

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from headgate_gateway.logs.sqlite.data_folder import DataFolder

HEADER_BYTES = 32
FRAME_BYTES = 24  # before each page
BIG_ENDIAN = b"\x37\x7f\x06\x83"  # the magic number of files whose checksums are of such words
MASK = 0xFFFFFFFF


def recover(folder: DataFolder, connection: apsw.Connection) -> None:
    """Begin a new history if the WAL has more than SQLite took, and cut that off.

    A crash between any two of its steps does no harm: the next start finds the same. Raises
    StartError, and leaves both files as they are, if the data file is not sound without the rest.
    """
    frames = frames_taken(connection)
    _check_size(folder, connection, frames)
    lost = lost_frames(folder.wal, frames, connection.pragma("page_size"))
    # Pages of some of them may be in the file already. To look through all of it may take minutes,
    # which a power cut is to cost nobody: it leaves but one of them.
    if lost.are_of_several and not _is_sound(connection):
        raise StartError(
            f"{folder.wal} is damaged, and without it {folder.file} is not sound: both were left"
            " as they are; restore a backup"
        )
    if lost.frames:
        begin_history(connection)
        log.warning(
            "log.torn",
            file=str(folder.wal),
            frames=lost.frames,
            reason="they could not be used: their appends are lost, unless the power was cut amid "
            "the last transaction; offsets of lost data are refused from now on",
        )
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


def begin_history(connection: apsw.Connection) -> None:
    """Have the generation of every stream rise at its tail: what came after may be lost."""
    connection.execute(
        "begin immediate; insert into meta values ('history', ?)"
        " on conflict (name) do update set value=max(value + 1, excluded.value); commit",
        (time.time_ns() * MICROSECONDS // 10**9,),
    )


# The frames of a WAL

_Checksum = tuple[int, int]


class LostFrames(NamedTuple):
    """The frames that SQLite did not take, beyond what a killed process leaves.

    `are_of_several` transactions, of which all but the last were synced before the next one.
    """

    frames: int = 0
    are_of_several: bool = False


class _Frame(NamedTuple):
    """A frame: its salts, the checksum stored in it, and the bytes that the checksum is of."""

    salts: bytes
    stored: _Checksum
    content: bytes
    commits: bool  # it ends a transaction


def _frames(file: BinaryIO, page_size: int, first: int) -> Iterator[_Frame]:
    """Yield the frames that are there in full, from number `first`, counted from 0."""
    file.seek(bytes_of(first, page_size))
    size = FRAME_BYTES + page_size
    while len(frame := file.read(size)) == size:
        content = frame[:8] + frame[24:]
        yield _Frame(frame[8:16], _checksum_in(frame[16:24]), content, any(frame[4:8]))


def bytes_of(frames: int, page_size: int) -> int:
    """Return the size (bytes) of a WAL with this number of frames."""
    return HEADER_BYTES + frames * (FRAME_BYTES + page_size)


def pages(file: Path, sound_frames: int, page_size: int) -> set[int]:
    """Return the numbers, from 1, of the pages that the first `sound_frames` frames have."""
    with file.open("rb") as opened:
        frames = itertools.islice(_frames(opened, page_size, 0), sound_frames)
        return {int.from_bytes(one.content[:4]) for one in frames}


def lost_frames(file: Path, taken: int, page_size: int) -> LostFrames:
    """Examine what follows the `taken` frames that SQLite could use, one page at a time.

    A killed process leaves the beginning of a transaction: frames that check, none of which ends
    it. Frames after it are older, from before the WAL was begun anew: both halves of their salts
    are others, which no flipped bit does. The header is synced before the first frame is written,
    so no cut damages it.
    """
    with file.open("rb") as opened:
        header = opened.read(HEADER_BYTES)
        if len(header) < HEADER_BYTES:
            return LostFrames()
        order = ">" if header.startswith(BIG_ENDIAN) else "<"
        salts, before = header[16:24], _checksum_in(header[24:])
        if taken:
            before = next(_frames(opened, page_size, taken - 1)).stored
        elif _checksum((0, 0), header[:24], order) != before:
            frames = sum(1 for _ in _frames(opened, page_size, 0))
            return LostFrames(frames, are_of_several=frames > 0)
        frames, is_begun, has_ended, are_of_several = 0, True, False, False
        for frame in _frames(opened, page_size, taken):
            is_begun = (
                is_begun
                and frame.salts == salts
                and not frame.commits
                and _checksum(before, frame.content, order) == frame.stored
            )
            before = frame.stored
            if not is_begun and (frame.salts[:4] == salts[:4] or frame.salts[4:] == salts[4:]):
                frames += 1
                are_of_several = are_of_several or has_ended
                has_ended = has_ended or frame.commits
        return LostFrames(frames, are_of_several)


def _checksum_in(words: bytes) -> _Checksum:
    first, second = struct.unpack(">II", words)
    return first, second


def _checksum(seed: _Checksum, content: bytes, order: str) -> _Checksum:
    """Return SQLite's checksum of `content`, continued from the checksum `seed`."""
    first, second = seed
    words = iter(struct.unpack(f"{order}{len(content) // 4}I", content[: len(content) // 8 * 8]))
    for one, other in zip(words, words, strict=True):
        first = (first + one + second) & MASK
        second = (second + other + first) & MASK
    return first, second
