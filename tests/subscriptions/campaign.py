"""A campaign: writers append, workers acknowledge, gateways are killed, and their clock is set."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

import aiohttp
from aiohttp import web

from tests.subscriptions.receivers import Receiver, receiver
from tests.subscriptions.wake_book import AWAY, WakeBook
from tests.support.waiting import SERVER_PATIENCE_S, at_rest, until

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Sequence

    from tests.support.processes import Headgate

    # Whatever else happens between two kills: another server is killed, a clock is set.
    Disturbance = Callable[[random.Random], Awaitable[None]]

STREAMS, WORKERS = 8, 3
JSON = {"Content-Type": "application/json"}
DOWN = (aiohttp.ClientError, ConnectionError, TimeoutError)
LEASE_S = 1.0
LATE_S = 1.3 * LEASE_S  # when the lease of a late worker is over


class Killed(Protocol):
    """A server that a campaign kills."""

    def kill(self) -> None:
        """End it as a crash would."""

    def start(self) -> object:
        """Start it on the same port."""


def kills_of(*servers: Killed) -> Disturbance:
    """Return the kills of one of some servers or of none, by chance, each with a new start."""

    async def kill(chance: random.Random) -> None:
        server = chance.choice(servers)
        if chance.random() < 0.5:
            await kill_once(server)

    return kill


async def kill_once(server: Killed) -> None:
    """Kill a server, and start it again."""
    server.kill()
    await asyncio.to_thread(server.start)


class Campaign:
    """The writers, a receiver that is woken, workers that claim, and what each has seen."""

    def __init__(
        self, servers: Sequence[Headgate], seed: int, disturbances: Sequence[Disturbance] = ()
    ) -> None:
        """Play against gateways of one log; each request goes to any of them."""
        self.servers = servers
        self.chance = random.Random(seed)
        self.disturbances = disturbances
        self.appended: dict[str, str] = {}  # the newest acknowledged tails
        self.appends = 0
        self.books = {name: WakeBook(name) for name in ("called", "pulled")}
        self._is_calm = False
        self.session: aiohttp.ClientSession
        self._writers: set[asyncio.Task[None]] = set()
        self._others: set[asyncio.Task[None]] = set()

    @property
    def faults(self) -> list[str]:
        """What should not have been."""
        return [fault for book in self.books.values() for fault in book.faults]

    @property
    def streams(self) -> str:
        """The URL of the streams at one of the gateways."""
        return self.chance.choice(self.servers).streams

    @property
    def control(self) -> str:
        """The URL of the subscriptions at one of the gateways."""
        return f"{self.streams}/__ds/subscriptions"

    async def run(self, kills: int) -> None:
        """Kill the gateways so often while everybody works, then compare what was acknowledged."""
        timeout = aiohttp.ClientTimeout(total=5.0)
        async with (
            receiver(respond=self._respond) as self.at,
            aiohttp.ClientSession(timeout=timeout) as self.session,
        ):
            for server in self.servers:
                await asyncio.to_thread(server.start)
            await self._subscribe()
            nothing = await self._wakes_written()
            for number in range(STREAMS):
                self._begin(self._write(f"w/{number}"), self._writers)

            async def is_announced() -> bool:
                return await self._wakes_written() != nothing

            # Workers claim all the time, and a wake that is claimed needs no event any more.
            await until(is_announced, within_s=SERVER_PATIENCE_S)
            for number in range(WORKERS):
                self._begin(self._work(f"worker-{number}"), self._others)
            for _ in range(kills):
                await self._kill_once()
            await self._compare()

    async def _kill_once(self) -> None:
        before = self._progress()
        await until(partial(self._has_moved, before), "work", within_s=SERVER_PATIENCE_S)
        if self.disturbances:
            await self.chance.choice(self.disturbances)(self.chance)
        await asyncio.sleep(self.chance.random() * 0.05)  # anywhere in the work
        await kill_once(self.chance.choice(self.servers))

    def _progress(self) -> tuple[int, int, int]:
        called, pulled = self.books["called"], self.books["pulled"]
        return self.appends, called.wakes, pulled.wakes

    def _has_moved(self, before: tuple[int, int, int]) -> bool:
        return all(later > earlier for later, earlier in zip(self._progress(), before, strict=True))

    @staticmethod
    def _begin(work: Coroutine[Any, Any, None], among: set[asyncio.Task[None]]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        among.add(task)

    async def _subscribe(self) -> None:
        wakes: dict[str, Any] = {"type": "pull-wake", "pattern": "w/*", "wake_stream": "wakes"}
        calls: dict[str, Any] = {
            "type": "webhook",
            "pattern": "w/**",
            "webhook": {"url": self.at.url},
        }
        async with self.session.put(f"{self.streams}/wakes", headers=JSON):
            pass
        for name, members in {"pulled": wakes, "called": calls}.items():
            document = {**members, "lease_ttl_ms": int(LEASE_S * 1000)}
            async with self.session.put(f"{self.control}/{name}", json=document) as answer:
                assert answer.status == 201, await answer.text()

    async def _write(self, name: str) -> None:
        """Append all the time; what is not acknowledged is repeated."""
        body = json.dumps({"text": "x" * 20}).encode()
        while True:
            with contextlib.suppress(*DOWN):
                async with self.session.put(
                    f"{self.streams}/{name}", data=body, headers=JSON
                ) as answer:
                    if answer.status in {200, 201}:
                        break
            await asyncio.sleep(0.02)
        while True:
            with contextlib.suppress(*DOWN):
                async with self.session.post(
                    f"{self.streams}/{name}", data=body, headers=JSON
                ) as answer:
                    if answer.status == 204:
                        self.appended[name] = answer.headers["Stream-Next-Offset"]
                        self.appends += 1
            await asyncio.sleep(0.02)

    async def _respond(self, _call: web.Request) -> web.StreamResponse:
        """Be done at once, call back at once or late, fail, or do nothing, by chance."""
        wake, book = self.at.wakes[-1], self.books["called"]
        book.note(wake)
        kinds = ["done", "callback"] * 4 + ["late", "failure", "nothing"]
        kind = "done" if self._is_calm else self.chance.choice(kinds)
        if kind == "done":
            book.acknowledges(wake)
        if kind in {"callback", "late"}:
            work = self._finish("called/callback", wake, wake["callback_token"], kind == "late")
            self._begin(work, self._others)
        return web.json_response({"done": kind == "done"}, status=500 if kind == "failure" else 200)

    async def _work(self, worker: str) -> None:
        """Claim and acknowledge; now and then be late, or do nothing as a worker that crashed."""
        book = self.books["pulled"]
        while True:
            with contextlib.suppress(*DOWN):
                url, before = f"{self.control}/pulled/claim", book.latest
                async with self.session.post(url, json={"worker": worker}) as answer:
                    claimed = await answer.json() if answer.status == 200 else None
                if claimed is not None:
                    book.note(claimed, holder=worker, after=before)
                    fate = 1.0 if self._is_calm else self.chance.random()
                    if fate > 0.1:
                        await self._finish("pulled/ack", claimed, claimed["token"], fate < 0.2)
            await asyncio.sleep(0.02)

    async def _finish(self, path: str, wake: dict[str, Any], token: str, is_late: bool) -> None:
        """Acknowledge a wake until it is known to be over, perhaps behind its lease; then twice."""
        book = self.books[path.partition("/")[0]]
        with contextlib.suppress(*DOWN):
            if is_late:
                await asyncio.sleep(LATE_S)
            is_away = True
            while is_away and not book.is_over(wake):
                with book.acknowledging(wake) as outcome:
                    outcome.status = await self._acknowledge(path, wake, token)
                is_away = outcome.status in AWAY
            for _ in range(2):
                book.refused(wake, await self._acknowledge(path, wake, token))

    async def _acknowledge(self, path: str, wake: dict[str, Any], token: str) -> int:
        document = {
            "wake_id": wake["wake_id"],
            "generation": wake["generation"],
            "acks": [
                {"stream": one["path"], "offset": one["tail_offset"]} for one in wake["streams"]
            ],
            "done": True,
        }
        lines = {"Authorization": f"Bearer {token}"}
        async with self.session.post(f"{self.control}/{path}", json=document, headers=lines) as it:
            return it.status

    async def _compare(self) -> None:
        """Stop writing, let the workers finish, and compare cursors with what was appended."""
        await _ended(self._writers)
        self._is_calm = True
        for name in self.books:
            await until(partial(self._is_done, name), f"{name} to be done", within_s=120.0)
        # Appends whose answers were lost are worked off as well. Then nothing comes for two leases.
        await at_rest(self._wakes, LEASE_S)
        before = await self._wakes_written()
        await at_rest(self._wakes, 2 * LEASE_S)
        if before != await self._wakes_written():
            self.books["pulled"].faults.append("events are written though all is acknowledged")
        for name, book in self.books.items():
            book.compare(await self._cursors(name), self.appended)
        await _ended(self._others)

    def _wakes(self) -> int:
        return sum(book.wakes for book in self.books.values())

    async def _wakes_written(self) -> str:
        async with self.session.head(f"{self.streams}/wakes") as answer:
            return answer.headers["Stream-Next-Offset"]

    async def _cursors(self, name: str) -> dict[str, str]:
        async with self.session.get(f"{self.control}/{name}") as answer:
            told = await answer.json()
        return {one["path"]: one["acked_offset"] for one in told["streams"]}

    async def _is_done(self, name: str) -> bool:
        try:
            cursors = await self._cursors(name)
        except TimeoutError:  # of a gateway that is slow under libfaketime, on a busy machine
            return False
        return all(cursors.get(path, "") >= tail for path, tail in self.appended.items())

    at: Receiver


async def _ended(tasks: set[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
