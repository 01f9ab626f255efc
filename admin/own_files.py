"""Files of the console in the folder of a `file:` log, which only its user can read."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Literal

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gateway.settings import Settings


def data_folder(settings: Settings) -> Path | None:
    """Return the folder of the first log that has one, or None: the console's files are there."""
    for route in settings.route_table:
        if route.log_kind is not None and route.log_kind.name == "file":
            return Path(route.storage.removeprefix("file:"))
    return None


def open_own(path: Path, mode: Literal["ab", "wb", "w+b"]) -> BinaryIO:
    """Open a file for writing; one that is created is for its user alone. Raises OSError."""
    return open(path, mode, opener=_for_its_user)


def replace_lines(path: Path, lines: Iterable[bytes]) -> None:
    """Write a file anew: after a crash it has all of the former lines or all of these.

    Raises OSError. One thread at a time may do so for a path.
    """
    beside = path.with_name(f"{path.name}-new")
    with open_own(beside, "wb") as file:
        for line in lines:
            file.write(line + b"\n")
        file.flush()
        os.fsync(file.fileno())
    beside.replace(path)


def _for_its_user(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)
