"""The servers that this user runs on this machine, which commands find by themselves.

Each server has a file with its addresses, which it locks for as long as it runs: so a file of a
server that was killed is not locked, whatever process has its pid by now.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from headgate_gateway.settings.reached import console_url, stream_bases

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Self

    from headgate_gateway.settings import Settings

NO_TEMPORARY_FOLDER = (
    "commands do not find this server by themselves, as no folder for temporary files can be "
    "written: set TMPDIR or XDG_RUNTIME_DIR"
)
LARGEST_FILE = 1 << 20  # bytes; 10,000 routes fit
MOST_SERVERS = 1000  # files that are looked at


class RunningServer(msgspec.Struct, frozen=True):
    """A server: the URLs of its routes, that of its admin listener, and its pid.

    The `certificate` is the file of the admin listener's, "" without TLS. Streams of the routes in
    `forwarded`, which are some of `streams`, are those of an HTTP origin.
    """

    streams: tuple[str, ...]
    admin: str
    pid: int
    certificate: str
    forwarded: tuple[str, ...] = ()


class AddressFile:
    """The file by which commands of this user find this server, within the block.

    It is called after the address, which no two servers listen on: so there is never more than one
    for each address that was ever used.
    """

    def __init__(self, settings: Settings, environment: Mapping[str, str]) -> None:
        self._folder = _folder(environment)
        self._settings = settings
        self._descriptor: int | None = None

    @property
    def is_found(self) -> bool:
        """True if commands find the server."""
        return self._descriptor is not None

    def __enter__(self) -> Self:
        # A port of 0 is any that is free: the settings do not say which.
        if self._folder is None:
            from headgate_gateway.telemetry.logs import (
                log,  # commands, which come here too, have no log
            )

            log.warning("server.not_announced", why=NO_TEMPORARY_FOLDER)
        elif self._settings.listen.port:
            with contextlib.suppress(OSError):  # else the start says what to export
                self._folder.mkdir(mode=0o700, exist_ok=True)
                _check_private(self._folder)
                self._write(self._folder, self._settings)
        return self

    def __exit__(self, *_: object) -> None:
        if self._descriptor is not None and self._folder is not None:
            with contextlib.suppress(OSError):
                self._file_in(self._folder).unlink()
            os.close(self._descriptor)

    def update(self, settings: Settings) -> None:
        """Publish the routes of settings that are in force now; the address is the same."""
        if self._descriptor is not None and self._folder is not None:
            with contextlib.suppress(OSError):
                self._write(self._folder, settings)

    def _file_in(self, folder: Path) -> Path:
        return folder / f"{self._settings.listen}.json"

    def _write(self, folder: Path, settings: Settings) -> None:
        certificate = settings.admin.tls.certificate
        server = RunningServer(
            tuple(stream_bases(settings)),
            console_url(settings),
            os.getpid(),
            str(Path(certificate).absolute()) if certificate else "",
            tuple(stream_bases(settings, forwarded=True)),
        )
        file = self._file_in(folder)
        draft = file.with_name(f"{file.name}.{server.pid}")
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        try:
            # Before it has its name, so that the file is locked whenever it can be found.
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            os.write(descriptor, msgspec.json.encode(server))
            draft.replace(file)
        except OSError:
            os.close(descriptor)
            draft.unlink(missing_ok=True)
            raise
        if self._descriptor is not None:
            os.close(self._descriptor)
        self._descriptor = descriptor


def running_servers(environment: Mapping[str, str]) -> list[RunningServer]:
    """Return the servers of this user that run on this machine, by address."""
    folder = _folder(environment)
    if folder is None:
        return []
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


def _folder(environment: Mapping[str, str]) -> Path | None:
    """Return the folder of this user's servers, which goes when the machine stops.

    Return None without a folder for temporary files that can be written.
    """
    runtime_folder = environment.get("XDG_RUNTIME_DIR", "")
    # As the XDG Base Directory specification says, a relative path is none.
    if runtime_folder.startswith("/"):
        return Path(runtime_folder, "headgate")
    try:
        return Path(tempfile.gettempdir(), f"headgate-{os.getuid()}")
    except OSError:
        return None


def _check_private(folder: Path) -> None:
    """Raise PermissionError unless only this user can write there.

    Else another user could make commands, and what they send as their Authorization, go elsewhere.
    """
    status = folder.lstat()
    if status.st_uid != os.getuid() or not folder.is_dir() or folder.is_symlink():
        raise PermissionError(f"{folder} is not a folder of this user")
    if status.st_mode & 0o022:
        raise PermissionError(f"{folder} can be written by others")
