"""Cached reads by two workers on one port, beside one."""

from __future__ import annotations

import tempfile
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from benchmarks.machine import SERVER_CORE, TOOL_CORE
from benchmarks.proxies import HeadgateProxy
from benchmarks.redis_log import HeadgateOnRedis
from benchmarks.report import CORES, DELAYS, Column, Section, at_least
from benchmarks.rounds import apart, medians, undisturbed
from benchmarks.servers import PINNED
from benchmarks.tools import run

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from benchmarks.report import Verdict
    from benchmarks.rounds import Plan
    from benchmarks.servers import Server
    from benchmarks.tools import Figures

SIZES = {"9 KB": 9_000, "256 KB": 262_144}
# A whole chunk of a stream in Redis is served without asking there; what is shorter is not.
OF_REDIS = ("256 KB",)
CONNECTIONS = 64
WARM_UP_MS = 500
REQUIRED = 1.8 / 2  # twice the time on processors for 1.8 times the reads


class Crew(NamedTuple):
    """So many workers on the server's core, or on both cores beside the load tool."""

    label: str
    workers: int
    preface: Sequence[str] = PINNED


ONE = Crew("1 worker", 1)
TWO = Crew("2 workers, same core", 2)
APART = Crew("2 workers, both cores", 2, ("taskset", "--cpu-list", f"{SERVER_CORE},{TOOL_CORE}"))


def bench(plan: Plan) -> Section:
    """Measure requests by processor time, since the load tool needs half of the cores."""
    servers: list[Callable[[], Server]] = [
        partial(serve, crew) for serve in (_from_origin, _from_redis) for crew in (ONE, TWO, APART)
    ]
    with tempfile.TemporaryDirectory() as folder:
        found = medians(plan, servers, partial(_measure, plan, Path(folder)))
    one, two = found[ONE.label], found[TWO.label]
    return Section(
        title=f"cached reads over {CONNECTIONS} connections by workers on one port",
        columns=(
            Column("per_s", "reads/s"),
            Column("per_cpu_s", "reads/cpu s"),
            *DELAYS,
            *CORES,
            Column("busiest", "busiest worker", 2),
        ),
        servers=found,
        verdicts=[_verdict(load, one[load], two[load]) for load in one],
    )


def _verdict(load: str, one: Figures, two: Figures) -> Verdict:
    ratio = two["per_cpu_s"] / one["per_cpu_s"]
    return at_least(f"{load}: reads/cpu s, two workers / one", ratio, REQUIRED)


def _from_origin(crew: Crew) -> HeadgateProxy:
    server = HeadgateProxy(arguments=("--workers", str(crew.workers)), preface=crew.preface)
    server.label = crew.label
    return server


def _from_redis(crew: Crew) -> HeadgateOnRedis:
    return HeadgateOnRedis(
        label=crew.label, arguments=("--workers", str(crew.workers)), preface=crew.preface
    )


def _measure(plan: Plan, folder: Path, server: Server) -> Iterator[tuple[str, Figures]]:
    of_redis = isinstance(server, HeadgateOnRedis)
    for size in OF_REDIS if of_redis else SIZES:
        body = folder / size
        body.write_bytes(b"x" * SIZES[size])
        stream = f"hit-{SIZES[size]}"
        server.create(stream, "text/plain", body.read_bytes())
        path = server.append_path(stream)
        if of_redis:  # what is no longer the tail stays as it is
            server.request("POST", path, b"y", {"Content-Type": "text/plain"})

        def read(
            milliseconds: int = plan.milliseconds, path: str = path, body: Path = body
        ) -> Figures:
            load = (server.port, CONNECTIONS, milliseconds, server.pid, body)
            return run("load", "asleep", "get", *load, f"{path}?offset=-1")

        read(WARM_UP_MS)
        yield (
            f"{size} of {'redis:' if of_redis else 'http:'}",
            undisturbed(partial(_count, server, read)),
        )


def _count(server: Server, measure: Callable[[], Figures]) -> Figures:
    """Measure, with the time of all the server's processes as the server's."""
    workers = {f"worker {number}": [pid] for number, pid in enumerate(_children(server.pid))}
    figures = apart(measure, behind=[_behind(server)], **workers)
    shares = [figures.pop(name) for name in workers]
    figures["server_cpu"] += sum(shares)
    return {
        **figures,
        "per_cpu_s": figures["per_s"] / figures["server_cpu"],
        "busiest": max(shares, default=1.0) / (sum(shares) or 1.0),
    }


def _children(pid: int) -> list[int]:
    """Return the workers of a supervisor; one worker needs none."""
    return [int(it) for it in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def _behind(server: Server) -> int:
    """Return the process that has what the workers keep."""
    if isinstance(server, HeadgateOnRedis):
        return server.redis_pid
    assert isinstance(server, HeadgateProxy)
    return server.origin.pid
