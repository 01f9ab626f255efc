"""What each configuration answers while the gateway is away, and when it comes back."""

from __future__ import annotations

import asyncio
import contextlib
import re
from typing import TYPE_CHECKING

import msgspec
import pytest

from headgate_cdn import render
from headgate_cdn.rules import RULES
from tests.cdn.outages import (
    EVENT_SOURCE,
    EVERY,
    HOLDING,
    TEXT,
    LastingGateway,
    assert_away,
    in_front,
    outage,
)
from tests.clients.token_writer import create_stream
from tests.support.examples import IS_WHOLE, cases
from tests.support.http1 import Client, request
from tests.support.proxy_engines import ENGINES
from tests.support.unmodified_clients import read_with_python, read_with_typescript
from tests.support.waiting import PATIENCE_S

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from tests.cdn.outages import Client as Reader
    from tests.support.http1 import Answer

# As long as a gateway takes to start on a busy machine; `make torture` has it as it is rendered.
HOLD_S = RULES.hold_s if IS_WHOLE else 6
STREAM = "/v1/stream/s"
EVENTS = f"{STREAM}?offset=-1&live=sse"
OTHERS = {
    "a new viewer": ("GET", f"{STREAM}?offset=-1"),
    "catch-up with an odd query": ("GET", f"{STREAM}?offset=-1&x=1&x=2"),
    "a read from now": ("GET", f"{STREAM}?offset=now"),
    "a long-poll": ("GET", f"{STREAM}?offset=-1&live=long-poll"),
    "HEAD": ("HEAD", STREAM),
    "an append": ("POST", STREAM),
    "a creation": ("PUT", STREAM),
    "a deletion": ("DELETE", STREAM),
    "events for who goes by the status": ("GET", EVENTS),
}
PAGE = "https://app.example.com"


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LastingGateway]:
    made = LastingGateway(tmp_path_factory.mktemp("gateway"))
    yield made
    made.close()


@pytest.fixture(scope="module")
def edges(processes: None, gateway: LastingGateway) -> Iterator[dict[str, int]]:
    """Hold requests for so short a time that a test can wait for the end of it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(render, "RULES", msgspec.structs.replace(RULES, hold_s=HOLD_S))
        with in_front(gateway) as ports:
            yield ports


async def asked(port: int, method: str, target: str, **headers: str) -> Answer:
    body = b"one" if method in {"POST", "PUT"} else None
    connection = await asyncio.open_connection("127.0.0.1", port)
    client = Client(*connection, HOLD_S + PATIENCE_S)
    try:
        client.send(request(method, target, body, Content_Type=TEXT, Origin=PAGE, **headers))
        head = await client.head()
        return head if method == "HEAD" else await client.whole(head)
    finally:
        client.close()


@pytest.mark.parametrize("name", ENGINES)
async def test_a_cross_origin_page_can_read_the_error_while_the_gateway_is_away(
    name: str, edges: dict[str, int]
) -> None:
    cases = OTHERS.values()
    answers = await asyncio.gather(*(asked(edges[name], *case) for case in cases))
    for who, answer in zip(OTHERS, answers, strict=True):
        assert_away(answer, who)


async def test_an_event_source_gets_a_retry_time_while_the_gateway_is_away(
    edges: dict[str, int],
) -> None:
    loop = asyncio.get_running_loop()

    async def told(name: str) -> float:
        began = loop.time()
        answer = await asked(edges[name], "GET", EVENTS, **EVENT_SOURCE)
        assert (answer.status, answer.get("Content-Type")) == (200, "text/event-stream"), name
        assert answer.get("Access-Control-Allow-Origin") == "*", name
        assert answer.get("Cache-Control") == "no-store", name
        assert re.search(rb"\nretry: [1-3][0-9]{3}\n\n$", answer.body), (name, answer)
        return loop.time() - began

    names = edges.keys() - {"traefik"}  # whose own error page stops an EventSource for good
    waited_s = dict(zip(names, await asyncio.gather(*map(told, names)), strict=True))
    held = {name for name, seconds in waited_s.items() if seconds > HOLD_S - 1}
    assert held == HOLDING, waited_s


@pytest.mark.usefixtures("processes")
async def test_an_sse_request_is_held_until_the_gateway_is_back(
    gateway: LastingGateway, edges: dict[str, int]
) -> None:
    stream = "/v1/stream/held"

    async def first_event(name: str) -> str:
        client = await Client.connect(edges[name])
        try:
            client.send(request("GET", f"{stream}?offset=-1&live=sse", None, **EVENT_SOURCE))
            assert (await client.head()).status == 200, name
            (event,) = await client.events_until(lambda events: len(events) > 0)
            return event.name
        finally:
            client.close()

    gateway.start()
    await create_stream(f"{gateway.url}{stream}", TEXT)
    gateway.kill()
    waiting = [asyncio.create_task(first_event(name)) for name in HOLDING]
    try:
        await asyncio.sleep(1.0)  # it is away: each has tried at least once
        assert not any(one.done() for one in waiting)
        await asyncio.to_thread(gateway.start)
        assert set(await asyncio.gather(*waiting)) == {"control"}
    finally:
        gateway.kill()


@pytest.mark.torture("the same for pages of all sites")
async def test_a_page_with_cookies_can_read_the_error_while_the_gateway_is_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the name of its site, a browser takes the answer for one that it may not see."""
    monkeypatch.setattr(render, "RULES", msgspec.structs.replace(RULES, hold_s=1))
    gateway = LastingGateway(tmp_path, sites=[PAGE, "https://other.example.com"])
    with contextlib.closing(gateway), in_front(gateway) as ports:
        nothing: Mapping[str, str] = {}
        asks = ((EVENTS, EVENT_SOURCE), (f"{STREAM}?offset=-1", nothing))
        each = [(name, *one) for name in ports for one in asks]
        answers = await asyncio.gather(
            *(asked(ports[name], "GET", target, **headers) for name, target, headers in each)
        )
    for (name, *_), answer in zip(each, answers, strict=True):
        assert answer.get("Access-Control-Allow-Origin") == PAGE, (name, answer)
        assert answer.get("Access-Control-Allow-Credentials") == "true", (name, answer)
        assert answer.get("Vary") == "Origin", (name, answer)


# A browser first connects again after three seconds.
AWAY_S = cases(
    [2.0, 4.0, 9.0, 25.0], [4.0], "an outage of 4 s, in which some hold and others do not"
)
# In that one, an official client at each second target is enough.
SOME: Sequence[Reader] = (
    ("nginx", read_with_typescript, "sse"),
    ("haproxy", read_with_typescript, "sse"),
    ("varnish", read_with_python, "sse"),
    ("cloudflare-worker", read_with_python, "long-poll"),
)


@pytest.mark.usefixtures("processes")
@pytest.mark.timeout(200)
@pytest.mark.parametrize("away_s", AWAY_S)
async def test_no_reader_loses_or_repeats_a_message_across_an_outage_of_the_gateway(
    away_s: float, gateway: LastingGateway, edges: dict[str, int]
) -> None:
    every = [(name, read, mode) for name in ENGINES for read, mode in EVERY]
    clients: Sequence[Reader] = every if IS_WHOLE else SOME
    gateway.start()
    try:
        found = await outage(gateway, edges, away_s, clients)
    finally:
        gateway.kill()
    # Its own error page stops an EventSource for good.
    stopped = {"traefik", "an EventSource at traefik"}
    assert set(found.dead) <= stopped
    read = {who: text for who, text in found.read.items() if who not in stopped}
    wrong = {who: text for who, text in read.items() if text != found.written}
    assert wrong == {}, found.written
