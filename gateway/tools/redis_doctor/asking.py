"""Query the servers of an origin, one connection after the other, without changing anything."""

from __future__ import annotations

import contextlib
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import redis

from gateway.logs.redis.names import VERSION, RedisNames
from gateway.settings.log_kinds.redis import parse_redis
from gateway.tools.redis_doctor.client import connected, connected_to_sentinel, refused
from gateway.tools.redis_doctor.facts import (
    ClusterFacts,
    SentinelFacts,
    ServerFacts,
    StreamSample,
    StreamSize,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.settings import Route
    from gateway.tools.redis_doctor.client import ServerClient

SETTINGS = (
    "appendonly",
    "appendfsync",
    "save",
    "no-appendfsync-on-rewrite",
    "aof-load-truncated",
    "auto-aof-rewrite-percentage",
    "stop-writes-on-bgsave-error",
    "min-replicas-to-write",
    "stream-node-max-bytes",
    "stream-node-max-entries",
    "client-output-buffer-limit",
    "timeout",
    "tcp-keepalive",
    "protected-mode",
    "cluster-require-full-coverage",
)
ENDED = re.compile("closed by server|reset by peer")
OURS = re.compile(r"headgate_[0-9a-f]{12}")
KEYS_LOOKED_AT = 100_000
KEYS_A_ROUND = 1000
STREAMS_MEASURED = 200


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
        with connected(route, node) as client:
            return bool(client.execute("INFO", "persistence").get("aof_enabled", 1))
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
        with connected_to_sentinel(route, node) as client:
            fields = dict(client.execute("SENTINEL MASTER", service))
            quorum = None
            try:
                client.execute("SENTINEL CKQUORUM", service)
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
            with connected(route, node) as client:
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


def _cluster(client: ServerClient) -> ClusterFacts:
    info = dict(client.execute("CLUSTER INFO"))
    nodes = client.execute("CLUSTER NODES")
    primaries = {fields["node_id"]: address for address, fields in nodes.items() if fields["slots"]}
    replicas = dict.fromkeys(primaries.values(), 0)
    for fields in nodes.values():
        if fields["master_id"] in primaries and "fail" not in fields["flags"]:
            replicas[primaries[fields["master_id"]]] += 1
    coverage = _settings(client).get("cluster-require-full-coverage")
    return ClusterFacts(info, replicas, None if coverage is None else coverage == "yes")


def _server(route: Route, node: tuple[str, int] | None) -> ServerFacts:
    address = _address(route, node)
    try:
        with connected(route, node) as client:
            info = client.execute("INFO")
            if "redis_version" not in info:
                raise ServerUnreachable(f"{address}: it is no Redis, as it tells no version")
            return ServerFacts(
                address=address,
                route=route,
                info=info,
                config=_settings(client),
                refused=refused(client, route),
                user=parse_redis(route.storage).username or "default",
                libraries=_libraries(client),
                this_library=f"headgate_{VERSION}",
                sample=_sample(client, RedisNames(parse_redis(route.storage).prefix)),
            )
    except redis.RedisError as cause:
        raise ServerUnreachable(f"{address}: {_sentence(cause, route)}") from cause


def _settings(client: ServerClient) -> dict[str, str]:
    """Return the settings that may be read, one by one: Redis before 7.0 takes no lists."""
    found: dict[str, str] = {}
    with contextlib.suppress(redis.ResponseError):
        for name in SETTINGS:
            found |= client.execute("CONFIG GET", name)
    return found


def _libraries(client: ServerClient) -> tuple[str, ...]:
    try:
        listed = client.execute("FUNCTION LIST", "LIBRARYNAME", "headgate_*")
    except redis.ResponseError:
        return ()
    names = sorted(_fields(library)["library_name"] for library in listed)
    return tuple(name for name in names if OURS.fullmatch(name))


def _fields(reply: Any) -> dict[str, Any]:  # noqa: ANN401 - a map, or as RESP2 has it a list
    if isinstance(reply, dict):
        return reply
    return dict(zip(reply[::2], reply[1::2], strict=True))


def _sample(client: ServerClient, names: RedisNames) -> StreamSample | None:
    """Return the memory of the streams that a bounded walk over the keys finds, or None."""
    with contextlib.suppress(redis.exceptions.NoPermissionError):
        return _walk(client, names)
    return None


def _walk(client: ServerClient, names: RedisNames) -> StreamSample:
    found: dict[str, None] = {}
    cursor, looked_at = 0, 0
    while looked_at < KEYS_LOOKED_AT and len(found) < STREAMS_MEASURED:
        cursor, keys = client.execute(
            "SCAN", cursor, "MATCH", names.meta("*"), "COUNT", KEYS_A_ROUND
        )
        found |= dict.fromkeys(keys)
        looked_at += KEYS_A_ROUND
        if cursor == 0:
            break
    paths = [names.path(key.encode()) for key in list(found)[:STREAMS_MEASURED]]
    sizes = tuple(_size(client, names, path) for path in paths)
    return StreamSample(sizes, cursor == 0 and len(found) <= STREAMS_MEASURED)


def _size(client: ServerClient, names: RedisNames, path: str) -> StreamSize:
    keys = (names.meta(path), names.records(path))
    used = sum(client.execute("MEMORY USAGE", key) or 0 for key in keys)
    return StreamSize(used, client.execute("XLEN", names.records(path)))


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
