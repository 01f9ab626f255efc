"""Appends that a client sends without waiting for answers: one commit, answered in their order."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from headgate_gateway.errors import LogUnavailable
from headgate_gateway.streams import writes
from headgate_gateway.web.connections.connection import Connection
from headgate_gateway.web.connections.requests import MOST_ASKS as MOST
from tests.edge.both_ways import trust
from tests.support.gated_log import GatedLog
from tests.support.live_origin import LiveOrigin
from tests.support.raw_origin import RawOrigin, Steps, answer
from tests.support.serving import EDGE, edge_serving, get, offset, post, put, serving
from tests.support.waiting import until

if TYPE_CHECKING:
    from tests.support.http1 import Client
    from tests.support.serving import Serving

CREATED = answer(b"", status="201 Created")


async def known(gateway: Serving, *lines: str, size: int = 1) -> None:
    """Have fields come once, by somebody else, with a body of this size."""
    assert (await gateway.ask(post("known", b"x" * size, *lines))).status == 204


async def opened(gateway: Serving) -> Client:
    """A client of a gateway with two streams, to which fields are known; appends have plans."""
    await gateway.ask(put("known"))
    await known(gateway)
    for name in ("s", "t"):
        assert (await gateway.ask(post(name, b"x"))).status == 404
        await gateway.ask(put(name))
    return await gateway.connect()


@pytest.mark.parametrize("count", [1, 2, MOST - 1, MOST, MOST + 1])
async def test_pipelined_appends_are_one_commit_up_to_a_limit(
    count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writes, "LONGEST_TURN_S", 60.0)  # however slow the machine is
    log = GatedLog()
    async with serving(log) as gateway:
        client = await opened(gateway)
        log.committed.clear()
        client.send(b"".join(post("s", b"%d" % (number % 10)) for number in range(count)))
        answers = [await client.answer() for _ in range(count)]
        offsets = [it.get("Stream-Next-Offset") for it in answers]
        assert offsets == [offset(number + 1) for number in range(count)]
        assert {it.status for it in answers} == {204}
        assert len(log.committed) == (1 if count <= MOST else 2)
        content = await gateway.ask(get("s?offset=-1"))
        assert content.body == b"".join(b"%d" % (number % 10) for number in range(count))


async def test_pipelined_appends_get_the_responses_of_separate_ones() -> None:
    async with serving() as gateway:
        client = await opened(gateway)
        one_by_one = [await client.ask(post("s", b"a")) for _ in range(3)]
        client.send(post("t", b"a") * 3)
        together = [await client.answer() for _ in range(3)]
        assert [it.same for it in together] == [it.same for it in one_by_one]
        traffic = gateway.route.traffic
        assert (traffic.request_bytes, gateway.services.unrouted.request_bytes) == (9, 0)


async def test_pipelined_appends_over_the_rate_limit_get_429_and_the_next_read_gets_200() -> None:
    async with serving(max_client_appends=1) as gateway:
        for name in ("s", "known"):
            await gateway.ask(put(name))
        client = await gateway.connect()
        await known(gateway)
        client.send(post("s", b"1") * 3 + get("s?offset=-1"))
        answers = [await client.answer() for _ in range(4)]
        assert [it.status for it in answers][1:] == [429, 429, 200]


async def test_pipelined_appends_to_several_streams_are_committed_in_order() -> None:
    log = GatedLog()
    async with serving(log) as gateway:
        client = await opened(gateway)
        log.committed.clear()
        log.commits.clear()
        client.send(post("s", b"1") * 2 + post("t", b"2") * 2)
        client.send(get("t?offset=-1") + post("s", b"3"))
        await until(lambda: bool(log.committed))
        assert (gateway.route.writes.outcomes.pending, len(log.committed)) == (2, 1)
        log.commits.set()
        answers = [await client.answer() for _ in range(6)]
        assert [it.status for it in answers] == [204, 204, 204, 204, 200, 204]
        assert answers[4].body == b"22"
        assert len(log.committed) == 3


@pytest.mark.usefixtures("late_fins")
async def test_pipelined_appends_are_stored_although_their_client_disconnects() -> None:
    log = GatedLog()
    async with serving(log) as gateway:
        client = await opened(gateway)
        log.commits.clear()
        client.send(post("s", b"1") * 3)
        await until(lambda: gateway.route.writes.outcomes.pending == 3)
        client.reset()
        await until(lambda: gateway.limits.connections == 0)
        log.commits.set()
        await until(lambda: gateway.route.writes.outcomes.pending == 0)
        assert (await gateway.ask(get("s?offset=-1"))).body == b"111"


async def test_pipelined_creations_are_begun_together_and_answered_in_order() -> None:
    log = GatedLog()
    async with serving(log) as gateway:
        client = await opened(gateway)
        await gateway.ask(put("one"))
        log.committed.clear()
        log.commits.clear()
        client.send(b"".join(put(name) for name in ("a", "s", "b", "a")))
        await until(lambda: len(log.committed) == 2)
        assert sorted(it[0].state.path for it in log.committed) == ["a", "b"]
        log.commits.set()
        answers = [await client.answer() for _ in range(4)]
        assert [it.status for it in answers] == [201, 200, 201, 200]
        begins = "http://headgate.test/v1/stream"
        assert [it.get("Location") for it in answers][::2] == [f"{begins}/a", f"{begins}/b"]


async def test_pipelined_creations_and_appends_wait_for_each_other_in_order() -> None:
    async with serving() as gateway:
        client = await opened(gateway)
        await gateway.ask(put("one"))
        client.send(put("a") + put("b") + post("a", b"1") * 2)
        client.send(put("c") + post("c", b"2") + put("d") * 2)
        answers = [await client.answer() for _ in range(8)]
        assert [it.status for it in answers] == [201, 201, 204, 204, 201, 204, 201, 200]
        assert (await gateway.ask(get("a?offset=-1"))).body == b"11"
        assert (await gateway.ask(get("c?offset=-1"))).body == b"2"


async def test_each_pipelined_append_of_a_failed_commit_gets_503() -> None:
    log = GatedLog()
    async with serving(log) as gateway:
        client = await opened(gateway)
        log.failures.append(LogUnavailable("the disk is full"))
        client.send(post("s", b"1") * 3)
        assert [(await client.answer()).status for _ in range(3)] == [503] * 3
        assert (await client.ask(post("s", b"2"))).status == 204


async def test_pipelined_appends_to_an_origin_do_not_hold_up_those_to_a_log() -> None:
    async with LiveOrigin(b"a") as origin, edge_serving(origin) as gateway:
        client = await opened(gateway)
        client.send(post(f"{EDGE}/s", b"1") * 2 + post("s", b"2") * 2)
        answers = [await client.answer() for _ in range(4)]
        assert [it.status for it in answers][2:] == [204, 204]


async def test_a_drain_answers_the_pipelined_appends_under_way_and_the_next_one() -> None:
    log = GatedLog()
    async with serving(log) as gateway:
        client = await opened(gateway)
        log.commits.clear()
        client.send(post("s", b"1") + post("s", b"2") + post("t", b"3") + post("t", b"4"))
        await until(lambda: gateway.route.writes.outcomes.pending == 2)
        gateway.server.begin_close()
        log.commits.set()
        answers = [await client.answer() for _ in range(3)]
        assert [it.status for it in answers] == [204] * 3
        assert [it.get("Connection") for it in answers] == [None, None, "close"]
        assert await client.rest() == b""
        contents = [(await gateway.ask(get(f"{name}?offset=-1"))).body for name in ("s", "t")]
        assert contents == [b"12", b"3"]  # the last one came behind the answer that ends


async def test_many_refused_writes_are_answered_without_recursion(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    depth = deepest = 0
    receive = Connection.data_received

    def measured(connection: Connection, data: bytes) -> None:
        nonlocal depth, deepest
        depth += 1
        deepest = max(deepest, depth)
        receive(connection, data)
        depth -= 1

    monkeypatch.setattr(Connection, "data_received", measured)
    count = 20 * MOST
    async with serving() as gateway:
        wrong = post("s", b"", content_type="")  # is refused before anything is waited for
        assert (await gateway.ask(wrong)).status == 400
        client = await gateway.connect()
        client.send(wrong * count)
        assert {(await client.answer()).status for _ in range(count)} == {400}
    assert deepest <= 2  # what is held behind one that was begun


async def test_pipelined_creations_at_an_origin_are_sent_one_after_the_other() -> None:
    first, second, gated = Steps(b"", CREATED), Steps(b"", CREATED), Steps(b"", CREATED)
    async with RawOrigin(first, second, gated, CREATED) as raw, edge_serving(raw) as gateway:
        await gateway.ask(put("s"))
        clients = [await gateway.connect() for _ in range(2)]
        for client in clients:
            client.send(put(f"{EDGE}/t"))
        await until(lambda: len(raw.heard) == 2)
        for steps in (first, second):  # two connections are kept from now on
            steps.go()
        assert [(await client.answer()).status for client in clients] == [201] * 2
        trust(gateway.edge.origin)
        client = clients[0]
        client.send(put("t") + put(f"{EDGE}/t") * 2 + get("s?offset=-1"))
        await until(lambda: len(raw.heard) >= 3)
        for _ in range(3):
            await gateway.ask(get("s?offset=-1"))
        assert len(raw.heard) == 3
        gated.go()
        assert [(await client.answer()).status for _ in range(4)] == [201, 201, 201, 200]
