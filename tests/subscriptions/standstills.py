"""A campaign of standstills: gateways of one Redis are stopped and go on, while everybody works.

Every append has to be told to a worker and to a receiver soon after all gateways run again. No
stream is appended to twice in a round: a second append would hide that the first was missed.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import math
import os
import random
import signal
from typing import TYPE_CHECKING, Any, NamedTuple

import aiohttp
from aiohttp import web

from tests.subscriptions.receivers import Receiver, receiver
from tests.support.processes import Headgate
from tests.support.redis_servers import redis_server

if TYPE_CHECKING:
    from collections.abc import Coroutine, Sequence
    from pathlib import Path

SHORTEST_S, LONGEST_S = 1.0, 10.0  # of a standstill
BOTH = 0.4  # share of the rounds in which both gateways stand still
OVERLAP_S = 4.0  # between the beginnings of two standstills, at most
STREAMS = 400
WRITERS = 3  # at each gateway; all together append to fewer streams in a round than there are
WRITE_EVERY_S = 0.4  # on average
WORK_S = 0.05  # that a worker takes at most
AGAIN_S = 0.2  # after a 503; a worker that waits as it is told would measure its own wait
RAGGED_END_S = 1.5  # that writers go on after a standstill, at most
GIVE_UP_S = 150.0  # for an event: an announcement is repeated after 60 and 120 s
JSON = {"Content-Type": "application/json"}
DOWN = (aiohttp.ClientError, ConnectionError, TimeoutError)
NAMES = ("called", "pulled")


class Round(NamedTuple):
    """The outcome of a round: how late its latest event was, and which gateways stood still."""

    late_s: float
    event: str
    stopped: str


class Pair:
    """Two gateways, their writers, workers and a receiver, and what each was told."""

    def __init__(self, servers: Sequence[Headgate], seed: int) -> None:
        self.servers = servers
        self.chance = random.Random(seed)
        self.rounds: list[Round] = []
        self.appends = 0
        self.answers: dict[str, int] = {}
        self._numbers = itertools.cycle(range(STREAMS))
        self._untold: dict[tuple[str, str], tuple[str, float]] = {}  # by receiver and stream
        self._told: dict[tuple[str, str], str] = {}  # the furthest offset
        self._well_at = 0.0  # loop time since which both gateways run; infinity while one does not
        self._latest = (0.0, "")
        self._may_write = asyncio.Event()
        self._writing = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self.session: aiohttp.ClientSession
        self.at: Receiver

    async def run(self, rounds: int) -> None:
        """Play so many rounds."""
        timeout = aiohttp.ClientTimeout(total=60.0)  # nobody gives up during a standstill
        async with (
            receiver(respond=self._respond) as self.at,
            aiohttp.ClientSession(
                timeout=timeout, connector=aiohttp.TCPConnector(limit=0)
            ) as self.session,
        ):
            for server in self.servers:
                await asyncio.to_thread(server.start)
            await self._subscribe()
            for server in self.servers:
                for _ in range(WRITERS):
                    self._begin(self._write(server))
                self._begin(self._work(server))
            for _ in range(rounds):
                await self._play_round()
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        self._tasks.add(asyncio.get_running_loop().create_task(work))

    async def _subscribe(self) -> None:
        url = self.servers[0].streams
        members: dict[str, dict[str, Any]] = {
            "pulled": {"type": "pull-wake", "wake_stream": "wakes"},
            "called": {"type": "webhook", "webhook": {"url": self.at.url}},
        }
        async with self.session.put(f"{url}/wakes", headers=JSON):
            pass
        for name, own in members.items():
            document = {"pattern": "w/*", **own}
            async with self.session.put(
                f"{url}/__ds/subscriptions/{name}", json=document
            ) as answer:
                assert answer.status == 201, await answer.text()

    # A round

    async def _play_round(self) -> None:
        time = asyncio.get_running_loop().time
        self._latest = (0.0, "")
        self._may_write.set()
        await asyncio.sleep(self.chance.random())
        self._well_at = math.inf
        stopped = await self._stand_still()
        self._well_at = time()
        await asyncio.sleep(self.chance.random() * RAGGED_END_S)
        self._may_write.clear()
        deadline = time() + GIVE_UP_S
        while (self._untold or self._writing) and time() < deadline:
            await asyncio.sleep(0.02)
        for (name, path), (_, at) in self._untold.items():  # it never came
            self._note_late(name, path, at)
        self._untold.clear()
        self.rounds.append(Round(*self._latest, stopped))

    async def _stand_still(self) -> str:
        """Stop one gateway or both for a while; return which, and for how long."""
        chosen = list(self.servers)
        self.chance.shuffle(chosen)
        if self.chance.random() > BOTH:
            del chosen[1:]
        plan = [
            (one, number * self.chance.random() * OVERLAP_S, self._length_s())
            for number, one in enumerate(chosen)
        ]
        await asyncio.gather(*(_stop(*one) for one in plan))
        return ", ".join(
            f"{self.servers.index(one)} after {wait_s:.2f} s for {long_s:.2f} s"
            for one, wait_s, long_s in plan
        )

    def _length_s(self) -> float:
        return self.chance.uniform(SHORTEST_S, LONGEST_S)

    # Writers, workers and the receiver

    async def _write(self, server: Headgate) -> None:
        """Append to one stream after the other through one gateway."""
        while True:
            await self._may_write.wait()
            path = f"w/{next(self._numbers)}"
            self._writing += 1
            try:
                await self._append(f"{server.streams}/{path}", path)
            finally:
                self._writing -= 1
            await asyncio.sleep(self.chance.random() * 2 * WRITE_EVERY_S)

    async def _append(self, url: str, path: str) -> None:
        for method in ("POST", "PUT"):
            with contextlib.suppress(*DOWN):
                async with self.session.request(method, url, data=b"[1]", headers=JSON) as it:
                    self._count(method, it.status)
                    if it.status in {201, 204}:
                        self._note_append(path, it.headers["Stream-Next-Offset"])
                        return

    def _note_append(self, path: str, offset: str) -> None:
        self.appends += 1
        now = asyncio.get_running_loop().time()
        for name in NAMES:
            if self._told.get((name, path), "") < offset:
                self._untold[name, path] = (offset, now)

    def _note_told(self, name: str, wake: dict[str, Any]) -> None:
        for one in wake["streams"]:
            key, told = (name, one["path"]), one["tail_offset"]
            self._told[key] = max(told, self._told.get(key, ""))
            offset, at = self._untold.get(key, ("", 0.0))
            if offset and offset <= told:
                del self._untold[key]
                self._note_late(name, one["path"], at)

    def _note_late(self, name: str, path: str, appended_at: float) -> None:
        late_s = asyncio.get_running_loop().time() - max(appended_at, self._well_at)
        self._latest = max(self._latest, (late_s, f"{name} {path}"))

    def _count(self, what: str, status: int) -> None:
        key = f"{what} {status}"
        self.answers[key] = self.answers.get(key, 0) + 1

    async def _respond(self, _call: web.Request) -> web.StreamResponse:
        self._note_told("called", self.at.wakes.pop())
        self.at.received.clear()
        return web.json_response({"done": True})

    async def _work(self, server: Headgate) -> None:
        """Follow the wake stream through one gateway, and claim at any when an event comes."""
        offset = "-1"
        while True:
            try:
                url = f"{server.streams}/wakes?offset={offset}&live=long-poll"
                async with self.session.get(url) as answer:
                    events = await answer.json() if answer.status == 200 else []
                    offset = answer.headers.get("Stream-Next-Offset", offset)
                    self._count("follow", answer.status)
            except DOWN:
                events = []
            if not events:
                await asyncio.sleep(0.02)
                continue
            await self._claim(f"worker-{self.servers.index(server)}")

    async def _claim(self, worker: str) -> None:
        """Claim until that is granted, or refused; then read a little, and acknowledge."""
        while True:
            answer = await self._post("claim", {"worker": worker})
            if answer is None or answer[0] == 503:
                await asyncio.sleep(AGAIN_S)
                continue
            if answer[0] != 200:
                return
            break
        claimed = answer[1]
        self._note_told("pulled", claimed)
        await asyncio.sleep(self.chance.random() * WORK_S)
        document = {
            "wake_id": claimed["wake_id"],
            "generation": claimed["generation"],
            "acks": [
                {"stream": one["path"], "offset": one["tail_offset"]} for one in claimed["streams"]
            ],
            "done": True,
        }
        lines = {"Authorization": f"Bearer {claimed['token']}"}
        done = await self._post("ack", document, lines)
        while done is None or done[0] == 503:
            await asyncio.sleep(AGAIN_S)
            done = await self._post("ack", document, lines)

    async def _post(
        self, action: str, document: dict[str, Any], lines: dict[str, str] | None = None
    ) -> tuple[int, Any] | None:
        url = f"{self.chance.choice(self.servers).streams}/__ds/subscriptions/pulled/{action}"
        try:
            async with self.session.post(url, json=document, headers=lines) as answer:
                told = await answer.json()
        except DOWN:
            return None
        code = told.get("error", {}).get("code", "") if answer.status != 503 else ""
        self._count(f"{action} {code}".strip(), answer.status)
        return answer.status, told


async def _stop(server: Headgate, wait_s: float, long_s: float) -> None:
    await asyncio.sleep(wait_s)
    os.kill(server.pid, signal.SIGSTOP)
    try:
        await asyncio.sleep(long_s)
    finally:
        os.kill(server.pid, signal.SIGCONT)


async def play(folder: Path, rounds: int, pairs: int, seed: int) -> list[Pair]:
    """Play rounds, divided among pairs of gateways, each with a log of its own in one Redis."""
    with contextlib.ExitStack() as stack:
        redis = stack.enter_context(redis_server(folder))
        played: list[Pair] = []
        for number in range(pairs):
            made = [Headgate(f"{redis.url}?prefix=p{number}") for _ in range(2)]
            played.append(Pair(made, seed + number))
        shares = [rounds // pairs + (number < rounds % pairs) for number in range(pairs)]
        try:
            await asyncio.gather(
                *(one.run(share) for one, share in zip(played, shares, strict=True))
            )
        finally:
            for one in played:
                for server in one.servers:
                    server.kill()
    return played
