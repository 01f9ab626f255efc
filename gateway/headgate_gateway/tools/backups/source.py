"""A data file that is only read: that of a folder, which a server may be writing, or a backup."""

from __future__ import annotations

import contextlib
import fcntl
from typing import TYPE_CHECKING
from urllib.parse import quote

import apsw

from headgate_gateway.errors import StartError
from headgate_gateway.logs.sqlite.data_folder import HEADER_BYTES, DataFolder, check_format

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from typing import Self


class NothingThere(StartError):
    """There is no such folder or file."""


class SourceFile:
    """An open data file; a server that writes to it goes on."""

    def __init__(self, file: Path, connection: apsw.Connection) -> None:
        self.file = file
        self.connection = connection

    @classmethod
    def open(cls, place: Path) -> Self:
        """Open the data file of a folder, or a backup. Raises StartError, such as NothingThere."""
        is_folder = place.is_dir()
        file = DataFolder(place).file if is_folder else place
        try:
            with file.open("rb") as opened:
                check_format(file, opened.read(HEADER_BYTES))
            connection = _connect(file, is_backup=not is_folder)
        except FileNotFoundError as error:
            missing = f"there is no data file, {file.name}, in {place}"
            raise NothingThere(missing if is_folder else f"{place} does not exist") from error
        except OSError as error:
            raise StartError(f"{file} cannot be read: {error.strerror}") from error
        except apsw.Error as error:
            raise StartError(f"{file} cannot be opened: {error}") from error
        return cls(file, connection)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.connection.close()


def _connect(file: Path, *, is_backup: bool) -> apsw.Connection:
    flags = apsw.SQLITE_OPEN_READONLY | apsw.SQLITE_OPEN_URI
    wal = file.with_name(f"{file.name}-wal")
    # Nobody writes to a backup. As immutable, it can be read from a read-only disk, and SQLite
    # makes no files beside it. A copy that was made by other means may need the data in its WAL.
    is_complete = is_backup and not (wal.exists() and wal.stat().st_size)
    options = "?mode=ro&immutable=1" if is_complete else "?mode=ro"
    connection = apsw.Connection(f"file:{quote(str(file.absolute()))}{options}", flags=flags)
    connection.set_busy_timeout(5000)
    return connection


@contextlib.contextmanager
def unused(folder: Path) -> Iterator[bool]:
    """Yield whether no server uses a folder; then none can start within the block."""
    lock = DataFolder(folder).lock
    if not lock.exists():
        yield True
        return
    with lock.open("rb") as opened:
        try:
            fcntl.flock(opened, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True
