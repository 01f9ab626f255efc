"""Names, hosts and methods that clients make up, and the series that they leave behind."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from prometheus_client import generate_latest

from headgate_gateway.telemetry.exposition import registry
from headgate_gateway.web.metrics import snapshot
from tests.support.serving import EDGE, PREFIX, edge_serving, serving

if TYPE_CHECKING:
    from tests.support.serving import Serving

METHODS = ("GET", "GET", "GET", "HEAD", "PUT", "POST", "DELETE", "PATCH", "OPTIONS")
QUERIES = ("", "?offset=-1", "?offset=now", "?offset=bad", "?offset=-1&live=nonsense")
MADE_UP_METHODS = 0.05  # of all
FIRST = 1_000  # at most
SERIES_OF_TWO_ROUTES = 100  # at least, or something else than metrics was counted
LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789-._~/"


def series(gateway: Serving) -> set[str]:
    """Each series that a scrape tells, without its number."""
    text = generate_latest(registry(snapshot(gateway.services, gateway.routes))).decode()
    return {line.rpartition(" ")[0] for line in text.splitlines() if line[:1] != "#"}


def made_up(chance: random.Random) -> bytes:
    """A request that no other one is like."""
    method, query = chance.choice(METHODS), chance.choice(QUERIES)
    if chance.random() < MADE_UP_METHODS:
        method = "".join(chance.choices(LETTERS[:26], k=12)).upper()
    name = "".join(chance.choices(LETTERS, k=24)).strip("/")
    where = chance.choice((PREFIX, EDGE, "/elsewhere"))
    body = b"x" if method in {"PUT", "POST"} else b""
    trace, span = chance.getrandbits(128) | 1, chance.getrandbits(64) | 1
    head = (
        f"{method} {where}/{name}{query} HTTP/1.1\r\n"
        f"Host: {name[:8].strip('._~-/') or 'a'}.test\r\n"
        f"User-Agent: {name}\r\nX-Request-Id: {name.replace('~', '')}\r\n"
        f"traceparent: 00-{trace:032x}-{span:016x}-01\r\n"
        f"Content-Type: text/{name[:3].strip('/._~-') or 'x'}\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


async def ask(gateway: Serving, times: int, seed: int) -> None:
    """Send so many, each once."""
    chance = random.Random(seed)
    client = await gateway.connect()
    for _ in range(times):
        got = await client.ask(made_up(chance))
        if got.get("Connection") == "close":
            client.close()
            client = await gateway.connect()


async def new_series(times: int, seed: int) -> set[str]:
    """The series that so many requests add to those of a gateway that has had as many before.

    The first ones add the operations and statuses that there are.
    """
    async with serving() as origin:
        url = f"http://127.0.0.1:{origin.port}{PREFIX}"
        async with edge_serving(url) as gateway:
            await ask(gateway, min(times, FIRST), seed)
            before = series(gateway)
            assert len(before) > SERIES_OF_TWO_ROUTES
            await ask(gateway, times, seed + 1)
            return series(gateway) - before
