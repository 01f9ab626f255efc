"""Origin URLs and the logs they stand for."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from gateway.backends.memory import MemoryLog
from gateway.backends.sqlite import SqliteLog
from gateway.errors import StartError

if TYPE_CHECKING:
    from gateway.backends.base import Log


def log_for(origin: str) -> Log:
    """The log behind an origin URL: `memory:` or `file:PATH`."""
    scheme, separator, rest = origin.partition(":")
    if separator and scheme == "memory" and not rest:
        return MemoryLog()
    if separator and scheme == "file" and rest:
        return SqliteLog(Path(rest))
    raise StartError(f"the origin {origin!r} is not one of memory: and file:PATH")
