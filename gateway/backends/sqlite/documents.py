"""The documents of a data file, read and written on its writer thread."""

from __future__ import annotations

from typing import TYPE_CHECKING

from typing_extensions import override

from gateway.backends.contract import Documents

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from gateway.backends.sqlite.writing.writer_thread import WriterThread


class FileDocuments(Documents):
    """The documents of a data file: each write is a transaction, and one sync to disk."""

    def __init__(self, folder: Path, thread: WriterThread) -> None:
        self.private_folder: Path | None = folder
        self._thread = thread

    @override
    async def read(self, after: str, limit: int) -> Sequence[tuple[str, bytes]]:
        return await self._thread.run(lambda writer: writer.documents.read(after, limit))

    @override
    async def read_one(self, name: str) -> bytes | None:
        return await self._thread.run(lambda writer: writer.documents.read_one(name))

    @override
    async def write(self, changes: Mapping[str, bytes | None]) -> None:
        if changes:
            await self._thread.run(lambda writer: writer.documents.write(changes))
