"""A connection to one server of an origin, and what its user may do there."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from gateway.logs.redis.names import RedisNames
from gateway.settings.log_kinds.redis import parse_redis

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gateway.settings import Route

ANSWER_S = 10.0


class ServerClient:
    """A connection to one server. Nothing is retried: the examination has to see each failure."""

    def __init__(self, options: dict[str, Any]) -> None:
        self._redis = redis.Redis(
            retry=Retry(NoBackoff(), 0),
            single_connection_client=True,
            socket_timeout=ANSWER_S,
            decode_responses=True,
            encoding_errors="backslashreplace",
            **options,
        )

    def execute(self, *words: str | int) -> Any:  # noqa: ANN401 - as redis-py reads the reply
        """Return the reply to a command. Raises redis.RedisError."""
        return self._redis.execute_command(*words)  # type: ignore[no-untyped-call] # redis-py's

    def refusal(self, *words: str) -> redis.ResponseError | None:
        """Return Redis' refusal of a command in a transaction, or None for any other reply."""
        connection = self._redis.connection
        assert connection is not None, "it is the only one of its client"
        connection.send_command(*words)  # type: ignore[no-untyped-call] # redis-py's
        try:
            connection.read_response()
        except redis.ResponseError as refusal:
            return refusal
        return None

    def close(self) -> None:
        """End the connection."""
        self._redis.close()


@contextlib.contextmanager
def connected(route: Route, node: tuple[str, int] | None) -> Iterator[ServerClient]:
    """Connect to a server that stores streams, by its socket if `node` is None."""
    origin = parse_redis(route.storage)
    where: dict[str, Any] = {"unix_socket_path": origin.path}
    if node is not None:
        where = {"host": node[0], "port": node[1], **_tls(route)}
    login = {"username": origin.username, "password": origin.password, "db": origin.db}
    options = {"socket_connect_timeout": route.connect_timeout, **where, **login}
    with contextlib.closing(ServerClient(options)) as client:
        yield client


@contextlib.contextmanager
def connected_to_sentinel(route: Route, node: tuple[str, int]) -> Iterator[ServerClient]:
    """Connect to one of the sentinels."""
    origin = parse_redis(route.storage)
    login = {"username": origin.sentinel_username, "password": origin.sentinel_password}
    where = {"host": node[0], "port": node[1], **_tls(route)}
    options = {"socket_connect_timeout": route.connect_timeout, **where, **login}
    with contextlib.closing(ServerClient(options)) as client:
        yield client


def _tls(route: Route) -> dict[str, Any]:
    if not parse_redis(route.storage).tls:
        return {}
    is_checked = route.tls_verify == "on"
    return {
        "ssl": True,
        "ssl_cert_reqs": "required" if is_checked else "none",
        "ssl_check_hostname": is_checked,
        "ssl_ca_certs": route.tls_ca or None,
    }


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
    """Note a refusal, recognised by its words: the types of redis-py differ by command."""
    reason = str(client.refusal(*words) or "")
    if "permissions" in reason or "unknown command" in reason:
        reasons[words[0]] = reason.rstrip(". ")


def needed(route: Route) -> Iterator[tuple[str, ...]]:
    """Yield every command of a gateway, with keys and channels of the examination's own."""
    names = RedisNames(parse_redis(route.storage).prefix)
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
    if parse_redis(route.storage).kind == "cluster":
        yield ("CLUSTER", "SLOTS")
        yield ("ASKING",)
