"""SIGHUP ends a server that loses its terminal, and reloads one that has none."""

from __future__ import annotations

import contextlib
import os
import pty
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.support.examples import cases
from tests.support.http1 import ask
from tests.support.processes import ROOT
from tests.support.waiting import wait_until
from tests.workers.several import Several

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.usefixtures("processes")

ORIGIN = "http://127.0.0.1:9"  # which nothing is asked of
# Makes its stdin the terminal of its session, and runs the command that follows.
IN_TERMINAL = (
    "import fcntl, os, sys, termios;"
    "fcntl.ioctl(0, termios.TIOCSCTTY, 0); os.execv(sys.argv[1], sys.argv[1:])"
)


@contextlib.contextmanager
def in_own_session(
    workers: int, stdin: int = subprocess.DEVNULL, preface: tuple[str, ...] = ()
) -> Iterator[Several]:
    """Start a server in a session that has no terminal yet."""
    server = Several(ORIGIN, arguments=["--workers", str(workers)], preface=preface)
    with server.log_file.open("ab") as log:
        server.process = subprocess.Popen(
            server.arguments,
            env=server.environment,
            stdin=stdin,
            stdout=log,
            stderr=log,
            cwd=ROOT,
            start_new_session=True,
        )
    try:
        wait_until(lambda: server.has_admin() and server.is_ready(), "it serves")
        yield server
    finally:
        server.close()


@pytest.mark.parametrize("workers", cases([1, 2], {2}, "two workers"))
def test_sighup_without_a_terminal_reloads_the_settings_and_keeps_the_workers(
    workers: int,
) -> None:
    with in_own_session(workers) as server:
        pids = {server.pid, *server.workers().values()}
        os.kill(server.pid, signal.SIGHUP)
        wait_until(lambda: len(server.events("server.reloaded")) == 1, "it has reloaded")
        assert ask(server.admin_port, "GET", "/readyz").status == 200
        assert set(server.workers().values()) == pids - {server.pid}
        assert server.terminate() == 0


@pytest.mark.parametrize("workers", cases([1, 2], {2}, "two workers"))
def test_a_server_that_loses_its_terminal_stops_with_status_0(workers: int) -> None:
    ours, theirs = pty.openpty()
    with contextlib.ExitStack() as opened:
        opened.callback(os.close, theirs)
        closing = opened.enter_context(contextlib.ExitStack())
        closing.callback(os.close, ours)
        preface = (sys.executable, "-c", IN_TERMINAL)
        with in_own_session(workers, theirs, preface) as server:
            closing.close()
            assert server.exit_status(30) == 0
            assert server.events("server.reloaded") == []
