"""What no cache has, appends and reads: the processor time that a proxy spends on one."""

from __future__ import annotations

import itertools
import tempfile
from functools import partial
from string import Template
from typing import TYPE_CHECKING

from benchmarks.append import RECORD_BYTES
from benchmarks.machine import TOOL_CORE, cpu_seconds
from benchmarks.proxies import HeadgateProxy, NginxProxy, Proxy
from benchmarks.report import CORES, DELAYS, Column, Section, at_least
from benchmarks.rounds import medians, undisturbed
from benchmarks.servers import HERE, HeadgateServer, Nginx, on_core
from benchmarks.tools import run

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    from benchmarks.report import Verdict
    from benchmarks.rounds import Measured, Plan
    from benchmarks.servers import Server
    from benchmarks.tools import Figures

CONNECTIONS = 32
STREAMS = 8
READ = b"x" * 1000
HEADGATE, NGINX = "headgate, origin", "nginx proxy_pass"
MEMORY, STATIC = "own log", "static answers"  # what the origin has


def bench_appends(plan: Plan) -> Section:
    """Measure appends that are passed on, to streams that nobody reads."""
    numbers = itertools.count()

    def once(server: Proxy, milliseconds: int) -> Figures:
        names = [f"passed-{next(numbers)}" for _ in range(STREAMS)]
        server.origin.create_all(names, "text/plain")
        paths = [server.append_path(name) for name in names]
        load = (f"{server.port},{server.port}", CONNECTIONS, milliseconds, server.pid)
        return run("load", "asleep", "post", *load, RECORD_BYTES, *paths)

    found = medians(plan, SERVERS, _timed(plan, once))
    return Section(
        title=f"appends of {RECORD_BYTES} bytes over {CONNECTIONS} connections, passed on",
        columns=_columns("appends/s"),
        servers=found,
        verdicts=[
            _beside_nginx("appends passed on", found, load, 0.5) for load in (MEMORY, STATIC)
        ],
    )


def bench_reads(plan: Plan) -> Section:
    """Measure reads of which no two have the same query."""
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

        found = medians(plan, SERVERS, _timed(plan, once))
    return Section(
        title=f"uncached reads of {len(READ):,} bytes over {CONNECTIONS} connections",
        columns=_columns("reads/s"),
        servers=found,
        verdicts=[_beside_nginx("uncached reads", found, load, 0.45) for load in (MEMORY, STATIC)],
    )


def _timed(
    plan: Plan, once: Callable[[Proxy, int], Figures]
) -> Callable[[Server], Iterator[tuple[str, Figures]]]:
    """Return a measurement of a warm server, with the processor time of a request."""

    def measure(server: Server) -> Iterator[tuple[str, Figures]]:
        assert isinstance(server, Proxy), "one before an origin"

        def timed() -> Figures:
            before = cpu_seconds(server.pid)
            figures = once(server, plan.milliseconds)
            spent = cpu_seconds(server.pid) - before
            return {**figures, "cpu_us": 1e6 * spent / figures["requests"]}

        once(server, 500)  # warms up
        load = STATIC if isinstance(server.origin, _Static) else MEMORY
        yield load, {"origin_cpu": 0.0, **undisturbed(lambda: server.told_apart(timed))}

    return measure


def _columns(per_s: str) -> tuple[Column, ...]:
    return (
        Column("per_s", per_s),
        Column("cpu_us", "us of cpu", 1),
        *DELAYS,
        *CORES,
        Column("origin_cpu", "cpu origin", 2),
    )


def _beside_nginx(what: str, found: dict[str, Measured], load: str, least: float) -> Verdict:
    spent = {label: measured[load]["cpu_us"] for label, measured in found.items()}
    name = f"{what}, {load}: for a processor's second / nginx"
    return at_least(name, spent[NGINX] / spent[HEADGATE], least)


class _Memory(HeadgateServer):
    """A log in memory on the tool's core. It is slower than nginx, so both wait for it."""

    def __init__(self) -> None:
        super().__init__("memory:", preface=on_core(TOOL_CORE))


class _Static(Nginx):
    """An nginx on the tool's core that gives one answer to all reads and one to all appends."""

    label = "static answers"
    core = TOOL_CORE
    configuration = Template((HERE / "static.conf").read_text())

    def create_all(self, streams: Iterable[str], content_type: str) -> None:
        """Do nothing: every stream is there."""

    def _values(self, folder: Path) -> dict[str, str]:
        return {**super()._values(folder), "body": READ.decode()}


def _headgate(origin: type[Server]) -> HeadgateProxy:
    return HeadgateProxy(origin=origin())


def _nginx(origin: type[Server]) -> NginxProxy:
    return NginxProxy(NGINX, caching="", origin=origin())


SERVERS = [partial(make, origin) for origin in (_Memory, _Static) for make in (_headgate, _nginx)]
