"""An origin that sends more than its answers: no client gets what was meant for another."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

import pytest

from headgate_gateway.origin.reuse import SILENCE_S
from tests.support.examples import IS_WHOLE
from tests.support.serving import EDGE, Serving, edge_serving, get, post, request
from tests.support.surplus_origin import FORGED, SPOILING, SURPLUS, SurplusOrigin, name_of
from tests.support.waiting import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.support.http1 import Client

SURPLUSES = 25 if IS_WHOLE else 8
READERS = 4


class Crowd:
    """Readers that ask for one stream after the other, and the wrong answers that they got."""

    def __init__(self, gateway: Serving, origin: SurplusOrigin) -> None:
        self._gateway = gateway
        self._origin = origin
        self._numbers = itertools.count()
        self._stop = asyncio.Event()
        self.asked: list[str] = []
        self.wrong: list[tuple[str, bytes]] = []

    async def read_one(self, client: Client) -> None:
        target = f"{EDGE}/ok-{next(self._numbers)}"
        await self._expect(client, get(target), (200, name_of(target)))
        self.asked.append(target)

    @contextlib.asynccontextmanager
    async def reading(self, readers: int) -> AsyncIterator[None]:
        async with asyncio.TaskGroup() as tasks:
            for _ in range(readers):
                tasks.create_task(self._read())
            try:
                yield
            finally:
                self._stop.set()

    async def spoil(self, client: Client) -> None:
        """Have the origin send a surplus behind its answer."""
        kind, before = self._origin.kind, self._origin.surpluses
        target = f"{EDGE}/{SPOILING}-{next(self._numbers)}"
        if kind.startswith("HEAD"):
            await self._expect(client, request("HEAD", target), (200, b""))
        elif kind.startswith("204"):
            await self._expect(client, post(target, b"x"), (204, b""))
        elif kind.startswith("304"):
            await self._expect(client, get(target), (200, b"old"))
            await self._expect(client, get(target), (200, b"old"))
        else:
            await self._expect(client, get(target), (200, b"whole"))
        await until(lambda: self._origin.surpluses > before)

    async def wrong_copies(self) -> list[str]:
        """Return the targets for which a later reader gets another stream's data."""
        client = await self._gateway.connect()
        answers = [(one, await client.ask(get(one))) for one in self.asked]
        return [one for one, got in answers if got.body != name_of(one)]

    async def _read(self) -> None:
        client = await self._gateway.connect()
        while not self._stop.is_set():
            await self.read_one(client)

    async def _expect(self, client: Client, wire: bytes, told: tuple[int, bytes]) -> None:
        got = await client.ask(wire)
        if (got.status, got.body) != told:
            self.wrong.append((wire.decode().partition(" HTTP")[0], got.body))


@contextlib.asynccontextmanager
async def crowded(
    kind: str, late_s: float, answers_after_s: float
) -> AsyncIterator[tuple[Serving, Crowd, Client]]:
    async with (
        SurplusOrigin(kind, late_s, answers_after_s=answers_after_s) as origin,
        edge_serving(origin) as gateway,
    ):
        yield gateway, Crowd(gateway, origin), await gateway.connect()


@pytest.mark.parametrize(
    ("kind", "late_ms"),
    [
        ("HEAD", 0),
        ("HEAD", 60),
        ("HEAD in chunks", 1),
        ("204", 20),
        ("204 with a length", 0),
        ("204 with a length", 60),
        ("204 in chunks", 1),
        ("304", 0),
        ("304", 60),
        ("304 without a length", 20),
    ],
)
async def test_a_late_body_behind_a_bodiless_response_reaches_no_other_client(
    kind: str, late_ms: int
) -> None:
    async with crowded(kind, late_ms / 1000, 0.004) as (_, crowd, client):
        async with crowd.reading(READERS):
            for _ in range(SURPLUSES):
                await crowd.spoil(client)
            seen = len(crowd.asked) + 2 * READERS
            await until(lambda: len(crowd.asked) > seen)
        assert (crowd.wrong, await crowd.wrong_copies()) == ([], [])


@pytest.mark.parametrize("late_ms", [0, 1, 20, 60, 150])
async def test_a_second_response_behind_a_complete_one_reaches_another_client_at_most_once(
    late_ms: int,
) -> None:
    async with crowded("200", late_ms / 1000, 0.03) as (gateway, crowd, client):
        for _ in range(SURPLUSES):
            await crowd.spoil(client)
            await crowd.read_one(client)
            await until(lambda: _is_seen(gateway))
        assert len(crowd.wrong) <= 1
        assert await crowd.wrong_copies() == []


async def test_a_surplus_drops_only_the_copies_that_its_own_connection_brought() -> None:
    readers = [f"{EDGE}/ok-{number}" for number in range(8)]
    async with (
        SurplusOrigin("200", 0.0, answers_after_s=0.02) as origin,
        edge_serving(origin) as gateway,
    ):
        clients = [await gateway.connect() for _ in readers]
        for client, target in zip(clients, readers, strict=True):
            client.send(get(target))
        for client in clients:
            await client.answer()
        await clients[0].ask(get(f"{EDGE}/{SPOILING}"))
        await until(lambda: _is_seen(gateway))
        asked = len(origin.heard)
        for target in readers:
            assert (await clients[0].ask(get(target))).body == name_of(target)
    (own,) = {heard.connection for heard in origin.heard if SPOILING in heard.target}
    brought = {heard.target for heard in origin.heard[:asked] if heard.connection == own}
    assert {heard.target for heard in origin.heard[asked:]} == {
        target for target in brought if SPOILING not in target
    }


def _is_seen(gateway: Serving) -> bool:
    return any(gateway.edge.origin.figures.surpluses.values())


async def test_surplus_bytes_that_arrive_after_the_rest_time_mislead_at_most_one_reader() -> None:
    async with crowded("HEAD", SILENCE_S + 0.05, 0.1) as (gateway, crowd, client):
        await crowd.spoil(client)
        (endpoint,) = gateway.edge.origin.pool.by_server.values()
        await until(lambda: endpoint.resting == 0)
        await crowd.read_one(client)  # on the connection that has rested in vain
        assert crowd.wrong == [("GET /edge/ok-1", FORGED)]
        await until(lambda: _is_seen(gateway))
        assert await crowd.wrong_copies() == []
        for _ in range(SURPLUSES):
            await crowd.spoil(client)
            await crowd.read_one(client)
        assert len(crowd.wrong) == 1
        assert await crowd.wrong_copies() == []


class DoHeadIsDoGet(BaseHTTPRequestHandler):
    """A handler that answers with the target's last segment, and "forged" with a fake answer."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        name = self.path.rpartition("/")[2].encode()
        body = SURPLUS if name.startswith(b"forged") else name
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "max-age=60")
        self.end_headers()
        self.wfile.write(body)

    do_HEAD = do_GET  # noqa: N815 - as the handler is told

    def log_message(self, *_: object) -> None:
        """Say nothing."""


async def test_a_python_server_that_answers_head_with_a_body_misleads_no_reader() -> None:
    server = ThreadingHTTPServer(("127.0.0.1", 0), DoHeadIsDoGet)
    serving = threading.Thread(target=server.serve_forever, daemon=True)
    serving.start()
    try:
        async with edge_serving(f"http://127.0.0.1:{server.server_port}") as gateway:
            client, others = await gateway.connect(), await gateway.connect()
            told = []
            for number in range(SURPLUSES):
                client.send(request("HEAD", f"{EDGE}/forged-{number}"))
                answers = [await others.ask(get(f"{EDGE}/{number}-{one}")) for one in range(3)]
                told += [got.body for got in answers]
                assert (await client.answer(to_head=True)).status == 200
            right = [f"{number}-{one}".encode() for number in range(SURPLUSES) for one in range(3)]
            assert told == right
    finally:
        server.shutdown()
        server.server_close()
        serving.join()
