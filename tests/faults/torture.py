"""Writers and live readers on a server that is killed again and again, and what was kept."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import random
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import aiohttp

from tests.faults.follower import CUT_OFF, Follower
from tests.faults.ledger import Faults, Ledger
from tests.faults.lifecycle import Lifecycle
from tests.support.waiting import until

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.support.processes import Headgate

WRITERS = 32
STREAMS = 8
LIFECYCLES = 2
PROBES = 3
"""Acknowledged offsets of each stream that are read from after each restart."""
LIMIT_S = 20.0
"""How long the load may need to begin, and a live reader to catch up while nothing is written."""


@dataclass(slots=True)
class Report:
    """What a run did and what it found."""

    seed: int
    kills: int = 0
    kills_at_start: int = 0
    acked: int = 0
    unanswered: int = 0
    closed_streams: int = 0
    lifecycle_steps: int = 0
    followed: int = 0
    """Messages that live readers received and that were compared with the content."""
    stored_bytes: int = 0
    faults: Faults = field(default_factory=Faults)
    recoveries_s: list[float] = field(default_factory=list)

    def recovery_ms(self, part: float) -> float:
        """From the start of the process to its readiness, for the given part of all restarts."""
        ordered = sorted(self.recoveries_s)
        return 1000 * ordered[min(len(ordered) - 1, int(part * len(ordered)))]

    def __str__(self) -> str:
        return (
            f"kills={self.kills} (during start: {self.kills_at_start}) acked={self.acked} "
            f"unanswered={self.unanswered} lost={self.faults.lost} "
            f"duplicated={self.faults.duplicated} torn={self.faults.torn} "
            f"misplaced={self.faults.misplaced} closed_streams={self.closed_streams} "
            f"lifecycle_steps={self.lifecycle_steps} followed={self.followed} "
            f"stored={self.stored_bytes >> 20}MiB recovery_p50={self.recovery_ms(0.5):.0f}ms "
            f"recovery_p99={self.recovery_ms(0.99):.0f}ms seed={self.seed}"
        )


async def torture(server: Headgate, kills: int, seed: int) -> Report:
    """Kill `server` that many times under load; stops early at the first broken promise."""
    async with _session() as session, _session() as readers:
        run = _Torture(server, session, readers, seed)
        await run.begin()
        while run.report.kills < kills and not run.report.faults.total:
            await run.round()
        if not run.report.faults.total:
            await run.end()
    return run.report


def _session() -> aiohttp.ClientSession:
    connector = aiohttp.TCPConnector(limit=0)
    timeout = aiohttp.ClientTimeout(total=None, sock_read=60)
    return aiohttp.ClientSession(connector=connector, timeout=timeout)


@dataclass(slots=True)
class _Closed:
    """A closed stream that was read in full: what every later read must find."""

    ledger: Ledger
    digest: bytes


class _Torture:
    def __init__(
        self,
        server: Headgate,
        session: aiohttp.ClientSession,
        readers: aiohttp.ClientSession,
        seed: int,
    ) -> None:
        self.server = server
        self.session = session
        self.readers = readers
        self.chance = random.Random(seed)
        self.report = Report(seed)
        self.is_up = True
        self.streams: list[Ledger] = []
        self.pending: dict[int, tuple[Ledger, int]] = {}
        self.closed: list[_Closed] = []
        self.followers: list[Follower] = []
        self.lifecycles: list[Lifecycle] = []
        self.created = 0

    async def begin(self) -> None:
        await asyncio.to_thread(self.server.start)
        await self._fill_up()
        self.lifecycles = [
            Lifecycle(self.session, self.server.streams, "/v1/stream", f"life{index}")
            for index in range(LIFECYCLES)
        ]
        self.followers = [self._follower("long-poll"), self._follower("sse")]

    async def round(self) -> None:
        """Load, kill, restart, read everything back."""
        async with asyncio.TaskGroup() as load:
            for writer in range(WRITERS):
                load.create_task(self._write(writer))
            for lifecycle in self.lifecycles:
                load.create_task(self._live(lifecycle))
            for follower in self.followers:
                load.create_task(self._follow(follower))
            await self._load_runs()
            await asyncio.sleep(self.chance.uniform(0.02, 0.4))
            self._kill()
        self.report.unanswered += len(self.pending)
        while self.chance.random() < 0.1:
            await self._kill_while_starting()
        await self._start()
        await self._verify()
        await self._fill_up()

    async def end(self) -> None:
        """A last orderly stop, after which all there ever was is read once more."""
        status = await asyncio.to_thread(self.server.terminate)
        assert status == 0, f"exit status {status} on SIGTERM:\n{self.server.output()[-2000:]}"
        await self._start()
        await self._verify()
        for closed in self.closed:
            await self._verify_closed(closed)
        self.report.lifecycle_steps = sum(lifecycle.steps for lifecycle in self.lifecycles)
        self.report.closed_streams = len(self.closed)

    # ---------------------------------------------------------------- the server

    def _kill(self) -> None:
        self.is_up = False
        self.server.kill()
        self.report.kills += 1

    async def _start(self) -> None:
        began = time.monotonic()
        await asyncio.to_thread(self.server.start)
        self.report.recoveries_s.append(time.monotonic() - began)
        self.is_up = True

    async def _kill_while_starting(self) -> None:
        start = asyncio.create_task(asyncio.to_thread(self.server.start))
        await asyncio.sleep(self.chance.uniform(0.0, 1.0))
        self._kill()
        self.report.kills_at_start += 1
        with contextlib.suppress(AssertionError):
            await start
            self.server.kill()

    # ---------------------------------------------------------------- the load

    async def _load_runs(self) -> None:
        """Wait for the first acknowledgement."""
        before = self.report.acked
        await until(lambda: self.report.acked != before, within_s=LIMIT_S)

    async def _write(self, writer: int) -> None:
        """Append until the server goes, beginning with what it never answered."""
        chance = random.Random(f"{self.report.seed} {self.report.kills} {writer}")
        try:
            while True:
                if writer not in self.pending:
                    open_streams = [ledger for ledger in self.streams if not ledger.is_closed]
                    if not open_streams:
                        return
                    ledger = chance.choice(open_streams)
                    self.pending[writer] = ledger, ledger.acked.get(writer, 0)
                await self._append(writer, *self.pending[writer])
                del self.pending[writer]
        except CUT_OFF:
            assert not self.is_up, "the server cut a writer off before it was killed"

    async def _live(self, lifecycle: Lifecycle) -> None:
        await lifecycle.run()
        assert not self.is_up, "the server cut a request off before it was killed"

    async def _follow(self, follower: Follower) -> None:
        await follower.follow()
        assert follower.at_end or not self.is_up, "a live read broke before the server was killed"

    async def _append(self, writer: int, ledger: Ledger, number: int) -> None:
        append = (writer, number)
        if ledger.closer is None and sum(ledger.acked.values()) >= ledger.closes_after:
            ledger.closer = append
        headers = ledger.note_sent(append)
        url = f"{self.server.streams}/{ledger.name}"
        body = ledger.body(writer, number)
        async with self.session.post(url, headers=headers, data=body) as answer:
            text = await answer.read()
            ledger.is_closed |= answer.headers.get("Stream-Closed") == "true"
            if answer.status == 409 and ledger.is_closed and ledger.closer != append:
                return
            assert answer.status in {200, 204}, (ledger.name, append, answer.status, text)
        ledger.note_acknowledged(append, answer)
        self.report.acked += 1

    async def _fill_up(self) -> None:
        """New streams in the place of closed ones."""
        self.streams = [ledger for ledger in self.streams if not ledger.is_closed]
        while len(self.streams) < STREAMS:
            self.created += 1
            is_json = bool(self.created % 2)
            limit = self.chance.randrange(100, 1500)
            ledger = Ledger(f"stream{self.created}", is_json, closes_after=limit)
            url = f"{self.server.streams}/{ledger.name}"
            headers = {"Content-Type": ledger.content_type}
            async with self.session.put(url, headers=headers) as answer:
                assert answer.status == 201, (ledger.name, answer.status)
            self.streams.append(ledger)

    def _follower(self, live: str) -> Follower:
        ledger = self.chance.choice(self.streams)
        return Follower(self.readers, self.server.streams, ledger, live)

    # ---------------------------------------------------------------- reading back

    async def _verify(self) -> None:
        """Read all that may have changed, with nobody writing."""
        for ledger in self.streams:
            found = await self._verify_stream(ledger)
            for index, follower in enumerate(self.followers):
                if follower.ledger is ledger:
                    await self._verify_follower(follower, found)
                    if ledger.is_closed:
                        self.followers[index] = self._next_follower(follower)
        for lifecycle in self.lifecycles:
            for problem in await lifecycle.problems():
                self.report.faults.lost += 1
                self.report.faults.note(problem)
        if self.closed:
            await self._verify_closed(self.chance.choice(self.closed))

    async def _verify_stream(self, ledger: Ledger) -> list[bytes]:
        found, is_closed = await self._read(ledger)
        if ledger.is_closed and not is_closed:
            self._fault(f"{ledger.name} was closed and is open again")
        ledger.is_closed = is_closed
        ends, faults = ledger.check(found)
        self.report.faults.add(faults)
        known = [append for append in ends if append in ledger.offsets]
        for append in self.chance.sample(known, min(PROBES, len(known))):
            rest = found[ends[append] :]
            got = await self._read_once(ledger, ledger.offsets[append])
            if got != rest[: len(got)] or (rest and not got):
                self._fault(f"{ledger.name}: {ledger.offsets[append]} is not behind {append}")
        if is_closed:
            self.closed.append(_Closed(ledger, _digest(found)))
            ledger.offsets.clear()
            self.report.stored_bytes += sum(map(len, found))
        return found

    async def _verify_closed(self, closed: _Closed) -> None:
        found, is_closed = await self._read(closed.ledger)
        if not is_closed or _digest(found) != closed.digest:
            self._fault(f"{closed.ledger.name} is closed and has changed")

    async def _verify_follower(self, follower: Follower, found: Sequence[bytes]) -> None:
        """A live reader sees the same as one who reads back, in time and only once."""
        following = asyncio.create_task(follower.follow())
        try:
            await follower.sees(len(found), LIMIT_S)
        except AssertionError:
            self._fault(f"{follower.live} reader has {len(follower.seen)} of {len(found)} messages")
        finally:
            following.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await following
        if follower.seen != found:
            self._fault(f"the {follower.live} reader saw {follower.ledger.name} with a difference")
        self.report.followed += len(found) - follower.verified
        follower.verified = len(found)

    def _next_follower(self, follower: Follower) -> Follower:
        others = [ledger for ledger in self.streams if not ledger.is_closed]
        ledger = self.chance.choice(others) if others else follower.ledger
        return Follower(self.readers, self.server.streams, ledger, follower.live)

    async def _read(self, ledger: Ledger) -> tuple[list[bytes], bool]:
        """The whole stream, and whether it is closed."""
        found: list[bytes] = []
        offset = "-1"
        while True:
            url = f"{self.server.streams}/{ledger.name}"
            async with self.session.get(url, params={"offset": offset}) as answer:
                content = await answer.read()
                if answer.status == 404:
                    return [], False
                assert answer.status == 200, (ledger.name, offset, answer.status, content)
                found += ledger.split(content)
                offset = answer.headers["Stream-Next-Offset"]
                if answer.headers.get("Stream-Up-To-Date") == "true":
                    return found, answer.headers.get("Stream-Closed") == "true"

    async def _read_once(self, ledger: Ledger, offset: str) -> list[bytes]:
        url = f"{self.server.streams}/{ledger.name}"
        async with self.session.get(url, params={"offset": offset}) as answer:
            content = await answer.read()
            assert answer.status == 200, (ledger.name, offset, answer.status, content)
            return ledger.split(content)

    def _fault(self, text: str) -> None:
        self.report.faults.misplaced += 1
        self.report.faults.note(text)


def _digest(messages: Sequence[bytes]) -> bytes:
    return hashlib.sha256(b"\n".join(messages)).digest()
