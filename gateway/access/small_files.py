"""Files of tokens and keys, which are small."""

from __future__ import annotations

import os
import secrets
import stat
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

LARGEST_FILE = 1 << 20  # 5,000 tokens, which take a tenth of a second to parse


def read_file(path: str) -> bytes:
    """Read a whole small file. Raises OSError, or ValueError for one that is too large."""
    with open(path, "rb") as file:  # noqa: PTH123 - Path raises on odd names
        data = file.read(LARGEST_FILE + 1)
    if len(data) > LARGEST_FILE:
        raise ValueError(f"{path} is larger than {LARGEST_FILE >> 20} MiB")
    return data


def create(file: Path, data: bytes) -> None:
    """Write a new file that only the user may read, from its first byte on. Raises OSError."""
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as opened:
        opened.write(data)
        opened.flush()
        os.fsync(descriptor)


def replace(file: Path, data: bytes) -> None:
    """Replace the content of a file, or of a link's target, in one step. Raises OSError.

    Owner, group and mode stay: the gateway that reads the file may be another user.
    """
    file = file.resolve()
    like = file.stat()
    new = file.with_name(f"{file.name}.{secrets.token_hex(4)}")
    try:
        create(new, data)
        os.chown(new, like.st_uid, like.st_gid)
        new.chmod(stat.S_IMODE(like.st_mode))
        new.replace(file)
    finally:
        new.unlink(missing_ok=True)
