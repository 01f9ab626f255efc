"""Logs in Redis for tests: opened, with somebody who listens, and with connections to cut."""

from __future__ import annotations

import asyncio
import contextlib
from functools import partial
from typing import TYPE_CHECKING

from typing_extensions import override

from headgate.redis_url import parse_redis
from headgate_gateway.errors import LogUnavailable
from headgate_gateway.logs.redis.commits import commit_call
from headgate_gateway.logs.redis.connector import RedisSettings
from headgate_gateway.logs.redis.log import RedisLog
from headgate_gateway.logs.redis.names import RedisNames
from headgate_gateway.logs.sharing import LogListener
from tests.logs import contract
from tests.support.listener import Listener
from tests.support.redis_servers import redis_server
from tests.support.waiting import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from headgate_gateway.protocol.streams.state import Change, StreamState
    from tests.support.redis_servers import RedisServer


class Hearing(LogListener):
    """A listener that remembers everything."""

    def __init__(self) -> None:
        self.changes: list[Change] = []
        self.missing: list[str] = []
        self.removals: list[tuple[str, int]] = []
        self.histories = 0

    @override
    def on_change(self, change: Change) -> None:
        self.changes.append(change)

    @override
    def on_missed_changes(self, path: str) -> None:
        self.missing.append(path)

    @override
    def on_removal(self, path: str, stream_id: int) -> None:
        self.removals.append((path, stream_id))

    @override
    def on_missed_removals(self) -> None:
        self.histories += 1

    @override
    def on_history_change(self) -> None:
        self.histories += 1


@contextlib.asynccontextmanager
async def connected(
    url: str,
    listener: Hearing | None = None,
    *,
    wait_replicas: int = 0,
    connect_timeout: float = 5.0,
    within_s: float = 0.0,
) -> AsyncIterator[RedisLog]:
    """An open log, whose new streams are of the present history; refusals of its first read pass.

    They do so for `within_s`, while the sentinels have not agreed on a primary.
    """
    settings = RedisSettings(parse_redis(url), connect_timeout, wait_replicas=wait_replicas)
    log = RedisLog(settings)
    log.sharing.listen(listener or Hearing())
    await log.open()
    try:
        await until(
            partial(_knows_its_history, log, may_be_refused=within_s > 0), within_s=within_s
        )
        yield log
    finally:
        await log.close()


@contextlib.asynccontextmanager
async def with_a_stream(
    folder: Path, **options: str
) -> AsyncIterator[tuple[RedisServer, RedisLog, Change]]:
    """Start a Redis, and open a log there that has created the stream `s` with one record."""
    with redis_server(folder, **options) as server:
        async with connected(server.url) as log:
            change = contract.created(log, "s", b"one")
            await log.commit([change])
            yield server, log, change


async def stood(log: RedisLog, path: str = "s") -> StreamState:
    """Return the state of a stream, which has to be there."""
    state = (await log.load(path)).path_state.state
    assert state is not None
    return state


async def _knows_its_history(log: RedisLog, *, may_be_refused: bool) -> bool:
    try:
        contract.HISTORIES[log] = (await log.load("-")).path_state.history
    except LogUnavailable:
        if not may_be_refused:
            raise
        return False
    return True


def commit_words(change: Change) -> list[bytes]:
    """The words of a commit by a gateway that is none."""
    packed = commit_call(RedisNames("headgate"), "0" * 8, change, 1)
    found, rest = [], b"".join(packed).partition(b"\r\n")[2]
    while rest:
        length, _, rest = rest[1:].partition(b"\r\n")
        found.append(rest[: int(length)])
        rest = rest[int(length) + 2 :]
    return found


class LossyProxy(Listener):
    """Forwards to a loopback port, and loses what it is told to.

    With each of `losses` a word in a command makes it cut the connection: `after` the server has
    carried the command out, when its answer comes, or before the command was passed on.
    """

    def __init__(self, target_port: int) -> None:
        super().__init__(self._serve)
        self._target_port = target_port
        self.losses: list[tuple[bytes, bool]] = []
        self.lost = 0

    @property
    def url(self) -> str:
        """The origin that leads through it."""
        return f"redis://127.0.0.1:{self.port}"

    def lose_next(self, word: bytes, *, after: bool) -> None:
        """Cut the connection on which the next such command comes."""
        # As the beginning of a word on the wire: a library's text has the names too.
        self.losses.append((b"\r\n" + word, after))

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        from_server, to_server = await asyncio.open_connection("127.0.0.1", self._target_port)
        doomed = asyncio.Event()
        try:
            async with asyncio.TaskGroup() as both:
                both.create_task(self._upwards(reader, to_server, doomed))
                both.create_task(self._downwards(from_server, writer, doomed))
        except* ConnectionError:
            pass
        finally:
            to_server.transport.abort()

    async def _upwards(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, doomed: asyncio.Event
    ) -> None:
        while data := await reader.read(1 << 16):
            if self.losses and self.losses[0][0] in data:
                _, after = self.losses.pop(0)
                doomed.set()
                if not after:
                    self._cut()
            writer.write(data)
            await writer.drain()
        raise ConnectionResetError

    async def _downwards(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, doomed: asyncio.Event
    ) -> None:
        while data := await reader.read(1 << 16):
            if doomed.is_set():
                self._cut()
            writer.write(data)
            await writer.drain()
        raise ConnectionResetError

    def _cut(self) -> None:
        self.lost += 1
        raise ConnectionResetError


@contextlib.asynccontextmanager
async def lossy(
    server: RedisServer, names: RedisNames
) -> AsyncIterator[tuple[LossyProxy, RedisLog]]:
    """A log behind a proxy that loses what it is told to."""
    async with (
        LossyProxy(server.port) as proxy,
        connected(f"{proxy.url}?prefix={names.prefix}") as log,
    ):
        yield proxy, log
