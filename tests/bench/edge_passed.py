"""What no cache has, appends and reads: the processor time that a proxy spends on one."""

from __future__ import annotations

import itertools
import tempfile
from typing import TYPE_CHECKING

from tests.bench.append import RECORD_BYTES
from tests.bench.machine import TOOL_CORE, cpu_seconds
from tests.bench.proxies import HeadgateProxy, NginxProxy, Proxy
from tests.bench.report import CORES, DELAYS, Column, Section, at_least
from tests.bench.rounds import medians, undisturbed
from tests.bench.servers import HeadgateServer, on_core
from tests.bench.tools import run

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.bench.report import Verdict
    from tests.bench.rounds import Measured, Plan
    from tests.bench.servers import Server
    from tests.bench.tools import Figures

CONNECTIONS = 32
STREAMS = 8
READ = b"x" * 1000
HEADGATE, NGINX = "headgate, origin", "nginx proxy_pass"
LOAD = f"{CONNECTIONS} connections"


def bench_appends(plan: Plan) -> Section:
    """Appends that are passed on, to streams that nobody reads."""
    numbers = itertools.count()

    def once(server: Proxy, milliseconds: int) -> Figures:
        names = [f"passed-{next(numbers)}" for _ in range(STREAMS)]
        server.origin.create_all(names, "text/plain")
        paths = [server.append_path(name) for name in names]
        load = (f"{server.port},{server.port}", CONNECTIONS, milliseconds, server.pid)
        return run("load", "asleep", "post", *load, RECORD_BYTES, *paths)

    found = medians(plan, [_headgate, _nginx], _timed(plan, once))
    return Section(
        title=f"appends of {RECORD_BYTES} bytes over {CONNECTIONS} connections, passed on",
        columns=_columns("appends/s"),
        servers=found,
        verdicts=[_beside_nginx("appends passed on", found, 0.5)],
    )


def bench_reads(plan: Plan) -> Section:
    """Reads of which no two have the same query."""
    numbers = itertools.count()
    with tempfile.NamedTemporaryFile() as body:
        body.write(READ)
        body.flush()

        def once(server: Proxy, milliseconds: int) -> Figures:
            number = next(numbers)
            server.create(f"read-{number}", "text/plain", READ)
            path = f"/v1/stream/read-{number}?offset=-1&run={number}"
            load = (server.port, CONNECTIONS, milliseconds, server.pid, body.name)
            return run("load", "asleep", "miss", *load, path)

        found = medians(plan, [_headgate, _nginx], _timed(plan, once))
    return Section(
        title=f"uncached reads of {len(READ):,} bytes over {CONNECTIONS} connections",
        columns=_columns("reads/s"),
        servers=found,
        verdicts=[_beside_nginx("uncached reads", found, 0.45)],
    )


def _timed(
    plan: Plan, once: Callable[[Proxy, int], Figures]
) -> Callable[[Server], Iterator[tuple[str, Figures]]]:
    """What measures a server, once it is warm, with the processor time of a request."""

    def measure(server: Server) -> Iterator[tuple[str, Figures]]:
        assert isinstance(server, Proxy), "one before an origin"

        def timed() -> Figures:
            before = cpu_seconds(server.pid)
            figures = once(server, plan.milliseconds)
            spent = cpu_seconds(server.pid) - before
            return {**figures, "cpu_us": 1e6 * spent / figures["requests"]}

        once(server, 500)  # warms up
        yield LOAD, {"origin_cpu": 0.0, **undisturbed(lambda: server.told_apart(timed))}

    return measure


def _columns(per_s: str) -> tuple[Column, ...]:
    return (
        Column("per_s", per_s),
        Column("cpu_us", "us of cpu", 1),
        *DELAYS,
        *CORES,
        Column("origin_cpu", "cpu origin", 2),
    )


def _beside_nginx(what: str, found: dict[str, Measured], least: float) -> Verdict:
    spent = {label: measured[LOAD]["cpu_us"] for label, measured in found.items()}
    name = f"{what} for a processor's second / nginx"
    return at_least(name, spent[NGINX] / spent[HEADGATE], least)


class _Memory(HeadgateServer):
    """A log in memory on the tool's core, which is fast enough for either."""

    def __init__(self) -> None:
        super().__init__("memory:", preface=on_core(TOOL_CORE))


def _headgate() -> HeadgateProxy:
    return HeadgateProxy(origin=_Memory())


def _nginx() -> NginxProxy:
    return NginxProxy(NGINX, caching="", origin=_Memory())
