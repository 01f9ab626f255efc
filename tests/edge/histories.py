"""A gateway before an origin that loses its end again and again, and readers of every kind.

A reader from the beginning, or from `now`, must have read a content that some stream had: lost data
and new data are never one content. `python -m campaigns.edge histories` plays many rounds.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import tempfile
from collections import Counter
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from tests.edge.gateways import edge
from tests.edge.rewinding import PATH, Double, Ledger, OneDouble, Restarted, TwoDoubles
from tests.support.event_stream import parse_events
from tests.support.http1 import Answer, Client, ask, request
from tests.support.origin_servers import Electric, OwnLog, Reference
from tests.support.waiting import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.edge.rewinding import Noticed, Rewinding

KINDS = ("reference", "file", "two servers", "echoes")
ELECTRIC = "electric"  # where its program is there
BROKEN = (OSError, asyncio.IncompleteReadError, TimeoutError)
AGAIN_S = 0.05
PATIENCE_S = 10.0


@dataclass
class Findings:
    """The results of a campaign: `wrong` are contents that no stream had."""

    restores: int = 0
    deletions: int = 0
    read: Counter[str] = field(default_factory=Counter)  # contents that were compared, by reader
    gone: Counter[str] = field(default_factory=Counter)  # times that one was sent away
    wrong: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        return (
            f"{self.restores} restores, {self.deletions} deletions, read {dict(self.read)}, "
            f"sent away {dict(self.gone)}, {len(self.wrong)} contents that never existed"
        )


class Reader:
    """A reader that begins anew when it is sent away, or by chance."""

    def __init__(
        self, kind: str, port: int, ledger: Ledger, findings: Findings, chance: random.Random
    ) -> None:
        self._kind = kind
        self._port = port
        self._ledger = ledger
        self._findings = findings
        self._chance = chance
        self._start = "now" if kind.endswith("from now") else "-1"
        self._offset = self._start
        self._content = b""
        self._client: Client | None = None

    async def run(self) -> None:
        try:
            while True:
                await self._go_on()
        finally:
            self._leave()

    async def _go_on(self) -> None:
        reads = {"events": self._events, "poll": self._poll, "read": self._read}
        if self._chance.random() < 0.02:
            self._begin_anew()
        try:
            async with asyncio.timeout(PATIENCE_S):
                await reads[self._kind.split()[0]]()
        except BROKEN:
            self._leave()
            await asyncio.sleep(AGAIN_S)

    async def _ask(self, query: str) -> Answer:
        if self._client is None:
            self._client = await Client.connect(self._port)
        answer = await self._client.ask(request("GET", f"{PATH}?offset={self._offset}{query}"))
        if answer.status in {404, 410}:
            self._findings.gone[self._kind] += 1
            self._begin_anew()
            await asyncio.sleep(0)
        elif answer.status >= 400:
            await asyncio.sleep(AGAIN_S)
        return answer

    def _begin_anew(self) -> None:
        self._offset, self._content = self._start, b""
        self._leave()

    def _leave(self) -> None:
        if self._client is not None:
            self._client.abort()
            self._client = None

    async def _read(self) -> None:
        """Read one answer with everything, or follow by polls, as clients do."""
        answer = await self._ask("")
        if answer.status == 200:
            self._came(answer.body, answer.next_offset, f"GET {dict(answer.fields)}")
            for _ in range(self._chance.randint(0, 6)):
                if self._offset == self._start:
                    break
                await self._poll()
        self._begin_anew()
        await asyncio.sleep(self._chance.uniform(0, 0.1))

    async def _poll(self) -> None:
        answer = await self._ask("&live=long-poll")
        if answer.status in {200, 204}:
            self._came(answer.body, answer.next_offset, f"poll {dict(answer.fields)}")

    async def _events(self) -> None:
        self._leave()
        self._client = client = await Client.connect(self._port)
        client.send(request("GET", f"{PATH}?offset={self._offset}&live=sse"))
        head = await client.head()
        if head.status != 200:
            if head.status in {404, 410}:
                self._findings.gone[self._kind] += 1
                self._begin_anew()
            self._leave()
            await asyncio.sleep(AGAIN_S)
            return
        unread, data = b"", b""
        while chunk := await client.chunk():
            whole, end, unread = (unread + chunk).rpartition(b"\n\n")
            for event in parse_events(whole + end):
                if event.name == "data":
                    data += event.data.encode()
                else:
                    offset = json.loads(event.data)["streamNextOffset"]
                    self._came(data, offset, f"event {event.data}")
                    data = b""
        self._leave()

    def _came(self, data: bytes, offset: str, what: str) -> None:
        """Check everything that was read so far against the ledger."""
        before, self._offset = self._offset, offset
        self._content += data
        findings, ledger = self._findings, self._ledger
        findings.read[self._kind] += 1
        has_been = ledger.has_had if self._start == "now" else ledger.has_begun_with
        if not has_been(self._content):
            findings.wrong.append(
                f"{self._kind}: from {before} to {offset}, after {findings.restores} restores, "
                f"{self._content[-200:]!r}, with {data!r:.200} by {what}"
            )
            self._begin_anew()


READERS = ("events", "events from now", "poll", "poll from now", "read", "read")


async def play(kind: str, restores: int, seed: int, program: str = "") -> Findings:
    """Restore an origin of a kind so often, with readers before it all the time.

    `program` is Electric's server.
    """
    chance = random.Random(seed)
    ledger, findings = Ledger(chance), Findings()
    async with AsyncExitStack() as stack:
        origin = await stack.enter_async_context(_origin(kind, program))
        urls = origin.urls
        route = {"origin": urls if len(urls) > 1 else urls[0], "health_interval": 0.1}
        gateway = stack.enter_context(edge(urls[0], route))

        async def noticed(url: str, is_up: int) -> None:
            """Wait until the gateway knows whether a server is up: else nothing shows it."""
            name = f'server="{url.partition("://")[2]}"'

            def is_known() -> bool:
                text = ask(gateway.admin_port, "GET", "/metrics").body.decode()
                lines = [line for line in text.splitlines() if "headgate_origin_up{" in line]
                (up,) = (line.rpartition(" ")[2] for line in lines if name in line)
                return float(up) == is_up

            await until(lambda: asyncio.to_thread(is_known), f"{url} to be noticed")

        tasks = [
            asyncio.create_task(
                Reader(one, gateway.port, ledger, findings, random.Random(chance.random())).run()
            )
            for one in READERS * 2
        ]
        stack.push_async_callback(_cancelled, tasks)
        for _ in range(restores):
            await _round(origin, ledger, chance, noticed)
            findings.restores += 1
            if kind in {"echoes", ELECTRIC} and chance.random() < 0.5:
                await _anew(gateway.port, ledger, chance)
                findings.deletions += 1
            if done := [task for task in tasks if task.done()]:
                await done[0]
        await _calm(origin, ledger, chance)
    return findings


async def _round(
    origin: Rewinding, ledger: Ledger, chance: random.Random, noticed: Noticed
) -> None:
    """Lose what was written since a copy, and grow, mostly past where the end was."""
    await _write(origin, ledger, chance)
    await origin.back_up()
    kept = ledger.now
    await _write(origin, ledger, chance)
    lost = len(ledger.now) - len(kept)
    records: list[bytes] = []
    wanted = chance.choice([0, lost // 2, lost, lost + 1, lost + 200])
    while sum(map(len, records)) < wanted or not records:
        records.append(ledger.record())
    if chance.random() < 0.3 and lost > 10:  # as long as what was lost, to the byte
        size = sum(map(len, records))
        records = [b"".join(records)[: lost - 1] + b"\n"] if size >= lost else records
    ledger.lost(kept + b"".join(records))
    await origin.restore(records, noticed)
    await asyncio.sleep(chance.uniform(0, 0.3))


async def _write(origin: Rewinding, ledger: Ledger, chance: random.Random) -> None:
    for _ in range(chance.randint(1, 5)):
        record = ledger.record()
        ledger.wrote(record)  # it may be read before it is acknowledged
        await origin.append(record)
        await asyncio.sleep(chance.uniform(0, 0.05))


async def _anew(port: int, ledger: Ledger, chance: random.Random) -> None:
    """Delete the stream through the gateway, create it again, and let it grow."""

    async def done(method: str, body: bytes, *statuses: int) -> bool:
        """Return whether it was done: the origin may have closed its connection just now."""
        client = await Client.connect(port)
        try:
            sent = request(method, PATH, body, content_type="text/plain")
            return (await client.ask(sent)).status in statuses
        finally:
            client.close()

    await until(lambda: done("DELETE", b"", 204, 404))
    first = b"".join(ledger.record() for _ in range(chance.randint(0, 40)))
    ledger.lost(first)
    await asyncio.sleep(chance.choice([0.0, 0.0, 0.05]))
    await until(lambda: done("PUT", first, 200, 201))


async def _calm(origin: Rewinding, ledger: Ledger, chance: random.Random) -> None:
    """Wait until all readers are at the end."""
    for _ in range(3):
        await _write(origin, ledger, chance)
        await asyncio.sleep(0.2)


async def _cancelled(tasks: list[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


@contextlib.asynccontextmanager
async def _origin(kind: str, program: str) -> AsyncIterator[Rewinding]:
    """Return a started origin of a kind."""
    async with AsyncExitStack() as stack:
        if kind == "echoes":
            yield OneDouble(await stack.enter_async_context(Double(echoes=True)))
        elif kind == "two servers":
            first = await stack.enter_async_context(Double())
            second = await stack.enter_async_context(Double())
            yield TwoDoubles(first, second)
        else:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()), "data")
            folder.mkdir()
            server: Reference | OwnLog | Electric
            if kind == ELECTRIC:
                server = Electric(program, folder)
            else:
                server = Reference(folder) if kind == "reference" else OwnLog(f"file:{folder}")
            stack.callback(server.kill)
            await asyncio.to_thread(server.start)
            restarted = Restarted(server, folder)
            await restarted.create()
            yield restarted
