"""Answers of models: what Headgate adds to a call, how many it carries at once, and its memory."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import tempfile
import threading
from functools import partial
from typing import TYPE_CHECKING, Any

from benchmarks.machine import TOOL_CORE, busy_seconds, cpu_seconds, resident_bytes
from benchmarks.report import CORES, Column, Section, at_most
from benchmarks.rounds import await_quiet, medians, tell
from benchmarks.servers import HeadgateServer, Process, on_core
from benchmarks.tools import ToolFailed
from tests.support.given_settings import variables
from tests.support.ports import free_port

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from benchmarks.rounds import Measured, Plan
    from benchmarks.tools import Figures

PREFIX = "/openai"
PATH = "/v1/chat/completions"
PER_SECOND = 50  # tokens of one answer
LONGEST_ADDED_MS = 50.0
PRECISION = 0.1  # of the number of answers at once
MOST_ANSWERS = 4000
ANSWERS, AT_ONCE, TOKENS = 10_000, 20, 20
LONG_BYTES, EVENT_BYTES = 1_000_000_000, 4096
FLAT_MB = 30.0  # by which memory may grow, whatever the number and the length of answers
LOAD_TIMEOUT_S = 1800.0
LOGS = ("memory:", "file:")
# Milliseconds until a provider's head. Those of real models are hundreds, in which Headgate has
# time to create the streams.
FIRST_LOADS: dict[str, dict[str, object]] = {
    "one call at a time": {"wait_ms": 0, "is_as_sent": False},
    "as an SDK sends it, with a key": {"wait_ms": 0, "is_as_sent": True},
    "the same, a head after 50 ms": {"wait_ms": 50, "is_as_sent": True},
}
ANSWERS_TTL_S = 3600


class ModelGateway(HeadgateServer):
    """Headgate before a double of a provider, on the core of the tools."""

    def __init__(self, log: str) -> None:
        self._provider_port = free_port()
        self._folder = tempfile.TemporaryDirectory(prefix="headgate-bench-")
        origin = log if log == "memory:" else f"{log}{self._folder.name}/data"
        model = {
            "prefix": PREFIX,
            "upstream": f"http://127.0.0.1:{self._provider_port}",
            "dialect": "openai",
            "streams": "/v1/stream/answers",
            "ttl": ANSWERS_TTL_S,
            "max_answers": 10 * MOST_ANSWERS,
            "max_client_answers": 10 * MOST_ANSWERS,
            "max_answer_size": 2 * LONG_BYTES,
        }
        environment = {**variables({"models": [model]}), "HEADGATE_LOG__REQUESTS": "info"}
        super().__init__(origin, environment=environment)
        self.label = f"headgate {log}"
        self._provider: Process | None = None

    def start(self) -> None:
        port = self._provider_port
        command = (sys.executable, "-m", "benchmarks.model_double", str(port))
        self._provider = Process(port, *command, core=TOOL_CORE)
        super().start()

    def stop(self) -> None:
        super().stop()
        if self._provider is not None:
            self._provider.stop()
        self._folder.cleanup()

    @property
    def direct(self) -> tuple[int, str]:
        """The port and path of a call without Headgate."""
        return self._provider_port, PATH

    @property
    def through(self) -> tuple[int, str]:
        """The port and path of a call through Headgate."""
        return self.port, PREFIX + PATH

    def load(self, kind: str, targets: Sequence[tuple[int, str]], **asked: Any) -> Figures:
        """Return the figures of a load, with the shares of the cores that all took."""
        assert self._provider is not None, "not started"
        pids = {"server_cpu": self.pid, "provider_cpu": self._provider.pid}
        before, busy = {it: cpu_seconds(pids[it]) for it in pids}, busy_seconds()
        arguments = json.dumps({"load": kind, "targets": targets, **asked})
        command = [*on_core(TOOL_CORE), sys.executable, "-m", "benchmarks.model_load", arguments]
        done = subprocess.run(
            command, stdout=subprocess.PIPE, text=True, check=False, timeout=LOAD_TIMEOUT_S
        )
        if done.returncode:
            raise ToolFailed(f"{self.label}: the load {arguments} failed")
        figures: Figures = json.loads(done.stdout)
        seconds = figures.pop("seconds")
        shares = {it: (cpu_seconds(pids[it]) - before[it]) / seconds for it in pids}
        known = figures["tool_cpu"] + sum(shares.values())
        other = (busy_seconds() - busy) / seconds - known
        return {**figures, **shares, "other_cpu": max(0.0, other)}


def bench_first(plan: Plan) -> Section:
    """Measure the time to the first token, through Headgate and without it in turns."""
    calls = plan.milliseconds // 2

    def measure(server: ModelGateway) -> Iterator[tuple[str, Figures]]:
        for load, how in FIRST_LOADS.items():
            await_quiet()
            targets = [server.direct, server.through]
            yield load, server.load("first", targets, calls=calls, **how)

    found = medians(plan, [partial(ModelGateway, log) for log in LOGS], measure)
    return Section(
        title="time to the first token, without Headgate and through it",
        columns=(
            Column("direct_p50_ms", "direct p50 ms", 2),
            Column("direct_p99_ms", "direct p99 ms", 2),
            Column("p50_ms", "p50 ms", 2),
            Column("p99_ms", "p99 ms", 2),
            Column("added_p50_ms", "added p50 ms", 2),
            Column("added_p99_ms", "added p99 ms", 2),
            *CORES,
        ),
        servers=found,
        verdicts=[],
    )


def bench_at_once(plan: Plan) -> Section:
    """Find the number of answers at once at which tokens get late."""
    found: dict[str, Measured] = {}
    for log in LOGS:
        with ModelGateway(log) as server:
            found[server.label] = _ramp(server, plan)
    return Section(
        title=f"answers at once of {PER_SECOND} tokens/s, on one core",
        columns=(
            Column("answers", "answers"),
            Column("tokens_per_s", "tokens/s"),
            Column("direct_p99_ms", "direct p99 ms", 2),
            Column("p50_ms", "p50 ms", 2),
            Column("p99_ms", "p99 ms", 2),
            Column("added_p99_ms", "added p99 ms", 2),
            Column("provider_cpu", "cpu provider", 2),
            *CORES,
        ),
        servers=found,
        verdicts=[],
    )


def _ramp(server: ModelGateway, plan: Plan) -> Measured:
    """Return the figures of the most answers that are in time, and of the fewest that are not."""
    in_time, late = 0, 0
    found: dict[int, Figures] = {}
    answers = 50
    while answers <= MOST_ANSWERS:
        found[answers] = _at_once(server, answers, plan)
        tell(
            f"{server.label}: {answers} answers add {found[answers]['added_p99_ms']:.2f} ms at p99"
        )
        if found[answers]["added_p99_ms"] < LONGEST_ADDED_MS:
            in_time = answers
        else:
            late = answers
        if late and late - in_time <= max(1, late * (PRECISION if plan.every_load else 0.5)):
            break
        answers = (in_time + late) // 2 if late else 2 * answers
    named = {"most in time": in_time, "fewest late": late}
    return {load: found[number] for load, number in named.items() if number}


def _at_once(server: ModelGateway, answers: int, plan: Plan) -> Figures:
    asked = {"answers": answers, "per_second": PER_SECOND, "seconds": plan.milliseconds / 1000 + 2}
    direct = server.load("at once", [server.direct], **asked)
    through = server.load("at once", [server.through], **asked)
    added = through["p99_ms"] - direct["p99_ms"]
    return {
        **through,
        "answers": answers,
        "direct_p99_ms": direct["p99_ms"],
        "added_p99_ms": added,
    }


def bench_memory(plan: Plan) -> Section:
    """Measure the memory of the server over many answers, and over a long one."""
    answers = ANSWERS if plan.every_load else ANSWERS // 10
    size = LONG_BYTES if plan.every_load else LONG_BYTES // 20
    found: Measured = {}
    with ModelGateway("file:") as server:
        server.load("many", [server.through], answers=answers // 10, at_once=AT_ONCE, tokens=TOKENS)
        with _growth(server) as grown:
            figures = server.load(
                "many", [server.through], answers=answers, at_once=AT_ONCE, tokens=TOKENS
            )
        found[f"{answers:,} answers"] = {**figures, **grown}
        with _growth(server) as grown:
            figures = server.load(
                "long", [server.through], events=size // EVENT_BYTES, size=EVENT_BYTES
            )
        found[f"an answer of {size // 1_000_000:,} MB"] = {**figures, **grown}
    return Section(
        title="memory over answers of models",
        columns=(
            Column("answers_per_s", "answers/s"),
            Column("mb_per_s", "MB/s", 1),
            Column("before_mb", "MB before", 1),
            Column("most_mb", "MB at most", 1),
            Column("grown_mb", "MB grown", 1),
            *CORES,
        ),
        servers={"headgate file:": found},
        verdicts=[
            at_most(f"{load}: growth of memory", figures["grown_mb"], FLAT_MB, "MB")
            for load, figures in found.items()
        ],
    )


@contextlib.contextmanager
def _growth(server: ModelGateway) -> Iterator[Figures]:
    """Enter with a dict that has the server's memory before and at most, once the block is over."""
    figures: Figures = {}
    over = threading.Event()
    before = most = resident_bytes(server.pid)

    def watch() -> None:
        nonlocal most
        while not over.wait(0.05):
            most = max(most, resident_bytes(server.pid))

    watching = threading.Thread(target=watch)
    watching.start()
    try:
        yield figures
    finally:
        over.set()
        watching.join()
    most = max(most, resident_bytes(server.pid))
    figures |= {
        "before_mb": before / 1e6,
        "most_mb": most / 1e6,
        "grown_mb": (most - before) / 1e6,
    }
