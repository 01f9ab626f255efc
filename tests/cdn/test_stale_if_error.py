"""What is read with `--stale-if-error` while the gateway is away, and when it is there."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from typing import TYPE_CHECKING

import pytest

from headgate_cdn.targets import target
from tests.cdn.candidates import Candidate
from tests.cdn.outages import TEXT, LastingGateway
from tests.support.examples import IS_WHOLE
from tests.support.http1 import Answer, ask
from tests.support.ports import free_port
from tests.support.proxy_engines import ENGINES, started
from tests.support.waiting import until

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

pytestmark = pytest.mark.usefixtures("processes")

STALE_S = 8  # longer than all that a test asks meanwhile
EXPIRED_S = 2.1  # after a second, as caches count whole ones
AGEING = "/v1/ageing"
"""Whole chunks are fresh for a second, and may be served stale for half a minute."""
LIFETIMES = {"chunk_max_age": 1, "stale_while_revalidate": 30}
_NUMBERS = itertools.count()
CHUNK = b"x" * 300_000  # more than one read returns
# `make test-all` has one of each way to keep copies, `make torture` all.
USUAL = ("nginx", "varnish", "cloudflare-worker")
HOW = [
    name for name in ENGINES if not target(name).no_stale_if_error and (IS_WHOLE or name in USUAL)
]


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LastingGateway]:
    folder = tmp_path_factory.mktemp("gateway")
    made = LastingGateway(folder, {"prefix": AGEING, **LIFETIMES})
    yield made
    made.close()


@pytest.fixture(scope="module")
def edges(processes: None, gateway: LastingGateway) -> Iterator[Mapping[str, int]]:
    ports = {name: free_port() for name in HOW}
    with contextlib.ExitStack() as stack:
        for name, port in ports.items():
            files = Candidate(name, stale_if_error_s=STALE_S).files(port, gateway)
            stack.enter_context(started(ENGINES[name], files, port))
        yield ports


def made(gateway: LastingGateway, path: str, *records: bytes) -> str:
    assert ask(gateway.port, "PUT", path, Content_Type=TEXT).status == 201
    for record in records:
        assert ask(gateway.port, "POST", path, record, Content_Type=TEXT).status == 204
    return path


async def at_all(edges: Mapping[str, int], query: str) -> dict[str, Answer]:
    asked = [asyncio.to_thread(ask, port, "GET", query) for port in edges.values()]
    return dict(zip(edges, await asyncio.gather(*asked), strict=True))


async def start(gateway: LastingGateway, edges: Mapping[str, int]) -> None:
    """Start the gateway, and wait until each target has noticed."""
    gateway.start()
    path = f"/v1/stream/up{next(_NUMBERS)}"

    async def is_noticed() -> bool:
        return {it.status for it in (await at_all(edges, f"{path}?offset=-1&x=1")).values()} == {
            404
        }

    await until(is_noticed, "the gateway's answers")


async def test_stale_if_error_serves_new_viewers_while_the_gateway_is_away(
    gateway: LastingGateway, edges: Mapping[str, int]
) -> None:
    await start(gateway, edges)
    begun, whole = (
        made(gateway, "/v1/stream/begun", b"one"),
        made(gateway, f"{AGEING}/s", CHUNK, b"y"),
    )
    first = await at_all(edges, f"{begun}?offset=-1")
    chunks = await at_all(edges, f"{whole}?offset=-1")
    assert all(it.body == b"one" and "stream-up-to-date" in it.headers for it in first.values())
    assert all("stream-up-to-date" not in it.headers for it in chunks.values())
    gateway.kill()
    away_since = asyncio.get_running_loop().time()
    await asyncio.sleep(EXPIRED_S)
    for _ in range(2):  # the first answer must not cost the copy
        crowd = await asyncio.gather(*(at_all(edges, f"{begun}?offset=-1") for _ in range(20)))
        wrong = [(name, it) for all_ in crowd for name, it in all_.items() if it.body != b"one"]
        assert wrong == []
        stale = await at_all(edges, f"{whole}?offset=-1")
        assert {name: it.body for name, it in stale.items()} == {
            name: it.body for name, it in chunks.items()
        }
    for query in ("offset=now", f"offset={first[HOW[0]].next_offset}&live=long-poll"):
        refused = await at_all(edges, f"{begun}?{query}")
        assert {it.status for it in refused.values()} <= {502, 503}, query

    async def is_over() -> bool:
        return {it.status for it in (await at_all(edges, f"{begun}?offset=-1")).values()} <= {
            502,
            503,
        }

    await until(is_over, "the end of the time for stale copies")
    assert asyncio.get_running_loop().time() - away_since >= STALE_S - 2
    await start(gateway, edges)
    there = await at_all(edges, f"{begun}?offset=-1")
    assert {name: it.body for name, it in there.items()} == dict.fromkeys(edges, b"one")
    gateway.kill()


async def test_stale_if_error_does_not_hide_appends_and_deletions(
    gateway: LastingGateway, edges: Mapping[str, int]
) -> None:
    await start(gateway, edges)
    grown, gone = (made(gateway, f"/v1/stream/{name}", b"one") for name in ("grown", "gone"))
    for path in (grown, gone):
        assert {it.body for it in (await at_all(edges, f"{path}?offset=-1")).values()} == {b"one"}
    assert ask(gateway.port, "POST", grown, b"two", Content_Type=TEXT).status == 204
    assert ask(gateway.port, "DELETE", gone).status == 204
    await asyncio.sleep(EXPIRED_S)
    grown_now = await at_all(edges, f"{grown}?offset=-1")
    gone_now = await at_all(edges, f"{gone}?offset=-1")
    assert {name: it.body for name, it in grown_now.items()} == dict.fromkeys(edges, b"onetwo")
    assert {name: it.status for name, it in gone_now.items()} == dict.fromkeys(edges, 404)
    gateway.kill()
