"""Servers whose disk is full, slow or failing."""

from __future__ import annotations

import contextlib
import subprocess
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from tests.faults import native
from tests.support.http1 import Answer, ask

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from tests.support.processes import Headgate

WRITERS = 16


class FaultyDisk:
    """What `environment` puts under a server's data file; it fails only while it is told to."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "disk-faults"
        self.folder.mkdir()
        library = native.preload("disk", self.folder)
        self.environment = {"LD_PRELOAD": str(library), "DISK_FAULTS": str(self.folder)}

    @contextlib.contextmanager
    def failing(self, fault: str, every: int = 1) -> Iterator[None]:
        """`fault` is `sync-fails` or `write-fails`; every so many calls fail in the block."""
        with self._control(fault, every):
            yield

    @contextlib.contextmanager
    def slow(self, milliseconds: int) -> Iterator[None]:
        """Each sync takes that much longer in the block."""
        with self._control("sync-takes", milliseconds):
            yield

    @contextlib.contextmanager
    def _control(self, name: str, number: int) -> Iterator[None]:
        new = self.folder / "new"
        new.write_text(f"{number}\n")
        new.rename(self.folder / name)
        try:
            yield
        finally:
            (self.folder / name).unlink()


@contextlib.contextmanager
def small_disk(folder: Path, size: str) -> Iterator[Path]:
    """A file system of its own, in memory, that a test can fill."""
    place = folder / "small-disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(place)]
    done = subprocess.run(mount, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"this test mounts a tmpfs and needs root: {done.stderr}"
    try:
        yield place
    finally:
        subprocess.run(["umount", "--lazy", place], check=True)


def fill(place: Path) -> Path:
    """A file that takes all the room there is; remove it to make room again."""
    ballast = place / "ballast"
    with contextlib.suppress(OSError), ballast.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))
    return ballast


def append(server: Headgate, stream: str, data: bytes) -> Answer:
    """Append text to a stream, on a connection of its own."""
    return ask(server.port, "POST", f"/v1/stream/{stream}", data, content_type="text/plain")


def append_at_once(server: Headgate, stream: str, bodies: Sequence[bytes]) -> list[Answer]:
    """Append all the bodies from as many threads."""
    with ThreadPoolExecutor(len(bodies)) as pool:
        return list(pool.map(lambda body: append(server, stream, body), bodies))


def create(server: Headgate, stream: str, data: bytes = b"") -> None:
    """Create a text stream."""
    answer = ask(server.port, "PUT", f"/v1/stream/{stream}", data, content_type="text/plain")
    assert answer.status == 201, answer


def content(server: Headgate, stream: str) -> bytes:
    """Everything that can be read from a stream now."""
    found, offset = b"", "-1"
    while True:
        answer = ask(server.port, "GET", f"/v1/stream/{stream}?offset={offset}")
        assert answer.status == 200, answer
        found += answer.body
        offset = answer.next_offset
        if answer.headers.get("stream-up-to-date") == "true":
            return found


def assert_refused(answers: Sequence[Answer]) -> None:
    """Each is a 503 that says when to come back."""
    for answer in answers:
        answer.assert_problem(503)
        assert int(answer.headers["retry-after"]) >= 1
