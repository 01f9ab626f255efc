"""The documents of a log, in which subscriptions are stored beside its streams."""

from __future__ import annotations

import heapq
import zlib
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from headgate_gateway.features.redis.store import store_of
from headgate_gateway.telemetry.logs import log

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    import apsw

    from headgate_gateway.logs.contract import Log
    from headgate_gateway.logs.sqlite.writer_thread import WriterThread


@runtime_checkable
class HasDataFile(Protocol):
    """A log whose streams are in a data file."""

    @property
    def folder(self) -> Path:
        """The folder of the file."""

    @property
    def writer_thread(self) -> WriterThread:
        """The thread that writes the file."""


class FileDocuments:
    """The documents of a data file, read and written on its writer thread.

    Each write is a transaction, and one sync to disk.
    """

    def __init__(self, file: HasDataFile) -> None:
        self.private_folder: Path | None = file.folder
        self._thread = file.writer_thread

    async def read(self, after: str, limit: int) -> Sequence[tuple[str, bytes]]:
        """Return the first documents, at most `limit`, whose names follow `after`, by name."""
        return await self._thread.run(lambda writer: _read(writer.connection, after, limit))

    async def read_one(self, name: str) -> bytes | None:
        """Return a document, or None."""
        return await self._thread.run(lambda writer: _read_one(writer.connection, name))

    async def write(self, changes: Mapping[str, bytes | None]) -> None:
        """Store these documents, or remove those that are None: durably, and all or none."""
        if changes:
            await self._thread.run(lambda writer: _write(writer.connection, changes))


def _read(connection: apsw.Connection, after: str, limit: int) -> list[tuple[str, bytes]]:
    """Return the first sound documents, of `limit` that follow `after`; log damaged ones.

    A page without any sound document is followed by the next.
    """
    found: list[tuple[str, bytes]] = []
    while not found:
        rows: list[Any] = connection.execute(
            "select name, crc, body from documents where name>? order by name limit ?",
            (after, limit),
        ).fetchall()
        if not rows:
            break
        after = rows[-1][0]
        for name, crc, body in rows:
            if crc == checksum(name, body):
                found.append((name, body))
            else:
                log.error("log.document_damaged", document=name)
    return found


def _read_one(connection: apsw.Connection, name: str) -> bytes | None:
    """Return a document; None if there is none, or a damaged one, which is logged."""
    rows: list[Any] = connection.execute(
        "select crc, body from documents where name=?", (name,)
    ).fetchall()
    for crc, body in rows:
        if crc == checksum(name, body):
            found: bytes = body
            return found
        log.error("log.document_damaged", document=name)
    return None


def _write(connection: apsw.Connection, changes: Mapping[str, bytes | None]) -> None:
    """Store documents, or remove those that are None, in one transaction."""
    removed = [(name,) for name, body in changes.items() if body is None]
    stored = [
        (name, checksum(name, body), body) for name, body in changes.items() if body is not None
    ]
    connection.execute("begin immediate")
    try:
        connection.executemany("delete from documents where name=?", removed)
        connection.executemany(
            "insert into documents values (?, ?, ?) on conflict (name)"
            " do update set crc=excluded.crc, body=excluded.body",
            stored,
        )
        connection.execute("commit")
    except BaseException:
        if connection.in_transaction:
            connection.execute("rollback")
        raise


def checksum(name: str, body: bytes) -> int:
    """Return the CRC of a document with its name."""
    return zlib.crc32(body, zlib.crc32(name.encode()))


class MemoryDocuments:
    """Documents in a dict, which ends with the process."""

    private_folder: Path | None = None

    def __init__(self, bodies: dict[str, bytes]) -> None:
        self._bodies = bodies

    async def read(self, after: str, limit: int) -> Sequence[tuple[str, bytes]]:
        """Return the first documents, at most `limit`, whose names follow `after`, by name."""
        names = heapq.nsmallest(limit, (name for name in self._bodies if name > after))
        return [(name, self._bodies[name]) for name in names]

    async def read_one(self, name: str) -> bytes | None:
        """Return a document, or None."""
        return self._bodies.get(name)

    async def write(self, changes: Mapping[str, bytes | None]) -> None:
        """Store these documents, or remove those that are None."""
        for name, body in changes.items():
            if body is None:
                self._bodies.pop(name, None)
            else:
                self._bodies[name] = body


class Documents(Protocol):
    """The ability of a log to store small documents beside its streams, which no client can name.

    Every method may raise LogUnavailable.
    """

    @property
    def private_folder(self) -> Path | None:
        """The folder for files as durable and private as the log; None if there is none."""

    async def read(self, after: str, limit: int) -> Sequence[tuple[str, bytes]]:
        """Return the first documents, at most `limit`, whose names follow `after`, by name."""

    async def read_one(self, name: str) -> bytes | None:
        """Return a document, or None."""

    async def write(self, changes: Mapping[str, bytes | None]) -> None:
        """Store these documents, or remove those that are None: durably, and all or none.

        Without any, of a shared log, it is confirmed that this process may write them.
        """


@runtime_checkable
class HoldsDocuments(Protocol):
    """A log that holds the bodies of documents in memory, by name; None if it cannot."""

    documents: dict[str, bytes] | None


async def has_documents(log: Log) -> bool:
    """Return whether documents are stored in a log, or may be by other processes.

    Raises LogUnavailable.
    """
    documents = documents_in(log)
    if documents is None:
        return False
    return log.sharing is not None or bool(await documents.read("", 1))


def documents_in(log: Log) -> Documents | None:
    """Return the documents of a log; None if it stores none."""
    if isinstance(log, HoldsDocuments):
        return None if log.documents is None else MemoryDocuments(log.documents)
    if isinstance(log, HasDataFile):
        return FileDocuments(log)
    if (store := store_of(log)) is None:
        return None
    from headgate_gateway.features.redis.documents import RedisDocuments

    return RedisDocuments(store)
