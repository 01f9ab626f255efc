"""Clients that send a FIN with their request, as `nc -N` does, and clients that leave by one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from headgate_gateway.web.connections import requests
from tests.support.raw_origin import RawOrigin, Steps, answer
from tests.support.serving import EDGE, edge_serving, get, offset, post, put, request, serving
from tests.support.waiting import until

if TYPE_CHECKING:
    from tests.support.http1 import Client
    from tests.support.serving import Serving

SAID = answer(b"said", "Content-Type: text/plain", "Stream-Next-Offset: 4")


async def with_fin(gateway: Serving, sent: bytes) -> Client:
    """Return a client that has sent a request, and nothing after it."""
    client = await gateway.connect()
    client.send(sent)
    client._writer.write_eof()
    return client


@pytest.mark.parametrize(
    ("sent", "status", "body"),
    [
        pytest.param(put("new", body=b"1"), 201, b"", id="a-creation"),
        pytest.param(post("s", b"two"), 204, b"", id="an-append"),
        pytest.param(post("s", b"", "Stream-Closed: true"), 204, b"", id="a-closure"),
        pytest.param(get("s?offset=-1"), 200, b"one", id="a-read"),
        pytest.param(get("none?offset=-1"), 404, None, id="a-read-of-no-stream"),
        pytest.param(request("HEAD", "s"), 200, b"", id="a-head"),
        pytest.param(request("DELETE", "s"), 204, b"", id="a-deletion"),
        pytest.param(get(f"{EDGE}/s?offset=-1"), 200, b"said", id="a-read-at-an-origin"),
        pytest.param(request("POST", f"{EDGE}/s", body=b"x"), 200, b"said", id="a-write-to-one"),
    ],
)
async def test_a_request_whose_fin_comes_with_it_is_answered_and_ends_the_connection(
    sent: bytes, status: int, body: bytes | None
) -> None:
    async with RawOrigin(SAID) as origin, edge_serving(origin) as gateway:
        await gateway.ask(put("s", body=b"one"))
        client = await with_fin(gateway, sent)
        got = await client.answer(to_head=sent.startswith(b"HEAD"))
        assert (got.status, body in {None, got.body}) == (status, True)
        assert await client.rest() == b""
        await until(lambda: gateway.limits.connections == 0)


async def test_pipelined_requests_before_a_fin_are_all_answered() -> None:
    async with serving() as gateway:
        await gateway.ask(put("s"))
        client = await with_fin(gateway, post("s", b"x") * 40 + get("s?offset=-1") * 40)
        for number in range(40):
            assert (await client.answer()).get("Stream-Next-Offset") == offset(number + 1)
        for _ in range(40):
            assert (await client.answer()).body == b"x" * 40
        assert await client.rest() == b""


@pytest.mark.parametrize("mode", ["long-poll", "sse"])
@pytest.mark.parametrize("waits", [False, True])
async def test_a_fin_is_the_leaving_of_a_live_reader(mode: str, *, waits: bool) -> None:
    async with serving() as gateway:
        await gateway.ask(put("s"))
        client = await gateway.connect()
        client.send(get(f"s?offset={offset(0)}&live={mode}"))
        if waits:
            await until(lambda: gateway.limits.live_readers == 1)
        client._writer.write_eof()
        assert b"204" not in await client.rest()
        await until(lambda: gateway.limits.live_readers == gateway.limits.connections == 0)


async def test_a_late_fin_is_its_clients_leaving(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(requests, "FIN_S", -1.0)  # any time is long
    steps = Steps(b"", SAID)
    async with RawOrigin(steps) as origin, edge_serving(origin) as gateway:
        client = await gateway.connect()
        client.send(get(f"{EDGE}/s?offset=-1"))
        await until(lambda: len(origin.heard) == 1)
        client._writer.write_eof()
        assert await client.rest() == b""
        await until(lambda: gateway.limits.connections == 0)
