"""Reads from a log in Redis: damage is told, what is kept no longer is refused, and what is due."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import pytest

from headgate_gateway.errors import RecordDamaged, StreamGone
from headgate_gateway.logs.contract import Conflict
from headgate_gateway.protocol.streams.chunks import Chunk
from headgate_gateway.protocol.streams.limits import Retention
from headgate_gateway.protocol.streams.state import Segment
from tests.logs.contract import appended, commit_each, committed, created
from tests.streams.service import Service
from tests.support.manual_clock import at

if TYPE_CHECKING:
    from headgate_gateway.logs.redis.log import RedisLog
    from headgate_gateway.logs.redis.names import RedisNames
    from headgate_gateway.protocol.streams.state import StreamState
    from tests.support.redis_servers import RedisServer

DATAS = (b"abc", b"de", b"fghi")
replace = msgspec.structs.replace


async def three_records(log: RedisLog, path: str) -> StreamState:
    """A stream with the data, each of a commit of its own."""
    change = await committed(log, created(log, path, DATAS[0]))
    for data in DATAS[1:]:
        change = await committed(log, appended(change.state, data))
    return change.state


def remove(server: RedisServer, names: RedisNames, path: str, start: int) -> None:
    """Take the entry away that begins there."""
    ((name, _),) = server.command("XRANGE", names.records(path), start, start)
    assert server.command("XDEL", names.records(path), name) == 1


# ---------------------------------------------------------------- damage


@pytest.mark.parametrize(
    ("gone", "start", "begin"),
    [
        (0, 0, None),
        (0, 1, None),
        (3, 3, None),
        (5, 5, None),
        (3, 0, None),
        (5, 0, None),
        (0, 3, 3),
        (0, 6, 5),
        (3, 5, 5),
        (5, 9, 9),
    ],
)
async def test_a_missing_record_is_refused_and_the_others_are_served(
    server: RedisServer, log: RedisLog, names: RedisNames, gone: int, start: int, begin: int | None
) -> None:
    state = await three_records(log, "s")
    remove(server, names, "s", gone)
    if begin is not None:
        chunk = await log.read(state, start, 100)
        assert (chunk.start, b"".join(chunk.records)) == (begin, b"abcdefghi"[begin:])
        return
    with pytest.raises(RecordDamaged) as refusal:
        await log.read(state, start, 100)
    assert refusal.value.detail == (
        "a record is missing in Redis: its key was evicted, or changed by somebody else"
    )


async def test_records_before_a_missing_one_are_served(
    server: RedisServer, log: RedisLog, names: RedisNames
) -> None:
    state = await three_records(log, "s")
    remove(server, names, "s", 5)
    assert await log.read(state, 0, 5) == Chunk(state, 0, 5, DATAS[:2])


async def test_an_evicted_records_key_is_refused_as_damage(
    server: RedisServer, log: RedisLog, names: RedisNames
) -> None:
    change = await committed(log, created(log, "s", *DATAS))
    server.command("DEL", names.records("s"))
    with pytest.raises(RecordDamaged):
        await log.read(change.state, 0, 100)
    assert (await log.read(change.state, 9, 100)).records == ()


async def test_a_missing_record_of_the_source_is_refused_in_a_read_of_the_fork(
    server: RedisServer, log: RedisLog, names: RedisNames
) -> None:
    source = await three_records(log, "s")
    fork = created(log, "f", b"+", lineage=(Segment(source.stream_id, 5, "s"),), tail=6)
    await log.commit([fork])
    remove(server, names, "s", 3)
    with pytest.raises(RecordDamaged):
        await log.read(fork.state, 0, 100)
    with pytest.raises(RecordDamaged):
        await log.read(fork.state, 1, 100)
    assert (await log.read(fork.state, 5, 100)).records == (b"+",)


# ---------------------------------------------------------------- what is due


async def test_a_deadline_entry_without_a_stream_is_removed(
    server: RedisServer, log: RedisLog, names: RedisNames
) -> None:
    never = created(log, "never")
    over = created(log, "over", deadline=2.0)
    await commit_each(log, never, over)
    stale = {f"gone{number}": 1.0 for number in range(300)} | {"never": 1.5}
    for path, score in stale.items():
        server.command("ZADD", names.deadlines, score, path)
    assert await log.expired(at(10.0), 10) == ["over"]
    assert server.command("ZRANGE", names.deadlines, 0, -1) == [b"over"]


async def test_a_deadline_entry_that_is_too_early_is_corrected(
    server: RedisServer, log: RedisLog, names: RedisNames
) -> None:
    await log.commit([created(log, "s", deadline=50.0)])
    server.command("ZADD", names.deadlines, 1.0, "s")
    assert await log.expired(at(10.0), 10) == []
    assert server.command("ZSCORE", names.deadlines, "s") == 50.0
    assert await log.expired(at(50.0), 10) == ["s"]


async def test_a_refused_creation_does_not_postpone_the_deadline_of_its_path(
    server: RedisServer, log: RedisLog, names: RedisNames
) -> None:
    """Its note is written before it is known whether the creation stands."""
    await log.commit([created(log, "s", deadline=5.0)])
    with pytest.raises(Conflict):
        await log.commit([created(log, "s", deadline=50.0)])
    assert server.command("ZSCORE", names.deadlines, "s") == 5.0
    assert await log.expired(at(5.0), 10) == ["s"]


# ---------------------------------------------------------------- retention


async def test_trimmed_records_are_deleted_from_redis_and_reads_of_them_are_refused(
    server: RedisServer, log: RedisLog, names: RedisNames
) -> None:
    service = Service(log, retention=Retention(max_bytes=100_000))
    await service.create("s")
    for number in range(500):
        await service.append("s", b"%04d" % number * 250)
    state = (await service.table.load("s")).state
    assert state is not None
    assert 500_000 - 125_000 <= state.first <= 400_000
    entries = server.command("XLEN", names.records("s"))
    assert 100 <= entries < 300
    ((oldest, _),) = server.command("XRANGE", names.records("s"), "-", "+", "COUNT", 1)
    assert int(oldest.split(b"-")[0]) <= state.first
    chunk = await log.read(state, state.first, state.tail)
    assert b"".join(chunk.records)[:4] == b"%04d" % (state.first // 1000)
    assert chunk.end == state.tail
    with pytest.raises(StreamGone) as refusal:
        await log.read(state, state.first - 1000, state.tail)
    assert refusal.value.detail == "what follows offset is no longer kept"
