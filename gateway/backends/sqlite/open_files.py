"""A check that nobody removes, replaces or truncates the files that the server has open."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


class DataFileLost(Exception):
    """The file at the name of the data file or its WAL is not the one that is open."""


class OpenFile(NamedTuple):
    """A file as it was when it was last looked at."""

    place: tuple[int, int]  # device and inode
    size: int


class OpenFiles:
    """The files that one process has open, compared with what is at their names."""

    def __init__(self, file: Path, wal: Path) -> None:
        self._names = (str(file), str(wal))  # str: they are stat-ed with each commit
        self._file_name = self._names[0]
        self._open_files: dict[str, OpenFile] = {}

    def clear(self) -> None:
        """Expect nothing: the files are closed."""
        self._open_files = {}

    def hold(self) -> None:
        """Expect the files as they are now. Raises DataFileLost if they are not those of before."""
        found = self.look()
        self._open_files = found if len(found) > 1 else {it: _look(it) for it in self._names}

    def release_wal(self) -> None:
        """Release the WAL, whose connection is closed; the data file must still be the same."""
        if self._file_name in self._open_files:
            held = self._open_files[self._file_name]
            self._open_files = {self._file_name: held._replace(size=0)}

    def check(self, bytes_needed: Callable[[], int]) -> None:
        """Raise DataFileLost if a file was removed or replaced, or the data file was cut short.

        `bytes_needed` returns how long the data file has to be; only a shorter one is compared.
        """
        found = self.look().get(self._file_name)
        if found is None or found.size >= self._open_files[self._file_name].size:
            return
        # Any program that reads the data file may copy the WAL into it, and with it pages that were
        # given back: Litestream does. Then both files get shorter.
        if found.size < bytes_needed():
            raise DataFileLost(f"{self._file_name} was cut short under the running server")

    def look(self) -> dict[str, OpenFile]:
        """Return the open files as they are. Raises DataFileLost if one is not at its name."""
        now = {}
        for name, held in self._open_files.items():
            try:
                now[name] = _look(name)
            except FileNotFoundError as error:
                raise DataFileLost(f"{name} was removed under the running server") from error
            if now[name].place != held.place:
                raise DataFileLost(f"{name} was replaced under the running server")
        return now


def _look(name: str) -> OpenFile:
    found = os.stat(name)  # noqa: PTH116 - a path object costs as much as the call
    return OpenFile((found.st_dev, found.st_ino), found.st_size)
