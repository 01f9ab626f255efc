"""How long a server keeps a client waiting: `python -m tests.support.pinging` with arguments.

They are its PORT, ADMIN_PORT and PID, and a TARGET or more, which take turns with a health check.
In a process of its own, whose interpreter does nothing else. For each line of input it prints the
worst wait since the last one, as seconds of the clock and seconds that all threads of the server
were on a processor meanwhile: what others do on the machine is in the first, not in the second.
"""

from __future__ import annotations

import select
import sys
import time
from pathlib import Path

from tests.support.http1 import Wire, request

PAUSE_S = 0.006  # what a wait may seem shorter by; without it the client would take a processor


def on_processor_s(pid: int) -> float:
    """How long the threads of a process have been on a processor."""
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e9


def main() -> None:
    """Ask until the input ends."""
    port, admin_port, pid = map(int, sys.argv[1:4])
    gateway, admin = Wire(port), Wire(admin_port)
    asked = [
        *((gateway, request("GET", target)) for target in sys.argv[4:]),
        (admin, request("GET", "/healthz")),
    ]
    worst_s = worst_cpu_s = 0.0
    while True:
        for wire, ping in asked:
            began, cpu_s = time.perf_counter(), on_processor_s(pid)
            wire.send(ping)
            wire.answer()
            worst_s = max(worst_s, time.perf_counter() - began)
            worst_cpu_s = max(worst_cpu_s, on_processor_s(pid) - cpu_s)
            if select.select([sys.stdin], [], [], PAUSE_S)[0]:
                if not sys.stdin.readline():
                    return
                sys.stdout.write(f"{worst_s} {worst_cpu_s}\n")
                sys.stdout.flush()
                worst_s = worst_cpu_s = 0.0


if __name__ == "__main__":
    main()
