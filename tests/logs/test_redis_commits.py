"""Commits to a log in Redis: by two gateways, with lost connections, flushed functions, and keys
that somebody else has been at.
"""

from __future__ import annotations

import asyncio
import socket
import uuid
from functools import partial
from typing import TYPE_CHECKING

import msgspec
import pytest

from headgate_gateway.errors import LogUnavailable
from headgate_gateway.logs.contract import Conflict, LoadedStream
from headgate_gateway.protocol.appends import MAX_PRODUCERS
from headgate_gateway.protocol.lifecycle import PathState
from headgate_gateway.protocol.streams.offsets import parse_offset
from headgate_gateway.protocol.streams.state import Lifetime, ProducerState, position_of
from headgate_gateway.streams.writes import MAX_BATCH
from tests.logs.contract import (
    appended,
    commit_each,
    committed,
    created,
    loaded,
    removed,
    with_producers,
)
from tests.logs.redis_logs import LossyProxy, connected, lossy
from tests.streams.service import Service
from tests.support.manual_clock import at
from tests.support.redis_servers import RedisServer, redis_server
from tests.support.waiting import until

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from headgate_gateway.logs.redis.log import RedisLog
    from headgate_gateway.logs.redis.names import RedisNames
    from headgate_gateway.protocol.streams.state import Change, StreamState

replace = msgspec.structs.replace
MOST_WRITERS = 64  # as in headgate.lua


# ---------------------------------------------------------------- two gateways


async def test_a_commit_is_visible_to_every_gateway_at_once(log: RedisLog, other: RedisLog) -> None:
    change = await committed(log, created(log, "s", b"one"))
    assert await loaded(other, "s") == change.state
    assert await log.sharing.is_current(change.state)
    second = with_producers(appended(change.state, b"two"), p=ProducerState(0, 1, 2.5))
    await other.commit([second])
    assert not await log.sharing.is_current(change.state)
    assert await log.sharing.is_current(second.state)
    found = await log.load("s")
    assert found == LoadedStream(
        PathState(second.state, None, second.state.history), dict(second.producers)
    )
    assert (await log.read(change.state, 0, 100)).records == (b"one", b"two")
    await log.commit([removed(second.state)])
    assert not await other.sharing.is_current(second.state)
    assert await other.load("s") == LoadedStream(PathState(None, 0, second.state.history), {})


async def test_a_recreated_stream_is_not_taken_for_the_old(log: RedisLog, other: RedisLog) -> None:
    change = await committed(log, created(log, "s", b"one"))
    await other.commit([removed(change.state)])
    await other.commit([created(other, "s", b"one", generation=1)])
    assert not await log.sharing.is_current(change.state)


async def test_the_loser_of_two_commits_gets_a_conflict_with_the_present_state(
    log: RedisLog, other: RedisLog
) -> None:
    change = await committed(log, created(log, "s"))
    producer = ProducerState(3, 4, 5.5)
    changes = [
        with_producers(appended(change.state, data), p=producer) for data in (b"one", b"two")
    ]
    outcomes = await asyncio.gather(
        log.commit([changes[0]]), other.commit([changes[1]]), return_exceptions=True
    )
    (won,) = (number for number, outcome in enumerate(outcomes) if outcome is None)
    (conflict,) = (outcome for outcome in outcomes if outcome is not None)
    assert isinstance(conflict, Conflict)
    stands = LoadedStream(
        PathState(changes[won].state, None, change.state.history), {"p": producer}
    )
    assert conflict.found == stands == await log.load("s")


async def test_a_creation_overtaken_by_another_gets_a_conflict_with_the_retired_generation(
    log: RedisLog, other: RedisLog
) -> None:
    """Between its look and its commit another gateway created, wrote to and removed the stream."""
    late = created(log, "s", generation=4)
    first = await committed(other, created(other, "s", b"theirs", generation=4))
    await other.commit([removed(first.state)])
    with pytest.raises(Conflict) as conflict:
        await log.commit([late])
    assert conflict.value.found == LoadedStream(PathState(None, 4, late.state.history), {})
    assert await loaded(log, "s") is None
    await log.commit([created(log, "s", generation=5)])


@pytest.mark.parametrize(("count", "told"), [(122, True), (123, True), (124, False)])
async def test_a_conflict_has_bounded_producers(log: RedisLog, count: int, told: bool) -> None:
    producers = {f"p{number}": ProducerState(0, number, 1.5) for number in range(count)}
    change = await committed(log, with_producers(created(log, "s"), **producers))
    with pytest.raises(Conflict) as conflict:
        await log.commit([replace(appended(change.state), expected=7)])
    if told:
        assert conflict.value.found is not None
        assert conflict.value.found.producers == producers
    else:
        assert conflict.value.found is None


async def test_all_producers_of_a_stream_can_be_dropped_in_one_commit(log: RedisLog) -> None:
    names = [f"p{number}" for number in range(MAX_PRODUCERS)]
    change = await committed(log, created(log, "s"))
    for begin in range(0, MAX_PRODUCERS, MAX_BATCH):
        some = dict.fromkeys(names[begin : begin + MAX_BATCH], ProducerState(0, 0, 1.5))
        change = await committed(log, with_producers(appended(change.state), **some))
    change = with_producers(appended(change.state), *names, new=ProducerState(0, 0, 1.5))
    await log.commit([change])
    assert list((await log.load("s")).producers) == ["new"]


async def test_a_commit_to_a_removed_stream_gets_a_conflict_without_a_state(
    log: RedisLog, other: RedisLog
) -> None:
    change = await committed(log, created(log, "s", generation=4))
    await other.commit([removed(change.state)])
    with pytest.raises(Conflict) as conflict:
        await log.commit([appended(change.state, b"late")])
    assert conflict.value.found == LoadedStream(PathState(None, 4, change.state.history), {})


async def test_a_commit_to_redis_changes_one_stream_only(log: RedisLog) -> None:
    changes = [created(log, "s"), created(log, "f")]
    assert log.can_commit_together(changes[:1])
    assert not log.can_commit_together(changes)


async def test_logs_with_two_prefixes_share_no_streams(server: RedisServer, log: RedisLog) -> None:
    await log.commit([created(log, "s", b"one", deadline=1.0)])
    async with connected(f"{server.url}?prefix={uuid.uuid4().hex}") as apart:
        assert await loaded(apart, "s") is None
        assert await apart.expired(at(2.0), 10) == []
    assert await log.expired(at(2.0), 10) == ["s"]


@pytest.mark.parametrize("path", ["a/b%2F%C3%A9", "%7Bx%7D", "a:records", "a b*?[c]", "ü"])
async def test_a_path_with_special_characters_has_keys_of_its_own(
    log: RedisLog, other: RedisLog, path: str
) -> None:
    change = created(log, path, b"one")
    await commit_each(log, change, created(log, "a", b"two"))
    assert await loaded(other, path) == change.state
    assert (await other.read(change.state, 0, 9)).records == (b"one",)


async def test_the_keys_in_redis_are_those_of_the_documentation(
    server: RedisServer, log: RedisLog, names: RedisNames
) -> None:
    producer = ProducerState(1, 2, 3.5)
    change = with_producers(created(log, "s", b"one", b"two", deadline=5e9), p=producer)
    await log.commit([change])
    state = change.state
    meta = f"{names.prefix}:{{s}}"
    fields = server.command("HGETALL", meta)
    assert fields[b"v"] == f"{state.stream_id}.0".encode()
    process = server.info("server")["run_id"]
    assert fields[b"r"] == f"{state.history} {process[:8]}".encode()
    assert msgspec.json.decode(fields[b"s"], type=type(state)) == state
    assert sorted(name[:1] for name in fields) == [b"g", b"p", b"r", b"s", b"v", b"w"]
    assert fields[b"pp"] == b"[1,2,3.5]"
    assert fields[b"w" + fields[b"g"]].split() == [b"0"]
    await log.commit([appended(state, b"three", first=3)])
    entries = server.command("XRANGE", f"{meta}:records", "-", "+")
    assert entries == [
        (b"0-%d" % state.history, {b"d": b"onetwo", b"n": b"3 3"}),
        (b"6-%d" % state.history, {b"d": b"three"}),
    ]
    assert server.command("HGET", meta, "f") == b"3"
    state = appended(state, b"three", first=3).state
    assert server.command("ZSCORE", names.deadlines, "s") == 5e9
    await log.commit([removed(state)])
    await until(lambda: server.command("EXISTS", meta, f"{meta}:records") == 0)
    assert server.command("GET", f"{meta}:retired").split()[0] == b"0"
    assert 29 * 86400 < server.command("TTL", f"{meta}:retired") <= 30 * 86400


# ---------------------------------------------------------------- lost connections


KINDS: dict[str, Callable[[RedisLog, StreamState], Change]] = {
    "append": lambda _, s: with_producers(appended(s, b"two"), p=ProducerState(0, 0, 1.5)),
    "close": lambda _, s: appended(s, closed=True),
    "create": lambda log, _: created(log, "new", b"two"),
    "remove": lambda _, s: removed(s),
}


@pytest.mark.parametrize("after", [True, False], ids=["answer lost", "command lost"])
@pytest.mark.parametrize("kind", KINDS)
async def test_a_commit_sent_twice_is_stored_once(
    server: RedisServer, names: RedisNames, kind: str, after: bool
) -> None:
    async with lossy(server, names) as (proxy, log):
        base = await committed(log, created(log, "s", b"one"))
        change = KINDS[kind](log, base.state)
        proxy.lose_next(b"headgate_commit" if change.records else b"headgate_settle", after=after)
        await log.commit([change])
        assert proxy.lost == 1
        standing = None if change.removes else change.state
        assert await loaded(log, change.state.path) == standing
        if standing is not None:
            data = b"".join((await log.read(standing, 0, 100)).records)
            assert len(data) == standing.tail
            assert data.endswith(b"".join(record.data for record in change.records))


async def test_a_resent_commit_overtaken_by_another_gateway_is_not_stored_twice(
    server: RedisServer, names: RedisNames
) -> None:
    """Another gateway has built on it meanwhile, so it is not the last that was written."""
    async with (
        lossy(server, names) as (proxy, log),
        connected(f"{server.url}?prefix={names.prefix}") as other,
    ):
        service, beside = Service(log), Service(other)
        await service.create("s")
        proxy.lose_next(b"headgate_commit", after=True)
        appending = service.submit("s", b"mine ")
        await until(lambda: bool(proxy.lost))
        await beside.append("s", b"theirs ")
        await appending
        assert (await beside.data("s")).count(b"mine ") == 1


async def test_a_resent_commit_overtaken_by_the_same_gateway_is_not_stored_twice(
    server: RedisServer, names: RedisNames
) -> None:
    """A fork writes to its source too, and does not wait for what is sent again."""
    async with lossy(server, names) as (proxy, log):
        service = Service(log)
        await service.create("s")
        proxy.lose_next(b"headgate_commit", after=True)
        appending = service.submit("s", b"mine ")
        await until(lambda: bool(proxy.lost))
        await service.fork("f", "s")
        await appending
        assert await service.data("f") == b"mine "
        assert await service.data("s") == b"mine "


async def test_the_writer_names_left_in_a_stream_are_bounded(
    server: RedisServer, log: RedisLog, names: RedisNames
) -> None:
    change = await committed(log, created(log, "s", b"one"))
    for number in range(MOST_WRITERS + 5):
        async with connected(f"{server.url}?prefix={names.prefix}") as other:
            change = await committed(other, appended(change.state, b"%d" % number))
    fields = server.command("HGETALL", names.meta("s"))
    left = [name[1:] for name in fields if name.startswith(b"w")]
    assert len(left) == MOST_WRITERS
    assert sorted(fields[b"g"].split()) == sorted(left)
    assert await loaded(log, "s") == change.state


async def test_a_read_without_reply_is_sent_again(server: RedisServer, names: RedisNames) -> None:
    async with lossy(server, names) as (proxy, log):
        change = await committed(log, created(log, "s", b"one"))
        questions: list[tuple[bytes, Callable[[], Awaitable[object]]]] = [
            (b"headgate_load", partial(log.load, "s")),
            (b"headgate_confirm", partial(log.sharing.is_current, change.state)),
            (b"XRANGE", partial(log.read, change.state, 0, 9)),
            (b"ZRANGEBYSCORE", partial(log.expired, at(1.0), 1)),
        ]
        for word, ask in questions:
            expected = await ask()
            proxy.lose_next(word, after=True)
            assert await ask() == expected
        assert proxy.lost == len(questions)


async def test_one_of_two_commits_from_one_version_is_stored_although_a_reply_is_lost(
    server: RedisServer, names: RedisNames
) -> None:
    async with lossy(server, names) as (proxy, log):
        base = await committed(log, created(log, "s"))
        proxy.lose_next(b"headgate_commit", after=True)
        first, second = appended(base.state, b"same"), appended(base.state, b"same")
        outcomes = await asyncio.gather(
            log.commit([first]), log.commit([second]), return_exceptions=True
        )
        assert outcomes[0] is None
        assert isinstance(outcomes[1], Conflict)
        assert (await log.read(first.state, 0, 9)).records == (b"same",)


# ---------------------------------------------------------------- functions and keys


@pytest.mark.parametrize("flush", [("FUNCTION", "FLUSH"), ("SCRIPT", "FLUSH")], ids=" ".join)
async def test_flushed_functions_are_loaded_again_without_a_refused_request(
    server: RedisServer, log: RedisLog, other: RedisLog, flush: tuple[str, str]
) -> None:
    services = [Service(log), Service(other)]
    server.command(*flush)
    await services[0].create("s", lifetime=Lifetime(ttl_s=10))
    data = b""
    offsets = []
    for number in range(6):
        service, reader = services[number % 2], services[number // 2 % 2]
        server.command(*flush)
        offsets.append((await service.append("s", b"%d" % number)).next_offset)
        data += b"%d" % number
        server.command(*flush)
        assert await reader.data("s") == data
        server.command(*flush)
        assert await log.expired(at(service.clock() + 100), 1) == ["s"]
    state = await services[1].present("s")
    assert [position_of(state, parse_offset(one, "offset")) for one in offsets] == [*range(1, 7)]
    server.command(*flush)
    await services[1].lifecycle.delete("s")
    assert await loaded(log, "s") is None


class FlushingProxy(LossyProxy):
    """Has the server forget its functions before the next such command, instead of a loss."""

    def _cut(self) -> None:
        if not self.lost:
            with socket.create_connection(("127.0.0.1", self._target_port)) as flushing:
                flushing.sendall(b"FUNCTION FLUSH\r\n")
                assert flushing.recv(99) == b"+OK\r\n"
        self.lost += 1


async def test_functions_flushed_in_the_midst_of_loading_them_refuse_no_request(
    server: RedisServer, names: RedisNames
) -> None:
    async with (
        FlushingProxy(server.port) as proxy,
        connected(f"{proxy.url}?prefix={names.prefix}") as log,
    ):
        proxy.lose_next(b"headgate_history", after=False)
        server.command("FUNCTION", "FLUSH")
        await Service(log).create("s")
        assert proxy.lost
        assert await loaded(log, "s") is not None
        assert log.why_unhealthy() is None


async def test_a_server_that_forgot_its_history_gets_the_known_one_again(
    server: RedisServer, log: RedisLog, other: RedisLog, names: RedisNames
) -> None:
    """Also when it is later than the clock says, and the next one has begun meanwhile."""
    service = Service(log)
    await service.create("s")
    server.command(
        "HSET", names.meta("ahead"), "r", str((await log.load("s")).path_state.history + 10**12)
    )
    known = (await log.load("ahead")).path_state.history
    assert (await service.present("s")).history == known
    server.command("FUNCTION", "FLUSH")
    assert (await other.load("nothing")).path_state.history < known
    await service.append("s", b"one")
    assert await service.data("s") == b"one"
    assert (await service.present("s")).history == known


async def test_a_probe_ended_by_the_gateway_leaves_the_log_healthy(log: RedisLog) -> None:
    """Whatever asks at that moment is not refused for it."""
    primary = log.store.servers.primary_of("any")
    assert primary is not None
    for _ in range(5):
        looking = asyncio.ensure_future(primary._probe())
        for _ in range(3):  # until it is on its way
            await asyncio.sleep(0)
        primary.reconnect()
        await looking
        assert (await log.load("s")).path_state.state is None
        assert log.why_unhealthy() is None


async def test_a_deadline_index_of_a_wrong_type_does_not_refuse_appends(
    server: RedisServer, log: RedisLog, names: RedisNames
) -> None:
    server.command("SET", names.deadlines, "something else")
    change = await committed(log, created(log, "s", b"one", deadline=5.0))
    assert await loaded(log, "s") == change.state
    with pytest.raises(LogUnavailable):
        await log.expired(at(9.0), 1)


# ---------------------------------------------------------------- replicas, sockets, outages


async def test_an_append_on_too_few_replicas_is_not_acknowledged(
    server: RedisServer, names: RedisNames
) -> None:
    url = f"{server.url}?prefix={names.prefix}"
    async with connected(url) as plain, connected(url, wait_replicas=1) as strict:
        change = await committed(plain, created(plain, "s", b"one"))
        second = appended(change.state, b"two")
        with pytest.raises(LogUnavailable) as refusal:
            await strict.commit([second])
        assert refusal.value.detail == (
            "stored, but fewer replicas than wait_replicas have it yet: "
            "it may be lost in a failover"
        )
        assert await loaded(plain, "s") == second.state
        await until(
            lambda: str(strict.why_unhealthy()).endswith(": 0 of 1 replicas (wait_replicas) answer")
        )


@pytest.mark.usefixtures("processes")
async def test_a_log_is_reached_through_a_unix_socket(tmp_path: Path) -> None:
    socket = tmp_path / "redis.sock"
    with redis_server(tmp_path / "data", unixsocket=str(socket)) as server:
        async with connected(f"redis+unix://{socket}?db=3&prefix=p") as log:
            change = await committed(log, created(log, "s", b"one"))
            assert await loaded(log, "s") == change.state
        async with connected(f"{server.url}/3?prefix=p") as log:
            assert await loaded(log, "s") == change.state


@pytest.mark.usefixtures("processes")
async def test_an_outage_of_redis_is_reported_and_ends_without_a_restart(tmp_path: Path) -> None:
    with redis_server(tmp_path, appendonly="yes", appendfsync="always") as server:
        async with connected(server.url) as log:
            change = await committed(log, created(log, "s", b"one"))
            server.kill()
            with pytest.raises(LogUnavailable):
                await log.commit([appended(change.state, b"two")])
            with pytest.raises(LogUnavailable):
                await log.load("s")
            await until(lambda: log.why_unhealthy() is not None)
            await asyncio.to_thread(server.start)
            await until(lambda: log.why_unhealthy() is None)
            state = await loaded(log, "s")
            assert state is not None
            assert (state.stream_id, state.tail) == (change.state.stream_id, 3)
            await log.commit([appended(state, b"two")])
