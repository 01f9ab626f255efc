"""How long requests have waited for an origin, and for whom, as alerts and the console have it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from headgate_gateway.logs.memory import MemoryLog
from headgate_gateway.origin import servers
from headgate_gateway.settings import Route
from tests.support.raw_origin import RawOrigin, Steps, answer
from tests.support.serving import EDGE, Options, Serving, edge_serving, get, post
from tests.support.waiting import until

if TYPE_CHECKING:
    from tests.support.raw_origin import Wire

S = f"{EDGE}/s"
WAITING = "headgate_origin_waiting_readers"
DATA = answer(b"data", "Stream-Next-Offset: 1", "Cache-Control: max-age=60")


def numbers(gateway: Serving, name: str) -> list[float]:
    """Return the numbers of a metric of the route, in the order of its servers."""
    return [it.number for it in gateway.edge.samples() if it.metric.name == name]


def oldest(gateway: Serving) -> list[float]:
    return numbers(gateway, "headgate_origin_oldest_request_seconds")


async def test_a_worker_that_starts_has_its_metrics_before_its_origins_are_open() -> None:
    edge = Route(prefix=EDGE, origin="http://localhost:1")
    assert oldest(Serving(Options(), MemoryLog(), edge)) == [0.0]


@pytest.mark.parametrize(
    "request_of_client",
    [get(f"{S}?offset=0"), post(S, b"x"), get(f"{S}?offset=0&live=long-poll")],
    ids=["read", "append", "long-poll-that-begins-with-a-read"],
)
async def test_a_request_has_waited_since_it_was_sent_until_its_response(
    request_of_client: bytes,
) -> None:
    steps = Steps(b"", DATA)
    async with RawOrigin(steps) as origin, edge_serving(origin) as gateway:
        assert oldest(gateway) == [0.0]
        client = await gateway.connect()
        client.send(request_of_client)
        await until(lambda: oldest(gateway)[0] > 0.1)
        steps.go()
        await client.answer()
        assert oldest(gateway) == [0.0]


@pytest.mark.parametrize("recent_s", [60.0, 0.0])
async def test_a_long_wait_counts_for_a_while_after_its_end(
    recent_s: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(servers, "LONG_WAIT_S", 0.05)
    monkeypatch.setattr(servers, "RECENT_S", recent_s)
    steps = Steps(b"", DATA)
    async with RawOrigin(steps) as origin, edge_serving(origin) as gateway:
        client = await gateway.connect()
        client.send(get(f"{S}?offset=0"))
        await until(lambda: oldest(gateway)[0] > 0.1)
        steps.go()
        await client.answer()
        assert (oldest(gateway)[0] > 0.1) == (recent_s > 0)


async def test_a_wait_is_that_of_the_server_which_has_the_request() -> None:
    async def cut(wire: Wire) -> None:
        await wire.close()

    steps = Steps(b"", DATA)
    async with (
        RawOrigin(cut) as first,
        RawOrigin(steps) as second,
        edge_serving(first, {"origin": [first.url, second.url]}) as gateway,
    ):
        client = await gateway.connect()
        client.send(get(f"{S}?offset=0"))
        await until(lambda: oldest(gateway)[1] > 0)
        assert oldest(gateway)[0] == 0
        steps.go()
        await client.answer()


async def test_a_poll_that_the_origin_holds_has_no_wait() -> None:
    held = Steps(b"")
    caught_up = answer(b"", "Stream-Next-Offset: 1", "Stream-Up-To-Date: true")
    async with RawOrigin(caught_up, held) as origin, edge_serving(origin) as gateway:
        client = await gateway.connect()
        client.send(get(f"{S}?offset=1&live=long-poll"))
        await until(lambda: held.sent == 1)
        assert "live=long-poll" in origin.heard[-1].line
        assert (oldest(gateway), numbers(gateway, WAITING)) == ([0.0], [0.0])


async def test_all_readers_of_a_shared_request_wait_for_the_origin() -> None:
    steps = Steps(b"", DATA)
    async with RawOrigin(steps) as origin, edge_serving(origin) as gateway:
        clients = [await gateway.connect() for _ in range(3)]
        for client in clients:
            client.send(get(f"{S}?offset=0"))
        await until(lambda: numbers(gateway, WAITING) == [3.0])
        steps.go()
        for client in clients:
            await client.answer()
        assert (numbers(gateway, WAITING), len(origin.heard)) == ([0.0], 1)
