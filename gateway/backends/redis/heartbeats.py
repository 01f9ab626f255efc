"""The beats of writers in Redis: a hash for each group, and one with the streams of each writer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.backends.redis.connection import pack

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from gateway.backends.redis.connection import Reply
    from gateway.backends.redis.names import RedisNames


class RedisHeartbeats:
    """The beats and notes of writers; who has stopped is judged by those that look."""

    def __init__(self, names: RedisNames, execute: Callable[..., Awaitable[list[Reply]]]) -> None:
        """`execute` takes a key, and calls for its server."""
        self._names = names
        self._execute = execute

    async def beat(self, group: str, writer: str, beats: int) -> Mapping[str, int]:
        """Store a writer's number of beats, and return those of all writers of its group."""
        key = self._names.writers(group)
        beat, all_beats = pack("HSET", key, writer, beats), pack("HGETALL", key)
        _, found = await self._execute(key, beat, all_beats)
        fields = [word.decode(errors="replace") for word in found]
        pairs = zip(fields[::2], fields[1::2], strict=True)
        return {name: int(count) for name, count in pairs if count.isdigit()}

    async def note(self, writer: str, stream: str) -> None:
        """Note that a writer writes a stream."""
        key = self._names.writing(writer)
        await self._execute(key, pack("HSET", key, stream, ""))

    async def drop(self, writer: str, stream: str) -> None:
        """Drop the note that a writer writes a stream."""
        key = self._names.writing(writer)
        await self._execute(key, pack("HDEL", key, stream))

    async def noted(self, writer: str) -> Sequence[str]:
        """Return the streams that a writer has noted."""
        key = self._names.writing(writer)
        (found,) = await self._execute(key, pack("HGETALL", key))
        return [name.decode(errors="replace") for name in found[::2]]

    async def forget(self, group: str, writer: str) -> None:
        """Forget a writer and its notes."""
        notes, beats = self._names.writing(writer), self._names.writers(group)
        await self._execute(notes, pack("UNLINK", notes))
        await self._execute(beats, pack("HDEL", beats, writer))
