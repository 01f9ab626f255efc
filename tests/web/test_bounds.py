"""What a client can make the server hold: answers it does not read, bodies it does not finish."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from typing import TYPE_CHECKING, cast

import pytest

from headgate_gateway.protocol.responses import RETRY_AFTER_S
from headgate_gateway.telemetry.traffic import HIT, MISS
from headgate_gateway.web.connections.requests import AT_ONCE, ConnectionRequests
from tests.support.gated_log import GatedLog
from tests.support.http1 import Answer, Client
from tests.support.serving import Serving, get, offset, post, put, serving
from tests.support.waiting import PATIENCE_S, until

if TYPE_CHECKING:
    from tests.support.event_stream import Event

MIB = 1 << 20
BIG_ANSWER = b"b" * (4 * MIB)
STREAM = [bytes([ord("a") + number]) * MIB for number in range(16)]
SOCKET_BUFFER = 64 * 1024
PART = 30_000


def text(events: list[Event]) -> str:
    return "".join(event.data for event in events if event.name == "data")


async def narrow_client(gateway: Serving) -> tuple[Client, asyncio.Transport]:
    """A client behind small socket buffers, and the server's end of its connection."""
    before = set(gateway.server.connections)
    plain = socket.socket()
    plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SOCKET_BUFFER)
    plain.setblocking(False)
    await asyncio.get_running_loop().sock_connect(plain, ("127.0.0.1", gateway.port))
    client = Client(*await asyncio.open_connection(sock=plain))
    gateway._clients.append(client)
    await until(lambda: not before.issuperset(gateway.server.connections))
    (connection,) = set(gateway.server.connections) - before
    transport = connection.transport
    assert transport is not None
    served = cast("socket.socket", transport.get_extra_info("socket"))
    served.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SOCKET_BUFFER)
    return client, transport


async def test_events_behind_an_unread_response_stay_in_the_log_and_not_in_memory() -> None:
    options: dict[str, object] = {
        "max_append": 8 * MIB,
        "max_pending_appends": 16 * MIB,
        "cache_size": 64 * MIB,
    }
    async with serving(None, **options) as gateway:
        await gateway.ask(put("big", body=BIG_ANSWER))
        await gateway.ask(put("s"))
        for record in STREAM:
            assert (await gateway.ask(post("s", record))).status == 204
        await gateway.ask(post("s", b"", "Stream-Closed: true"))
        await gateway.ask(get("big?offset=-1"))
        hits = gateway.route.traffic.result_count(HIT)
        slow, transport = await narrow_client(gateway)
        slow.pause()
        slow.send(get("big?offset=-1") + get("s?offset=-1&live=sse"))
        await until(lambda: gateway.limits.live_readers == 1)
        assert gateway.route.traffic.result_count(HIT) > hits
        quick = await gateway.connect()  # takes as many turns as writing all of it needs
        quick.send(get("s?offset=-1&live=sse"))
        await quick.answer()
        expected = b"".join(STREAM).decode()
        assert text(await quick.events_to_the_end()) == expected
        held = transport.get_write_buffer_size()
        assert len(BIG_ANSWER) // 2 < held < len(BIG_ANSWER) + MIB
        slow.resume()
        assert (await slow.answer()).body == BIG_ANSWER
        assert (await slow.answer()).get("Content-Type") == "text/event-stream"
        assert text(await slow.events_to_the_end()) == expected


# ---------------------------------------------------------------- appends that wait


def assert_limit_reached(answer: Answer) -> None:
    assert answer.status == 503
    assert int(answer.get("Retry-After") or 0) in RETRY_AFTER_S
    assert b"limit_reached" in answer.body
    assert b"max_pending_appends is reached" in answer.body


async def test_pipelined_appends_are_refused_in_order_while_the_log_is_full() -> None:
    log = GatedLog()
    async with serving(log, max_pending_appends=10) as gateway:
        await gateway.ask(put("s", body=b"0"))
        log.commits.clear()
        holder = await gateway.connect()
        holder.send(post("s", b"x" * 8))
        await until(lambda: gateway.route.writes.outcomes.pending_bytes == 8)
        client = await gateway.connect()
        client.send((post("s", b"xyz") + get("s?offset=-1")) * 40)
        for _ in range(40):
            assert_limit_reached(await client.answer())
            answer = await client.answer()
            assert (answer.status, answer.body) == (200, b"0")
        assert gateway.route.writes.refused_for_room == 40
        log.commits.set()
        assert (await holder.answer()).status == 204
        assert (await client.ask(post("s", b"xyz"))).get("Stream-Next-Offset") == offset(12)


# ---------------------------------------------------------------- bodies on their way


def half_sent(target: str) -> bytes:
    """An append of which half of the body is missing."""
    return post(target, b"h" * (2 * PART))[:-PART]


UPLOADS = {
    "whole-bodies": post("s", b"n" * PART, "X-Request-Id:a"),
    "half-sent-bodies": half_sent("s"),
}


@pytest.mark.parametrize("upload", UPLOADS.values(), ids=UPLOADS)
async def test_the_bytes_of_bodies_being_received_are_bounded_together(upload: bytes) -> None:
    async with serving(max_pending_appends=100_000) as gateway:
        await gateway.ask(put("s"))
        uploads = [await gateway.connect() for _ in range(3)]
        for number, client in enumerate(uploads, 1):
            client.send(half_sent("s"))
            received = number * PART
            await until(lambda: gateway.limits.receiving_bytes == received)  # noqa: B023
        assert_limit_reached(await gateway.ask(upload))
        assert gateway.limits.receiving_bytes == 3 * PART
        for client in uploads:
            client.abort()
        await until(lambda: gateway.limits.receiving_bytes == 0)
        accepted = await gateway.ask(post("s", b"n" * PART, "X-Request-Id:a"))
        assert (accepted.status, accepted.get("Stream-Next-Offset")) == (204, offset(PART))
        assert gateway.limits.receiving_bytes == 0


async def test_a_creation_body_counts_towards_the_bytes_being_received() -> None:
    async with serving(max_pending_appends=PART) as gateway:
        client = await gateway.connect()
        client.send(put("s", body=b"h" * (PART + 1))[:-1])
        await until(lambda: gateway.limits.receiving_bytes == PART)
        assert_limit_reached(await gateway.ask(put("t", body=b"n")))
        client.abort()
        await until(lambda: gateway.limits.receiving_bytes == 0)
        assert (await gateway.ask(put("t", body=b"n"))).status == 201


# ---------------------------------------------------------------- requests behind each other


@pytest.mark.parametrize("count", [AT_ONCE - 1, AT_ONCE, AT_ONCE + 1, 10 * AT_ONCE])
async def test_requests_that_arrive_together_are_answered_in_order(count: int) -> None:
    async with serving() as gateway:
        await gateway.ask(put("s", body=b"0"))
        client = await gateway.connect()
        client.send(get("s?offset=-1") * count + post("s", b"1") + get(f"s?offset={offset(1)}"))
        answers = [await client.answer() for _ in range(count + 2)]
        assert [answer.body for answer in answers] == [b"0"] * count + [b"", b"1"]


async def test_a_client_that_pipelines_many_hits_yields_to_others_between_batches() -> None:
    many = 3 * AT_ONCE
    async with serving() as gateway:
        await gateway.ask(put("s", body=b"0"))
        await gateway.ask(get("s?offset=-1"))  # it is kept from now on
        client = await gateway.connect()
        client.send(get("s?offset=-1") * many)
        async with asyncio.timeout(PATIENCE_S):
            while not gateway.route.traffic.result_count(HIT):
                await asyncio.sleep(0)
        assert AT_ONCE <= gateway.route.traffic.result_count(HIT) < many
        for _ in range(many):
            assert (await client.answer()).body == b"0"


async def test_a_client_that_pipelines_many_misses_yields_to_others_sooner() -> None:
    """Each of them takes as long as many reads that are kept."""
    many = 10 * AT_ONCE
    polls = [get(f"s?offset=-1&live=long-poll&cursor={number}") for number in range(many)]
    async with serving() as gateway:
        await gateway.ask(put("s", body=b"0"))
        client, other = await gateway.connect(), await gateway.connect()
        client.send(b"".join(polls))
        traffic = gateway.route.traffic
        async with asyncio.timeout(PATIENCE_S):
            while not traffic.result_count(MISS):
                await asyncio.sleep(0)
        assert traffic.result_count(MISS) < many / 2
        other.send(get("s?offset=now"))
        assert (await other.answer()).status == 200
        assert traffic.result_count(MISS) < many
        for _ in range(many):
            assert (await client.answer()).body == b"0"


# ---------------------------------------------------------------- answers that are not taken


@pytest.mark.usefixtures("quick_sweeps")
async def test_a_client_that_reads_nothing_of_its_response_is_disconnected() -> None:
    """Also on a connection that closes."""
    async with serving(body_timeout=0.5, max_append=8 * MIB, cache_size=64 * MIB) as gateway:
        await gateway.ask(put("big", body=BIG_ANSWER))
        for number, extra in enumerate(((), ("X-Request-Id:mine",), ("Connection: close",)), 1):
            client, transport = await narrow_client(gateway)
            client.pause()
            client.send(get("big?offset=-1", *extra))
            await until(lambda: transport.get_write_buffer_size() > MIB)  # noqa: B023
            if "Connection: close" in extra:
                await until(transport.is_closing)
            else:
                assert not transport.is_closing()
            await until(lambda: gateway.limits.connections == 0)
            assert gateway.limits.refused["body_timeout"] == number


async def test_a_connection_that_raises_is_closed_with_its_pipelined_request(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    log = GatedLog()
    async with serving(log) as gateway:
        await gateway.ask(put("s"))
        client = await gateway.connect()
        log.commits.clear()
        client.send(post("s", b"data"))
        await until(lambda: gateway.route.writes.outcomes.pending == 1)
        client.send(get("s?offset=-1"))
        held = gateway.server.connections
        await until(lambda: any(one.requests.has_more for one in held))
        monkeypatch.setattr(ConnectionRequests, "_begin", lambda *_: 1 / 0)
        log.commits.set()
        assert (await client.answer()).status == 204
        with contextlib.suppress(ConnectionError):
            assert await client.rest() == b""
