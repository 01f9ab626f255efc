"""Writers and live readers at many gateways, while Redis, gateways and connections are killed."""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple, Self

import aiohttp

from tests.faults.follower import CUT_OFF
from tests.faults.ledger import Faults, Ledger
from tests.faults.prefixes import Prefixes
from tests.faults.readback import read_back
from tests.faults.roaming import REFUSED, RETRY_S, RoamingReader
from tests.faults.tears import arm, await_tear
from tests.support.cutting_proxy import CuttingProxy
from tests.support.processes import Headgate
from tests.support.waiting import until

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType

    from tests.support.redis_servers import RedisServer

WRITERS = 32
READERS = 200
STREAMS = 8
KILLS_PER_ACT = 12
"""After so many, the streams are closed, read to their ends and replaced by new ones."""
CUT_BYTES = 1 << 19
"""At most so many go through one connection of a client, until the proxies are more patient."""
LIMIT_S = 30.0
"""How long it may take until every writer goes on, or every reader has read all there is."""
NEVER = 1 << 62
EVERY_WRITE = {"appendonly": "yes", "appendfsync": "always"}
"""What Redis has to be told so that an acknowledged append outlives it."""
QUICK = {"HEADGATE_LIVE__LONG_POLL_TIMEOUT": "2", "HEADGATE_LIVE__SSE_HEARTBEAT": "1"}


class Kills(NamedTuple):
    """How often what is killed, and how."""

    redis: int
    gateways: int
    tears: int = 0
    """Of Redis in the midst of a write. It takes another start until all that does is there."""

    def shuffled(self, chance: random.Random) -> list[str]:
        kills = ["redis"] * self.redis + ["gateway"] * self.gateways + ["tear"] * self.tears
        chance.shuffle(kills)
        return kills


@dataclass(slots=True)
class Report:
    """What a run did and what it found."""

    seed: int
    redis_kills: int = 0
    gateway_kills: int = 0
    tears: int = 0
    """Kills of Redis that left a part of a commit in its file."""
    cuts: int = 0
    """Connections of clients that a proxy broke."""
    acked: int = 0
    repeated: int = 0
    """Appends that were sent again because no answer came, or a refusal."""
    read_ends: int = 0
    """Readers who read a stream to its end, every byte of it once."""
    resumed: int = 0
    """How often those readers went on at another gateway after a cut."""
    gaps: int = 0
    """Readers who missed something, got it twice or out of order, or were told it is lost."""
    faults: Faults = field(default_factory=Faults)
    waits_s: list[float] = field(default_factory=list)
    """For each kill and writer: from when it was possible to go on to its first acknowledgement.

    That is when a killed gateway dies, as there are others, and when a killed Redis is back.
    """

    @property
    def kills(self) -> int:
        return self.redis_kills + self.gateway_kills + self.tears

    def fault(self, text: str) -> None:
        self.gaps += 1
        self.faults.note(text)

    def is_clean(self) -> bool:
        return not self.faults.total and not self.gaps

    def wait_ms(self, part: float) -> float:
        ordered = sorted(self.waits_s) or [0.0]
        return 1000 * ordered[min(len(ordered) - 1, int(part * len(ordered)))]

    def __str__(self) -> str:
        return (
            f"redis_kills={self.redis_kills} gateway_kills={self.gateway_kills} "
            f"tears={self.tears} cuts={self.cuts} acked={self.acked} repeated={self.repeated} "
            f"lost={self.faults.lost} doubled={self.faults.duplicated} torn={self.faults.torn} "
            f"misplaced={self.faults.misplaced} readers={self.read_ends} resumed={self.resumed} "
            f"gaps={self.gaps} writers_go_on_p50={self.wait_ms(0.5):.0f}ms "
            f"p99={self.wait_ms(0.99):.0f}ms max={self.wait_ms(1):.0f}ms seed={self.seed}"
        )


class Primaries:
    """Gateways of one log, each behind a proxy that cuts connections, and the log's servers."""

    def __init__(self, origin: str, redis: Sequence[RedisServer], gateways: int, seed: int) -> None:
        self.redis = redis
        self.gateways = [Headgate(origin, environment=QUICK) for _ in range(gateways)]
        self.proxies = [
            CuttingProxy(gateway.port, seed=seed + turn, at_most=CUT_BYTES)
            for turn, gateway in enumerate(self.gateways)
        ]
        self._open = contextlib.AsyncExitStack()

    @property
    def cutting(self) -> list[str]:
        """The gateways as clients see them."""
        return [f"http://127.0.0.1:{proxy.port}/v1/stream" for proxy in self.proxies]

    @property
    def direct(self) -> list[str]:
        return [gateway.streams for gateway in self.gateways]

    async def __aenter__(self) -> Self:
        for gateway in self.gateways:
            self._open.callback(gateway.close)
            await asyncio.to_thread(gateway.start)
        for proxy in self.proxies:
            await self._open.enter_async_context(proxy)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._open.aclose()


def session() -> aiohttp.ClientSession:
    """Many connections at once; one that is silent for long is given up."""
    connector = aiohttp.TCPConnector(limit=0)
    timeout = aiohttp.ClientTimeout(total=None, sock_connect=5, sock_read=10)
    return aiohttp.ClientSession(connector=connector, timeout=timeout)


async def torture(primaries: Primaries, wanted: Kills, seed: int, readers: int = READERS) -> Report:
    """Kill so often or more under load; stops early after the first act with a broken promise."""
    report = Report(seed)
    kills = wanted.shuffled(random.Random(seed))
    acts = [kills[at : at + KILLS_PER_ACT] for at in range(0, len(kills), KILLS_PER_ACT)]
    for number, act in enumerate(acts):
        try:
            async with session() as clients:
                await _Act(primaries, clients, report, f"{seed} {number}", readers).play(act)
        except* AssertionError as broken:
            for error in broken.exceptions:
                report.fault(f"somebody was told nonsense: {error!r}")
        if not report.is_clean():
            break
    report.cuts = sum(proxy.cuts for proxy in primaries.proxies)
    return report


class _Act:
    """One set of streams, from their creation to their closure."""

    def __init__(
        self,
        primaries: Primaries,
        clients: aiohttp.ClientSession,
        report: Report,
        name: str,
        readers: int,
    ) -> None:
        self.primaries = primaries
        self.clients = clients
        self.report = report
        self.name = name.replace(" ", "-")
        self.chance = random.Random(name)
        self.ledgers = [
            Ledger(f"act-{self.name}-{turn}", bool(turn % 2), closes_after=NEVER)
            for turn in range(STREAMS)
        ]
        self.prefixes = [Prefixes(ledger) for ledger in self.ledgers]
        self.readers = [self._reader(turn) for turn in range(readers)]
        self.torn: list[RedisServer] = []
        """Servers that have not been killed again since."""
        self.is_over = False
        self.since = time.monotonic()
        self.gone_on: dict[int, float] = {}
        """For each writer, its first acknowledgement of an append sent after `since`."""

    def _reader(self, turn: int) -> RoamingReader:
        live = ("long-poll", "sse")[turn // STREAMS % 2]
        prefixes = self.prefixes[turn % STREAMS]
        return RoamingReader(self.clients, self.primaries.cutting, prefixes, live=live, turn=turn)

    async def play(self, kills: Sequence[str]) -> None:
        for ledger in self.ledgers:
            await self._create(ledger)
        reading = [asyncio.create_task(reader.follow()) for reader in self.readers]
        try:
            async with asyncio.TaskGroup() as load:
                for writer in range(WRITERS):
                    load.create_task(self._write(writer))
                try:
                    for kill in kills:
                        await self._kill(kill)
                    while self.torn:
                        await self._kill("redis")
                    await self._go_on()
                finally:
                    self.is_over = True
            for ledger in self.ledgers:
                await self._append(0, ledger, close=True)
            await self._await_readers(reading)
        finally:
            for task in reading:
                task.cancel()
            await asyncio.gather(*reading, return_exceptions=True)
        for prefixes in self.prefixes:
            await self._verify(prefixes)

    # ---------------------------------------------------------------- faults

    async def _kill(self, what: str) -> None:
        await self._go_on()
        await asyncio.sleep(self.chance.uniform(0.05, 0.5))
        for proxy in self.primaries.proxies:
            proxy.at_most = CUT_BYTES
        if what == "gateway":
            await self._kill_gateway()
            return
        if what == "tear":
            server = self.chance.choice(self.primaries.redis)
            arm(server, self.chance.getrandbits(32))
            await asyncio.to_thread(await_tear, server)
            self.torn.append(server)
            self.report.tears += 1
        else:
            server = self.chance.choice(self.torn or self.primaries.redis)
            server.kill()
            self.torn = [other for other in self.torn if other is not server]
            self.report.redis_kills += 1
        await asyncio.sleep(self.chance.uniform(0, 0.5))
        await asyncio.to_thread(server.start)
        self._possible_again()

    async def _kill_gateway(self) -> None:
        gateway = self.chance.choice(self.primaries.gateways)
        gateway.kill()
        self._possible_again()
        self.report.gateway_kills += 1
        await asyncio.sleep(self.chance.uniform(0, 0.5))
        await asyncio.to_thread(_start, gateway)

    def _possible_again(self) -> None:
        self.gone_on = {}
        self.since = time.monotonic()

    async def _go_on(self) -> None:
        """Wait until each writer has gone on after the last fault."""
        try:
            await until(lambda: len(self.gone_on) == WRITERS, within_s=LIMIT_S)
        except AssertionError:
            outputs = "".join(gateway.output()[-3000:] for gateway in self.primaries.gateways)
            raise AssertionError(
                f"{WRITERS - len(self.gone_on)} writers hang:\n{outputs}"
            ) from None
        if self.report.kills:
            self.report.waits_s += self.gone_on.values()

    # ---------------------------------------------------------------- the load

    async def _create(self, ledger: Ledger) -> None:
        headers = {"Content-Type": ledger.content_type}
        statuses = {200, 201}
        await self._send("PUT", ledger.name, headers, b"", statuses)

    async def _write(self, writer: int) -> None:
        chance = random.Random(f"{self.name} {writer}")
        while not self.is_over:
            began = time.monotonic()
            await self._append(writer, chance.choice(self.ledgers))
            if began >= self.since:
                self.gone_on.setdefault(writer, time.monotonic() - self.since)

    async def _append(self, writer: int, ledger: Ledger, *, close: bool = False) -> None:
        """One append, sent until it is acknowledged."""
        append = writer, ledger.acked.get(writer, 0)
        if close:
            ledger.closer, ledger.is_closed = append, True
        headers = ledger.note_sent(append)
        answer = await self._send("POST", ledger.name, headers, ledger.body(*append), {200, 204})
        ledger.note_acknowledged(append, answer)
        self.report.acked += 1

    async def _send(
        self, method: str, name: str, headers: dict[str, str], body: bytes, answers: set[int]
    ) -> aiohttp.ClientResponse:
        """Any gateway's answer to a request that may be sent again and again."""
        while True:
            url = f"{self.chance.choice(self.primaries.cutting)}/{name}"
            try:
                async with self.clients.request(method, url, headers=headers, data=body) as answer:
                    text = await answer.read()
                    if answer.status in answers:
                        return answer
                    assert answer.status in REFUSED, (url, headers, answer.status, text)
            except CUT_OFF:
                pass
            self.report.repeated += 1
            await asyncio.sleep(RETRY_S)

    # ---------------------------------------------------------------- what became of it

    async def _await_readers(self, reading: Sequence[asyncio.Task[None]]) -> None:
        done, late = await asyncio.wait(reading, timeout=LIMIT_S)
        for task in done:
            if error := task.exception():
                self.report.fault(f"a reader was told nonsense: {error!r}")
        if late:
            slow = [reader for reader in self.readers if not reader.at_end]
            self.report.fault(f"{len(late)} readers do not come to the end: {slow[:3]}")

    async def _verify(self, prefixes: Prefixes) -> None:
        found = await read_back(self.clients, self.primaries.direct, prefixes)
        self.report.faults.add(found.faults)
        if not found.is_closed:
            self.report.fault(f"{prefixes.ledger.name} is open again")
        self._verify_readers(prefixes, found.traces[-1].digest)

    def _verify_readers(self, prefixes: Prefixes, whole: bytes) -> None:
        for reader in self.readers:
            if reader.prefixes is not prefixes:
                continue
            if reader.restarts or reader.trace.digest != whole:
                self.report.fault(f"{reader} saw something else than what is there")
            self.report.read_ends += reader.at_end
            self.report.resumed += reader.cuts


def _start(gateway: Headgate) -> None:
    """Start it, also when Redis is away at first."""
    gateway.start()
