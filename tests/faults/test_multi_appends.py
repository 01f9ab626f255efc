"""A gateway that is killed amid multi-appends: all of each request is there, or nothing of it."""

from __future__ import annotations

import contextlib
import itertools
from threading import Thread
from typing import TYPE_CHECKING

import pytest

from tests.support.http1 import ConnectionEnded, Wire, ask
from tests.support.multi_append import MULTI, framed
from tests.support.processes import Headgate
from tests.support.redis_servers import redis_server
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PATH = "/v1/stream/s"
KILLS, WRITERS, BATCH = 3, 8, 50
BATCHES = 40  # of all writers, acknowledged before a kill


def message(writer: int, seq: int, number: int) -> bytes:
    return b"%02d %06d %08d\n" % (writer, seq, number)


class Writer:
    """Sends one request after the other; the one that got no answer first when it begins again."""

    def __init__(self, name: int) -> None:
        self.name = name
        self.acknowledged = 0

    def write(self, port: int) -> None:
        """Until the server is gone."""
        with contextlib.suppress(ConnectionEnded, OSError), Wire(port) as wire:
            while True:
                seq = self.acknowledged
                body = framed(message(self.name, seq, number) for number in range(BATCH))
                stamp = {"Producer-Id": f"p{self.name}", "Producer-Epoch": "0"}
                fields = {"Content-Type": "text/plain", "Producer-Seq": str(seq), **stamp, **MULTI}
                assert wire.request("POST", PATH, body, **fields).status in {200, 204}
                self.acknowledged += 1


@contextlib.contextmanager
def places(kind: str, folder: Path) -> Iterator[str]:
    """Where the streams are."""
    if kind == "file":
        yield f"file:{folder}"
    else:
        with redis_server(folder) as server:
            yield server.url


@pytest.mark.usefixtures("processes")
@pytest.mark.parametrize("kind", ["file", "redis"])
def test_a_kill_leaves_each_multi_append_complete_or_absent(kind: str, tmp_path: Path) -> None:
    writers = [Writer(name) for name in range(WRITERS)]
    with places(kind, tmp_path) as origin:
        server = Headgate(origin)
        try:
            server.start()
            created = ask(server.port, "PUT", PATH, b"", **{"Content-Type": "text/plain"})
            assert created.status == 201
            for kill in range(1, KILLS + 1):
                write_until_killed(server, writers, kill * BATCHES)
                server.start()
                check(read_all(server.port), writers)
        finally:
            server.kill()


def write_until_killed(server: Headgate, writers: list[Writer], acknowledged: int) -> None:
    """Kill the server while all write, as soon as so many requests were acknowledged in all."""
    load = [Thread(target=writer.write, args=(server.port,)) for writer in writers]
    for thread in load:
        thread.start()
    wait_until(lambda: sum(writer.acknowledged for writer in writers) >= acknowledged)
    server.kill()
    for thread in load:
        thread.join()


def read_all(port: int) -> bytes:
    at, found = "-1", b""
    while True:
        answer = ask(port, "GET", f"{PATH}?offset={at}")
        assert answer.status == 200
        found, at = found + answer.body, answer.next_offset
        if answer.get("Stream-Up-To-Date"):
            return found


def check(found: bytes, writers: list[Writer]) -> None:
    """Each writer's requests are whole, in order and once; the last may be without an answer."""
    seqs = [itertools.count() for _ in writers]
    size = BATCH * len(message(0, 0, 0))
    assert len(found) % size == 0
    for at in range(0, len(found), size):
        name = int(found[at : at + 2])
        seq = next(seqs[name])
        expected = b"".join(message(name, seq, number) for number in range(BATCH))
        assert found[at : at + size] == expected
    for writer, seq in zip(writers, map(next, seqs), strict=True):
        assert writer.acknowledged <= seq <= writer.acknowledged + 1
