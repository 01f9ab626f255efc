"""Whoever leaves, and whenever: nothing of their requests is left behind."""

from __future__ import annotations

import asyncio
import gc
from random import Random
from typing import TYPE_CHECKING

import pytest

from headgate_gateway.edge.followed import followed_streams
from headgate_gateway.web.handlers import edge_handlers
from tests.support.raw_origin import RawOrigin, Steps, answer, silence
from tests.support.serving import EDGE, Serving, edge_serving, get, request
from tests.support.waiting import until

if TYPE_CHECKING:
    from tests.support.raw_origin import Play, Wire


pytestmark = pytest.mark.usefixtures("late_fins")

IMPATIENT = {"response_timeout": 0.2}
IMPATIENT |= {"health_interval": 0.1}
ONE_AT_A_TIME = {"max_origin_requests": 1}
BODY = b"x" * 100_000


HEAD = b"HTTP/1.1 200 OK\r\nCache-Control: max-age=1\r\nContent-Length: %d\r\n\r\n"


async def slowly(wire: Wire) -> None:
    await wire.send(HEAD % 30)
    for _ in range(3):
        await asyncio.sleep(0.02)  # its slowness is what is tested
        await wire.send(b"0123456789")


async def cut(wire: Wire) -> None:
    await wire.send(HEAD % 30 + b"abc")
    await wire.close()


async def at_length(wire: Wire) -> None:
    await wire.send(HEAD % (30 * len(BODY)))
    for _ in range(30):
        await wire.send(BODY)


MOODS: list[bytes | Play] = [
    answer(BODY, "Cache-Control: max-age=1", 'ETag: "a"'),
    answer(BODY, "Cache-Control: no-store"),
    answer(b"x", "Stream-Next-Offset: 0001", "Stream-Up-To-Date: true"),
    answer(b"", "Stream-Next-Offset: 0001", "Stream-Up-To-Date: true"),
    answer(status="304 Not Modified"),
    slowly,
    cut,
    at_length,
    silence,
]


class Moody(RawOrigin):
    """Answers well, badly, slowly, too early or not at all."""

    def __init__(self, random: Random) -> None:
        super().__init__(self._play)
        self._random = random

    async def _play(self, wire: Wire) -> None:
        if self._random.random() < 0.1:
            await wire.send(answer(b"no", status="413 Content Too Large"))
            await wire.rest()
            return
        try:
            await wire.body()
        except asyncio.IncompleteReadError:
            return
        mood = self._random.choice(MOODS)
        if isinstance(mood, bytes):
            await wire.send(mood)
        else:
            await mood(wire)


async def visit(gateway: Serving, random: Random) -> None:
    client = await gateway.connect()
    target = f"{EDGE}/{random.randrange(4)}"
    upload = request("POST", target, body=BODY)
    wires = [get(target), get(target, "Cookie: a"), request("HEAD", target), upload, upload[:5000]]
    wires += [get(f"{target}?offset=0001&live={mode}") for mode in ("long-poll", "sse")]
    client.send(random.choice(wires))
    await asyncio.sleep(random.random() * 0.2)  # whenever they leave, is what is tested
    if random.random() < 0.5:
        client.close()
    else:
        client.abort()


@pytest.mark.parametrize("seed", range(4))
async def test_clients_that_disconnect_at_any_moment_leave_no_requests_behind(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(followed_streams, "LINGER_S", 0.1)
    monkeypatch.setattr(followed_streams, "LONGEST_DOUBT_S", 0.2)
    random = Random(seed)
    complaints: list[dict[str, object]] = []
    async with (
        Moody(random) as origin,
        edge_serving(origin, IMPATIENT, long_poll_timeout=0.2) as gateway,
    ):
        asyncio.get_running_loop().set_exception_handler(
            lambda _, told: complaints.append(told) if "_serve" not in str(told) else None
        )
        for _ in range(5):
            await asyncio.gather(*(visit(gateway, random) for _ in range(20)))
            gateway.clock.advance(random.choice([0, 2, 30]))
        limits = gateway.limits
        await until(lambda: limits.connections == limits.live_readers == limits.feeds == 0)
        await until(lambda: not gateway.edge.origin.requests.count)
        assert limits.receiving_bytes == 0
        assert origin.heard
    gc.collect()
    assert complaints == []


READS = [
    pytest.param(get(f"{EDGE}/s"), id="a-catch-up"),
    pytest.param(get(f"{EDGE}/s", "Cookie: a"), id="a-catch-up-with-a-cookie"),
    pytest.param(get(f"{EDGE}/s?offset=0001&live=long-poll"), id="a-long-poll"),
    pytest.param(get(f"{EDGE}/s?offset=0001&live=sse"), id="an-event-stream"),
    pytest.param(get(f"{EDGE}/s?offset=now&live=sse"), id="an-event-stream-from-now"),
    pytest.param(request("HEAD", f"{EDGE}/s"), id="a-head-request"),
    pytest.param(request("OPTIONS", f"{EDGE}/s"), id="an-options-request"),
]


@pytest.mark.parametrize("read", READS)
async def test_a_read_at_the_origin_ends_when_its_only_client_disconnects(read: bytes) -> None:
    """Else whoever asks and leaves would keep a slow origin busy for everybody."""
    async with RawOrigin(silence) as origin, edge_serving(origin, ONE_AT_A_TIME) as gateway:
        client = await gateway.connect()
        client.send(read)
        await until(lambda: len(origin.heard) == 1)
        assert gateway.edge.origin.requests.count == 1
        assert (await gateway.ask(get(f"{EDGE}/other"))).status == 503
        client.close()
        await until(lambda: gateway.edge.origin.requests.count == 0)
        await until(lambda: origin.closed == 1)


async def test_a_read_admitted_by_the_origin_ends_when_its_client_disconnects() -> None:
    async def play(wire: Wire) -> None:
        if wire.heard.method == "HEAD":  # whether the reader may
            await wire.send(HEAD % 4)
        else:
            await silence(wire)

    who = "Authorization: Bearer canary-0123456789abcdef"
    route = {"auth": "origin", "response_timeout": 60.0}
    async with RawOrigin(play) as origin, edge_serving(origin, route) as gateway:
        client = await gateway.connect()
        client.send(get(f"{EDGE}/s?offset=-1", who))
        await until(lambda: len(origin.heard) == 2)
        assert gateway.edge.origin.requests.count == 1
        client.close()
        await until(lambda: gateway.edge.origin.requests.count == 0)


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
async def test_a_write_continues_when_its_client_disconnects(
    method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The origin may have done it: what is kept is of the past once that is known."""
    monkeypatch.setattr(edge_handlers, "LEFT_WRITE_S", 60)
    steps = Steps(b"", answer(status="204 No Content"))
    kept = answer(b"old", "Cache-Control: max-age=60")
    async with RawOrigin(kept, steps, kept) as origin, edge_serving(origin) as gateway:
        await gateway.ask(get(f"{EDGE}/s"))
        client = await gateway.connect()
        client.send(request(method, f"{EDGE}/s"))
        await until(lambda: steps.sent == 1)
        client.close()
        await until(lambda: gateway.limits.connections == 0)
        assert gateway.edge.origin.requests.count == 1
        steps.go()
        await until(lambda: gateway.edge.origin.requests.count == 0)
        assert (await gateway.ask(get(f"{EDGE}/s"))).get("x-cache") == "MISS"


UNANSWERED = [
    *[pytest.param(method, (silence,), id=method) for method in ("POST", "PUT", "DELETE")],
    # It is in the stream, and where that ends now is not told.
    pytest.param(
        "POST",
        (answer(b"", "Producer-Seq: 1", status="204 No Content"), silence),
        id="a-repeated-append",
    ),
]


@pytest.mark.parametrize("line", ["X-Short: way", "Connection: close"])
@pytest.mark.parametrize(("method", "scripts"), UNANSWERED)
async def test_a_write_without_a_response_frees_its_origin_slot_after_its_client_disconnects(
    method: str, scripts: tuple[bytes | Play, ...], line: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise clients that write and leave would take a slow origin from all others."""
    monkeypatch.setattr(edge_handlers, "LEFT_WRITE_S", 0.02)
    kept = answer(b"old", "Cache-Control: max-age=60")
    async with (
        RawOrigin(kept, *scripts, kept) as origin,
        edge_serving(origin, ONE_AT_A_TIME) as gateway,
    ):
        await gateway.ask(get(f"{EDGE}/s"))
        client = await gateway.connect()
        client.send(request(method, f"{EDGE}/s", line))
        await until(lambda: len(origin.heard) == 1 + len(scripts))
        assert gateway.edge.origin.requests.count == 1
        client.close()
        await until(lambda: gateway.edge.origin.requests.count == 0)
        await until(lambda: origin.closed == 1)
        assert (await gateway.ask(get(f"{EDGE}/s"))).get("x-cache") == "MISS"
        assert sum(gateway.edge.traffic.requests) == 3


class SlowHistory(RawOrigin):
    """A stream of three parts: it tells the first and where it ends, and never the second."""

    def __init__(self) -> None:
        super().__init__(self._play)

    async def _play(self, wire: Wire) -> None:
        line = self.heard[-1].line
        told = ("Content-Type: text/plain", "Cache-Control: no-store")
        if "live=" in line or "0002" in line:
            await silence(wire)
        elif "now" in line:
            await wire.send(
                answer(b"", "Stream-Next-Offset: 0004", "Stream-Up-To-Date: true", *told)
            )
        else:
            await wire.send(answer(b"data", "Stream-Next-Offset: 0002", *told))


async def test_a_catch_up_for_events_ends_when_its_reader_disconnects(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(followed_streams, "LINGER_S", 0.02)
    async with SlowHistory() as origin, edge_serving(origin) as gateway:
        reader = await gateway.connect()
        reader.send(get(f"{EDGE}/s?offset=0001&live=sse"))
        await until(lambda: any("=0002" in heard.line for heard in origin.heard))
        assert gateway.edge.origin.requests.count
        reader.abort()
        await until(lambda: gateway.edge.origin.requests.count == 0)
