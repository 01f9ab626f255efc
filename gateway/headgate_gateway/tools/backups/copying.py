"""Backup and restore of a data file, for `headgate data backup` and `headgate data restore`.

A copy is made in one snapshot, while the server goes on, and is verified.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import stat
from typing import TYPE_CHECKING, NamedTuple

import apsw

from headgate_gateway.errors import StartError
from headgate_gateway.logs.sqlite.data_folder import DataFolder, create_file, sync_folder
from headgate_gateway.logs.sqlite.recovery import begin_history
from headgate_gateway.tools.backups.source import SourceFile
from headgate_gateway.tools.backups.verification import FileVerification, wal_damages

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from headgate_gateway.tools.backups.verification import DamageReport

    # Called with the name of the step, and how many bytes are done, of all bytes or 0.
    OnProgress = Callable[[str, int, int], object]

PAGES = 256  # copied in one step, a megabyte
# Pages after which the copy is synced: a longer sync would delay the syncs of the server's commits.
SYNC_PAGES = 2048
SUFFIXES = ("", "-journal", "-wal", "-shm")  # of the files of a database, the first of its own


class FileCopy(NamedTuple):
    """A copy that was verified: its streams, the bytes of their records, and its own bytes."""

    streams: int
    records_bytes: int
    file_bytes: int


def back_up(place: Path, to: Path, on_progress: OnProgress) -> FileCopy:
    """Copy the data file of a folder to a file that must not exist.

    The copy has everything that was acknowledged before, and gets its name when it is complete,
    verified and synced. Raises StartError, also for a folder in which others can exchange files.
    """
    if to.is_dir():
        raise StartError(f"{to} is a folder: name a file in it, such as {to / 'headgate.backup'}")
    with SourceFile.open(place) as source:
        try:
            _check_trusted(to.parent)
            with _draft(to) as draft:
                copied = _copy(source, draft, on_progress)
                _check_free(to)
                draft.rename(to)
            sync_folder(to.parent)
        except OSError as error:
            raise StartError(f"{to} cannot be written: {error.strerror}") from error
    return copied


def restore(backup: Path, folder: Path, on_progress: OnProgress) -> FileCopy:
    """Create a data folder from a backup; the folder must be empty, or not exist.

    Its server refuses the offsets of appends after the backup. Raises StartError.
    """
    if backup.is_dir():
        raise StartError(f"{backup} is a folder: name the file of a backup")
    with SourceFile.open(backup) as source:
        target = DataFolder(folder)
        target.occupy()
        try:
            _check_empty(target)
            _remove(target.new)
            create_file(target.new)
            copied = _copy(source, target.new, on_progress, begin_history)
            target.put_in_place()
        except OSError as error:
            raise target.unusable(error) from error
        finally:
            _remove(target.new)
            target.release()
    return copied


def _check_empty(target: DataFolder) -> None:
    """Raise StartError if the folder has files other than those of a killed restore."""
    drafts = (f"{target.new.name}{suffix}" for suffix in SUFFIXES)
    ours = {*drafts, target.lock.name, "lost+found"}  # the last is on a disk of its own
    others = sorted(it.name for it in target.folder.iterdir() if it.name not in ours)
    if others:
        raise StartError(
            f"{target.folder} is not empty, there is {others[0]}: restore into another folder, or"
            " move what is there away"
        )


def _check_trusted(folder: Path) -> None:
    """Raise StartError if a user other than this one and root can make files in a folder.

    Such a user could lead the copy elsewhere, or plant a journal that SQLite applies to it: a name
    in /tmp is no protection.
    """
    status = folder.stat()
    user = os.geteuid()
    if status.st_uid not in {user, 0} or status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise StartError(
            f"others than user {user} can write in {folder}, and could exchange the copy, which has"
            " all streams: name a file in a folder that only its user can write to"
        )


def _check_free(to: Path) -> None:
    if to.exists() or to.is_symlink():
        raise StartError(f"{to} is there already, and is not written over: name another file")


@contextlib.contextmanager
def _draft(to: Path) -> Iterator[Path]:
    """Create the file `NAME.partial` for a backup; at the end, remove it unless it was renamed.

    A killed backup may have left such files: they are replaced. Raises StartError if another backup
    is under way.
    """
    _check_free(to)
    draft = to.with_name(f"{to.name}.partial")
    if draft.is_symlink():
        raise StartError(f"{draft} is a symbolic link: it was left as it is")
    with contextlib.suppress(FileNotFoundError), _locked(draft):
        _remove(draft)
    try:
        create_file(draft)
    except FileExistsError as error:
        raise StartError(f"another backup is writing {draft}: wait for its end") from error
    with _locked(draft):
        try:
            _remove_beside(draft)
            yield draft
        finally:
            _remove(draft)


@contextlib.contextmanager
def _locked(draft: Path) -> Iterator[None]:
    """Lock the file of a backup within the block. Raises StartError if another backup has it."""
    descriptor = os.open(draft, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise StartError(f"another backup is writing {draft}: wait for its end") from error
        if not draft.exists() or not os.path.samestat(draft.stat(), os.fstat(descriptor)):
            raise StartError(f"another backup has just written {draft}")
        yield
    finally:
        os.close(descriptor)


def _remove(draft: Path) -> None:
    draft.unlink(missing_ok=True)
    _remove_beside(draft)


def _remove_beside(draft: Path) -> None:
    """Remove journals that SQLite would apply to the next file of this name."""
    for suffix in SUFFIXES[1:]:
        draft.with_name(f"{draft.name}{suffix}").unlink(missing_ok=True)


def _copy(
    source: SourceFile,
    to: Path,
    on_progress: OnProgress,
    change: Callable[[apsw.Connection], None] | None = None,
) -> FileCopy:
    """Copy a data file to an empty one, change it, verify it and sync it. Raises StartError."""
    try:
        _refuse(source, wal_damages(source))
        _copy_pages(source.connection, to, on_progress)
        connection = apsw.Connection(str(to), flags=apsw.SQLITE_OPEN_READWRITE)
        # The copy of a file in WAL mode is in that mode: opening it would create files beside it.
        connection.execute("pragma journal_mode=delete").fetchall()
        if change is not None:
            change(connection)
        connection.close()
    except apsw.Error as error:
        raise StartError(f"{source.file} cannot be copied to {to}: {error}") from error
    _sync(to)
    with SourceFile.open(to) as copy:
        check = FileVerification(copy, lambda: on_progress("verified", check.bytes, 0))
        _refuse(source, check.run())
    return FileCopy(check.streams, check.bytes, to.stat().st_size)


def _refuse(source: SourceFile, damages: Iterator[DamageReport]) -> None:
    """Raise StartError for the first damage."""
    for damage in damages:
        at = f"{damage.path} at {damage.offset}: " if damage.path else ""
        raise StartError(
            f"{source.file} is damaged, {at}{damage.problem}; headgate data verify lists all, and"
            " no copy was left"
        )


def _copy_pages(source: apsw.Connection, to: Path, on_progress: OnProgress) -> None:
    target = apsw.Connection(str(to), flags=apsw.SQLITE_OPEN_READWRITE)
    try:
        # If the machine crashes, the file is still a `.partial`.
        for pragma in ("journal_mode=off", "synchronous=off"):
            target.execute(f"pragma {pragma}").fetchall()
        # In one read transaction: otherwise each commit of the server would restart the copy.
        with source:
            source.execute("select count(*) from sqlite_schema").fetchall()
            page_bytes = int(source.pragma("page_size") or 0)
            with target.backup("main", source, "main") as backup:
                last = 0
                while not backup.done:
                    backup.step(PAGES)
                    done = backup.page_count - backup.remaining
                    on_progress("copied", done * page_bytes, backup.page_count * page_bytes)
                    if done - last >= SYNC_PAGES:
                        _sync(to)
                        last = done
    finally:
        target.close()


def _sync(file: Path) -> None:
    descriptor = os.open(file, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
