"""What an append costs a gateway in Python calls and in processor time, without sockets."""

from __future__ import annotations

from typing import TYPE_CHECKING

import uvloop

from benchmarks.report import Column, Section
from tests.support.crowd import APPENDS, append_cost

if TYPE_CHECKING:
    from benchmarks.rounds import Plan

ROUNDS = 60


def bench(plan: Plan) -> Section:
    """Measure each kind of append in this process; of all rounds the best one counts."""
    found = {}
    for name, appends in APPENDS.items():
        cost = uvloop.run(append_cost(appends, ROUNDS * plan.rounds))
        found[name] = {"calls": cost.calls, "us": cost.time_us}
    return Section(
        title="What one append costs in this process: memory, 100 bytes, its plan known",
        columns=(Column("calls", "Python calls", 1), Column("us", "us", 1)),
        servers={"Headgate": found},
        verdicts=[],  # tests/web/test_calls.py has the bounds of calls
    )
