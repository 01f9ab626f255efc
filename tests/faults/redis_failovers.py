"""A log that loses what it acknowledged, again and again: what is lost, and what offsets say."""

from __future__ import annotations

import asyncio
import contextlib
import math
import random
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tests.faults.disasters import Oblivion, SplitBrain
from tests.faults.follower import CUT_OFF
from tests.faults.ledger import Faults, Ledger
from tests.faults.offset_probes import Probes
from tests.faults.pens import Pen
from tests.faults.prefixes import Prefixes
from tests.faults.readback import Readback, read_back
from tests.faults.redis_torture import NEVER, QUICK, session
from tests.faults.roaming import REFUSED, RETRY_S, Catcher, RoamingReader
from tests.support.processes import Headgate
from tests.support.waiting import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Mapping, Sequence

    import aiohttp

    from tests.faults.disasters import Disaster

WRITERS = 8
READERS = 4
"""Of each stream."""
ROUNDS_PER_ACT = 5
"""After so many, other streams take the place of those that have grown."""
APPENDS = 10
"""Of each writer, before what is to be kept and again before what is to be lost."""
LARGE, LARGE_EVEN, EVEN, PLAIN = (48, 0), (1, 16_384), (1, 300), (1, 0)
SHAPES = (LARGE, LARGE_EVEN, EVEN, PLAIN)
"""Large messages make whole chunks, for the caches; even ones end where others ended before."""
LOST_BYTES = 600_000
"""What the first stream grows by before the loss."""
PROBES = 12
GO_ON_S = 15.0
"""How long after the loss each writer must have gone on."""
LIMIT_S = 30.0


@dataclass(slots=True)
class Report:
    """What a run did and what it found."""

    seed: int
    losses: int = 0
    """Failovers or restarts."""
    lossy: int = 0
    """... of those, in which acknowledged appends were lost."""
    acked: int = 0
    lost: int = 0
    """Acknowledged appends that are gone: all of them after the moment of the last copy."""
    restarts: int = 0
    """How often a reader was told that what it had read is lost."""
    offsets: int = 0
    kept: int = 0
    gone: int = 0
    stale: int = 0
    unchanged: int = 0
    named: int = 0
    faults: Faults = field(default_factory=Faults)
    first_s: list[float] = field(default_factory=list)
    """From each loss to the first acknowledgement of an append sent after it."""
    all_s: list[float] = field(default_factory=list)
    """... to the first such acknowledgement of the last writer."""

    def fault(self, text: str) -> None:
        self.faults.misplaced += 1
        self.faults.note(text)

    def __str__(self) -> str:
        first, everyone = sorted(self.first_s) or [0.0], sorted(self.all_s) or [0.0]
        half = len(first) // 2
        return (
            f"losses={self.losses} (with lost appends: {self.lossy}) acked={self.acked} "
            f"lost={self.lost} readers_sent_back={self.restarts} "
            f"first_ack_p50={first[half]:.2f}s max={first[-1]:.2f}s "
            f"all_writers_p50={everyone[half]:.2f}s max={everyone[-1]:.2f}s "
            f"offsets={self.offsets} probed_kept={self.kept} probed_lost={self.gone} "
            f"(stale at first: {self.stale}) "
            f"named_in_410={self.named} not_modified={self.unchanged} "
            f"faults={self.faults.total} seed={self.seed}"
        )


@contextlib.contextmanager
def roaming_gateways(origin: str, count: int) -> Iterator[list[str]]:
    """The URLs of so many gateways of one log."""
    with contextlib.ExitStack() as opened:
        gateways = [Headgate(origin, environment=QUICK) for _ in range(count)]
        for gateway in gateways:
            opened.callback(gateway.close)
            gateway.start()
        yield [gateway.streams for gateway in gateways]


async def lose_again_and_again(
    disasters: Sequence[Disaster], gateways: Sequence[str], seed: int
) -> Report:
    """One disaster after the other under load; stops early at the first broken promise."""
    report = Report(seed)
    for at in range(0, len(disasters), ROUNDS_PER_ACT):
        try:
            async with session() as clients:
                act = _Act(clients, gateways, report, f"{seed}-{at}")
                await act.play(disasters[at : at + ROUNDS_PER_ACT])
        except* (AssertionError, TimeoutError) as broken:
            for error in broken.exceptions:
                report.fault(f"somebody waited in vain or was told nonsense: {error!r}")
        if report.faults.total:
            break
    return report


class _Act:
    """One set of streams through several losses."""

    def __init__(
        self, clients: aiohttp.ClientSession, gateways: Sequence[str], report: Report, name: str
    ) -> None:
        self.clients = clients
        self.gateways = gateways
        self.report = report
        self.name = name
        self.chance = random.Random(name)
        self.probes = Probes(clients, gateways, self.chance)
        self.streams: list[Prefixes] = []
        self.pens: dict[int, list[Pen]] = {writer: [] for writer in range(WRITERS)}
        self.readers: list[RoamingReader] = []
        self.reading: list[asyncio.Task[None]] = []
        self.first_bytes = 0
        """Acknowledged in the first stream."""
        self.is_writing = False
        self.one_since = 0.0
        """Up to then two were primaries, and what was lost depended on whom a gateway asked."""
        self.since = time.monotonic()
        self.gone_on: dict[int, float] = {}

    async def play(self, disasters: Sequence[Disaster]) -> None:
        for turn, shape in enumerate(SHAPES):
            await self._add_stream(str(turn), shape)
        try:
            for number, disaster in enumerate(disasters):
                await self._round(disaster, number)
                if self.report.faults.total:
                    break
        finally:
            for task in self.reading:
                task.cancel()
            told = await asyncio.gather(*self.reading, return_exceptions=True)
        for outcome in told:
            if isinstance(outcome, Exception):
                self.report.fault(f"a reader was told nonsense: {outcome!r}")
        self._sum_up()
        await self._make_room()

    async def _make_room(self) -> None:
        """Redis copies all that it has to its replicas, which the next act would wait for."""
        for prefixes in self.streams:
            url = f"{self.gateways[0]}/{prefixes.ledger.name}"
            async with self.clients.delete(url) as answer:
                assert answer.status == 204, (url, answer.status, await answer.read())

    def _sum_up(self) -> None:
        found = self.probes.found
        self.report.restarts += sum(reader.restarts for reader in self.readers)
        self.report.offsets += sum(len(prefixes.traces) for prefixes in self.streams)
        self.report.kept += found.kept
        self.report.gone += found.gone
        self.report.stale += found.stale
        self.report.unchanged += found.unchanged
        self.report.named += found.named

    # ---------------------------------------------------------------- one loss

    async def _round(self, disaster: Disaster, number: int) -> None:
        """Load, a moment from which on all is lost, more load, the loss, and a look at it all."""
        lost = self.report.lost
        async with self._load():
            await self._until_written(0)
            pens = self._all_pens()
            kept = [pen.mark() for pen in pens]
            await asyncio.to_thread(disaster.keep)
            # Its creation will be lost too, and it is created anew for other content.
            await self._add_stream(f"late-{number}", EVEN)
            await self._until_written(LOST_BYTES)
            await asyncio.gather(*(self._catch_up(base) for base in self.gateways))
            is_split = isinstance(disaster, SplitBrain)
            if is_split:
                self.one_since = math.inf
            disaster.strike()
            self.gone_on, self.since = {}, time.monotonic()
            await asyncio.to_thread(disaster.recover)
            if is_split:
                self.one_since = time.monotonic()
            await asyncio.gather(*(self._create(prefixes.ledger) for prefixes in self.streams))
            await self._go_on()
        # By its next append each writer learns what it lost.
        await asyncio.gather(*map(self._append_once, range(WRITERS)))
        self.report.losses += 1
        self.report.lossy += self.report.lost > lost
        if not isinstance(disaster, Oblivion):
            for pen, seq in zip(pens, kept, strict=True):
                self._check_kept(pen, seq)
        await self._verify()

    def _check_kept(self, pen: Pen, seq: int) -> None:
        if pen.least < seq:
            self.report.faults.lost += seq - pen.least
            self.report.faults.note(
                f"writer {pen.producer} has to go on from {pen.least} in {pen.ledger.name}, "
                f"where {seq} were acknowledged before the last copy"
            )

    async def _go_on(self) -> None:
        """Wait until each writer has gone on after the loss."""
        try:
            await until(lambda: len(self.gone_on) == WRITERS, within_s=LIMIT_S)
        except AssertionError:
            hung = set(range(WRITERS)).difference(self.gone_on)
            raise AssertionError(f"the writers {hung} hang") from None
        self.report.first_s.append(min(self.gone_on.values()))
        self.report.all_s.append(max(self.gone_on.values()))
        if self.report.all_s[-1] > GO_ON_S:
            self.report.fault(f"a writer went on after {self.report.all_s[-1]:.1f} s only")

    # ---------------------------------------------------------------- the load

    async def _add_stream(self, name: str, shape: tuple[int, int]) -> None:
        turn = len(self.streams)
        ledger = Ledger(f"act-{self.name}-{name}", bool(turn % 2), NEVER)
        ledger.larger, ledger.even = shape
        await self._create(ledger)
        prefixes = Prefixes(ledger)
        self.streams.append(prefixes)
        for writer, pens in self.pens.items():
            pens.append(Pen(prefixes, writer))
        for reader in range(READERS):
            live = ("long-poll", "sse")[(turn + reader) % 2]
            follower = RoamingReader(
                self.clients, self.gateways, prefixes, live=live, turn=turn + reader
            )
            self.readers.append(follower)
            self.reading.append(asyncio.create_task(follower.follow()))

    def _all_pens(self) -> list[Pen]:
        return [pen for pens in self.pens.values() for pen in pens]

    @contextlib.asynccontextmanager
    async def _load(self) -> AsyncIterator[None]:
        """All writers write, and finish what they began."""
        self.is_writing = True
        async with asyncio.TaskGroup() as writers:
            for writer in range(WRITERS):
                writers.create_task(self._write(writer))
            try:
                yield
            finally:
                self.is_writing = False

    async def _write(self, writer: int) -> None:
        while self.is_writing:
            began = time.monotonic()
            await self._append(self.chance.choice(self.pens[writer]))
            if began >= self.since:
                self.gone_on.setdefault(writer, time.monotonic() - self.since)

    async def _append_once(self, writer: int) -> None:
        for pen in self.pens[writer]:
            await self._append(pen)

    async def _until_written(self, more_bytes: int) -> None:
        """Wait until each writer has appended some, and the first stream has grown by so much."""
        acked = self.report.acked + WRITERS * APPENDS
        size = self.first_bytes + more_bytes
        await until(
            lambda: self.report.acked >= acked and self.first_bytes >= size, within_s=LIMIT_S
        )

    async def _append(self, pen: Pen) -> None:
        """One append, sent until it is acknowledged, or what takes its place after a loss."""
        while True:
            headers, body, began = pen.headers, pen.begin(), time.monotonic()
            answer = await self._send("POST", pen.ledger.name, headers, body)
            if answer.status in {200, 204}:
                first = answer.status == 200
                pen.acknowledged(answer.headers["Stream-Next-Offset"] if first else None)
                self.report.acked += 1
                if pen.prefixes is self.streams[0]:
                    self.first_bytes += len(body)
                return
            if answer.status == 409 and began < self.one_since:
                await asyncio.sleep(RETRY_S)  # until all say the same
            elif answer.status == 409 and "Producer-Expected-Seq" in answer.headers:
                self.report.lost += pen.goes_on_from(int(answer.headers["Producer-Expected-Seq"]))
            else:
                # Lost with its creation, and about to be created anew.
                assert answer.status == 404, (pen.ledger.name, headers, answer)
                await asyncio.sleep(RETRY_S)

    async def _create(self, ledger: Ledger) -> None:
        answer = await self._send("PUT", ledger.name, {"Content-Type": ledger.content_type}, b"")
        assert answer.status in {200, 201}, (ledger.name, answer)

    async def _send(
        self, method: str, name: str, headers: dict[str, str], body: bytes
    ) -> aiohttp.ClientResponse:
        """The first answer that is no refusal, from any gateway."""
        while True:
            url = f"{self.chance.choice(self.gateways)}/{name}"
            try:
                async with self.clients.request(method, url, headers=headers, data=body) as answer:
                    await answer.read()
                    if answer.status not in REFUSED:
                        return answer
            except CUT_OFF:
                pass
            await asyncio.sleep(RETRY_S)

    # ---------------------------------------------------------------- what became of it

    async def _catch_up(self, base: str) -> None:
        catcher = Catcher(self.clients, [base])
        for prefixes in self.streams:
            await catcher.read(prefixes)

    async def _verify(self) -> None:
        streams: dict[str, Readback] = {}
        try:
            async with asyncio.timeout(LIMIT_S):
                for prefixes in self.streams:
                    now = await read_back(self.clients, self.gateways, prefixes)
                    streams[prefixes.ledger.name] = now
                    self.report.faults.add(now.faults)
                    await self.probes.ask(prefixes, now, PROBES)
                await self._await_readers(streams)
        except TimeoutError:
            self.report.fault("the streams cannot be read to their ends")
        for fault in self.probes.found.faults:
            self.report.fault(fault)
        self.probes.found.faults.clear()

    async def _await_readers(self, streams: Mapping[str, Readback]) -> None:
        """Each reader comes to have read what is there, from its beginning, and nothing else."""
        behind = list(self.readers)
        while behind and not any(task.done() for task in self.reading):
            for reader in list(behind):
                now = streams[reader.prefixes.ledger.name]
                if reader.offset == now.tail:
                    behind.remove(reader)
                    if reader.trace.digest != now.traces[-1].digest:
                        self.report.fault(f"{reader} has read something else than what is there")
            await asyncio.sleep(0.01)
        for reader in behind:
            self.report.fault(f"{reader} does not come to see what is there")
