"""The documents of a log in Redis, and the one gateway at a time that may write them."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from gateway.backends.redis.connection import pack
from gateway.backends.redis.names import VERSION
from gateway.errors import LogUnavailable

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from gateway.backends.redis.connection import Reply
    from gateway.backends.redis.names import RedisNames
    from gateway.backends.redis.servers.call import RedisRequests

Owner: TypeAlias = tuple[int, str]  # a number that grows with each, and the name or ""
NOBODY: Owner = (0, "")


class RedisDocuments:
    """The documents of one log, written by anybody, or by their owner only."""

    private_folder = None

    def __init__(
        self,
        names: RedisNames,
        requests: RedisRequests,
        wait_replicas: int,
        owner: Owner | None = None,
    ) -> None:
        """Write as `owner` if one is given."""
        self._bodies, self._names, self._owner = self._keys = names.documents
        self._requests = requests
        self._wait_replicas = wait_replicas
        self._expected = "" if owner is None else _text(owner)

    async def read(self, after: str, limit: int) -> Sequence[tuple[str, bytes]]:
        """Return the first documents, at most `limit`, whose names follow `after`, by name."""
        lower = f"({after}" if after else "-"
        page = pack("ZRANGEBYLEX", self._names, lower, "+", "LIMIT", 0, limit)
        (names,) = await self._requests.execute(self._names, page)
        if not names:
            return []
        (found,) = await self._requests.execute(self._bodies, pack("HMGET", self._bodies, *names))
        pairs = zip(names, found, strict=True)
        return [(name.decode(), body) for name, body in pairs if body is not None]

    async def read_one(self, name: str) -> bytes | None:
        """Return a document, or None."""
        (body,) = await self._requests.execute(self._bodies, pack("HGET", self._bodies, name))
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
        if not await self._requests.commit(self._bodies, call, self._wait_replicas):
            raise LogUnavailable("another gateway has taken over the subscriptions")


class RedisOwnership:
    """The owner of the documents in Redis, which is compared with each write."""

    def __init__(self, names: RedisNames, requests: RedisRequests, wait_replicas: int) -> None:
        self._names = names
        self._requests = requests
        self._wait_replicas = wait_replicas

    async def read(self) -> tuple[Owner, bool]:
        """Return the present owner, and whether there are any documents."""
        bodies, _, owner = self._names.documents
        stands, number = await self._requests.execute(
            owner, pack("GET", owner), pack("HLEN", bodies)
        )
        return _parsed(stands), number > 0

    async def acquire(self, expected: Owner, name: str) -> Owner | None:
        """Become the owner in place of `expected`; return None if somebody else has."""
        taken = expected[0] + 1, name
        return taken if await self._replace(expected, taken) else None

    async def resign(self, owner: Owner) -> None:
        """Leave the documents to others, if they are still this owner's."""
        await self._replace(owner, (owner[0], ""))

    def documents_of(self, owner: Owner) -> RedisDocuments:
        """Return the documents as this owner writes them."""
        return RedisDocuments(self._names, self._requests, self._wait_replicas, owner)

    async def _replace(self, expected: Owner, later: Owner) -> bool:
        key = self._names.documents[2]
        words = _text(expected), _text(later)
        call = pack("FCALL", f"headgate_own_documents_{VERSION}", 1, key, *words)
        return bool(await self._requests.commit(key, call, self._wait_replicas))


def _text(owner: Owner) -> str:
    """Return an owner as it stands in Redis; "" where there never was one."""
    return f"{owner[0]} {owner[1]}" if owner[0] else ""


def _parsed(stands: Reply) -> Owner:
    number, _, name = (stands or b"").decode(errors="replace").partition(" ")
    return (int(number), name) if number.isdigit() else NOBODY
