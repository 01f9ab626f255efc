"""Writes by plans: what equal writes have in common is decided once, and nothing else differs."""

from __future__ import annotations

import random
import re
import sys
from typing import TYPE_CHECKING, Any

import pytest

from headgate_gateway import app
from headgate_gateway.access import bans as of_bans
from headgate_gateway.access.bans import Ban
from headgate_gateway.features.questions.readers import ApplyBans
from headgate_gateway.routes.router import Router
from headgate_gateway.runtime.shedding import APPENDS
from headgate_gateway.telemetry import traffic as counted
from headgate_gateway.web.asks import ask as writes
from headgate_gateway.web.asks import plans as of_plans
from headgate_gateway.web.asks.plans import Plans
from headgate_gateway.web.connections.fast_path import FastPath
from headgate_gateway.web.metrics import snapshot
from tests.support.crowd import Crowd
from tests.support.examples import examples
from tests.support.gated_log import GatedLog
from tests.support.raw_origin import RawOrigin, answer
from tests.support.serving import EDGE, PREFIX, edge_serving, get, post, put, serving
from tests.support.waiting import until

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from types import FrameType

    from headgate_gateway.web.requests.request import Request
    from tests.support.serving import Serving

PRODUCER = ("Producer-Id: p", "Producer-Epoch: 0")


async def planned(gateway: Serving, *lines: str) -> None:
    """A stream, to which an append with these fields has a plan, as creations have."""
    for write in (post("s", b"x", *lines), put("s")):
        for _ in range(2):  # the second time its fields are known
            await gateway.ask(write)
    assert len(gateway.plans) > 1


@pytest.mark.parametrize(
    ("lines", "body", "status"),
    [
        pytest.param(["Producer-Seq: 9007199254740992"], b"x", 400, id="a-sequence-over-2-53"),
        pytest.param([], b"x", 400, id="a-producer-without-its-sequence"),
        pytest.param(["Producer-Seq: 0"], b"", 400, id="an-empty-body"),
        pytest.param(["Producer-Seq: 0"], b"x" * 101, 413, id="a-body-over-max_append"),
        pytest.param(["Producer-Seq: 1"], b"x", 409, id="a-gap"),
        pytest.param(["Producer-Seq: 0"], b"x", 200, id="the-next-of-its-producer"),
    ],
)
async def test_what_differs_from_append_to_append_is_checked_each_time(
    lines: list[str], body: bytes, status: int
) -> None:
    async with serving(max_append=100) as gateway:
        await planned(gateway, *PRODUCER, "Producer-Seq: 0")
        got = await gateway.ask(post("s", body, *PRODUCER, *lines))
        assert got.status == status


async def banned(gateway: Serving) -> None:
    now = gateway.clock()
    ban = Ban(kind="address", value="127.0.0.1", at=now, until=now + 60)
    await gateway.inspector.answer(ApplyBans((ban,)))


async def shed(gateway: Serving) -> None:
    gateway.services.shedding.level = APPENDS


async def limited(gateway: Serving) -> None:
    gateway.services.quotas.limit_rates(1, 1)


async def receiving(gateway: Serving) -> None:
    gateway.limits.receiving_bytes = gateway.limits.max_pending_appends


WRITES = {"append": post("s", b"x"), "creation": put("s", body=b"x")}


@pytest.mark.parametrize("write", WRITES.values(), ids=WRITES)
@pytest.mark.parametrize(
    ("begin", "status"),
    [(banned, 403), (shed, 503), (limited, 429), (receiving, 503)],
    ids=lambda it: getattr(it, "__name__", str(it)),
)
async def test_a_plan_does_not_outlive_what_is_in_force_now(
    begin: Callable[[Serving], Awaitable[None]], status: int, write: bytes
) -> None:
    async with serving() as gateway:
        await planned(gateway)
        assert (await gateway.ask(write)).status < 300
        await begin(gateway)
        statuses = [(await gateway.ask(write)).status for _ in range(2)]
        assert statuses[-1] == status


def calls_of(step: Callable[[], object]) -> int:
    """Return how many functions of the gateway a step enters."""
    entered = 0

    def note(frame: FrameType, event: str, _: object) -> None:
        nonlocal entered
        entered += event == "call" and frame.f_globals.get("__name__", "").startswith(
            "headgate_gateway."
        )

    sys.setprofile(note)
    try:
        step()
    finally:
        sys.setprofile(None)
    return entered


async def ban_another(gateway: Serving, *, lasts_s: float = 60) -> None:
    now = gateway.clock()
    ban = Ban(kind="address", value="192.0.2.1", at=now, until=now + lasts_s)
    await gateway.inspector.answer(ApplyBans((ban,)))


OTHERS = {**WRITES, "miss at an origin": get(f"{EDGE}/s?offset=7", "User-Agent: a")}
HITS = {"read": get("s?offset=-1"), "last read": get("s?offset=-1", "Connection: close")}


@pytest.mark.parametrize("request_bytes", OTHERS.values(), ids=OTHERS)
async def test_a_ban_of_one_leaves_the_plans_of_others_as_they_are(request_bytes: bytes) -> None:
    async with (
        RawOrigin(answer(b"x")) as origin,
        edge_serving(origin) as gateway,
    ):
        await planned(gateway)
        client = await gateway.connect()
        for number in range(3):  # others of their kind
            await client.ask(request_bytes.replace(b"offset=7", b"offset=%d" % number))
        requests = next(it.requests for it in gateway.server.connections)
        known = gateway.fast.blocks.at(request_bytes, 0)
        assert known is not None
        ask = gateway.plans.read if known.method == "GET" else gateway.plans.ask

        def decide() -> None:
            assert ask(requests, known) is not None

        decide()
        before = calls_of(decide)
        await ban_another(gateway)
        decide()
        assert calls_of(decide) == before
        await ban_another(gateway, lasts_s=-1)
        assert calls_of(decide) == before
        await banned(gateway)
        assert ask(requests, known) is None


@pytest.mark.parametrize("request_bytes", HITS.values(), ids=HITS)
async def test_a_ban_of_one_leaves_the_cached_reads_of_others_as_they_are(
    request_bytes: bytes,
) -> None:
    async with serving() as gateway:
        await planned(gateway)
        for _ in range(3):
            assert (await gateway.ask(request_bytes)).status == 200
        await ban_another(gateway)
        for _ in range(2):
            assert (await gateway.ask(request_bytes)).status == 200
        answered = gateway.fast.answered
        assert (await gateway.ask(request_bytes)).status == 200
        assert gateway.fast.answered == answered + 1
        await banned(gateway)
        assert (await gateway.ask(request_bytes)).status == 403


async def test_what_is_remembered_of_clients_without_a_ban_is_bounded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(of_bans, "MOST_CLEARED", 4)
    async with serving() as gateway:
        for number in range(9):
            for write in (put(f"s{number}"), post(f"s{number}", b"x")):
                await gateway.ask(write)
        await ban_another(gateway)
        for number in range(9):
            assert (await gateway.ask(post(f"s{number}", b"x"))).status == 204
            assert 0 < len(gateway.services.bans.cleared) <= 4


@pytest.mark.parametrize(
    ("target", "body", "status"),
    [
        pytest.param("", b"", 404, id="no-name"),
        pytest.param("/a//b", b"", 400, id="an-empty-segment"),
        pytest.param("/a/../b", b"", 400, id="a-dot-segment"),
        pytest.param("/%7ea%2f", b"", 201, id="another-spelling"),
        pytest.param(f"/{'a' * 1100}", b"", 201, id="a-long-name"),
        pytest.param("/a?b=c", b"", 201, id="a-query"),
        pytest.param("/__ds/subscriptions/a", b"", 400, id="a-control-path"),
        pytest.param("/a", b"x" * 101, 413, id="a-body-over-max_append"),
    ],
)
async def test_a_creation_is_addressed_and_bounded_as_without_a_plan(
    target: str, body: bytes, status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    wires = []
    for _ in range(2):
        async with serving(max_append=100) as gateway:
            await planned(gateway)
            got = await gateway.ask(put(f"{PREFIX}{target}", body=body))
            assert got.status == status
            wires.append(DIFFERS.sub(b"", got.wire))
        monkeypatch.setattr(Plans, "ask", without_plan)
    assert wires[0] == wires[1]


async def test_plans_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MOST_PLANS", "MOST_READ_PLANS"):
        monkeypatch.setattr(of_plans, name, 4)
    async with RawOrigin(answer(b"x")) as origin, edge_serving(origin) as gateway:
        await gateway.ask(post("s", b"x"))
        for number in range(9):
            await gateway.ask(post(f"s{number}", b"x"))
            assert 0 < len(gateway.plans) <= 4
        writes_count = len(gateway.plans)
        for number in range(9):
            fields = f"User-Agent: {number}"
            for offset in range(2):  # the first leaves a plan
                await gateway.ask(get(f"{EDGE}/s{number}?offset={offset}", fields))
            assert writes_count < len(gateway.plans) <= writes_count + 4


async def test_a_flood_drops_no_plan_of_4096_clients(monkeypatch: pytest.MonkeyPatch) -> None:
    chance, clients, handled = random.Random(1), 4096, 0

    def append(client: int, agent: str) -> bytes:
        return post(f"s{client}", b"x", f"User-Agent: {agent}")

    async with serving() as gateway:
        crowd = Crowd(gateway, 64)
        lots = [range(begin, begin + 64) for begin in range(0, clients, 64)]
        for lot in lots:
            await crowd.ask([put(f"s{client}") for client in lot])
        for _ in range(2):
            for lot in lots:
                await crowd.ask([append(client, str(client)) for client in lot])
        handle = gateway.server.handlers.handle

        def counting(request: Request) -> Any:
            nonlocal handled
            handled += 1
            return handle(request)

        monkeypatch.setattr(gateway.server.handlers, "handle", counting)
        for number in range(len(lots)):
            own = [chance.randrange(clients) for _ in range(32)]
            flood = [append(client, f"{number}-{client}") for client in range(32)]
            await crowd.ask([*(append(client, str(client)) for client in own), *flood])
            assert handled == 32 * (number + 1)
        crowd.leave()


@pytest.mark.parametrize(
    ("write", "operation"),
    [(post("s", b"x"), counted.APPEND), (put("t", body=b"x"), counted.CREATE)],
    ids=WRITES,
)
async def test_a_write_whose_client_leaves_is_stored_counted_as_cut_and_answers_nobody(
    write: bytes, operation: int
) -> None:
    log = GatedLog()
    async with serving(log) as gateway:
        await planned(gateway)
        client = await gateway.connect()
        log.commits.clear()
        client.send(write)
        await until(lambda: pending(gateway) == 1)
        client.reset()
        await until(lambda: gateway.limits.connections == 0)
        log.commits.set()
        await until(lambda: pending(gateway) == 0)
        name = "s" if operation == counted.APPEND else "t"
        assert (await gateway.ask(get(f"{name}?offset=-1"))).body == b"x"
        assert gateway.route.traffic.request_count(operation, 5) == 1


def pending(gateway: Serving) -> int:
    """The writes that wait for their commits."""
    return gateway.route.writes.outcomes.pending


async def test_a_write_whose_answer_fails_ends_its_connection_and_no_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with serving() as gateway:
        await planned(gateway)
        other = await gateway.connect()
        for write in (post("s", b"y"), put("t", body=b"y")):
            one = await gateway.connect()
            await one.ask(post("s", b"x"))
            with monkeypatch.context() as patch:
                patch.setattr(writes, "APPENDED", None)
                patch.setattr(writes, "created", None)
                one.send(write)
                assert await one.rest() == b""
            assert (await other.ask(post("s", b"z"))).status == 204
        assert (await gateway.ask(get("s?offset=-1"))).body == b"xyzxz"
        assert (await gateway.ask(get("t?offset=-1"))).body == b"y"


async def test_creations_by_plans_count_for_their_clients_quota() -> None:
    async with serving(max_client_creations=7) as gateway:
        await planned(gateway)  # two of them
        assert (await gateway.ask(put("a"))).status == 201
        client = await gateway.connect()
        client.send(b"".join(put(f"s{number}") for number in range(5)))
        statuses = [(await client.answer()).status for _ in range(5)]
        assert statuses == [201, 201, 201, 201, 429]
        assert gateway.limits.refused["max_client_creations"] == 1


async def test_pipelined_creations_wait_for_a_creation_without_a_plan() -> None:
    log = GatedLog()
    async with serving(log) as gateway:
        await planned(gateway)
        client = await gateway.connect()
        log.committed.clear()
        fork = f"Stream-Forked-From: {PREFIX}/a"
        client.send(put("a") + put("b", fork) + put("c") + put("b", fork) + put("a"))
        answers = [await client.answer() for _ in range(5)]
        assert [it.status for it in answers] == [201, 201, 201, 200, 200]
        created = [it[-1].state.path for it in log.committed]
        assert created == ["a", "b", "c"]


async def test_pipelined_creations_in_two_logs_wait_for_each_other() -> None:
    """RFC 9112 section 9.3.2: only safe requests of a connection may be processed together."""
    log = GatedLog()
    quota = 6  # the last of them is counted once
    async with (
        serving(log, max_client_creations=quota) as gateway,
        serving(own={"prefix": "/two"}) as other,
    ):
        plans = Plans(Router([gateway.route, other.route]))
        fast = FastPath(plans, gateway.services)
        gateway.server.serve(app.handlers_of(plans, gateway.services), fast, 60.0)
        for name in ("a", "/two/a", "b", "/two/b"):
            await gateway.ask(put(name))
        assert len(plans) == 2
        log.commits.clear()
        client = await gateway.connect()
        client.send(put("slow") + put("/two/fast"))
        await until(lambda: bool(log.committed))
        assert (await gateway.ask(get("/two/fast?offset=-1"))).status == 404
        log.commits.set()
        assert [(await client.answer()).status for _ in range(2)] == [201, 201]


BODIES = (b"x", b"yy", b"", b"[1,2]", b"[]", b"{", b"z" * 90)


def random_requests(chance: random.Random) -> list[bytes]:
    """Writes and other requests, of a few kinds that come again and again."""
    made = [put("a"), put("b", content_type="application/json")]
    for number in range(40):
        while chance.random() < 0.4:
            made.append(random_creation(chance, number))
        name, kind = chance.choice([("a", "text/plain"), ("b", "application/json"), ("c", "a/b")])
        lines = list(chance.choice([(), (), ("X-Request-Id: {n}",), ("CF-Ray: {n}",)]))
        if chance.random() < 0.3:
            lines += [*PRODUCER, f"Producer-Seq: {chance.randrange(6)}"]
        if chance.random() < 0.2:
            lines.append(f"Stream-Seq: {chance.randrange(90):02d}")
        if chance.random() < 0.03:
            lines.append("Stream-Closed: true")
        body = chance.choice(BODIES)
        made.append(post(name, body, *[it.format(n=number) for it in lines], content_type=kind))
        if chance.random() < 0.1:
            made.append(get(f"{name}?offset=-1"))
    return made


def random_creation(chance: random.Random, number: int) -> bytes:
    """A creation of a path that is new or taken, by fields of which most come again."""
    name = chance.choice(["a", "b", f"new{number}", f"new{chance.randrange(10)}"])
    few = ("X-Request-Id: {n}", "Stream-TTL: 60", "Stream-TTL: x", "Stream-Closed: true")
    more = ("X-Forwarded-Proto: https", "Origin: http://b.test", "Stream-Forked-From: /v1/stream/a")
    lines = [it.format(n=number) for it in (*few, *more) if chance.random() < 0.05]
    kind = chance.choice(["text/plain", "text/plain", "application/json", "a/b", "wrong"])
    return put(name, *lines, body=chance.choice(BODIES), content_type=kind)


# In two gateways: a new id of a request, and the id of a stream.
DIFFERS = re.compile(rb'X-Request-Id: [0-9a-f]{8}-[0-9a-f]+\r\n|ETag: "[0-9a-f]+')


def without_plan(*_: Any) -> None:
    """Return no ask, whatever the request."""


async def heard(requests: list[bytes], *, pipelined: bool) -> tuple[list[bytes], object]:
    """The answers to these requests, and what was counted."""
    async with serving() as gateway:
        client, answers = await gateway.connect(), []
        if pipelined:
            client.send(b"".join(requests))
        for request in requests:
            got = await client.answer() if pipelined else await client.ask(request)
            answers.append(DIFFERS.sub(b"", got.wire))
        counted = {
            (it.metric.name, it.values): sum(it.distribution.counts)
            if it.distribution
            else it.number
            for it in snapshot(gateway.services, gateway.routes)
            if "commit" not in it.metric.name  # how many appends are in one
        }
        return answers, counted


@pytest.mark.parametrize("pipelined", [False, True], ids=["one by one", "pipelined"])
@pytest.mark.parametrize("seed", range(examples(20)))
async def test_writes_by_plans_are_answered_and_counted_as_those_without(
    seed: int, monkeypatch: pytest.MonkeyPatch, *, pipelined: bool
) -> None:
    requests = random_requests(random.Random(seed)) * 2
    by_plans = await heard(requests, pipelined=pipelined)
    monkeypatch.setattr(Plans, "ask", without_plan)
    assert by_plans == await heard(requests, pipelined=pipelined)
