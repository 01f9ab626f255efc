"""Cached reads beside the same response of a bare aiohttp handler, on one core, in turns.

`python -m benchmarks.bare_handler PORT` serves that handler: no rule, no log, no header of its own.
"""

from __future__ import annotations

import contextlib
import statistics
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import uvloop
from aiohttp import web
from typing_extensions import override

from benchmarks.authorised import LOAD, TURNS, medians_of, reads, time_each
from benchmarks.catchup import BODY
from benchmarks.report import CORES, DELAYS, Column, Section, at_least
from benchmarks.servers import HeadgateServer, Process, Server
from tests.support.processes import ROOT

if TYPE_CHECKING:
    from benchmarks.rounds import Plan
    from benchmarks.tools import Figures

LEAST = 2.0  # reads for each of the bare handler's, by processor time


class BareHandler(Server):
    """An aiohttp application with one handler, on the event loop that Headgate runs on."""

    label = "bare aiohttp handler"

    def __init__(self) -> None:
        super().__init__()
        self._process: Process | None = None

    @property
    @override
    def pid(self) -> int:
        assert self._process is not None, "not started"
        return self._process.pid

    @override
    def start(self) -> None:
        command = (sys.executable, "-m", "benchmarks.bare_handler", str(self.port))
        self._process = Process(self.port, "env", "--chdir", str(ROOT), *command)

    @override
    def stop(self) -> None:
        if self._process is not None:
            self._process.stop()


def bench(plan: Plan) -> Section:
    """Compare the processor time of a cached read with that of aiohttp's least response."""
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        body = folder / "body"
        body.write_bytes(BODY)
        cached = stack.enter_context(HeadgateServer("memory:"))
        cached.create("doc", "application/json", BODY)
        servers: tuple[Server, ...] = (cached, stack.enter_context(BareHandler()))
        loads = [reads(plan, server, body) for server in servers]
        for warm in loads:
            warm()
        found: list[list[Figures]] = [[], []]
        for turn in range(TURNS * plan.rounds):
            for which in ((0, 1), (1, 0))[turn % 2]:
                figures = loads[which]()
                found[which].append({**figures, "us_each": time_each(figures) * 1e6})
    ratio = statistics.median(
        bare["us_each"] / mine["us_each"] for mine, bare in zip(*found, strict=True)
    )
    return Section(
        title=f"cached reads of {len(BODY):,} bytes and a bare handler",
        columns=(
            Column("us_each", "us each", 1),
            Column("per_s", "requests/s"),
            *DELAYS,
            *CORES,
        ),
        servers={
            server.label: {LOAD: medians_of(runs)}
            for server, runs in zip(servers, found, strict=True)
        },
        verdicts=[at_least("bare handler / cached read, processor time of each", ratio, LEAST)],
    )


async def _application() -> web.Application:
    async def answer(_: web.Request) -> web.Response:
        return web.Response(body=BODY, content_type="application/json")

    application = web.Application()
    application.router.add_get("/v1/stream/doc", answer)
    return application


if __name__ == "__main__":
    web.run_app(
        _application(),
        host="127.0.0.1",
        port=int(sys.argv[1]),
        access_log=None,
        print=None,
        loop=uvloop.new_event_loop(),
    )
