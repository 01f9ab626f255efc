"""Facts about a process of this machine, from /proc: nothing in it is stopped or changed."""

from __future__ import annotations

import os
import re
import stat
from collections import Counter
from pathlib import Path

LAST_BYTES = 256 << 10  # of a log file; some 1,000 lines
TICKS = os.sysconf("SC_CLK_TCK")


def limits(pid: int) -> str:
    """Return the limits of a process. Raises OSError, as all of these functions do."""
    return Path(f"/proc/{pid}/limits").read_text(encoding="utf-8")


def status(pid: int) -> str:
    """Return memory, threads and context switches of a process."""
    return Path(f"/proc/{pid}/status").read_text(encoding="utf-8")


def descriptors(pid: int) -> dict[str, int]:
    """Return how many descriptors of each kind are open; not which files they are of."""
    kinds: Counter[str] = Counter()
    for descriptor in Path(f"/proc/{pid}/fd").iterdir():
        try:
            kinds[_kind(str(descriptor.readlink()))] += 1
        except FileNotFoundError:  # closed meanwhile
            continue
    return dict(kinds.most_common())


def _kind(link: str) -> str:
    if match := re.match(r"(?:anon_inode:)?\[?(\w+)", link):
        return match[1]  # socket, pipe, eventpoll, eventfd, memfd
    return "device" if link.startswith("/dev/") else "file"


def thread_times(pid: int) -> dict[str, tuple[float, float]]:
    """Return the seconds of processor time of each thread, in its code and in the kernel."""
    times = {}
    for thread in Path(f"/proc/{pid}/task").iterdir():
        try:
            text = (thread / "stat").read_text(encoding="utf-8", errors="replace")
        except (FileNotFoundError, ProcessLookupError):  # ended meanwhile
            continue
        name, fields = text.partition("(")[2].rpartition(")")[0], text.rpartition(")")[2].split()
        times[f"{thread.name} {name}"] = (int(fields[11]) / TICKS, int(fields[12]) / TICKS)
    return times


def last_log(pid: int) -> bytes | None:
    """Return the end of the file that the process logs to, None if it logs elsewhere."""
    log = Path(f"/proc/{pid}/fd/2")
    if not stat.S_ISREG(log.stat().st_mode):
        return None
    with log.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - LAST_BYTES))
        data = file.read(LAST_BYTES)
    return data if size <= LAST_BYTES else data.partition(b"\n")[2]
