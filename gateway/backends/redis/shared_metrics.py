"""Metrics that gateways leave for each other, for a few seconds.

Each gateway has a key of its own, which runs out; a sorted set has their names. In a cluster these
are on several servers, so the next gateway that reads a name whose key has expired drops it.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from gateway.backends.redis.connection import pack
from gateway.errors import BadRequest
from gateway.telemetry.inspection import LONGEST_FIGURES

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from gateway.backends.redis.connection import Reply
    from gateway.backends.redis.names import RedisNames

KEPT_S = 15  # three times the interval between two shares: one may be late
MOST = 64  # other gateways; a reply is at most MOST * LONGEST_FIGURES bytes


class SharedMetrics:
    """The metrics of all gateways of one log, stored in Redis for KEPT_S."""

    def __init__(self, names: RedisNames, execute: Callable[..., Awaitable[list[Reply]]]) -> None:
        """`execute` takes a key and a call for its server."""
        self._names = names
        self._execute = execute

    async def share(self, instance: str, figures: str) -> Mapping[str, str]:
        """Store a gateway's figures, and return the others', by instance.

        Raises BadRequest for more than the longest, LogUnavailable.
        """
        text = figures.encode()
        if len(text) > LONGEST_FIGURES:
            raise BadRequest(f"figures of over {LONGEST_FIGURES} bytes are not shared")
        names = self._names
        own = names.figures(instance)
        await self._execute(own, pack("SET", own, text, "EX", KEPT_S))
        await self._execute(names.instances, pack("ZADD", names.instances, 0, instance))
        others = pack("ZRANGEBYSCORE", names.instances, "-inf", "+inf", "LIMIT", 0, 2 * MOST)
        (found,) = await self._execute(names.instances, others)
        known = [name.decode(errors="replace") for name in found if name != instance.encode()]
        texts = await asyncio.gather(*map(self._of, known))
        shared = {one: text for one, text in zip(known, texts, strict=True) if text is not None}
        return dict(list(shared.items())[:MOST])

    async def _of(self, instance: str) -> str | None:
        """Return the figures of a gateway; drop its name if they have expired."""
        key = self._names.figures(instance)
        (text,) = await self._execute(key, pack("GET", key))
        if text is None:
            names = self._names
            await self._execute(names.instances, pack("ZREM", names.instances, instance))
            return None
        return text.decode(errors="replace") if len(text) <= LONGEST_FIGURES else None
