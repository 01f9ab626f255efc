"""Short appends of a durable log wait in the order of their commits to be filed."""

from __future__ import annotations

import random
import shutil
from contextlib import closing
from typing import TYPE_CHECKING

import apsw
import pytest

from headgate_gateway.errors import RecordDamaged, StreamNotFound
from headgate_gateway.logs.sqlite import recent
from headgate_gateway.logs.sqlite.log import SqliteLog
from headgate_gateway.protocol.streams.state import ProducerState
from tests.logs.abilities import needed
from tests.logs.contract import (
    appended,
    committed,
    committed_separately,
    created,
    loaded,
    opened,
    removed,
    replace,
)

if TYPE_CHECKING:
    from pathlib import Path

    from headgate_gateway.logs.contract import Log
    from headgate_gateway.protocol.streams.state import Change, StreamState


def counted(folder: Path, table: str = "recent") -> int:
    with closing(apsw.Connection(str(folder / "headgate.db"))) as connection:
        ((number,),) = connection.execute(f"select count(*) from {table}").fetchall()
    assert isinstance(number, int)
    return number


async def read(log: Log, state: StreamState, start: int = 0) -> bytes:
    chunk = await log.read(state, start, 10**9)
    assert chunk.state == state
    assert chunk.end == state.tail
    return b"".join(chunk.records)


def copied(folder: Path, to: Path) -> Path:
    """What a process that is killed leaves behind."""
    shutil.copytree(folder, to, ignore=shutil.ignore_patterns("*.lock", "*.reserve"))
    return to


@pytest.fixture
def few_rows(monkeypatch: pytest.MonkeyPatch) -> int:
    """So few are not filed, and so few of them in one step when a file is opened."""
    monkeypatch.setattr(recent, "STEP", 7)
    monkeypatch.setattr(recent, "MOST_BYTES", 20 * recent.RECORD_BYTES)
    return 20


# ---------------------------------------------------------------- what waits


@pytest.mark.parametrize("more", [0, 1])
async def test_a_short_append_goes_to_the_recent_table_and_a_longer_one_to_messages(
    more: int, tmp_path: Path
) -> None:
    async with opened("sqlite", tmp_path) as log:
        first = await committed(log, created(log, "s", b"first"))
        second = await committed(log, appended(first.state, b"x" * (recent.LONGEST + more)))
        assert counted(tmp_path) == 1 - more
        assert counted(tmp_path, "messages") == 1 + more
        for start in (0, 3, 5, 9):
            assert (await log.read(second.state, start, 10**9)).start == (0 if start < 5 else 5)
        assert await loaded(log, "s") == second.state


async def test_closing_a_stream_compacts_its_recent_records(tmp_path: Path) -> None:
    async with opened("sqlite", tmp_path) as log:
        change = await committed(log, created(log, "s", b"a"))
        for add in (b"b", b"c"):
            change = await committed(log, appended(change.state, add))
        assert counted(tmp_path, "messages") == 1
        closed = await committed(log, appended(change.state, b"d", closed=True))
        assert counted(tmp_path, "messages") == 3  # what waited together is one row
        assert await loaded(log, "s") == closed.state
        assert await read(log, closed.state) == b"abcd"
    async with opened("sqlite", tmp_path) as log:
        assert await read(log, closed.state) == b"abcd"


async def test_one_group_can_append_to_and_close_the_same_stream(tmp_path: Path) -> None:
    async with opened("sqlite", tmp_path) as log:
        one, other = created(log, "one", b"1"), created(log, "other", b"2")
        both = appended(one.state, b"3")
        closed = appended(both.state, b"4", closed=True)
        grown = appended(other.state, b"5")
        commits = [log.commit([change]) for change in (one, other, both, closed, grown)]
        for commit in commits:
            await commit
        assert await read(log, closed.state) == b"134"
        assert await read(log, grown.state) == b"25"


async def test_removing_a_stream_removes_its_recent_records(tmp_path: Path) -> None:
    async with opened("sqlite", tmp_path) as log:
        first = await committed(log, created(log, "s", b"first"))
        second = await committed(log, appended(first.state, b"second"))
        await log.commit([removed(second.state)])
        with pytest.raises(StreamNotFound):
            await log.read(second.state, 0, 100)
        anew = await committed(log, created(log, "s", b"anew", generation=9))
        more = await committed(log, appended(anew.state, b" more"))
        with pytest.raises(StreamNotFound):
            await log.read(second.state, 0, 100)
        assert await read(log, more.state) == b"anew more"
        kept = copied(tmp_path, tmp_path / "killed")
    for folder in (tmp_path, kept):
        async with opened("sqlite", folder) as log:
            assert await read(log, more.state) == b"anew more"
            assert counted(folder) == 0


async def test_listed_sizes_include_recent_records(tmp_path: Path) -> None:
    async with opened("sqlite", tmp_path) as log:
        changes = [created(log, name, b"x" * size) for name, size in (("a", 5), ("b", 3), ("c", 1))]
        assert await committed_separately(log, *changes) == [None] * 3
        grown = [appended(changes[1].state, b"xxx"), appended(changes[2].state, b"x")]
        assert await committed_separately(log, *grown) == [None] * 2
        listed = await needed(log.listing).page("", "", 9)
        assert list(listed.states) == [changes[0].state, grown[0].state, grown[1].state]
        assert list(await needed(log.listing).largest("", 2)) == [(6, "b"), (5, "a")]
        assert list(await needed(log.listing).largest("c", 2)) == [(2, "c")]


# ---------------------------------------------------------------- what is filed, and when


async def test_recent_records_are_bounded_and_none_is_lost(few_rows: int, tmp_path: Path) -> None:
    chance = random.Random(1)
    producers: dict[str, dict[str, ProducerState]] = {}
    async with opened("sqlite", tmp_path) as log:
        latest = {it.state.path: it for it in (created(log, f"s{n}", b"-") for n in range(30))}
        assert await committed_separately(log, *latest.values()) == [None] * len(latest)
        bodies = dict.fromkeys(latest, b"-")
        for number in range(100):
            changes: list[Change] = []
            for path in chance.sample(sorted(latest), chance.randint(1, 5)):
                data = b"%d." % number
                state = ProducerState(1, number, number + 0.1)
                change = appended(latest[path].state, data)
                if chance.random() < 0.05:
                    change = appended(latest[path].state, data, stream_seq=f"{number:04}")
                change = replace(change, producers=(("p\u20ac", state),))
                producers.setdefault(path, {})["p\u20ac"] = state
                bodies[path] += data
                latest[path] = change
                changes.append(change)
            assert await committed_separately(log, *changes) == [None] * len(changes)
            assert isinstance(log, SqliteLog)
            waiting = sum([len(log._recent.waiting_changes(path)) for path in latest])
            assert log.numbers()["recent_rows"] == waiting <= few_rows
            assert counted(tmp_path) <= 4 * few_rows
        kept = copied(tmp_path, tmp_path / "killed")
        await _assert_all(log, latest, bodies, producers)
    for folder in (tmp_path, kept):
        async with opened("sqlite", folder) as log:
            assert counted(folder) == 0
            await _assert_all(log, latest, bodies, producers)


async def _assert_all(
    log: Log,
    latest: dict[str, Change],
    bodies: dict[str, bytes],
    producers: dict[str, dict[str, ProducerState]],
) -> None:
    for path, change in latest.items():
        found = await log.load(path)
        assert found.path_state.state == change.state
        assert found.producers == producers.get(path, {})
        assert await read(log, change.state) == bodies[path]
        half = await log.read(change.state, len(bodies[path]) // 2, 10**9)
        assert b"".join(half.records) == bodies[path][half.start :]


async def test_the_table_is_bounded_although_every_stream_is_closed_before_much_waits(
    few_rows: int, tmp_path: Path
) -> None:
    async with opened("sqlite", tmp_path) as log:
        quiet = await committed(log, created(log, "quiet", b"-"))
        quiet = appended(quiet.state, b"q")  # which waits while others come and go
        await log.commit([quiet])
        for number in range(30):
            change = await committed(log, created(log, f"s{number}", b"-"))
            for _ in range(4):
                change = await committed(log, appended(change.state, b"x"))
            change = await committed(log, appended(change.state, closed=True))
            assert counted(tmp_path) <= (recent.TABLE_LAPS + 1) * few_rows
            assert await read(log, change.state) == b"-xxxx"
        assert await read(log, quiet.state) == b"-q"


@pytest.mark.parametrize("split", [1, 5])
async def test_recent_records_are_counted_with_their_memory_overhead(
    split: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    records = [b"x" * (10 // split)] * split
    monkeypatch.setattr(recent, "MOST_BYTES", 4 * (10 + split * recent.RECORD_BYTES))
    async with opened("sqlite", tmp_path) as log:
        change = await committed(log, created(log, "s"))
        waiting = []
        for _ in range(6):
            change = await committed(log, appended(change.state, *records))
            waiting.append(log.numbers()["recent_rows"])
        assert waiting == [1, 2, 3, 4, 1, 2]
        assert counted(tmp_path, "messages") == 1
        assert await read(log, change.state) == b"x" * 60


async def test_recent_records_are_compacted_into_rows_of_bounded_length(tmp_path: Path) -> None:
    data = b"x" * 500
    rows = 2 * recent.COMPACTED_BYTES // len(data)
    async with opened("sqlite", tmp_path) as log:
        change = await committed(log, created(log, "s"))
        for _ in range(rows):
            change = await committed(log, appended(change.state, data))
        await log.commit([appended(change.state, closed=True)])
    with closing(apsw.Connection(str(tmp_path / "headgate.db"))) as connection:
        lengths = [row[0] for row in connection.execute("select length(data) from messages")]
    assert max(lengths) <= recent.COMPACTED_BYTES < 2 * max(lengths)
    assert sum(lengths) == rows * len(data)


async def test_a_read_amid_compaction_has_each_record_once(few_rows: int, tmp_path: Path) -> None:
    async with opened("sqlite", tmp_path) as log:
        changes = [created(log, f"s{number}", b"-") for number in range(few_rows)]
        assert await committed_separately(log, *changes) == [None] * few_rows
        for number in range(60):
            changes = [appended(change.state, b"%02d" % number) for change in changes]
            commit = committed_separately(log, *changes)
            chunk = await log.read(changes[0].state, 0, 10**9)
            assert await commit == [None] * few_rows
            told = b"".join(chunk.records)
            assert told == b"-" + b"".join(b"%02d" % it for it in range((len(told) - 1) // 2))
            assert len(told) == chunk.end == chunk.state.tail


# ---------------------------------------------------------------- the file


async def waiting(folder: Path) -> Change:
    """A killed process has left three records of a stream, two of which were not filed."""
    async with opened("sqlite", folder / "alive") as log:
        change = await committed(log, created(log, "s", b"abc"))
        for data in (b"def", b"ghi"):
            change = await committed(log, appended(change.state, data))
        copied(folder / "alive", folder / "killed")
    return change


@pytest.mark.parametrize(
    "statement",
    [
        "update recent set data=x'646567' where end=6",
        "update recent set crc=crc+1 where end=6",
        "delete from recent where end=6",
    ],
)
async def test_a_damaged_recent_record_is_refused_alone(statement: str, tmp_path: Path) -> None:
    change = await waiting(tmp_path)
    with closing(apsw.Connection(str(tmp_path / "killed" / "headgate.db"))) as connection:
        connection.execute(statement)
        assert connection.changes() == 1
    async with opened("sqlite", tmp_path / "killed") as log:
        assert await loaded(log, "s") == change.state
        assert (await log.read(change.state, 0, 3)).records == (b"abc",)
        assert (await log.read(change.state, 6, 9)).records == (b"ghi",)
        for start in (0, 3):
            with pytest.raises(RecordDamaged):
                await log.read(change.state, start, 9)
