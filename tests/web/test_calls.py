"""The number of Python functions that a request enters, as clients and proxies send it.

A count is the same on any machine. It stands for the time that a request costs: some 0.1 us a call,
and what each of them does.
"""

from __future__ import annotations

import io
import logging
import sys
from collections import Counter
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from headgate import records
from headgate.sending.framing import json_array
from headgate_gateway.origin.heads import WORTH_A_PATTERN
from headgate_gateway.streams import outcomes, writes
from headgate_gateway.telemetry import logs
from headgate_gateway.web.asks.plans import Plans
from headgate_gateway.web.connections.connection import Connection
from headgate_gateway.web.connections.requests import MOST_ASKS
from tests.support.crowd import APPENDS, append_cost, poll_calls
from tests.support.raw_origin import RawOrigin
from tests.support.raw_origin import answer as said
from tests.support.serving import EDGE, PREFIX, edge_serving, get, post, put, request, serving

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType

    from tests.support.http1 import Client
    from tests.support.serving import Serving

READ = "s?offset=-1"
# Calls of a kept read at most: byte for byte the same, and else; 4 more where a second begins.
REPEAT, WITH_NEW_FIELDS = 9, 16
LOGGED = 14  # more for its line in the log
# Calls of what has a handler, and a log in memory.
APPEND, CREATE, HEAD = 98, 145, 48
PASSED_ON = 46  # by its plan, with the origin's answer
CREATION, CREATION_TOGETHER = 85, 68  # by its plan: alone, and each of those that are pipelined
OF_QUOTA = 11  # more where creations have one, as they have by default
OWN_MISS, MISS = 119, 105  # a read that is not cached
OWN_ID = 5  # more for an X-Request-Id
PARK, POLL_ANSWER = 10, 9.1  # of equal long-polls; the answer with its part of an append
RUNS, RUN = 2, 4  # where a route says `runs = true`: for any append, and for one to a run
READ_ID = 6  # and in a read, whose fields the origin is told


@contextmanager
def counted(monkeypatch: pytest.MonkeyPatch) -> Iterator[Counter[str]]:
    """Count the calls, by module, of all that is done where a client's bytes are received."""
    calls: Counter[str] = Counter()
    received = Connection.data_received

    def note(frame: FrameType, event: str, _: Any) -> None:
        if event == "call":
            calls[frame.f_globals.get("__name__", "?")] += 1

    def counting(self: Connection, data: bytes) -> None:
        sys.setprofile(note)
        try:
            received(self, data)
        finally:
            sys.setprofile(None)

    with monkeypatch.context() as patch:
        patch.setattr(Connection, "data_received", counting)
        yield calls


async def calls_of(gateway: Serving, patch: pytest.MonkeyPatch, *requests: bytes) -> Counter[str]:
    """Count the calls for the last of some requests on one connection."""
    client = await gateway.connect()
    for before in requests[:-1]:
        await client.ask(before)
    with counted(patch) as calls:
        another = await gateway.connect()
        answer = await another.ask(requests[-1])
        assert answer.status in {200, 304}
    return calls


@pytest.mark.parametrize(
    ("own", "most"),
    [
        ([], REPEAT),
        (["X-Request-Id: {number}"], WITH_NEW_FIELDS),
        (["If-None-Match: {tag}"], WITH_NEW_FIELDS),
        (['If-None-Match: "{number}"'], WITH_NEW_FIELDS),
        (["X-Request-Id: {number}", "If-None-Match: {tag}"], WITH_NEW_FIELDS),
    ],
    ids=["repeat", "id", "had", "not had", "both"],
)
@pytest.mark.parametrize("is_logged", [False, True], ids=["", "logged"])
async def test_a_hit_stays_within_its_bound_of_python_calls(
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    own: list[str],
    most: int,
    is_logged: bool,
) -> None:
    caplog.set_level(logging.INFO, "headgate")
    written = io.StringIO()

    def write(render: Callable[..., str], *facts: object) -> None:
        written.write(render(*facts))

    monkeypatch.setattr(logs, "_written", (write, logs._json))
    async with serving(log_requests="info" if is_logged else "off") as gateway:
        await gateway.ask(put("s", body=b"one"))
        tag = (await gateway.ask(get(READ))).get("ETag")

        def read(number: int) -> bytes:
            return get(READ, *[line.format(number=number, tag=tag) for line in own])

        calls = await calls_of(gateway, monkeypatch, *map(read, range(4)))
        assert calls.total() <= most + LOGGED * is_logged, calls
        assert ('"cache": "HIT"' in written.getvalue()) == is_logged


# Calls of an append whose plan is known, without a socket.
BY_PLAN = {
    "in a crowd": 14,
    "in a crowd, each its own stream": 25.4,
    "of JSON": 17,
    "with X-Request-Id": 17,
    "with CF-Ray": 17,
    "with traceparent": 17,
    "of producers": 20.3,
    "alone": 44,  # one of them where a timer falls into it, as below
    "alone, with Stream-Seq": 66,
    "alone, of a producer": 51,
}


@pytest.mark.parametrize("kind", APPENDS)
async def test_an_append_by_its_plan_stays_within_its_bound_of_python_calls(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (writes, outcomes):  # however slow the machine is
        monkeypatch.setattr(module, "LONGEST_TURN_S", 60.0)
    monkeypatch.setattr(writes, "LONGEST_GATHER_S", 60.0)
    cost = await append_cost(APPENDS[kind], rounds=1)
    assert cost.calls <= BY_PLAN[kind], cost.by_function


async def test_long_polls_of_a_crowd_stay_within_their_bounds_of_python_calls() -> None:
    readers = 64
    parks, answers = await poll_calls(readers)
    assert parks.total() / (readers - 1) <= PARK, parks
    assert answers.total() / readers <= POLL_ANSWER, answers


async def calls_until_answered(gateway: Serving, *requests: bytes) -> Counter[str]:
    """Count the calls of the gateway, by module, for the last of some requests.

    Of the last three, it is the one with the fewest: in some, a timer has calls of its own.
    """
    client = await gateway.connect()
    for before in requests[:-3]:
        await client.ask(before)
    counts = [await _calls_of(client, one) for one in requests[-3:]]
    return min(counts, key=Counter.total)


async def _calls_of(client: Client, sent: bytes, answers: int = 1) -> Counter[str]:
    calls: Counter[str] = Counter()

    def note(frame: FrameType, event: str, _: Any) -> None:
        module = frame.f_globals.get("__name__", "")
        if event == "call" and module.startswith(("headgate_gateway.", "aiohttp.")):
            calls[module] += 1

    sys.setprofile(note)
    try:
        client.send(sent)
        statuses = [(await client.answer()).status for _ in range(answers)]
    finally:
        sys.setprofile(None)
    assert max(statuses) < 300, statuses
    return calls


@pytest.mark.parametrize(("own", "more"), [([], 0), (["X-Request-Id: {number}"], OWN_ID)])
@pytest.mark.parametrize(
    ("method", "place", "most"),
    [
        ("POST", PREFIX, APPEND),
        ("PUT", PREFIX, CREATE),
        ("HEAD", PREFIX, HEAD),
    ],
    ids=["append", "creation", "head"],
)
async def test_a_request_with_a_handler_stays_within_its_bound_of_python_calls(
    method: str,
    place: str,
    most: int,
    own: list[str],
    more: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def none(*_: Any) -> None:
        return None

    monkeypatch.setattr(Plans, "ask", none)  # by which a write would have no handler
    async with serving() as gateway:
        await gateway.ask(put("s", body=b"one"))

        def sent(number: int) -> bytes:
            lines = [line.format(number=number) for line in own]
            name = f"{place}/{number}" if method == "PUT" else f"{place}/s"
            if method == "POST":
                return post(name, b"x", *lines)
            return put(name, *lines) if method == "PUT" else request(method, name, *lines)

        calls = await calls_until_answered(gateway, *map(sent, range(6)))
        assert calls.total() <= most + more, calls


@pytest.mark.parametrize(("own", "more"), [([], 0), (["X-Request-Id: {number}"], OWN_ID)])
async def test_an_append_passed_on_stays_within_its_bound_of_python_calls(
    own: list[str], more: int
) -> None:
    async with RawOrigin(said(b"")) as origin, edge_serving(origin) as gateway:
        appends = [
            post(f"{EDGE}/s", b"x", *[line.format(number=number) for line in own])
            for number in range(WORTH_A_PATTERN + 6)  # so many that the origin's answer is known
        ]
        calls = await calls_until_answered(gateway, *appends)
        assert calls.total() <= PASSED_ON + more, calls


@pytest.mark.parametrize("quota", [0, 100_000])
async def test_a_creation_by_its_plan_stays_within_its_bound_of_python_calls(
    quota: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writes, "LONGEST_TURN_S", 60.0)  # however slow the machine is
    async with serving(max_client_creations=quota) as gateway:
        more = OF_QUOTA if quota else 0
        calls = await calls_until_answered(gateway, *(put(str(n)) for n in range(6)))
        assert calls.total() <= CREATION + more, calls
        client, count = await gateway.connect(), MOST_ASKS
        together = b"".join(put(f"together{n}") for n in range(count))
        calls = await _calls_of(client, together, count)
        assert calls.total() <= (CREATION_TOGETHER + more) * count, calls


async def calls_for_runs(opening: bytes, *lines: str, **route: object) -> int:
    """Count the calls, of those for an append, that are for the runs of its route."""
    async with serving(own=route) as gateway:
        kind = "application/json"
        await gateway.ask(put("s", body=opening, content_type=kind))
        fields = [[line.format(seq) for line in lines] for seq in range(6)]
        appends = [post("s", b"[1]", *its, content_type=kind) for its in fields]
        calls = await calls_until_answered(gateway, *appends)
        return sum(
            calls[module] for module in calls if module.startswith("headgate_gateway.features.runs")
        )


async def test_an_append_of_a_run_stays_within_its_bound_of_extra_python_calls() -> None:
    as_run = ("Producer-Id: run", "Producer-Epoch: 0", "Producer-Seq: {}")
    opening = json_array([records.opening("sse")])
    assert await calls_for_runs(opening, *as_run) == 0
    assert await calls_for_runs(b"[0]", runs=True) == RUNS
    assert await calls_for_runs(opening, *as_run, runs=True) == RUN


@pytest.mark.parametrize("own", [[], ["X-Request-Id: {number}"]], ids=["", "id"])
@pytest.mark.parametrize(("place", "most"), [(PREFIX, OWN_MISS), (EDGE, MISS)])
async def test_an_uncached_read_stays_within_its_bound_of_python_calls(
    place: str, most: int, own: list[str]
) -> None:
    async with RawOrigin(said(b"one")) as origin, edge_serving(origin) as gateway:
        reads = []
        for number in range(WORTH_A_PATTERN + 6):
            await gateway.ask(put(f"s{number}", body=b"one"))
            lines = [line.format(number=number) for line in own]
            reads.append(get(f"{place}/s{number}?offset=-1", *lines))
        calls = await calls_until_answered(gateway, *reads)
        assert calls.total() <= most + READ_ID * len(own), calls
