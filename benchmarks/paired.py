"""`python -m benchmarks.paired OTHER [LOAD ...]`: this checkout beside another one.

Both servers are up at once, on the same core, and take short turns, first one and then the other
first; each turn of the one is set against the turn of the other beside it. So what the machine does
meanwhile falls on both, and differences of a few per cent show that no two runs could tell apart.
Both are started anew several times: where a process comes to lie in memory makes a difference too.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import statistics
import sys
import tempfile
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from benchmarks import (
    append,
    as_sent,
    catchup,
    edge_passed,
    longpoll,
    machine,
    many_streams,
    sse,
    tools,
)
from benchmarks.proxies import HeadgateProxy
from benchmarks.redis_log import MEMORY_ONLY, Redis
from benchmarks.report import WIDTH
from benchmarks.rounds import tell
from benchmarks.servers import HeadgateServer, on_core
from benchmarks.tools import run
from tests.support.processes import HEADGATE

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import TypeAlias

    from benchmarks.servers import Server
    from benchmarks.tools import Figures

    Load: TypeAlias = Callable[[contextlib.ExitStack, Path], Callable[[], Figures]]

STARTS = 5
TURNS = 6
MILLISECONDS = 500
CONNECTIONS = 64
CREATIONS = 5000  # streams of one turn
NUMBERS = itertools.count()


def main() -> int:
    """0 when all was measured, 2 when nothing could be."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.paired")
    parser.add_argument("other", type=Path, help="the folder of another checkout, with its .venv")
    parser.add_argument("load", nargs="*", help=f"of {', '.join(LOADS)}; all by default")
    parser.add_argument("--starts", type=int, default=STARTS, help="of both servers")
    arguments = parser.parse_args()
    if unknown := set(arguments.load) - set(LOADS):
        parser.error(f"no such load: {', '.join(sorted(unknown))}")
    other = arguments.other.resolve() / ".venv" / "bin" / "headgate"
    if not other.exists():
        parser.error(f"{other} is missing; `make setup` there installs it.")
    try:
        machine.prepare_alone()
        tools.build()
        for load in arguments.load or LOADS:
            _compare(load, other, arguments.starts)
    except (machine.Unprepared, tools.ToolFailed) as failure:
        tell(str(failure))
        return 2
    return 0


def _compare(load: str, other: Path, starts: int) -> None:
    ratios, longer_ms = compared(LOADS[load], other, starts)
    shown = "   ".join(f"{name} {spread(found)}" for name, found in ratios.items())
    Console(width=WIDTH, highlight=False).print(
        f"{load:16} here / there: {shown}   p50 longer by {spread(longer_ms)} ms"
    )


def compared(load: Load, other: Path, starts: int) -> tuple[dict[str, list[float]], list[float]]:
    """Return the ratios of each figure, and by how much p50 is longer: one for each pair of turns.

    A turn counts in one pair only: bounds of the median hold for values that were measured apart.
    """
    ratios: dict[str, list[float]] = {"rate": [], "processor time each": [], "p50": []}
    longer_ms: list[float] = []
    for _ in range(starts):
        with contextlib.ExitStack() as stack:
            ours, theirs = (load(stack, program) for program in (HEADGATE, other))
            ours()  # warm
            theirs()
            for number in range(TURNS):
                if number % 2:
                    mine, its = ours(), theirs()
                else:
                    its, mine = theirs(), ours()
                ratios["rate"].append(mine["per_s"] / its["per_s"])
                ratios["processor time each"].append(_time_each(mine) / _time_each(its))
                ratios["p50"].append(mine["p50_ms"] / its["p50_ms"])
                longer_ms.append(mine["p50_ms"] - its["p50_ms"])
    return ratios, longer_ms


def _time_each(figures: Figures) -> float:
    return figures["server_cpu"] / figures["per_s"]


def spread(ratios: Sequence[float]) -> str:
    """Return the median, and the bounds within which such a median lies 19 times in 20."""
    ordered, count = sorted(ratios), len(ratios)
    reach = 0.98 * count**0.5  # the sign test's bounds, by the normal approximation
    low = ordered[max(0, int(count / 2 - reach))]
    high = ordered[min(count - 1, int(count / 2 + reach))]
    return f"{statistics.median(ordered):.3f} ({low:.3f} to {high:.3f})"


# ---------------------------------------------------------------- loads


def _reads(stack: contextlib.ExitStack, server: Server, *line: str) -> Callable[[], Figures]:
    body = Path(stack.enter_context(tempfile.TemporaryDirectory())) / "body"
    body.write_bytes(catchup.BODY)
    server.create("doc", "application/json", catchup.BODY)
    load = (*line, "get", server.port, CONNECTIONS, MILLISECONDS, server.pid)
    return partial(run, "load", *load, body, catchup.PATH)


def _own_reads(stack: contextlib.ExitStack, program: Path) -> Callable[[], Figures]:
    return _reads(stack, stack.enter_context(HeadgateServer("memory:", program=program)))


def _logged_reads(stack: contextlib.ExitStack, program: Path) -> Callable[[], Figures]:
    environment = {"HEADGATE_LOG__REQUESTS": "info"}
    server = HeadgateServer("memory:", environment=environment, program=program)
    return _reads(stack, stack.enter_context(server), "with", as_sent.ID)


def _origin_reads(stack: contextlib.ExitStack, program: Path) -> Callable[[], Figures]:
    return _reads(stack, stack.enter_context(HeadgateProxy(program=program)))


def _misses(stack: contextlib.ExitStack, server: Server) -> Callable[[], Figures]:
    """Return reads of which no two have the same query."""
    body = Path(stack.enter_context(tempfile.TemporaryDirectory())) / "body"
    body.write_bytes(edge_passed.READ)
    server.create("missed", "text/plain", edge_passed.READ)
    load = (server.port, edge_passed.CONNECTIONS, MILLISECONDS, server.pid, body)
    return lambda: run(
        "load", "asleep", "miss", *load, f"/v1/stream/missed?offset=-1&run={next(NUMBERS)}"
    )


def _origin_misses(stack: contextlib.ExitStack, program: Path) -> Callable[[], Figures]:
    log = HeadgateServer("memory:", preface=on_core(machine.TOOL_CORE))
    return _misses(stack, stack.enter_context(HeadgateProxy(program=program, origin=log)))


def _own_misses(stack: contextlib.ExitStack, program: Path) -> Callable[[], Figures]:
    return _misses(stack, stack.enter_context(HeadgateServer("memory:", program=program)))


def _appends(
    origin: str, streams: int, stack: contextlib.ExitStack, program: Path
) -> Callable[[], Figures]:
    server = _own_log(origin, stack, program)

    def once() -> Figures:
        return append.append(
            server, [f"append-{next(NUMBERS)}" for _ in range(streams)], MILLISECONDS
        )

    return once


def _passed_appends(
    workers: int, connections: int, stack: contextlib.ExitStack, program: Path
) -> Callable[[], Figures]:
    """Return appends through workers before an HTTP origin; each has a share of the connections."""
    proxy = HeadgateProxy(
        program=program,
        arguments=("--workers", str(workers)),
        origin=HeadgateServer("memory:", preface=on_core(machine.TOOL_CORE)),
    )
    server = stack.enter_context(proxy)

    def once() -> Figures:
        names = [f"passed-{next(NUMBERS)}" for _ in range(connections)]
        server.origin.create_all(names, "text/plain")
        paths = [server.append_path(name) for name in names]
        load = (f"{server.port},{server.port}", connections, MILLISECONDS, server.pid)
        return run("load", "asleep", "post", *load, append.RECORD_BYTES, *paths)

    return once


def _creations(origin: str, stack: contextlib.ExitStack, program: Path) -> Callable[[], Figures]:
    server = _own_log(origin, stack, program)
    return lambda: many_streams.create(server, f"many-{next(NUMBERS)}-", CREATIONS)


def _own_log(origin: str, stack: contextlib.ExitStack, program: Path) -> Server:
    if origin == "file:":
        append.DISK.mkdir(exist_ok=True)
        origin += stack.enter_context(tempfile.TemporaryDirectory(dir=append.DISK))
    if origin == "redis:":  # one for each of the two
        redis = Redis(MEMORY_ONLY)
        stack.callback(redis.stop)
        redis.start()
        origin = redis.server.url
    return stack.enter_context(HeadgateServer(origin, program=program))


def _live(
    follow: Callable[[Server, str, int], Figures],
    readers: int,
    stack: contextlib.ExitStack,
    program: Path,
) -> Callable[[], Figures]:
    server = stack.enter_context(HeadgateServer("memory:", program=program))
    return lambda: follow(server, f"live-{next(NUMBERS)}", readers)


LOADS: dict[str, Load] = {
    "reads": _own_reads,
    "logged-reads": _logged_reads,
    "origin-reads": _origin_reads,
    "origin-misses": _origin_misses,
    "own-misses": _own_misses,
    "memory-appends": partial(_appends, "memory:", 8),
    "file-appends": partial(_appends, "file:", 8),
    "memory-appends-1000": partial(_appends, "memory:", 1000),
    "file-appends-1000": partial(_appends, "file:", 1000),
    "redis-appends": partial(_appends, "redis:", 8),
    "redis-appends-1000": partial(_appends, "redis:", 1000),
    # With one connection p50 is how long an append takes; with many, how long it waits for others.
    "passed-appends-1": partial(_passed_appends, 1, 1),
    "passed-appends-1-loaded": partial(_passed_appends, 1, 32),
    "passed-appends-2": partial(_passed_appends, 2, 1),
    "passed-appends-2-loaded": partial(_passed_appends, 2, 32),
    "memory-creations": partial(_creations, "memory:"),
    "file-creations": partial(_creations, "file:"),
    "sse-1000": partial(_live, sse.deliver, 1000),
    "sse-5000": partial(_live, sse.deliver, 5000),
    "longpoll-1000": partial(_live, longpoll.follow, 1000),
    "longpoll-5000": partial(_live, longpoll.follow, 5000),
}

if __name__ == "__main__":
    sys.exit(main())
