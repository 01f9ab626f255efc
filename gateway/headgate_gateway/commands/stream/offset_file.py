"""The file in which a reader keeps its place in a stream from one run to the next."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

from headgate_gateway.text_files import text_of
from headgate_gateway.tools.shell.failure import Failed

if TYPE_CHECKING:
    from pathlib import Path

    from headgate.errors import StreamError

# What Headgate names of a stream that has lost a part.
PLACE_TO_GO_ON = re.compile(r"(?:go on from|the stream begins at) ([0-9_]+)")


class OffsetFile:
    """A file with the next offset to read."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def load(self) -> str | None:
        """Return the offset in the file, or None without a file.

        Raises Failed for a file that cannot be read or replaced: better before any output.
        """
        folder = self._path.parent
        if not os.access(folder, os.W_OK):
            reason = "it cannot be written to" if folder.is_dir() else "there is no such folder"
            raise Failed(f"{self._path} cannot be kept in {folder}: {reason}")
        try:
            return text_of(self._path)
        except FileNotFoundError:
            return None
        except ValueError as cause:
            raise Failed(f"{self._path} holds no offset: remove it to begin again") from cause
        except OSError as cause:
            raise Failed(f"{self._path} cannot be read: {cause.strerror}") from cause

    def save(self, offset: str) -> None:
        """Replace the file at once, so that a crash leaves the old offset or the new one."""
        draft = self._path.with_name(f"{self._path.name}.{os.getpid()}")
        try:
            draft.write_text(f"{offset}\n", encoding="ascii")
            draft.replace(self._path)
        except OSError as cause:
            raise Failed(f"{self._path} cannot be written: {cause.strerror}") from cause

    def hint(self, refusal: StreamError) -> str:
        """Return what to do about an offset of the file that the server refused."""
        if named := PLACE_TO_GO_ON.search(str(refusal)):
            return f"to go on there, put {named[1]} into {self._path}; to begin again, remove it"
        return f"the offset is that in {self._path}: remove it to begin again"
