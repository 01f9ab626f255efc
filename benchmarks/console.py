"""The console of a gateway with many streams and readers: every page, and ten open overviews."""

from __future__ import annotations

import http.client
import time
from statistics import median
from typing import TYPE_CHECKING

from benchmarks.append import folders
from benchmarks.many_streams import create
from benchmarks.report import Column, Section, at_most
from benchmarks.rounds import tell
from benchmarks.servers import HeadgateServer
from benchmarks.tools import held
from benchmarks.watching import DASHBOARDS, MOST_OF_A_CORE, open_dashboards, share_of_a_core
from tests.admin.browser.every_page import PATHS
from tests.support.stalls import measured_waits

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from benchmarks.report import Verdict
    from benchmarks.rounds import Measured, Plan
    from tests.support.stalls import Stall

STREAMS, READERS = 100_000, 5_000  # 20,000 open files hold them and the pages
MOST_MS, MOST_KB, LONGEST_MS = 300.0, 1000.0, 20.0
TIMES = 20  # that each page is asked for
AFTER_S = 0.2  # for what a page leaves behind
WATCHED = "watched"  # the stream that all readers follow
STREAM = f"/streams/one?route=/v1/stream&name={WATCHED}"
# What costs most of a page; every other page is asked for by its path alone.
STATES = {
    "/streams": [
        "/streams",
        *(f"/streams?order={it}" for it in ("readers", "rate", "growth", "size")),
        "/streams?by=begins&text=many-005",
        "/streams?by=contains&text=9999",
    ],
    "/streams/one": [
        STREAM,
        *(f"{STREAM}&tab={it}" for it in ("readers", "producers", "metadata")),
    ],
    "/caches": [f"/caches?target=/v1/stream/{WATCHED}"],
    "/caches/cdn": ["/caches/cdn?target=nginx&host=streams.example.com"],
}


def bench(plan: Plan) -> Section:
    """Pages, their sizes and what others wait meanwhile; then what ten overviews take."""
    times = TIMES if plan.every_load else TIMES // 4
    room = {"HEADGATE_LIMITS__MAX_CONNECTIONS": str(2 * (READERS + 100))}
    with folders() as fresh, HeadgateServer(f"file:{fresh()}", environment=room) as server:
        tell(f"creating {STREAMS:,} streams")
        create(server, "many-", STREAMS)
        server.create("ping", "text/plain", b"x")
        server.create(WATCHED, "application/json")
        load = (server.port, READERS, 1, 0, server.pid, server.append_port)
        paths = (server.append_path(WATCHED), server.events_path(WATCHED))
        with held("fanout", *load, *paths) as readers:
            server.settle()
            found = _pages(server, times)
            idle = share_of_a_core(server)
            with open_dashboards(server.admin_port, DASHBOARDS):
                looked_at = share_of_a_core(server)
                stall = _longest_wait(server)
            readers.release()
    found[f"{DASHBOARDS} overviews"] = {
        "core": looked_at - idle,
        "cpu_ms": stall.cpu_ms,
        "wall_ms": stall.wall_ms,
    }
    return Section(
        title=f"the console, with {STREAMS:,} streams and {READERS:,} readers",
        columns=(
            Column("ms", "median ms", 1),
            Column("worst_ms", "worst ms", 1),
            Column("kb", "KB", 0),
            Column("cpu_ms", "others wait: cpu ms", 1),
            Column("wall_ms", "ms", 1),
            Column("core", "of a core", 4),
        ),
        servers={server.label: found},
        verdicts=[
            *_of_all(found, "worst_ms", "the slowest page", MOST_MS, " ms"),
            *_of_all(found, "kb", "the largest page", MOST_KB, " KB"),
            *_of_all(
                found, "cpu_ms", "the longest wait of others, by processor", LONGEST_MS, " ms"
            ),
            at_most(f"{DASHBOARDS} open overviews", looked_at - idle, MOST_OF_A_CORE, " of a core"),
        ],
    )


def _of_all(found: Measured, name: str, claim: str, limit: float, unit: str) -> list[Verdict]:
    worst = max((it for it in found if name in found[it]), key=lambda it: found[it][name])
    return [at_most(f"{claim}: {worst}"[:62], found[worst][name], limit, unit)]


def _pages(server: HeadgateServer, times: int) -> Measured:
    """Ask for each page again and again, while another client measures how long it waits."""
    found: Measured = {}
    with _waits(server) as worst:
        for path in (state for it in PATHS for state in STATES.get(it, [it])):
            _ask(server, path)  # its template is compiled, in a thread
            worst()
            answers = [_ask(server, path) for _ in range(times)]
            time.sleep(AFTER_S)
            stall = worst()
            found[path] = {
                "ms": median(took_ms for took_ms, _ in answers),
                "worst_ms": max(took_ms for took_ms, _ in answers),
                "kb": max(size for _, size in answers) / 1000,
                "cpu_ms": stall.cpu_ms,
                "wall_ms": stall.wall_ms,
            }
            tell(f"{path}: {found[path]}")
    return found


def _ask(server: HeadgateServer, path: str) -> tuple[float, int]:
    """Return how long a page took, in milliseconds, and its size in bytes."""
    connection = http.client.HTTPConnection("127.0.0.1", server.admin_port, timeout=60)
    began = time.perf_counter()
    connection.request("GET", path, headers={"Accept": "text/html"})
    answer = connection.getresponse()
    size = len(answer.read())
    took_ms = (time.perf_counter() - began) * 1000
    assert answer.status == 200, (path, answer.status)
    connection.close()
    return took_ms, size


def _waits(server: HeadgateServer) -> AbstractContextManager[Callable[[], Stall]]:
    targets = ["/v1/stream/ping?offset=-1", "/v1/stream/ping?offset=now"]
    return measured_waits(server.port, server.admin_port, server.pid, targets)


def _longest_wait(server: HeadgateServer) -> Stall:
    """Return what another client waits at most, within ten looks of the overviews."""
    with _waits(server) as worst:
        worst()
        time.sleep(20)
        return worst()
