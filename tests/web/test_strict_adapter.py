"""What TanStack AI's adapter asks of a Durable Streams server, of each log and through an edge."""

from __future__ import annotations

import asyncio
import contextlib
import json
from typing import TYPE_CHECKING, NamedTuple

import pytest

from gateway.backends.memory import MemoryLog
from gateway.backends.redis.log import RedisLog
from gateway.backends.redis.servers.connector import RedisSettings
from gateway.backends.sqlite.log import SqliteLog
from gateway.cache.store import Store
from gateway.settings.log_kinds.redis import parse_redis
from tests.edge.origins import reference
from tests.support.redis_servers import redis_server
from tests.web.serving import EDGE, PREFIX, Serving, edge_serving, request, serving
from tests.web.strict_run import Place, StrictRun, window_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from pathlib import Path

    from gateway.backends.contract import Log
    from gateway.protocol.streams.chunks import Chunk
    from gateway.protocol.streams.state import StreamState
    from tests.edge.origins import Reference
    from tests.support.redis_servers import RedisServer

SHORT_S = 0.1
POLL_S = 20.0  # longer than any window here


class Streams(NamedTuple):
    """Where runs are kept."""

    gateway: Serving
    prefix: str

    def run(self, run: str) -> StrictRun:
        return StrictRun(self.gateway, self.prefix, run)

    def windows_last(self, seconds: float) -> None:
        """From now on."""
        route = self.gateway.edge if self.prefix == EDGE else self.gateway.route
        source = route.feeds.source
        source.settings.sse_max_age = seconds

    async def drain(self) -> None:
        """End all windows, as before a restart."""
        self.gateway.shared.start_closing()
        route = self.gateway.edge if self.prefix == EDGE else self.gateway.route
        await route.drain()


@pytest.fixture(scope="module")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with redis_server(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture(scope="module")
def reference_server() -> Iterator[Reference]:
    with reference(long_poll_s=POLL_S) as server:
        yield server


def log_of(kind: str, folder: Path, fixture: Callable[[str], RedisServer]) -> Log:
    if kind == "redis":
        url = f"{fixture('redis').url}?prefix={folder.name}"
        return RedisLog(RedisSettings(parse_redis(url)))
    return SqliteLog(folder) if kind == "file" else MemoryLog()


@contextlib.asynccontextmanager
async def before(url: str) -> AsyncIterator[Streams]:
    async with edge_serving(f"{url}{PREFIX}", long_poll_timeout=POLL_S) as gateway:
        yield Streams(gateway, EDGE)


@pytest.fixture(params=["memory", "file", "redis", "edge of a log", "edge of the reference server"])
async def streams(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Streams]:
    kind = request.param
    if kind == "edge of the reference server":
        async with before(request.getfixturevalue("reference_server").url) as found:
            yield found
        return
    async with serving(log_of(kind, tmp_path, request.getfixturevalue)) as gateway:
        if kind != "edge of a log":
            yield Streams(gateway, PREFIX)
            return
        async with before(f"http://127.0.0.1:{gateway.port}") as found:
            yield found


def chunk(seq: int) -> dict[str, object]:
    delta = f"{seq} ä€\U0001f600\n\u2028"
    return {"v": 1, "seq": seq, "chunk": {"type": "TEXT_MESSAGE_CONTENT", "delta": delta}}


# ---------------------------------------------------------------- names


async def test_an_encoded_slash_within_a_name_does_not_separate_segments(streams: Streams) -> None:
    run, name = streams.run("slash"), f"{streams.prefix}/streams/runs/slash"
    other = StrictRun(streams.gateway, streams.prefix, "slash")
    other.path = name
    await run.create()
    assert (await streams.gateway.ask(request("GET", name))).status == 404
    await other.create()
    await run.append([chunk(1)], 0)
    await other.append([chunk(2)], 0)
    await run.close()
    await other.close()
    assert await run.read(lambda window: window.end.closed) == [chunk(1)]
    assert await other.read(lambda window: window.end.closed) == [chunk(2)]


@pytest.mark.parametrize("run", ["a b", "a/b", "ä", "%2F", "a?b#c", "..", "run:1@x"])
async def test_a_run_of_any_name_has_a_stream(streams: Streams, run: str) -> None:
    kept = streams.run(run)
    await kept.create()
    await kept.append([chunk(1)], 0)
    await kept.close()
    assert await kept.read(lambda window: window.end.closed) == [chunk(1)]


# ---------------------------------------------------------------- writes


async def test_every_write_returns_the_end_of_the_stream(streams: Streams) -> None:
    run = streams.run("writes")
    made = await run.create()
    assert await run.create() == made
    first = await run.append([chunk(1)], 0)
    assert await run.append([chunk(1)], 0) == first
    second = await run.append([chunk(2), chunk(3)], 1)
    assert made < first < second
    # Of a repeated append, what matters is where to go on: that is the end as it is now.
    assert await run.append([chunk(1)], 0) == second
    assert [await run.close(), await run.close()] == [second, second]
    assert await run.read(lambda window: window.end.closed) == [chunk(1), chunk(2), chunk(3)]


async def test_a_close_without_content_length_is_accepted(streams: Streams) -> None:
    run = streams.run("bare")
    end = await run.create()
    bare = f"POST {run.path} HTTP/1.1\r\nHost: a.test\r\nStream-Closed: true\r\n\r\n"
    answer = await streams.gateway.ask(bare.encode())
    assert (answer.status, answer.get("Stream-Closed")) == (204, "true")
    assert answer.next_offset == end


# ---------------------------------------------------------------- windows


async def test_consecutive_windows_return_each_record_once(streams: Streams) -> None:
    run = streams.run("windows")
    await run.create()
    streams.windows_last(SHORT_S)
    place, read = Place(), []
    for seq in range(3):
        for _ in range(2):  # the second one has nothing to tell
            window = await run.window(place)
            place = window.end
            read.append(len(window.records))
        await run.append([chunk(seq)], seq)
    assert read == [0, 0, 1, 0, 1, 0]
    assert (await run.window(place)).records == [chunk(2)]


async def test_a_window_has_all_records_appended_within_it_and_the_closure(
    streams: Streams,
) -> None:
    run = streams.run("within")
    await run.create()
    client = await run.follow(Place())
    await client.events_until(lambda events: len(events) == 1)
    for seq in range(4):
        await run.append([chunk(seq)], seq)
        await client.events_until(lambda events, seq=seq: len(events) >= 2 * seq + 3)  # type: ignore[misc] # no other way to bind it
    await run.close()
    window = window_of(Place(), await client.events_to_the_end())
    assert window.records == [chunk(seq) for seq in range(4)]
    assert window.end.closed


@pytest.mark.parametrize("data", [True, False])
async def test_a_window_of_an_open_stream_is_up_to_date_at_once(
    streams: Streams, data: bool
) -> None:
    """A snapshot of an open stream is read up to there, also before the first append."""
    run = streams.run(f"snapshot {data}")
    await run.create()
    if data:
        await run.append([chunk(1)], 0)
    client = await run.follow(Place())
    told = await client.events_until(lambda events: any("upToDate" in one.data for one in events))
    assert json.loads(told[-1].data)["upToDate"] is True
    assert window_of(Place(), told).records == [chunk(1)] * data


@pytest.mark.parametrize("data", [True, False])
async def test_a_drained_window_ends_with_its_data_like_any_other(
    streams: Streams, data: bool
) -> None:
    run = streams.run(f"drained {data}")
    await run.create()
    streams.windows_last(SHORT_S)
    place = (await run.window(Place())).end
    streams.windows_last(60)
    if data:
        await run.append([chunk(1)], 0)
    client = await run.follow(place)
    reading = asyncio.ensure_future(client.events_to_the_end())
    await streams.drain()
    assert window_of(place, await reading).records == [chunk(1)] * data


class SlowLog(MemoryLog):
    """Answers its first read at once, and each other one when it may."""

    def __init__(self) -> None:
        super().__init__()
        self.reads = 0
        self.go = asyncio.Event()

    async def read(self, state: StreamState, start: int, end: int) -> Chunk:
        self.reads += 1
        if self.reads > 1:
            await self.go.wait()
        return await super().read(state, start, end)


async def test_a_window_that_ends_before_its_data_were_read_returns_the_start_offset() -> None:
    """What was read before the answer began is not kept where the stream has grown meanwhile."""
    log = SlowLog()
    async with serving(log) as gateway:
        gateway.route.feeds.source._events = Store(0)
        streams = Streams(gateway, PREFIX)
        run = streams.run("slow")
        await run.create()
        await run.append([chunk(1)], 0)
        streams.windows_last(SHORT_S)
        place = (await run.window(Place())).end
        assert log.reads == 2
        log.go.set()
        assert (await run.window(place)).records == [chunk(1)]
