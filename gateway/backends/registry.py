"""Origin URLs and the logs they stand for."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from gateway.backends.memory import MemoryLog
from gateway.errors import StartError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gateway.backends.contract import Log
    from gateway.settings import Route


def log_for(route: Route) -> Log:
    """The log behind a route's origin: `memory:`, `file:PATH` or one in Redis.

    The log's library is imported here: redis-py takes a tenth of a start that needs none.
    """
    if route.is_redis:
        from gateway.backends.redis.connector import RedisSettings
        from gateway.backends.redis.log import RedisLog

        return RedisLog(RedisSettings.of(route))
    origin = route.origin
    scheme, separator, rest = origin.partition(":")
    if separator and scheme == "memory" and not rest:
        return MemoryLog()
    if separator and scheme == "file" and rest:
        from gateway.backends.sqlite.log import SqliteLog

        return SqliteLog(Path(rest))
    raise StartError(f"the origin {origin!r} is not one of memory:, file:PATH and redis://…")


def formats(routes: Iterable[Route]) -> dict[str, str]:
    """What the logs of these routes write, with the version of each form."""
    told: dict[str, str] = {}
    for route in routes:
        if route.is_redis:
            from gateway.backends.redis.names import VERSION

            told["functions in Redis"] = VERSION
        elif route.origin.startswith("file:"):
            from gateway.backends.sqlite.data_folder import SCHEMA_VERSION

            told["data file"] = str(SCHEMA_VERSION)
    return told
