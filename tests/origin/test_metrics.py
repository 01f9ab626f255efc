"""What is counted and timed of the requests at an origin."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

import pytest

from headgate_gateway.errors import HeadgateError
from headgate_gateway.origin import requests
from tests.origin.opening import TARGET, ask, opened, send
from tests.support.ports import free_port
from tests.support.raw_origin import RawOrigin, Steps, answer, close, silence
from tests.support.waiting import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from headgate_gateway.origin.client import Origin
    from tests.support.raw_origin import Play, Wire

TRACE = "0af7651916cd43dd8448eb211c80319c"
SPAN = "b7ad6b7169203331"


def counted(origin: Origin) -> dict[str, int]:
    return {result: count for result, count in origin.figures.results.items() if count}


def timed(origin: Origin) -> int:
    return sum(origin.figures.duration.counts)


async def after_body(wire: Wire) -> None:
    """Answer a request once its body is here."""
    await wire.body()
    await wire.send(answer())


@pytest.mark.parametrize(
    ("script", "result"),
    [
        *((answer(status=f"{status} X"), f"{status // 100}xx") for status in (200, 302, 404, 503)),
        (silence, "timeout"),
        (close, "broken"),
        (b"no HTTP\r\n\r\n", "broken"),
    ],
    ids=["200", "302", "404", "503", "silence", "close", "no-http"],
)
@pytest.mark.parametrize(("method", "body"), [("GET", None), ("POST", b"a")])
async def test_a_request_is_counted_by_its_status_class_and_timed_or_by_its_failure(
    method: str, body: bytes | None, script: bytes | Play, result: str
) -> None:
    is_answered = result.endswith("xx")
    async with RawOrigin(script) as server, opened(server, response_timeout=0.2) as origin:
        with contextlib.nullcontext() if is_answered else pytest.raises(HeadgateError):
            await ask(origin, method, body=body)
        assert counted(origin) == {result: 1}
        assert timed(origin) == is_answered


async def test_a_request_to_a_server_known_to_be_down_counts_as_unreachable() -> None:
    port = free_port()
    async with opened(f"http://localhost:{port}") as origin:
        for _ in range(2):
            with pytest.raises(HeadgateError):
                await ask(origin)
        assert counted(origin) == {"unreachable": 2}
        assert origin.servers.health() == {f"localhost:{port}": (False, False)}


async def test_a_request_refused_by_the_limit_is_counted_and_not_sent() -> None:
    script = Steps(b"", answer())
    async with RawOrigin(script) as server, opened(server, max_requests=1) as origin:
        first = asyncio.create_task(ask(origin))
        await until(lambda: len(server.heard) == 1)
        with pytest.raises(HeadgateError):
            await ask(origin)
        assert counted(origin) == {"refused": 1}
        script.go()
        await first
        assert counted(origin) == {"refused": 1, "2xx": 1}
        assert len(server.heard) == 1


async def test_a_request_that_was_repeated_is_counted_once() -> None:
    """The server ends its connection with the second request, which goes out anew."""
    async with RawOrigin(answer(), close, answer()) as server, opened(server) as origin:
        await ask(origin)
        await ask(origin)
        assert len(server.heard) == 3
        assert counted(origin) == {"2xx": 2}


async def test_a_cancelled_request_is_not_counted() -> None:
    async with RawOrigin(Steps(b"")) as server, opened(server) as origin:
        asking = asyncio.create_task(ask(origin))
        await until(lambda: len(server.heard) == 1)
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        assert (counted(origin), timed(origin)) == ({}, 0)


@pytest.mark.parametrize(
    "asked",
    [{"poll": True}, {"target": f"{TARGET}?live=long-poll&live=sse"}],
    ids=["poll-of-a-feed", "live-read-that-is-passed-on"],
)
async def test_a_read_that_the_origin_may_hold_is_counted_and_not_timed(
    asked: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(requests, "SLOW_S", 0.0)
    times = {"poll_timeout": 0.1, "response_timeout": 0.1}
    async with RawOrigin(answer(), silence) as server, opened(server, **times) as origin:
        await ask(origin, **asked)
        with pytest.raises(HeadgateError):
            await ask(origin, **asked)
        assert (counted(origin), timed(origin)) == ({"2xx": 1, "timeout": 1}, 0)


@pytest.mark.parametrize(
    ("script", "least_s"),
    [(silence, 0.1), (close, 0), (Steps(b""), 0)],
    ids=["silent", "cut", "given-up"],
)
async def test_a_request_without_an_answer_is_timed_once_it_was_slow(
    script: Play, least_s: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(requests, "SLOW_S", -1.0)
    async with RawOrigin(script) as server, opened(server, response_timeout=0.2) as origin:
        asking = asyncio.create_task(ask(origin, "POST", body=b"a"))
        await until(lambda: len(server.heard) == 1)
        if isinstance(script, Steps):
            asking.cancel()
        with pytest.raises((HeadgateError, asyncio.CancelledError)):
            await asking
        assert timed(origin) == 1
        assert origin.figures.duration.sum >= least_s


async def test_the_time_that_a_client_takes_for_its_body_is_not_the_origins() -> None:
    loop = asyncio.get_running_loop()

    async def body() -> AsyncIterator[bytes]:
        yield b"a"
        over = loop.time() + 0.3
        await until(lambda: loop.time() > over)
        assert not origin.deadlines.since, "the origin has nothing to answer yet"
        yield b"b"

    async with RawOrigin(after_body) as server, opened(server) as origin:
        await ask(origin, "POST", body=body())
        assert timed(origin) == 1
        assert origin.figures.duration.sum < 0.3


@pytest.mark.parametrize(("flags", "traces"), [("01", [TRACE]), ("00", [])])
async def test_the_exemplar_of_a_request_is_its_recorded_trace(
    flags: str, traces: list[str]
) -> None:
    async with RawOrigin(answer()) as server, opened(server) as origin:
        parent = f"00-{TRACE}-{SPAN}-{flags}"
        await (await send(origin, "GET", TARGET, ("Traceparent", parent))).read(0)
        told = origin.figures.duration.traced.values()
        assert [traced.trace_id for traced in told] == traces


async def test_origin_servers_are_labelled_by_host_and_port() -> None:
    urls = ("http://a.test/x", "https://b.test", "http://[::1]:8080", "http://a.test:80/y")
    async with opened(*urls) as origin:
        names = "a.test:80", "b.test:443", "[::1]:8080"
        assert origin.servers.health() == dict.fromkeys(names, (True, False))


async def test_a_server_with_two_urls_is_up_only_if_both_are() -> None:
    async with RawOrigin(answer()) as server:
        urls = (f"{server.url}/x", f"{server.url}/y")
        async with opened(*urls, health_path="/", health_interval=30) as origin:
            next(iter(origin.servers)).failed("is away")
            assert origin.servers.health() == {f"localhost:{server.port}": (False, False)}
