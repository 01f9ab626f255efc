"""What it costs a busy gateway to be watched: scrapes, and ten people with the dashboard open."""

from __future__ import annotations

import contextlib
import http.client
import itertools
import tempfile
import threading
import time
from functools import partial
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from benchmarks import catchup
from benchmarks.machine import cpu_seconds
from benchmarks.report import Column, Section, at_least, at_most
from benchmarks.rounds import tell
from benchmarks.servers import HeadgateServer
from benchmarks.tools import run

if TYPE_CHECKING:
    from collections.abc import Iterator

    from benchmarks.rounds import Plan

SCRAPE_EVERY_S = 1.0  # fifteen times as often as Prometheus does as a rule
TURN_MS = 1_000
TURNS = 30
DASHBOARDS = 10
LOOK_S = 30.0
MOST_SCRAPE_MS = 50.0
MOST_LOST = 0.01  # of the throughput
MOST_OF_A_CORE = 0.02


def bench(plan: Plan) -> Section:
    """Scrapes under full load, and what open dashboards take of a core."""
    turns = TURNS if plan.every_load else TURNS // 5
    with HeadgateServer("memory:") as server, tempfile.NamedTemporaryFile() as body:
        body.write(catchup.BODY)
        body.flush()
        server.create("doc", "application/json", catchup.BODY)
        load = ("load", "get", server.port, 64, TURN_MS, server.pid, Path(body.name), catchup.PATH)
        turn = partial(run, *load)
        turn()  # warm
        ratios, took_ms = [], []
        for number in range(turns):
            rates = {}
            for scraped in (True, False) if number % 2 else (False, True):
                with scraping(server.admin_port, wanted=scraped) as taken:
                    rates[scraped] = turn()["per_s"]
                took_ms += taken
            ratios.append(rates[True] / rates[False])
        idle = share_of_a_core(server)
        with open_dashboards(server.admin_port, DASHBOARDS):
            looked_at = share_of_a_core(server)
    tell(f"{len(took_ms)} scrapes")
    figures = {
        "ms": median(took_ms),
        "worst": max(took_ms),
        "ratio": median(ratios),
        "core": looked_at - idle,
        "idle": idle,
    }
    return Section(
        title="being watched",
        columns=(
            Column("ms", "scrape: median ms", 1),
            Column("worst", "worst ms", 1),
            Column("ratio", "scraped / not", 3),
            Column("core", "dashboards: of a core", 4),
            Column("idle", "none", 4),
        ),
        servers={server.label: {"cached reads": figures}},
        verdicts=[
            at_most("a scrape under full load", median(took_ms), MOST_SCRAPE_MS, "ms"),
            at_least("throughput, scraped / not", median(ratios), 1 - MOST_LOST),
            at_most(f"{DASHBOARDS} open overviews", looked_at - idle, MOST_OF_A_CORE, " of a core"),
        ],
    )


@contextlib.contextmanager
def scraping(port: int, *, wanted: bool) -> Iterator[list[float]]:
    """Scrape again and again, if that is `wanted`; how long each took, in milliseconds."""
    taken: list[float] = []
    if not wanted:
        yield taken
        return
    over = threading.Event()

    def scrape() -> None:
        while not over.is_set():
            began = time.perf_counter()
            connection = http.client.HTTPConnection("127.0.0.1", port)
            connection.request("GET", "/metrics")
            answer = connection.getresponse()
            assert answer.status == 200, answer.status
            answer.read()
            taken.append((time.perf_counter() - began) * 1000)
            connection.close()
            over.wait(SCRAPE_EVERY_S)

    thread = threading.Thread(target=scrape)
    thread.start()
    try:
        yield taken
    finally:
        over.set()
        thread.join()


@contextlib.contextmanager
def open_dashboards(port: int, number: int) -> Iterator[None]:
    """As many overviews, kept open as browsers keep them, and read."""
    with contextlib.ExitStack() as stack:
        for _ in range(number):
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
            connection.request("GET", "/", headers={"Accept": "text/event-stream"})
            answer = connection.getresponse()
            assert answer.headers.get_content_type() == "text/event-stream", answer.headers
            reader = threading.Thread(target=_drain, args=(answer,))
            reader.start()
            stack.callback(reader.join)
            stack.callback(connection.sock.shutdown, 2)
        yield


def _drain(answer: http.client.HTTPResponse) -> None:
    with contextlib.suppress(OSError, http.client.HTTPException):
        for _ in itertools.takewhile(bool, iter(partial(answer.read1, 1 << 16), b"")):
            pass


def share_of_a_core(server: HeadgateServer) -> float:
    """Measure the server while nobody reads streams."""
    time.sleep(2)
    before = cpu_seconds(server.pid)
    time.sleep(LOOK_S)
    return (cpu_seconds(server.pid) - before) / LOOK_S
