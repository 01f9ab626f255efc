"""Appends that are passed on: the processor time that a proxy spends on one."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

from tests.bench.append import RECORD_BYTES
from tests.bench.machine import TOOL_CORE, cpu_seconds
from tests.bench.proxies import HeadgateProxy, NginxProxy, Proxy
from tests.bench.report import CORES, DELAYS, Column, Section, at_least
from tests.bench.rounds import medians, undisturbed
from tests.bench.servers import HeadgateServer, on_core
from tests.bench.tools import run

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.bench.rounds import Plan
    from tests.bench.servers import Server
    from tests.bench.tools import Figures

WRITERS = 32
STREAMS = 8
HEADGATE, NGINX = "headgate, origin", "nginx proxy_pass"


def bench(plan: Plan) -> Section:
    """Headgate and nginx before a log in memory, which is fast enough for either."""
    numbers = itertools.count()

    def measure(server: Server) -> Iterator[tuple[str, Figures]]:
        assert isinstance(server, Proxy), "one before an origin"

        def once(milliseconds: int = plan.milliseconds) -> Figures:
            names = [f"passed-{next(numbers)}" for _ in range(STREAMS)]
            server.origin.create_all(names, "text/plain")
            paths = [server.append_path(name) for name in names]
            load = (f"{server.port},{server.port}", WRITERS, milliseconds, server.pid)
            before = cpu_seconds(server.pid)
            figures = run("load", "asleep", "post", *load, RECORD_BYTES, *paths)
            spent = cpu_seconds(server.pid) - before
            return {**figures, "cpu_us": 1e6 * spent / figures["requests"]}

        once(500)  # warms up
        yield (
            f"{WRITERS} writers",
            {"origin_cpu": 0.0, **undisturbed(lambda: server.told_apart(once))},
        )

    found = medians(plan, [_headgate, _nginx], measure)
    spent = {label: measured[f"{WRITERS} writers"]["cpu_us"] for label, measured in found.items()}
    return Section(
        title=f"appends of {RECORD_BYTES} bytes over {WRITERS} connections, passed on",
        columns=(
            Column("per_s", "appends/s"),
            Column("cpu_us", "us of cpu", 1),
            *DELAYS,
            *CORES,
            Column("origin_cpu", "cpu origin", 2),
        ),
        servers=found,
        verdicts=[
            at_least(
                "appends passed on for a processor's second / nginx",
                spent[NGINX] / spent[HEADGATE],
                0.5,
            )
        ],
    )


class _Memory(HeadgateServer):
    """A log in memory on the tool's core."""

    def __init__(self) -> None:
        super().__init__("memory:", preface=on_core(TOOL_CORE))


def _headgate() -> HeadgateProxy:
    return HeadgateProxy(origin=_Memory())


def _nginx() -> NginxProxy:
    return NginxProxy(NGINX, caching="", origin=_Memory())
