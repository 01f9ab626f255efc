"""Power cuts while SQLite takes a full WAL into the data file, and while it writes over it."""

from __future__ import annotations

import asyncio
import shutil
from typing import TYPE_CHECKING

import pytest

from headgate_gateway.logs.sqlite.log import SqliteLog
from tests.logs.contract import created, removed
from tests.logs.test_power_loss import PAIR, SEED, Campaign, Cut, lost
from tests.support.examples import IS_WHOLE

if TYPE_CHECKING:
    from pathlib import Path

    from headgate_gateway.protocol.streams.state import Change

SEEDS = 3 if IS_WHOLE else 1
CUTS = 10
WAL_BYTES = 1000 * 4096  # at which a commit of ours goes on to a checkpoint
PASSING_BYTES = 200_000  # of streams that come and go: the WAL grows, and the file does not
ROUNDS = 4 * WAL_BYTES // PASSING_BYTES
STEPS_AFTER = 40  # writes after a checkpoint, over the old WAL, that may be cut too


class Checkpoints(Campaign):
    """One long run of writers that is cut during its checkpoints and right after them."""

    def __init__(self, folder: Path, seed: int, *, syncs: bool = True) -> None:
        super().__init__(folder, seed, syncs=syncs)
        self.during = 0
        self._after = 0
        self._unsynced_at_first = 0

    def _unsynced(self) -> int:
        """Writes into the data file that are not sure to be on disk."""
        return len(self.vfs.platter(self.folder / "headgate.db", existed=True).pending)

    def _before(self, number: int, what: str) -> None:
        """While the log is open, nothing but a checkpoint writes into the data file."""
        written = self._unsynced() - self._unsynced_at_first
        if written:
            first_or_last = written == 1 or what == "sync"
            likely, self._after = (1.0 if first_or_last else 0.02), STEPS_AFTER
        else:
            likely, self._after = (0.1 if self._after else 0.0), max(0, self._after - 1)
        if len(self.cuts) < CUTS and self.chance.random() < likely:
            self.during += bool(written)
            acknowledged = self.acknowledged  # read first: what comes now may be lost
            self.cuts.append(Cut(self.vfs.cut(self.folder, self.chance), acknowledged))

    async def run(self) -> None:
        """Write until there are cuts enough."""
        changes: dict[str, Change] = {}
        with self.vfs:
            log = SqliteLog(self.folder, vfs=self.vfs.name)
            await log.open()
            self._unsynced_at_first = self._unsynced()
            self.vfs.before = self._before
            for number in range(1, ROUNDS):
                if len(self.cuts) == CUTS:
                    break
                pair = [self._step(log, path, changes.get(path), number) for path in PAIR]
                passing = created(log, f"passing{number}", self.chance.randbytes(PASSING_BYTES))
                futures = [log.commit(pair), log.commit([passing])]
                await asyncio.gather(*futures)
                changes |= {change.state.path: change for change in pair}
                self.acknowledged = number
                await log.commit([removed(passing.state)])
                while await log.reclaim():
                    pass
            self.vfs.before = None
            await log.close()


async def findings(folder: Path, seed: int, *, syncs: bool = True) -> list[str]:
    """What is wrong after the cuts of one campaign."""
    running = folder / "running"
    running.mkdir(parents=True)
    campaign = Checkpoints(running, seed, syncs=syncs)
    await campaign.run()
    assert len(campaign.cuts) == CUTS
    assert campaign.during >= 2, "no checkpoint came to pass"
    found = []
    for number, cut in enumerate(campaign.cuts):
        place = folder / f"cut{number}"
        try:
            wrong = await lost(cut, place)
        except Exception as error:  # noqa: BLE001 - a log that cannot be used is the finding
            wrong = repr(error)
        if wrong is not None:
            found.append(f"seed {seed}, cut {number}: {wrong}")
        shutil.rmtree(place)
    shutil.rmtree(running)
    return found


@pytest.mark.timeout(120)
@pytest.mark.parametrize("seed", range(SEED, SEED + SEEDS))
async def test_a_power_cut_in_a_checkpoint_loses_no_acknowledged_commit(
    seed: int, tmp_path: Path
) -> None:
    assert await findings(tmp_path, seed) == []


@pytest.mark.timeout(120)
async def test_power_cuts_in_a_checkpoint_lose_commits_without_syncs(tmp_path: Path) -> None:
    """The control: a test that finds nothing here would find nothing anywhere."""
    assert await findings(tmp_path, SEED, syncs=False) != []
