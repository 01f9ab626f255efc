"""Run tests in several processes, forked when all tests are collected: the option `-n` of pytest.

To import and collect some ten thousand tests takes ten seconds of a core, and to tell another
process of each of them as long again. So it is done once, and each worker is a copy.
"""

from __future__ import annotations

import atexit
import contextlib
import io
import os
import signal
import sys
import threading
import traceback
from collections import deque
from multiprocessing import Pipe
from multiprocessing.connection import wait
from typing import TYPE_CHECKING, Any, NoReturn, TextIO, cast

import pytest
from _pytest._io import TerminalWriter

from tests.support.fork_server import die_with

if TYPE_CHECKING:
    from collections.abc import Iterator
    from multiprocessing.connection import Connection
    from pathlib import Path

    from _pytest.capture import CaptureManager

CRASHED = "???"
"""The phase of a test in which its worker has died."""
ENDS_S = 20.0
"""How long a worker may take to end what its tests have started, before it is killed."""
FOLDER = "worker-"
AHEAD = 2
"""So many tests a worker has been told of: the one that it plays, and the next one, of which
pytest asks what of the fixtures is kept."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option, by the name that it has everywhere; pytest keeps small letters to itself."""
    group = parser.getgroup("forking", "tests on several workers")
    group._addoption("-n", type=int, default=0, dest="forks", metavar="N", help="on so many")


def forks(config: pytest.Config) -> int:
    """Return on how many workers tests are run; 0 is in this process."""
    number: int = config.getoption("forks", 0)
    return number


def shared_folder(factory: pytest.TempPathFactory) -> Path:
    """Return a temporary folder that all workers of a run have in common."""
    base = factory.getbasetemp()
    return base.parent if base.name.startswith(FOLDER) else base


@pytest.hookimpl(tryfirst=True)
def pytest_runtestloop(session: pytest.Session) -> bool | None:
    """Run the tests on workers, if there are to be any."""
    is_asked = forks(session.config) > 0 and not session.config.option.collectonly
    if not is_asked or session.testsfailed or not session.items:
        return None
    Runner(session).run()
    if session.shouldfail:
        raise session.Failed(session.shouldfail)
    if session.shouldstop:
        raise session.Interrupted(session.shouldstop)
    return True


class Worker:
    """A process that plays tests, and those that it has been told of, by their numbers."""

    def __init__(self, number: int, tests: deque[int]) -> None:
        """It begins with these tests, and others may take of their end."""
        self.number = number
        self.tests = tests
        self.told: deque[int] = deque()
        self.is_last_told = False
        self.pid = 0
        self.connection: Connection[Any, Any]

    def end(self) -> None:
        """Have it end what its tests have started, and then itself."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGINT)

    def wait(self) -> int:
        """Return its exit status, as `subprocess` has it. It is killed when it does not end."""
        pidfd = os.pidfd_open(self.pid)
        try:
            if not wait([pidfd], ENDS_S):
                os.kill(self.pid, signal.SIGKILL)
            _, status = os.waitpid(self.pid, 0)
        finally:
            os.close(pidfd)
            self.connection.close()
        return os.waitstatus_to_exitcode(status)


class Runner:
    """Shares the tests out, and tells pytest what became of them."""

    def __init__(self, session: pytest.Session) -> None:
        """Share the tests of a session."""
        self._session = session
        self._hook = session.config.hook
        # Made before any worker, which has a folder in it.
        session.config._tmp_path_factory.getbasetemp()  # type: ignore[attr-defined]
        count = min(forks(session.config), len(session.items))
        share = len(session.items) // count
        numbers = range(len(session.items))
        starts = [number * share for number in range(count)]
        ends = [*starts[1:], len(numbers)]
        self._parts = [deque(numbers[at:end]) for at, end in zip(starts, ends, strict=True)]
        self._workers: list[Worker] = []
        self._started = 0

    def run(self) -> None:
        """Run all tests, or as many as there are before somebody says stop."""
        reporter = self._session.config.pluginmanager.get_plugin("terminalreporter")
        if reporter is not None:  # several files at once
            reporter.showfspath = False
        try:
            for part in self._parts:
                self._start(part)
            while self._workers:
                self._listen()
        except BaseException:
            for worker in self._workers:
                worker.end()
            raise
        finally:
            for worker in self._workers:
                worker.wait()

    def _start(self, tests: deque[int]) -> None:
        worker = Worker(self._started, tests)
        self._started += 1
        ours, theirs = Pipe()
        sys.stdout.flush()
        sys.stderr.flush()
        parent = os.getpid()
        worker.pid = os.fork()
        if worker.pid == 0:
            die_with(parent)
            for one in [ours, *(each.connection for each in self._workers)]:
                one.close()
            _work(self._session, theirs, worker.number)
        theirs.close()
        worker.connection = ours
        self._workers.append(worker)
        for _ in range(AHEAD):
            self._tell_next(worker)

    def _listen(self) -> None:
        """Hear what some workers have done."""
        by_connection = {worker.connection: worker for worker in self._workers}
        for connection in wait([*by_connection]):
            worker = by_connection[cast("Connection[Any, Any]", connection)]
            try:
                events = worker.connection.recv()
            except (EOFError, ConnectionResetError):
                self._ended(worker)
            else:
                self._report(worker.told.popleft(), events)
                self._tell_next(worker)

    def _tell_next(self, worker: Worker) -> None:
        if worker.is_last_told:
            return
        if not worker.tests:
            self._take_over(worker)
        is_over = self._session.shouldfail or self._session.shouldstop or not worker.tests
        worker.is_last_told = bool(is_over)
        number = None if is_over else worker.tests.popleft()
        if number is not None:
            worker.told.append(number)
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # heard of at the next
            worker.connection.send(number)

    def _take_over(self, worker: Worker) -> None:
        """Take the second half of what the one with the most tests has still to do."""
        most = max(self._workers, key=lambda each: len(each.tests))
        for _ in range((len(most.tests) + 1) // 2):
            worker.tests.appendleft(most.tests.pop())

    def _ended(self, worker: Worker) -> None:
        """Report the test in whose midst a worker has died, and have another one go on."""
        status = worker.wait()
        self._workers.remove(worker)
        if not worker.told and status == 0:
            return
        if worker.told:
            nodeid = self._session.items[worker.told.popleft()].nodeid
        else:
            nodeid = f"worker {worker.number}"
        told = f"worker {worker.number} ended with status {status} while it ran {nodeid!r}"
        where = (nodeid, None, nodeid)
        self._hook.pytest_runtest_logreport(
            report=pytest.TestReport(nodeid, where, {}, "failed", told, cast("Any", CRASHED))
        )
        worker.tests.extendleft(reversed(worker.told))
        if worker.tests and not (self._session.shouldfail or self._session.shouldstop):
            self._start(worker.tests)

    def _report(self, number: int, events: list[tuple[str, Any]]) -> None:
        item = self._session.items[number]
        self._hook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
        for kind, data in events:
            if kind == "report":
                report = self._hook.pytest_report_from_serializable(
                    config=self._session.config, data=data
                )
                self._hook.pytest_runtest_logreport(report=report)
            else:
                self._hook.pytest_warning_recorded.call_historic(kwargs=data)
        self._hook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)


class Events:
    """A plugin of a worker: what there is to tell of a test."""

    def __init__(self, config: pytest.Config) -> None:
        """Tell nothing yet."""
        self._config = config
        self._events: list[tuple[str, Any]] = []

    def take(self) -> list[tuple[str, Any]]:
        """Return what has been told since the last time."""
        events, self._events = self._events, []
        return events

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """A phase of a test is over."""
        data = self._config.hook.pytest_report_to_serializable(config=self._config, report=report)
        self._events.append(("report", data))

    def pytest_warning_recorded(
        self, warning_message: Any, when: str, nodeid: str, location: object
    ) -> None:
        """Something was warned of that fails nothing."""
        # What it was made of may be of a kind that cannot be sent.
        warning_message.message = UserWarning(str(warning_message.message))
        warning_message.category = UserWarning
        warning_message.source = None
        data = {
            "warning_message": warning_message,
            "when": when,
            "nodeid": nodeid,
            "location": location,
        }
        self._events.append(("warning", data))


class Captured(io.TextIOBase):
    """Whatever is stderr when something is written: what pytest tells of a test amid it."""

    def write(self, text: str) -> int:
        """Write it there."""
        return sys.stderr.write(text)


class Silent:
    """In the place of what writes the reports; a test that took too long is told of by this."""

    def __init__(self) -> None:
        """Write with what is being captured."""
        self._tw = TerminalWriter(cast("TextIO", Captured()))


def _work(session: pytest.Session, connection: Connection[Any, Any], number: int) -> NoReturn:
    """Play tests until there is none; nothing but reports leaves this process."""
    status = 1
    try:
        events = _settle(session, number)
        for item, following in _told(session, connection):
            session.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
            connection.send(events.take())
        status = 0
    except KeyboardInterrupt:
        session._setupstate.teardown_exact(None)
    except BaseException:  # noqa: BLE001 - pytest itself, or a plugin, broke; the first process hears
        _capture(session).stop_global_capturing()
        traceback.print_exc()
    finally:
        with contextlib.suppress(BaseException):
            threading._shutdown()  # type: ignore[attr-defined]
            atexit._run_exitfuncs()
        os._exit(status)


def _settle(session: pytest.Session, number: int) -> Events:
    """Make this process one that captures for itself, has its own folder, and prints nothing."""
    atexit._clear()  # what the first process registered is its own to do
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _interrupt)
    # The files that the first process captures with are shared by all that are forked.
    capture = _capture(session)
    capture.stop_global_capturing()
    capture.start_global_capturing()
    capture.suspend_global_capture()
    manager = session.config.pluginmanager
    manager.unregister(name="terminalreporter")
    manager.register(Silent(), "terminalreporter")
    factory = session.config._tmp_path_factory  # type: ignore[attr-defined]
    factory._basetemp = factory.getbasetemp() / f"{FOLDER}{number}"
    factory._basetemp.mkdir(mode=0o700)
    events = Events(session.config)
    manager.register(events)
    return events


def _capture(session: pytest.Session) -> CaptureManager:
    return cast("CaptureManager", session.config.pluginmanager.get_plugin("capturemanager"))


def _interrupt(_number: int, _frame: object) -> None:
    """End once: Ctrl-C is told to all processes, and then by the first one to the others."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    raise KeyboardInterrupt


def _told(
    session: pytest.Session, connection: Connection[Any, Any]
) -> Iterator[tuple[pytest.Item, pytest.Item | None]]:
    """Each test that this worker is to run, and the one after it."""
    number = connection.recv()
    while number is not None and not (session.shouldfail or session.shouldstop):
        following = connection.recv()
        yield session.items[number], None if following is None else session.items[following]
        number = following
