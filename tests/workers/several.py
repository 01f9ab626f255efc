"""A Headgate of several workers before an origin, and a look at its processes."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.support.forked_workers import number_of
from tests.support.given_settings import variables
from tests.support.http1 import Answer, ask
from tests.support.processes import Headgate
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


def is_alive(pid: int) -> bool:
    """Whether a process runs: one that has ended may wait for long to be collected."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] not in "ZX"


def serves(check: str) -> bool:
    """Whether a worker serves, by its check: in place of another one it says so for a minute."""
    return check == "ok" or "; a new one serves since " in check


def _children(pid: int) -> list[int]:
    with contextlib.suppress(OSError):
        return [*map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())]
    return []


class Several(Headgate):
    """`pid` is the supervisor's."""

    def has_admin(self) -> bool:
        """Whether the admin listener answers."""
        assert self.is_running, self.output()
        with contextlib.suppress(OSError):
            return ask(self.admin_port, "GET", "/healthz").status == 200
        return False

    def workers(self) -> dict[int, int]:
        """The pid of each worker that runs now, by its number."""
        found = {}
        children = _children(self.pid)
        # Those that are forked are children of a fork server that is one.
        for pid in [*children, *(it for child in children for it in _children(child))]:
            with contextlib.suppress(OSError):  # it may end at any moment
                number = number_of(pid)
                if number is not None and is_alive(pid):
                    found[number] = pid
        return found

    def readyz(self) -> Answer:
        return ask(self.admin_port, "GET", "/readyz")

    def check(self, name: str) -> str:
        """What `/readyz` says of one check."""
        return str(self.readyz().json()["checks"].get(name))

    def is_ready(self) -> bool:
        """Whether it is to be sent requests, and every worker serves."""
        answer = self.readyz()
        workers = {
            reason for name, reason in answer.json()["checks"].items() if name.startswith("worker ")
        }
        return answer.status == 200 and all(map(serves, workers))  # a single one is the server

    def metrics(self) -> dict[str, float]:
        """Each sample of `/metrics`, with its labels in its name."""
        text = ask(self.admin_port, "GET", "/metrics").body.decode()
        lines = [line.rpartition(" ") for line in text.splitlines() if line[:1] != "#"]
        return {name: float(number) for name, _, number in lines}

    def counters(self) -> dict[str, float]:
        return {name: n for name, n in self.metrics().items() if re.search(r"_total(\{|$)", name)}

    def events(self, name: str) -> list[dict[str, Any]]:
        """The log lines of one event."""
        lines = [json.loads(line) for line in self.output().splitlines() if line[:1] == "{"]
        return [line for line in lines if line["event"] == name]

    def told(self, name: str) -> list[dict[str, Any]]:
        """The same, once there are any."""
        wait_until(lambda: bool(self.events(name)), f"{name} is logged")
        return self.events(name)

    @property
    def is_running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def signal(self, number: signal.Signals = signal.SIGTERM) -> None:
        assert self.process is not None, "not started"
        self.process.send_signal(number)

    def exit_status(self, timeout_s: float) -> int:
        assert self.process is not None, "not started"
        return self.process.wait(timeout_s)

    def send_sigterm(self) -> None:
        """SIGTERM; returns when the supervisor and all workers stop."""
        self.signal()
        wait_until(self._stops, "all know that they stop")

    def _stops(self) -> bool:
        checks = self.readyz().json()["checks"]
        told = {reason for name, reason in checks.items() if name.startswith("worker ")}
        return bool(checks["server"] == "stopping") and told <= {"stopping", "stopped"}


@contextlib.contextmanager
def several(
    origin: str,
    workers: int = 2,
    *,
    route: Mapping[str, object] | None = None,
    **environment: object,
) -> Iterator[Several]:
    """Workers that serve; none of them is left when the block ends. `route` has more settings."""
    with starting(origin, workers, route=route, **environment) as server:
        wait_until(lambda: server.has_admin() and server.is_ready(), "all workers serve")
        yield server


@contextlib.contextmanager
def starting(
    origin: str,
    workers: int = 2,
    *,
    route: Mapping[str, object] | None = None,
    **environment: object,
) -> Iterator[Several]:
    """The same, while they start."""
    server = Several(
        origin,
        arguments=["--workers", str(workers)],
        environment=variables(environment),
    )
    if route is not None:
        place = "origin" if origin.startswith("http") else "storage"
        server.serve_routes({"prefix": "/v1/stream", place: origin, **route})
    try:
        server.spawn()
        yield server
    finally:
        left = server.workers() if server.is_running else {}
        server.close()
        for pid in left.values():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
