"""A connection to one server of an origin, for questions one after the other."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

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
    origin = parse_redis(route.origin)
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
    origin = parse_redis(route.origin)
    login = {"username": origin.sentinel_username, "password": origin.sentinel_password}
    where = {"host": node[0], "port": node[1], **_tls(route)}
    options = {"socket_connect_timeout": route.connect_timeout, **where, **login}
    with contextlib.closing(ServerClient(options)) as client:
        yield client


def _tls(route: Route) -> dict[str, Any]:
    if not parse_redis(route.origin).tls:
        return {}
    is_checked = route.tls_verify == "on"
    return {
        "ssl": True,
        "ssl_cert_reqs": "required" if is_checked else "none",
        "ssl_check_hostname": is_checked,
        "ssl_ca_certs": route.tls_ca or None,
    }
