"""A file that is read again when it changes; what is wrong with it leaves the last good state."""

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

# A change counts once two looks in a row have seen it: half of a file may be a file, too.
LOOK_AGAIN_S = 0.25

FILE_OK = least(
    "headgate_access_file_ok",
    "1 while a file of tokens or keys is in force as it is now, by the setting that names it.",
    "setting",
)

T = TypeVar("T")
_Seen = tuple[int, int, int, int, int]


class WatchedFile(Background, Generic[T]):
    """A file's content as `parse` returns it, read again when the file changes.

    `parse` is given the file's bytes and raises ValueError with a line for each mistake, each of
    which names the file and repeats nothing secret. `changed` is called after each change of
    `value`.
    """

    def __init__(
        self, setting: str, path: str, parse: Callable[[bytes], T], changed: Callable[[], None]
    ) -> None:
        """Read it for the first time. Raises StartError when it cannot be used."""
        self.setting = setting  # the name of the one that has its path
        self.path = path
        self._parse = parse
        self._changed = changed
        self.trouble: str | None = None  # why the file as it is now is not used
        self._pending: _Seen | None = None  # seen once
        self._refused: _Seen | None = None
        try:
            self._taken = _signature(path)
            self.value = parse(read_file(path))
        except (OSError, ValueError) as cause:
            raise StartError(_sentence(path, cause)) from cause

    @override
    async def _run(self) -> None:
        while True:
            await asyncio.sleep(LOOK_AGAIN_S)
            await self.look()

    async def look(self) -> None:
        """See whether the file has changed, and take it when it has stayed so for one look."""
        try:
            seen = _signature(self.path)
        except (OSError, ValueError) as cause:
            self._pending = self._refused = None
            self._refuse(_sentence(self.path, cause))
            return
        if seen == self._taken:
            self._pending = self.trouble = None
        elif seen != self._pending:
            self._pending = seen
        elif seen != self._refused:
            await self._take(seen)

    async def _take(self, seen: _Seen) -> None:
        try:
            # Beside the requests: a large file takes 0.1 s.
            value = await asyncio.to_thread(lambda: self._parse(read_file(self.path)))
        except (OSError, ValueError) as cause:
            # What could not be read, such as for want of descriptors, is tried at the next look.
            self._refused = seen if isinstance(cause, ValueError) else None
            self._refuse(_sentence(self.path, cause))
            return
        self._taken = seen
        self._pending = self.trouble = None
        self.value = value
        log.info("access.file_read", file=self.path)
        self._changed()

    def _refuse(self, why: str) -> None:
        """Keep the last good state, and say so once for each trouble."""
        why = why.replace(".\n", "; ")  # a line of the log, or of whoever asks how all is
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
