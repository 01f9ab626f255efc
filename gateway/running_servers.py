"""The servers that this user runs on this machine, which commands find without being told.

Each server has a file with its addresses, which it locks for as long as it runs: so a file of a
server that was killed is told from others, whatever process has its pid by now.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from gateway.settings.reached import console_url, stream_bases

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from gateway.settings import Settings

LARGEST_FILE = 1 << 20  # bytes; 10,000 routes fit
MOST_SERVERS = 1000  # files that are looked at


class RunningServer(msgspec.Struct, frozen=True):
    """A server: the URLs of its routes, that of its admin listener, and its pid."""

    streams: tuple[str, ...]
    admin: str
    pid: int


@contextlib.contextmanager
def published(settings: Settings, environment: Mapping[str, str]) -> Iterator[bool]:
    """Have commands of this user find the server within the block. Yield whether they do.

    The file is called after the address, which no two servers listen on: so there is never more
    than one for each address that was ever used.
    """
    folder = _folder(environment)
    server = RunningServer(tuple(stream_bases(settings)), console_url(settings), os.getpid())
    file = folder / f"{settings.listen}.json"
    draft = folder / f"{file.name}.{server.pid}"
    with contextlib.ExitStack() as opened:
        try:
            if settings.listen.port == 0:  # any that is free: the settings do not say which
                raise FileNotFoundError
            folder.mkdir(mode=0o700, exist_ok=True)
            _check_private(folder)
            descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            opened.callback(os.close, descriptor)
            # Before it has its name: whoever finds the file finds it locked.
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            os.write(descriptor, msgspec.json.encode(server))
            draft.replace(file)
        except OSError:  # such as a system that is only read: then the start says what to export
            yield False
            return
        try:
            yield True
        finally:
            with contextlib.suppress(OSError):
                file.unlink()


def running_servers(environment: Mapping[str, str]) -> list[RunningServer]:
    """Return the servers of this user that run on this machine, by address."""
    folder = _folder(environment)
    try:
        _check_private(folder)
        names = sorted(folder.glob("*.json"))[:MOST_SERVERS]
    except OSError:
        return []
    return [server for name in names if (server := _running(name)) is not None]


def _running(file: Path) -> RunningServer | None:
    """Return the server of a file, or None if it runs no more."""
    with contextlib.suppress(OSError, msgspec.DecodeError), file.open("rb") as opened:
        try:
            fcntl.flock(opened, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return msgspec.json.decode(opened.read(LARGEST_FILE), type=RunningServer)
    return None


def _folder(environment: Mapping[str, str]) -> Path:
    """Return the folder of this user's servers, which goes when the machine stops."""
    given = environment.get("XDG_RUNTIME_DIR", "")
    # As the XDG Base Directory specification says, a relative path is none.
    if given.startswith("/"):
        return Path(given, "headgate")
    return Path(tempfile.gettempdir(), f"headgate-{os.getuid()}")


def _check_private(folder: Path) -> None:
    """Raise PermissionError unless only this user can write there.

    Else another user could make commands, and what they send as their Authorization, go elsewhere.
    """
    status = folder.lstat()
    if status.st_uid != os.getuid() or not folder.is_dir() or folder.is_symlink():
        raise PermissionError(f"{folder} is not a folder of this user")
    if status.st_mode & 0o022:
        raise PermissionError(f"{folder} can be written by others")
