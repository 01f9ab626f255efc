"""Copies that are killed at random moments and repeated, and how what they made differs.

Streams of many kinds go from a data folder to Redis, from there to a data folder, and from a
Headgate that serves it to another folder. Each copy is killed so many times before it may end.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import random
import subprocess
import time
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import quote

import msgspec

from headgate.following import catch_up
from headgate.stream_requests import StreamRequests
from headgate_gateway.logs.registry import log_for
from headgate_gateway.logs.sqlite.log import SqliteLog
from headgate_gateway.protocol.bodies.content import is_json, json_messages
from headgate_gateway.protocol.streams.chunks import CHUNK_BYTES
from headgate_gateway.protocol.streams.limits import Retention
from headgate_gateway.protocol.streams.state import Lifetime, Stamp, StreamState
from headgate_gateway.settings import Route
from tests.streams.service import Service
from tests.support.manual_clock import ManualClock
from tests.support.processes import HEADGATE, Process, headgate, start
from tests.support.redis_servers import redis_server

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping, Sequence
    from pathlib import Path

    from headgate_gateway.logs.contract import Log
    from headgate_gateway.protocol.streams.state import ProducerState

TYPES = ("text/plain; charset=utf-8", "application/json", "application/octet-stream")
LIFETIMES = (
    Lifetime(),
    Lifetime(ttl_s=86_400),
    Lifetime(expires_at=4070908800.0, expires_text="2099-01-01T00:00:00Z"),
)
TOGETHER = 50  # streams that are made, or looked at, at the same time
RUN_S = 600.0  # for the last run, which compares all streams
LONGEST_LIFE_S = 0.8  # of a run that is killed: from its imports to its last streams
NUMBERS = b"[%d, 1.50, 12345678901234567890, -0, true, [1, []]]"  # as servers may write otherwise


class Exact(NamedTuple):
    """All of a stream that two logs have in common."""

    state: StreamState
    producers: Mapping[str, ProducerState]
    records: str


class Seen(NamedTuple):
    """All of a stream that two servers have in common."""

    content_type: str
    lifetime: tuple[int | None, str | None]
    is_closed: bool
    content: str


@contextlib.asynccontextmanager
async def opened(origin: str) -> AsyncIterator[Log]:
    log = log_for(Route.of({"prefix": "/copied", "storage": origin}))
    await log.open()
    try:
        yield log
    finally:
        await log.close()


# ---- what is copied


async def fill(folder: Path, streams: int, seed: int) -> list[str]:
    """Make streams in a data folder, as clients do; return their paths."""
    log = SqliteLog(folder)
    await log.open()
    paths = [quote(f"räume {number % 7}/{number:05}(a)") for number in range(streams)]
    try:
        clock = ManualClock(time.time())  # noqa: TID251 - the copies read the machine's
        services = Service(log, clock), Service(log, clock, retention=Retention(max_bytes=2000))
        for begin in range(0, streams, TOGETHER):
            some = range(begin, min(begin + TOGETHER, streams))
            await asyncio.gather(
                *(_make(services[n % 5 == 3], paths[n], random.Random(f"{seed} {n}")) for n in some)
            )
    finally:
        await log.close()
    return paths


async def _make(service: Service, path: str, chance: random.Random) -> None:
    content_type = chance.choice(TYPES)
    lifetime = chance.choice(LIFETIMES)
    await service.create(path, content_type=content_type, lifetime=lifetime)
    is_long = chance.random() < 0.02
    for number in range(chance.randrange(6)):
        if content_type == "application/json":
            body = NUMBERS % number
            if is_long:
                body = json.dumps([{"n": n, "text": "x" * 60} for n in range(3000)]).encode()
        else:
            body = chance.randbytes(150_000 if is_long else chance.randrange(1, 900)).hex().encode()
        stamp = Stamp(f"writer {chance.randrange(2)}", number, 0) if number % 2 else None
        await service.submit(path, body, producer=stamp, content_type=content_type)
    if chance.random() < 0.3:
        await service.submit(path, b"", close=True, producer=Stamp("closer", 3, 0))


# ---- what there is


async def exact(origin: str, paths: Sequence[str]) -> dict[str, Exact | None]:
    """Return all of the streams of a log."""
    found: dict[str, Exact | None] = {}
    async with opened(origin) as log:
        for path in paths:
            loaded = await log.load(path)
            state = loaded.path_state.state
            found[path] = None
            if state is not None:
                records = hashlib.sha256()
                async for record in _records(log, state):
                    records.update(b"%d:%b" % (len(record), record))
                own = msgspec.structs.replace(
                    state, stream_id=0, version=0, history=0, deadline=None
                )
                found[path] = Exact(own, loaded.producers, records.hexdigest())
    return found


async def _records(log: Log, state: StreamState) -> AsyncIterator[bytes]:
    position = state.first
    while position < state.tail:
        chunk = await log.read(state, position, position + CHUNK_BYTES)
        assert chunk.start == position
        for record in chunk.records:
            yield record
        position = chunk.end


async def seen_in(origin: str, paths: Sequence[str]) -> dict[str, Seen | None]:
    """Return what clients of a server with this log would see of the streams."""
    found: dict[str, Seen | None] = {}
    async with opened(origin) as log:
        for path in paths:
            state = (await log.load(path)).path_state.state
            found[path] = None
            if state is not None:
                records = [record async for record in _records(log, state)]
                if is_json(state.content_type):
                    records = [one for record in records for one in json_messages(b"[%b]" % record)]
                lifetime = (state.lifetime.ttl_s, state.lifetime.expires_text)
                content = _content(state.content_type, records)
                found[path] = Seen(state.content_type, lifetime, state.closed, content)
    return found


async def seen_at(base: str, paths: Sequence[str]) -> dict[str, Seen | None]:
    """Return what clients see of the streams of a server."""
    found: dict[str, Seen | None] = {}

    async def look(stream: StreamRequests, path: str) -> None:
        one = stream.beside(f"{base}/{path}")
        head = await one.find()
        found[path] = None
        if head is not None:
            bodies = [body async for _, batch in catch_up(one, "-1") for body in batch.bodies]
            if is_json(head.content_type):
                bodies = [message for body in bodies for message in json_messages(body)]
            content = _content(head.content_type, bodies)
            lifetime = (head.ttl, head.expires_at)
            found[path] = Seen(head.content_type, lifetime, head.is_closed, content)

    async with StreamRequests(base) as stream:
        for begin in range(0, len(paths), TOGETHER):
            await asyncio.gather(*(look(stream, it) for it in paths[begin : begin + TOGETHER]))
    return found


def _content(content_type: str, bodies: Sequence[bytes]) -> str:
    """Return a digest of a content; JSON is compared as JavaScript understands it."""
    whole = b"".join(bodies)
    if is_json(content_type):
        values = [json.loads(one, parse_int=lambda text: float(text) + 0.0) for one in bodies]
        whole = json.dumps(values, sort_keys=True).encode()
    return hashlib.sha256(whole).hexdigest()


# ---- copies


class Copies:
    """Copies that are killed; `killed` counts the kills that hit."""

    def __init__(self, kills: int, seed: int) -> None:
        self._kills = kills
        self._chance = random.Random(seed)
        self.killed = 0

    def copy(self, source: str, target: str, *more: str) -> dict[str, int]:
        """Copy, be killed and copy again; return the result of the last run."""
        for _ in range(self._kills):
            process = self._start(source, target, *more)
            time.sleep(self._chance.uniform(0.0, LONGEST_LIFE_S))
            self.killed += process.poll() is None
            process.kill()
            process.communicate()
        process = self._start(source, target, "--json", *more)
        output, errors = process.communicate(timeout=RUN_S)
        assert process.returncode == 0, errors.decode()
        found: dict[str, int] = json.loads(output)
        return found

    @staticmethod
    def _start(*words: str) -> Process:
        pipe = subprocess.PIPE
        return start([HEADGATE, "data", "copy", *words], stdout=pipe, stderr=pipe)


def _is_log(place: str) -> bool:
    return not place.startswith("http")


class Difference(NamedTuple):
    """The streams that a leg of the way changed, of so many."""

    leg: str
    paths: list[str]
    streams: int


class Carried(NamedTuple):
    """What differed after each copy, and how many runs were killed before they ended."""

    legs: list[Difference]
    killed: int


def differences(leg: str, one: Mapping[str, object], other: Mapping[str, object]) -> Difference:
    """Compare two places. A stream that is missing differs, unless it is in none."""
    unequal = [path for path in one if one[path] != other[path] or one[path] is None]
    return Difference(leg, unequal, len(one))


async def carried(
    folder: Path,
    streams: int,
    kills: int,
    seed: int,
    report: Callable[[str], None] = lambda _: None,
) -> Carried:
    """Carry streams from place to place, and return what differs after each copy."""
    first, second = f"file:{folder / 'first'}", f"file:{folder / 'second'}"
    third = f"file:{folder / 'third'}"
    paths = await fill(folder / "first", streams, seed)
    found: list[Difference] = []
    with redis_server(folder / "redis") as redis:
        copies = Copies(kills, seed)
        began = time.monotonic()

        async def leg(source: str, target: str, *more: str) -> None:
            nonlocal began
            result = await asyncio.to_thread(copies.copy, source, target, *more)
            took = time.monotonic() - began
            if _is_log(source) and _is_log(target):
                pair = await exact(source, paths), await exact(target, paths)
                found.append(differences(f"{source} {target}", *pair))
            sides = [
                await (seen_in(it, paths) if _is_log(it) else seen_at(it, paths))
                for it in (source, target)
            ]
            found.append(differences(f"{source} {target}", *sides))
            unequal = sum(len(it.paths) for it in found)
            report(f"{source} to {target}: {took:.1f} s, {result}, {unequal} unequal so far")
            began = time.monotonic()

        await leg(first, redis.url)
        await leg(redis.url, second)
        with headgate(redis.url) as server:
            await leg(server.streams, third, "--admin", server.admin_url)
    return Carried(found, copies.killed)
