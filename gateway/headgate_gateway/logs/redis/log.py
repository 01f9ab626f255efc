"""The log in Redis: streams that many gateways serve, compared and committed by one call each."""

from __future__ import annotations

import asyncio
import re
import secrets
from time import perf_counter
from typing import TYPE_CHECKING

from typing_extensions import override

from headgate_gateway.background import Background, settle
from headgate_gateway.errors import LogUnavailable
from headgate_gateway.logs.contract import Log
from headgate_gateway.logs.redis.commits import RedisCommits
from headgate_gateway.logs.redis.connection import A_REPLICA, Refusal, Unreachable, pack
from headgate_gateway.logs.redis.connector import RedisConnector, RedisSettings, parse_info
from headgate_gateway.logs.redis.indexes import DeadlineIndex, PathIndex
from headgate_gateway.logs.redis.losses import LossWatch
from headgate_gateway.logs.redis.records import read_records
from headgate_gateway.logs.redis.replies import decode_stream
from headgate_gateway.logs.redis.store import CANNOT_BE_REACHED, RedisStore
from headgate_gateway.stepped import in_task
from headgate_gateway.telemetry.logs import log

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from headgate_gateway.logs.contract import LoadedStream, Settled
    from headgate_gateway.logs.redis.primary import Primary
    from headgate_gateway.protocol.streams.chunks import Chunk
    from headgate_gateway.protocol.streams.state import Change, ClockReading, StreamState
    from headgate_gateway.settings import Route
    from headgate_gateway.telemetry.health import Cause
    from headgate_gateway.telemetry.metrics import Histogram

ID_BITS = 62  # random, so gateways need not agree on ids
MOST_COUNTED = 1000  # expired streams; each takes a call to Redis
STATUS_S = 5.0  # between two looks at the status of the servers
INFO = pack("INFO", "replication", "persistence", "memory")
REPLICA = re.compile(r"slave\d+")  # the name of a line: ip=…,port=…,state=online,offset=…,lag=…
OFFSET = re.compile(r"\boffset=(\d+)")
# The status of a server, and what of several servers becomes one number: the sum of what adds up,
# and the worst of what does not.
COMBINED: dict[str, Callable[[Iterable[float]], float]] = {
    "redis_connected_replicas": sum,
    "redis_replica_lag_bytes": max,  # not acknowledged by the replica furthest behind
    "redis_aof_enabled": min,
    "redis_aof_ok": min,  # its last write and its last rewrite went well
    "redis_memory_bytes": sum,
    "redis_round_trip_seconds": max,
    "redis_primary": min,
}


class RedisLog(Log):
    """A log in a Redis, its replicas or its cluster (`redis:`, `rediss:`, `redis+sentinel:` …)."""

    batch_bytes = 256 * 1024  # one entry is read whole, even for its last record

    def __init__(self, settings: RedisSettings, connector: RedisConnector | None = None) -> None:
        connector = connector or RedisConnector(settings)
        self.store: RedisStore = RedisStore(connector, self._on_history_change)
        self.sharing: RedisStore = self.store
        self.listing: PathIndex = PathIndex(self.store)
        self._deadlines = DeadlineIndex(self.store)
        self._server_status = ServerStatusWatch(self.store)
        self._losses = LossWatch(self.store)
        self._commits = RedisCommits(self.store, self._deadlines, self.listing, self._losses)

    @override
    def __repr__(self) -> str:
        return f"RedisLog({self.store.servers.connector.origin})"

    @override
    async def open(self) -> None:
        """Leave no connection and no task if this is cancelled, as by SIGTERM during a start."""
        self.store.servers.connector.check()
        try:
            await self.store.open()
        except asyncio.CancelledError:
            await self.store.close()
            raise
        self._server_status.start()

    @override
    async def close(self) -> None:
        await self._server_status.stop()
        await self.listing.close()
        await self._losses.close()
        await self.store.close()

    def _on_history_change(self, primary: Primary) -> None:
        self._losses.history_changed(primary)
        self.listing.on_history_change()
        self.store.notifications.on_history_change()

    @override
    def why_unhealthy(self) -> str | None:
        return self.store.servers.why_unhealthy() or self.store.notifications.why_unhealthy

    @override
    def is_read_only(self) -> bool:
        return self.store.servers.is_read_only() and self.store.notifications.why_unhealthy is None

    @override
    def refusal_at_once(self, path: str) -> LogUnavailable | None:
        why = self.store.servers.why_down(self.store.names.meta(path))
        return None if why is None else LogUnavailable(CANNOT_BE_REACHED.format(why))

    @override
    def loss(self) -> Cause | None:
        return self._losses.cause()

    @override
    def new_stream_id(self) -> int:
        return secrets.randbits(ID_BITS)

    @override
    async def load(self, path: str) -> LoadedStream:
        """Load the stream at `path`, with its generation raised to the server's history."""
        store = self.store
        (reply,) = await store.execute(store.names.meta(path), store.names.call("load", path))
        store.servers.compare(int(reply[0]))
        return decode_stream(reply)

    @override
    async def read(self, state: StreamState, start: int, end: int) -> Chunk:
        await in_task()  # a server is asked, with a time limit
        return await read_records(self.store, state, start, end)

    @override
    def can_commit_together(self, changes: Sequence[Change]) -> bool:
        """Return whether there is one change at most: a crash could store some of several."""
        return len(changes) <= 1

    @override
    def commit(self, changes: Sequence[Change]) -> asyncio.Future[None]:
        assert len(changes) == 1, "of several, a crash could store some"
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        # At once: the future's callbacks are called in a later pass.
        self._commits.commit(
            changes, lambda _, failures: settle(done, failures[0]), lambda pass_on: pass_on()
        )
        return done

    @override
    def commit_separately(self, changes: Sequence[Change], settled: Settled) -> None:
        self._commits.commit(changes, settled, asyncio.get_running_loop().call_soon)

    @override
    async def expired(self, now: ClockReading, limit: int) -> Sequence[str]:
        return await self._deadlines.expired(now.wall, limit)

    @override
    def histograms(self) -> Mapping[str, Histogram]:
        return self._commits.histograms.by_name("appends", "queue", "write")

    @override
    def numbers(self) -> Mapping[str, float]:
        return {
            **self._server_status.numbers,
            "commits": self._commits.stored,
            "conflicts": self._commits.conflicts,
            "followed": len(self.store.notifications),
            **{f"histories_{lost}": count for lost, count in self._losses.counts.items()},
        }

    @override
    async def count_expired(self, now: ClockReading) -> int:
        return len(await self._deadlines.expired(now.wall, MOST_COUNTED))


class ServerStatusWatch(Background):
    """Asks for the status of the servers every few seconds, so that a scrape waits for no server.

    `numbers` are of the last time. There are none while one of the servers does not answer: old
    ones would look as if all were well.
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
                # The log's health has the reason; a former primary only reports its role.
                is_demoted = any(it.why_unhealthy == A_REPLICA for it in self._primaries.values())
                self.numbers = {"redis_primary": 0} if is_demoted else {}
            except Exception:  # noqa: BLE001 - the watch must go on after any error
                self.numbers = {}
                log.exception("log.vitals_unknown")
            await asyncio.sleep(STATUS_S)

    async def _look(self) -> Mapping[str, float]:
        found = await asyncio.gather(*map(self._ask, self._primaries.values()))
        statuses = [status for status, _ in found if status is not None]
        if not found or len(statuses) < len(found):
            return {}
        numbers = {
            name: combine([status[name] for status in statuses])
            for name, combine in COMBINED.items()
        }
        counts = [count for _, count in found if count is not None]
        return {**numbers, "streams": sum(counts)} if counts else numbers

    async def _ask(self, primary: Primary) -> tuple[Mapping[str, float] | None, int | None]:
        """Return the status of a server, and the number of paths on the list.

        Either is None if the server refuses to say, as one without the list does. Raises
        Unreachable.
        """
        began = perf_counter()  # the loop's clock has milliseconds, which is more than it takes
        info, count = await primary.execute(INFO, pack("ZCARD", self._paths))
        took_s = perf_counter() - began
        status = None if isinstance(info, Refusal) else server_status(parse_info(info), took_s)
        return status, None if isinstance(count, Refusal) else int(count)


def server_status(info: Mapping[str, str], round_trip_s: float) -> Mapping[str, float]:
    """Return the numbers in a reply to INFO; lines that this version of Redis lacks are well."""
    replicas = [value for name, value in info.items() if REPLICA.fullmatch(name)]
    reached = int(info.get("master_repl_offset", 0))
    offsets = [int(offset) for replica in replicas for offset in OFFSET.findall(replica)]
    statuses = {info.get("aof_last_write_status"), info.get("aof_last_bgrewrite_status")}
    return {
        "redis_connected_replicas": len(replicas),
        "redis_replica_lag_bytes": reached - min(offsets, default=reached),
        "redis_aof_enabled": info.get("aof_enabled") == "1",
        "redis_aof_ok": statuses <= {None, "ok"},
        "redis_memory_bytes": int(info.get("used_memory", 0)),
        "redis_round_trip_seconds": round_trip_s,
        "redis_primary": info.get("role") in {None, "master"},
    }


def log_of(route: Route) -> RedisLog:
    """Return the log in the Redis of a route's origin."""
    return RedisLog(RedisSettings.of(route))
