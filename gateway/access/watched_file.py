"""A file that is read again when it changes; after a mistake the last good content is used."""

from __future__ import annotations

import asyncio
import os
import stat
from typing import TYPE_CHECKING, Generic, TypeVar

from typing_extensions import override

from gateway.access.small_files import read_file
from gateway.background import Background
from gateway.errors import StartError
from gateway.telemetry.logs import log
from gateway.telemetry.metrics import least

if TYPE_CHECKING:
    from collections.abc import Callable

# A change is read once two looks in a row have seen it: a half-written file may be valid, too.
LOOK_AGAIN_S = 0.25

FILE_OK = least(
    "headgate_access_file_ok",
    "1 while the current file of tokens or keys is in force, by the setting that names it.",
    "setting",
)

T = TypeVar("T")
_Seen = tuple[int, int, int, int, int]


class WatchedFile(Background, Generic[T]):
    """A file's content as `parse` returns it, read again when the file changes.

    `parse` takes the file's bytes. It raises ValueError with a line for each mistake, which names
    the file and repeats nothing secret. `on_change` is called after each change of `value`.
    """

    def __init__(
        self, setting: str, path: str, parse: Callable[[bytes], T], on_change: Callable[[], None]
    ) -> None:
        """Read the file for the first time. Raises StartError if it cannot be used."""
        self.setting = setting  # the name of the setting that has its path
        self.path = path
        self._parse = parse
        self._on_change = on_change
        self.trouble: str | None = None  # why the present content is not used
        # Signatures: of a change that one look has seen, and of content that cannot be used.
        self._pending: _Seen | None = None
        self._refused: _Seen | None = None
        try:
            self._signature_read = _signature(path)
            self.value = parse(read_file(path))
        except (OSError, ValueError) as cause:
            raise StartError(_sentence(path, cause)) from cause

    @override
    async def _run(self) -> None:
        while True:
            await asyncio.sleep(LOOK_AGAIN_S)
            await self.look()

    async def look(self) -> None:
        """Check for changes; read the file if the look before saw the same change."""
        try:
            seen = _signature(self.path)
        except (OSError, ValueError) as cause:
            self._pending = self._refused = None
            self._refuse(_sentence(self.path, cause))
            return
        if seen == self._signature_read:
            self._pending = self.trouble = None
        elif seen != self._pending:
            self._pending = seen
        elif seen != self._refused:
            await self._take(seen)

    async def _take(self, seen: _Seen) -> None:
        try:
            # In a thread: a large file takes 0.1 s.
            value = await asyncio.to_thread(lambda: self._parse(read_file(self.path)))
        except (OSError, ValueError) as cause:
            # A file that could not be read, such as for lack of descriptors, is tried again.
            self._refused = seen if isinstance(cause, ValueError) else None
            self._refuse(_sentence(self.path, cause))
            return
        self._signature_read = seen
        self._pending = self.trouble = None
        self.value = value
        log.info("access.file_read", file=self.path)
        self._on_change()

    def _refuse(self, why: str) -> None:
        """Keep the last good content, and log that once for each reason."""
        why = why.replace(".\n", "; ")  # one line, in the log and in the console
        if why != self.trouble:
            self.trouble = why
            log.error("access.file_refused", file=self.path, why=why, instead="its last good state")


def _signature(path: str) -> _Seen:
    """Return a value that changes with a file's content, or when a link leads elsewhere."""
    it = os.stat(path)  # noqa: PTH116 - Path raises on odd names
    if not stat.S_ISREG(it.st_mode):
        raise ValueError(f"{path} is no file")
    return it.st_dev, it.st_ino, it.st_size, it.st_mtime_ns, it.st_ctime_ns


def _sentence(path: str, cause: OSError | ValueError) -> str:
    if isinstance(cause, OSError):
        return f"{path} cannot be read: {cause.strerror or 'it is gone'}"
    return str(cause)
