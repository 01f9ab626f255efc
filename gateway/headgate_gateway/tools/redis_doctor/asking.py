"""Query the servers of an origin, one connection after the other, without changing anything."""

from __future__ import annotations

import contextlib
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from headgate.redis_url import parse_redis
from headgate_gateway.tools.redis_doctor.facts import ClusterFacts, SentinelFacts, ServerFacts

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from headgate_gateway.settings import Route

SETTINGS = (
    "appendonly",
    "appendfsync",
    "save",
    "no-appendfsync-on-rewrite",
    "stop-writes-on-bgsave-error",
    "min-replicas-to-write",
    "protected-mode",
)
ENDED = re.compile("closed by server|reset by peer")
CONNECT_S = 5.0
ANSWER_S = 10.0


class ServerUnreachable(Exception):
    """No server could be asked; the message says why, without its full stop."""


@dataclass(frozen=True, slots=True)
class ExaminedOrigin:
    """The facts about an origin in Redis."""

    servers: tuple[ServerFacts, ...]
    # Nodes of a cluster that could not be asked, with the reasons.
    silent: tuple[str, ...]
    sentinels: tuple[SentinelFacts, ...]
    cluster: ClusterFacts | None


def ask(route: Route) -> ExaminedOrigin:
    """Return the facts about the Redis of a route. Raises ServerUnreachable."""
    kind = parse_redis(route.storage).kind
    if kind == "sentinel":
        return _ask_sentinels(route)
    if kind == "cluster":
        return _ask_nodes(route, _cluster_view(route))
    nodes: Sequence[tuple[str, int] | None] = parse_redis(route.storage).nodes or (None,)
    return ExaminedOrigin(tuple(_server(route, node) for node in nodes), (), (), None)


def servers_without_file(route: Route) -> tuple[str, ...]:
    """Return the servers of a route that keep no append-only file. Raises ServerUnreachable."""
    return tuple(_address(route, node) for node in _primaries(route) if not _has_file(route, node))


def _primaries(route: Route) -> Sequence[tuple[str, int] | None]:
    """Return the servers that take the appends; None stands for that of a socket."""
    origin = parse_redis(route.storage)
    if origin.kind == "sentinel":
        return (_primary(_views(route)),)
    if origin.kind == "cluster":
        return [_node(address) for address in _cluster_view(route).replicas]
    return origin.nodes or (None,)


def _has_file(route: Route, node: tuple[str, int] | None) -> bool:
    try:
        with _connect(route, node) as client:
            return bool(_reply(client, "INFO", "persistence").get("aof_enabled", 1))
    except redis.RedisError as cause:
        raise ServerUnreachable(f"{_address(route, node)}: {_sentence(cause, route)}") from cause


def _ask_sentinels(route: Route) -> ExaminedOrigin:
    views = _views(route)
    return ExaminedOrigin((_server(route, _primary(views)),), (), views, None)


def _views(route: Route) -> tuple[SentinelFacts, ...]:
    return tuple(_sentinel(route, node) for node in parse_redis(route.storage).nodes)


def _primary(views: tuple[SentinelFacts, ...]) -> tuple[str, int]:
    """Return the primary that the sentinels name. Raises ServerUnreachable."""
    healthy = next((view for view in views if view.why_unhealthy is None), None)
    if healthy is None:
        raise ServerUnreachable(
            "; ".join(f"{view.address}: {view.why_unhealthy}" for view in views)
        )
    return str(healthy.fields["ip"]), int(healthy.fields["port"])


def _sentinel(route: Route, node: tuple[str, int]) -> SentinelFacts:
    service = parse_redis(route.storage).service
    address = _shown(node)
    try:
        with _connect(route, node, is_sentinel=True) as client:
            fields = dict(_reply(client, "SENTINEL MASTER", service))
            quorum = None
            try:
                _reply(client, "SENTINEL CKQUORUM", service)
            except redis.ResponseError as refusal:
                quorum = _sentence(refusal, route)
    except redis.RedisError as cause:
        return SentinelFacts(address, _sentence(cause, route), {}, None)
    return SentinelFacts(address, None, fields, quorum)


def _cluster_view(route: Route) -> ClusterFacts:
    """Return the cluster as the first node that answers sees it. Raises ServerUnreachable."""
    troubles = []
    for node in parse_redis(route.storage).nodes:
        try:
            with _connect(route, node) as client:
                return _cluster(client)
        except redis.RedisError as cause:
            troubles.append(f"{_shown(node)}: {_sentence(cause, route)}")
    raise ServerUnreachable("; ".join(troubles))


def _ask_nodes(route: Route, view: ClusterFacts) -> ExaminedOrigin:
    servers, silent = [], []
    for address in view.replicas:
        try:
            servers.append(_server(route, _node(address)))
        except ServerUnreachable as cause:
            silent.append(str(cause))
    return ExaminedOrigin(tuple(servers), tuple(silent), (), view)


def _cluster(client: redis.Redis) -> ClusterFacts:
    info = dict(_reply(client, "CLUSTER INFO"))
    nodes = _reply(client, "CLUSTER NODES")
    primaries = {fields["node_id"]: address for address, fields in nodes.items() if fields["slots"]}
    replicas = dict.fromkeys(primaries.values(), 0)
    for fields in nodes.values():
        if fields["master_id"] in primaries and "fail" not in fields["flags"]:
            replicas[primaries[fields["master_id"]]] += 1
    return ClusterFacts(info, replicas)


def _server(route: Route, node: tuple[str, int] | None) -> ServerFacts:
    address = _address(route, node)
    try:
        with _connect(route, node) as client:
            info = _reply(client, "INFO")
            if "redis_version" not in info:
                raise ServerUnreachable(f"{address}: it is no Redis, as it tells no version")
            return ServerFacts(
                address=address,
                route=route,
                info=info,
                config=_settings(client),
            )
    except redis.RedisError as cause:
        raise ServerUnreachable(f"{address}: {_sentence(cause, route)}") from cause


def _settings(client: redis.Redis) -> dict[str, str]:
    """Return the settings that may be read, one by one: Redis before 7.0 takes no lists."""
    found: dict[str, str] = {}
    with contextlib.suppress(redis.ResponseError):
        for name in SETTINGS:
            found |= _reply(client, "CONFIG GET", name)
    return found


def _reply(client: redis.Redis, *words: str) -> Any:  # noqa: ANN401 - as redis-py reads it
    """Return the reply to a command. Raises redis.RedisError."""
    return client.execute_command(*words)  # type: ignore[no-untyped-call] # redis-py's


@contextlib.contextmanager
def _connect(
    route: Route, node: tuple[str, int] | None, *, is_sentinel: bool = False
) -> Iterator[redis.Redis]:
    """Connect to a server that stores streams, by its socket if `node` is None, or a sentinel.

    Nothing is retried: the examination has to see each failure.
    """
    origin = parse_redis(route.storage)
    where: dict[str, Any] = {"unix_socket_path": origin.path}
    if node is not None:
        where = {"host": node[0], "port": node[1], **_tls(route)}
    login: dict[str, Any] = {
        "username": origin.username,
        "password": origin.password,
        "db": origin.db,
    }
    if is_sentinel:
        login = {"username": origin.sentinel_username, "password": origin.sentinel_password}
    client = redis.Redis(
        retry=Retry(NoBackoff(), 0),
        single_connection_client=True,
        socket_timeout=ANSWER_S,
        socket_connect_timeout=CONNECT_S,
        decode_responses=True,
        encoding_errors="backslashreplace",
        **where,
        **login,
    )
    with contextlib.closing(client):
        yield client


def _tls(route: Route) -> dict[str, Any]:
    if not parse_redis(route.storage).tls:
        return {}
    return {"ssl": True, "ssl_ca_certs": route.tls_ca or None}


def _node(address: str) -> tuple[str, int]:
    host, _, port = address.rpartition(":")
    return host, int(port)


def _address(route: Route, node: tuple[str, int] | None) -> str:
    """Return how a server is named: by its address, or by its socket if `node` is None."""
    return parse_redis(route.storage).path if node is None else _shown(node)


def _shown(node: tuple[str, int]) -> str:
    host, port = node
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _sentence(error: redis.RedisError, route: Route) -> str:
    """Return what went wrong and the likely cause, without a full stop."""
    words = (str(error) or type(error).__name__).rstrip(".")
    if isinstance(error, redis.AuthenticationError):
        refuses = "invalid username-password pair" in words
        return "it refuses the user or the password" if refuses else "it asks for a password"
    if isinstance(error, redis.TimeoutError) and parse_redis(route.storage).tls:
        return f"{words}; perhaps it speaks no TLS, which is redis rather than rediss"
    if ENDED.search(words) and not parse_redis(route.storage).tls:
        return f"{words}; perhaps it speaks TLS, which is rediss rather than redis"
    return words
