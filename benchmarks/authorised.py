"""Cached reads with a token beside those of a public log, on one core, in turns."""

from __future__ import annotations

import contextlib
import hashlib
import statistics
import tempfile
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.catchup import BODY, PATH
from benchmarks.report import CORES, DELAYS, Column, Section, at_least
from benchmarks.servers import HeadgateServer
from benchmarks.tools import run

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from benchmarks.rounds import Plan
    from benchmarks.servers import Server
    from benchmarks.tools import Figures
    from tests.support.http1 import Answer

TURNS = 6
LOAD = "64 connections"
MOST = 1.15  # of a public read's processor time
TOKEN = "bench-0123456789abcdef0123456789"
LINE = f"Authorization: Bearer {TOKEN}"
TOKENS = f"""[[tokens]]
name = "bench"
token = "sha256:{hashlib.sha256(TOKEN.encode()).hexdigest()}"
grants = [{{ streams = "/v1/stream/*", operations = ["read", "create"] }}]
"""


class GuardedServer(HeadgateServer):
    """Headgate whose users need a token."""

    def __init__(self, origin: str, tokens: Path) -> None:
        environment = {"HEADGATE_AUTH": "tokens", "HEADGATE_CREDENTIALS__TOKENS_FILE": str(tokens)}
        super().__init__(origin, environment=environment)
        self.label = "the same, authorised"

    def request(
        self, method: str, path: str, body: bytes = b"", headers: Mapping[str, str] | None = None
    ) -> Answer:
        """One request with the token."""
        told = {**(headers or {}), "Authorization": f"Bearer {TOKEN}"}
        return super().request(method, path, body, told)


def bench(plan: Plan) -> Section:
    """Measure what a token costs a cached read, in turns with and without one."""
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        tokens, body = folder / "tokens.toml", folder / "body"
        tokens.write_text(TOKENS)
        body.write_bytes(BODY)
        public = stack.enter_context(HeadgateServer(f"file:{folder / 'public'}"))
        guarded = stack.enter_context(GuardedServer(f"file:{folder / 'guarded'}", tokens))
        for server in public, guarded:
            server.create("doc", "application/json", BODY)
        read = [reads(plan, public, body), reads(plan, guarded, body, "with", LINE)]
        for warm in read:
            warm()
        found: list[list[Figures]] = [[], []]
        for turn in range(TURNS * plan.rounds):
            for which in ((0, 1), (1, 0))[turn % 2]:
                found[which].append(read[which]())
    ratio = statistics.median(
        time_each(mine) / time_each(its) for its, mine in zip(*found, strict=True)
    )
    labels = (public.label, guarded.label)
    return Section(
        title=f"cached reads of {len(BODY):,} bytes with a token",
        columns=(Column("per_s", "reads/s"), *DELAYS, *CORES),
        servers={
            label: {LOAD: medians_of(runs)} for label, runs in zip(labels, found, strict=True)
        },
        verdicts=[at_least("public / authorised, processor time of a read", 1 / ratio, 1 / MOST)],
    )


def reads(
    plan: Plan, server: Server, body: Path, *header: str, mode: str = "get"
) -> Callable[[], Figures]:
    """Return a load of reads with a header line behind `with`, if any."""
    load = (*header, mode, server.port, 64, plan.milliseconds // 3, server.pid)
    return partial(run, "load", *load, body, PATH)


def time_each(figures: Figures) -> float:
    """Return the processor time of a read, in seconds."""
    return figures["server_cpu"] / figures["per_s"]


def medians_of(runs: list[Figures]) -> Figures:
    """Return each figure's median."""
    return {name: statistics.median(run[name] for run in runs) for name in runs[0]}
