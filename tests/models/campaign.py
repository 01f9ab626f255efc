"""Answers while gateways are killed and clients are cut: every reader ends, with all it was sent.

The log is the only thing that differs: one gateway on `file:`, several before a Redis.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import signal
from collections import Counter
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import aiohttp
from aiohttp import web

from tests.models.answers import chat_completion
from tests.models.serving import OPENAI
from tests.support.ports import free_port
from tests.support.waiting import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from tests.support.processes import Headgate

PATH = f"{OPENAI}/v1/chat/completions"
WORDS = 30
AT_ONCE = 6
# Until a reader has its end: a gateway that was killed is started again, or its answers are ended
# by another one, after some seconds; a reader may meet several kills.
LONGEST_S = 60.0


class PacedProvider:
    """A provider whose answers have words that nobody else's have, some milliseconds apart."""

    def __init__(self, seed: int) -> None:
        self.port = free_port()
        self.calls: Counter[str] = Counter()  # by model, which is the key of the answer
        self._random = random.Random(seed)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        key = json.loads(await request.read())["model"]
        self.calls[key] += 1
        events = chat_completion(words_of(key, self.calls[key]))
        answer = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await asyncio.sleep(self._random.random() / 20)
        await answer.prepare(request)
        for event in events:
            await answer.write(event)
            await asyncio.sleep(self._random.random() / 50)
        return answer

    @contextlib.asynccontextmanager
    async def serving(self) -> AsyncIterator[PacedProvider]:
        runner = web.ServerRunner(web.Server(self.handle), shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", self.port).start()
        try:
            yield self
        finally:
            await runner.cleanup()


def words_of(key: str, call: int) -> list[str]:
    """Return the words of the answer to a call."""
    return [f"{key}/{call}:{number} " for number in range(WORDS)]


@dataclass(slots=True)
class Reader:
    """A client of one answer, which comes back after each cut and each kill."""

    key: str
    chat: str | None
    cuts: int  # that are left
    last: str | None = None  # id of the last event
    text: str = ""
    error: str | None = None
    has_reason: bool = False  # why its only choice ended: the answer may end without [DONE]
    is_over: bool = False
    url: str = ""

    def take(self, event: bytes) -> None:
        """Take a whole event."""
        for line in event.splitlines():
            if line.startswith(b"id: "):
                self.last = line[4:].decode()
            elif line == b"data: [DONE]":
                self.is_over = True
            elif line.startswith(b"data: "):
                self._take_data(json.loads(line[6:]))

    def _take_data(self, data: Any) -> None:
        if "error" in data:
            self.error, self.is_over = data["error"]["code"], True
        for choice in data.get("choices", ()):
            self.text += choice["delta"].get("content") or ""
            self.has_reason = self.has_reason or bool(choice["finish_reason"])


@dataclass(slots=True)
class Campaign:
    """A run of so many answers, kills of gateways and cuts of clients."""

    gateways: Sequence[Headgate]
    provider: PacedProvider
    answers: int
    kills: int
    cuts: int
    seed: int
    killed: int = 0
    cut: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)
    _ended: int = 0
    _random: random.Random = field(init=False)

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)

    async def run(self) -> None:
        """Run until every answer has its end, and compare what was sent with what is stored."""
        timeout = aiohttp.ClientTimeout(total=None, sock_read=LONGEST_S)
        turns = asyncio.Semaphore(AT_ONCE)
        readers = [self._reader(number) for number in range(self.answers)]
        async with aiohttp.ClientSession(timeout=timeout) as http:
            killing = asyncio.create_task(self._kill())
            try:
                await asyncio.gather(*(self._read(http, turns, it) for it in readers))
            finally:
                await killing
            for reader in readers:
                await self._compare(http, reader)

    def _reader(self, number: int) -> Reader:
        chat = f"chat-{number // 8}" if number % 4 == 0 else None  # two answers in each
        cuts = self.cuts // self.answers + (number < self.cuts % self.answers)
        return Reader(f"key-{number}", chat, cuts)

    async def _kill(self) -> None:
        """Kill or pause gateways, at even intervals of the answers that have ended."""
        while self.killed < self.kills:
            share = self.answers * self.killed // self.kills
            await until(partial(self._have_ended, share), "answers to end", within_s=LONGEST_S)
            await asyncio.sleep(self._random.random() * 0.8)
            victim = self._random.choice(self.gateways)
            self.killed += 1
            if len(self.gateways) > 1 and self.killed % 4 == 0:
                await self._pause(victim)
                continue
            await asyncio.to_thread(victim.kill)
            await asyncio.sleep(self._random.random() * 0.3)
            await asyncio.to_thread(victim.start)

    async def _pause(self, victim: Headgate) -> None:
        """Let a gateway stand still for about as long as the others take it for running."""
        assert victim.process is not None, "it runs"
        victim.process.send_signal(signal.SIGSTOP)
        await asyncio.sleep(2.5 + self._random.random() * 1.5)
        victim.process.send_signal(signal.SIGCONT)

    def _have_ended(self, number: int) -> bool:
        return self._ended >= number

    # Readers

    async def _read(
        self, http: aiohttp.ClientSession, turns: asyncio.Semaphore, reader: Reader
    ) -> None:
        async with turns:
            try:
                async with asyncio.timeout(LONGEST_S):
                    while not reader.is_over:
                        await self._read_some(http, reader)
            except TimeoutError:
                self.faults.append(f"{reader.key}: no end")
            self._ended += 1

    async def _read_some(self, http: aiohttp.ClientSession, reader: Reader) -> None:
        """Send the request once, and read on until the end, a cut or a kill."""
        gateway = self._random.choice(self.gateways)
        try:
            async with self._ask(http, gateway, reader) as response:
                if response.status != 200:
                    await self._refused(reader, response)
                    return
                reader.url = response.headers["Stream-URL"].removeprefix(gateway.url)
                await self._take_events(reader, response)
        except (aiohttp.ClientError, ConnectionError):
            await asyncio.sleep(0.05)  # it was killed

    def _ask(self, http: aiohttp.ClientSession, gateway: Headgate, reader: Reader) -> Any:
        headers = {"Authorization": "Bearer sk-mine", "Idempotency-Key": reader.key}
        if reader.last is not None:
            headers["Last-Event-ID"] = reader.last
        if reader.chat is not None:
            headers["Headgate-Stream"] = reader.chat
        body = {"model": reader.key, "stream": True}
        return http.post(gateway.url + PATH, json=body, headers=headers)

    async def _refused(self, reader: Reader, response: aiohttp.ClientResponse) -> None:
        if response.status not in {409, 502, 503}:  # busy, ended before its head, no log yet
            self.faults.append(f"{reader.key}: {response.status} {await response.text()}")
            reader.is_over = True
        await asyncio.sleep(0.05)

    async def _take_events(self, reader: Reader, response: aiohttp.ClientResponse) -> None:
        length = self._random.randrange(1, WORDS) if reader.cuts else None
        taken, rest = 0, b""
        async for data in response.content.iter_any():
            *events, rest = (rest + data).split(b"\n\n")
            for event in events:
                reader.take(event)
                taken += 1
            if length is not None and taken >= length and not reader.is_over:
                reader.cuts -= 1
                self.cut += 1
                return
        reader.is_over = reader.is_over or reader.has_reason

    # What is stored

    async def _compare(self, http: aiohttp.ClientSession, reader: Reader) -> None:
        """Compare what a reader was sent with what a new one gets, and with the words sent."""
        again = Reader(reader.key, reader.chat, 0)
        async with asyncio.timeout(LONGEST_S):
            while not again.is_over:
                await self._read_some(http, again)
        if (again.text, again.error) != (reader.text, reader.error):
            self.faults.append(f"{reader.key}: sent {reader.text!r}, stored {again.text!r}")
        calls = self.provider.calls[reader.key]
        whole = ["".join(words_of(reader.key, call + 1)) for call in range(calls)]
        if not any(it.startswith(reader.text) for it in whole):
            self.faults.append(f"{reader.key}: {reader.text!r} is of no call")
        if reader.error is None and reader.text not in whole:
            self.faults.append(f"{reader.key}: {reader.text!r} is not whole")
        self.outcomes[reader.error or "complete"] += 1
        if reader.chat is None:
            await self._compare_stream(http, reader)

    async def _compare_stream(self, http: aiohttp.ClientSession, reader: Reader) -> None:
        """Compare the stream, which is closed, and its record with what the reader was sent."""
        stored = Reader(reader.key, None, 0)
        url = self.gateways[0].url + reader.url
        async with http.get(url, params={"offset": "-1"}) as read:
            for event in (await read.read()).split(b"\n\n"):
                stored.take(event)
            if read.headers.get("Stream-Closed") != "true":
                self.faults.append(f"{reader.key}: the stream is open")
        if (stored.text, stored.error) != (reader.text, reader.error):
            self.faults.append(f"{reader.key}: the stream has {stored.text!r}")
        async with http.get(f"{url}/record", params={"offset": "-1"}) as read:
            ends = [it for it in json.loads(await read.read()) if it["entry"] == "end"]
            if len(ends) != 1:
                self.faults.append(f"{reader.key}: {len(ends)} ends are recorded")
