from __future__ import annotations

import asyncio
import contextlib
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest

from headgate_gateway.errors import OriginBroken, OriginTimeout, OriginUnreachable
from headgate_gateway.origin import health as health_checks
from headgate_gateway.origin import servers
from headgate_gateway.origin.health import FIRST_WAIT_S
from headgate_gateway.origin.pool import ConnectionPool
from tests.origin.opening import PREFIX, TARGET, ask, full_queue, opened
from tests.support.ports import free_port
from tests.support.raw_origin import RawOrigin, answer, close, reset, silence
from tests.support.waiting import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from headgate_gateway.origin.connection import OriginConnection
    from headgate_gateway.origin.servers import OriginServer
    from tests.support.raw_origin import Play, Wire

REFUSED = "the origin cannot be connected to: Connection refused"
ASKED = f"GET {TARGET}"


def nobody() -> str:
    return f"http://localhost:{free_port()}"


@pytest.mark.parametrize("count", [1, 2])
async def test_refused_connections_are_reported_and_requests_fail_at_once_from_then_on(
    count: int,
) -> None:
    urls = [nobody() for _ in range(count)]
    async with opened(*urls, health_interval=60) as origin:
        assert origin.servers.why_unhealthy() is None
        assert [server.up for server in origin.servers] == [True] * count
        with pytest.raises(OriginUnreachable, match=f"^{REFUSED}$"):
            await ask(origin)
        why = REFUSED.removeprefix("the origin ")
        assert origin.servers.why_unhealthy() == "; ".join(f"{url} {why}" for url in urls)
        told = [(it.url, it.up, it.why_unhealthy) for it in origin.servers]
        assert told == [(url, False, why) for url in urls]
        # A check may bring it back at any time; until then nothing is sent to it.
        with pytest.raises(OriginUnreachable, match=f"^{REFUSED}$"):
            await ask(origin, "POST", body=b"x")


async def test_an_unresolvable_host_name_is_reported() -> None:
    async with opened("http://nowhere.invalid") as origin:
        with pytest.raises(OriginUnreachable, match="has a host name that cannot be resolved: "):
            await ask(origin)


async def test_a_server_that_accepts_no_connection_times_out() -> None:
    with full_queue("127.0.0.1") as port:
        async with opened(f"http://127.0.0.1:{port}", connect_timeout=0.2) as origin:
            with pytest.raises(OriginUnreachable, match=r"took no connection within 0\.2 s"):
                await ask(origin)


async def test_a_recovered_server_is_used_again() -> None:
    port = free_port()
    async with opened(f"http://localhost:{port}") as origin:
        with pytest.raises(OriginUnreachable):
            await ask(origin)
        async with RawOrigin(answer(b"back"), port=port) as server:
            await until(lambda: origin.servers.why_unhealthy() is None)
            assert await ask(origin) == (200, b"back")
            assert server.lines() == [ASKED]


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_a_request_that_could_not_be_sent_goes_to_the_next_server(method: str) -> None:
    async def body() -> AsyncIterator[bytes]:
        yield b"abc"

    async def play(wire: Wire) -> None:
        if method == "POST":
            await wire.read_until(b"0\r\n\r\n")
        await wire.send(answer(b"second"))

    async with RawOrigin(play) as second, opened(nobody(), second) as origin:
        sent = body() if method == "POST" else None
        assert await ask(origin, method, body=sent) == (200, b"second")
        assert origin.servers.why_unhealthy() is None
        assert [server.up for server in origin.servers] == [False, True]


async def test_the_first_server_is_used_again_as_soon_as_it_is_up() -> None:
    port = free_port()
    async with RawOrigin(answer(b"second")) as second:
        async with opened(f"http://localhost:{port}", second) as origin:
            assert (await ask(origin)).body == b"second"
            async with RawOrigin(answer(b"first"), port=port):
                await until(lambda: next(iter(origin.servers)).up)
                assert (await ask(origin)).body == b"first"
        assert second.lines() == [ASKED]


@pytest.mark.parametrize("end", [close, reset])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_a_read_whose_connection_ended_without_an_answer_is_repeated_once(
    method: str, end: Play
) -> None:
    async with RawOrigin(end, answer()) as server, opened(server) as origin:
        assert (await ask(origin, method)).status == 200
        assert len(server.heard) == 2
    async with RawOrigin(end) as server, opened(server) as origin:
        for number in (1, 2, 3):
            with pytest.raises(OriginBroken, match="closed the connection without an answer"):
                await ask(origin, method)
            assert len(server.heard) == 2 * number
        assert origin.servers.why_unhealthy() is None
    async with RawOrigin(end) as first, RawOrigin(answer()) as second:
        async with opened(first, second) as origin:
            assert (await ask(origin, method)).status == 200
        assert (len(first.heard), len(second.heard)) == (1, 1)
    async with RawOrigin(answer(), end, answer()) as first, RawOrigin(close) as second:
        async with opened(first, second) as origin:
            await ask(origin)
            assert (await ask(origin, method)).status == 200
        assert [heard.connection for heard in first.heard] == [1, 1, 2]


@pytest.mark.parametrize("end", [close, reset])
@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
@pytest.mark.parametrize("body", [None, b"x"])
@pytest.mark.parametrize("earlier", [0, 1])
async def test_a_write_whose_connection_ended_without_an_answer_is_not_repeated(
    method: str, end: Play, body: bytes | None, earlier: int
) -> None:
    scripts: list[bytes | Play] = [*[answer()] * earlier, end, answer()]
    async with RawOrigin(*scripts) as first, RawOrigin(answer()) as second:
        async with opened(first, second) as origin:
            for _ in range(earlier):
                await ask(origin)
            with pytest.raises(OriginBroken):
                await ask(origin, method, body=body)
        assert [heard.connection for heard in first.heard] == [1] * (earlier + 1)
        assert second.heard == []


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST"])
async def test_only_a_read_that_meets_bytes_of_an_earlier_answer_is_repeated(method: str) -> None:
    late = b"more" + answer()
    async with RawOrigin(answer(b"ok"), late, answer()) as server, opened(server) as origin:
        await ask(origin)
        if method == "POST":
            with pytest.raises(OriginBroken, match="no HTTP"):
                await ask(origin, method, body=b"x")
        else:
            assert (await ask(origin, method)).status == 200
        connections = [1, 1] if method == "POST" else [1, 1, 2]
        assert [heard.connection for heard in server.heard] == connections


async def test_a_read_that_gets_malformed_http_twice_is_an_error() -> None:
    async with RawOrigin(answer(), b"more\r\n\r\n") as server, opened(server) as origin:
        await ask(origin)
        with pytest.raises(OriginBroken, match="no HTTP"):
            await ask(origin)
        assert [heard.connection for heard in server.heard] == [1, 1, 2]


async def test_a_repeated_read_opens_a_new_connection_instead_of_an_idle_one() -> None:
    both = asyncio.Barrier(2)

    async def play(wire: Wire) -> None:
        if len([heard for heard in server.heard if heard.connection == wire.number]) > 1:
            await wire.close()
        elif wire.number <= 2:
            await both.wait()
        await wire.send(answer())

    async with RawOrigin(play) as server, opened(server) as origin:
        await asyncio.gather(ask(origin), ask(origin))
        assert (await ask(origin)).status == 200
        assert server.connections == 3


async def test_a_connection_closed_by_the_server_is_not_reused() -> None:
    async def last_answer(wire: Wire) -> None:
        await wire.send(answer())
        await wire.finish()  # which it has not announced

    async with RawOrigin(last_answer) as server, opened(server) as origin:
        for number in (1, 2, 3):
            assert (await ask(origin, "POST", body=b"x")).status == 200
            await until(lambda number=number: server.closed == number)  # type: ignore[misc]
        assert [heard.connection for heard in server.heard] == [1, 2, 3]


async def test_a_write_to_a_connection_that_is_closing_is_sent_once_or_reported() -> None:
    async def play(wire: Wire) -> None:
        await wire.send(answer())
        await wire.close()

    done = 0
    async with RawOrigin(play) as server, opened(server) as origin:
        for _ in range(50):
            with contextlib.suppress(OriginBroken):
                await ask(origin, "POST", body=b"x")
                done += 1
        assert done == len(server.heard) > 0


@pytest.mark.parametrize(("method", "body"), [("GET", None), ("POST", b"x")])
async def test_a_request_whose_connection_is_closed_before_it_is_sent_is_repeated_once(
    method: str, body: bytes | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    connect = ConnectionPool.connect

    async def connect_late(
        self: ConnectionPool, server: OriginServer, *, is_pooled: bool = True
    ) -> OriginConnection:
        made = await connect(self, server, is_pooled=is_pooled)
        if len(taken) < closed:
            taken.append(made)
            assert made.transport is not None
            made.transport.abort()
            await until(lambda: not made.connected)
        return made

    monkeypatch.setattr(ConnectionPool, "connect", connect_late)
    async with RawOrigin(answer()) as server, opened(server) as origin:
        taken: list[object] = []
        closed = 1
        assert (await ask(origin, method, body=body)).status == 200
        assert len(server.heard) == 1
    async with RawOrigin(answer()) as server, opened(server) as origin:
        taken, closed = [], 2
        with pytest.raises(OriginBroken, match="closed the connection without an answer"):
            await ask(origin, method, body=body)
        assert (server.heard, origin.requests.count) == ([], 0)
        assert origin.servers.why_unhealthy() is None


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_a_read_that_times_out_goes_to_the_next_server_and_a_write_does_not(
    method: str,
) -> None:
    async with RawOrigin(silence) as first, RawOrigin(answer(b"second")) as second:
        async with opened(first, second, response_timeout=0.5) as origin:
            if method == "GET":
                assert (await ask(origin)).body == b"second"
            else:
                with pytest.raises(OriginTimeout):
                    await ask(origin, method, body=b"x")
        assert (len(first.heard), len(second.heard)) == (1, int(method == "GET"))


async def test_two_timeouts_in_a_row_mark_a_server_down(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(servers, "TRIED_EVERY_S", 60.0)
    times = {"response_timeout": 0.5, "health_interval": 60}
    scripts = (silence, answer(), silence, silence)
    async with RawOrigin(*scripts) as server, opened(server, **times) as origin:
        with pytest.raises(OriginTimeout):
            await ask(origin)
        await ask(origin)
        with pytest.raises(OriginTimeout):
            await ask(origin)
        assert origin.servers.why_unhealthy() is None
        with pytest.raises(OriginTimeout):
            await ask(origin)
        assert origin.servers.why_unhealthy() == f"{server.url} did not answer within 0.5 s"
        with pytest.raises(OriginUnreachable, match=r"^the origin did not answer within 0\.5 s$"):
            await ask(origin)
        assert len(server.heard) == 4


async def test_a_silent_server_is_up_again_only_after_a_response(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(health_checks, "PROBE_TIMEOUT_S", 0.3)
    times = {"response_timeout": 0.05, "connect_timeout": 0.5}
    async with RawOrigin(silence) as server, opened(server, **times) as origin:
        server.probe_script = silence
        for _ in range(2):
            with pytest.raises(OriginTimeout):
                await ask(origin)
        # It takes connections, and yet it is down.
        await until(lambda: server.probes >= 2)
        assert origin.servers.why_unhealthy() is not None
        server.probe_script = answer(status="404 Not Found")
        await until(lambda: origin.servers.why_unhealthy() is None)


async def test_health_checks_mark_a_server_down_and_up_without_other_requests() -> None:
    health = {"health_path": "/health?deep=1", "health_interval": 0.02}
    sick, well = answer(status="503 Service Unavailable"), answer(status="204 No Content")
    async with RawOrigin(sick) as server, opened(server.url + "/base", **health) as origin:
        await until(lambda: origin.servers.why_unhealthy() is not None)
        assert (
            origin.servers.why_unhealthy() == f"{server.url}/base answers its health check with 503"
        )
        with pytest.raises(
            OriginUnreachable, match=r"^the origin answers its health check with 503$"
        ):
            await ask(origin)
        server.scripts = [well]
        await until(lambda: origin.servers.why_unhealthy() is None)
        server.scripts = [sick]
        await until(lambda: origin.servers.why_unhealthy() is not None)
        assert set(server.lines()) == {"GET /health?deep=1"}


async def test_a_health_check_that_times_out_marks_a_server_down() -> None:
    health = {"health_path": "/health", "connect_timeout": 0.05}
    async with RawOrigin(silence) as server, opened(server, **health) as origin:
        # On a busy machine a connection may take longer than that, too.
        why = f"{server.url} did not answer its health check within 0.05 s"
        await until(lambda: origin.servers.why_unhealthy() == why)


async def test_a_server_that_closed_each_connection_at_once_is_found_healthy_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    connect = ConnectionPool.connect

    async def closed(
        pool: ConnectionPool, server: OriginServer, *, is_pooled: bool = True
    ) -> OriginConnection:
        connection = await connect(pool, server, is_pooled=is_pooled)
        connection.close()
        return connection

    monkeypatch.setattr(ConnectionPool, "connect", closed)
    health = {"health_path": "/health", "health_interval": 0.02}
    async with RawOrigin(answer()) as server, opened(server, **health) as origin:
        (checked,) = origin.servers
        await until(lambda: not checked.up)
        monkeypatch.setattr(ConnectionPool, "connect", connect)
        await until(lambda: checked.up)


async def test_a_server_without_a_health_path_is_checked_only_while_it_is_down() -> None:
    health = {"health_path": "/health", "health_interval": 0.01}
    async with (
        RawOrigin(answer()) as server,
        opened(server, health_interval=0.01) as origin,
        RawOrigin(answer()) as other,
        opened(other, **health),
    ):
        await ask(origin)
        await until(lambda: len(other.heard) > 10)  # one with a path is looked at meanwhile
        assert (server.connections, server.lines()) == (1, [ASKED])


async def test_a_server_beside_another_one_is_probed_all_the_time() -> None:
    async with RawOrigin(answer()) as first, RawOrigin(answer()) as second:
        second.probe_script = silence
        async with opened(first, second, health_interval=60) as origin:
            # One probe at a time: the next begins when the last one is over.
            await until(lambda: first.probes >= 4)
            assert second.probes == 1
            assert (first.heard, second.heard) == ([], [])
            stands_by = list(origin.servers)[1]
            await until(lambda: not stands_by.up)
            why = f"did not answer its health check within {health_checks.PROBE_TIMEOUT_S:g} s"
            assert stands_by.why_unhealthy == why
            second.probe_script = answer(status="503 Service Unavailable")
            await until(lambda: stands_by.up)  # any answer will do


async def test_requests_go_to_the_servers_as_ever_while_all_of_several_are_down(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What finds all of them down may be a fault of its own: none counts as down then."""
    monkeypatch.setattr(health_checks, "PROBE_TIMEOUT_S", 0.3)
    async with RawOrigin(answer(b"second")) as second:
        second.probe_script = silence
        async with opened(nobody(), second, health_interval=60) as origin:
            await until(origin.servers.are_down)
            for _ in range(3):  # at once, not one in a quarter of a second
                assert (await ask(origin)).body == b"second"
                for server in origin.servers:
                    server.failed("is away")


async def test_a_server_that_stays_down_is_checked_with_growing_pauses() -> None:
    loop = asyncio.get_running_loop()
    times: list[float] = []

    async def refuse(self: ConnectionPool, server: OriginServer) -> str | None:
        times.append(loop.time())
        return None if len(times) == 5 else "is away"

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ConnectionPool, "why_unreachable", refuse)
        async with opened("http://o", health_interval=0.3) as origin:
            (server,) = origin.servers
            server.failed("is away")
            begun = loop.time()
            await until(lambda: server.up)
    waits = [later - earlier for earlier, later in pairwise([begun, *times])]
    least = [FIRST_WAIT_S, 2 * FIRST_WAIT_S, 0.3, 0.3, 0.3]
    assert [wait > bound - 0.01 for wait, bound in zip(waits, least, strict=True)] == [True] * 5


# For an origin at http://o:4437.
NOT_THERE = (
    *("/v1/streams", "/elsewhere", "http://o/v1/stream/a", "http://other:4437/v1/stream/a"),
    *("//o:4437/v1/stream/a", "a", "", "http://u@o:4437/v1/stream/a", "http://[o/v1/stream/a"),
    "ftp://o:4437/v1/stream/a",
)


@pytest.mark.parametrize(
    ("base", "given", "path"),
    [
        ("http://o:4437", "http://o:4437/v1/stream/a?b", f"{PREFIX}/a?b"),
        ("http://o:4437", "http://O:4437/v1/stream/a%2Fb", f"{PREFIX}/a%2Fb"),
        ("http://o:4437", "/v1/stream/a", f"{PREFIX}/a"),
        *(("http://o:4437", given, None) for given in NOT_THERE),
        ("http://o/", "http://o:80/a", f"{PREFIX}/a"),
        ("http://o/", "/", f"{PREFIX}/"),
        ("https://o/base/", "https://o/base/a", f"{PREFIX}/a"),
        ("https://o/base", "http://o/base/a", f"{PREFIX}/a"),  # it does not know of the TLS
        ("https://o/base", "https://o/bases/a", None),
        ("http://[::1]:1/x", "http://[::1]:1/x/y", f"{PREFIX}/y"),
    ],
)
async def test_a_location_at_a_server_is_mapped_to_the_gateway_path(
    base: str, given: str, path: str | None
) -> None:
    async with opened("http://first:1/unlike", base) as origin:
        assert origin.servers.location(given) == path
