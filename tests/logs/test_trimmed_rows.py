"""Rows of records that retention has removed: freed in steps, also by the next process."""

from __future__ import annotations

from typing import TYPE_CHECKING

import apsw
import msgspec

from headgate_gateway.logs.sqlite import place_rows
from headgate_gateway.logs.sqlite.place_rows import RECLAIM_STREAMS
from headgate_gateway.logs.sqlite.recent import LONGEST
from tests.logs.contract import appended, committed, created, opened, reclaimed, removed

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

    from headgate_gateway.logs.contract import Log
    from headgate_gateway.protocol.streams.state import StreamState

replace = msgspec.structs.replace


def ends(folder: Path) -> list[int]:
    """Return where the rows of records in the data file end."""
    connection = apsw.Connection(str(folder / "headgate.db"), flags=apsw.SQLITE_OPEN_READONLY)
    found = [end for (end,) in connection.execute("select end from messages order by end")]
    connection.close()
    return [end for end in found if isinstance(end, int)]


async def with_rows(log: Log, count: int, data: bytes = b"0123456789") -> StreamState:
    """Return a stream with as many rows."""
    change = await committed(log, created(log, "s"))
    for _ in range(count):
        # Without `grown` it is written at its stream's place.
        change = await committed(log, replace(appended(change.state, data), grown=0))
    return change.state


async def trim(log: Log, state: StreamState, first: int) -> StreamState:
    change = await committed(log, replace(appended(state, first=first), trims=True))
    return change.state


async def test_the_rows_before_the_beginning_are_freed_and_no_others(tmp_path: Path) -> None:
    async with opened("sqlite", tmp_path) as log:
        state = await with_rows(log, 5)
        state = await trim(log, state, 20)
        assert ends(tmp_path) == [10, 20, 30, 40, 50]
        assert await reclaimed(log) == 1
        assert ends(tmp_path) == [30, 40, 50]
        await trim(log, state, 30)
        await trim(log, replace(state, version=state.version + 1), 40)
        await reclaimed(log)
        assert ends(tmp_path) == [50]


async def test_more_rows_than_one_step_frees_are_freed_in_several(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(place_rows, "RECLAIM_ROWS", 100)
    async with opened("sqlite", tmp_path) as log:
        state = await with_rows(log, 100 + 1, b"x" * (LONGEST + 1))  # not merged
        await trim(log, state, state.tail)
        assert await log.reclaim()
        assert ends(tmp_path) == [state.tail]
        assert await log.reclaim()
        assert ends(tmp_path) == []


async def test_one_step_frees_rows_of_many_streams(tmp_path: Path) -> None:
    async with opened("sqlite", tmp_path) as log:
        count = 2 * RECLAIM_STREAMS
        states = [created(log, f"s{number}", b"0123456789") for number in range(count)]
        await log.commit(states)
        await log.commit([removed(change.state) for change in states[1::2]])
        for change in states[::2]:
            await trim(log, change.state, 10)
        assert await reclaimed(log) == 2
        assert ends(tmp_path) == []


async def test_the_next_process_frees_what_an_earlier_one_trimmed(tmp_path: Path) -> None:
    async with opened("sqlite", tmp_path) as log:
        await trim(log, await with_rows(log, 3), 20)
    async with opened("sqlite", tmp_path) as log:
        assert await reclaimed(log) == 1
        assert ends(tmp_path) == [30]


async def test_a_trimmed_stream_that_is_removed_leaves_no_rows(tmp_path: Path) -> None:
    async with opened("sqlite", tmp_path) as log:
        state = await trim(log, await with_rows(log, 3), 20)
        await log.commit([replace(appended(state), removes=True)])
        await reclaimed(log)
        assert ends(tmp_path) == []
        assert await reclaimed(log) == 0
