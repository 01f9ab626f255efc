"""The beats of writers in Redis: a hash for each group."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.logs.redis.connection import pack

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.logs.redis.store import RedisStore


class RedisHeartbeats:
    """The beats of the writers that share a log, by which each sees which of the others run.

    A writer belongs to a group. The others decide by its beats whether it has stopped. Every method
    may raise LogUnavailable.
    """

    def __init__(self, store: RedisStore) -> None:
        self._prefix = store.prefix
        self._execute = store.execute

    async def beat(self, group: str, writer: str, beats: int) -> Mapping[str, int]:
        """Store a writer's number of beats, and return those of all writers of its group."""
        key = self._beats(group)
        beat, all_beats = pack("HSET", key, writer, beats), pack("HGETALL", key)
        _, found = await self._execute(key, beat, all_beats)
        fields = [word.decode(errors="replace") for word in found]
        pairs = zip(fields[::2], fields[1::2], strict=True)
        return {name: int(count) for name, count in pairs if count.isdigit()}

    async def forget(self, group: str, writer: str) -> None:
        """Forget a writer."""
        beats = self._beats(group)
        await self._execute(beats, pack("HDEL", beats, writer))

    def _beats(self, group: str) -> str:
        """Return the hash of a group of writers, with the number of beats of each."""
        return f"{self._prefix}:writers[{group}]"
