"""A load of HEADs and reads: `python -m benchmarks.half_heads PORT CONNECTIONS MS PID PATH?QUERY`.

A closed loop of which every second request is a HEAD, and every other a read that no cache has:
behind each, the gateway decides whether the origin's connection may be used again. It prints its
figures as the tools in C do, and is slower than they are: it is for comparing two gateways.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import re
import statistics
import subprocess
import sys
import time

from benchmarks.machine import TOOL_CORE, cpu_seconds
from benchmarks.servers import on_core
from benchmarks.tools import Figures, ToolFailed

_LENGTH = re.compile(rb"\r\ncontent-length: *([0-9]+)", re.IGNORECASE)


def run(*arguments: object) -> Figures:
    """Run the loop in a process of its own, and return what it prints."""
    command = [*on_core(TOOL_CORE), sys.executable, "-m", "benchmarks.half_heads"]
    done = subprocess.run(
        [*command, *map(str, arguments)], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise ToolFailed(f"half_heads: {done.stderr.strip()}")
    figures: Figures = json.loads(done.stdout)
    return figures


class _Asker(asyncio.Protocol):
    """A connection that sends its next request as soon as the last one is answered."""

    def __init__(self, target: str, numbers: itertools.count[int], delays: list[float]) -> None:
        self._target = target
        self._numbers = numbers
        self._delays = delays
        self._is_head = False
        self._received = b""
        self._sent_at = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._ask()

    def _ask(self) -> None:
        self._is_head = not self._is_head
        method = "HEAD" if self._is_head else "GET"
        target = self._target if self._is_head else f"{self._target}&n={next(self._numbers)}"
        self._sent_at = time.perf_counter()
        self._transport.write(f"{method} {target} HTTP/1.1\r\nHost: bench\r\n\r\n".encode())

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, end, body = self._received.partition(b"\r\n\r\n")
        if not end:
            return
        if not head.startswith(b"HTTP/1.1 200"):
            sys.exit(f"a wrong answer: {head[:200]!r}")
        length = _LENGTH.search(head)
        if self._is_head or (length is not None and len(body) == int(length[1])):
            self._received = b""
            self._delays.append(time.perf_counter() - self._sent_at)
            self._ask()


async def _loop(port: int, connections: int, milliseconds: int, target: str) -> list[float]:
    loop, delays, numbers = asyncio.get_running_loop(), list[float](), itertools.count()
    for _ in range(connections):
        await loop.create_connection(lambda: _Asker(target, numbers, delays), "127.0.0.1", port)
    delays.clear()
    await asyncio.sleep(milliseconds / 1000)
    return delays


def main() -> None:
    """Print the figures."""
    port, connections, milliseconds, pid = map(int, sys.argv[1:5])
    target = f"{sys.argv[5]}&run={time.time_ns()}"
    spent, began = cpu_seconds(pid), time.perf_counter()
    delays = asyncio.run(_loop(port, connections, milliseconds, target))
    if not delays:
        sys.exit("nothing was answered in time")
    took, spent = time.perf_counter() - began, cpu_seconds(pid) - spent
    figures = {
        "requests": float(len(delays)),
        "per_s": len(delays) / took,
        "server_cpu": spent / took,
        "p50_ms": 1000 * statistics.median(delays),
    }
    sys.stdout.write(json.dumps(figures))


if __name__ == "__main__":
    main()
