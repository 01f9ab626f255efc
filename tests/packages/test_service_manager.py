"""What a service manager is told: readiness, reloads, the drain, and the watchdog."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from headgate_gateway.process.service_manager import ServiceManager
from tests.support.processes import ANEW, headgate
from tests.support.waiting import wait_until
from tests.workers.several import Several

if TYPE_CHECKING:
    from collections.abc import Iterator

NOBODY = "http://127.0.0.1:9"  # an origin that is not asked
WATCHDOG_S = 0.4
PATIENCE_S = 20.0


class Manager:
    """The datagram socket at which a service manager listens."""

    def __init__(self, address: str) -> None:
        self.address = address
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(address.replace("@", "\0", 1) if address[0] == "@" else address)

    def close(self) -> None:
        self._socket.close()

    def environment(self, watchdog_s: float | None = None) -> dict[str, str]:
        """Return what the service manager has in the environment of a service."""
        watchdog = {} if watchdog_s is None else {"WATCHDOG_USEC": str(int(watchdog_s * 1e6))}
        return {"NOTIFY_SOCKET": self.address, **watchdog}

    def next(self, within_s: float = PATIENCE_S) -> str:
        """Return the next message. Raises TimeoutError."""
        self._socket.settimeout(within_s)
        return self._socket.recv(4096).decode()

    def next_of(self, first: str) -> str:
        """Return the next message that begins so; notifications of the watchdog come between."""
        while not (message := self.next()).startswith(first):
            assert message == "WATCHDOG=1", message
        return message

    def drain(self) -> None:
        """Take what has come already."""
        with contextlib.suppress(BlockingIOError):
            while True:
                self._socket.setblocking(False)
                self._socket.recv(4096)


@pytest.fixture(params=["path", "abstract"])
def any_manager(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Manager]:
    abstract = f"@headgate-{os.getpid()}"
    made = Manager(str(tmp_path / "notify") if request.param == "path" else abstract)
    yield made
    made.close()


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    made = Manager(str(tmp_path / "notify"))
    yield made
    made.close()


def now_us() -> int:
    return time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000


@pytest.mark.usefixtures("processes")
def test_a_server_tells_that_it_serves_reloads_refuses_a_reload_and_drains(
    any_manager: Manager, tmp_path: Path
) -> None:
    settings = tmp_path / "headgate.toml"
    settings.write_text("limits.max_append = 1000\n")
    arguments = ["--config", str(settings)]
    with headgate(arguments=arguments, environment=any_manager.environment()) as server:
        assert any_manager.next() == "READY=1\nSTATUS=Serving"
        before = now_us()
        os.kill(server.pid, signal.SIGHUP)
        reloading = re.fullmatch(
            r"RELOADING=1\nMONOTONIC_USEC=(\d+)\nSTATUS=Reloading", any_manager.next()
        )
        assert reloading is not None
        assert before <= int(reloading[1]) <= now_us()
        assert any_manager.next() == "READY=1\nSTATUS=Serving"
        settings.write_text("limits.max_append = none\n")
        os.kill(server.pid, signal.SIGHUP)
        assert any_manager.next().startswith("RELOADING=1\n")
        refused = any_manager.next()
        assert refused.startswith("READY=1\nSTATUS=Serving; the last reload was refused")
        assert server.terminate() == 0
        assert any_manager.next() == "STOPPING=1\nSTATUS=Draining"


@pytest.mark.usefixtures("processes")
def test_a_server_that_cannot_start_never_tells_that_it_serves(
    manager: Manager, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    environment = manager.environment()
    with (
        pytest.raises(AssertionError, match="did not become ready"),
        headgate(f"file:{tmp_path}/file", environment=environment),
    ):
        pass
    with pytest.raises(TimeoutError):
        manager.next(within_s=0.1)


@pytest.mark.usefixtures("processes")
def test_the_watchdog_is_notified_twice_in_its_time(manager: Manager) -> None:
    with headgate(environment=manager.environment(WATCHDOG_S)) as server:
        manager.next_of("READY=1")
        assert manager.next() == "WATCHDOG=1"
        began = time.monotonic()
        for _ in range(10):
            assert manager.next() == "WATCHDOG=1"
        assert time.monotonic() - began >= 9 * WATCHDOG_S / 2
        assert server.terminate() == 0
        manager.next_of("STOPPING=1")


@pytest.mark.usefixtures("processes")
def test_a_server_that_its_watchdog_ends_prints_the_stack_it_hung_in(manager: Manager) -> None:
    environment = {**manager.environment(WATCHDOG_S), "PYTHONFAULTHANDLER": "1"}
    with headgate(environment=environment, preface=ANEW) as server:
        manager.next_of("READY=1")
        os.kill(server.pid, signal.SIGSTOP)
        status = Path(f"/proc/{server.pid}/status")
        wait_until(lambda: "State:\tT" in status.read_text())  # it may notify until then
        manager.drain()
        with pytest.raises(TimeoutError):
            manager.next(within_s=3 * WATCHDOG_S)
        os.kill(server.pid, signal.SIGABRT)  # as systemd does
        os.kill(server.pid, signal.SIGCONT)
        assert server.process is not None
        assert server.process.wait(20) == -signal.SIGABRT
        assert "Fatal Python error: Aborted" in server.output()
        assert "gateway/headgate_gateway/process/serve.py" in server.output()


@pytest.mark.usefixtures("processes")
def test_workers_notify_together_while_one_answers_and_not_when_none_does(
    manager: Manager,
) -> None:
    environment = manager.environment(2.0)
    several = Several(NOBODY, arguments=["--workers", "2"], environment=environment)
    with contextlib.closing(several) as server:
        server.spawn()
        assert manager.next() == "READY=1\nSTATUS=Serving"
        workers = server.workers()
        assert len(workers) == 2
        assert variables_of(*workers.values()) == set()
        with stopped(workers[1]):
            manager.drain()
            assert [manager.next() for _ in range(3)] == ["WATCHDOG=1"] * 3
        with stopped(*workers.values()):
            manager.drain()
            with contextlib.suppress(TimeoutError):  # that of a report before
                manager.next(within_s=1.5)
            with pytest.raises(TimeoutError):
                manager.next(within_s=3.0)
        assert manager.next() == "WATCHDOG=1"
        assert server.terminate() == 0
        manager.next_of("STOPPING=1")


def variables_of(*pids: int) -> set[bytes]:
    """Return the variables for services in the environments of processes."""
    named = set()
    for pid in pids:
        with open(f"/proc/{pid}/environ", "rb") as environment:  # noqa: PTH123
            named |= set(re.findall(rb"(?:NOTIFY|WATCHDOG)_\w+", environment.read()))
    return named


@contextlib.contextmanager
def stopped(*pids: int) -> Iterator[None]:
    """Have processes hang in the block."""
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)


@pytest.mark.usefixtures("processes")
def test_a_manager_that_is_gone_is_logged_and_the_server_serves_on(
    manager: Manager, tmp_path: Path
) -> None:
    manager.close()
    with headgate(environment=manager.environment()) as server:
        assert server.terminate() == 0
        assert server.output().count('"server.manager_unreachable"') == 2


async def test_a_full_queue_of_the_manager_blocks_no_loop_and_loses_no_message(
    tmp_path: Path,
) -> None:
    path = str(tmp_path / "notify")
    with (
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as queue,
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as others,
    ):
        queue.bind(path)
        queue.settimeout(20)
        others.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            while True:
                others.sendto(b"of another service", path)
        manager = ServiceManager(path)
        manager.report_drain()  # returns although nobody has read from the queue
        received = b""
        while not received.startswith(b"STOPPING=1"):
            received = queue.recv(4096)
        await manager.stop()


@pytest.mark.parametrize(
    ("variables", "watchdog_s"),
    [
        ({}, None),
        ({"WATCHDOG_USEC": "3000000"}, 3.0),
        ({"WATCHDOG_USEC": "3000000", "WATCHDOG_PID": "OWN"}, 3.0),
        ({"WATCHDOG_USEC": "3000000", "WATCHDOG_PID": "1"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
    ],
)
def test_the_variables_of_the_watchdog_are_read_and_removed(
    variables: dict[str, str], watchdog_s: float | None
) -> None:
    own = str(os.getpid())
    given = {name: own if value == "OWN" else value for name, value in variables.items()}
    environment = {"NOTIFY_SOCKET": "/run/systemd/notify", **given, "HOME": "/"}
    taken = ServiceManager.from_environment(environment)
    assert environment == {"HOME": "/"}
    assert taken.watchdog_s == watchdog_s
