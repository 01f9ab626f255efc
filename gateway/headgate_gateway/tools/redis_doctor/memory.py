"""Rules on memory: how long the streams fit, and what happens then."""

from __future__ import annotations

from typing import TYPE_CHECKING

from headgate_gateway.tools.redis_doctor.facts import RedisFinding, Topic
from headgate_gateway.tools.shell.amounts import byte_size

if TYPE_CHECKING:
    from collections.abc import Iterator

    from headgate_gateway.tools.redis_doctor.facts import ServerFacts

ROOM = Topic("memory")
FULL = 0.9
EVICTION = Topic("eviction")


def memory(server: ServerFacts) -> Iterator[RedisFinding]:
    """Yield the findings on eviction and free memory."""
    yield from _eviction(server)
    yield _room(server)


def _eviction(server: ServerFacts) -> Iterator[RedisFinding]:
    policy = server.info.get("maxmemory_policy")
    limit = int(server.info.get("maxmemory", 0))
    if policy == "noeviction":
        yield EVICTION.ok(
            "maxmemory-policy noeviction: a full Redis refuses appends and drops nothing.",
        )
    elif policy:
        when = "as soon as it is full" if limit else "as soon as maxmemory is set"
        yield EVICTION.error(
            f"maxmemory-policy {policy}: {when} Redis deletes keys of streams, and nobody is told.",
            "Set maxmemory-policy noeviction.",
        )


def _room(server: ServerFacts) -> RedisFinding:
    used = int(server.info.get("used_memory", 0))
    limit = int(server.info.get("maxmemory", 0))
    if limit:
        policy = server.info.get("maxmemory_policy", "noeviction")
        return _headroom(used, limit, evicts=policy != "noeviction")
    return ROOM.warning(
        f"maxmemory 0: Redis, which has {byte_size(used)}, grows until the kernel kills it.",
        "Set maxmemory: a full Redis refuses appends (503), and reads go on.",
    )


def _headroom(used: int, limit: int, *, evicts: bool) -> RedisFinding:
    share = f"{byte_size(used)} of maxmemory {byte_size(limit)} ({used / limit:.0%}) are in use"
    if used >= limit:
        return ROOM.error(
            f"{share}: "
            + (
                "keys are deleted."
                if evicts
                else "appends are refused, and the gateways answer 503."
            ),
            "Raise maxmemory, delete streams, or set retention_size or another retention.",
        )
    if used > FULL * limit:
        return ROOM.warning(
            f"{share}: beyond it {'keys are deleted' if evicts else 'appends are refused'}.",
            "Raise maxmemory.",
        )
    return ROOM.ok(f"{share}.")
