"""The documents of a data file, read and written on its writer thread."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from gateway.backends.sqlite.writing.writer_thread import WriterThread


class FileDocuments:
    """The documents of a data file: each write is a transaction, and one sync to disk."""

    def __init__(self, folder: Path, thread: WriterThread) -> None:
        self.private_folder: Path | None = folder
        self._thread = thread

    async def read(self, after: str, limit: int) -> Sequence[tuple[str, bytes]]:
        """Return the first documents, at most `limit`, whose names follow `after`, by name."""
        return await self._thread.run(lambda writer: writer.documents.read(after, limit))

    async def read_one(self, name: str) -> bytes | None:
        """Return a document, or None."""
        return await self._thread.run(lambda writer: writer.documents.read_one(name))

    async def write(self, changes: Mapping[str, bytes | None]) -> None:
        """Store these documents, or remove those that are None: durably, and all or none."""
        if changes:
            await self._thread.run(lambda writer: writer.documents.write(changes))
