"""A gateway that hangs is remembered: its readers do not wait for it one after the other."""

from __future__ import annotations

import asyncio
import math
from typing import TYPE_CHECKING

import pytest

from headgate_cdn.rules import RULES
from headgate_cdn.targets import TARGETS
from tests.cdn.balanced import BALANCING, REQUESTS, asked, created, in_front_of, pair
from tests.cdn.edges import GRACE_S
from tests.cdn.hangs import EVENTS_S, FIRST_S, LATER_S, edges, hang, hangable
from tests.cdn.origin import stalled
from tests.cdn.outages import TEXT
from tests.support.http1 import Answer
from tests.support.proxy_engines import ENGINES

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.cdn.balanced import Pair
    from tests.cdn.hangs import Hang

pytestmark = [pytest.mark.usefixtures("processes"), pytest.mark.timeout(120)]

BACK_S = 2  # a check of the gateway, and what nginx remembers
NEVER_END = {"traefik"}
"""Targets at which an SSE response that is silent does not end."""
AWAY = {502, 503, 504}
UNNOTICED = 2
"""Of a dozen appends, how many may be sent to a gateway of which nobody knows yet that it hangs."""


def faults_of(
    name: str, seen: Hang, read: set[int | str], events_s: float = math.inf
) -> Iterator[str]:
    """Yield what readers of one target should not have seen.

    What has a copy has a status of `read`. With `events_s` no gateway is left for other reads, and
    SSE ends within that time.
    """
    is_over = events_s < math.inf
    else_read = AWAY if is_over else {200}
    for kind, statuses in (("later", read), ("uncached", else_read)):
        if not seen.statuses[kind] <= statuses:
            yield f"{name}: {kind} {seen.statuses[kind]}"
    ends_s = math.inf if name in NEVER_END else events_s
    for kind, took_s, most_s in (
        ("later", seen.later_s, LATER_S),
        ("uncached", seen.uncached_s, LATER_S),
        ("new events", seen.new_events_s, events_s),
        ("open events", seen.open_events_s, ends_s),
        ("back", seen.back_s, BACK_S),
    ):
        if took_s > most_s + GRACE_S:
            yield f"{name}: {kind} after {took_s:.1f} s"


def copies_of(name: str) -> set[int | str]:
    """Return the statuses of a read that has a copy where the target keeps any."""
    return set(AWAY) if TARGETS[name].no_stale_if_error else {200}


async def test_readers_do_not_wait_again_for_the_only_gateway_when_it_hangs() -> None:
    with (
        hangable() as (gateway, settings),
        edges(settings, f"127.0.0.1:{gateway.port}", list(ENGINES)) as ports,
    ):
        found = await hang([gateway.pid], gateway.port, ports)
    faults = [
        it
        for name, seen in found.items()
        for it in faults_of(name, seen, copies_of(name), EVENTS_S)
    ]
    assert not faults
    slow = {name: it.first_s for name, it in found.items() if it.first_s > FIRST_S + GRACE_S}
    assert not slow
    appends = {name: seen.statuses["append"] for name, seen in found.items()}
    assert appends == {name: {204} for name in ENGINES}, "what no copy can answer is sent to it"


@pytest.fixture(scope="module")
def gateways(processes: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    with pair(tmp_path_factory.mktemp("redis")) as started:
        yield started


async def test_readers_do_not_wait_again_for_two_gateways_that_hang(gateways: Pair) -> None:
    pids = [it.pid for it in gateways.gateways]
    with edges(gateways.settings, gateways.upstream, BALANCING) as ports:
        found = await hang(pids, gateways.gateways[1].port, ports)
    assert not [
        it
        for name, seen in found.items()
        for it in faults_of(name, seen, copies_of(name), EVENTS_S + RULES.unhealthy_s)
    ]
    slow = {name: it.first_s for name, it in found.items() if it.first_s > FIRST_S + GRACE_S}
    assert not slow
    appends = {name: found[name].statuses["append"] for name in ("nginx", "nginx-njs")}
    assert appends == {key: {204} for key in appends}, "writes are sent to one of them"


async def test_later_readers_get_responses_at_once_while_one_of_two_gateways_hangs(
    gateways: Pair,
) -> None:
    hung, other = gateways.gateways
    with edges(gateways.settings, gateways.upstream, BALANCING) as ports:
        found = await hang([hung.pid], other.port, ports, is_over=False)
    assert not [it for name, seen in found.items() for it in faults_of(name, seen, {200})]


async def test_appends_go_to_the_gateway_that_answers_once_reads_have_found_the_other_to_hang(
    gateways: Pair,
) -> None:
    hung, other = gateways.gateways
    path = created(other.port)

    async def failed_appends(port: int) -> int:
        await asyncio.gather(
            *(asked(port, "GET", f"{path}?offset=-1&n={at}") for at in range(REQUESTS))
        )
        found = await asyncio.gather(
            *(asked(port, "POST", path, b"x", Content_Type=TEXT) for _ in range(REQUESTS))
        )
        return sum(not isinstance(it, Answer) or it.status != 204 for it in found)

    settings, upstream = gateways.settings, gateways.upstream
    # As by default, longer than checks take to find a gateway that hangs.
    with in_front_of(settings, upstream, BALANCING, answer_s=None) as ports, stalled(hung.pid):
        found = await asyncio.gather(*map(failed_appends, ports.values()))
    too_many = {name: it for name, it in zip(ports, found, strict=True) if it > UNNOTICED}
    assert not too_many
