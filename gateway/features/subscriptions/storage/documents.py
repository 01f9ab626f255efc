"""The documents of a log, in which subscriptions are stored beside its streams."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, runtime_checkable

from gateway.features.redis.store import store_of
from gateway.features.subscriptions.storage.file_documents import FileDocuments, HasDataFile
from gateway.features.subscriptions.storage.memory_documents import MemoryDocuments

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from gateway.logs.contract import Log


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


def documents_in(log: Log) -> Documents | None:
    """Return the documents of a log; None if it stores none."""
    if isinstance(log, HoldsDocuments):
        return None if log.documents is None else MemoryDocuments(log.documents)
    if isinstance(log, HasDataFile):
        return FileDocuments(log)
    if (store := store_of(log)) is None:
        return None
    from gateway.features.redis.documents import RedisDocuments

    return RedisDocuments(store)
