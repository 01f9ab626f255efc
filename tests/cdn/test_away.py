"""What each configuration answers while the gateway is away, and when it comes back."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import msgspec
import pytest

from cdn_configs import render
from cdn_configs.rules import AGAIN_S, RULES
from tests.cdn.engines import ENGINES
from tests.cdn.outages import EVENT_SOURCE, HOLDING, TEXT, LastingGateway, in_front
from tests.support.http1 import Client, request

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.http1 import Answer

HOLD_S = 2  # as short as is measured well on a busy machine
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
def edges(gateway: LastingGateway) -> Iterator[dict[str, int]]:
    """Hold requests for so short a time that a test can wait for the end of it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(render, "RULES", msgspec.structs.replace(RULES, hold_s=HOLD_S))
        with in_front(gateway) as ports:
            yield ports


async def asked(port: int, method: str, target: str, **headers: str) -> Answer:
    body = b"one" if method in {"POST", "PUT"} else None
    client = await Client.connect(port)
    try:
        client.send(request(method, target, body, Content_Type=TEXT, Origin=PAGE, **headers))
        head = await client.head()
        return head if method == "HEAD" else await client.whole(head)
    finally:
        client.close()


def assert_away(answer: Answer, who: str) -> None:
    assert answer.status in {502, 503}, (who, answer)
    assert answer.get("Cache-Control") == "no-store", (who, answer)
    assert answer.get("Retry-After") == str(AGAIN_S), (who, answer)
    assert answer.get("Access-Control-Allow-Origin") == "*", (who, answer)
    assert "Retry-After" in (answer.get("Access-Control-Expose-Headers") or ""), (who, answer)


@pytest.mark.parametrize("name", ENGINES)
async def test_a_page_can_read_that_the_gateway_is_away(name: str, edges: dict[str, int]) -> None:
    cases = OTHERS.values()
    answers = await asyncio.gather(*(asked(edges[name], *case) for case in cases))
    for who, answer in zip(OTHERS, answers, strict=True):
        assert_away(answer, who)


@pytest.mark.parametrize("name", ENGINES)
async def test_an_event_source_is_told_to_ask_again(name: str, edges: dict[str, int]) -> None:
    loop = asyncio.get_running_loop()
    began = loop.time()
    answer = await asked(edges[name], "GET", EVENTS, **EVENT_SOURCE)
    waited_s = loop.time() - began
    assert (answer.status, answer.get("Content-Type")) == (200, "text/event-stream"), answer
    assert answer.get("Access-Control-Allow-Origin") == "*"
    assert answer.get("Cache-Control") == "no-store"
    assert answer.body.endswith(f"retry: {AGAIN_S}000\n\n".encode())
    assert (waited_s >= HOLD_S - 0.5) == (name in HOLDING), waited_s
