"""Storages in Redis, by the URLs that the library takes, too."""

from __future__ import annotations

from headgate.redis_url import REDIS_URL, parse_redis
from headgate_gateway.settings.log_kinds.declaration import LogKind

# What is said of a Redis without appendonly, wherever it is found.
WITHOUT_FILE = "Redis keeps no append-only file: a restart loses acknowledged appends"


def _check(storage: str) -> None:
    parse_redis(storage)


KIND = LogKind(
    name="redis",
    title="Redis",
    form=REDIS_URL,
    words="redis://HOST[:PORT][/DB] or another redis URL",
    make="headgate_gateway.logs.redis.log:log_of",
    format="headgate_gateway.logs.redis.names:form_written",
    libraries=("hiredis", "redis"),
    check=_check,
    redact=lambda storage: str(parse_redis(storage)),
    places=lambda storage: parse_redis(storage).places,
    conflict=lambda _storage: "they need different databases or prefixes",
    settings=frozenset({"tls_ca", "wait_replicas"}),
    keeps_offsets=False,  # a failover may lose the end of a chunk
)
