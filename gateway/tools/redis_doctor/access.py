"""Rules on access: the version of a Redis, the user's rights, and idle connections."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.settings.log_kinds.redis import parse_redis
from gateway.tools.redis_doctor.facts import RedisFinding, Topic, count

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gateway.tools.redis_doctor.facts import ServerFacts

FUNCTIONS = (7, 0)
DISK_OF_REPLICAS = (7, 2)
CROWDED = 0.9
# Three for each process that serves, and those that asked before they were closed.
CONNECTIONS_OF_A_PROCESS = 3
VERSION = Topic("version")
DEPLOYMENT = Topic("deployment")
RIGHTS = Topic("rights")


def access(server: ServerFacts) -> Iterator[RedisFinding]:
    """Yield the findings on version, deployment and rights, without which nothing works."""
    yield _version(server)
    yield from _deployment(server)
    yield from _rights(server)
    yield from _guard(server)
    yield from _connections(server)
    yield from _libraries(server)


def _version(server: ServerFacts) -> RedisFinding:
    shown = f"{server.name} {server.shown_version}"
    if server.version < FUNCTIONS:
        return VERSION.error(
            f"{shown} has no functions, in which appends are committed: no stream can be served.",
            "Use Redis 7.0 or newer, or Valkey.",
        )
    if server.version < DISK_OF_REPLICAS and server.route.wait_replicas:
        return VERSION.note(
            f"{shown} does what the streams need. It cannot tell when a replica has synced its "
            "disk (WAITAOF, from 7.2): wait_replicas counts those that have an append in memory.",
        )
    return VERSION.ok(f"{shown} does what the streams need.")


def _deployment(server: ServerFacts) -> Iterator[RedisFinding]:
    if (
        server.info.get("cluster_enabled") == 1
        and parse_redis(server.route.storage).kind != "cluster"
    ):
        yield DEPLOYMENT.error(
            "This is a node of a cluster: streams whose place is on another node cannot be served.",
            "Use redis+cluster:// with the addresses of some nodes.",
        )


def _rights(server: ServerFacts) -> Iterator[RedisFinding]:
    if server.refused is None:
        yield RIGHTS.note(
            f"The rights of the user {server.user} were not examined: that takes MULTI, EXEC and "
            "DISCARD, which a gateway does not need.",
            "Run this command with a user that has them; docs/redis.md lists the rights.",
        )
    elif server.refused:
        reasons = "; ".join(f"{words}: {reason}" for words, reason in server.refused.items())
        yield RIGHTS.error(
            f"The user {server.user} is refused what a gateway needs: {reasons}.",
            "Give it the rights that docs/redis.md lists.",
        )
    else:
        yield RIGHTS.ok(f"The user {server.user} may do all that a gateway does.")
    if not server.config:
        yield RIGHTS.note(
            "The user may not read the settings of Redis (CONFIG GET), so most of this examination "
            "is left out.",
            "Run this command with a user who may, for instance one with +config|get.",
        )


def _guard(server: ServerFacts) -> Iterator[RedisFinding]:
    # A default user without a password is let in by loopback alone unless this is off.
    is_open = (
        parse_redis(server.route.storage).password is None
        and parse_redis(server.route.storage).kind != "unix"
    )
    if is_open and server.config.get("protected-mode") == "no":
        yield RIGHTS.warning(
            "No password is asked and protected-mode is off: whoever reaches the port can read, "
            "change and delete every stream.",
            "Give the gateways a user with a password, and let nobody else reach the port.",
        )


def _connections(server: ServerFacts) -> Iterator[RedisFinding]:
    about = Topic("connections")
    idle = server.number("timeout") or 0
    if idle:
        yield about.note(
            f"timeout {idle}: a gateway that sent nothing for so long is disconnected, and its "
            "next request waits for a new connection.",
            "Set timeout 0.",
        )
    if server.number("tcp-keepalive") == 0:
        yield about.note(
            "tcp-keepalive 0: Redis keeps the connections of a gateway whose machine has vanished, "
            "and buffers notifications for it up to client-output-buffer-limit.",
            "Set tcp-keepalive 300 or less.",
        )
    most = int(server.info.get("maxclients", 0))
    now = int(server.info.get("connected_clients", 0))
    if most and now > CROWDED * most:
        yield about.warning(
            f"{count(now, 'client')} of maxclients {most}: each process of a gateway takes "
            f"{CONNECTIONS_OF_A_PROCESS}, and further ones are refused.",
            "Raise maxclients.",
        )


def _libraries(server: ServerFacts) -> Iterator[RedisFinding]:
    others = [name for name in server.libraries if name != server.this_library]
    if not others:
        return
    about = Topic("functions")
    if server.this_library in server.libraries:
        yield about.note(
            "Functions of other versions of Headgate than this one are loaded: "
            f"{', '.join(others)}.",
            "Each stays until it is removed. When no gateway of those versions runs any more: "
            f"{'; '.join(f'FUNCTION DELETE {name}' for name in others)}.",
        )
    else:
        yield about.note(
            f"Functions of other versions of Headgate are loaded ({', '.join(others)}), and none "
            f"of this one ({server.this_library}): no gateway of this version was here.",
            "Ask the Headgate that your gateways run which of them can go.",
        )
