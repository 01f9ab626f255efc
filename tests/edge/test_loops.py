"""A gateway that leads to itself says so at once, instead of asking itself for ever."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import json
from typing import TYPE_CHECKING

import pytest

from tests.edge.gateways import PREFIX, edge
from tests.support.delaying_proxy import DelayingProxy
from tests.support.http1 import Answer, ask
from tests.support.ports import free_port

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.support.processes import Headgate

LOGGED = {"HEADGATE_LOG__REQUESTS": "info", "HEADGATE_LOG__FORMAT": "json"}
REQUESTS = [
    ("GET", "?offset=-1"),
    ("GET", "?offset=now&live=long-poll"),
    ("GET", "?offset=-1&live=sse"),
    ("HEAD", ""),
    ("PUT", ""),
    ("POST", ""),
    ("DELETE", ""),
]


def _ask(gateway: Headgate, method: str, query: str) -> Answer:
    body = b"x" if method in {"PUT", "POST"} else None
    return ask(gateway.port, method, f"{PREFIX}/a{query}", body, content_type="text/plain")


def _requests(gateway: Headgate) -> int:
    whole, _, _ = gateway.output().rpartition("\n")  # the last line may be half a line yet
    lines = [json.loads(line) for line in whole.splitlines()]
    return sum(line["event"] == "request" for line in lines)


@contextlib.contextmanager
def relay(port: int) -> Iterator[int]:
    """Run a relay and give its port; no gateway can know where it leads."""

    async def serve(ready: Callable[[int], None], end: asyncio.Event) -> None:
        async with DelayingProxy(port, latency_s=0) as proxy:
            ready(proxy.port)
            await end.wait()

    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        ready: concurrent.futures.Future[int] = concurrent.futures.Future()
        loop, end = asyncio.new_event_loop(), asyncio.Event()
        running = pool.submit(loop.run_until_complete, serve(ready.set_result, end))
        try:
            yield ready.result(10)
        finally:
            loop.call_soon_threadsafe(end.set)
            running.result(10)
            loop.close()


@pytest.mark.usefixtures("processes")
def test_a_request_that_returns_to_its_gateway_through_a_relay_gets_508() -> None:
    port = free_port()
    with (
        relay(port) as before,
        edge(f"http://127.0.0.1:{before}", environment=LOGGED, port=port) as gateway,
    ):
        for method, query in REQUESTS:
            assert _ask(gateway, method, query).status == 508, (method, query)
        # Each came once from outside and once from itself.
        assert _requests(gateway) <= 2 * len(REQUESTS)


@pytest.mark.usefixtures("processes")
def test_gateways_that_are_each_others_origin_answer_508() -> None:
    first_port, second_port = free_port(), free_port()
    with (
        edge(f"http://127.0.0.1:{second_port}", environment=LOGGED, port=first_port) as first,
        edge(f"http://127.0.0.1:{first_port}", environment=LOGGED, port=second_port) as second,
    ):
        for method, query in REQUESTS:
            assert _ask(first, method, query).status == 508, (method, query)
        assert _requests(first) <= 2 * len(REQUESTS)
        assert _requests(second) <= len(REQUESTS)
