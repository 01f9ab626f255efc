"""Rules on access: the version of a Redis, its deployment, and who is let in."""

from __future__ import annotations

from typing import TYPE_CHECKING

from headgate.redis_url import parse_redis
from headgate_gateway.tools.redis_doctor.facts import RedisFinding, Topic

if TYPE_CHECKING:
    from collections.abc import Iterator

    from headgate_gateway.tools.redis_doctor.facts import ServerFacts

FUNCTIONS = (7, 0)
DISK_OF_REPLICAS = (7, 2)
VERSION = Topic("version")
DEPLOYMENT = Topic("deployment")
RIGHTS = Topic("rights")


def access(server: ServerFacts) -> Iterator[RedisFinding]:
    """Yield the findings on version, deployment and access."""
    yield _version(server)
    yield from _deployment(server)
    yield from _rights(server)
    yield from _guard(server)


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
