"""Runs in threads of processes that are forked, and of processes that come to their end.

python -m tests.client.sync.test_processes NAME URL
"""

from __future__ import annotations

import atexit
import os
import re
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING

import pytest

from headgate import RunState, sync
from tests.client.sync.feeds import Feed, read, read_to
from tests.support.processes import AT_ONCE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


def forked_under_way(url: str) -> None:
    """A run goes on in the parent while children use and leave what they have inherited."""
    runs, feed = sync.Runs(url), Feed("Once ")
    answer = runs.start("parent", feed.source())
    read_to(answer, b"Once ")
    with (
        sync.Client(url) as hg,
        sync.StreamWriter(f"{url}/writer", content_type="text/plain") as writer,
    ):
        stream = hg.create("stream", json=True)
        stream.append(3)
        for number in range(3):
            in_child(partial(child, runs, stream, writer, answer, number))
        assert [it.value for it in stream.read()] == [3, 0, 1, 2]
    feed.give("upon ")
    assert read_to(answer, b"upon ") == b"upon "
    assert len({runs.state(number) for number in "012"}) == 1
    feed.end()
    read(answer)
    sys.stdout.write(f"{runs.state('parent')}\n")


def child(
    runs: sync.Runs,
    stream: sync.Stream,
    writer: sync.StreamWriter,
    answer: sync.Answer,
    number: int,
) -> None:
    assert read(runs.start(str(number), ["a", "child"])) == b"achild"
    assert read_to(runs.follow("parent"), b"Once ") == b"Once "
    stream.append(number)
    assert next(stream.read()).value == 3
    for use in (partial(writer.write, "Once"), partial(next, answer.body)):
        with pytest.raises(RuntimeError, match="belongs to the process that opened it"):
            use()


def in_child(work: Callable[[], None]) -> None:
    pid = os.fork()
    if pid == 0:
        work()
        sys.exit()  # all that is left is finalized
    _, status = os.waitpid(pid, 0)
    assert os.waitstatus_to_exitcode(status) == 0


def ends_soon(url: str) -> None:
    """The program comes to its end before its run does, and connects anew after it has."""
    runs = sync.Runs(url)
    named = sync.Runs(url.replace("127.0.0.1", "localhost"))
    atexit.register(lambda: sys.stdout.write(f"{named.state('none')}\n"))

    def source() -> Iterator[str]:
        yield "Once "
        threading.main_thread().join()  # its work, not its thread
        yield "upon a time"

    runs.start("a", source())


def never_ends(url: str) -> None:
    """The program comes to its end, and its run never would."""
    runs = sync.Runs(url)
    read_to(runs.start("a", Feed("Once ").source()), b"Once ")
    atexit.register(runs.close, wait=0)


def many_at_once(url: str) -> None:
    """Threads start runs, whose sources wait for each other, and read them."""
    everybody = threading.Barrier(30, timeout=40)

    def source() -> Iterator[str]:
        for word in ("Once ", "upon ", "a time"):
            everybody.wait()
            yield word

    def use(number: int) -> None:
        assert read(runs.start(str(number), source())) == b"Once upon a time"

    with sync.Runs(url) as runs:
        with ThreadPoolExecutor(30) as pool:
            assert [*pool.map(use, range(30))] == [None] * 30
        states = [runs.state(str(number)) for number in range(30)]
    sys.stdout.write(f"{[*map(str, {state and state.status for state in states})]}\n")


OURS = {**os.environ, **AT_ONCE}


def ran(name: str, url: str, *by: str) -> str:
    """Run one of the programs, and return what it has printed."""
    module = ("-m", *by, "tests.client.sync.test_processes")
    command = [sys.executable, "-W", "error", *module, name, url]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=40, check=False, env=OURS
    )
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


@pytest.mark.usefixtures("processes")
def test_forked_children_use_runs_of_their_own_and_leave_the_run_of_their_parent(url: str) -> None:
    assert ran("forked under way", url) == "RunState(status='finished', error=None)\n"


@pytest.mark.usefixtures("processes")
@pytest.mark.parametrize(
    ("program", "log", "state"),
    [
        pytest.param("ends soon", "None\n", RunState("finished"), id="a-source-that-ends-soon"),
        pytest.param(
            "never ends",
            "run 'a': its source does not end when it is cancelled\n",
            RunState("failed", "the application was shut down"),
            id="a-source-that-never-ends",
        ),
    ],
)
def test_a_program_that_exits_ends_its_active_run(
    url: str, program: str, log: str, state: RunState
) -> None:
    assert re.fullmatch(log, ran(program, url))
    with sync.Runs(url) as runs:
        assert runs.state("a") == state


@pytest.mark.usefixtures("processes")
def test_sync_runs_work_in_greenlets_of_gevent(url: str) -> None:
    assert ran("many at once", url, "gevent.monkey", "--module") == "['finished']\n"


PROGRAMS = {
    "many at once": many_at_once,
    "forked under way": forked_under_way,
    "ends soon": ends_soon,
    "never ends": never_ends,
}

if __name__ == "__main__":
    PROGRAMS[sys.argv[1]](sys.argv[2])
