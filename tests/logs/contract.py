"""What every log promises, as tests; a log joins by a line in `FACTORIES`."""

from __future__ import annotations

import asyncio
import contextlib
import uuid
import weakref
from functools import partial
from typing import TYPE_CHECKING

import msgspec
import pytest

from headgate.redis_url import parse_redis
from headgate_gateway.errors import StreamGone, StreamNotFound
from headgate_gateway.logs.contract import Conflict, LoadedStream
from headgate_gateway.logs.memory import MemoryLog
from headgate_gateway.logs.redis.connector import RedisSettings
from headgate_gateway.logs.redis.log import RedisLog
from headgate_gateway.logs.sqlite.log import SqliteLog
from headgate_gateway.protocol.lifecycle import PathState
from headgate_gateway.protocol.streams.chunks import Chunk
from headgate_gateway.protocol.streams.state import (
    Change,
    ForkPoint,
    Lifetime,
    Mark,
    OwnRetention,
    PastGeneration,
    ProducerState,
    Record,
    Segment,
    Stamp,
    StreamState,
)
from tests.support.manual_clock import at
from tests.support.toy_log import ToyLog

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable, Sequence
    from pathlib import Path

    from _pytest.mark import ParameterSet

    from headgate_gateway.logs.contract import Log
    from tests.support.redis_servers import RedisServer

    Factory = Callable[[Path, int], Log]

MANY = 1_000_000
FACTORIES: dict[str, Factory] = {
    "memory": lambda folder, max_retired: MemoryLog(max_retired),
    "sqlite": lambda folder, max_retired: SqliteLog(folder, max_retired=max_retired),
    "redis": lambda folder, max_retired: redis_log(),
    "toy": lambda folder, max_retired: ToyLog("toy://:k@shelf", max_retired),
}
ATOMIC = ["memory", "sqlite", "toy"]  # whose commits may be of several streams
# Whose history it is that a log's streams are changed in.
HISTORIES: weakref.WeakKeyDictionary[Log, int] = weakref.WeakKeyDictionary()
REDIS: list[RedisServer] = []  # the one that the session has started
TEXT = "text/plain"
replace = msgspec.structs.replace


def redis_log(prefix: str | None = None) -> RedisLog:
    """A log of its own, unless a prefix says that it is another's."""
    url = f"{REDIS[0].url}?prefix={prefix or uuid.uuid4().hex}"
    return RedisLog(RedisSettings(parse_redis(url)))


@contextlib.asynccontextmanager
async def opened(kind: str, folder: Path, max_retired: int = MANY) -> AsyncIterator[Log]:
    log = FACTORIES[kind](folder, max_retired)
    await log.open()
    try:
        HISTORIES[log] = (await log.load("-")).path_state.history
        yield log
    finally:
        await log.close()


@contextlib.asynccontextmanager
async def data_file(folder: Path) -> AsyncIterator[SqliteLog]:
    """An open log in a data file, with what only such a log has."""
    async with opened("sqlite", folder) as log:
        assert isinstance(log, SqliteLog)
        yield log


def kinds(names: Iterable[str]) -> list[ParameterSet]:
    """Return parameters for `kind`: only a log in Redis starts a process."""
    started = pytest.mark.processes
    return [pytest.param(name, marks=[started] if name == "redis" else []) for name in names]


@pytest.fixture(params=kinds(FACTORIES))
def kind(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    if name == "redis":
        request.getfixturevalue("server")
    return name


@pytest.fixture
async def log(kind: str, tmp_path: Path) -> AsyncIterator[Log]:
    async with opened(kind, tmp_path) as one:
        yield one


def created(log: Log, path: str, *datas: bytes, **fields: object) -> Change:
    """A new stream with a record for each of `datas`."""
    begin = fields.get("lineage") or ()
    position = begin[-1].end if isinstance(begin, tuple) and begin else 0
    records = records_after(position, *datas)
    state = StreamState(
        path,
        log.new_stream_id(),
        0,
        TEXT,
        tail=records[-1].end if records else position,
        history=HISTORIES.get(log, 0),
    )
    return Change(replace(state, **fields), None, records)


def branched_off(source: Change, end: int) -> Segment:
    """Return what a fork has of a stream that it was branched off."""
    return Segment(source.state.stream_id, end, source.state.path)


def found(log: Log, state: StreamState | None, retired: int | None) -> LoadedStream:
    """What a load tells of a place without producers."""
    return LoadedStream(PathState(state, retired, HISTORIES[log]), {})


def records_after(position: int, *datas: bytes) -> tuple[Record, ...]:
    records = []
    for data in datas:
        position += len(data)
        records.append(Record(position, data))
    return tuple(records)


def appended(state: StreamState, *datas: bytes, **fields: object) -> Change:
    """The next version of a stream, with more records."""
    records = records_after(state.tail, *datas)
    tail = records[-1].end if records else state.tail
    moved = replace(state, version=state.version + 1, tail=tail, **fields)
    grown = 0 if fields else tail - state.tail
    return Change(moved, state.version, records, appends=len(records), grown=grown)


def removed(state: StreamState) -> Change:
    return Change(state, state.version, removes=True)


async def committed(log: Log, change: Change) -> Change:
    """Commit a change, and return it."""
    await log.commit([change])
    return change


async def commit_each(log: Log, *changes: Change) -> None:
    """One after the other."""
    for change in changes:
        await log.commit([change])


async def loaded(log: Log, path: str) -> StreamState | None:
    return (await log.load(path)).path_state.state


async def reclaimed(log: Log) -> int:
    """Steps until nothing is left to free."""
    for step in range(1000):
        if not await log.reclaim():
            return step
    raise AssertionError("reclaiming does not end")


# ---------------------------------------------------------------- loading and committing


async def test_loading_a_path_where_nothing_was_created_finds_nothing(log: Log) -> None:
    assert await log.load("s") == found(log, None, None)


async def test_a_created_stream_loads_with_its_state_and_reads_its_records(log: Log) -> None:
    change = await committed(log, created(log, "s", b"one", b"two"))
    assert await log.load("s") == found(log, change.state, None)
    assert await log.read(change.state, 0, 100) == Chunk(change.state, 0, 6, (b"one", b"two"))


async def test_every_field_of_a_stream_state_survives_a_commit_and_a_load(log: Log) -> None:
    base = created(log, "base", b"0123456789")
    state = StreamState(
        path="a/b%2F%C3%A9",
        stream_id=log.new_stream_id(),
        generation=2**53 - 1,
        content_type='text/plain; charset="utf-8"',
        tail=2**53 - 1,
        closed=True,
        closed_by=Stamp("ü", 2**53 - 1, 2**53 - 2),
        stream_seq="ß\u2028\0",
        lifetime=Lifetime(ttl_s=10**10),
        deadline=1_800_000_000.123456,
        soft_deleted=True,
        references=3,
        fork=ForkPoint("base", base.state.stream_id, 7, 3),
        lineage=(Segment(base.state.stream_id, 7, base.state.path),),
        history=HISTORIES[log],
        past_generations=(PastGeneration(3, 5), PastGeneration(2**53 - 2, 7)),
        first=4,
        marks=(Mark(1_700_000_000.25, 6), Mark(1_700_000_001.5, 7, 3, 2.5)),
        trim_at=1_800_000_001.125,
        created_at=1_700_000_000,
        created_lifetime=Lifetime(expires_at=1_800_000_000.0),
        own_retention=OwnRetention(max_age_s=0, max_messages=10**9),
    )
    fields = msgspec.structs.fields(StreamState)
    plain = {it.name for it in fields if getattr(state, it.name) == it.default}
    assert plain <= {"version", "history"}  # of which a log of one process has only one
    other = StreamState(
        path="other",
        stream_id=log.new_stream_id(),
        generation=0,
        content_type="a/b",
        lifetime=Lifetime(expires_at=0.1 + 0.2, expires_text="2030-01-31T12:00:00.123456789+05:30"),
        deadline=0.1 + 0.2,
        history=HISTORIES[log],
    )
    await commit_each(log, base, Change(state, None), Change(other, None))
    assert [await loaded(log, one.path) for one in (state, other)] == [state, other]


async def test_every_changed_field_of_a_stream_state_survives_a_commit_and_a_load(log: Log) -> None:
    change = await committed(log, created(log, "s", b"a"))
    moved = replace(
        change.state,
        version=1,
        tail=3,
        closed=True,
        closed_by=Stamp("p", 1, 2),
        stream_seq="x",
        deadline=5.5,
        soft_deleted=True,
        references=1,
        lifetime=Lifetime(ttl_s=5),
        created_lifetime=Lifetime(),
        own_retention=OwnRetention(max_bytes=1),
    )
    await log.commit([Change(moved, 0, (Record(3, b"bc"),))])
    assert await loaded(log, "s") == moved
    back = replace(change.state, version=2, tail=3)
    await log.commit([Change(back, 1)])
    assert await loaded(log, "s") == back


async def test_stream_ids_are_never_issued_twice(kind: str, tmp_path: Path) -> None:
    async with opened(kind, tmp_path) as log:
        ids = [log.new_stream_id() for _ in range(100)]
    async with opened(kind, tmp_path) as log:
        ids += [log.new_stream_id() for _ in range(100)]
    assert len(set(ids)) == 200


@pytest.mark.parametrize(
    "wrong",
    ["older", "newer", "no stream at the path", "creation over a stream", "another stream id"],
)
async def test_a_commit_with_an_unexpected_version_is_a_conflict(log: Log, wrong: str) -> None:
    change = await committed(log, created(log, "s", b"one"))
    second = await committed(log, appended(change.state, b"two"))
    state = second.state
    bad = {
        "older": appended(change.state, b"X"),
        "newer": Change(replace(state, version=9), 8, records_after(state.tail, b"X")),
        "no stream at the path": appended(created(log, "t", b"X").state, b"X"),
        "creation over a stream": created(log, "s", b"X"),
        "another stream id": appended(replace(state, stream_id=log.new_stream_id()), b"X"),
    }[wrong]
    with pytest.raises(Conflict):
        await log.commit([bad])
    assert await log.load("s") == found(log, state, None)
    assert await log.load("t") == found(log, None, None)
    assert await log.read(state, 0, 100) == Chunk(state, 0, 6, (b"one", b"two"))


@pytest.mark.parametrize("kind", ATOMIC, indirect=True)
@pytest.mark.parametrize("position", [0, 1, 2])
async def test_a_commit_with_one_conflict_stores_no_change(log: Log, position: int) -> None:
    standing = created(log, "standing", b"a")
    doomed = created(log, "doomed", b"b")
    await log.commit([standing, doomed])
    changes = [appended(standing.state, b"more"), removed(doomed.state), created(log, "new", b"c")]
    stale = replace(changes[position], expected=17)
    wrong = [*changes[:position], stale, *changes[position + 1 :]]
    with pytest.raises(Conflict):
        await log.commit(wrong)
    assert await loaded(log, "standing") == standing.state
    assert await loaded(log, "doomed") == doomed.state
    assert await loaded(log, "new") is None
    await log.commit(changes)
    assert await loaded(log, "standing") == changes[0].state
    assert await loaded(log, "doomed") is None
    assert await loaded(log, "new") == changes[2].state


async def test_the_second_of_two_commits_from_one_version_is_a_conflict(log: Log) -> None:
    change = await committed(log, created(log, "s"))
    first, second = appended(change.state, b"one"), appended(change.state, b"two")
    outcomes = await asyncio.gather(
        log.commit([first]), log.commit([second]), return_exceptions=True
    )
    assert outcomes[0] is None
    assert isinstance(outcomes[1], Conflict)
    assert (await log.read(first.state, 0, 100)).records == (b"one",)


async def committed_separately(log: Log, *changes: Change) -> list[Exception | None]:
    """Why each does not stand, None of one that does."""
    known: dict[int, Exception | None] = {}
    all_known = asyncio.Event()

    def settled(first: int, failures: Sequence[Exception | None]) -> None:
        for number, failure in enumerate(failures, first):
            assert number not in known
            known[number] = failure
        if len(known) == len(changes):
            all_known.set()

    log.commit_separately(changes, settled)
    assert not known
    await asyncio.wait_for(all_known.wait(), 10)
    return [known[number] for number in range(len(changes))]


async def test_separate_commits_succeed_or_fail_independently(log: Log) -> None:
    changes = [created(log, f"s{number}", b"0") for number in range(3)]
    assert await committed_separately(log, *changes) == [None] * 3
    steps = [appended(change.state, b"1") for change in changes]
    outcomes = await committed_separately(log, steps[0], replace(steps[1], expected=17), steps[2])
    assert [type(outcome) for outcome in outcomes] == [type(None), Conflict, type(None)]
    states = [await loaded(log, f"s{number}") for number in range(3)]
    assert states == [steps[0].state, changes[1].state, steps[2].state]
    assert (await log.read(steps[2].state, 0, 100)).records == (b"0", b"1")


async def test_separate_commits_are_reported_in_the_order_of_all_commits(log: Log) -> None:
    change = await committed(log, created(log, "s", b"0"))
    steps = [appended(change.state, b"1")]
    for _ in range(3):
        steps.append(appended(steps[-1].state, b"2"))
    order: list[int] = []
    log.commit([steps[0]]).add_done_callback(partial(_note, order, 0))
    log.commit_separately([steps[1]], lambda *_: order.append(1))
    last = log.commit([steps[2]])
    last.add_done_callback(partial(_note, order, 2))
    assert await committed_separately(log, steps[3]) == [None]
    assert order == [0, 1, 2]
    assert await loaded(log, "s") == steps[3].state


async def test_fifty_commits_queued_at_once_are_stored_in_order(log: Log) -> None:
    change = created(log, "s", b"0")
    futures = [log.commit([change])]
    state = change.state
    for number in range(1, 50):
        step = appended(state, str(number).encode())
        state = step.state
        futures.append(log.commit([step]))
    await asyncio.gather(*futures)
    assert (await log.load("s")).path_state.state == state
    expected = "".join(map(str, range(50))).encode()
    assert b"".join((await log.read(state, 0, 10_000)).records) == expected


async def test_a_stream_is_created_and_removed_repeatedly_within_one_pass(log: Log) -> None:
    first = created(log, "s", b"first", generation=1)
    second = created(log, "s", b"second", generation=2)
    third = created(log, "s", b"third", generation=3)
    futures = [
        log.commit([first]),
        log.commit([removed(first.state)]),
        log.commit([second]),
        log.commit([removed(second.state)]),
        log.commit([third]),
        log.commit([appended(first.state, b"late")]),
    ]
    outcomes = await asyncio.gather(*futures, return_exceptions=True)
    assert outcomes[:5] == [None] * 5
    assert isinstance(outcomes[5], Conflict)
    assert await log.load("s") == found(log, third.state, 2)
    assert await log.read(third.state, 0, 100) == Chunk(third.state, 0, 5, (b"third",))
    await reclaimed(log)
    assert await log.read(third.state, 0, 100) == Chunk(third.state, 0, 5, (b"third",))


def _note(order: list[int], number: int, _done: asyncio.Future[None]) -> None:
    order.append(number)


async def test_commits_complete_after_they_are_returned_and_in_order(log: Log) -> None:
    order: list[int] = []
    futures = []
    for number in range(20):
        conflicting = number % 3 == 2
        future = log.commit(
            [replace(created(log, f"s{number}"), expected=5 if conflicting else None)]
        )
        assert not future.done()
        future.add_done_callback(partial(_note, order, number))
        futures.append(future)
    outcomes = await asyncio.gather(*futures, return_exceptions=True)
    assert order == list(range(20))
    assert [isinstance(outcome, Conflict) for outcome in outcomes] == [
        number % 3 == 2 for number in range(20)
    ]


async def test_a_cancelled_commit_is_stored_completely_or_not_at_all(log: Log) -> None:
    change = created(log, "s", b"one")
    log.commit([change]).cancel()
    after = await committed(log, created(log, "t", b"two"))
    assert await loaded(log, "t") == after.state
    assert await loaded(log, "s") in (None, change.state)


async def test_a_commit_of_1501_records_and_3_mb_reads_back_whole(log: Log) -> None:
    datas = [b"x" * 3_000_000, *(b"%d," % number for number in range(1500))]
    change = await committed(log, created(log, "s", *datas))
    chunk = await log.read(change.state, 0, 10**9)
    assert chunk == Chunk(change.state, 0, change.state.tail, tuple(datas))


@pytest.mark.parametrize("kind", ATOMIC, indirect=True)
async def test_one_commit_can_hold_more_than_a_thousand_streams(log: Log) -> None:
    changes = [created(log, f"s{number}", b"x") for number in range(1201)]
    await log.commit(changes)
    assert await loaded(log, "s0") == changes[0].state
    assert await loaded(log, "s1200") == changes[-1].state
    with pytest.raises(Conflict):
        await log.commit([*(created(log, f"t{number}") for number in range(1200)), changes[1200]])
    assert await loaded(log, "t0") is None


# ---------------------------------------------------------------- reading


@pytest.mark.parametrize(
    ("start", "end", "stop", "records"),
    [
        (0, 1, 3, (b"abc",)),
        (0, 2, 3, (b"abc",)),
        (0, 3, 3, (b"abc",)),
        (0, 4, 5, (b"abc", b"de")),
        (0, 5, 5, (b"abc", b"de")),
        (0, 6, 9, (b"abc", b"de", b"fghi")),
        (0, 9, 9, (b"abc", b"de", b"fghi")),
        (0, 10, 9, (b"abc", b"de", b"fghi")),
        (3, 4, 5, (b"de",)),
        (3, 5, 5, (b"de",)),
        (3, 6, 9, (b"de", b"fghi")),
        (5, 6, 9, (b"fghi",)),
        (5, 100, 9, (b"fghi",)),
        (9, 10, 9, ()),
    ],
)
async def test_a_read_ends_at_the_first_record_boundary_at_or_after_its_end(
    log: Log, start: int, end: int, stop: int, records: tuple[bytes, ...]
) -> None:
    change = created(log, "s", b"abc", b"de", b"fghi")
    await commit_each(log, created(log, "before", b"xyz"), change, created(log, "after", b"xyz"))
    assert await log.read(change.state, start, end) == Chunk(change.state, start, stop, records)


@pytest.mark.parametrize(
    ("start", "end", "begin", "stop", "records"),
    [
        (1, 2, 0, 3, (b"abc",)),
        (2, 3, 0, 3, (b"abc",)),
        (2, 4, 0, 5, (b"abc", b"de")),
        (4, 5, 3, 5, (b"de",)),
        (4, 100, 3, 9, (b"de", b"fghi")),
        (6, 100, 5, 9, (b"fghi",)),
        (8, 100, 5, 9, (b"fghi",)),
    ],
)
@pytest.mark.parametrize("together", [True, False], ids=["one commit", "three"])
async def test_a_read_from_inside_a_record_returns_that_whole_record(
    log: Log,
    start: int,
    end: int,
    begin: int,
    stop: int,
    records: tuple[bytes, ...],
    together: bool,
) -> None:
    change = created(log, "s", *((b"abc", b"de", b"fghi") if together else (b"abc",)))
    await log.commit([change])
    for data in () if together else (b"de", b"fghi"):
        change = await committed(log, appended(change.state, data))
    assert await log.read(change.state, start, end) == Chunk(change.state, begin, stop, records)


async def test_a_read_returns_the_present_state_of_its_stream(log: Log) -> None:
    change = await committed(log, created(log, "s", b"one"))
    second = await committed(log, appended(change.state, b"two", closed=True))
    chunk = await log.read(change.state, 0, 100)
    assert chunk == Chunk(second.state, 0, 6, (b"one", b"two"))
    assert chunk.at_tail


async def test_a_read_of_a_removed_stream_raises_not_found_after_recreation_too(log: Log) -> None:
    change = await committed(log, created(log, "s", b"one"))
    await log.commit([removed(change.state)])
    with pytest.raises(StreamNotFound):
        await log.read(change.state, 0, 100)
    again = await committed(log, created(log, "s", b"new", generation=1))
    with pytest.raises(StreamNotFound):
        await log.read(change.state, 0, 100)
    assert (await log.read(again.state, 0, 100)).records == (b"new",)


async def test_a_fork_reads_the_records_of_each_level_of_its_lineage(log: Log) -> None:
    root = created(log, "root", b"aa", b"bb", b"cc")
    of_root = branched_off(root, 4)
    one = created(log, "one", b"dd", b"ee", lineage=(of_root,), tail=8)
    two = created(log, "two", b"ff", lineage=(of_root, branched_off(one, 6)), tail=8)
    empty = created(log, "empty", lineage=(branched_off(root, 2),), tail=2)
    await commit_each(log, root, one, two, empty)
    whole = {"one": b"aabbddee", "two": b"aabbddff", "empty": b"aa"}
    for change in (one, two, empty):
        state, data = change.state, whole[change.state.path]
        for start in range(0, len(data), 2):
            for end in range(start + 1, len(data) + 2):
                stop = min(len(data), end + end % 2)
                parts = tuple(data[at : at + 2] for at in range(start, stop, 2))
                assert await log.read(state, start, end) == Chunk(state, start, stop, parts)
        assert await log.read(state, len(data), 99) == Chunk(state, len(data), len(data), ())
        for start in range(1, len(data), 2):
            parts = tuple(data[at : at + 2] for at in range(start - 1, len(data), 2))
            assert await log.read(state, start, 99) == Chunk(state, start - 1, len(data), parts)
    # What the sources write afterwards is none of the forks' business.
    await commit_each(log, appended(root.state, b"gg"), appended(one.state, b"hh"))
    assert b"".join((await log.read(two.state, 0, 99)).records) == whole["two"]


async def test_a_fork_of_a_hundred_levels_reads_the_records_of_every_level(log: Log) -> None:
    changes = [created(log, "0", b"0,")]
    for level in range(1, 101):
        below = changes[-1].state
        lineage = (*below.lineage, Segment(below.stream_id, below.tail, below.path))
        data = b"%d," % level
        changes.append(created(log, str(level), data, lineage=lineage, tail=below.tail + len(data)))
    await commit_each(log, *changes)
    chunk = await log.read(changes[-1].state, 0, 10**6)
    assert b"".join(chunk.records) == b"".join(b"%d," % level for level in range(101))


async def test_a_soft_deleted_stream_is_still_read_by_its_fork(log: Log) -> None:
    root = created(log, "root", b"aa", references=1)
    fork = created(log, "fork", b"bb", lineage=(branched_off(root, 2),), tail=4)
    await commit_each(log, root, fork)
    await log.commit([appended(root.state, soft_deleted=True)])
    await reclaimed(log)
    assert b"".join((await log.read(fork.state, 0, 99)).records) == b"aabb"


# ---------------------------------------------------------------- retention


async def test_records_before_the_beginning_are_refused_and_the_others_are_read(log: Log) -> None:
    first = await committed(log, created(log, "s", b"abcde"))
    state = appended(first.state, b"fghi", b"jk").state
    await log.commit([appended(first.state, b"fghi", b"jk")])
    trimmed = await committed(log, replace(appended(state, first=5), trims=True))
    await reclaimed(log)
    for start in (0, 4):
        with pytest.raises(StreamGone):
            await log.read(state, start, 11)
    assert await log.read(state, 5, 11) == Chunk(trimmed.state, 5, 11, (b"fghi", b"jk"))
    assert await loaded(log, "s") == trimmed.state


async def test_an_append_may_trim_all_that_was_there_before(log: Log) -> None:
    first = await committed(log, created(log, "s", *[b"%03d" % number for number in range(300)]))
    later = await committed(log, replace(appended(first.state, b"new", first=900), trims=True))
    await reclaimed(log)
    assert (await log.read(later.state, 900, 903)).records == (b"new",)
    await log.commit([appended(later.state, b"er")])
    assert (await log.read(later.state, 900, 905)).records == (b"new", b"er")


async def test_a_trimmed_fork_leaves_the_records_of_its_source(log: Log) -> None:
    source = await committed(log, created(log, "s", b"abc", b"def", references=1))
    fork = await committed(log, created(log, "f", b"ghi", lineage=(branched_off(source, 6),)))
    trimmed = await committed(log, replace(appended(fork.state, first=3), trims=True))
    await reclaimed(log)
    assert (await log.read(source.state, 0, 6)).records == (b"abc", b"def")
    assert (await log.read(trimmed.state, 3, 9)).records == (b"def", b"ghi")
    with pytest.raises(StreamGone):
        await log.read(trimmed.state, 0, 9)


@pytest.mark.parametrize(
    ("deadline", "trim_at", "due"), [(None, 7.0, 7.0), (5.0, 7.0, 5.0), (9.0, 7.0, 7.0)]
)
async def test_a_stream_is_due_from_the_earlier_of_its_deadline_and_its_next_trim_on(
    log: Log, deadline: float | None, trim_at: float, due: float
) -> None:
    lifetime = Lifetime() if deadline is None else Lifetime(expires_at=deadline)
    first = created(log, "s", b"abc", trim_at=trim_at, deadline=deadline, lifetime=lifetime)
    await log.commit([first])
    assert list(await log.expired(at(due - 0.001), 10)) == []
    assert list(await log.expired(at(due), 10)) == ["s"]
    await log.commit([appended(first.state, trim_at=None)])
    assert list(await log.expired(at(8.0), 10)) == (["s"] if deadline == 5.0 else [])


# ---------------------------------------------------------------- producers


def with_producers(change: Change, *forgotten: str, **producers: ProducerState) -> Change:
    return replace(change, producers=tuple(producers.items()), forgotten=forgotten)


async def test_producers_are_added_replaced_and_dropped_by_commits(log: Log) -> None:
    a, b, c = (ProducerState(number, number + 1, number + 0.5) for number in range(3))
    change = await committed(log, with_producers(created(log, "s"), a=a, b=b))
    assert (await log.load("s")).producers == {"a": a, "b": b}
    second = await committed(log, with_producers(appended(change.state), "b", a=c, d=b))
    assert (await log.load("s")).producers == {"a": c, "d": b}
    await log.commit([with_producers(appended(second.state), "a", "nobody")])
    assert (await log.load("s")).producers == {"d": b}


async def test_commits_in_one_group_leave_the_last_producer_states(log: Log) -> None:
    first, last = ProducerState(0, 0, 1.0), ProducerState(0, 1, 2.0)
    change = with_producers(created(log, "s"), a=first, b=first, c=first)
    second = with_producers(appended(change.state), "b", a=last)
    third = with_producers(appended(second.state), "c", b=last)
    other = with_producers(created(log, "other"), a=first)
    fourth = with_producers(appended(other.state), "a")
    await asyncio.gather(*(log.commit([one]) for one in (change, second, third, other, fourth)))
    assert (await log.load("s")).producers == {"a": last, "b": last}
    assert (await log.load("other")).producers == {}


async def test_a_refused_commit_does_not_change_producers(log: Log) -> None:
    state = ProducerState(0, 0, 1.0)
    change = await committed(log, with_producers(created(log, "s"), a=state))
    with pytest.raises(Conflict):
        await log.commit(
            [replace(with_producers(appended(change.state), "a", b=state), expected=4)]
        )
    assert (await log.load("s")).producers == {"a": state}


async def test_a_stream_recreated_at_a_removed_path_has_no_producers(log: Log) -> None:
    change = with_producers(created(log, "s"), a=ProducerState(0, 0, 1.0))
    for step in (change, removed(change.state), created(log, "s", generation=1)):
        await log.commit([step])
        expected = {"a": ProducerState(0, 0, 1.0)} if step is change else {}
        assert (await log.load("s")).producers == expected


# ---------------------------------------------------------------- removal and expiry


async def test_a_removed_stream_leaves_its_generation_as_retired(log: Log) -> None:
    change = await committed(log, created(log, "s", b"one", generation=4))
    assert (await log.load("s")).path_state.retired is None
    await log.commit([removed(change.state)])
    assert await log.load("s") == found(log, None, 4)
    again = await committed(log, created(log, "s", b"two", generation=5))
    assert await log.load("s") == found(log, again.state, 4)
    await log.commit([removed(again.state)])
    assert await log.load("s") == found(log, None, 5)


async def retired(log: Log, paths: str) -> list[int | None]:
    return [(await log.load(path)).path_state.retired for path in paths]


async def retire(log: Log, *paths: tuple[str, int]) -> None:
    for path, generation in paths:
        change = await committed(log, created(log, path, generation=generation))
        await log.commit([removed(change.state)])


bounded = pytest.mark.parametrize("bounded", ["memory", "sqlite"])  # in number, not in time


@bounded
async def test_too_many_retired_generations_raise_the_floor(bounded: str, tmp_path: Path) -> None:
    async with opened(bounded, tmp_path, 3) as log:
        await retire(log, ("a", 7), ("b", 1), ("c", 2))
        assert await retired(log, "abcx") == [7, 1, 2, None]
        await retire(log, ("d", 0))  # a's is no longer known: every unknown path stands above it
        assert await retired(log, "abcdx") == [7, 1, 2, 0, 7]
        await retire(log, ("b", 8), ("e", 3))  # b's is renewed, c's goes, and the floor stays
        assert await retired(log, "abcdex") == [7, 8, 7, 0, 3, 7]
        await retire(log, ("f", 9), ("g", 9))  # d's and b's go
        assert await retired(log, "bdefgx") == [8, 8, 3, 9, 9, 8]


@bounded
async def test_retired_generations_are_bounded_in_a_commit(bounded: str, tmp_path: Path) -> None:
    async with opened(bounded, tmp_path, 2) as log:
        changes = [created(log, path, generation=nr) for nr, path in enumerate("abcde", start=1)]
        await log.commit(changes)
        await log.commit([removed(change.state) for change in changes])
        assert await retired(log, "abcdex") == [3, 3, 3, 4, 5, 3]


@pytest.mark.parametrize(
    ("now", "paths"), [(9.9, []), (10.0, ["a"]), (10.1, ["a"]), (20.0, ["a", "b"])]
)
async def test_streams_are_returned_as_expired_from_their_deadline_on(
    log: Log, now: float, paths: list[str]
) -> None:
    await commit_each(
        log,
        created(log, "a", deadline=10.0),
        created(log, "b", deadline=20.0),
        created(log, "never"),
    )
    assert sorted(await log.expired(at(now), 10)) == paths


async def test_expired_streams_are_returned_in_portions(log: Log) -> None:
    changes = [created(log, f"s{number}", deadline=1.0) for number in range(5)]
    await commit_each(log, *changes)
    found = list(await log.expired(at(2.0), 3))
    assert len(set(found)) == 3
    states = {change.state.path: change.state for change in changes}
    await commit_each(log, *(removed(states[path]) for path in found))
    rest = list(await log.expired(at(2.0), 3))
    assert sorted([*found, *rest]) == sorted(states)


async def test_a_moved_deadline_replaces_the_old_one(log: Log) -> None:
    change = await committed(log, created(log, "s", deadline=10.0))
    second = await committed(log, appended(change.state, deadline=30.0))
    assert list(await log.expired(at(29.0), 10)) == []
    assert list(await log.expired(at(30.0), 10)) == ["s"]
    await log.commit([appended(second.state, deadline=None)])
    assert list(await log.expired(at(99.0), 10)) == []


async def test_reclaiming_ends_and_removes_no_data_of_existing_streams(log: Log) -> None:
    standing = created(log, "standing", *(b"%d," % number for number in range(2500)))
    doomed = [
        with_producers(
            created(log, f"doomed{number}", *([b"x" * 50] * 2500)), p=ProducerState(0, 0, 0.0)
        )
        for number in range(3)
    ]
    await commit_each(log, standing, *doomed)
    await commit_each(log, *(removed(change.state) for change in doomed))
    await reclaimed(log)
    assert await reclaimed(log) == 0
    chunk = await log.read(standing.state, 0, 10**6)
    assert b"".join(chunk.records) == b"".join(b"%d," % number for number in range(2500))
    again = [created(log, f"doomed{number}", b"new", generation=1) for number in range(3)]
    await commit_each(log, *again)
    assert [(await log.read(one.state, 0, 9)).records for one in again] == [(b"new",)] * 3


async def test_a_log_after_a_successful_commit_reports_no_fault(log: Log) -> None:
    await log.commit([created(log, "s")])
    assert log.why_unhealthy() is None


async def test_reads_during_commits_see_an_unbroken_prefix_of_the_records(log: Log) -> None:
    """Whatever a read sees is a prefix of what was written, of one moment."""
    change = await committed(log, created(log, "s", b"%08d" % 0))
    state = change.state

    async def watch() -> None:
        seen = 0
        while seen < 60:
            chunk = await log.read(state, 0, 10**9)
            numbers = [int(record) for record in chunk.records]
            assert numbers == list(range(len(numbers)))
            assert chunk.end == 8 * len(numbers)
            # The state of a shared log is asked for just after the records.
            tail = chunk.state.tail
            assert chunk.end == tail or (log.sharing is not None and chunk.end < tail)
            assert len(numbers) >= seen
            seen = len(numbers)
            await asyncio.sleep(0)

    async def write() -> None:
        latest = state
        for number in range(1, 60):
            step = await committed(log, appended(latest, b"%08d" % number))
            latest = step.state

    async with asyncio.timeout(30):
        await asyncio.gather(watch(), watch(), write())
