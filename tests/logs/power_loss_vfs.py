"""A file system for SQLite that can lose its power, and that can refuse to write.

Everything goes to real files. Beside each one stands what a disk is sure to have of it: the image
at its last sync, and the writes since then, of which a power cut keeps any part.
"""

from __future__ import annotations

import itertools
import threading
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Self

import apsw

if TYPE_CHECKING:
    import random
    from collections.abc import Callable

SECTOR = 512  # disks write a sector whole or not at all
_numbers = itertools.count()


class _Write(NamedTuple):
    at: int
    data: bytes


class _Truncation(NamedTuple):
    size: int


class _Platter:
    """One file as a disk has it."""

    def __init__(self, synced: bytes, *, named: bool) -> None:
        self.synced = bytearray(synced)
        self.named = named  # whether its directory entry is on disk too
        self.pending: list[_Write | _Truncation] = []

    def sync(self) -> None:
        for step in self.pending:
            _apply(self.synced, step)
        self.pending.clear()
        self.named = True

    def after_cut(self, chance: random.Random) -> bytes | None:
        """What is found there after a cut; None when not even its name was written."""
        if not self.named and chance.random() < 0.5:
            return None
        image = bytearray(self.synced)
        survives = chance.choice([0.0, 0.1, 0.5, 0.9, 1.0])
        for step in self.pending:
            if chance.random() < survives:
                _apply(image, _torn(step, chance))
        return bytes(image)


def _apply(image: bytearray, step: _Write | _Truncation) -> None:
    if isinstance(step, _Truncation):
        del image[step.size :]
        return
    if len(image) < step.at:
        image.extend(bytes(step.at - len(image)))
    image[step.at : step.at + len(step.data)] = step.data


def _torn(step: _Write | _Truncation, chance: random.Random) -> _Write | _Truncation:
    if isinstance(step, _Truncation) or chance.random() < 0.7:
        return step
    first = (step.at // SECTOR + 1) * SECTOR - step.at  # bytes up to the next sector
    cuts = range(first, len(step.data), SECTOR)
    cut = chance.choice(cuts) if cuts else 0
    if chance.random() < 0.5:
        return _Write(step.at, step.data[:cut])
    return _Write(step.at + cut, step.data[cut:])


class PowerLossVFS(apsw.VFS):
    """`cut` gives the folder as a power cut would leave it at this moment.

    `syncs=False` is a disk that lies: it says that it has synced, and has not. `before` is called
    ahead of each write and sync, with its number and what it is; what it raises is the outcome.
    """

    def __init__(self, *, syncs: bool = True) -> None:
        self.name = f"power-loss-{next(_numbers)}"
        self.syncs = syncs
        self.before: Callable[[int, str], None] | None = None
        self.operations = 0
        self.lock = threading.RLock()
        self.platters: dict[int, _Platter] = {}
        super().__init__(self.name, "")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.unregister()

    def excepthook(self, *_: object) -> bool:
        """SQLite has told its caller; here is nobody else to tell."""
        return True

    def xOpen(self, name: apsw.URIFilename | str | None, flags: list[int]) -> apsw.VFSFile:  # noqa: N802
        return _File(self, name, flags)

    def xDelete(self, filename: str, syncdir: bool) -> None:  # noqa: N802
        with self.lock:
            self.platters.pop(Path(filename).stat().st_ino, None)
            super().xDelete(filename, syncdir)

    def platter(self, path: Path, *, existed: bool) -> _Platter:
        """The file behind an inode, which survives a renaming."""
        with self.lock:
            inode = path.stat().st_ino
            if inode not in self.platters:
                self.platters[inode] = _Platter(path.read_bytes(), named=existed)
            return self.platters[inode]

    def operation(self, what: str) -> None:
        """Count, and let the test have its say."""
        with self.lock:
            self.operations += 1
            number = self.operations
        if self.before is not None:
            self.before(number, what)

    def cut(self, folder: Path, chance: random.Random) -> dict[str, bytes]:
        """The files that are found in the folder after a power cut now."""
        with self.lock:
            found = {}
            for path in sorted(folder.iterdir()):
                platter = self.platters.get(path.stat().st_ino)
                image = platter.after_cut(chance) if platter is not None else None
                if image is not None:
                    found[path.name] = image
            return found


class _File(apsw.VFSFile):
    def __init__(
        self, vfs: PowerLossVFS, name: apsw.URIFilename | str | None, flags: list[int]
    ) -> None:
        path = Path(name.filename() if isinstance(name, apsw.URIFilename) else str(name))
        existed = path.exists()
        super().__init__("", name, flags)
        self._vfs = vfs
        self._platter = vfs.platter(path, existed=existed)

    def excepthook(self, *_: object) -> bool:
        """See the VFS."""
        return True

    def xLock(self, level: int) -> None:  # noqa: N802
        """A read-only connection that closes last asks for more than it may have."""
        try:
            super().xLock(level)
        except apsw.IOError as error:
            raise apsw.BusyError(str(error)) from error

    def xWrite(self, data: bytes, offset: int) -> None:  # noqa: N802
        self._vfs.operation("write")
        with self._vfs.lock:
            super().xWrite(data, offset)
            self._platter.pending.append(_Write(offset, bytes(data)))

    def xTruncate(self, newsize: int) -> None:  # noqa: N802
        with self._vfs.lock:
            super().xTruncate(newsize)
            self._platter.pending.append(_Truncation(newsize))

    def xSync(self, flags: int) -> None:  # noqa: N802
        self._vfs.operation("sync")
        with self._vfs.lock:
            if self._vfs.syncs:
                self._platter.sync()
