"""What a request has had, its token among it, goes with its connection: nothing is in a cycle."""

from __future__ import annotations

import gc
from collections import Counter
from typing import TYPE_CHECKING

import pytest

from headgate_gateway.edge.reads.fetches import Fetch
from headgate_gateway.web.connections.connection import Connection
from headgate_gateway.web.requests.exchange import Exchange
from headgate_gateway.web.requests.request import Request
from headgate_gateway.web.requests.responses import StreamedResponse
from tests.support.raw_origin import RawOrigin, Wire, reset, silence
from tests.support.raw_origin import answer as said
from tests.support.serving import EDGE, PREFIX, edge_serving, post, put, request
from tests.support.waiting import until
from tests.telemetry.collector import collecting, traced

if TYPE_CHECKING:
    from tests.support.serving import Serving

KINDS = (Connection, Exchange, Request, Fetch)
IMPATIENT = {"response_timeout": 0.3}
JSON = "application/json"
LONG = b"[" + b"1," * 100_000 + b"]"
WHOLE = post("s", b"0123456789")


def _chunked(prefix: str) -> bytes:
    lines = (f"POST {prefix}/s HTTP/1.1", "Host: h", "Content-Type: text/plain")
    return "\r\n".join([*lines, "Transfer-Encoding: chunked", "", ""]).encode()


# What a client sends, and how many answers it gets before it leaves.
EXCHANGES = {
    "appends": (WHOLE * 3, 3),
    "refused appends": (post("none", b"x") * 3, 3),
    "creations": (put("s") * 3, 3),
    "refused append with a query": (post("none?a=b", b"x"), 1),
    "part of a body": (WHOLE[:-5], 0),
    "spoilt body": (_chunked(PREFIX) + b"zz\r\n", 1),
    "body too long": (post("s", bytes(2 << 20)), 1),
    "part of a body too long": (post("s", bytes(2 << 20))[:-5], 1),
    "long bad JSON": (post("json", LONG, content_type=JSON), 1),
    "refused creation": (put("s", content_type=JSON), 1),
    "refused removal": (request("DELETE", "none"), 1),
    "refused read": (request("GET", "none?offset=x"), 1),
    "part of a body passed on": (post(f"{EDGE}/s", bytes(10))[:-5], 0),
    "spoilt body passed on": (_chunked(EDGE) + b"zz\r\n", 1),
    "append without an answer": (post(f"{EDGE}/broken", b"x"), 1),
    "read without an answer": (request("GET", f"{EDGE}/broken?offset=-1"), 1),
    "reads": (request("GET", f"{EDGE}/s?offset=-1") * 3, 3),
    "own reads": (request("GET", "s?offset=-1&a=b") * 3, 3),
    "read that takes too long": (request("GET", f"{EDGE}/silent?offset=-1"), 1),
    "part of a read": (request("GET", f"{EDGE}/silent?offset=-1"), 0),
}


@pytest.fixture(scope="module", autouse=True)
def _others_are_frozen() -> None:
    """Look through nothing that other tests have left, again and again."""
    gc.collect()
    gc.freeze()


async def _origin(wire: Wire) -> None:
    if "/broken" in wire.heard.target:
        await reset(wire)
    elif "/cut" in wire.heard.target:
        await wire.send(said(bytes(100_000))[:-1])
        await reset(wire)
    elif "/silent" in wire.heard.target:
        await silence(wire)
    else:
        await wire.body()
        await wire.send(said(b""))


async def _exchange(gateway: Serving, sent: bytes, answers: int) -> None:
    client = await gateway.connect()
    client.send(sent)
    for _ in range(answers):
        await client.answer()
    if not answers:
        await until(lambda: any(not one.is_idle for one in gateway.server.connections))
    client.abort()
    gateway._clients.remove(client)
    await until(lambda: gateway.limits.connections == 0)


def _there() -> Counter[str]:
    # By `type`: a lazy object of some library may fail when asked for its class.
    return Counter(type(one).__name__ for one in gc.get_objects() if issubclass(type(one), KINDS))


def _are_there(kind: type) -> bool:
    return any(type(it) is kind for it in gc.get_objects())


async def test_no_part_of_a_response_remains_that_its_origin_has_cut() -> None:
    async with RawOrigin(_origin) as origin, edge_serving(origin) as gateway:
        gc.disable()
        try:
            for sent in (request("GET", f"{EDGE}/cut?offset=-1"), post(f"{EDGE}/cut", b"x")):
                with pytest.raises((ConnectionError, EOFError)):
                    await gateway.ask(sent)
                await until(
                    lambda: not any(type(it) is StreamedResponse for it in gc.get_objects())
                )
        finally:
            gc.enable()


@pytest.mark.parametrize("is_traced", [False, True], ids=["", "traced"])
@pytest.mark.parametrize("kind", EXCHANGES)
async def test_no_object_of_a_request_remains_after_its_client_disconnects(
    kind: str, is_traced: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with collecting() as collector:
        for name, value in collector.environment.items():
            monkeypatch.setenv(name, value)
        async with traced() as tracer, RawOrigin(_origin) as origin:
            given = tracer if is_traced else None
            async with edge_serving(origin, IMPATIENT, tracer=given) as gateway:
                for made in (put("s"), put("json", content_type=JSON)):
                    await gateway.ask(made)
                await _exchange(gateway, *EXCHANGES[kind])
                await until(lambda: gc.collect() == 0, "nothing goes on")
                gc.disable()
                try:
                    before = _there()
                    await _exchange(gateway, *EXCHANGES[kind])
                    # What was woken goes on, and ends.
                    await until(lambda: _there() - before == Counter(), "nothing stays")
                finally:
                    gc.enable()
