"""The documents of a log in Redis, and the one gateway at a time that may write them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from typing_extensions import override

from gateway.backends.contract import Documents
from gateway.backends.redis.connection import pack
from gateway.backends.redis.names import VERSION
from gateway.backends.shared_contract import DocumentsOwner, Ownership
from gateway.errors import LogUnavailable

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from gateway.backends.redis.connection import Reply
    from gateway.backends.redis.names import RedisNames
    from gateway.backends.redis.servers.call import RedisRequests


class RedisDocuments(Documents):
    """The documents of one log, written by anybody, or by their owner only."""

    private_folder = None

    def __init__(
        self,
        names: RedisNames,
        requests: RedisRequests,
        wait_replicas: int,
        owner: DocumentsOwner | None = None,
    ) -> None:
        """Write as `owner` if one is given."""
        self._bodies, self._names, self._owner = self._keys = names.documents
        self._requests = requests
        self._wait_replicas = wait_replicas
        self._expected = "" if owner is None else _text(owner)

    @override
    async def read(self, after: str, limit: int) -> Sequence[tuple[str, bytes]]:
        lower = f"({after}" if after else "-"
        page = pack("ZRANGEBYLEX", self._names, lower, "+", "LIMIT", 0, limit)
        (names,) = await self._requests.execute(self._names, page)
        if not names:
            return []
        (found,) = await self._requests.execute(self._bodies, pack("HMGET", self._bodies, *names))
        pairs = zip(names, found, strict=True)
        return [(name.decode(), body) for name, body in pairs if body is not None]

    @override
    async def read_one(self, name: str) -> bytes | None:
        (body,) = await self._requests.execute(self._bodies, pack("HGET", self._bodies, name))
        found: bytes | None = body
        return found

    @override
    async def write(self, changes: Mapping[str, bytes | None]) -> None:
        stored = [
            word for name, body in changes.items() if body is not None for word in (name, body)
        ]
        removed = [name for name, body in changes.items() if body is None]
        call = pack(
            *("FCALL", f"headgate_write_documents_{VERSION}", len(self._keys), *self._keys),
            *(self._expected, len(stored), *stored, *removed),
        )
        if not await self._requests.commit(self._bodies, call, self._wait_replicas):
            raise LogUnavailable("another gateway has taken over the subscriptions")


class RedisOwnership(Ownership):
    """The owner of the documents in Redis, which is compared with each write."""

    def __init__(self, names: RedisNames, requests: RedisRequests, wait_replicas: int) -> None:
        self._names = names
        self._requests = requests
        self._wait_replicas = wait_replicas

    @override
    async def read(self) -> tuple[DocumentsOwner, bool]:
        bodies, _, owner = self._names.documents
        stands, number = await self._requests.execute(
            owner, pack("GET", owner), pack("HLEN", bodies)
        )
        return _parsed(stands), number > 0

    @override
    async def acquire(self, expected: DocumentsOwner, name: str) -> DocumentsOwner | None:
        taken = DocumentsOwner(expected.number + 1, name)
        return taken if await self._replace(expected, taken) else None

    @override
    async def resign(self, owner: DocumentsOwner) -> None:
        await self._replace(owner, DocumentsOwner(owner.number))

    @override
    def documents_of(self, owner: DocumentsOwner) -> Documents:
        return RedisDocuments(self._names, self._requests, self._wait_replicas, owner)

    async def _replace(self, expected: DocumentsOwner, later: DocumentsOwner) -> bool:
        key = self._names.documents[2]
        words = _text(expected), _text(later)
        call = pack("FCALL", f"headgate_own_documents_{VERSION}", 1, key, *words)
        return bool(await self._requests.commit(key, call, self._wait_replicas))


def _text(owner: DocumentsOwner) -> str:
    """Return an owner as it stands in Redis; "" where there never was one."""
    return f"{owner.number} {owner.name}" if owner.number else ""


def _parsed(stands: Reply) -> DocumentsOwner:
    number, _, name = (stands or b"").decode(errors="replace").partition(" ")
    return DocumentsOwner(int(number), name) if number.isdigit() else DocumentsOwner()
