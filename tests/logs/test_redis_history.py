"""A Redis that comes back, with what it had or without: each history has a number of its own."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

import pytest
from redis.exceptions import ResponseError

from headgate_gateway.errors import LogUnavailable, StreamGone
from headgate_gateway.logs.contract import Conflict
from headgate_gateway.logs.redis.names import LIBRARY, VERSION
from headgate_gateway.protocol.streams.offsets import parse_offset
from headgate_gateway.protocol.streams.state import position_of
from tests.logs.contract import appended, commit_each, committed, created
from tests.logs.redis_logs import Hearing, connected, stood, with_a_stream
from tests.support.redis_servers import redis_server
from tests.support.waiting import until

if TYPE_CHECKING:
    from pathlib import Path

    from headgate_gateway.logs.redis.log import RedisLog
    from tests.support.redis_servers import RedisServer

pytestmark = pytest.mark.usefixtures("processes")

DURABLE = {"appendonly": "yes", "appendfsync": "always"}
META = "headgate:{s}"


async def history(log: RedisLog) -> int:
    return (await log.load("-")).path_state.history


def clock(server: RedisServer) -> int:
    """Its time in microseconds."""
    seconds, micros = server.command("TIME")
    return int(seconds) * 10**6 + int(micros)


async def test_all_gateways_and_streams_of_a_server_have_one_history(tmp_path: Path) -> None:
    with redis_server(tmp_path) as server:
        before = clock(server)
        async with connected(server.url) as log, connected(server.url) as other:
            await log.commit([created(log, "s")])
            histories = {await history(log), await history(other), (await stood(other)).history}
        async with connected(server.url) as later:
            histories.add(await history(later))
        assert len(histories) == 1
        assert before <= histories.pop() <= clock(server)


async def test_a_redis_restart_without_data_begins_a_later_history(tmp_path: Path) -> None:
    subscriptions = Hearing()
    with redis_server(tmp_path) as server:
        async with connected(server.url, subscriptions) as log:
            change = await committed(log, created(log, "s", b"one", generation=5))
            first = await history(log)
            await until(lambda: subscriptions.histories >= 1)
            histories = subscriptions.histories
            await asyncio.to_thread(server.restart)
            await until(lambda: log.why_unhealthy() is None and subscriptions.histories > histories)
            assert await history(log) > first
            assert (await log.load("s")).path_state.state is None
            assert not await log.sharing.is_current(change.state)
            with pytest.raises(Conflict):
                await log.commit([appended(change.state, b"two")])
            with pytest.raises(Conflict):
                await log.commit([created(log, "t")])  # decided in the first history


async def test_a_restart_with_all_data_begins_a_generation_and_keeps_offsets(
    tmp_path: Path,
) -> None:
    async with with_a_stream(tmp_path, **DURABLE) as (server, log, change):
        old = change.state
        await asyncio.to_thread(server.restart)
        await until(lambda: log.why_unhealthy() is None)
        state = await stood(log)
        assert state.history == await history(log)
        assert state.generation == state.history + state.stream_id % 10**6
        assert state.offset(3) == old.offset(3)
        assert not await log.sharing.is_current(old)
        assert await log.sharing.is_current(state)
        assert (await log.read(old, 0, 9)).records == (b"one",)
        with pytest.raises(Conflict) as conflict:
            await log.commit([appended(old, b"late")])
        assert conflict.value.found is not None
        assert conflict.value.found.path_state.state == state
        second = await committed(log, appended(state, b"two"))
        assert second.state.offset(3) == old.offset(3)
        assert second.state.offset(6)[:16] == f"{state.generation:016d}"


async def test_offsets_of_lost_data_are_refused_and_not_given_out_again(tmp_path: Path) -> None:
    async with with_a_stream(tmp_path) as (server, log, kept):
        server.command("SAVE")
        lost = await committed(log, appended(kept.state, b"lost"))
        offset = parse_offset(lost.state.offset(7), "offset")
        await asyncio.to_thread(server.restart)
        await until(lambda: log.why_unhealthy() is None)
        state = await stood(log)
        assert (state.tail, state.version) == (3, 0)
        with pytest.raises(StreamGone):
            position_of(state, offset)
        with pytest.raises(StreamGone):
            await log.read(lost.state, 7, 100)
        await log.commit([appended(state, b"else")])
        state = await stood(log)
        with pytest.raises(StreamGone):
            position_of(state, offset)
        with pytest.raises(StreamGone):
            await log.read(lost.state, 7, 100)
        assert (await log.read(kept.state, 3, 100)).records == (b"else",)


# ---------------------------------------------------------------- a history that comes back


async def test_a_server_that_was_a_replica_begins_a_history_of_its_own(tmp_path: Path) -> None:
    subscriptions = Hearing()
    with redis_server(tmp_path) as server:
        async with connected(server.url, subscriptions) as log:
            change = await committed(log, created(log, "s", b"one"))
            first = await history(log)
            await until(lambda: subscriptions.histories >= 1)
            histories = subscriptions.histories
            between = first + 1
            server.command("HSET", META, "r", str(between))
            state = await stood(log)
            assert state.history > between
            assert state.generation == state.history + state.stream_id % 10**6
            assert await history(log) == state.history
            with pytest.raises(Conflict):
                await log.commit([appended(change.state, b"late")])
            await log.commit([appended(state, b"two")])
            await until(lambda: subscriptions.histories > histories)


async def test_a_library_loaded_again_has_the_history_of_its_process(tmp_path: Path) -> None:
    """Also a later one than the process began with: it was a replica meanwhile."""
    async with with_a_stream(tmp_path) as (server, log, _):
        server.command("HSET", META, "r", str(await history(log) + 1))
        later = (await stood(log)).history
        await until(lambda: server.command("FCALL", "headgate_history", 0)[0] == b"%d" % later)
        server.command("FUNCTION", "DELETE", f"headgate_{VERSION}")
        assert await history(log) == later
        server.command("FUNCTION", "DELETE", f"headgate_{VERSION}")
        server.command("FUNCTION", "LOAD", LIBRARY)
        with pytest.raises(ResponseError, match="NOHISTORY this server was a replica meanwhile"):
            server.command("FCALL", f"headgate_begin_{VERSION}", 0, later, "another")


async def test_a_new_history_is_adopted_while_many_requests_are_under_way(tmp_path: Path) -> None:
    """Each answer tells of it before the server is looked at, and the look must come to its end."""
    subscriptions = Hearing()
    with redis_server(tmp_path) as server:
        async with connected(server.url, subscriptions) as log:
            await log.commit([created(log, "s", b"one")])
            await until(lambda: subscriptions.histories >= 1)
            histories, asking = subscriptions.histories, True

            async def ask() -> None:
                while asking:
                    with contextlib.suppress(LogUnavailable):
                        await log.load("s")

            askers = [asyncio.create_task(ask()) for _ in range(50)]
            server.command("HSET", META, "r", str(await history(log) + 1))
            await until(lambda: subscriptions.histories > histories and log.why_unhealthy() is None)
            asking = False
            await asyncio.gather(*askers)


async def test_two_versions_of_headgate_on_one_server_agree_on_the_history(tmp_path: Path) -> None:
    """As while gateways are replaced one after the other: no generation rises at every append."""
    other = LIBRARY.replace(VERSION, "0" * 12)
    async with with_a_stream(tmp_path) as (server, log, _):
        server.command("FUNCTION", "LOAD", other)
        keys = (META, f"{META}:records", f"{META}:retired")
        begun, replication = server.command("FCALL", "headgate_history", 0)
        server.command("FCALL", f"headgate_begin_{'0' * 12}", 0, begun, replication)
        assert int(begun) == await history(log)
        server.command("HSET", META, "r", str(int(begun) + 1))  # of a replica, and seen by one
        later, *_ = server.command("FCALL", f"headgate_load_{'0' * 12}", 3, *keys)
        state = await stood(log)
        assert state.history == int(later)
        await log.commit([appended(state, b"two")])
        assert server.command("FCALL", f"headgate_load_{'0' * 12}", 3, *keys)[0] == later
        assert (await stood(log)).generation == state.generation


@pytest.mark.parametrize("ahead_s", [1, 3600])
async def test_a_history_ahead_of_the_clock_stops_no_append(tmp_path: Path, ahead_s: int) -> None:
    """The last primary's clock was ahead of this one's: its history is later than now."""
    async with with_a_stream(tmp_path) as (server, log, _):
        ahead = clock(server) + ahead_s * 10**6
        server.command("HSET", META, "r", str(ahead))
        state = await stood(log)
        assert state == await stood(log)
        assert state.history > ahead
        await log.commit([appended(state, b"two")])


async def test_streams_of_earlier_histories_are_raised_one_by_one(tmp_path: Path) -> None:
    """Those changed under earlier histories are raised when they are next changed, one by one."""
    with redis_server(tmp_path, **DURABLE) as server:
        async with connected(server.url) as log:
            old = [created(log, f"s{number}", b"one") for number in range(3)]
            await commit_each(log, *old)
            await asyncio.to_thread(server.restart)
            await until(lambda: log.why_unhealthy() is None)
            for change in old:
                second = appended(await stood(log, change.state.path), b"two")
                await log.commit([second])
                assert await log.sharing.is_current(second.state)
            histories = {(await stood(log, change.state.path)).history for change in old}
            assert histories == {await history(log)}
