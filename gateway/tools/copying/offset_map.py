"""The map of offsets, for readers with an offset of the source that continue at the copy."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from gateway.tools.copying.contract import name_of
from gateway.tools.shell.failure import Failed

if TYPE_CHECKING:
    from pathlib import Path
    from typing import Self


class OffsetMap:
    """A file with a line for each append of a copy; a repeated copy adds to it."""

    def __init__(self, path: Path | None) -> None:
        """Write nothing without a `path`. Raises Failed if the file cannot be written."""
        self._path = path
        self._file = None
        if path is not None:
            try:
                self._file = path.open("a", encoding="utf-8")
            except OSError as cause:
                raise self._failure(path, cause) from cause

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            self._file.close()

    def add(self, path: str, source_offset: str, target_offset: str) -> None:
        """Add a line, which is in the file at once: a copy may be killed."""
        if self._file is None or self._path is None:
            return
        line = {"stream": name_of(path), "from": source_offset, "to": target_offset}
        try:
            self._file.write(json.dumps(line) + "\n")
            self._file.flush()
        except OSError as cause:
            raise self._failure(self._path, cause) from cause

    @staticmethod
    def _failure(path: Path, cause: OSError) -> Failed:
        return Failed(f"{path} cannot be written: {cause.strerror}")
