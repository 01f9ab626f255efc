"""What readers and writers see when one of two gateways is dead, or hangs."""

from __future__ import annotations

import asyncio
import contextlib
import re
from typing import TYPE_CHECKING

import pytest

from cdn_configs.targets import TARGETS
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
from tests.cdn.origin import stalled
from tests.cdn.outages import TEXT, assert_away
from tests.support.http1 import Client, ask, request
from tests.support.processes import Headgate
from tests.support.proxy_engines import ENGINES
from tests.support.waiting import PATIENCE_S, SERVER_PATIENCE_S, until

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from tests.cdn.balanced import Pair

pytestmark = pytest.mark.usefixtures("processes")


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
    gateways.gateways[0].kill()
    try:
        if name == ONLY_CONNECTS_AGAIN:  # a connection that was there may end with the gateway
            await until(lambda: is_fine(edges[name], created(gateways.gateways[1].port)))
        assert await all_kinds(edges[name], path) == RIGHT
        stored = ask(gateways.gateways[1].port, "GET", f"{path}?offset=-1").body
        assert stored == b"zero" + b"x" * REQUESTS
    finally:
        await asyncio.to_thread(gateways.gateways[0].start)


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
    """Also on a connection that was used before, which HAProxy closes without a response."""
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
            if name == "haproxy":
                with pytest.raises(asyncio.IncompleteReadError):
                    await client.answer()
            else:
                assert_away(await client.answer(), name)
        finally:
            client.close()
            await asyncio.to_thread(one.start)


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


def reads(admin_port: int) -> int:
    """How many reads this gateway has answered."""
    text = ask(admin_port, "GET", "/metrics").body.decode()
    found = re.findall(
        r'^headgate_requests_total\{[^}]*operation="read"[^}]*\} ([0-9.e+]+)', text, re.M
    )
    return int(sum(map(float, found)))
