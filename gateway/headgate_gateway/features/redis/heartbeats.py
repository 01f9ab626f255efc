"""The beats of the gateways that share the subscriptions of a log: a hash in Redis."""

from __future__ import annotations

from typing import TYPE_CHECKING

from headgate_gateway.logs.redis.connection import pack
from headgate_gateway.protocol.http.paths import RESERVED

if TYPE_CHECKING:
    from collections.abc import Mapping

    from headgate_gateway.logs.redis.store import RedisStore


class RedisHeartbeats:
    """The beats of the gateways of a log, by which each decides which of the others have stopped.

    Every method may raise LogUnavailable.
    """

    def __init__(self, store: RedisStore) -> None:
        self._key = f"{store.prefix}:writers[{RESERVED}]"  # no prefix of a log has brackets
        self._execute = store.execute

    async def beat(self, gateway: str, beats: int) -> Mapping[str, int]:
        """Store a gateway's number of beats, and return those of all gateways."""
        beat, all_beats = pack("HSET", self._key, gateway, beats), pack("HGETALL", self._key)
        _, found = await self._execute(self._key, beat, all_beats)
        fields = [word.decode(errors="replace") for word in found]
        pairs = zip(fields[::2], fields[1::2], strict=True)
        return {name: int(count) for name, count in pairs if count.isdigit()}

    async def forget(self, gateway: str) -> None:
        """Forget a gateway."""
        await self._execute(self._key, pack("HDEL", self._key, gateway))
