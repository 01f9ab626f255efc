"""A campaign: writers append, workers acknowledge, and the gateway is killed again and again."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
from functools import partial
from typing import TYPE_CHECKING, Any

import aiohttp
from aiohttp import web

from tests.subscriptions.receivers import Receiver, ends_of, receiver
from tests.support.waiting import SERVER_PATIENCE_S, at_rest, until

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from tests.support.processes import Headgate

STREAMS = 8
JSON = {"Content-Type": "application/json"}
DOWN = (aiohttp.ClientError, ConnectionError, TimeoutError)
LEASE = 1000  # milliseconds


class Campaign:
    """The writers, a receiver that is woken, a worker that claims, and what each has seen."""

    def __init__(self, server: Headgate, seed: int) -> None:
        self.server = server
        self.chance = random.Random(seed)
        self.appended: dict[str, str] = {}  # the newest acknowledged tails
        self.appends = 0
        self.claims = 0
        self.stale = 0  # requests of earlier generations
        self.faults: list[str] = []
        self.wake_ids: dict[tuple[str, int], str] = {}
        self._kinds = ["done", "callback"] * 5 + ["failure", "nothing"]
        self.session: aiohttp.ClientSession
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def control(self) -> str:
        """The URL of the subscriptions."""
        return f"{self.server.streams}/__ds/subscriptions"

    async def run(self, kills: int) -> None:
        """Kill the gateway so often while everybody works, then compare what was acknowledged."""
        timeout = aiohttp.ClientTimeout(total=5.0)
        async with (
            receiver(respond=self._respond) as self.at,
            aiohttp.ClientSession(timeout=timeout) as self.session,
        ):
            await asyncio.to_thread(self.server.start)
            await self._subscribe()
            for number in range(STREAMS):
                self._begin(self._write(f"w/{number}"))
            self._begin(self._work())
            for _ in range(kills):
                before = self.appends, len(self.at.wakes), self.claims
                await until(partial(self._has_moved, before), "work", within_s=SERVER_PATIENCE_S)
                await asyncio.sleep(self.chance.random() * 0.05)  # anywhere in the work
                self.server.kill()
                await asyncio.to_thread(self.server.start)
            await self._compare()

    def _has_moved(self, before: tuple[int, int, int]) -> bool:
        now = self.appends, len(self.at.wakes), self.claims
        return all(later > earlier for later, earlier in zip(now, before, strict=True))

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)

    async def _subscribe(self) -> None:
        wakes: dict[str, Any] = {"type": "pull-wake", "pattern": "w/*", "wake_stream": "wakes"}
        calls: dict[str, Any] = {
            "type": "webhook",
            "pattern": "w/**",
            "webhook": {"url": self.at.url},
        }
        async with self.session.put(f"{self.server.streams}/wakes", headers=JSON):
            pass
        for name, members in {"pulled": wakes, "called": calls}.items():
            document = {**members, "lease_ttl_ms": LEASE}
            async with self.session.put(f"{self.control}/{name}", json=document) as answer:
                assert answer.status == 201, await answer.text()

    async def _write(self, name: str) -> None:
        """Append all the time; what is not acknowledged is repeated."""
        url = f"{self.server.streams}/{name}"
        body = json.dumps({"text": "x" * 20}).encode()
        while True:
            with contextlib.suppress(*DOWN):
                async with self.session.put(url, data=body, headers=JSON) as answer:
                    if answer.status in {200, 201}:
                        break
            await asyncio.sleep(0.02)
        while True:
            with contextlib.suppress(*DOWN):
                async with self.session.post(url, data=body, headers=JSON) as answer:
                    if answer.status == 204:
                        self.appended[name] = answer.headers["Stream-Next-Offset"]
                        self.appends += 1
            await asyncio.sleep(0.02)

    async def _respond(self, _call: web.Request) -> web.StreamResponse:
        """Be done at once, call back later, fail, or do nothing, by chance."""
        wake = self.at.wakes[-1]
        self._note("called", wake)
        kind = self.chance.choice(self._kinds)
        if kind == "callback":
            self._begin(self._call_back(wake))
        return web.json_response({"done": kind == "done"}, status=500 if kind == "failure" else 200)

    def _note(self, name: str, wake: dict[str, Any]) -> None:
        """Note that a generation has one wake, and that none is less than what was before."""
        key = name, wake["generation"]
        if self.wake_ids.setdefault(key, wake["wake_id"]) != wake["wake_id"]:
            self.faults.append(f"two wakes of {key}")
        if wake["generation"] < max(number for one, number in self.wake_ids if one == name):
            self.faults.append(f"{key} came behind a later one")

    async def _call_back(self, wake: dict[str, Any]) -> None:
        """Acknowledge a wake, and what was over before."""
        path, token = "called/callback", wake["callback_token"]
        with contextlib.suppress(*DOWN):
            await self._acknowledge(path, wake, token)
            await self._repeat(path, wake, token)

    async def _work(self) -> None:
        """Claim and acknowledge; now and then claim and do nothing, as a worker that crashed."""
        while True:
            with contextlib.suppress(*DOWN):
                url = f"{self.control}/pulled/claim"
                async with self.session.post(url, json={"worker": "w"}) as answer:
                    claimed = await answer.json() if answer.status == 200 else None
                if claimed is not None:
                    self._note("pulled", claimed)
                    self.claims += 1
                    if self.chance.random() < 0.9:
                        await self._acknowledge("pulled/ack", claimed, claimed["token"])
                        await self._repeat("pulled/ack", claimed, claimed["token"])
            await asyncio.sleep(0.02)

    async def _repeat(self, path: str, wake: dict[str, Any], token: str) -> None:
        """Acknowledge a wake that is over: it is fenced."""
        status = await self._acknowledge(path, wake, token)
        self.stale += status == 409
        if status not in {409, 503}:
            self.faults.append(f"an ack of an old generation got {status}")

    async def _acknowledge(self, path: str, wake: dict[str, Any], token: str) -> int:
        document = {
            "wake_id": wake["wake_id"],
            "generation": wake["generation"],
            "acks": [{"stream": name, "offset": end} for name, end in ends_of(wake)],
            "done": True,
        }
        lines = {"Authorization": f"Bearer {token}"}
        async with self.session.post(f"{self.control}/{path}", json=document, headers=lines) as it:
            return it.status

    async def _compare(self) -> None:
        """Stop writing, let the workers finish, and compare cursors with what was appended."""
        writers = [it for it in self._tasks if "_write" in repr(it.get_coro())]
        for task in writers:
            task.cancel()
        await asyncio.gather(*writers, return_exceptions=True)
        self._kinds = ["done"]
        for name in ("called", "pulled"):
            await until(lambda name=name: self._is_done(name), within_s=120.0)  # type: ignore[misc]
        # Nothing wakes for ever: for two leases, nothing comes.
        count = await at_rest(lambda: len(self.at.wakes) + self.claims, 2.5 * LEASE / 1000)
        assert count
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _is_done(self, name: str) -> bool:
        async with self.session.get(f"{self.control}/{name}") as answer:
            told = await answer.json()
        cursors = {one["path"]: one["acked_offset"] for one in told["streams"]}
        return all(cursors.get(path, "") >= tail for path, tail in self.appended.items())

    at: Receiver
