"""The archive of `headgate doctor debug`: figures, no contents, no secrets."""

from __future__ import annotations

import asyncio
import io
import json
import os
import re
import stat
import tarfile
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from headgate_gateway.small_files import create
from headgate_gateway.tools.server.admin_requests import admin_answer, another_server
from headgate_gateway.tools.server.client import connect
from headgate_gateway.tools.shell.failure import FAILURES, Failed
from headgate_gateway.tools.shell.output import note

if TYPE_CHECKING:
    from collections.abc import Callable

    from headgate.stream_requests import StreamRequests
    from headgate_gateway.tools.server.target import StreamTarget

LAST_BYTES = 256 << 10  # of a log file; some 1,000 lines
TICKS = os.sysconf("SC_CLK_TCK")
BETWEEN_S = 10.0  # between two metrics, which give rates
ANSWERS = {
    "versions.json": "api/v1/about",
    "configuration.json": "api/v1/configuration",
    "overview.json": "api/v1/overview",
    "routes.json": "api/v1/routes",
}
# Servers log no credential. A line of another program in the same file might.
CREDENTIAL = re.compile(
    rb"(?i)((?:bearer|basic) +|://(?=[^/\s@\"']+@)|\b(?:token|rk|password|secret)=)[^\s\"'&,@]{4,}"
)
MASK = b"***"


async def bundle(target: StreamTarget, pid: int | None, file: Path) -> None:
    """Gather what there is of the server, and write the archive, which only the user can read."""
    authorization = (target.authorization or "").partition(" ")[2]
    parts = BundleParts((authorization,))
    async with connect(target) as admin:
        # The first request fails for a wrong address; later ones only lack a part.
        metrics = await admin_answer(admin, "metrics")
        if b"headgate_" not in metrics:
            raise another_server(admin.shown)
        parts.add("metrics-1.txt", metrics)
        note(f"Measuring for {BETWEEN_S:g} s.")
        for name, path in ANSWERS.items():
            await _add_answer(admin, parts, name, path)
        if pid is None:
            parts.missing["process"] = "the server does not run here, or for another user"
        else:
            parts.add_fact("process/threads-1.json", lambda: thread_times(pid))
        await asyncio.sleep(BETWEEN_S)
        if pid is not None:
            _add_process(parts, pid)
        await _add_answer(admin, parts, "metrics-2.txt", "metrics")
    try:
        create(file, parts.archive())
    except FileExistsError as cause:
        raise Failed(f"{file} is there already: name another file") from cause
    except OSError as cause:
        raise Failed(f"{file} cannot be written: {cause.strerror}") from cause
    without = f", without {', '.join(sorted(parts.missing))}" if parts.missing else ""
    note(f"Wrote {file}{without}; look through it before you pass it on.")


class BundleParts:
    """The files of a bundle, and why others are missing."""

    def __init__(self, secrets: tuple[str, ...]) -> None:
        """Mask `secrets`, those of this command, wherever they are."""
        self._secrets = tuple(secret.encode() for secret in secrets if secret)
        self.files: dict[str, bytes] = {}
        self.missing: dict[str, str] = {}

    def add(self, name: str, data: bytes) -> None:
        """Add a file, without what looks like a credential."""
        for secret in self._secrets:
            data = data.replace(secret, MASK)
        self.files[name] = CREDENTIAL.sub(rb"\1" + MASK, data)

    def add_fact(self, name: str, find: Callable[[], object]) -> None:
        """Add a fact about the process, or why it is missing."""
        try:
            fact = find()
        except OSError as cause:
            self.missing[name] = str(cause.strerror)
        else:
            self.add(name, fact if isinstance(fact, bytes) else _json(fact))

    def archive(self) -> bytes:
        """Return the gzipped tar file."""
        packed = io.BytesIO()
        manifest = _json({"files": sorted(self.files), "missing": self.missing})
        with tarfile.open(fileobj=packed, mode="w:gz") as tar:
            for name, data in ({"manifest.json": manifest} | self.files).items():
                entry = tarfile.TarInfo(f"headgate-debug/{name}")
                entry.size = len(data)
                tar.addfile(entry, io.BytesIO(data))
        return packed.getvalue()


async def _add_answer(admin: StreamRequests, parts: BundleParts, name: str, path: str) -> None:
    try:
        parts.add(name, await admin_answer(admin, path))
    except FAILURES as failure:
        parts.missing[name] = str(failure)


def _add_process(parts: BundleParts, pid: int) -> None:
    """Add what /proc says of a process, and the end of its log."""
    process = Path(f"/proc/{pid}")
    parts.add_fact("process/threads-2.json", lambda: thread_times(pid))
    parts.add_fact("process/descriptors.json", lambda: descriptors(pid))
    for name in ("limits", "status"):  # the latter has memory, threads and context switches
        parts.add_fact(f"process/{name}.txt", (process / name).read_bytes)
    parts.add_fact("log.txt", lambda: last_log(pid))
    if parts.files.get("log.txt") == b"":
        del parts.files["log.txt"]
        parts.missing["log.txt"] = "the server does not log to a file"


def descriptors(pid: int) -> dict[str, int]:
    """Return how many descriptors of each kind are open; not which files they are of."""
    kinds: Counter[str] = Counter()
    for descriptor in Path(f"/proc/{pid}/fd").iterdir():
        try:
            link = str(descriptor.readlink())
        except FileNotFoundError:  # closed meanwhile
            continue
        match = re.match(r"(?:anon_inode:)?\[?(\w+)", link)  # socket, pipe, eventpoll, memfd
        kinds[match[1] if match else "device" if link.startswith("/dev/") else "file"] += 1
    return dict(kinds.most_common())


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


def last_log(pid: int) -> bytes:
    """Return the end of the file that the process logs to; b"" if it logs elsewhere."""
    log = Path(f"/proc/{pid}/fd/2")
    if not stat.S_ISREG(log.stat().st_mode):
        return b""
    with log.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - LAST_BYTES))
        data = file.read(LAST_BYTES)
    return data if size <= LAST_BYTES else data.partition(b"\n")[2]


def _json(value: object) -> bytes:
    return json.dumps(value, indent=1).encode() + b"\n"
