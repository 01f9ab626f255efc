"""What readers and writers see when one of two gateways is dead, or hangs."""

from __future__ import annotations

import asyncio
import contextlib
import re
from typing import TYPE_CHECKING

import pytest

from headgate_cdn.targets import TARGETS
from headgate_gateway.settings import load
from tests.cdn.balanced import (
    ANSWER_S,
    BALANCING,
    ONLY_CONNECTS_AGAIN,
    REQUESTS,
    RIGHT,
    all_kinds,
    asked,
    created,
    in_front_of,
    is_fine,
    pair,
)
from tests.cdn.origin import STREAMS, stalled
from tests.cdn.outages import EVENT_SOURCE, HOLDING, TEXT, assert_away
from tests.support.http1 import Client, ask, request
from tests.support.ports import free_port
from tests.support.processes import Headgate
from tests.support.proxy_engines import ENGINES
from tests.support.waiting import PATIENCE_S, SERVER_PATIENCE_S, until

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from tests.cdn.balanced import Pair

LONG_BODY = 16 * 1024 + 1  # bytes: the functions at edges set no limit of time from here on

pytestmark = pytest.mark.usefixtures("processes")

ROUNDS = 8
CHECKED_S = 3.0  # after which the health checks have found that no gateway runs
RESTART_S = 1.7


@pytest.fixture(scope="module")
def gateways(processes: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    with pair(tmp_path_factory.mktemp("redis")) as started:
        yield started


@pytest.fixture(scope="module")
def edges(gateways: Pair) -> Iterator[Mapping[str, int]]:
    with in_front_of(gateways.settings, gateways.upstream, BALANCING) as ports:
        yield ports


@pytest.mark.parametrize("name", BALANCING)
async def test_nothing_fails_once_it_is_noticed_that_one_of_two_gateways_hangs(
    name: str, gateways: Pair, edges: Mapping[str, int]
) -> None:
    """Before that, appends that the hanging gateway has received are answered 504."""
    path = created(gateways.gateways[1].port)
    with stalled(gateways.gateways[0].pid):
        first = await all_kinds(edges[name], path)
        assert first["reads"] == RIGHT["reads"] or name == ONLY_CONNECTS_AGAIN, first
        # Until it is found out.
        await until(lambda: is_fine(edges[name], path), within_s=SERVER_PATIENCE_S)


@pytest.mark.parametrize("name", BALANCING)
async def test_nothing_fails_while_one_of_two_gateways_is_dead(
    name: str, gateways: Pair, edges: Mapping[str, int]
) -> None:
    path = created(gateways.gateways[1].port)
    # After another test, or a start on a busy machine, a proxy may not know yet that it is there.
    await until(lambda: takes_part(gateways.gateways[1], edges[name], path))
    gateways.gateways[0].kill()
    path = created(gateways.gateways[1].port)
    try:
        if name == ONLY_CONNECTS_AGAIN:  # a connection that was there may end with the gateway
            await until(lambda: is_fine(edges[name], created(gateways.gateways[1].port)))
        # For longer than a check takes to find out: a gateway without requests seems the best one.
        for _ in range(ROUNDS):
            assert await all_kinds(edges[name], path) == RIGHT
        stored = ask(gateways.gateways[1].port, "GET", f"{path}?offset=-1").body
        assert stored == b"zero" + b"x" * REQUESTS * ROUNDS
    finally:
        await asyncio.to_thread(gateways.gateways[0].start)


@pytest.mark.parametrize("name", ["varnish", "haproxy", "caddy"])
async def test_a_page_can_read_what_it_gets_while_all_gateways_hang(
    name: str, gateways: Pair
) -> None:
    path = created(gateways.gateways[1].port)
    kinds = [("GET", f"{path}?offset=-1"), ("HEAD", path), ("POST", path)]
    # Varnish lets polls wait for as long as the longest one may take.
    kinds += [("GET", f"{path}?offset=-1&live=long-poll")] * (name != "varnish")
    with contextlib.ExitStack() as stack:
        # As by default, longer than it takes to leave out a gateway that hangs.
        made = in_front_of(gateways.settings, gateways.upstream, [name], answer_s=8)
        port = stack.enter_context(made)[name]
        for one in gateways.gateways:
            stack.enter_context(stalled(one.pid))
        each = (
            asked(port, *kind, b"x" if "POST" in kind else None, Content_Type=TEXT)
            for kind in kinds * 4
        )
        answers = await asyncio.gather(*each)
    for kind, answer in zip(kinds * 4, answers, strict=True):
        assert not isinstance(answer, Exception), (kind, answer)
        assert_away(answer, f"{kind}")
        assert (answer.get("Content-Type") or "").startswith("text/plain"), (kind, answer)


@pytest.mark.parametrize("name", ["haproxy", "caddy"])
async def test_events_whose_gateway_hangs_end_when_heartbeats_fail_to_come(name: str) -> None:
    environment = {"HEADGATE_LIVE__SSE_HEARTBEAT": "1"}
    one = Headgate(environment=environment)
    with (
        contextlib.closing(one.start()),
        in_front_of(load(None, environment, {}), f"127.0.0.1:{one.port}", [name]) as ports,
    ):
        client = Client(*await asyncio.open_connection("127.0.0.1", ports[name]), PATIENCE_S)
        with contextlib.closing(client):
            client.send(request("GET", f"{created(one.port)}?offset=-1&live=sse", None))
            assert (await client.head()).status == 200
            with stalled(one.pid), contextlib.suppress(asyncio.IncompleteReadError):
                await client.chunks()  # to the end of the response, or of the connection


@pytest.mark.parametrize("name", ENGINES)
async def test_a_long_poll_may_wait_for_longer_than_an_answer_may_take(
    name: str, gateways: Pair
) -> None:
    one = gateways.gateways[1]
    target = poll_at_tail(one.port)
    with in_front_of(gateways.settings, f"127.0.0.1:{one.port}", [name]) as ports:
        known = {"Authorization": "Bearer x"}
        found = (
            asked(ports[name], "GET", target),
            asked(ports[name], "GET", target, None, **known),
        )
        assert [getattr(it, "status", it) for it in await asyncio.gather(*found)] == [204, 204]


@pytest.mark.parametrize("name", ENGINES)
async def test_a_gateway_that_hangs_is_given_up_after_the_time_of_an_answer(
    name: str, gateways: Pair
) -> None:
    """With fields by which pages see what it is; and new viewers have stale copies."""
    one = gateways.gateways[1]
    path = created(one.port)
    is_stale = not TARGETS[name].no_stale_if_error
    options = {"stale_if_error_s": 60} if is_stale else {}
    with in_front_of(gateways.settings, f"127.0.0.1:{one.port}", [name], **options) as ports:
        port, read = ports[name], f"{path}?offset=-1"
        assert ask(port, "GET", read).status == 200
        with stalled(one.pid):
            await asyncio.sleep(2.1)  # until the copy of a second is stale
            kinds = [("GET", f"{path}?offset=0&x=1"), ("POST", path), ("HEAD", path), ("GET", read)]
            each = (
                asked(port, *kind, b"x" if "POST" in kind else None, Content_Type=TEXT)
                for kind in kinds
            )
            began = asyncio.get_running_loop().time()
            *refused, copy = await asyncio.gather(*each)
            took_s = asyncio.get_running_loop().time() - began
    assert took_s < 3 * ANSWER_S, "it was tried again, or for longer"
    for kind, answer in zip(kinds, refused, strict=False):
        assert not isinstance(answer, Exception), (kind, answer)
        assert_away(answer, f"{kind}")
    if is_stale:
        assert (getattr(copy, "status", copy), getattr(copy, "body", copy)) == (200, b"zero")


@pytest.mark.parametrize("name", ENGINES)
async def test_a_poll_under_way_gets_an_error_that_pages_can_read_when_its_gateway_is_lost(
    name: str, gateways: Pair
) -> None:
    """Also on a connection that was used before."""
    one = gateways.gateways[0]
    target = poll_at_tail(one.port)
    with in_front_of(gateways.settings, f"127.0.0.1:{one.port}", [name]) as ports:
        client = Client(*await asyncio.open_connection("127.0.0.1", ports[name]), PATIENCE_S)
        try:
            head = request("HEAD", target.partition("?")[0], None)
            assert (await client.ask(head)).status == 200
            client.send(request("GET", target, None))
            await until(lambda: "long" in waiting_readers(one.admin_port), "a poll at the gateway")
            one.kill()
            assert_away(await client.answer(), name)
        finally:
            client.close()
            await asyncio.to_thread(one.start)


@pytest.mark.parametrize("name", ["nginx", "nginx-njs"])
async def test_events_of_a_gateway_that_hangs_end_soon_after_a_heartbeat_is_due(
    name: str, gateways: Pair
) -> None:
    one = gateways.gateways[1]
    target = f"{created(one.port)}?offset=-1&live=sse"
    with in_front_of(gateways.settings, f"127.0.0.1:{one.port}", [name], heartbeat_s=1) as ports:
        client = await Client.connect(ports[name])
        try:
            client.send(request("GET", target, None, **EVENT_SOURCE))
            await client.read_until(b"zero")
            with stalled(one.pid):
                new = (
                    asyncio.create_task(asked(ports[name], "GET", target, None, **headers))
                    for headers in ({}, EVENT_SOURCE)
                )
                waiting = [] if name in HOLDING else [*new]
                await client.rest()
                found = [await it for it in waiting]
        finally:
            client.close()
    if found:
        assert not isinstance(found[0], Exception), found
        assert_away(found[0], name)
        assert getattr(found[1], "status", found[1]) == 200, "an EventSource gives up otherwise"


async def test_nothing_fails_at_nginx_once_one_of_two_lost_gateways_is_back(
    gateways: Pair,
) -> None:
    # Another stream for afterwards: waiting readers share a 502 for a second.
    path, other = created(gateways.gateways[1].port), created(gateways.gateways[1].port)
    with in_front_of(gateways.settings, gateways.upstream, ["nginx"]) as ports:
        for one in gateways.gateways:
            one.kill()
        try:
            lost = await all_kinds(ports["nginx"], path)
            assert set(lost["appends"]) == {502}, lost
            await asyncio.to_thread(gateways.gateways[1].start)
            assert await all_kinds(ports["nginx"], other) == RIGHT
        finally:
            await asyncio.to_thread(gateways.gateways[0].start)


@pytest.mark.parametrize("name", ["cloudflare-worker", "vercel"])
async def test_an_append_above_16_kib_may_take_longer_than_an_answer(
    name: str, gateways: Pair
) -> None:
    """Its client decides how fast the body comes; of a smaller one all comes with the head."""
    port = gateways.gateways[1].port
    path = created(port)
    with in_front_of(gateways.settings, f"127.0.0.1:{port}", [name], answer_s=1) as ports:
        whole = request("POST", path, b"x" * LONG_BODY, Content_Type=TEXT)
        client = await Client.connect(ports[name])
        try:
            await client.send_all(whole[:-1])
            await asyncio.sleep(3)  # longer than an answer may take
            assert (await client.ask(whole[-1:])).status == 204
        finally:
            client.close()
    assert len(ask(port, "GET", f"{path}?offset=-1").body) == len(b"zero") + LONG_BODY


@pytest.mark.parametrize("name", [it for it in BALANCING if it != ONLY_CONNECTS_AGAIN])
async def test_no_reader_is_refused_because_one_of_two_gateways_stops(
    name: str, gateways: Pair
) -> None:
    stopping, other = gateways.gateways
    target = f"{created(other.port)}?offset=-1&live=sse"
    found: list[object] = []
    is_over = asyncio.Event()

    async def read_again_and_again() -> None:
        while not is_over.is_set():
            answer = await asked(ports[name], "GET", target)
            found.append(getattr(answer, "status", answer))

    with in_front_of(gateways.settings, gateways.upstream, [name]) as ports:
        async with asyncio.TaskGroup() as tasks:
            for _ in range(REQUESTS):
                tasks.create_task(read_again_and_again())
            await until(lambda: len(found) > 10 * REQUESTS, "connections to both gateways")
            # It does not end before this append.
            held = await Client.connect(stopping.port)
            held.send(request("PUT", f"{STREAMS}/held", b"xx", Content_Type=TEXT)[:-1])
            ended = asyncio.create_task(asyncio.to_thread(stopping.terminate))
            before = len(found)
            await until(lambda: len(found) > before + 10 * REQUESTS, "reads while it stops")
            assert not ended.done()
            held.close()
            await ended
            is_over.set()
        await asyncio.to_thread(stopping.start)
    assert set(found) == {200}


def poll_at_tail(port: int) -> str:
    """Create a stream, and return the target of a long-poll at its tail."""
    path = created(port)
    tail = ask(port, "GET", f"{path}?offset=-1").next_offset
    return f"{path}?offset={tail}&live=long-poll"


def waiting_readers(admin_port: int) -> str:
    """The modes of live readers of which there are some."""
    lines = ask(admin_port, "GET", "/metrics").body.decode().splitlines()
    return " ".join(
        it
        for it in lines
        if it.startswith("headgate_live_readers{") and float(it.rpartition(" ")[2])
    )


@pytest.mark.parametrize("name", ["nginx", "varnish"])
async def test_a_chunk_that_takes_longer_than_two_seconds_is_requested_once_for_all(
    name: str, gateways: Pair
) -> None:
    # One of its own: live reads that other tests have left count when they end.
    one = Headgate()
    with (
        contextlib.closing(one.start()),
        in_front_of(gateways.settings, f"127.0.0.1:{one.port}", [name], answer_s=10) as ports,
    ):
        path = created(one.port)
        before = reads(one.admin_port)
        with stalled(one.pid):
            reading = [
                asyncio.create_task(asked(ports[name], "GET", f"{path}?offset=-1"))
                for _ in range(REQUESTS)
            ]
            await asyncio.sleep(3.5)  # the gateway takes so long
        found = await asyncio.gather(*reading)
        assert [getattr(it, "body", it) for it in found] == [b"zero"] * REQUESTS
        assert reads(one.admin_port) == before + 1


async def takes_part(gateway: Headgate, port: int, path: str) -> bool:
    """Return whether no request at this port fails, and this gateway gets some of them."""
    before = reads(gateway.admin_port)
    return await is_fine(port, path) and reads(gateway.admin_port) > before


def reads(admin_port: int) -> int:
    """How many reads of streams this gateway has answered."""
    text = ask(admin_port, "GET", "/metrics").body.decode()
    samples = re.findall(r"^headgate_requests_total\{([^}]*)\} ([0-9.e+]+)", text, re.M)
    labels = {'operation="read"', f'route="{STREAMS}"'}
    return sum(int(float(count)) for of, count in samples if labels <= set(of.split(",")))


async def _created(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.closing(writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 201 Created\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        await writer.drain()


async def test_a_write_at_haproxy_waits_for_the_only_gateway_while_it_restarts() -> None:
    port = free_port()
    with in_front_of(load(None, {}, {}), f"127.0.0.1:{port}", ["haproxy"]) as ports:
        await asyncio.sleep(CHECKED_S)
        write = asyncio.create_task(
            asked(ports["haproxy"], "PUT", f"{STREAMS}/restarted", b"x", Content_Type=TEXT)
        )
        await asyncio.sleep(RESTART_S)
        assert not write.done()
        async with await asyncio.start_server(_created, "127.0.0.1", port):
            answer = await write
    assert not isinstance(answer, Exception)
    assert answer.status == 201
