"""What the Workers and Vercel's function do at a gateway that hangs.

Here are bodies, polls, and readers of events that are no EventSource; `test_hung_gateways.py` has
what these targets have in common with all others.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import TYPE_CHECKING, NamedTuple

import pytest

from headgate_gateway.settings import load
from tests.cdn import hangs
from tests.cdn.balanced import created
from tests.cdn.hangs import EVENTS_S, EXPIRED_S, FIRST_S, LATER_S
from tests.cdn.origin import stalled
from tests.cdn.outages import EVENT_SOURCE, TEXT, assert_away
from tests.support.http1 import Client, ask, request

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from tests.support.http1 import Answer
    from tests.support.processes import Headgate

NAMES = ("cloudflare-worker", "cloudflare-durable", "vercel")
KEEPING = NAMES[:2]
"""Those that store copies themselves."""
EQUAL = 5  # requests at the same time
PATIENCE_S = 30.0
DOUBT_S = 3.7
"""Before the end of the first read, less than which a poll waits until it doubts the gateway."""


class Timed(NamedTuple):
    answer: Answer
    took_s: float


@pytest.fixture(scope="module")
def gateway(processes: None) -> Iterator[Headgate]:
    with hangs.hangable() as (one, _):
        yield one


@pytest.fixture
def edges(gateway: Headgate) -> Iterator[Mapping[str, int]]:
    upstream = f"127.0.0.1:{gateway.port}"
    with hangs.edges(load(None, {}, {}), upstream, NAMES) as ports:
        yield ports


async def asked(
    port: int, method: str, target: str, body: bytes | None = None, **headers: str
) -> Timed:
    client = Client(*await asyncio.open_connection("127.0.0.1", port), PATIENCE_S)
    with contextlib.closing(client):
        began = time.monotonic()
        client.send(request(method, target, body, **headers))
        head = await client.head()
        answer = head if method == "HEAD" else await client.whole(head)
        return Timed(answer, time.monotonic() - began)


async def crowd(port: int, target: str) -> list[Timed]:
    return await asyncio.gather(*(asked(port, "GET", target) for _ in range(EQUAL)))


async def end_of(client: Client) -> float:
    """Read to the end of a response, or of its connection; return how long that took."""
    began = time.monotonic()
    with contextlib.suppress(OSError, asyncio.IncompleteReadError):
        await client.rest()
    return time.monotonic() - began


async def test_readers_of_a_gateway_that_hung_get_a_copy_or_503_at_once(
    gateway: Headgate, edges: Mapping[str, int]
) -> None:
    copied, absent, other = (created(gateway.port) for _ in range(3))
    reads = {"a copy": f"{copied}?offset=-1", "none": f"{absent}?offset=-1"}
    found: dict[tuple[str, str], list[Timed]] = {}

    async def read(name: str, when: str) -> None:
        each = await asyncio.gather(*(crowd(edges[name], target) for target in reads.values()))
        for what, some in zip(reads, each, strict=True):
            assert [it.answer.body for it in some if it.answer.status == 200] == (
                [b"zero"] * EQUAL if what == "a copy" and name in KEEPING else []
            ), (name, when, some)
            for it in some:
                if it.answer.status != 200:
                    assert_away(it.answer, f"{name}, {when}: {what}")
            found[f"{name}: {what}", when] = some

    for name in KEEPING:
        assert ask(edges[name], "GET", reads["a copy"]).status == 200
    await asyncio.sleep(EXPIRED_S)  # until copies of a second are stale
    with stalled(gateway.pid):
        await asyncio.gather(*(read(name, "first") for name in NAMES))
        for when in ("second", "third"):
            await asyncio.gather(*(read(name, when) for name in NAMES))
        # Another stream, which nobody has asked for yet, and a poll.
        targets = [f"{other}?offset=-1", f"{other}?offset=-1&live=long-poll"]
        new = [(name, target) for name in NAMES for target in targets]
        new.remove(("vercel", targets[1]))  # where each poll goes to the gateway
        others = await asyncio.gather(*(asked(edges[name], "GET", it) for name, it in new))
        appends = [
            asyncio.create_task(asked(port, "POST", other, b"x", Content_Type=TEXT))
            for port in edges.values()
        ]
        await asyncio.sleep(LATER_S)  # longer than a reader waits
        assert not any(it.done() for it in appends), "an append was not sent to the gateway"
    appended = await asyncio.gather(*appends)
    after = [(await asked(port, "GET", f"{other}?offset=-1")) for port in edges.values()]
    for (what, when), some in found.items():
        most_s = FIRST_S if when == "first" else LATER_S
        assert max(it.took_s for it in some) <= most_s, (what, when, some)
        assert when == "first" or {it.answer.status for it in some} <= {200, 503}, (what, some)
    assert max(it.took_s for it in others) <= LATER_S, others
    assert {it.answer.status for it in others} == {503}
    assert [it.answer.status for it in appended] == [204] * len(edges)
    assert [it.answer.body for it in after] == [b"zero" + b"x" * len(edges)] * len(edges)
    assert max(it.took_s for it in after) <= LATER_S


async def test_events_and_polls_of_a_gateway_that_hangs_end_or_are_answered_within_15_s(
    gateway: Headgate, edges: Mapping[str, int]
) -> None:
    path = created(gateway.port)
    events = f"{path}?offset=-1&live=sse"
    poll = f"{path}?offset={ask(gateway.port, 'HEAD', path).next_offset}&live=long-poll"
    async with contextlib.AsyncExitStack() as stack:
        open_: dict[str, Client] = {}
        for name, port in edges.items():
            open_[name] = await Client.connect(port)
            stack.callback(open_[name].close)
            open_[name].send(request("GET", events, None, **EVENT_SOURCE))
            await open_[name].read_until(b"event: control")
        polls = [asyncio.create_task(asked(port, "GET", poll)) for port in edges.values()]
        await asyncio.sleep(0.5)  # until the polls are at the gateway
        with stalled(gateway.pid):
            ended = [asyncio.create_task(end_of(client)) for client in open_.values()]
            new = [
                asyncio.create_task(asked(port, "GET", target, None, **headers))
                for port in edges.values()
                for target, headers in ((events, EVENT_SOURCE), (events, {}), (poll, {}))
            ]
            waited = [it.took_s for it in await asyncio.gather(*polls, *new)]
            waited += await asyncio.gather(*ended)
    assert max(waited) <= EVENTS_S, waited
    for it in (*polls, *new[1::3], *new[2::3]):
        assert_away(it.result().answer, "a poll, or a reader of events that goes by the status")
    assert {it.result().answer.status for it in new[::3]} == {200}  # so that it connects again


async def test_a_probe_whose_request_has_ended_keeps_no_poll_from_its_end(
    gateway: Headgate, edges: Mapping[str, int]
) -> None:
    """The first reader after a hang sends the probe, and leaves it when it has its 503."""
    path = created(gateway.port)
    read = f"{path}?offset=-1"
    poll = f"{path}?offset={ask(gateway.port, 'HEAD', path).next_offset}&live=long-poll"
    ports = [edges[name] for name in KEEPING]
    with stalled(gateway.pid):
        first = [asyncio.create_task(asked(port, "GET", read)) for port in ports]
        await asyncio.sleep(DOUBT_S)
        polls = [asyncio.create_task(asked(port, "GET", poll)) for port in ports]
        await asyncio.gather(*first)
        await asyncio.sleep(LATER_S)
        # So that the polls doubt the gateway a moment after the next reader has left.
        later = await asyncio.gather(*(asked(port, "GET", read) for port in ports))
        ended = await asyncio.gather(*polls)
    assert [it.answer.status for it in later] == [503] * len(ports)
    for it in ended:
        assert_away(it.answer, "a poll")
    assert max(it.took_s for it in ended) <= EVENTS_S, ended
