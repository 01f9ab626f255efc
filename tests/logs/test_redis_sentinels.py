"""Whom the sentinels name: sentinels that are played by hand, and a real failover."""

from __future__ import annotations

import asyncio
import contextlib
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

import hiredis
import pytest

from headgate.redis_url import parse_redis
from headgate_gateway.errors import LogUnavailable
from headgate_gateway.logs.redis import connector
from headgate_gateway.logs.redis.connection import Unreachable
from headgate_gateway.logs.redis.connector import (
    AT_MOST_S,
    TOGETHER_S,
    RedisConnector,
    RedisSettings,
)
from tests.logs.redis_logs import connected
from tests.streams.service import Service
from tests.support.listener import Listener
from tests.support.ports import free_port
from tests.support.redis_groups import SERVICE, SentinelGroup
from tests.support.waiting import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from headgate_gateway.logs.redis.connector import Address

OLD, NEW = ("10.0.0.1", 6379), ("10.0.0.2", 6380)
CONNECT_S = 5.0
FAILOVER_S = 60.0  # it takes two on an idle machine


class Sentinel(Listener):
    """Names a primary, of its own service and no other; a frozen one only takes connections."""

    def __init__(
        self, address: Address = OLD, epoch: int = 0, flags: str = "master", *, frozen: bool = False
    ) -> None:
        super().__init__(self._serve)
        self.asked = 0
        self._frozen = frozen
        said = {"ip": address[0], "port": address[1], "flags": flags, "config-epoch": epoch}
        words = [str(word) for pair in said.items() for word in pair]
        parts = [f"${len(word)}\r\n{word}\r\n" for word in words]
        self._reply = f"*{len(words)}\r\n{''.join(parts)}".encode()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._frozen:
            await reader.read()
            return
        commands = hiredis.Reader(notEnoughData=...)
        while data := await reader.read(1 << 16):
            commands.feed(data)
            while (command := commands.gets()) is not ...:
                writer.write(self._answer([word.decode() for word in command]))

    def _answer(self, words: list[str]) -> bytes:
        if words[0] != "SENTINEL":
            return b"+OK\r\n"
        self.asked += 1
        if words[1:] != ["MASTER", SERVICE]:
            return b"-ERR No such master with that name\r\n"
        return self._reply


@contextlib.asynccontextmanager
async def watching(*sentinels: Sentinel) -> AsyncIterator[list[Address]]:
    """Where they listen."""
    async with AsyncExitStack() as stack:
        for sentinel in sentinels:
            await stack.enter_async_context(sentinel)
        yield [("127.0.0.1", sentinel.port) for sentinel in sentinels]


@pytest.fixture
def _all_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever is not frozen is heard, on a busy machine, too."""
    monkeypatch.setattr(connector, "TOGETHER_S", 10.0)


async def ask(nodes: list[Address], service: str = SERVICE) -> Address:
    sentinels = ",".join(f"{host}:{port}" for host, port in nodes)
    origin = parse_redis(f"redis+sentinel://{sentinels}/{service}")
    return await RedisConnector(RedisSettings(origin, CONNECT_S)).primary_address()


async def failure(nodes: list[Address], service: str = SERVICE) -> str:
    """Return why no sentinel names a primary."""
    with pytest.raises(Unreachable) as refusal:
        await ask(nodes, service)
    return str(refusal.value)


@pytest.mark.usefixtures("_all_in_time")
@pytest.mark.parametrize("latest", [0, 1, 2])
async def test_the_sentinel_with_the_latest_failover_decides(latest: int) -> None:
    sentinels = [Sentinel(NEW, 10) if at == latest else Sentinel(OLD, 9) for at in range(3)]
    async with watching(*sentinels) as nodes:
        assert await ask(nodes) == NEW
        assert [sentinel.asked for sentinel in sentinels] == [1, 1, 1]


@pytest.mark.parametrize("frozen", [0, 1, 2])
async def test_a_frozen_sentinel_delays_discovery_by_a_bounded_time(frozen: int) -> None:
    sentinels = [Sentinel(NEW, 10, frozen=at == frozen) for at in range(3)]
    async with watching(*sentinels) as nodes:
        began = asyncio.get_running_loop().time()
        assert await ask(nodes) == NEW
        took = asyncio.get_running_loop().time() - began
        assert 0.9 * TOGETHER_S <= took < AT_MOST_S < CONNECT_S


async def test_an_unreachable_sentinel_does_not_prevent_discovery() -> None:
    async with watching(Sentinel(NEW, 10)) as nodes:
        assert await ask([("127.0.0.1", free_port()), *nodes]) == NEW


async def test_unreachable_sentinels_are_reported_without_addresses() -> None:
    nodes = [("127.0.0.1", free_port()) for _ in range(3)]
    refused = f"no sentinel names a primary {SERVICE}: Connection refused"
    assert await failure(nodes) == refused


async def test_silent_sentinels_are_reported_after_a_timeout() -> None:
    async with watching(Sentinel(frozen=True), Sentinel(frozen=True)) as nodes:
        assert await failure(nodes) == f"no sentinel names a primary {SERVICE}: no answer"


async def test_a_service_that_no_sentinel_knows_is_reported() -> None:
    async with watching(Sentinel(), Sentinel()) as nodes:
        why = "No such master with that name"
        assert await failure(nodes, "another") == f"no sentinel names a primary another: {why}"


@pytest.mark.usefixtures("_all_in_time")
@pytest.mark.parametrize("flags", ["s_down,master", "master,s_down,o_down,disconnected"])
async def test_a_primary_that_the_latest_sentinel_sees_down_is_not_used(flags: str) -> None:
    async with watching(Sentinel(OLD, 9), Sentinel(NEW, 10, flags)) as nodes:
        assert await failure(nodes) == f"the sentinels take the primary of {SERVICE} for down"


@pytest.mark.usefixtures("_all_in_time")
async def test_a_primary_is_used_if_one_of_the_latest_sentinels_sees_it() -> None:
    async with watching(Sentinel(NEW, 10, "s_down,master"), Sentinel(NEW, 10)) as nodes:
        assert await ask(nodes) == NEW


@pytest.mark.usefixtures("processes")
@pytest.mark.timeout(240)
@pytest.mark.parametrize("first", [True, False], ids=["the first of the URL", "the last"])
async def test_writers_continue_after_a_failover_while_a_sentinel_is_frozen(
    tmp_path: Path, *, first: bool
) -> None:
    with SentinelGroup(tmp_path) as group:
        primary = group.primary()
        async with connected(group.url) as log:
            service = Service(log)
            await service.create("s")
            await service.append("s", b"before ")
            await asyncio.to_thread(group.await_in_sync)
            frozen = group.sentinels[0 if first else -1]
            frozen.pause()
            try:
                primary.kill()
                await until(lambda: _is_appended(service), within_s=FAILOVER_S)
                assert set((await service.data("s")).split()) == {b"before", b"after"}
            finally:
                frozen.resume()


async def _is_appended(service: Service) -> bool:
    try:
        await service.append("s", b"after ")
    except LogUnavailable:
        return False
    return True
