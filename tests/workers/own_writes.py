"""Reads over other connections right after a write was answered, while workers stop and go on."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import threading
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from tests.edge.gateways import edge
from tests.support.http1 import Wire, request
from tests.support.origin_servers import reference
from tests.support.redis_servers import redis_server

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.http1 import Answer
    from tests.workers.several import Several

CONNECTIONS = 8  # for reads, the same number to each of two workers
LONGEST_STOP_S = 0.1
LONGEST_PAUSE_S = 0.2
KEPT = {"tail_max_age": 600}  # copies of the tail, so that none of them ends by itself


@contextmanager
def _reference(_: Path) -> Iterator[str]:
    with reference() as origin:
        yield origin.url


@contextmanager
def _memory(_: Path) -> Iterator[str]:
    with edge("memory:", KEPT) as origin:
        yield origin.url


@contextmanager
def _file(folder: Path) -> Iterator[str]:
    with edge(f"file:{folder}", KEPT) as origin:
        yield origin.url


@contextmanager
def _redis(folder: Path) -> Iterator[str]:
    with redis_server(folder) as server:
        yield server.url


ORIGINS = {"reference": _reference, "memory": _memory, "file": _file, "redis": _redis}


class Outcome(NamedTuple):
    """The results of the reads of a campaign.

    `old` reads lacked the write and said that nothing follows. `partial` reads lacked it, too, but
    did not say so. `stops` counts how often a worker was stopped.
    """

    reads: int
    old: int
    partial: int
    stops: int


def worker_of(server: Several, wire: Wire) -> int:
    """Return the number of the worker that has the other end of a connection."""
    port = wire.socket.getsockname()[1]
    wire.request("GET", "/healthz")  # once it has answered, it has it
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        _, local, remote, *_, inode = line.split()[:10]
        if int(local.split(":")[1], 16) == server.port and int(remote.split(":")[1], 16) == port:
            break
    else:
        raise AssertionError(f"no connection from port {port}")
    for number, pid in server.workers().items():
        for descriptor in Path(f"/proc/{pid}/fd").iterdir():
            with contextlib.suppress(FileNotFoundError):  # it may be closed at any moment
                if str(descriptor.readlink()) == f"socket:[{inode}]":
                    return number
    raise AssertionError(f"no worker has the connection from port {port}")


@contextmanager
def connections(server: Several, each: int) -> Iterator[dict[int, list[Wire]]]:
    """Open so many connections to each worker, and give them by its number."""
    with ExitStack() as opened:
        found: dict[int, list[Wire]] = {number: [] for number in server.workers()}
        while any(len(wires) < each for wires in found.values()):
            wire = opened.enter_context(Wire(server.port))
            wires = found[worker_of(server, wire)]
            if len(wires) < each:
                wires.append(wire)
        yield found


@contextmanager
def stopped(pid: int) -> Iterator[None]:
    """Keep a process stopped (SIGSTOP) until the end of the block."""
    os.kill(pid, signal.SIGSTOP)
    try:
        while Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0] not in "Tt":
            time.sleep(0.001)
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


class _Stopper(threading.Thread):
    """A task that stops one worker after the other for a moment, until it is told to end."""

    def __init__(self, pids: list[int], seed: int) -> None:
        super().__init__()
        self._pids = pids
        self._random = random.Random(seed)
        self._end = threading.Event()
        self.stops = 0

    def run(self) -> None:
        while not self._end.wait(self._random.uniform(0, LONGEST_PAUSE_S)):
            with stopped(self._random.choice(self._pids)):
                self._end.wait(self._random.uniform(0, LONGEST_STOP_S))
            self.stops += 1

    def end(self) -> None:
        self._end.set()
        self.join()


def read_after_appends(server: Several, path: str, reads: int, *, seed: int) -> Outcome:
    """Append, and read over all other connections as soon as that is answered, again and again.

    Some readers begin at the start, some at the tail before the append. Live readers keep the
    stream followed in each worker.
    """
    rng = random.Random(seed)
    with connections(server, CONNECTIONS // 2 + 2) as found, ExitStack() as until:
        writers = [wires.pop() for wires in found.values()]
        live = [wires.pop() for wires in found.values()]
        readers = [wire for wires in found.values() for wire in wires]
        created = writers[0].request("PUT", path, b"", content_type="text/plain")
        assert created.status == 201, created
        for wire in live:
            wire.send(request("GET", f"{path}?offset=-1&live=sse"))
            assert wire.head().status == 200
            drain = threading.Thread(target=_drain, args=(wire,), daemon=True)
            drain.start()
        stopper = _Stopper([*server.workers().values()], seed)
        stopper.start()
        until.callback(stopper.end)
        done = old = partial = number = 0
        tail = created.next_offset
        while done < reads:
            number += 1
            mark = b"<%d>" % number
            answer = rng.choice(writers).request("POST", path, mark, content_type="text/plain")
            assert answer.status in {200, 204}, answer
            targets = [f"{path}?offset={rng.choice(('-1', tail))}" for _ in readers]
            for wire, target in zip(readers, targets, strict=True):
                wire.send(request("GET", target))
            for wire in readers:
                got = wire.answer()
                assert got.status == 200, got
                if mark not in got.body:
                    old += says_all(got)
                    partial += not says_all(got)
            done += len(readers)
            tail = answer.next_offset
        return Outcome(done, old, partial, stopper.stops)


def says_all(answer: Answer) -> bool:
    """Return whether an answer says that nothing follows its data."""
    return answer.get("stream-up-to-date") == "true"


def _drain(wire: Wire) -> None:
    wire.socket.settimeout(None)
    try:
        while wire.socket.recv(1 << 16):
            pass
    except OSError:
        return
