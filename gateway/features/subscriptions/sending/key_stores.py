"""The place of the keys of webhooks and tokens: a private file, or a document of the log."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING

from gateway import small_files
from gateway.errors import LogUnavailable

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.features.subscriptions.storage.documents import Documents

FILE = "headgate.subscriptions.key"
DOCUMENT = "keys"  # no other document has a name that begins with this


async def read_keys(documents: Documents) -> bytes | None:
    """Return the keys that are stored beside documents, or None. Raises LogUnavailable."""
    folder = documents.private_folder
    if folder is None:
        return await documents.read_one(DOCUMENT)
    return await asyncio.to_thread(_read_file, folder / FILE)


async def write_keys(documents: Documents, content: bytes) -> None:
    """Replace the keys that are stored beside documents, durably. Raises LogUnavailable."""
    folder = documents.private_folder
    if folder is None:
        await documents.write({DOCUMENT: content})
    else:
        await asyncio.to_thread(_write_file, folder / FILE, content)


def _read_file(file: Path) -> bytes | None:
    try:
        descriptor = os.open(file, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        with os.fdopen(descriptor, "rb") as opened:
            return opened.read()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise LogUnavailable(f"the keys in {FILE} cannot be read: {error}") from None


def _write_file(file: Path, content: bytes) -> None:
    """Write the file under another name first, so that a crash leaves the old or the new."""
    from gateway.logs.sqlite.data_folder import sync_folder  # loaded with the log there

    draft = file.with_name(f"{FILE}.new")
    try:
        draft.unlink(missing_ok=True)
        small_files.create(draft, content)
        draft.rename(file)
        sync_folder(file.parent)
    except OSError as error:
        raise LogUnavailable(f"the keys in {FILE} cannot be written: {error}") from None
