"""Writers and readers at gateways of a Redis whose only replica goes and comes, and takes over."""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tests.faults.ledger import Faults, Ledger
from tests.faults.prefixes import Prefixes
from tests.faults.readback import read_back
from tests.faults.redis_torture import NEVER, QUICK, session
from tests.faults.roaming import RETRY_S, RoamingReader
from tests.support.processes import Headgate
from tests.support.redis_servers import HOST, RedisServer
from tests.support.waiting import until, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    import aiohttp

GATEWAYS = 2
WRITERS = 8
READERS = 200
"""Half of them live, by long-polls or SSE; the others ask again and again."""
STREAMS = 4
PAUSE_S = 0.2
"""Between two reads of a reader that is not live."""
FROZEN_SHARE = 0.25
"""The part of the rounds in which the replica is only frozen."""
FAILOVER_SHARE = 0.2
"""The part in which the primary fails over to it, and back; reads are refused meanwhile."""
LIMIT_S = 30.0
OPTIONS = {
    "min-replicas-to-write": "1",
    "min-replicas-max-lag": "1",
    "repl-diskless-sync-delay": "0",
}


@dataclass(slots=True)
class Report:
    """What a run did and what it found."""

    seed: int
    rounds: int = 0
    failovers: int = 0
    """The rounds among them in which the primary was demoted."""
    acked: int = 0
    refused_appends: int = 0
    reads: int = 0
    """Of readers that are not live."""
    refused_reads: int = 0
    cut_reads: int = 0
    demoted_reads: int = 0
    """Refused, or cut, in these rounds: a Redis that may not be the primary answers no read."""
    old_reads: int = 0
    """Reads that said *up to date*, and lacked what was acknowledged before they began."""
    faults: Faults = field(default_factory=Faults)

    def is_clean(self) -> bool:
        wrong = self.refused_reads + self.cut_reads + self.old_reads
        return not wrong and not self.faults.total

    def __str__(self) -> str:
        return (
            f"rounds={self.rounds} failovers={self.failovers} acked={self.acked} "
            f"refused_appends={self.refused_appends} "
            f"reads={self.reads} refused_reads={self.refused_reads} cut_reads={self.cut_reads} "
            f"demoted_reads={self.demoted_reads} "
            f"old_reads={self.old_reads} lost={self.faults.lost} "
            f"doubled={self.faults.duplicated} faults={self.faults.total} seed={self.seed}"
        )


@contextlib.contextmanager
def replicated(folder: Path) -> Iterator[tuple[RedisServer, RedisServer]]:
    """A primary that takes writes only with its replica, and this replica."""
    primary = RedisServer(folder / "primary", options=OPTIONS)
    following = {**OPTIONS, "replicaof": f"{HOST} {primary.port}"}
    replica = RedisServer(folder / "replica", options=following)
    try:
        primary.start()
        replica.start()
        wait_until(lambda: good_replicas(primary) == 1, "the replica to follow", replica.output)
        yield primary, replica
    finally:
        if replica.is_running:
            replica.resume()
        replica.kill()
        primary.kill()


def good_replicas(primary: RedisServer) -> int:
    """How many replicas the primary counts when it decides whether to take writes."""
    return int(primary.info("replication")["min_slaves_good_slaves"])


def hand_over(primary: RedisServer, replica: RedisServer) -> None:
    """Let the replica take over from the primary, which then follows it."""
    primary.command("FAILOVER", "TO", HOST, str(replica.port))
    wait_until(lambda: replica.info("replication")["role"] == "master", "it to take over")
    wait_until(lambda: good_replicas(replica) == 1, "the other one to follow")


async def go_and_come(
    primary: RedisServer,
    replica: RedisServer,
    rounds: int,
    seed: int,
    readers: int = READERS,
) -> Report:
    """Let the replica go and come so often under load."""
    report = Report(seed)
    with contextlib.ExitStack() as opened:
        gateways = [Headgate(primary.url, environment=QUICK) for _ in range(GATEWAYS)]
        for gateway in gateways:
            opened.callback(gateway.close)
            await asyncio.to_thread(gateway.start)
        async with session() as clients:
            urls = [gateway.streams for gateway in gateways]
            await _Run(clients, urls, report, readers).play(primary, replica, rounds)
    return report


class _Run:
    """One set of streams, from their creation to their closure."""

    def __init__(
        self, clients: aiohttp.ClientSession, urls: Sequence[str], report: Report, readers: int
    ) -> None:
        self._clients = clients
        self._urls = urls
        self._report = report
        self._chance = random.Random(report.seed)
        self._ledgers = [
            Ledger(f"s-{n}", is_json=False, closes_after=NEVER) for n in range(STREAMS)
        ]
        self._prefixes = [Prefixes(ledger) for ledger in self._ledgers]
        self._acked = dict.fromkeys(range(STREAMS), "")  # the last acknowledged offset of each
        self._written: set[int] = set()  # writers that were acknowledged since it was emptied
        self._is_over = False
        self._live = [self._reader(turn) for turn in range(readers // 2)]
        self._others = readers - readers // 2

    def _reader(self, turn: int) -> RoamingReader:
        live = ("long-poll", "sse")[turn // STREAMS % 2]
        prefixes = self._prefixes[turn % STREAMS]
        return RoamingReader(self._clients, self._urls, prefixes, live=live, turn=turn)

    async def play(self, primary: RedisServer, replica: RedisServer, rounds: int) -> None:
        await asyncio.gather(*map(self._create, range(STREAMS)))
        following = [asyncio.create_task(reader.follow()) for reader in self._live]
        try:
            async with asyncio.TaskGroup() as load:
                for writer in range(WRITERS):
                    load.create_task(self._write(writer))
                for turn in range(self._others):
                    load.create_task(self._ask_again(turn))
                await self._rounds(primary, replica, rounds)
            await asyncio.gather(*(self._append(it, it, close=True) for it in range(STREAMS)))
            done, late = await asyncio.wait(following, timeout=LIMIT_S)
            assert not late, f"{len(late)} readers do not come to the end"
            for task in done:
                task.result()
        finally:
            for task in following:
                task.cancel()
            await asyncio.gather(*following, return_exceptions=True)
        self._report.cut_reads += sum(reader.cuts for reader in self._live)
        self._report.refused_reads += sum(reader.refusals for reader in self._live)
        for prefixes in self._prefixes:
            found = await read_back(self._clients, self._urls, prefixes)
            self._report.faults.add(found.faults)

    async def _rounds(self, primary: RedisServer, replica: RedisServer, rounds: int) -> None:
        try:
            for _ in range(rounds):
                if self._chance.random() < FAILOVER_SHARE:
                    await self._fail_over(primary, replica)
                else:
                    await self._round(primary, replica)
                self._written.clear()
                await until(lambda: len(self._written) == WRITERS, within_s=LIMIT_S)
                self._report.rounds += 1
        finally:
            self._is_over = True

    async def _round(self, primary: RedisServer, replica: RedisServer) -> None:
        is_frozen = self._chance.random() < FROZEN_SHARE
        refused = self._report.refused_appends
        await asyncio.to_thread(replica.pause if is_frozen else replica.kill)
        await asyncio.to_thread(wait_until, lambda: good_replicas(primary) == 0, "it to be gone")
        await until(lambda: self._report.refused_appends >= refused + WRITERS, within_s=LIMIT_S)
        await asyncio.sleep(self._chance.uniform(0, 0.5))
        await asyncio.to_thread(replica.resume if is_frozen else replica.start)
        await asyncio.to_thread(wait_until, lambda: good_replicas(primary) == 1, "it to be there")

    async def _fail_over(self, primary: RedisServer, replica: RedisServer) -> None:
        """Demote the primary for a moment, which the gateways go on asking."""
        refused = self._report.refused_appends
        before = self._refused_reads()
        await asyncio.to_thread(hand_over, primary, replica)
        await until(lambda: self._report.refused_appends >= refused + WRITERS, within_s=LIMIT_S)
        await asyncio.to_thread(hand_over, replica, primary)
        self._written.clear()
        await until(lambda: len(self._written) == WRITERS, within_s=LIMIT_S)
        await asyncio.sleep(2 * PAUSE_S)  # readers that wait to ask again
        new = self._refused_reads() - before
        self._report.demoted_reads += new
        self._report.refused_reads -= new
        self._report.failovers += 1

    def _refused_reads(self) -> int:
        return self._report.refused_reads + sum(one.refusals + one.cuts for one in self._live)

    async def _create(self, number: int) -> None:
        ledger = self._ledgers[number]
        url = f"{self._urls[0]}/{ledger.name}"
        async with self._clients.put(url, headers={"Content-Type": ledger.content_type}) as answer:
            assert answer.status == 201, answer

    async def _write(self, writer: int) -> None:
        while not self._is_over:
            await self._append(writer, self._chance.randrange(STREAMS))
            self._written.add(writer)

    async def _append(self, writer: int, number: int, *, close: bool = False) -> None:
        """One append, sent until it is acknowledged."""
        ledger = self._ledgers[number]
        append = writer, ledger.acked.get(writer, 0)
        if close:
            ledger.closer, ledger.is_closed = append, True
        headers = ledger.note_sent(append)
        while True:
            url = f"{self._chance.choice(self._urls)}/{ledger.name}"
            body = ledger.body(*append)
            async with self._clients.post(url, headers=headers, data=body) as answer:
                await answer.read()
            if answer.status in {200, 204}:
                break
            assert answer.status == 503, answer
            self._report.refused_appends += 1
            await asyncio.sleep(RETRY_S)
        ledger.note_acknowledged(append, answer)
        self._acked[number] = max(self._acked[number], answer.headers["Stream-Next-Offset"])
        self._report.acked += 1

    async def _ask_again(self, turn: int) -> None:
        """Read on from the last offset, and compare what is up to date with acknowledgements."""
        number, offset = turn % STREAMS, "-1"
        await asyncio.sleep(self._chance.uniform(0, PAUSE_S))
        while not self._is_over:
            url = f"{self._urls[turn % GATEWAYS]}/{self._ledgers[number].name}"
            known = self._acked[number]
            async with self._clients.get(url, params={"offset": offset}) as answer:
                await answer.read()
            self._report.reads += 1
            if answer.status != 200:
                self._report.refused_reads += 1
                self._report.faults.note(f"{answer.status} at {time.monotonic():.3f}: {answer}")
            else:
                offset = answer.headers["Stream-Next-Offset"]
                if answer.headers.get("Stream-Up-To-Date") and offset < known:
                    self._report.old_reads += 1
            await asyncio.sleep(PAUSE_S)
