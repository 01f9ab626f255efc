"""Find out whether the user has the rights of a gateway, without changing anything."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.logs.redis.names import RedisNames
from gateway.settings.log_kinds.redis import parse_redis

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gateway.settings import Route
    from gateway.tools.redis_doctor.client import ServerClient

NAME = "headgate-doctor"
# EXEC and DISCARD do nothing outside of a transaction, and MULTI begins one.
TRYING = ("EXEC", "DISCARD", "MULTI")


def refused(client: ServerClient, route: Route) -> dict[str, str] | None:
    """Return the refused commands with Redis' reasons; None if they cannot be tried.

    Redis checks the rights to a command when a transaction queues it; the transaction is then
    discarded. A gateway makes no transactions, so its user may lack the rights to try this.
    """
    reasons: dict[str, str] = {}
    for word in TRYING:
        _note(reasons, client, word)
        if reasons:
            return None
    for words in needed(route):
        _note(reasons, client, *words)
    client.refusal("DISCARD")
    return reasons


def _note(reasons: dict[str, str], client: ServerClient, *words: str) -> None:
    """Note a refusal, told by its words: the types of redis-py differ from command to command."""
    reason = str(client.refusal(*words) or "")
    if "permissions" in reason or "unknown command" in reason:
        reasons[words[0]] = reason.rstrip(". ")


def needed(route: Route) -> Iterator[tuple[str, ...]]:
    """Yield every command of a gateway, with keys and channels of the examination's own."""
    names = RedisNames(parse_redis(route.origin).prefix)
    meta, records, retired = names.keys(NAME)
    deadlines, gone = names.deadlines, names.removals_channel
    yield ("FCALL", NAME, "3", meta, records, retired)
    yield ("FUNCTION", "LOAD", NAME)
    yield ("CLIENT", "SETNAME", NAME)
    yield ("PING",)
    yield ("INFO", "server")
    yield ("EXPIRE", retired, "1")
    yield ("TIME",)
    yield ("TYPE", records)
    yield ("HGET", meta, "s")
    yield ("HMGET", meta, "v", "s")
    yield ("HSET", meta, "s", "")
    yield ("HLEN", meta)
    yield ("HGETALL", meta)
    yield ("HDEL", meta, "v")
    yield ("GET", retired)
    yield ("SET", retired, "")
    yield ("UNLINK", meta)
    yield ("DUMP", meta)
    yield ("RESTORE", meta, "0", "")
    yield ("XADD", records, "*", "d", "")
    yield ("XTRIM", records, "MINID", "~", "0")
    yield ("XRANGE", records, "-", "+")
    yield ("XREVRANGE", records, "+", "-")
    yield ("ZADD", deadlines, "0", NAME)
    yield ("ZREM", deadlines, NAME)
    yield ("ZRANGEBYSCORE", deadlines, "0", "0")
    yield ("PUBLISH", gone, "")
    yield ("SPUBLISH", meta, "")
    yield ("SUBSCRIBE", gone)
    yield ("UNSUBSCRIBE", gone)
    yield ("SSUBSCRIBE", meta)
    yield ("SUNSUBSCRIBE", meta)
    if route.wait_replicas:
        yield ("WAIT", "0", "0")
    if parse_redis(route.origin).kind == "cluster":
        yield ("CLUSTER", "SLOTS")
        yield ("ASKING",)
