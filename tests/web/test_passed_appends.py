"""Appends that are passed on, whatever their clients and the gateway do."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from headgate_gateway.telemetry import traffic as counted
from headgate_gateway.web.asks import plans
from headgate_gateway.web.handlers import passed_appends
from tests.edge.both_ways import trust
from tests.support.origin_connections import idle_count
from tests.support.other_worker import writes_told_by
from tests.support.raw_origin import RawOrigin, Steps, answer, close
from tests.support.serving import EDGE, edge_serving, get, passed_appends_of, post
from tests.support.waiting import until

if TYPE_CHECKING:
    from headgate_gateway.runtime.write_journal import Write
    from tests.support.raw_origin import Wire
    from tests.support.serving import Serving

S = f"{EDGE}/s"
DONE = answer(b"", "Stream-Next-Offset: 9", status="204 No Content")
NONE, CUT = counted.STATUSES.index("5xx"), counted.STATUSES.index("cut")


async def begin(gateway: Serving) -> list[Write]:
    """Keep a connection that rests no more, and a plan; note what others are told."""
    for _ in range(2):  # the second time its fields are known
        await gateway.ask(post(S, b"x"))
    assert len(gateway.plans) == 1
    await until(lambda: idle_count(gateway.edge.origin) > 0)
    trust(gateway.edge.origin)
    return writes_told_by(gateway.services)


def appends(gateway: Serving, status: int) -> int:
    return gateway.edge.traffic.request_count(counted.APPEND, status)


async def test_a_forwarded_append_is_completed_after_its_client_disconnects() -> None:
    steps = Steps(b"", DONE)
    async with RawOrigin(DONE, DONE, steps) as raw, edge_serving(raw) as gateway:
        told = await begin(gateway)
        client = await gateway.connect()
        client.send(post(S, b"x"))
        await until(lambda: len(raw.heard) == 3)
        client.reset()
        await until(lambda: gateway.limits.connections == 0)
        steps.go()
        await until(lambda: appends(gateway, CUT) == 1)
        assert [write.tail for write in told] == ["9"]
        assert gateway.edge.origin.requests.count == 0


async def test_appends_pipelined_behind_a_forwarded_one_are_answered_in_order() -> None:
    steps = Steps(b"", DONE)
    async with RawOrigin(DONE, DONE, steps) as raw, edge_serving(raw) as gateway:
        await begin(gateway)
        client = await gateway.connect()
        client.send(post(S, b"x"))
        await until(lambda: len(raw.heard) == 3)
        raw.scripts = [DONE]
        client.send(post(S, b"y") + post(S, b"z"))
        steps.go()
        assert [(await client.answer()).status for _ in range(3)] == [204] * 3
        assert len(raw.heard) == 5


@pytest.mark.parametrize("place", ["the rules for an answer", "the purge of a lost append"])
async def test_a_defect_in_an_append_is_answered_and_costs_no_connection(
    place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise ZeroDivisionError

    is_lost = place == "the purge of a lost append"
    scripts = (DONE, DONE, close, DONE) if is_lost else (DONE,)
    async with RawOrigin(*scripts) as raw, edge_serving(raw) as gateway:
        await begin(gateway)
        with monkeypatch.context() as patch:
            if is_lost:
                patch.setattr(gateway.edge, "invalidate", fail)
            else:
                patch.setattr(passed_appends.PassedAppends, "respond", fail)
            assert (await gateway.ask(post(S, b"x"))).status == (502 if is_lost else 500)
        assert (await gateway.ask(post(S, b"x"))).status == 204
        assert raw.closed == 0


async def test_a_query_which_may_have_a_token_is_not_remembered() -> None:
    async with RawOrigin(DONE) as raw, edge_serving(raw) as gateway:
        await begin(gateway)
        (lines,) = gateway.edge.origin.lines.values()
        before = lines.of_append.cache_info().currsize
        assert (await gateway.ask(post(f"{S}?token=t", b"x"))).status == 204
        assert "token=t" in raw.heard[-1].target
        assert lines.of_append.cache_info().currsize == before


async def test_a_long_response_to_an_append_is_read_no_faster_than_the_client_reads() -> None:
    part, sent = bytes(1 << 20), 0

    async def endless(wire: Wire) -> None:
        nonlocal sent
        await wire.body()
        await wire.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (32 * len(part)))
        for _ in range(32):
            await wire.send(part)
            sent += 1

    async with RawOrigin(DONE, DONE, endless) as raw, edge_serving(raw) as gateway:
        await begin(gateway)
        client = await gateway.connect()
        client.send(post(S, b"x"))
        head = await client.head()
        client.pause()
        await asyncio.sleep(0.2)  # for more of it to come than may
        assert sent < 30
        client.resume()
        assert len((await client.whole(head)).body) == 32 * len(part)
        await until(lambda: gateway.edge.origin.requests.count == 0)
        assert (await client.ask(get(f"{S}?offset=1"))).status == 200
        assert gateway.edge.traffic.response_bytes >= 32 * len(part)


async def test_a_stopping_gateway_closes_a_connection_after_its_last_append_is_answered() -> None:
    steps = Steps(b"", DONE)
    async with RawOrigin(DONE, DONE, steps) as raw, edge_serving(raw) as gateway:
        await begin(gateway)
        client = await gateway.connect()
        client.send(post(S, b"x"))
        await until(lambda: len(raw.heard) == 3)
        gateway.server.begin_close()
        idle = asyncio.create_task(gateway.server.connections.all_idle())
        await asyncio.sleep(0)
        assert not idle.done()
        steps.go()
        assert (await client.answer()).status == 204
        await idle
        assert await client.rest() == b""


@pytest.mark.parametrize("kind", ["requests", "answers"])
async def test_caches_of_appends_are_bounded(monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    monkeypatch.setattr(passed_appends, "REMEMBERED", 3)
    monkeypatch.setattr(plans, "MOST_PLANS", 3)
    async with RawOrigin(DONE) as raw, edge_serving(raw) as gateway:
        await begin(gateway)
        client = await gateway.connect()
        for number in range(9):
            if kind == "answers":
                raw.scripts = [answer(b"", f"A: {number}")]
            line = f"A: {number if kind == 'requests' else 0}"
            for _ in range(3):
                assert (await client.ask(post(S, b"x", line))).status in {200, 204}
            kept = len(gateway.plans), len(passed_appends_of(gateway)._patterns)
            assert 0 < min(kept) <= max(kept) <= 3


async def test_an_append_with_an_authorization_header_is_not_cached() -> None:
    async with RawOrigin(DONE) as raw, edge_serving(raw) as gateway:
        for _ in range(3):
            assert (await gateway.ask(post(S, b"x", "Authorization: Bearer a"))).status == 204
            assert "Authorization: Bearer a" in raw.heard[-1].fields
        assert len(gateway.plans) == 0
