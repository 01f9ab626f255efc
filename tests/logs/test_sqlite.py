"""What the durable log alone promises: its file, its groups, and what it does about damage."""

from __future__ import annotations

import asyncio
import errno
import os
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import apsw
import msgspec
import pytest

from headgate_gateway.errors import RecordDamaged, StartError
from headgate_gateway.logs.contract import Conflict, LoadedStream
from headgate_gateway.logs.sqlite import writer
from headgate_gateway.logs.sqlite.data_folder import SCHEMA_VERSION, DataFolder
from headgate_gateway.logs.sqlite.log import SqliteLog
from headgate_gateway.logs.sqlite.row_readers import MAX_LOADS
from headgate_gateway.logs.sqlite.rows import STATE_COLUMNS, row_of_state, state_of
from headgate_gateway.logs.sqlite.writer_thread import MAX_GROUP
from headgate_gateway.protocol.lifecycle import PathState
from headgate_gateway.protocol.streams.state import (
    ForkPoint,
    Lifetime,
    Mark,
    OwnRetention,
    PastGeneration,
    ProducerState,
    Segment,
    Stamp,
    StreamState,
)
from tests.logs.contract import (
    appended,
    committed,
    committed_separately,
    created,
    loaded,
    opened,
    reclaimed,
    removed,
    replace,
)

if TYPE_CHECKING:
    from headgate_gateway.protocol.streams.state import Change


def database(folder: Path) -> apsw.Connection:
    return apsw.Connection(str(folder / "headgate.db"))


async def written(folder: Path, first: bytes, *others: bytes) -> Change:
    """A stream of these records, each committed by itself, and the last change."""
    async with opened("sqlite", folder) as log:
        change = await committed(log, created(log, "s", first))
        for data in others:
            change = await committed(log, appended(change.state, data))
    return change


async def start_refusal(folder: Path) -> str:
    """Return why the log in a folder cannot be opened."""
    log = SqliteLog(folder)
    with pytest.raises(StartError) as refusal:
        await log.open()
    await log.close()
    return refusal.value.detail


def damage(folder: Path, statement: str, *values: object) -> None:
    connection = database(folder)
    connection.execute(statement, values)
    assert connection.changes() == 1
    connection.close()


# ---------------------------------------------------------------- damage


@pytest.mark.parametrize("at", [0, 1, 2])
@pytest.mark.parametrize("bit", [0, 7])
async def test_a_record_with_a_flipped_bit_is_refused_and_the_others_are_served(
    at: int, bit: int, tmp_path: Path
) -> None:
    change = await written(tmp_path, b"abc", b"def", b"ghi")
    broken = bytearray(b"def")
    broken[at] ^= 1 << bit
    damage(tmp_path, "update messages set data=? where end=6", bytes(broken))
    async with opened("sqlite", tmp_path) as log:
        for start in (0, 3):
            with pytest.raises(RecordDamaged) as refusal:
                await log.read(change.state, start, 100)
            assert refusal.value.detail == (
                "the record that follows position 3 of s is damaged on disk: nothing of this"
                " read is served"
            )
        assert (await log.read(change.state, 0, 3)).records == (b"abc",)
        assert (await log.read(change.state, 6, 100)).records == (b"ghi",)


@pytest.mark.parametrize("column", ["sizes", "data"])
async def test_damage_in_a_row_of_records_refuses_them_all(column: str, tmp_path: Path) -> None:
    async with opened("sqlite", tmp_path) as log:
        change = await committed(log, created(log, "s", b"abc", b"de", b"f"))
        for start, records in ((0, (b"abc", b"de", b"f")), (3, (b"de", b"f")), (5, (b"f",))):
            assert (await log.read(change.state, start, 100)).records == records
        assert (await log.read(change.state, 0, 4)).records == (b"abc", b"de")
        assert (await log.read(change.state, 4, 100)).records == (b"de", b"f")
    damage(tmp_path, f"update messages set {column}=cast(substr({column}, 2) || 'x' as blob)")
    async with opened("sqlite", tmp_path) as log:
        for start in (0, 3, 5):
            with pytest.raises(RecordDamaged):
                await log.read(change.state, start, 100)


@pytest.mark.parametrize(
    ("statement", "start"),
    [
        ("update messages set crc=crc+1 where end=6", 0),
        ("update messages set data=x'6162' where end=6", 0),
        ("update messages set data=x'616263' where end=6", 0),
        ("update messages set end=7 where end=6", 0),
        ("update messages set stream=stream+1 where end=6", 0),
        ("delete from messages where end=3", 0),
        ("delete from messages where end=6", 0),
        ("delete from messages where end=6", 3),
        ("delete from messages where end=9", 6),
    ],
)
async def test_a_read_of_an_altered_or_missing_record_raises_record_damaged(
    statement: str, start: int, tmp_path: Path
) -> None:
    """A 4xx would make clients stop for good, and a short answer would make them spin."""
    change = await written(tmp_path, b"abc", b"def", b"ghi")
    damage(tmp_path, statement)
    async with opened("sqlite", tmp_path) as log:
        with pytest.raises(RecordDamaged):
            await log.read(change.state, start, 100)


async def test_a_valid_record_at_a_wrong_position_is_refused_as_damage(tmp_path: Path) -> None:
    async with opened("sqlite", tmp_path) as log:
        one, other = created(log, "one", b"abc"), created(log, "other", b"xyz")
        await log.commit([one, other])
    damage(
        tmp_path,
        "update messages set (data, crc) = (select data, crc from messages where stream=?2)"
        " where stream=?1",
        *(one.state.stream_id, other.state.stream_id),
    )
    async with opened("sqlite", tmp_path) as log:
        with pytest.raises(RecordDamaged):
            await log.read(one.state, 0, 100)
        assert (await log.read(other.state, 0, 100)).records == (b"xyz",)


async def test_a_start_that_fails_once_the_data_file_is_open_closes_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(_: DataFolder) -> int:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(tmp_path))

    monkeypatch.setattr(DataFolder, "free", failing)
    assert "Permission denied" in await start_refusal(tmp_path)
    open_files = [it.resolve() for it in Path("/proc/self/fd").iterdir()]
    assert [it.name for it in open_files if it.parent == tmp_path] == []


# ---------------------------------------------------------------- groups


async def test_commits_that_wait_together_share_disk_syncs(tmp_path: Path) -> None:
    count = 3 * MAX_GROUP
    async with opened("sqlite", tmp_path) as log:
        await asyncio.gather(
            *[log.commit([created(log, f"s{number}", b"x")]) for number in range(count)]
        )
        numbers = log.numbers()
    assert numbers["commits"] == count
    assert 3 <= numbers["groups"] < count / 10


@pytest.mark.parametrize("more", [-1, 0, 1])
async def test_separate_commits_are_one_group_up_to_its_bound(tmp_path: Path, more: int) -> None:
    async with opened("sqlite", tmp_path) as log:
        changes = [created(log, f"s{number}", b"x") for number in range(MAX_GROUP + more)]
        assert await committed_separately(log, *changes) == [None] * len(changes)
        assert log.numbers()["commits"] == len(changes)
        assert log.numbers()["groups"] == (2 if more > 0 else 1)


@pytest.mark.parametrize("more", [0, 1])
async def test_commits_succeed_with_more_streams_than_the_row_cache_holds(
    tmp_path: Path, more: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "MAX_KNOWN", 1_000)
    async with opened("sqlite", tmp_path) as log:
        changes = [created(log, f"s{number}", b"1") for number in range(1_000 + more)]
        for add in (b"2", b"3"):
            assert await committed_separately(log, *changes) == [None] * len(changes)
            changes = [appended(change.state, add) for change in changes]
        ends = changes[0], changes[-1]
        sequel = [appended(ends[1].state, b"4", stream_seq="4"), replace(ends[0], expected=0)]
        assert await committed_separately(log, *changes[1:]) == [None] * (len(changes) - 1)
        outcomes = await committed_separately(log, *sequel, ends[0])
        assert [type(outcome) for outcome in outcomes] == [type(None), Conflict, type(None)]
        assert await loaded(log, "s0") == ends[0].state
        assert await loaded(log, ends[1].state.path) == sequel[0].state
        assert (await log.read(sequel[0].state, 0, 9)).records == (b"1", b"2", b"3", b"4")


@pytest.mark.parametrize("more", [-1, 0, 1])
async def test_simultaneous_loads_find_the_stream_at_their_path(tmp_path: Path, more: int) -> None:
    async with opened("sqlite", tmp_path) as log:
        changes = [created(log, f"s{number}", b"x") for number in range(MAX_LOADS + more)]
        gone = created(log, "gone", generation=7)
        stamped = replace(changes[1], producers=(("p", ProducerState(1, 2, 3.5)),))
        await log.commit([gone, changes[0], stamped, *changes[2:-1]])
        await log.commit([removed(gone.state)])
        paths = ["gone", *(change.state.path for change in changes), "s0"]
        found = await asyncio.gather(*map(log.load, paths))
        assert found[0].path_state == PathState(None, 7)
        assert [it.path_state.state for it in found[1:-2]] == [it.state for it in changes[:-1]]
        assert [it.producers for it in found[1:4]] == [{}, {"p": ProducerState(1, 2, 3.5)}, {}]
        assert found[-2].path_state == PathState(None)
        assert found[-1] == found[1]


async def test_an_unreadable_row_fails_only_the_load_of_its_own_path(tmp_path: Path) -> None:
    async with opened("sqlite", tmp_path) as log:
        changes = [created(log, f"s{number}", b"x") for number in range(3)]
        await log.commit(changes)
    database(tmp_path).execute("update streams set detail='{' where path='s1'")
    async with opened("sqlite", tmp_path) as log:
        loads = [log.load(change.state.path) for change in changes]
        found = await asyncio.gather(*loads, return_exceptions=True)
        assert [type(it) for it in found] == [LoadedStream, msgspec.DecodeError, LoadedStream]


async def test_closing_a_log_waits_for_the_commits_before_it(tmp_path: Path) -> None:
    async with opened("sqlite", tmp_path) as log:
        futures = [log.commit([created(log, f"s{number}", b"x")]) for number in range(500)]
    assert [future.done() and future.exception() for future in futures] == [None] * 500
    async with opened("sqlite", tmp_path) as again:
        assert (await again.load("s499")).path_state.state is not None


# ---------------------------------------------------------------- the file


async def test_a_reopened_file_has_all_states_records_and_generations(tmp_path: Path) -> None:
    async with opened("sqlite", tmp_path) as log:
        change = created(log, "s", b"one")
        gone = created(log, "gone", b"x" * 100, generation=3)
        await log.commit([change, gone])
        second = appended(change.state, b"two", closed=True)
        await log.commit([second, removed(gone.state)])
    async with opened("sqlite", tmp_path) as log:
        assert (await log.load("s")).path_state.state == second.state
        assert (await log.read(second.state, 0, 100)).records == (b"one", b"two")
        assert (await log.load("gone")).path_state.retired == 3
        assert await log.reclaim()
        assert log.new_stream_id() > gone.state.stream_id


async def test_the_data_folder_has_one_data_file_after_a_clean_stop(tmp_path: Path) -> None:
    """Who copies it has a backup."""
    async with opened("sqlite", tmp_path) as log:
        change = await committed(log, created(log, "s", b"one"))
        await log.read(change.state, 0, 100)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["headgate.db", "headgate.lock"]


async def test_an_unwritable_data_folder_is_reported_with_the_user_id() -> None:
    told = await start_refusal(Path("/sys/headgate"))  # where root may not either
    assert told.startswith("the data folder /sys/headgate cannot be used: ")
    assert told.endswith(f"; user {os.geteuid()}, who runs Headgate, has to be able to write there")


def foreign(folder: Path) -> None:
    connection = database(folder)
    connection.execute("create table theirs (x); insert into theirs values (1)")
    connection.close()


def of_format(version: int, folder: Path) -> None:
    connection = database(folder)
    connection.execute(
        f"pragma application_id={0x48454144}; pragma user_version={version};create table theirs (x)"
    )
    connection.close()


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (foreign, "is a SQLite file of another application: it was left as it is"),
        *(
            (
                partial(of_format, SCHEMA_VERSION + step),
                f"headgate.db is of format {SCHEMA_VERSION + step}, and this Headgate knows format"
                f" {SCHEMA_VERSION}: it was left as it is; start the Headgate that wrote it, list"
                " its streams by its own `headgate ls > names.txt`, and copy them by `headgate data"
                " copy http://127.0.0.1:4437/v1/stream file:{folder}.new --names names.txt` of this"
                f" one, or restore a backup of format {SCHEMA_VERSION}",
            )
            for step in (-1, 1)
        ),
        (
            lambda folder: (folder / "headgate.db").write_bytes(b"SQLite format 3\0"),
            "is not a Headgate data file: it was left as it is",
        ),
    ],
    ids=["foreign", "earlier", "later", "short"],
)
async def test_a_foreign_data_file_is_refused_and_not_changed(
    make: object, reason: str, tmp_path: Path
) -> None:
    assert callable(make)
    make(tmp_path)
    before = (tmp_path / "headgate.db").read_bytes()
    assert reason.replace("{folder}", str(tmp_path)) in await start_refusal(tmp_path)
    assert (tmp_path / "headgate.db").read_bytes() == before
    assert not (tmp_path / "headgate.db-wal").exists()


async def test_a_data_folder_that_cannot_be_created_is_reported(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    folder = tmp_path / "file" / "data"
    assert (await start_refusal(folder)).startswith(f"the data folder {folder} cannot")


async def test_a_half_made_data_file_left_by_a_crash_is_made_again(tmp_path: Path) -> None:
    (tmp_path / "headgate.db.new").write_bytes(b"half")
    change = await written(tmp_path, b"abc")
    async with opened("sqlite", tmp_path) as log:
        assert (await log.load("s")).path_state.state == change.state


async def test_reclaiming_after_a_removal_shrinks_the_database_file(tmp_path: Path) -> None:
    async with opened("sqlite", tmp_path) as log:
        doomed = await committed(log, created(log, "doomed", *[b"x" * 100_000] * 100))
        await log.commit([removed(doomed.state)])
        await reclaimed(log)
        await log.reclaim()  # which counts before it begins
        numbers = log.numbers()
        assert numbers["returned_bytes"] + numbers["unused_bytes"] > 10_000_000
        assert 0 < numbers["unused_bytes"] <= 4 << 20
        assert (tmp_path / "headgate.db").stat().st_size < 6_000_000


# ---------------------------------------------------------------- what is stored


def test_a_stored_state_is_read_by_the_names_that_its_schema_version_has() -> None:
    """A field that is renamed or encoded otherwise needs another SCHEMA_VERSION."""
    state = StreamState(
        "a/f",
        7,
        3,
        "text/plain",
        version=9,
        tail=40,
        closed=True,
        closed_by=Stamp("p", 1, 2),
        stream_seq="n",
        lifetime=Lifetime(ttl_s=60),
        deadline=1060.5,
        soft_deleted=True,
        references=2,
        fork=ForkPoint("a/s", 5, 10, 1),
        lineage=(Segment(5, 10, "a/s"),),
        history=1700,
        past_generations=(PastGeneration(2, 20),),
        first=12,
        marks=(Mark(1000.0, 16, 4, 2.5),),
        trim_at=1100.0,
        created_at=900,
        created_lifetime=Lifetime(expires_at=2000.0, expires_text="1970-01-01T00:33:20Z"),
        own_retention=OwnRetention(80, 800, 8),
    )
    detail = (
        '{"closed_by":{"producer_id":"p","epoch":1,"seq":2},"stream_seq":"n",'
        '"lifetime":{"ttl_s":60},'
        '"fork":{"source_path":"a/s","source_id":5,"position":10,"sub_offset":1},'
        '"lineage":[[5,10,"a/s"]],"history":1700,"past_generations":[[2,20]],"first":12,'
        '"marks":[[1000.0,16,4,2.5]],"created_at":900,'
        '"created_lifetime":{"expires_at":2000.0,"expires_text":"1970-01-01T00:33:20Z"},'
        '"own_retention":{"max_age_s":80,"max_bytes":800,"max_messages":8},"check":2706907945}'
    )
    row = (7, "a/f", 3, 9, "text/plain", 40, True, 1060.5, True, 2, 1100.0, detail)
    plain = StreamState("a/f", 7, 3, "text/plain")
    fields = msgspec.structs.asdict
    assert [name for name, it in fields(state).items() if it == fields(plain)[name]] == [
        "path",
        "stream_id",
        "generation",
        "content_type",
    ]
    assert SCHEMA_VERSION == 4
    assert STATE_COLUMNS == (
        "id, path, generation, version, content_type, tail, closed, deadline, soft_deleted, refs,"
        " trim_at, detail"
    )
    assert (row_of_state(state), state_of(row)) == (row, state)
