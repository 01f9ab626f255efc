"""Appends to streams that subscriptions are linked to, beside appends to streams of nobody."""

from __future__ import annotations

import json
from statistics import median
from typing import TYPE_CHECKING

from benchmarks import as_sent
from benchmarks.append import RECORD_BYTES, WRITERS
from benchmarks.many_streams import create
from benchmarks.redis_log import HeadgateOnRedis, TwoGateways
from benchmarks.report import Column, Section, at_least
from benchmarks.rounds import tell
from benchmarks.servers import HeadgateServer
from benchmarks.tools import ToolFailed, run
from tests.support.http1 import Wire

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from benchmarks.rounds import Plan
    from benchmarks.servers import Server
    from benchmarks.tools import Figures

STREAMS = 100_000
SUBSCRIPTIONS = 10_000
EACH = STREAMS // SUBSCRIPTIONS
NAME = "many-"
TURN_MS = 1_000
TURNS = 20
LEAST = 0.9  # of the appends without subscriptions
# What each request has beside what it needs.
LINES = {"at random": "", "with X-Request-Id": as_sent.ID}


def bench(plan: Plan) -> Section:
    """Two servers in turns: on one of them, each stream is of one of 10,000 subscriptions."""
    found = _in_turns(plan, lambda: HeadgateServer("memory:"))
    return _section({"headgate memory:": found}, "")


def bench_redis(plan: Plan) -> Section:
    """Measure on Redis, by appends to the gateway that delivers, and to another one."""
    kinds: dict[str, Callable[[], Server]] = {
        "headgate redis:": HeadgateOnRedis,
        "headgate redis:, another gateway": lambda: TwoGateways("two gateways"),
    }
    return _section({name: _in_turns(plan, make) for name, make in kinds.items()}, ", on Redis")


def _section(found: Mapping[str, dict[str, Figures]], where: str) -> Section:
    claim = f"{SUBSCRIPTIONS:,} subscriptions of {STREAMS:,} streams: appends/s, with / without"
    return Section(
        title=f"appends of {RECORD_BYTES} bytes to streams of subscriptions{where}",
        columns=(Column("per_s", "appends/s"), Column("ratio", "with / without", 3)),
        servers=found,
        verdicts=[
            at_least(f"{name}, {load}: {claim}", figures["ratio"], LEAST)
            for name, loads in found.items()
            for load, figures in loads.items()
        ],
    )


def _in_turns(plan: Plan, make: Callable[[], Server]) -> dict[str, Figures]:
    """Return, by load, the appends per second with subscriptions, beside those without."""
    turns = TURNS if plan.every_load else TURNS // 4
    ratios: dict[str, list[float]] = {load: [] for load in LINES}
    rates: dict[str, list[float]] = {load: [] for load in LINES}
    with make() as linked, make() as plain:
        for server in (linked, plain):
            create(server, NAME, STREAMS)
        subscribe(linked)
        for server in (linked, plain):
            append(server, 5 * TURN_MS)  # wakes nearly all, which then wait for workers
        for number in range(turns):
            pair = (linked, plain) if number % 2 else (plain, linked)
            for load, line in LINES.items():
                found = {server: append(server, TURN_MS, line) for server in pair}
                rates[load].append(found[linked])
                ratios[load].append(found[linked] / found[plain])
    tell(f"{turns} turns")
    return {load: {"per_s": median(rates[load]), "ratio": median(ratios[load])} for load in LINES}


def subscribe(server: Server) -> None:
    """Have each stream linked to one subscription."""
    server.create("wakes", "application/json")
    with Wire(server.port) as wire:
        for number in range(SUBSCRIPTIONS):
            first = number * EACH
            names = [f"{NAME}{index:07}" for index in range(first, first + EACH)]
            document = {"type": "pull-wake", "streams": names, "wake_stream": "wakes"}
            path = server.append_path(f"__ds/subscriptions/{number}")
            body = json.dumps(document).encode()
            answer = wire.request("PUT", path, body, content_type="application/json")
            if answer.status != 201:
                raise ToolFailed(f"subscription {number}: {answer.status}")


def append(server: Server, milliseconds: int, line: str = "") -> float:
    """Return the appends per second to streams at random, with a line in each head."""
    paths = f"{server.append_path(NAME)}*{STREAMS}"
    load = (server.append_port, WRITERS, milliseconds, server.pid, RECORD_BYTES)
    return run("load", *(["with", line] if line else []), "post", *load, paths)["per_s"]
