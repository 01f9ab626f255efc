"""The documents of a log in Redis, and the one gateway at a time that may write them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from headgate_gateway.errors import LogUnavailable
from headgate_gateway.features.redis.store import NOBODY, DocumentsOwner
from headgate_gateway.logs.redis.connection import pack
from headgate_gateway.logs.redis.names import VERSION

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from headgate_gateway.logs.redis.connection import Reply
    from headgate_gateway.logs.redis.store import RedisStore


class RedisDocuments:
    """The documents of one log, written by anybody, or by their owner only."""

    private_folder = None

    def __init__(self, store: RedisStore, owner: DocumentsOwner | None = None) -> None:
        """Write as `owner` if one is given."""
        self._bodies, self._names, self._owner = self._keys = keys_of(store.prefix)
        self._store = store
        self._expected = "" if owner is None else _text(owner)

    async def read(self, after: str, limit: int) -> Sequence[tuple[str, bytes]]:
        """Return the first documents, at most `limit`, whose names follow `after`, by name."""
        lower = f"({after}" if after else "-"
        page = pack("ZRANGEBYLEX", self._names, lower, "+", "LIMIT", 0, limit)
        (names,) = await self._store.execute(self._names, page)
        if not names:
            return []
        (found,) = await self._store.execute(self._bodies, pack("HMGET", self._bodies, *names))
        pairs = zip(names, found, strict=True)
        return [(name.decode(), body) for name, body in pairs if body is not None]

    async def read_one(self, name: str) -> bytes | None:
        """Return a document, or None."""
        (body,) = await self._store.execute(self._bodies, pack("HGET", self._bodies, name))
        found: bytes | None = body
        return found

    async def write(self, changes: Mapping[str, bytes | None]) -> None:
        """Store these documents, or remove those that are None: all or none, while still owned."""
        stored = [
            word for name, body in changes.items() if body is not None for word in (name, body)
        ]
        removed = [name for name, body in changes.items() if body is None]
        call = pack(
            *("FCALL", f"headgate_write_documents_{VERSION}", len(self._keys), *self._keys),
            *(self._expected, len(stored), *stored, *removed),
        )
        if not await self._store.commit(self._bodies, call):
            raise LogUnavailable("another gateway has taken over the subscriptions")


class RedisOwnership:
    """The right of one gateway to write the documents, compared with each write.

    Every method may raise LogUnavailable.
    """

    def __init__(self, store: RedisStore) -> None:
        self._store = store
        self._bodies, _, self._owner = keys_of(store.prefix)

    async def read(self) -> tuple[DocumentsOwner, bool]:
        """Return the present owner, and whether there are any documents."""
        stands, number = await self._store.execute(
            self._owner, pack("GET", self._owner), pack("HLEN", self._bodies)
        )
        return _parsed(stands), number > 0

    async def acquire(self, expected: DocumentsOwner, name: str) -> DocumentsOwner | None:
        """Become the owner in place of `expected`; return None if somebody else has."""
        taken = DocumentsOwner(expected.number + 1, name)
        return taken if await self._replace(expected, taken) else None

    async def resign(self, owner: DocumentsOwner) -> None:
        """Leave the documents to others, if they are still this owner's."""
        await self._replace(owner, owner._replace(name=""))

    def documents_of(self, owner: DocumentsOwner) -> RedisDocuments:
        """Return the documents as this owner writes them: LogUnavailable once it is no more."""
        return RedisDocuments(self._store, owner)

    async def _replace(self, expected: DocumentsOwner, later: DocumentsOwner) -> bool:
        words = _text(expected), _text(later)
        call = pack("FCALL", f"headgate_own_documents_{VERSION}", 1, self._owner, *words)
        return bool(await self._store.commit(self._owner, call))


def keys_of(prefix: str) -> tuple[str, str, str]:
    """Return the keys of the documents, in the order of the functions' arguments.

    They share a slot. No stream's key begins like them.
    """
    bodies = f"{prefix}:documents{{{prefix}}}"
    return bodies, f"{bodies}:names", f"{bodies}:owner"


def _text(owner: DocumentsOwner) -> str:
    """Return an owner as it stands in Redis; "" where there never was one."""
    return f"{owner.number} {owner.name}" if owner.number else ""


def _parsed(stands: Reply) -> DocumentsOwner:
    number, _, name = (stands or b"").decode(errors="replace").partition(" ")
    return DocumentsOwner(int(number), name) if number.isdigit() else NOBODY
