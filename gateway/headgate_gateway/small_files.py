"""Small files: read whole, replaced in one step, and read again when they change."""

from __future__ import annotations

import asyncio
import os
import secrets
import stat
from abc import abstractmethod
from typing import TYPE_CHECKING, Generic, TypeVar

from typing_extensions import override

from headgate_gateway.background import Background
from headgate_gateway.errors import StartError
from headgate_gateway.text_files import unmarked

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


LARGEST_FILE = 1 << 20  # 5,000 tokens, which take a tenth of a second to parse


def read_file(path: str) -> bytes:
    """Return a whole small file, without a byte order mark.

    Raises OSError, and ValueError for one that is too large or in another encoding than UTF-8.
    """
    with open(path, "rb") as file:  # noqa: PTH123 - Path raises on odd names
        data = file.read(LARGEST_FILE + 1)
    if len(data) > LARGEST_FILE:
        raise ValueError(f"{path} is larger than {LARGEST_FILE >> 20} MiB")
    try:
        return unmarked(data)
    except ValueError as cause:
        raise ValueError(f"{path} {cause}") from cause


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


# A change is read once two looks in a row have seen it: a half-written file may be valid, too, and
# a certificate and its key are written one after the other.
LOOK_AGAIN_S = 0.25

T = TypeVar("T")


FileState = tuple[int, int, int, int, int]
_FileStates = tuple[FileState, ...]


class WatchedFiles(Background, Generic[T]):
    """The content of files that are read together; once started, again when one of them changes.

    Content that cannot be used leaves the former `value` in use.
    """

    def __init__(self, paths: Sequence[str]) -> None:
        """Read the files for the first time. Raises StartError if they cannot be used."""
        self._paths = paths
        self.trouble: str | None = None  # why the present content is not used
        self._pending: _FileStates | None = None  # of a change that one look has seen
        self._refused: _FileStates | None = None  # of content that cannot be used
        try:
            self._state_read = _file_states(paths)
            self.value = self._read()
        except (OSError, ValueError) as cause:
            raise StartError(self._first_sentence(cause)) from cause

    @abstractmethod
    def _read(self) -> T:
        """Return the content of the files; this is also called in a thread.

        Raises OSError if a file cannot be read now, and ValueError if the content cannot be used;
        the message names the file, repeats nothing secret, and does not change with the time.
        """

    @abstractmethod
    def _on_change(self) -> None:
        """Log that `value` is new, and notify those who use it."""

    @abstractmethod
    def _log_refusal(self, why: str) -> None:
        """Log why the present content is not used."""

    @override
    async def _run(self) -> None:
        while True:
            await asyncio.sleep(LOOK_AGAIN_S)
            await self.look()

    async def look(self) -> None:
        """Check for changes; read the files if the look before saw the same change."""
        try:
            seen = _file_states(self._paths)
        except (OSError, ValueError) as cause:
            self._pending = self._refused = None
            self._refuse(cause)
            return
        if seen == self._state_read:
            self._pending = self.trouble = None
        elif seen != self._pending:
            self._pending = seen
        elif seen != self._refused:
            await self._use(seen)

    async def _use(self, seen: _FileStates) -> None:
        try:
            value = await asyncio.to_thread(self._read)  # a large file takes 0.1 s
        except (OSError, ValueError) as cause:
            # A file that could not be read, such as for lack of descriptors, is tried again.
            self._refused = seen if isinstance(cause, ValueError) else None
            self._refuse(cause)
            return
        self._state_read = seen
        self._pending = self._refused = self.trouble = None
        self.value = value
        self._on_change()

    def _refuse(self, cause: OSError | ValueError) -> None:
        """Keep the last good content, and log that once for each reason."""
        why = self._sentence(cause).replace(".\n", "; ")  # one line, in the log and in the console
        if why != self.trouble:
            self.trouble = why
            self._log_refusal(why)

    def _first_sentence(self, cause: OSError | ValueError) -> str:
        """Return why the files cannot be used, without a path that may be a secret."""
        from headgate_gateway.settings.reading.files import may_be_shown, unread  # rarely needed

        misplaced = next((it for it in self._paths if not may_be_shown(it)), None)
        if misplaced is None or not isinstance(cause, OSError):
            return self._sentence(cause)
        return unread(misplaced, cause.strerror)

    def _sentence(self, cause: OSError | ValueError) -> str:
        if isinstance(cause, OSError):
            path = cause.filename or " or ".join(self._paths)
            return f"{path} cannot be read: {cause.strerror or 'it is gone'}"
        return str(cause)


def _file_states(paths: Sequence[str]) -> _FileStates:
    """Return a value that changes with the content of one of the files."""
    return tuple(map(file_state, paths))


def file_state(path: str) -> FileState:
    """Return a value that changes with a file's content, or when a link leads elsewhere.

    Raises OSError if there is nothing, and ValueError if it is not a file.
    """
    it = os.stat(path)  # noqa: PTH116 - Path raises on odd names
    if not stat.S_ISREG(it.st_mode):
        raise ValueError(f"{path} is no file")
    return (it.st_dev, it.st_ino, it.st_size, it.st_mtime_ns, it.st_ctime_ns)
