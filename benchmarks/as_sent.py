"""Cached reads as clients and proxies send them, beside the leanest ones, on one core, in turns.

Envoy and ingress-nginx add an id to each request, browsers name what they have, and players and
proxies ask for parts. A HEAD stands beside the leanest read, too.
"""

from __future__ import annotations

import contextlib
import statistics
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.authorised import LOAD, TURNS, medians_of, reads, time_each
from benchmarks.catchup import BODY
from benchmarks.proxies import HeadgateProxy
from benchmarks.report import CORES, DELAYS, Column, Section, at_least
from benchmarks.servers import HeadgateServer

if TYPE_CHECKING:
    from benchmarks.rounds import Plan
    from benchmarks.tools import Figures

ID = "X-Request-Id: 6f1b2a63-0c3a-4a0e-8a2e-000-000000000"  # the load tool counts in its digits
LEAN = "as lean as can be"
LINES = {
    LEAN: "",
    "with X-Request-Id": ID,
    "with a tag that is old": 'If-None-Match: "one-of-before"',
}
LOGGED = "with X-Request-Id, logged"
HEAD = "HEAD"
CACHED = "of an origin"
PART = "of an origin, with Range"
PART_BYTES = 1000
# Beside which of the leanest reads each stands.
LEANEST = dict.fromkeys([*LINES, LOGGED, HEAD], LEAN) | {PART: CACHED, CACHED: CACHED}
# Of the rate of processor time of the leanest reads.
LEAST = dict.fromkeys([name for name in LINES if name != LEAN], 0.6) | {LOGGED: 0.5}


def bench(plan: Plan) -> Section:
    """Compare the processor time of cached reads that say more with that of the leanest."""
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        body, part = folder / "body", folder / "part"
        body.write_bytes(BODY)
        part.write_bytes(BODY[:PART_BYTES])
        plain = stack.enter_context(HeadgateServer("memory:"))
        logged = stack.enter_context(
            HeadgateServer("memory:", environment={"HEADGATE_LOG__REQUESTS": "info"})
        )
        edge = stack.enter_context(HeadgateProxy())
        for server in plain, logged, edge:
            server.create("doc", "application/json", BODY)
        loads = {
            name: reads(plan, plain, body, *(["with", line] if line else []))
            for name, line in LINES.items()
        }
        loads[LOGGED] = reads(plan, logged, body, "with", ID)
        loads[HEAD] = reads(plan, plain, body, mode="head")
        loads[CACHED] = reads(plan, edge, body)
        range_line = f"Range: bytes=0-{PART_BYTES - 1}"
        loads[PART] = reads(plan, edge, part, "with", range_line, mode="part")
        for warm in loads.values():
            warm()
        found: dict[str, list[Figures]] = {name: [] for name in loads}
        for turn in range(TURNS * plan.rounds):
            for name in list(loads)[:: (1, -1)[turn % 2]]:
                found[name].append(loads[name]())
    ratios = {name: _ratio(found[LEANEST[name]], found[name]) for name in loads}
    return Section(
        title=f"cached reads of {len(BODY):,} bytes as they are sent",
        columns=(
            Column("per_s", "reads/s"),
            Column("ratio", "x leanest", 2),
            *DELAYS,
            *CORES,
        ),
        servers={
            name: {LOAD: {**medians_of(runs), "ratio": ratios[name]}}
            for name, runs in found.items()
        },
        verdicts=[
            at_least(f"{name} / {LEAN}, reads by processor time", ratios[name], least)
            for name, least in LEAST.items()
        ],
    )


def _ratio(leanest: list[Figures], runs: list[Figures]) -> float:
    pairs = zip(leanest, runs, strict=True)
    return statistics.median(time_each(lean) / time_each(its) for lean, its in pairs)
