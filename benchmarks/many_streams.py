"""Appends to far more streams than are kept in memory, at random, and the creation of as many."""

from __future__ import annotations

import itertools
from collections import defaultdict
from typing import TYPE_CHECKING

from benchmarks import peers
from benchmarks.append import RECORD_BYTES, WRITERS, append, folders, read_all
from benchmarks.report import CORES, DELAYS, Column, Section, at_least
from benchmarks.rounds import medians, undisturbed
from benchmarks.servers import HeadgateServer
from benchmarks.tools import ToolFailed, run

if TYPE_CHECKING:
    from collections.abc import Iterator

    from benchmarks.rounds import Plan
    from benchmarks.servers import Server
    from benchmarks.tools import Figures

STREAMS = 150_000  # three times as many as a table keeps
AT_RANDOM = f"{STREAMS:,} at random"
SAMPLE = 200  # streams that are read afterwards
LONGEST_MS = 300_000  # creation ends when all are there
WORD = 2**64 - 1


def bench(plan: Plan) -> Section:
    """Into `file:`, and into another server's log where there is one."""
    with folders() as fresh_folder:
        servers = [lambda: HeadgateServer(f"file:{fresh_folder()}"), *peers.on_disk(fresh_folder)]
        found = medians(plan, servers, lambda server: _measure(server, plan.milliseconds))
    rates = {load: figures["per_s"] for load, figures in found["headgate file:"].items()}
    return Section(
        title=f"appends of {RECORD_BYTES} bytes over {WRITERS} connections, and creations",
        columns=(Column("per_s", "requests/s"), *DELAYS, *CORES),
        servers=found,
        verdicts=[
            at_least(f"{load} / appends to 8 streams", rates[load] / rates["8 streams"], 0.4)
            for load in (AT_RANDOM, "creation")
        ],
    )


def _measure(server: Server, milliseconds: int) -> Iterator[tuple[str, Figures]]:
    numbers = itertools.count()

    def few() -> Figures:
        return append(server, [f"append-{next(numbers)}" for _ in range(8)], milliseconds)

    append(server, ["warm"], 500)
    yield "8 streams", undisturbed(few)
    yield "creation", create(server, "many-", STREAMS)
    yield AT_RANDOM, append_at_random(server, "many-", STREAMS, milliseconds)


def create(server: Server, name: str, streams: int) -> Figures:
    """So many streams, created by all connections together."""
    paths = f"{server.append_path(name)}*{streams}"
    figures = run("load", "put", server.port, WRITERS, LONGEST_MS, server.pid, 0, paths)
    if figures["requests"] != streams:
        raise ToolFailed(f"{figures['requests']} streams created instead of {streams}")
    return figures


def append_at_random(server: Server, name: str, streams: int, milliseconds: int) -> Figures:
    """Append to streams that `create` has made, and compare the content of some."""
    path = server.append_path(name)
    load = (server.port, WRITERS, milliseconds, server.pid, RECORD_BYTES)
    figures = run("load", "post", *load, f"{path}*{streams}")
    expected: defaultdict[int, set[int]] = defaultdict(set)
    for number in range(int(figures["requests"])):
        expected[chosen(number, streams)].add(number)
    for stream in list(expected)[:SAMPLE]:
        log = read_all(server, f"{path}{stream:07}")
        records = [log[at : at + RECORD_BYTES] for at in range(0, len(log), RECORD_BYTES)]
        numbers = [int(record[4:13]) for record in records]
        if sorted(numbers) != sorted(expected[stream]):
            raise ToolFailed(f"{path}{stream:07} holds {numbers}, not {expected[stream]}")
    return figures


def chosen(number: int, streams: int) -> int:
    """Where the load tool sends the append of this number: `choose` in load.c."""
    mixed = number + 1
    mixed = ((mixed ^ mixed >> 30) * 0xBF58476D1CE4E5B9) & WORD
    mixed = ((mixed ^ mixed >> 27) * 0x94D049BB133111EB) & WORD
    return (mixed ^ mixed >> 31) % streams
