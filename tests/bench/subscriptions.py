"""Appends to streams that subscriptions are linked to, beside appends to streams of nobody."""

from __future__ import annotations

import json
from statistics import median
from typing import TYPE_CHECKING

from tests.bench.append import RECORD_BYTES, WRITERS
from tests.bench.many_streams import create
from tests.bench.report import Column, Section, at_least
from tests.bench.rounds import tell
from tests.bench.servers import HeadgateServer
from tests.bench.tools import ToolFailed, run
from tests.support.http1 import Wire

if TYPE_CHECKING:
    from tests.bench.rounds import Plan
    from tests.bench.servers import Server

STREAMS = 100_000
SUBSCRIPTIONS = 10_000
EACH = STREAMS // SUBSCRIPTIONS
NAME = "many-"
TURN_MS = 1_000
TURNS = 20
LEAST = 0.85  # of the appends without subscriptions


def bench(plan: Plan) -> Section:
    """Two servers in turns: on one of them, each stream is of one of 10,000 subscriptions."""
    turns = TURNS if plan.every_load else TURNS // 4
    ratios, rates = [], []
    with HeadgateServer("memory:") as linked, HeadgateServer("memory:") as plain:
        for server in (linked, plain):
            create(server, NAME, STREAMS)
        subscribe(linked)
        for server in (linked, plain):
            append(server, 5 * TURN_MS)  # wakes nearly all, which then wait for workers
        for number in range(turns):
            pair = (linked, plain) if number % 2 else (plain, linked)
            found = {server: append(server, TURN_MS) for server in pair}
            rates.append(found[linked])
            ratios.append(found[linked] / found[plain])
    tell(f"{turns} turns")
    figures = {"per_s": median(rates), "ratio": median(ratios)}
    claim = f"{SUBSCRIPTIONS:,} subscriptions of {STREAMS:,} streams: appends/s, with / without"
    return Section(
        title=f"appends of {RECORD_BYTES} bytes to streams of subscriptions",
        columns=(Column("per_s", "appends/s"), Column("ratio", "with / without", 3)),
        servers={"headgate memory:": {"at random": figures}},
        verdicts=[at_least(claim, figures["ratio"], LEAST)],
    )


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


def append(server: Server, milliseconds: int) -> float:
    """Return the appends per second to streams at random."""
    paths = f"{server.append_path(NAME)}*{STREAMS}"
    load = (server.port, WRITERS, milliseconds, server.pid, RECORD_BYTES)
    return run("load", "post", *load, paths)["per_s"]
