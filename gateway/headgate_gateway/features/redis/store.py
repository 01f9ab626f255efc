"""The door to the Redis of a log, for features; a log of another kind has none."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol, runtime_checkable

if TYPE_CHECKING:
    from headgate_gateway.logs.contract import Log
    from headgate_gateway.logs.redis.store import RedisStore


class DocumentsOwner(NamedTuple):
    """The owner of a log's documents. The number grows with each; the name is "" for nobody."""

    number: int = 0
    name: str = ""


NOBODY = DocumentsOwner()


@runtime_checkable
class HasStore(Protocol):
    """A log whose streams are in Redis."""

    @property
    def store(self) -> RedisStore:
        """The Redis of the log."""


def store_of(log: Log) -> RedisStore | None:
    """Return the Redis of a log; None for a log that is elsewhere."""
    return log.store if isinstance(log, HasStore) else None
