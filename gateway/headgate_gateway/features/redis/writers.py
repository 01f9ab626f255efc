"""The gateways that write answers into a log in Redis: a key for each, which runs out."""

from __future__ import annotations

from typing import TYPE_CHECKING

from headgate_gateway.logs.redis.connection import pack

if TYPE_CHECKING:
    from headgate_gateway.logs.redis.store import RedisStore

# A writer that has not beaten for so long has stopped. A log that is away for six seconds, after
# which appends fail, makes nobody look stopped.
ALIVE_S = 10


class RedisWriters:
    """The writers of a log, of which each beats. Every method may raise LogUnavailable."""

    def __init__(self, store: RedisStore) -> None:
        self._store = store

    async def beat(self, writer: str) -> None:
        """Note that a writer runs, for ALIVE_S from now on."""
        key = self._key(writer)
        await self._store.execute(key, pack("SET", key, "", "EX", ALIVE_S))

    async def is_alive(self, writer: str) -> bool:
        """Return whether a writer runs, as far as is known."""
        key = self._key(writer)
        (found,) = await self._store.execute(key, pack("GET", key))
        return found is not None

    async def forget(self, writer: str) -> None:
        """Note that a writer has stopped."""
        key = self._key(writer)
        await self._store.execute(key, pack("UNLINK", key))

    def _key(self, writer: str) -> str:
        """Return the key of a writer; no prefix of a log has brackets."""
        return f"{self._store.prefix}:writer[{writer}]"
