"""A WAL that was damaged after a crash: what is lost is known, and no offset means two things."""

from __future__ import annotations

import asyncio
import random
import shutil
import struct
from typing import TYPE_CHECKING, NamedTuple

import apsw
import pytest

from headgate_gateway.errors import StartError, StreamGone
from headgate_gateway.logs.sqlite.log import SqliteLog
from headgate_gateway.protocol.streams.offsets import parse_offset
from headgate_gateway.protocol.streams.state import position_of
from tests.logs.contract import appended, committed, created, data_file
from tests.support.examples import IS_WHOLE
from tests.support.log_lines import capture_logs

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from headgate_gateway.protocol.streams.state import StreamState

HEADER, HEAD, PAGE = 32, 24, 4096
FRAME = HEAD + PAGE
PATHS = ("a", "b")
COMMITS = 12
LAST = PATHS[(COMMITS - 1) % 2]  # of the last commit
FILES = {"headgate.db", "headgate.lock"}
SIZES = (5, 9000, 300)  # one page of the table, some of its own, and in between


class Crash(NamedTuple):
    """What a killed server left, and what it had acknowledged: each commit by its last frame."""

    folder: Path
    contents: dict[str, bytes]
    offsets: dict[str, list[tuple[str, int]]]
    ends: list[int]

    @property
    def wal(self) -> bytes:
        return (self.folder / "headgate.db-wal").read_bytes()


@pytest.fixture(scope="module")
def crash(tmp_path_factory: pytest.TempPathFactory) -> Crash:
    return asyncio.run(_crash(tmp_path_factory.mktemp("crash")))


async def _crash(folder: Path) -> Crash:
    """Two streams whose records came in turns, the files as they are while the log is open."""
    chance = random.Random(7)
    running, left = folder / "running", folder / "left"
    log = SqliteLog(running)
    await log.open()
    states: dict[str, StreamState] = {}
    contents: dict[str, bytes] = dict.fromkeys(PATHS, b"")
    offsets: dict[str, list[tuple[str, int]]] = {path: [] for path in PATHS}
    ends = []
    for number in range(COMMITS):
        path = PATHS[number % 2]
        data = chance.randbytes(SIZES[number % len(SIZES)])
        known = states.get(path)
        change = created(log, path, data) if known is None else appended(known, data)
        await log.commit([change])
        state = states[path] = change.state
        contents[path] += data
        offsets[path].append((state.offset(state.tail), state.tail))
        ends.append(((running / "headgate.db-wal").stat().st_size - HEADER) // FRAME)
    left.mkdir()
    for name in ("headgate.db", "headgate.db-wal"):
        shutil.copy(running / name, left)
    await log.close()
    return Crash(left, contents, offsets, ends)


def with_wal(crash: Crash, folder: Path, wal: bytes) -> Path:
    folder.mkdir(parents=True)
    shutil.copy(crash.folder / "headgate.db", folder)
    (folder / "headgate.db-wal").write_bytes(wal)
    return folder


def flipped(wal: bytes, at: int, bit: int = 0) -> bytes:
    changed = bytearray(wal)
    changed[at] ^= 1 << bit
    return bytes(changed)


async def check(crash: Crash, folder: Path) -> tuple[int, list[str]]:
    """That every offset means what it meant or is refused; commits lost, and events in the log."""
    lost = 0
    with capture_logs() as lines:
        log = SqliteLog(folder)
        await log.open()
    try:
        for path in PATHS:
            loaded = await log.load(path)
            state = loaded.path_state.state
            gone = [offset for offset, at in crash.offsets[path] if not state or at > state.tail]
            lost += len(gone)
            if gone:
                assert loaded.path_state.history > 0, "nobody is told"
            if state is None:
                change = created(log, path, b"new", generation=loaded.path_state.history, history=1)
                continue
            kept = crash.contents[path][: state.tail]
            for offset, at in crash.offsets[path]:
                if at <= state.tail:
                    assert position_of(state, parse_offset(offset, "offset")) == at
                    assert state.offset(at) == offset
            change = await committed(log, appended(state, b"x" * 20_000))
            state = (await log.load(path)).path_state.state
            assert state == change.state
            for offset in gone:
                with pytest.raises(StreamGone):
                    position_of(state, parse_offset(offset, "offset"))
            records = (await log.read(state, 0, 10**9)).records
            assert b"".join(records) == kept + b"x" * 20_000
    finally:
        await log.close()
    return lost, [line["event"] for line in lines]


def places(crash: Crash) -> Iterator[int]:
    """All of the header, the heads of frames in a middle and the last commit, or two more."""
    apart = 1 if IS_WHOLE else 3  # bytes: each field is of four
    yield from range(0, HEADER, apart)
    chance = random.Random(3)
    commits = (0, COMMITS // 2, COMMITS - 2, COMMITS - 1)
    for number in commits if IS_WHOLE else commits[1::2]:
        first = crash.ends[number - 1] if number else 0
        for frame in sorted({first, (first + crash.ends[number]) // 2, crash.ends[number] - 1}):
            at = HEADER + frame * FRAME
            yield from range(at, at + HEAD, apart)
            yield from (at + HEAD + chance.randrange(PAGE) for _ in range(3))


@pytest.mark.timeout(300)
async def test_a_flipped_bit_in_a_wal_begins_a_new_history_with_one_warning(
    crash: Crash, tmp_path: Path
) -> None:
    for number, at in enumerate(places(crash)):
        folder = with_wal(crash, tmp_path / str(number), flipped(crash.wal, at, at % 8))
        lost, events = await check(crash, folder)
        assert (lost > 0, events) == (True, ["log.torn"]), f"byte {at}"
        assert not {path.name for path in folder.iterdir()} - FILES
        shutil.rmtree(folder)


async def test_a_wal_cut_in_its_last_transaction_begins_no_history(
    crash: Crash, tmp_path: Path
) -> None:
    first, end = (HEADER + frame * FRAME for frame in crash.ends[-2:])
    borders = {at + by for at in range(first, end + 1, FRAME) for by in (-1, 0, 1, HEAD, HEAD + 1)}
    cuts = {at for at in borders if first <= at <= end} | set(range(first, end, 509))
    for size in sorted(cuts):
        folder = with_wal(crash, tmp_path / str(size), crash.wal[:size])
        async with data_file(folder) as log:
            assert (await log.load("a")).path_state.history == 0
        shutil.rmtree(folder)


@pytest.mark.parametrize("filler", ["zeros", "noise"])
async def test_a_torn_last_transaction_in_the_wal_loses_nothing_else(
    filler: str, crash: Crash, tmp_path: Path
) -> None:
    chance = random.Random(5)
    first = HEADER + crash.ends[-2] * FRAME
    wal = crash.wal
    sectors = range(first, len(wal), 512)
    for number in range(60 if IS_WHOLE else 20):
        torn = bytearray(wal)
        for at in sectors if number == 0 else chance.sample(sectors, chance.randint(1, 9)):
            size = min(512, len(wal) - at)
            torn[at : at + size] = bytes(size) if filler == "zeros" else chance.randbytes(size)
        folder = with_wal(crash, tmp_path / str(number), bytes(torn))
        async with data_file(folder) as log:
            for path in PATHS:
                state = (await log.load(path)).path_state.state
                tails = [at for _, at in crash.offsets[path]]
                assert state is not None
                assert state.tail in (tails[-2:] if path == LAST else tails[-1:])
        shutil.rmtree(folder)


async def test_frames_from_before_a_wal_restart_are_no_damage(crash: Crash, tmp_path: Path) -> None:
    """Those of the last time lie behind the new ones."""
    folder = with_wal(crash, tmp_path / "running", crash.wal)
    left = tmp_path / "left"
    left.mkdir()
    async with data_file(folder) as log:
        before = (folder / "headgate.db-wal").read_bytes()
        state = (await log.load("a")).path_state.state
        assert state is not None
        other = apsw.Connection(str(folder / "headgate.db"))
        other.execute("select count(*) from streams").fetchall()  # or it has no WAL open
        other.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_RESTART)
        other.close()
        await log.commit([appended(state, b"one more")])
        for name in ("headgate.db", "headgate.db-wal"):
            shutil.copy(folder / name, left)
    wal = (left / "headgate.db-wal").read_bytes()
    assert len(wal) == len(before)
    assert wal[:HEADER] != before[:HEADER]
    async with data_file(left) as log:
        loaded = await log.load("a")
        assert loaded.path_state.state is not None
        assert loaded.path_state.state.tail == state.tail + len(b"one more")
        assert loaded.path_state.history == 0


async def test_a_wal_without_its_data_file_refuses_the_start_and_stays_unchanged(
    crash: Crash, tmp_path: Path
) -> None:
    folder = with_wal(crash, tmp_path / "data", crash.wal)
    (folder / "headgate.db").unlink()
    log = SqliteLog(folder)
    with pytest.raises(StartError) as refusal:
        await log.open()
    assert "is gone and headgate.db-wal is there" in refusal.value.detail
    assert {path.name for path in folder.iterdir()} == {"headgate.db-wal", "headgate.lock"}
    assert (folder / "headgate.db-wal").read_bytes() == crash.wal


def test_the_wal_of_these_tests_has_the_expected_layout(crash: Crash) -> None:
    magic, version, page_size = struct.unpack_from(">III", crash.wal)
    assert (magic & ~1, version, page_size) == (0x377F0682, 3007000, PAGE)
    assert len(crash.wal) == HEADER + crash.ends[-1] * FRAME
