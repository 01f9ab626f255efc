"""The functions that read while Redis takes no writes: where they refuse, and that they do."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from redis.exceptions import ResponseError

from headgate_gateway.errors import LogUnavailable
from headgate_gateway.logs.redis import notifications
from headgate_gateway.logs.redis.names import HISTORY_LIBRARY, LIBRARY, VERSION
from tests.faults.redis_gateway import lose_the_disk
from tests.logs.contract import appended, committed, created
from tests.logs.redis_logs import Hearing, connected, stood, with_a_stream
from tests.support.log_lines import capture_logs
from tests.support.ports import free_port
from tests.support.redis_servers import HOST, redis_server
from tests.support.waiting import until

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.redis_servers import RedisServer

pytestmark = pytest.mark.usefixtures("processes")

META = "headgate:{s}"
KEYS = {"load": (META, f"{META}:records", f"{META}:retired"), "confirm": (META,), "state": (META,)}
OTHER = "0" * 12  # another version of the library


def call(server: RedisServer, name: str, version: str = VERSION) -> list[Any]:
    """The reply of a function that writes nothing."""
    keys = KEYS[name]
    function = f"headgate_{name}_ro_{version}"
    return in_order(server.command("FCALL", function, len(keys), *keys))


def in_order(reply: list[Any]) -> list[Any]:
    """A reply with the fields of a hash, which have no order, as a dictionary."""
    return [
        dict(zip(it[::2], it[1::2], strict=True)) if isinstance(it, list) else it for it in reply
    ]


def lack_replicas(server: RedisServer) -> None:
    server.command("CONFIG", "SET", "min-replicas-to-write", "1")


@pytest.mark.parametrize("name", KEYS)
async def test_a_function_that_writes_nothing_replies_as_the_one_that_may(
    tmp_path: Path, name: str
) -> None:
    async with with_a_stream(tmp_path) as (server, _, _):
        keys = KEYS[name]
        usual = in_order(server.command("FCALL", f"headgate_{name}_{VERSION}", len(keys), *keys))
        lack_replicas(server)
        assert call(server, name) == usual
        with pytest.raises(ResponseError, match="Not enough good replicas"):
            server.command("FCALL", f"headgate_{name}_{VERSION}", len(keys), *keys)


@pytest.mark.parametrize("name", KEYS)
async def test_a_replica_refuses_the_functions_that_write_nothing(
    tmp_path: Path, name: str
) -> None:
    async with with_a_stream(tmp_path) as (server, _, _):
        server.command("REPLICAOF", HOST, free_port())
        with pytest.raises(ResponseError, match="this server is a replica"):
            call(server, name)


@pytest.mark.parametrize("name", KEYS)
@pytest.mark.parametrize("writer", ["", " 0123abcd"])
async def test_a_stream_of_another_history_is_refused_where_nothing_can_be_written(
    tmp_path: Path, name: str, writer: str
) -> None:
    async with with_a_stream(tmp_path) as (server, log, change):
        seen = f"{change.state.history + 1}{writer}"
        server.command("HSET", META, "r", seen)
        lack_replicas(server)
        for _ in range(2):
            with pytest.raises(ResponseError, match="not looked at in this history"):
                call(server, name)
        assert server.command("HGET", META, "r") == seen.encode()
        with pytest.raises(LogUnavailable, match="was not read since Redis restarted"):
            await log.load("s")
        (now,) = server.command("FCALL", f"headgate_state_ro_{VERSION}", 0)
        assert int(now) == change.state.history  # none has begun


async def test_two_versions_read_the_streams_of_each_other_without_writes(tmp_path: Path) -> None:
    async with with_a_stream(tmp_path) as (server, log, change):
        server.command("FUNCTION", "LOAD", LIBRARY.replace(VERSION, OTHER))
        begun, replication = server.command("FCALL", "headgate_history", 0)
        server.command("FCALL", f"headgate_begin_{OTHER}", 0, begun, replication)
        later = await committed(log, appended(change.state, b"two"))
        lack_replicas(server)
        assert call(server, "load", OTHER) == call(server, "load")
        assert (await stood(log)) == later.state


async def test_a_history_begun_by_another_version_counts_without_writes(tmp_path: Path) -> None:
    async with with_a_stream(tmp_path) as (server, log, change):
        server.command("FUNCTION", "LOAD", LIBRARY.replace(VERSION, OTHER))
        begun, replication = server.command("FCALL", "headgate_history", 0)
        server.command("FCALL", f"headgate_begin_{OTHER}", 0, begun, replication)
        server.command("HSET", META, "r", str(change.state.history + 1))  # by a former primary
        keys = KEYS["load"]
        later, *_ = server.command("FCALL", f"headgate_load_{OTHER}", len(keys), *keys)
        assert int(later) > change.state.history
        lack_replicas(server)
        assert call(server, "load")[0] == later
        assert (await stood(log)).history == int(later)
        server.command("CONFIG", "SET", "min-replicas-to-write", "0")
        await until(lambda: log.why_unhealthy() is None)
        await log.commit([appended(await stood(log), b"two")])


async def test_a_change_of_history_is_reported_once_writes_are_taken(tmp_path: Path) -> None:
    """What follows from it is written, such as whether anything is lost."""
    listener = Hearing()
    with redis_server(tmp_path) as server:
        async with connected(server.url, listener) as log:
            change = await committed(log, created(log, "s", b"one"))
            await until(lambda: listener.histories >= 1)
            histories = listener.histories
            later = change.state.history + 1
            replication = server.info("replication")["master_replid"]
            with server.client() as client, client.pipeline() as together:
                together.execute_command("FUNCTION", "FLUSH")
                together.execute_command("FUNCTION", "LOAD", HISTORY_LIBRARY)
                together.execute_command("FUNCTION", "LOAD", LIBRARY)
                begin = f"headgate_begin_{VERSION}"
                together.execute_command("FCALL", begin, 0, later, replication)
                together.execute_command("CONFIG", "SET", "min-replicas-to-write", "1")
                together.execute()
            await until(log.is_read_only)
            with pytest.raises(LogUnavailable):
                await log.load("s")
            assert (await log.load("-")).path_state.history == later
            assert listener.histories == histories
            server.command("CONFIG", "SET", "min-replicas-to-write", "0")
            await until(lambda: listener.histories > histories and log.why_unhealthy() is None)
            assert (await stood(log)).history >= later


async def test_ping_of_a_redis_that_cannot_save_ends_no_subscription(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Redis refuses it then, too."""
    monkeypatch.setattr(notifications, "PING_S", 0.05)
    options = {"enable_protected_configs": "yes"}
    with redis_server(tmp_path, **options) as server:
        async with connected(server.url) as log:
            change = await committed(log, created(log, "s", b"one"))
            log.sharing.follow("s")
            with capture_logs() as logged:
                await asyncio.to_thread(lose_the_disk, server)
                await until(lambda: log.why_unhealthy() is not None)
                await until(lambda: refused_pings(server) >= 5)
            assert {it["event"] for it in logged} == {"log.failed"}
            assert await log.sharing.is_current(change.state)


def refused_pings(server: RedisServer) -> int:
    """How many it has refused because it cannot save."""
    seen = server.info("commandstats").get("cmdstat_ping", {"rejected_calls": 0})
    return int(seen["rejected_calls"])
