"""What stands in the memory of a process, as a core dump of it would show."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import re


class _Mapping(NamedTuple):
    start: int
    end: int


def found(pid: int, pattern: re.Pattern[bytes]) -> set[bytes]:
    """What of the pattern stands in memory that the process may write to."""
    there: set[bytes] = set()
    with Path(f"/proc/{pid}/mem").open("rb", buffering=0) as memory:
        for start, end in _writable(pid):
            memory.seek(start)
            with contextlib.suppress(OSError):  # of a device, or of a mapping that has gone since
                there.update(pattern.findall(memory.read(end - start)))
    return there


def _writable(pid: int) -> list[_Mapping]:
    lines = Path(f"/proc/{pid}/maps").read_text().splitlines()
    parts = (line.split(maxsplit=5) for line in lines)
    ranges = (place.split("-") for place, rights, *_ in parts if rights.startswith("rw"))
    return [_Mapping(int(start, 16), int(end, 16)) for start, end in ranges]
