"""The stores of the keys of webhooks and tokens: a private file, or a document of the log."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING, Protocol

from typing_extensions import override

from gateway import small_files
from gateway.errors import LogUnavailable

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.features.subscriptions.storage.documents import Documents

FILE = "headgate.subscriptions.key"
DOCUMENT = "keys"  # no other document has a name that begins with this


class KeyStore(Protocol):
    """The place of the keys. Both methods may raise LogUnavailable."""

    name: str  # for messages

    async def read(self) -> bytes | None:
        """Return what is stored, or None."""

    async def write(self, content: bytes) -> None:
        """Replace what is stored, durably."""


class FileKeys(KeyStore):
    """The keys in a file of a folder, which only the server's user reads."""

    name = FILE

    def __init__(self, folder: Path) -> None:
        self._file = folder / FILE

    @override
    async def read(self) -> bytes | None:
        return await asyncio.to_thread(self._read)

    @override
    async def write(self, content: bytes) -> None:
        await asyncio.to_thread(self._write, content)

    def _read(self) -> bytes | None:
        try:
            descriptor = os.open(self._file, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
            with os.fdopen(descriptor, "rb") as file:
                return file.read()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise LogUnavailable(f"the keys in {FILE} cannot be read: {error}") from None

    def _write(self, content: bytes) -> None:
        """Write the file under another name first, so that a crash leaves the old or the new."""
        from gateway.logs.sqlite.data_folder import sync_folder  # loaded with the log there

        draft = self._file.with_name(f"{FILE}.new")
        try:
            draft.unlink(missing_ok=True)
            small_files.create(draft, content)
            draft.rename(self._file)
            sync_folder(self._file.parent)
        except OSError as error:
            raise LogUnavailable(f"the keys in {FILE} cannot be written: {error}") from None


class DocumentKeys(KeyStore):
    """The keys in a document of the log, which no request reads."""

    name = "the log"

    def __init__(self, documents: Documents) -> None:
        self._documents = documents

    @override
    async def read(self) -> bytes | None:
        return await self._documents.read_one(DOCUMENT)

    @override
    async def write(self, content: bytes) -> None:
        await self._documents.write({DOCUMENT: content})


def key_store(documents: Documents) -> KeyStore:
    """Return the place of the keys beside these documents."""
    folder = documents.private_folder
    return DocumentKeys(documents) if folder is None else FileKeys(folder)
