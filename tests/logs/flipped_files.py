"""Flip bits of a data file at random: whatever a server would then serve differently is named.

For each flip the file is opened by a log, all of its streams are loaded and read, and what comes is
compared with what the sound file has.
"""

from __future__ import annotations

import contextlib
import random
from typing import TYPE_CHECKING, NamedTuple

from headgate_gateway.errors import StartError
from headgate_gateway.logs.sqlite.log import SqliteLog
from headgate_gateway.protocol.streams.state import Lifetime, ProducerState
from headgate_gateway.tools.backups.source import SourceFile
from headgate_gateway.tools.backups.verification import DamageReport, FileVerification
from tests.logs.contract import (
    appended,
    branched_off,
    committed,
    created,
    opened,
    replace,
    with_producers,
)

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from headgate_gateway.protocol.streams.state import StreamState

ROOMS = 12  # streams, each of which has a fork
FILE = "headgate.db"


class Served(NamedTuple):
    """What a log serves of a stream; None for what it cannot.

    The version is left out: it has no checksum, and counts only while a server runs.
    """

    state: StreamState | None
    records: tuple[bytes, ...] | None


class Flip(NamedTuple):
    """A flipped bit, what a verification finds, and the streams that are served differently."""

    at: int
    bit: int
    found: list[DamageReport]
    altered: set[str]

    @property
    def outcome(self) -> str:
        """Whether streams that are served differently are named."""
        names = {it.path for it in self.found}
        if not self.altered:
            return "not served differently"
        # What a fork has of its source is damaged there.
        if {it for it in self.altered if it not in names and _source(it) not in names} == set():
            return "the streams are named"
        return "the file is named" if self.found else "MISSED"


def _source(path: str) -> str:
    return path.replace("forks/", "rooms/")


async def written(folder: Path) -> bytes:
    """Write streams of all kinds, and return the data file."""
    chance = random.Random(7).randbytes
    async with opened("sqlite", folder) as log:
        for number in range(ROOMS):
            change = created(log, f"rooms/{number}", chance(300), chance(5000), created_at=number)
            await log.commit([change])
            for size in (40, 3000, 9000):
                change = await committed(log, appended(change.state, chance(size), chance(size)))
            change = appended(change.state, chance(30), closed=number % 4 == 0)
            await log.commit([with_producers(change, w=ProducerState(number, 5, 1.5))])
            tail = change.state.tail
            forked = {"lineage": (branched_off(change, tail),), "tail": tail + 600}
            ends = {"lifetime": Lifetime(ttl_s=3600), "deadline": 9e9}
            await log.commit([created(log, f"forks/{number}", chance(600), **forked, **ends)])
    return (folder / FILE).read_bytes()


async def served(folder: Path) -> Mapping[str, Served]:
    """Return what a log with this folder serves."""
    log = SqliteLog(folder)
    found: dict[str, Served] = {}
    with contextlib.suppress(Exception):  # with some damage nothing starts
        await log.open()
        for path in (f"{kind}/{number}" for kind in ("rooms", "forks") for number in range(ROOMS)):
            found[path] = await _served(log, path)
    with contextlib.suppress(Exception):
        await log.close()
    return found


async def _served(log: SqliteLog, path: str) -> Served:
    state = records = None
    with contextlib.suppress(Exception):
        state = (await log.load(path)).path_state.state
        if state is not None:
            records = (await log.read(state, state.first, state.tail)).records
            state = replace(state, version=0)
    return Served(state, records)


def damages(folder: Path) -> list[DamageReport]:
    """Return what a verification finds. Anything but a StartError is raised."""
    try:
        with SourceFile.open(folder / FILE) as source:
            return list(FileVerification(source, lambda: None).run())
    except StartError as refusal:
        return [DamageReport(refusal.detail)]


async def flips(folder: Path, number: int, seed: int) -> list[Flip]:
    """Flip so many bits, one at a time, and return what was found of each."""
    chance = random.Random(seed)
    for name in ("made", "flipped"):
        (folder / name).mkdir()
    sound = await written(folder / "made")
    before = await served(folder / "made")
    found: list[Flip] = []
    for _ in range(number):
        at, bit = chance.randrange(len(sound)), chance.randrange(8)
        data = bytearray(sound)
        data[at] ^= 1 << bit
        for file in (folder / "flipped").iterdir():
            file.unlink()
        (folder / "flipped" / FILE).write_bytes(data)
        named = damages(folder / "flipped")
        after = await served(folder / "flipped")
        altered = {path for path, seen in before.items() if after.get(path) != seen}
        found.append(Flip(at, bit, named, altered))
    return found
