"""The status of the servers, read every few seconds so that a scrape waits for no server."""

from __future__ import annotations

import asyncio
import re
import time
from typing import TYPE_CHECKING, NamedTuple

from typing_extensions import override

from gateway.background import Background
from gateway.logs.redis.connection import A_REPLICA, Refusal, Unreachable, pack
from gateway.telemetry.logs import log

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.logs.redis.primary import Primary
    from gateway.logs.redis.store import RedisStore

EVERY_S = 5.0
INFO = pack("INFO", "replication", "persistence", "memory")
REPLICA = re.compile(r"slave\d+")  # the name of a line: ip=…,port=…,state=online,offset=…,lag=…
OFFSET = re.compile(r"\boffset=(\d+)")


class ServerStatus(NamedTuple):
    """The status of a server at one moment."""

    replicas: int
    lag: int  # bytes that the replica furthest behind has not acknowledged
    aof_enabled: bool
    aof_ok: bool  # its last write and its last rewrite went well
    memory: int
    round_trip_s: float
    is_primary: bool


class ServerStatusWatch(Background):
    """Asks again and again; `numbers` are of the last time it asked.

    Of several servers it gives the sum of what adds up, and the worst of what does not. There are
    no numbers while one of the servers does not answer: old ones would look as if all were well.
    """

    def __init__(self, store: RedisStore) -> None:
        self._paths = store.names.paths
        self._primaries = store.servers.by_address  # changes as servers come and go
        self.numbers: Mapping[str, float] = {}

    @override
    async def _run(self) -> None:
        while True:
            try:
                self.numbers = await self._look()
            except Unreachable:
                # The log's health tells why; a server that is no primary any more says only that.
                is_demoted = any(it.why_unhealthy == A_REPLICA for it in self._primaries.values())
                self.numbers = {"redis_primary": 0} if is_demoted else {}
            except Exception:  # noqa: BLE001 - it must outlive whatever it was
                self.numbers = {}
                log.exception("log.vitals_unknown")
            await asyncio.sleep(EVERY_S)

    async def _look(self) -> Mapping[str, float]:
        found = await asyncio.gather(*map(self._ask, self._primaries.values()))
        statuses = [status for status, _ in found if status is not None]
        if not found or len(statuses) < len(found):
            return {}
        numbers = _together(statuses)
        streams = [count for _, count in found if count is not None]
        if streams:
            numbers["streams"] = sum(streams)
        return numbers

    async def _ask(self, primary: Primary) -> tuple[ServerStatus | None, int | None]:
        """Return the status of a server, and the number of paths on the list.

        Either is None if the server refuses to say, as one without the list does. Raises
        Unreachable.
        """
        began = (
            time.perf_counter()
        )  # the loop's clock has milliseconds, which is more than it takes
        text, count = await primary.execute(INFO, pack("ZCARD", self._paths))
        took_s = time.perf_counter() - began
        status = None if isinstance(text, Refusal) else read_info(text.decode(), took_s)
        return status, None if isinstance(count, Refusal) else int(count)


def read_info(text: str, round_trip_s: float) -> ServerStatus:
    """Parse a reply to INFO; lines that this version of Redis lacks count as 0 or True."""
    lines = (line.partition(":") for line in text.splitlines())
    told = {name: value for name, colon, value in lines if colon}
    replicas = [value for name, value in told.items() if REPLICA.fullmatch(name)]
    reached = int(told.get("master_repl_offset", 0))
    offsets = [int(offset) for replica in replicas for offset in OFFSET.findall(replica)]
    statuses = (told.get("aof_last_write_status"), told.get("aof_last_bgrewrite_status"))
    return ServerStatus(
        len(replicas),
        reached - min(offsets, default=reached),
        told.get("aof_enabled") == "1",
        all(status in {None, "ok"} for status in statuses),
        int(told.get("used_memory", 0)),
        round_trip_s,
        told.get("role") in {None, "master"},
    )


def _together(servers: list[ServerStatus]) -> dict[str, float]:
    return {
        "redis_connected_replicas": sum(it.replicas for it in servers),
        "redis_replica_lag_bytes": max(it.lag for it in servers),
        "redis_aof_enabled": min(it.aof_enabled for it in servers),
        "redis_aof_ok": min(it.aof_ok for it in servers),
        "redis_memory_bytes": sum(it.memory for it in servers),
        "redis_round_trip_seconds": max(it.round_trip_s for it in servers),
        "redis_primary": min(it.is_primary for it in servers),
    }
