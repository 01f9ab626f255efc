"""What readers see of a gateway that is killed for some seconds: a table of each configuration."""

from __future__ import annotations

import asyncio
import contextlib
import multiprocessing
import tempfile
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

import aiohttp

from tests.cdn.balanced import BALANCING, all_kinds, created, in_front_of, is_fine, pair
from tests.cdn.hangs import EVENTS_PATIENCE_S, edges, hang, hangable
from tests.cdn.origin import stalled
from tests.cdn.outages import EVENT_SOURCE, TEXT, LastingGateway, Writer, in_front, outage
from tests.clients.token_writer import close_stream, create_stream
from tests.support.proxy_engines import ENGINES
from tests.support.waiting import SERVER_PATIENCE_S, until

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.cdn.balanced import Pair
    from tests.cdn.hangs import Hang

AWAY_S = 5.0
BEFORE_S = AFTER_S = 3.0  # of appends
APPENDS_S = 50
FOLLOWERS, POLLERS = 150, 50
BROWSERS_AWAY_S = 4.0  # longer than a browser waits before it first connects again
USUAL_RETRY_S = 3.0  # of browsers
LOST_S = 0.5  # after a poll whose connection was lost
PASSING = frozenset({429, 502, 503, 504})
ROWS = (
    f"{FOLLOWERS} SSE readers: retries, longest silence",
    f"{POLLERS} long-polls: status, retries, longest silence",
    "appends: acknowledged, lost, twice",
    "an `EventSource` in Chromium, over a restart",
)
ROWS_OF_SEVERAL = (
    "one of two gateways dead: of 48 requests fail",
    "one of two hung: of 48 requests fail",
)
ROWS_OF_ONE = (
    "the only gateway hung: first and later readers of a stale copy",
    "the same without a copy, later",
    "SSE at it: new, and begun before",
    "an append that comes meanwhile, when it goes on",
)


@dataclass
class Reader:
    """One that goes on at its last offset, and what it has seen."""

    text: list[bytes] = field(default_factory=list)
    silence_s: float = 0.0
    refusals: Counter[int] = field(default_factory=Counter)
    asked_again: int = 0
    is_closed: bool = False
    is_dead: bool = False
    _heard_at: float = field(default_factory=time.monotonic)

    def hear(self, data: bytes) -> None:
        """Take news, and note how long there were none."""
        now = time.monotonic()
        self.silence_s, self._heard_at = max(self.silence_s, now - self._heard_at), now
        self.text.append(data)

    async def follow(self, session: aiohttp.ClientSession, url: str) -> None:
        """Read as an EventSource does."""
        headers = {name.replace("_", "-"): value for name, value in EVENT_SOURCE.items()}
        retry_s = USUAL_RETRY_S
        while not (self.is_closed or self.is_dead):
            with contextlib.suppress(aiohttp.ClientError):
                async with session.get(f"{url}?offset=-1&live=sse", headers=headers) as answer:
                    if answer.status != 200:
                        self.is_dead = answer.status != 204
                        self.is_closed = answer.status == 204
                        break
                    retry_s = await self._events(answer.content, headers) or retry_s
            if not self.is_closed:
                await asyncio.sleep(retry_s)

    async def _events(self, content: aiohttp.StreamReader, headers: dict[str, str]) -> float | None:
        """Read events to the end of an answer; how long it says to wait then."""
        pending, retry_s, begun = [], None, b""
        async for part in content.iter_any():
            *events, begun = (begun + part).split(b"\n\n")
            for event in events:
                lines = (line.partition(b":") for line in event.split(b"\n"))
                fields = {name: value.removeprefix(b" ") for name, _, value in lines}
                if b"retry" in fields:
                    retry_s, self.asked_again = int(fields[b"retry"]) / 1000, self.asked_again + 1
                elif fields.get(b"event") == b"data":
                    pending.append(fields[b"data"])
                elif fields.get(b"event") == b"control":
                    if pending:
                        self.hear(b"".join(pending))
                    headers["Last-Event-ID"] = fields[b"id"].decode()
                    self.is_closed = b'"streamClosed":true' in fields[b"data"]
                    pending = []
        return retry_s

    async def poll(self, session: aiohttp.ClientSession, url: str) -> None:
        """Read by long-poll, and come back when a refusal says so."""
        offset, cursor = "-1", ""
        while not self.is_closed:
            echo = f"&cursor={cursor}" if cursor else ""
            try:
                async with session.get(f"{url}?offset={offset}&live=long-poll{echo}") as answer:
                    data, said = await answer.read(), answer.headers
            except aiohttp.ClientError:
                await asyncio.sleep(LOST_S)
                continue
            if answer.status in PASSING:
                self.refusals[answer.status] += 1
                await asyncio.sleep(float(said.get("Retry-After", LOST_S)))
                continue
            assert answer.status in {200, 204}, answer
            offset, cursor = said["Stream-Next-Offset"], said.get("Stream-Cursor", "")
            self.is_closed = said.get("Stream-Closed") == "true"
            if data:
                self.hear(data)


def _write(url: str, flag: Path) -> list[bytes]:
    """Append until there is a flag, by four producers; what was acknowledged."""

    async def write() -> list[bytes]:
        writers, is_over = [Writer(url, f"{name}-") for name in "abcd"], asyncio.Event()
        writing = []
        for writer in writers:
            writer.pause_s = len(writers) / APPENDS_S
            writing.append(asyncio.create_task(writer.write_until(is_over)))
        while not await asyncio.to_thread(flag.exists):
            await asyncio.sleep(LOST_S / 5)
        is_over.set()
        await asyncio.gather(*writing)
        return [word for writer in writers for word in writer.acknowledged]

    return asyncio.run(write())


async def _load(gateway: LastingGateway, name: str, port: int, flag: Path) -> list[str]:
    """Kill the gateway under readers and a writer; the cells of a target, but for Chromium's."""
    path = f"/v1/stream/{name}"
    written_to = f"{gateway.url}{path}"
    await create_stream(written_to, TEXT)
    followers, pollers = ([Reader() for _ in range(size)] for size in (FOLLOWERS, POLLERS))
    limits = aiohttp.ClientTimeout(total=None, sock_read=SERVER_PATIENCE_S)
    connector = aiohttp.TCPConnector(limit=0)
    url = f"http://127.0.0.1:{port}{path}"
    loop, context = asyncio.get_running_loop(), multiprocessing.get_context("spawn")
    process = ProcessPoolExecutor(1, context)
    async with (
        asyncio.timeout(4 * SERVER_PATIENCE_S),
        aiohttp.ClientSession(connector=connector, timeout=limits) as session,
        asyncio.TaskGroup() as tasks,
    ):
        for one in followers:
            tasks.create_task(one.follow(session, url))
        for one in pollers:
            tasks.create_task(one.poll(session, url))
        writing = loop.run_in_executor(process, _write, written_to, flag)
        everybody = [*followers, *pollers]
        await until(lambda: all(one.text for one in everybody), within_s=SERVER_PATIENCE_S)
        await asyncio.sleep(BEFORE_S)
        gateway.kill()
        await asyncio.sleep(AWAY_S)
        await asyncio.to_thread(gateway.start)
        await asyncio.sleep(AFTER_S)
        flag.touch()
        acknowledged = await writing
        await close_stream(written_to)
    process.shutdown()
    return [_followed(followers), _polled(pollers), _written(acknowledged, everybody)]


def _followed(readers: list[Reader]) -> str:
    dead = sum(one.is_dead for one in readers)
    again = median(one.asked_again for one in readers)
    told = f"{again:.0f} ×, {_silence(readers)}"
    return f"**{dead} closed for good**, {told}" if dead else told


def _polled(readers: list[Reader]) -> str:
    refusals = sum((one.refusals for one in readers), Counter[int]())
    told = " ".join(str(status) for status in sorted(refusals) if status) or "none"
    times = sum(count for status, count in refusals.items() if status) / len(readers)
    return f"{told}, {times:.1f} ×, {_silence(readers)}"


def _silence(readers: list[Reader]) -> str:
    silences = [one.silence_s for one in readers]
    return f"{median(silences):.1f}/{max(silences):.1f} s"


def _written(acknowledged: list[bytes], readers: list[Reader]) -> str:
    words = [word.strip() for word in acknowledged]
    read = [Counter(b"".join(one.text).split()) for one in readers]
    lost = sum(word not in seen for seen in read for word in words)
    twice = sum(count - 1 for seen in read for count in seen.values())
    figures = f"{len(words)}, {lost}, {twice}"
    return f"**{figures}**" if lost or twice else figures


async def _in_chromium(gateway: LastingGateway, ports: Mapping[str, int]) -> list[str]:
    """Restart the gateway under an EventSource at each target."""
    found = await outage(gateway, ports, BROWSERS_AWAY_S, ())
    cells = []
    for name in ports:
        is_whole = found.read[f"an EventSource at {name}"] == found.written
        cells.append("nothing lost" if is_whole and name not in found.dead else "**stops**")
    return cells


async def _of_several(both: Pair, name: str) -> list[str]:
    """Measure one of two gateways that is dead, and one that hangs."""
    dead, other = both.gateways
    if name in BALANCING:
        with in_front_of(both.settings, both.upstream, [name], answer_s=None) as ports:
            path = created(other.port)
            dead.kill()
            without = _failed(await all_kinds(ports[name], path))
            await asyncio.to_thread(dead.start)
        edges = in_front_of(both.settings, both.upstream, [name], answer_s=None)
        with edges as ports, stalled(dead.pid):
            hung = _failed(await all_kinds(ports[name], path))
            began = time.monotonic()
            await until(partial(is_fine, ports[name], path), within_s=2 * SERVER_PATIENCE_S)
            hung += f", then none after {time.monotonic() - began:.1f} s"
    else:
        without = hung = "–"
    return [without, hung]


def _failed(found: Mapping[str, list[int | str]]) -> str:
    wrong = [f"{sum(it not in {200, 204} for it in of)} {kind}" for kind, of in found.items()]
    return ", ".join(it for it in wrong if not it.startswith("0 ")) or "none fails"


async def rows_of_several() -> list[list[str]]:
    """Return the rows of two gateways that share a Redis, for all targets that run here."""
    with tempfile.TemporaryDirectory(prefix="headgate-pair-") as folder, pair(Path(folder)) as both:
        columns = [await _of_several(both, name) for name in ENGINES]
    cells = zip(*columns, strict=True)
    return [[title, *row] for title, row in zip(ROWS_OF_SEVERAL, cells, strict=True)]


def _shown(statuses: set[int | str], took_s: float) -> str:
    return f"{' '.join(sorted(map(str, statuses)))} in {took_s:.1f} s"


def _of_one(seen: Hang) -> list[str]:
    """Return the cells of a target whose only gateway has hung."""
    first, later, uncached, events, append = (
        seen.statuses[it] for it in ("first", "later", "uncached", "events", "append")
    )
    is_open = seen.open_events_s >= EVENTS_PATIENCE_S
    ends = "**no end**" if is_open else f"ends in {seen.open_events_s:.1f} s"
    return [
        f"{_shown(first, seen.first_s)}, then {_shown(later, seen.later_s)}",
        _shown(uncached, seen.uncached_s),
        f"{_shown(events, seen.new_events_s)}, {ends}",
        " ".join(sorted(map(str, append))),
    ]


async def rows_of_one() -> list[list[str]]:
    """Return the rows of one gateway that hangs, for all targets that run here."""
    with (
        hangable() as (gateway, settings),
        edges(settings, f"127.0.0.1:{gateway.port}", list(ENGINES)) as ports,
    ):
        found = await hang([gateway.pid], gateway.port, ports)
    cells = zip(*(_of_one(found[name]) for name in ENGINES), strict=True)
    return [[title, *row] for title, row in zip(ROWS_OF_ONE, cells, strict=True)]


async def rows() -> list[list[str]]:
    """Return the cells of each row, its title first, for all targets that run here."""
    with (
        tempfile.TemporaryDirectory(prefix="headgate-away-") as folder,
        contextlib.ExitStack() as end,
    ):
        gateway = LastingGateway(Path(folder))
        end.callback(gateway.close)
        columns = []
        gateway.start()
        for name in ENGINES:  # one after the other: two cores
            with in_front(gateway, [name]) as ports:
                columns.append(await _load(gateway, name, ports[name], Path(folder, name)))
        with in_front(gateway) as ports:
            browsers = await _in_chromium(gateway, ports)
    cells = [*map(list, zip(*columns, strict=True)), browsers]
    found = [[title, *row] for title, row in zip(ROWS, cells, strict=True)]
    return [*found, *await rows_of_several(), *await rows_of_one()]
