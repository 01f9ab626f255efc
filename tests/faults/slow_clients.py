"""Thousands of clients that are as slow as they like, and what a good one notices of them.

`python -P -m tests.faults.slow_clients PORT COUNT` is the crowd: it connects COUNT clients, prints
a line when they are there, and then one for each look at how many the server still has.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import subprocess
import sys
import time
import urllib.request
from itertools import cycle
from typing import TYPE_CHECKING, NamedTuple

from tests.faults import memory
from tests.support.http1 import Wire, request
from tests.support.processes import ROOT, headgate

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.processes import Headgate

STREAM = "/v1/stream/slow"
TRICKLE_S = 1.0
LOOK_S = 0.5
BATCH = 100  # connections at once: a listener's backlog is shorter than a crowd
SPARE_FILES = 500
HEAD = b"GET /v1/stream/slow?offset=-1 HTTP/1.1\r\nHost: slow.test\r\nX-Slow: "
BODY = request("POST", STREAM, b"x" * 100_000, content_type="text/plain")[:-99_990]

# What a client sends at once, and whether a byte follows each second.
KINDS = {
    "half-open": (b"", False),
    "half a head": (HEAD, False),
    "a slow head": (HEAD, True),
    "half a body": (BODY, False),
    "a slow body": (BODY, True),
}


class Pings(NamedTuple):
    """How long a good client waited for each of its answers, sorted, in seconds."""

    waits: list[float]

    @property
    def p99_ms(self) -> float:
        return self.waits[len(self.waits) * 99 // 100] * 1000


class Report(NamedTuple):
    """What became of a crowd. `left_after_s` is when the server had none of them any more."""

    clients: int
    left_after_s: float
    without: Pings
    beside: Pings
    growth_bytes: int
    refused: dict[str, int]

    def __str__(self) -> str:
        return (
            f"{self.clients} slow clients: 0 left after {self.left_after_s:.1f} s, "
            f"p99 of a good one {self.beside.p99_ms:.2f} ms ({len(self.beside.waits)} requests), "
            f"without them {self.without.p99_ms:.2f} ms, "
            f"memory +{self.growth_bytes >> 20} MiB, refused {self.refused}"
        )


# ---------------------------------------------------------------- the crowd


class _SlowClient(asyncio.Protocol):
    def __init__(self, begins: bytes, *, trickles: bool, there: set[_SlowClient]) -> None:
        self._begins = begins
        self._trickles = trickles
        self._there = there
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._there.add(self)
        transport.write(self._begins)

    def connection_lost(self, exc: Exception | None) -> None:
        self._there.discard(self)

    def trickle(self) -> None:
        if self._trickles and self._transport is not None:
            self._transport.write(b"x")


async def _crowd(port: int, count: int) -> None:
    loop = asyncio.get_running_loop()
    there: set[_SlowClient] = set()
    kinds = cycle(KINDS.values())

    async def connect() -> None:
        begins, trickles = next(kinds)
        made = _SlowClient(begins, trickles=trickles, there=there)
        await loop.create_connection(lambda: made, "127.0.0.1", port)

    for start in range(0, count, BATCH):
        await asyncio.gather(*(connect() for _ in range(min(BATCH, count - start))))
    began = loop.time()
    trickled = began
    while there:
        print(json.dumps({"left": len(there), "after_s": loop.time() - began}), flush=True)  # noqa: T201
        await asyncio.sleep(LOOK_S)
        if loop.time() - trickled >= TRICKLE_S:
            trickled = loop.time()
            for client in list(there):
                client.trickle()
    print(json.dumps({"left": 0, "after_s": loop.time() - began}), flush=True)  # noqa: T201


@contextlib.contextmanager
def crowd(port: int, count: int) -> Iterator[Iterator[dict[str, float]]]:
    """The slow clients, in a process of their own, as the lines that it prints."""
    command = [sys.executable, "-P", "-m", "tests.faults.slow_clients", str(port), str(count)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as process:
        assert process.stdout is not None
        try:
            yield map(json.loads, process.stdout)
        finally:
            process.kill()


# ---------------------------------------------------------------- the measurement


def pings(server: Headgate, seconds: float) -> Pings:
    """How long a good client waits, who reads and appends."""
    waits = []
    with Wire(server.port) as wire:
        until = time.monotonic() + seconds
        asked = cycle(
            (
                request("GET", f"{STREAM}?offset=-1"),
                request("GET", f"{STREAM}?offset=now"),
                request("POST", STREAM, b"x", content_type="text/plain"),
            )
        )
        while time.monotonic() < until:
            began = time.perf_counter()
            wire.send(next(asked))
            assert wire.answer().status in {200, 204}
            waits.append(time.perf_counter() - began)
    return Pings(sorted(waits))


def refusals(server: Headgate) -> dict[str, int]:
    """How many each bound of the server has turned away."""
    with urllib.request.urlopen(f"{server.admin_url}/metrics") as answer:
        text = answer.read().decode()
    found = re.findall(r'^headgate_refusals_total\{limit="(\w+)"\} (\S+)', text, re.MULTILINE)
    return {limit: int(float(count)) for limit, count in found if float(count)}


def measure(clients: int, seconds: float) -> Report:
    """Send a crowd to a server of its own."""
    memory.allow_files(clients + SPARE_FILES)
    environment = {"HEADGATE_LIMITS__MAX_CONNECTIONS": str(2 * (clients + SPARE_FILES))}
    with headgate("memory:", environment=environment) as server:
        with Wire(server.port) as wire:
            wire.send(request("PUT", STREAM, b"one", content_type="text/plain"))
            assert wire.answer().status == 201
        without = pings(server, seconds)
        before = server.resident_bytes()
        with crowd(server.port, clients) as looks:
            assert next(looks)["left"] == clients, "the crowd did not all get through"
            beside = pings(server, seconds)
            growth = server.resident_bytes() - before
            last = list(looks)[-1]
        assert last["left"] == 0
        refused = refusals(server)
    return Report(clients, last["after_s"], without, beside, growth, refused)


if __name__ == "__main__":
    asyncio.run(_crowd(int(sys.argv[1]), int(sys.argv[2])))
