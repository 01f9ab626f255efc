"""The data folder: its lock, the checks of its files, and the settings of connections.

While the server has the files open, they are compared with what is at their names: nobody may
remove, replace or truncate them.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import struct
from pathlib import Path
from typing import TYPE_CHECKING

import apsw

from headgate.names import DEFAULT_BASE
from headgate_gateway.errors import StartError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

APPLICATION_ID = 0x48454144  # "HEAD": tells our files from other SQLite files
SCHEMA_VERSION = 4
HEADER_BYTES = 100
# Only the server's user may read the files, whatever the umask: clients read through the server.
FOLDER_MODE, FILE_MODE = 0o700, 0o600
MAGIC = b"SQLite format 3\0"

WRITER_PRAGMAS = (
    "journal_mode=wal",
    "synchronous=full",
    "wal_autocheckpoint=1000",
    # bytes; a WAL that grew while a reader, such as a backup, held it up is cut again afterwards
    "journal_size_limit=5242880",
    "cache_size=-16384",
    "temp_store=memory",
    # On macOS, fsync leaves data in the disk's own cache (fcntl(2)); elsewhere this does nothing.
    *(("fullfsync=on", "checkpoint_fullfsync=on") if hasattr(fcntl, "F_FULLFSYNC") else ()),
)
SCHEMA = """
create table streams (
    id integer primary key, path text not null unique, generation integer not null,
    version integer not null, content_type text not null, tail integer not null,
    closed integer not null, deadline real, soft_deleted integer not null,
    refs integer not null, trim_at real, detail text not null
) strict;
create index streams_deadline on streams (deadline) where deadline is not null;
create index streams_trim on streams (trim_at) where trim_at is not null;
create table messages (
    nr integer primary key, stream integer not null, end integer not null, crc integer not null,
    sizes blob, data blob not null
) strict;
create unique index messages_place on messages (stream, end);
create table producers (
    stream integer not null, producer text not null, epoch integer not null, seq integer not null,
    used_at real not null, primary key (stream, producer)
) strict, without rowid;
create table retired (
    nr integer primary key, path text not null unique, generation integer not null
) strict;
create table trimmed (stream integer primary key, first integer not null) strict;
create table documents (
    name text primary key, crc integer not null, body blob not null
) strict, without rowid;
create table meta (name text primary key, value integer not null) strict, without rowid;
create table recent (
    nr integer primary key, stream integer not null, version integer not null,
    end integer not null, crc integer not null, sizes blob, data blob not null, producers text
) strict;
"""


class FolderInUse(StartError):
    """Another process has the data folder."""


class DataFolder:
    """`headgate.db` in a folder, locked by `headgate.lock`, which holds the process id."""

    def __init__(self, folder: Path, vfs: str | None = None) -> None:
        self.folder = folder
        self.file = folder / "headgate.db"
        self.wal = folder / "headgate.db-wal"
        self.new = folder / "headgate.db.new"  # the data file until it is complete
        self.lock = folder / "headgate.lock"
        self._vfs = vfs
        self._lock_descriptor: int | None = None
        self.open_files = OpenFiles(self.file, self.wal)

    def occupy(self) -> None:
        """Make and lock the folder, without a data file: the caller puts one in place."""
        with self.start_errors("made"):
            self._make()
            self._take_lock()

    def prepare(self) -> None:
        """Make the folder, check the data file, lock the folder, and create a missing data file."""
        with self.start_errors("made"):
            self._make()
            if self.file.exists():
                # Before SQLite opens the file: closing another descriptor later would release the
                # locks of this process (fcntl(2)), and the next program that opens the file would
                # remove its WAL. For writing, too, so that a read-only file is refused by its name.
                with self.file.open("r+b") as opened:
                    check_format(self.file, opened.read(HEADER_BYTES))
            self._take_lock()
            if not self.file.exists():
                if self.wal.exists() and self.wal.stat().st_size:  # it would be mixed in
                    raise StartError(
                        f"{self.file} is gone and {self.wal.name} is there: put the data file back,"
                        " or move the other away to begin with no streams"
                    )
                self._create()

    @contextlib.contextmanager
    def start_errors(self, what: str) -> Iterator[None]:
        """Release the lock on any error, and raise StartError for those of system and SQLite.

        `what` completes "the data file cannot be".
        """
        try:
            yield
        except BaseException as error:
            self.release()
            if isinstance(error, OSError):
                raise self.unusable(error) from error
            if isinstance(error, apsw.Error):
                raise StartError(f"the data file {self.file} cannot be {what}: {error}") from error
            raise

    def _make(self) -> None:
        """Make the folder for its user alone; one that is there keeps its mode.

        Raises StartError if a file of the folder is a symbolic link: through it, Headgate would
        write to or truncate a file elsewhere. The folder itself may be a link.
        """
        self.folder.mkdir(mode=FOLDER_MODE, parents=True, exist_ok=True)
        for name in ("db", "db-wal", "db-shm", "lock", "reserve"):
            file = self.folder / f"headgate.{name}"
            if file.is_symlink():
                raise StartError(
                    f"{file} is a symbolic link: it was left as it is; to keep streams elsewhere,"
                    " make the folder a link"
                )

    def unusable(self, error: OSError) -> StartError:
        """Return the error for a folder, or a file in it, that the system refuses."""
        place, need = f"the data folder {self.folder}", "write there"
        file = Path(error.filename or self.folder)
        if file.parent == self.folder and os.access(self.folder, os.X_OK) and file.exists():
            place, need = f"{file}", "read and write it"
        reason = str(error.strerror)
        if isinstance(error, PermissionError) or error.errno == errno.EROFS:
            reason += f"; user {os.geteuid()}, who runs Headgate, has to be able to {need}"
        return StartError(f"{place} cannot be used: {reason}")

    def _take_lock(self) -> None:
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        lock = os.open(self.lock, flags, FILE_MODE)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            holder = os.pread(lock, 20, 0).decode(errors="replace").strip()
            os.close(lock)
            raise FolderInUse(
                f"the data folder {self.folder} is in use by another Headgate process ({holder}):"
                " end that one, or give this one another folder as its storage"
            ) from error
        os.truncate(lock, 0)
        os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)
        self._lock_descriptor = lock

    def _create(self) -> None:
        """Create the data file under another name and rename it: a crash leaves no partial file."""
        self.new.unlink(missing_ok=True)
        create_file(self.new)
        connection = apsw.Connection(str(self.new), vfs=self._vfs)
        connection.execute(
            f"pragma auto_vacuum=incremental; pragma application_id={APPLICATION_ID};"
            f"pragma user_version={SCHEMA_VERSION}; begin; {SCHEMA} commit"
        )
        connection.close()
        self.put_in_place()

    def put_in_place(self) -> None:
        """Give the new file, which is complete and synced, the name of the data file."""
        self.new.rename(self.file)
        sync_folder(self.folder)

    def file_stats(self) -> list[os.stat_result]:
        """Return the statistics of the data file and its WAL, without one that is absent."""
        found = []
        for path in (self.file, self.wal):
            with contextlib.suppress(OSError):  # also in a folder that `prepare` will refuse
                found.append(path.stat())
        return found

    def free(self) -> int:
        """Return the free bytes on the disk of the folder."""
        disk = os.statvfs(self.folder)
        return disk.f_bavail * disk.f_frsize

    def connect(self, *, read_only: bool = False) -> apsw.Connection:
        """Return a connection to the file, durable at each commit.

        One that writes copies the WAL into the file on closing only once `merge_on_close` allows
        it: until then the two may not belong together.
        """
        flags = apsw.SQLITE_OPEN_READONLY if read_only else apsw.SQLITE_OPEN_READWRITE
        connection = apsw.Connection(
            str(self.file), flags=flags, vfs=self._vfs, statementcachesize=1024
        )
        connection.set_busy_timeout(5000)
        if read_only:
            return connection
        merge_on_close(connection, allowed=False)
        try:
            for pragma in WRITER_PRAGMAS:
                connection.execute(f"pragma {pragma}").fetchall()
        except BaseException:
            connection.close()
            raise
        return connection

    def release(self) -> None:
        """Release the lock, so that another process can use the folder."""
        if self._lock_descriptor is not None:
            os.close(self._lock_descriptor)
            self._lock_descriptor = None
        self.open_files.clear()


class DataFileLost(Exception):
    """The file at the name of the data file or its WAL is not the one that is open."""


class OpenFiles:
    """The files that one process has open, compared with what is at their names."""

    def __init__(self, file: Path, wal: Path) -> None:
        self._names = (str(file), str(wal))  # str: they are stat-ed with each commit
        self._file_name = self._names[0]
        self._held: dict[str, os.stat_result] = {}
        self._size = 0  # bytes of the data file when it was last looked at

    def clear(self) -> None:
        """Expect nothing: the files are closed."""
        self._held = {}

    def hold(self) -> None:
        """Expect the files as they are now. Raises DataFileLost if they are not those of before."""
        found = self.look()
        self._held = found if len(found) > 1 else {it: os.stat(it) for it in self._names}  # noqa: PTH116 - as below
        self._size = self._held[self._file_name].st_size

    def release_wal(self) -> None:
        """Release the WAL, whose connection is closed; the data file must still be the same."""
        self._held = {it: held for it, held in self._held.items() if it == self._file_name}
        self._size = 0

    def check(self, bytes_needed: Callable[[], int]) -> None:
        """Raise DataFileLost if a file was removed or replaced, or the data file was cut short.

        `bytes_needed` returns how long the data file has to be; only a shorter one is compared.
        """
        found = self.look().get(self._file_name)
        if found is None or found.st_size >= self._size:
            return
        # Any program that reads the data file may copy the WAL into it, and with it pages that were
        # given back: Litestream does. Then both files get shorter.
        if found.st_size < bytes_needed():
            raise DataFileLost(f"{self._file_name} was cut short under the running server")

    def look(self) -> dict[str, os.stat_result]:
        """Return the open files as they are. Raises DataFileLost if one is not at its name."""
        now = {}
        for name, held in self._held.items():
            try:
                now[name] = os.stat(name)  # noqa: PTH116 - a path object costs as much as the call
            except FileNotFoundError as error:
                raise DataFileLost(f"{name} was removed under the running server") from error
            if not os.path.samestat(now[name], held):
                raise DataFileLost(f"{name} was replaced under the running server")
        return now


def merge_on_close(connection: apsw.Connection, *, allowed: bool) -> None:
    """Have the last connection copy the WAL into the data file when it closes, or leave both."""
    connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, int(not allowed))


def check_format(file: Path, header: bytes) -> None:
    """Raise StartError unless a file with this header is a data file of the format here."""
    if len(header) < HEADER_BYTES or not header.startswith(MAGIC):
        raise StartError(f"{file} is not a Headgate data file: it was left as it is")
    version, application = struct.unpack_from(">I4xI", header, 60)
    if application != APPLICATION_ID:
        raise StartError(f"{file} is a SQLite file of another application: it was left as it is")
    if version != SCHEMA_VERSION:
        # That Headgate may list streams in another way than this one reads.
        raise StartError(
            f"{file} is of format {version}, and this Headgate knows format {SCHEMA_VERSION}: it"
            " was left as it is; start the Headgate that wrote it, list its streams by its own"
            f" `headgate ls > names.txt`, and copy them by `headgate data copy {DEFAULT_BASE}"
            f" file:{file.parent}.new --names names.txt` of this one, or restore a backup of"
            f" format {SCHEMA_VERSION}"
        )


def create_file(file: Path) -> None:
    """Create an empty file for a database. Raises FileExistsError, also for a symbolic link."""
    # SQLite gives the WAL and the WAL's index (shm) the mode of the data file.
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    os.close(os.open(file, flags, FILE_MODE))


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def form_written() -> tuple[str, str]:
    """Return the name and the version of the format that this log writes."""
    return "data file", str(SCHEMA_VERSION)
