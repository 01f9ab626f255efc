"""What is acknowledged is on disk: power cuts, and disks that refuse, at every step of a commit."""

from __future__ import annotations

import asyncio
import os
import random
import threading
from typing import TYPE_CHECKING, NamedTuple

import apsw
import pytest

from headgate_gateway.errors import LogUnavailable
from headgate_gateway.logs.sqlite.log import SqliteLog
from headgate_gateway.protocol.streams.state import Change, ProducerState, StreamState
from tests.logs.contract import appended, created, removed, with_producers
from tests.logs.power_loss_vfs import PowerLossVFS
from tests.support.examples import IS_WHOLE, cases

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

CUTS = 2400 if IS_WHOLE else 24
CUTS_IN_A_RUN = 24
SEED = int(os.environ.get("POWER_SEED", "1"))
PAIR = ("left", "right")


class Cut(NamedTuple):
    """The files after a cut, and how many commits were acknowledged before it."""

    files: dict[str, bytes]
    acknowledged: int


class Campaign:
    """Writers and, at random moments, cuts."""

    def __init__(self, folder: Path, seed: int, *, syncs: bool = True) -> None:
        self.folder = folder
        self.chance = random.Random(seed)
        self.vfs = PowerLossVFS(syncs=syncs)
        self.acknowledged = 0
        self.cuts: list[Cut] = []
        self._next_cut = self._soon()

    def _soon(self) -> int:
        return self.vfs.operations + self.chance.randint(1, 40)

    def _before(self, number: int, _what: str) -> None:
        if number >= self._next_cut and len(self.cuts) < CUTS_IN_A_RUN:
            acknowledged = self.acknowledged  # read first: what comes now may be lost
            self.cuts.append(Cut(self.vfs.cut(self.folder, self.chance), acknowledged))
            self._next_cut = self._soon()

    async def run(self) -> None:
        """Write, with a few restarts, until there are cuts enough."""
        changes: dict[str, Change] = {}
        number = 0
        self.vfs.before = self._before
        with self.vfs:
            while len(self.cuts) < CUTS_IN_A_RUN:
                log = SqliteLog(self.folder, vfs=self.vfs.name)
                await log.open()
                for _ in range(self.chance.randint(5, 25)):
                    number += 1
                    await self._commit(log, changes, number)
                await log.close()

    async def _commit(self, log: SqliteLog, changes: dict[str, Change], number: int) -> None:
        """Two streams in one commit, a stream that comes and goes, and some reclaiming."""
        pair = [self._step(log, path, changes.get(path), number) for path in PAIR]
        passing = created(log, f"passing{number}", b"x" * 5000)
        futures = [log.commit(pair), log.commit([passing]), log.commit([removed(passing.state)])]
        changes |= {change.state.path: change for change in pair}
        await asyncio.gather(*futures)
        self.acknowledged = number
        if self.chance.random() < 0.3:
            await log.reclaim()

    def _step(self, log: SqliteLog, path: str, last: Change | None, number: int) -> Change:
        data = b"%08d" % number + self.chance.randbytes(self.chance.choice([0, 10, 5000]))
        producer = ProducerState(0, number, float(number))
        if last is None:
            return with_producers(created(log, path, data), p=producer)
        return with_producers(appended(last.state, data), p=producer)


async def lost(cut: Cut, folder: Path) -> str | None:
    """What is wrong with the log after a cut, None when nothing is."""
    folder.mkdir()
    for name, data in cut.files.items():
        (folder / name).write_bytes(data)
    if "headgate.db" not in cut.files:
        return None if cut.acknowledged == 0 else "the file is gone"
    log = SqliteLog(folder)
    await log.open()
    try:
        return await _difference(log, cut.acknowledged)
    except Exception as error:  # noqa: BLE001 - a log that cannot be used is the finding
        return repr(error)
    finally:
        await log.close()
        connection = apsw.Connection(str(folder / "headgate.db"))
        findings = connection.pragma("integrity_check")
        connection.close()
        assert findings == "ok"


async def _difference(log: SqliteLog, acknowledged: int) -> str | None:
    counts = []
    for path in PAIR:
        found = await log.load(path)
        state = found.path_state.state
        if state is None:
            counts.append(0)
            continue
        chunk = await log.read(state, 0, 10**9)
        numbers = [int(record[:8]) for record in chunk.records]
        if numbers != list(range(1, len(numbers) + 1)) or chunk.end != state.tail:
            return f"{path} holds {numbers} up to {chunk.end} of {state.tail}"
        if found.producers != {"p": ProducerState(0, len(numbers), float(len(numbers)))}:
            return f"{path} has {len(numbers)} records and {found.producers}"
        counts.append(len(numbers))
        await log.commit([appended(state, b"%08d" % (len(numbers) + 1))])
    if counts[0] != counts[1]:
        return f"half a commit stands: {counts}"
    if counts[0] < acknowledged:
        return f"{acknowledged} commits were acknowledged, {counts[0]} are there"
    return None


async def findings(folder: Path, seed: int, *, syncs: bool = True) -> list[str]:
    """What a campaign of cuts finds wrong."""
    (folder / "running").mkdir(parents=True)
    campaign = Campaign(folder / "running", seed, syncs=syncs)
    await campaign.run()
    found = []
    for number, cut in enumerate(campaign.cuts):
        try:
            wrong = await lost(cut, folder / f"cut{number}")
        except Exception as error:  # noqa: BLE001 - the same
            wrong = repr(error)
        if wrong is not None:
            found.append(f"seed {seed}, cut {number}: {wrong}")
    return found


@pytest.mark.timeout(30 + CUTS)
@pytest.mark.parametrize("seed", range(SEED, SEED + -(-CUTS // CUTS_IN_A_RUN)))
async def test_acknowledged_commits_survive_a_power_cut(seed: int, tmp_path: Path) -> None:
    assert await findings(tmp_path, seed) == []


@pytest.mark.timeout(120)
async def test_power_cuts_lose_commits_without_syncs(tmp_path: Path) -> None:
    """The control: a test that finds nothing here would find nothing anywhere."""
    for seed in range(100 // CUTS_IN_A_RUN):
        if await findings(tmp_path / str(seed), seed, syncs=False):
            return
    pytest.fail("a disk that syncs nothing lost nothing")


# ---------------------------------------------------------------- disks that refuse


class Fault:
    """Refuses the nth write or sync from now and, unless it happens `once`, all after it."""

    def __init__(self, vfs: PowerLossVFS, nth: int, error: type[apsw.Error], *, once: bool) -> None:
        self._at = vfs.operations + nth
        self._error = error
        self._once = once
        self.hit = threading.Event()
        self.over = False

    def __call__(self, number: int, what: str) -> None:
        if self.over or number < self._at:
            return
        self.hit.set()
        self.over = self._once
        raise self._error(f"{what} {number} refused")


async def content(log: SqliteLog, path: str) -> tuple[StreamState | None, list[bytes], int]:
    found = await log.load(path)
    state = found.path_state.state
    if state is None:
        return None, [], -1
    chunk = await log.read(state, 0, 10**9)
    return state, list(chunk.records), found.producers["p"].seq


def step(state: StreamState, number: int) -> Change:
    change = appended(state, b"%08d" % number + b"x" * 3000)
    return with_producers(change, p=ProducerState(0, number, 0.0))


def base(log: SqliteLog, path: str) -> Change:
    return with_producers(created(log, path, b"%08d" % 0), p=ProducerState(0, 0, 0.0))


@pytest.mark.parametrize("once", [True, False], ids=["once", "until it is mended"])
@pytest.mark.parametrize("error", [apsw.FullError, apsw.IOError])
@pytest.mark.parametrize("nth", cases(range(1, 31), range(1, 31, 3), "every third"))
async def test_a_commit_that_meets_a_full_or_failing_disk_is_refused_whole(
    nth: int, error: type[apsw.Error], once: bool, tmp_path: Path
) -> None:
    with PowerLossVFS() as vfs:
        log = SqliteLog(tmp_path, vfs=vfs.name)
        await log.open()
        first = [base(log, path) for path in PAIR]
        await log.commit(first)
        states = [change.state for change in first]
        assert (await content(log, "left"))[0] == states[0]
        fault = vfs.before = Fault(vfs, nth, error, once=once)
        number = refused = 0
        while not refused:
            number += 1
            changes = [step(state, number) for state in states]
            (outcome,) = await asyncio.gather(log.commit(changes), return_exceptions=True)
            if outcome is None:
                states = [change.state for change in changes]
            else:
                assert isinstance(outcome, LogUnavailable)
                assert "nothing of this request was stored" in outcome.detail
                refused = number
            assert number < 100
        assert fault.hit.is_set()
        assert log.why_unhealthy() is not None
        for path, state in zip(PAIR, states, strict=True):
            found, records, seq = await content(log, path)
            assert (found, len(records), seq) == (state, refused, refused - 1)
        if not once:
            with pytest.raises(LogUnavailable):
                await log.commit([step(state, refused) for state in states])
            assert log.why_unhealthy() is not None
            fault.over = True
        changes = [step(state, refused) for state in states]
        await log.commit(changes)
        assert log.why_unhealthy() is None
        await log.close()
    again = SqliteLog(tmp_path)
    await again.open()
    for path, change in zip(PAIR, changes, strict=True):
        found, records, seq = await content(again, path)
        assert (found, seq) == (change.state, refused)
        assert [int(record[:8]) for record in records] == list(range(refused + 1))
    await again.close()


class Gate:
    """Holds the writer at its next write until it is opened, so that a group gathers behind it."""

    def __init__(self) -> None:
        self.then: Callable[[int, str], None] | None = None
        self.reached = threading.Event()
        self.open = threading.Event()

    def __call__(self, number: int, what: str) -> None:
        self.reached.set()
        assert self.open.wait(30)
        if self.then is not None:
            self.then(number, what)


@pytest.mark.parametrize("nth", range(1, 41))
async def test_a_failed_disk_write_stores_nothing_of_its_group(nth: int, tmp_path: Path) -> None:
    """Appends and reclaiming share a transaction group, and the disk refuses at any step of it."""
    with PowerLossVFS() as vfs:
        log = SqliteLog(tmp_path, vfs=vfs.name)
        await log.open()
        standing, doomed = base(log, "left"), created(log, "doomed", *[b"x" * 2000] * 40)
        await log.commit([standing, doomed])
        await log.commit([removed(doomed.state)])
        state = (await content(log, "left"))[0]
        assert state == standing.state
        gate = vfs.before = Gate()
        blocked = log.commit([created(log, "first")])
        assert await asyncio.to_thread(gate.reached.wait, 30)
        reclaiming = asyncio.ensure_future(log.reclaim())
        await asyncio.sleep(0)  # lets it take its place in the queue
        change = step(standing.state, 1)
        appending = log.commit([change])
        gate.then = Fault(vfs, nth, apsw.FullError, once=True)
        gate.open.set()
        outcomes = await asyncio.gather(blocked, reclaiming, appending, return_exceptions=True)
        found, records, seq = await content(log, "left")
        if isinstance(outcomes[2], LogUnavailable):
            assert (found, len(records), seq) == (standing.state, 1, 0)
        else:
            assert outcomes[2] is None
            assert (found, len(records), seq) == (change.state, 2, 1)
        await log.close()
