"""Short appends that change more of their stream than its length: many become one row."""

from __future__ import annotations

import struct
from contextlib import closing
from typing import TYPE_CHECKING, Any

import apsw
import pytest

from headgate_gateway.errors import RecordDamaged
from headgate_gateway.logs.sqlite import place_rows
from headgate_gateway.logs.sqlite.recent import COMPACTED_BYTES, LONGEST
from headgate_gateway.tools.backups import verification
from headgate_gateway.tools.backups.source import SourceFile
from headgate_gateway.tools.backups.verification import FileVerification
from tests.logs.contract import (
    appended,
    committed,
    created,
    loaded,
    opened,
    reclaimed,
    removed,
    replace,
)

if TYPE_CHECKING:
    from pathlib import Path

    from headgate_gateway.logs.contract import Log
    from headgate_gateway.protocol.streams.state import StreamState

MANY = 40


@pytest.fixture(autouse=True)
def few_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let so few rows become one."""
    monkeypatch.setattr(place_rows, "MOST_MERGED", MANY)


def rows(folder: Path) -> list[tuple[int, int, int]]:
    """Return stream, end and number of records of each row in its stream's place."""
    with closing(apsw.Connection(str(folder / "headgate.db"))) as connection:
        found: list[Any] = connection.execute(
            "select stream, end, sizes from messages order by stream, end"
        ).fetchall()
    return [(stream, end, 1 if sizes is None else len(sizes) // 4) for stream, end, sizes in found]


async def grown(log: Log, state: StreamState, count: int, size: int = 10) -> StreamState:
    """Return a stream after appends that are rows of their own, since more of it changes."""
    for number in range(count):
        data = b"%d" % (number % 10) * size
        change = await committed(log, replace(appended(state, data), grown=0))
        state = change.state
    return state


async def begun(log: Log, path: str = "s") -> StreamState:
    change = await committed(log, created(log, path))
    return change.state


async def content(log: Log, state: StreamState, start: int = 0) -> tuple[bytes, ...]:
    chunk = await log.read(state, start, state.tail)
    assert (chunk.state, chunk.end) == (state, state.tail)
    return chunk.records


async def test_as_many_appends_as_the_bound_become_one_row_with_equal_reads(tmp_path: Path) -> None:
    async with opened("sqlite", tmp_path) as log:
        state = await begun(log)
        state = await grown(log, state, MANY - 1)
        assert len(rows(tmp_path)) == MANY - 1
        state = await grown(log, state, 2)
        assert [row[1:] for row in rows(tmp_path)] == [(10 * MANY, MANY), (10 * MANY + 10, 1)]
        records = await content(log, state)
        assert (len(records), len(b"".join(records))) == (MANY + 1, state.tail)
        assert await content(log, state, 195) == records[19:]  # from inside a record
    async with opened("sqlite", tmp_path) as log:
        assert await loaded(log, "s") == state
        assert await content(log, state) == records


async def test_fewer_rows_become_one_if_as_large_as_a_compacted_row(tmp_path: Path) -> None:
    count = COMPACTED_BYTES // LONGEST
    async with opened("sqlite", tmp_path) as log:
        state = await grown(log, await begun(log), count - 1, LONGEST)
        assert len(rows(tmp_path)) == count - 1
        state = await grown(log, state, 1, LONGEST)
        assert [row[1:] for row in rows(tmp_path)] == [(COMPACTED_BYTES, count)]


async def test_an_append_longer_than_a_short_one_stays_a_row_of_its_own(tmp_path: Path) -> None:
    async with opened("sqlite", tmp_path) as log:
        await grown(log, await begun(log), MANY, LONGEST + 1)
        assert len(rows(tmp_path)) == MANY


async def test_two_streams_rows_are_merged_apart_and_freed_alone(tmp_path: Path) -> None:
    async with opened("sqlite", tmp_path) as log:
        one, other = await begun(log, "one"), await begun(log, "other")
        for _ in range(MANY):
            one, other = await grown(log, one, 1), await grown(log, other, 1)
        assert [row[2] for row in rows(tmp_path)] == [MANY, MANY]
        await log.commit([removed(one)])
        await reclaimed(log)
        assert [row[0] for row in rows(tmp_path)] == [other.stream_id]
        assert len(await content(log, other)) == MANY


async def test_records_that_are_trimmed_meanwhile_are_not_merged(tmp_path: Path) -> None:
    async with opened("sqlite", tmp_path) as log:
        state = await grown(log, await begun(log), MANY - 2)
        trimmed = replace(appended(state, first=state.tail - 50), trims=True, grown=0)
        await log.commit([trimmed])
        await reclaimed(log)
        state = await grown(log, trimmed.state, 2)
        assert [row[2] for row in rows(tmp_path)] == [7]
        assert len(await content(log, state, state.first)) == 7


async def test_a_damaged_row_is_not_merged_so_that_its_damage_stays_visible(tmp_path: Path) -> None:
    async with opened("sqlite", tmp_path) as log:
        state = await grown(log, await begun(log), 5)
        with closing(apsw.Connection(str(tmp_path / "headgate.db"))) as other:
            other.execute("update messages set data=? where end=20", (b"changed at",))
        state = await grown(log, state, MANY)
        assert len(rows(tmp_path)) == MANY + 5
        with pytest.raises(RecordDamaged):
            await content(log, state)


async def test_a_verification_finds_no_damage_in_rows_that_are_merged_while_it_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verification, "SNAPSHOT_BYTES", 35)
    async with opened("sqlite", tmp_path) as log:
        first = created(log, "s")
        changes = [first]
        await log.commit([first])
        for _ in range(MANY - 1):
            changes.append(replace(appended(changes[-1].state, b"0123456789"), grown=0))
            await log.commit([changes[-1]])
    counts = []
    with (
        closing(apsw.Connection(str(tmp_path / "headgate.db"))) as other,
        SourceFile.open(tmp_path) as source,
    ):

        def merge_once() -> None:
            counts.append(len(rows(tmp_path)))
            if len(counts) == 3:  # in the midst of a stream
                monkeypatch.setattr(place_rows, "MOST_MERGED", MANY - 1)
                place_rows.merge_small(other, changes, {})

        found = FileVerification(source, merge_once)
        assert list(found.run()) == []
    assert (counts[0], counts[-1]) == (MANY - 1, 1)


async def test_a_merged_row_holds_the_length_of_each_record(tmp_path: Path) -> None:
    async with opened("sqlite", tmp_path) as log:
        state = await begun(log)
        for size in range(1, MANY + 1):
            state = await grown(log, state, 1, size)
        assert [len(record) for record in await content(log, state)] == list(range(1, MANY + 1))
    with closing(apsw.Connection(str(tmp_path / "headgate.db"))) as connection:
        ((sizes,),) = connection.execute("select sizes from messages").fetchall()
    assert sizes == struct.pack(f">{MANY}I", *range(1, MANY + 1))


async def test_the_wal_gets_short_again_after_a_reader_has_held_it_up(tmp_path: Path) -> None:
    wal = tmp_path / "headgate.db-wal"
    async with opened("sqlite", tmp_path) as log:
        state = await begun(log)
        with closing(apsw.Connection(str(tmp_path / "headgate.db"))) as reader:
            reader.execute("begin; select * from streams").fetchall()
            state = await grown(log, state, 120, 100_000)
            assert wal.stat().st_size > 10_000_000
        state = await grown(log, state, 60, 100_000)
        assert wal.stat().st_size <= 5 * 1024 * 1024
