"""Metrics that gateways leave for each other, for a few seconds.

Each gateway has a key of its own, which runs out; a sorted set has their names. In a cluster these
are on several servers, so the next gateway that reads a name whose key has expired drops it.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from headgate_gateway.errors import BadRequest
from headgate_gateway.features.questions.contract import LONGEST_FIGURES
from headgate_gateway.logs.redis.connection import pack

if TYPE_CHECKING:
    from collections.abc import Mapping

    from headgate_gateway.logs.redis.store import RedisStore

KEPT_S = 15  # three times the interval between two shares: one may be late
MOST = 64  # other gateways; a reply is at most MOST * LONGEST_FIGURES bytes


async def share_figures(store: RedisStore, instance: str, figures: str) -> Mapping[str, str]:
    """Store a gateway's figures in the log, and return the other gateways', by instance.

    Raises BadRequest for more than the longest, LogUnavailable.
    """
    text = figures.encode()
    if len(text) > LONGEST_FIGURES:
        raise BadRequest(f"figures of over {LONGEST_FIGURES} bytes are not shared")
    own, names = key_of(store.prefix, instance), instances(store.prefix)
    await store.execute(own, pack("SET", own, text, "EX", KEPT_S))
    await store.execute(names, pack("ZADD", names, 0, instance))
    others = pack("ZRANGEBYSCORE", names, "-inf", "+inf", "LIMIT", 0, 2 * MOST)
    (found,) = await store.execute(names, others)
    known = [name.decode(errors="replace") for name in found if name != instance.encode()]
    texts = await asyncio.gather(*(_figures_of(store, one) for one in known))
    shared = {one: text for one, text in zip(known, texts, strict=True) if text is not None}
    return dict(list(shared.items())[:MOST])


async def _figures_of(store: RedisStore, instance: str) -> str | None:
    """Return the figures of a gateway; drop its name if they have expired."""
    key, names = key_of(store.prefix, instance), instances(store.prefix)
    (text,) = await store.execute(key, pack("GET", key))
    if text is None:
        await store.execute(names, pack("ZREM", names, instance))
        return None
    return text.decode(errors="replace") if len(text) <= LONGEST_FIGURES else None


def instances(prefix: str) -> str:
    """Return the sorted set of the gateways that leave figures, all with one score."""
    return f"{prefix}:figures"


def key_of(prefix: str, instance: str) -> str:
    """Return the key of a gateway's figures; no prefix has brackets."""
    return f"{prefix}:figures[{instance}]"
