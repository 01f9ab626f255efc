"""Reads that are not kept, while they wait for the origin: who joins, leaves and is told what."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

import pytest

from headgate_gateway.web.connections.connection import Connection
from tests.support.raw_origin import RawOrigin, Steps, answer, close, silence
from tests.support.serving import EDGE, Serving, edge_serving, get
from tests.support.waiting import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.support.http1 import Client
    from tests.support.raw_origin import Play, Wire

MINUTE = "Cache-Control: max-age=60"
READ = f"{EDGE}/s?offset=a"
LONG = 2 << 20  # bytes of an answer that is not gathered before somebody has it


@contextlib.asynccontextmanager
async def warm(*scripts: bytes | Play, **route: object) -> AsyncIterator[tuple[RawOrigin, Serving]]:
    """An origin that answers so, and a gateway that keeps as many connections to it as needed."""
    async with RawOrigin(answer()) as origin, edge_serving(origin, route) as gateway:
        held = [Steps(b"", answer()) for _ in range(4)]
        origin.scripts = [*held, answer()]
        clients = [asyncio.create_task(gateway.ask(get(f"{EDGE}/warm-{n}"))) for n in range(4)]
        await until(lambda: len(origin.heard) == 4)
        for steps in held:
            steps.go()
        await asyncio.gather(*clients)
        origin.heard.clear()
        origin.scripts = list(scripts)
        yield origin, gateway


async def readers(gateway: Serving, count: int, target: str = READ, *lines: str) -> list[Client]:
    before = gateway.edge.cache.fetches.started + gateway.edge.cache.fetches.collapsed
    clients = [await gateway.connect() for _ in range(count)]
    for client in clients:
        client.send(get(target, *lines))
    cache = gateway.edge.cache
    await until(lambda: cache.fetches.started + cache.fetches.collapsed == before + count)
    return clients


async def told(clients: list[Client]) -> list[tuple[int, str | None, bytes]]:
    answers = [await client.answer() for client in clients]
    return [(one.status, one.get("x-cache"), one.body) for one in answers]


def has_sent_ahead(gateway: Serving) -> bool:
    connections = gateway.server.connections
    return any(isinstance(one, Connection) and bool(one.requests.held) for one in connections)


def at_rest(gateway: Serving) -> bool:
    """Whether nothing is held for a fetch."""
    fetches = gateway.edge.cache.fetches
    held = (fetches.joinable, fetches.under_way)
    return not any(held) and gateway.edge.origin.requests.count == 0


async def test_equal_misses_at_once_share_one_origin_request() -> None:
    steps = Steps(b"", answer(b"data", MINUTE))
    async with warm(steps) as (origin, gateway):
        collapsed = gateway.edge.traffic.collapsed
        warmed = collapsed.distribution().sum
        clients = await readers(gateway, 5)
        steps.go()
        assert await told(clients) == [
            (200, "MISS", b"data"),
            *[(200, "COLLAPSED", b"data")] * 4,
        ]
        assert (await gateway.ask(get(READ))).get("x-cache") == "HIT"
        assert len(origin.heard) == 1
        assert collapsed.distribution().sum == warmed + 5
        assert at_rest(gateway)


@pytest.mark.parametrize("length", [f"Content-Length: {LONG}", "Transfer-Encoding: chunked"])
async def test_a_long_response_to_shared_misses_is_sent_whole_to_each_reader(length: str) -> None:
    body = b"x" * LONG
    whole = b"%x\r\n%s\r\n0\r\n\r\n" % (LONG, body) if "chunked" in length else body
    head = "\r\n".join(["HTTP/1.1 200 OK", MINUTE, length, "", ""]).encode()
    steps = Steps(b"", head + whole[:10], whole[10:])
    async with warm(steps) as (origin, gateway):
        clients = await readers(gateway, 3)
        steps.go()
        steps.go()
        kinds = ["MISS", "COLLAPSED", "COLLAPSED"]
        answers = await asyncio.gather(*[client.answer() for client in clients])
        assert [one.get("x-cache") for one in answers] == kinds
        if "chunked" not in length:
            assert [one.body == body for one in answers] == [True] * 3
        assert len(origin.heard) == 1
        await until(lambda: at_rest(gateway))


@pytest.mark.usefixtures("late_fins")
@pytest.mark.parametrize("left", [1, 2, 3])
async def test_a_pending_fetch_continues_until_its_last_reader_disconnects(left: int) -> None:
    steps = Steps(b"", answer(b"data", MINUTE))
    async with warm(steps, answer(b"anew", MINUTE)) as (origin, gateway):
        clients = await readers(gateway, 3)
        for client in clients[:left]:
            client.abort()
        await until(lambda: gateway.limits.connections == len(clients) - left)
        if left == len(clients):
            assert at_rest(gateway)
            assert (await gateway.ask(get(READ))).body == b"anew"
        steps.go()
        assert [body for _, _, body in await told(clients[left:])] == [b"data"] * (3 - left)
        cut = gateway.edge.traffic.request_count(0, 5)
        assert (cut, len(origin.heard)) == (left, 2 if left == 3 else 1)


async def test_a_client_that_disconnects_as_a_task_takes_over_leaves_nothing_behind() -> None:
    steps = Steps(b"", b"HTTP/1.1 200 OK\r\nCache-Control: no-store\r\n\r\nda", b"ta", then=close)
    async with warm(steps) as (_, gateway):
        (client,) = await readers(gateway, 1)
        client.abort()
        steps.go()
        await until(lambda: gateway.limits.connections == 0 and at_rest(gateway))


async def test_origin_requests_over_the_limit_are_refused_and_counted_once() -> None:
    steps = Steps(b"", answer(b"data", MINUTE))
    async with warm(steps) as (_, gateway):
        origin = gateway.edge.origin
        origin.requests.most = 1  # with connections to spare
        clients = await readers(gateway, 1)
        assert (await gateway.ask(get(f"{EDGE}/other?offset=a"))).status == 503
        assert (origin.requests.refused, origin.figures.results["refused"]) == (1, 1)
        steps.go()
        assert await told(clients) == [(200, "MISS", b"data")]


async def test_pipelined_reads_behind_a_miss_are_answered_in_order() -> None:
    steps = Steps(b"", answer(b"1", MINUTE))
    async with warm(steps, answer(b"2", MINUTE)) as (_, gateway):
        (client,) = await readers(gateway, 1)
        client.send(get(f"{EDGE}/s?offset=b") + get(READ))
        await until(lambda: has_sent_ahead(gateway))
        steps.go()
        assert [body for _, _, body in await told([client] * 3)] == [b"1", b"2", b"1"]


async def test_a_pipelined_read_behind_a_long_response_is_answered_after_it() -> None:
    long = b"x" * LONG
    steps = Steps(b"", answer(long, MINUTE))
    async with warm(steps, answer(b"2", MINUTE)) as (_, gateway):
        (client,) = await readers(gateway, 1)
        client.send(get(f"{EDGE}/s?offset=b"))
        await until(lambda: has_sent_ahead(gateway))
        steps.go()
        assert [body == long for _, _, body in await told([client] * 2)] == [True, False]


@pytest.mark.parametrize("is_long", [False, True])
async def test_a_stopping_server_answers_a_waiting_reader_before_its_connections_are_idle(
    *, is_long: bool
) -> None:
    body = b"x" * LONG if is_long else b"data"
    steps = Steps(b"", answer(body, MINUTE))
    async with warm(steps) as (_, gateway):
        (client,) = await readers(gateway, 1)
        gateway.server.begin_close()
        idle = asyncio.create_task(gateway.server.connections.all_idle())
        await asyncio.sleep(0)
        assert not idle.done()
        steps.go()
        assert [one == body for _, _, one in await told([client])] == [True]
        await asyncio.wait_for(idle, 5)


@pytest.mark.usefixtures("late_fins")
async def test_a_stopping_server_does_not_wait_for_a_client_that_has_disconnected() -> None:
    async with warm(Steps(b"", answer(b"data", MINUTE))) as (_, gateway):
        (client,) = await readers(gateway, 1)
        gateway.server.begin_close()
        idle = asyncio.create_task(gateway.server.connections.all_idle())
        await asyncio.sleep(0)
        client.abort()
        await asyncio.wait_for(idle, 5)


async def test_a_field_block_with_a_cookie_is_not_cached() -> None:
    async with warm(answer(b"data", MINUTE)) as (_, gateway):
        for number in range(3):
            await gateway.ask(get(f"{READ}{number}", "Cookie: who=me"))
        assert "who=me" not in repr(gateway.fast.plans._reads.fresh)


@pytest.mark.parametrize(
    "says", ["Cache-Control: private", "Set-Cookie: a=b", "Cache-Control: no-store"]
)
async def test_a_response_for_one_reader_is_not_served_to_others_from_the_followed_stream(
    says: str,
) -> None:
    """Whoever polls behind them would be given it from memory."""
    told = ("Content-Type: text/plain", "Stream-Next-Offset: 2_0", "Stream-Up-To-Date: true")

    async def play(wire: Wire) -> None:
        if "live=" in wire.heard.target:
            await silence(wire)
        elif "offset=1_0" in wire.heard.target:
            who = wire.heard.named.get("x-reader", "all")
            await wire.send(answer(b"for %b" % who.encode(), *told, says))
        else:
            await wire.send(answer(b"", *told))

    async with RawOrigin(play) as origin, edge_serving(origin) as gateway:
        follower = await gateway.connect()
        follower.send(get(f"{EDGE}/s?offset=2_0&live=sse"))
        await until(lambda: any("live=" in heard.target for heard in origin.heard))
        for who in ("ann", "ben"):
            read = get(f"{EDGE}/s?offset=1_0", f"X-Reader: {who}")
            assert (await gateway.ask(read)).body == b"for %b" % who.encode()
        poll = get(f"{EDGE}/s?offset=1_0&live=long-poll", "X-Reader: cat")
        assert (await gateway.ask(poll)).body == b"for all"


async def test_a_cookie_in_a_304_goes_only_to_the_reader_whose_request_it_answers() -> None:
    """What it was to confirm is not kept with the cookie: who asks next asks the origin."""

    async def script(wire: Wire) -> None:
        says = ('ETag: "1"', "Cache-Control: public, max-age=60")
        if "if-none-match" in wire.heard.named:
            cookie = f"Set-Cookie: of={wire.heard.named['x-reader']}"
            await wire.send(answer(b"", cookie, *says, status="304 Not Modified"))
        else:
            await wire.send(answer(b"data", *says))

    async with RawOrigin(script) as origin, edge_serving(origin) as gateway:
        cookies = []
        for who in ("ann", "ben", "cat", "dan"):
            told = await gateway.ask(get(f"{EDGE}/s", f"X-Reader: {who}"))
            assert told.body == b"data"
            cookies.append(told.get("set-cookie"))
            gateway.clock.advance(0 if who == "ben" else 61)
        assert cookies == [None, "of=ben", None, "of=dan"]
        assert len(origin.heard) == 4


@pytest.mark.parametrize("line", ["Cookie: session=b", "Authorization: Bearer b"])
async def test_readers_with_other_credentials_do_not_share_a_fetch_under_way(line: str) -> None:
    first = Steps(b"", answer(b"for a", "Stream-Next-Offset: b"))
    async with warm(first, answer(b"for the other", "Stream-Next-Offset: b")) as (_, gateway):
        waiting = await readers(gateway, 1, READ, line[:-1] + "a")
        await until(lambda: first.sent == 1)
        beside = await readers(gateway, 1, READ, line)
        beside += await readers(gateway, 1)  # anonymous
        first.go()
        assert await told(waiting) == [(200, "MISS", b"for a")]
        assert await told(beside) == [(200, "MISS", b"for the other")] * 2
        assert await told(await readers(gateway, 1, READ, line)) == [
            (200, "MISS", b"for the other")
        ]
