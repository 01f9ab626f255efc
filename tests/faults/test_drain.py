"""SIGTERM under load: every reader gets a clean end, every acknowledged append stays."""

from __future__ import annotations

import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from tests.faults.disk import content, create
from tests.faults.ledger import Faults, Ledger
from tests.support.http1 import Answer, ConnectionEnded, Wire, ask, request
from tests.support.processes import Headgate, headgate

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.usefixtures("processes"), pytest.mark.timeout(240)]

ROUNDS = 3
WRITERS = 32
READERS = 20
EXIT_S = 30.0
AT_ONCE_S = 10.0
ENOUGH_APPENDS = 300


class _Load:
    """Writers that append until the server is gone; `ledgers` has what they were told."""

    def __init__(self, server: Headgate, round_: int) -> None:
        self.server = server
        names = [f"log{round_}-{number}" for number in range(4)]
        self.ledgers = [Ledger(name, is_json=False, closes_after=0) for name in names]
        self.acked = 0
        self.is_enough = threading.Event()
        for ledger in self.ledgers:
            create(server, ledger.name)

    def write(self, writer: int) -> None:
        ledger = self.ledgers[writer % len(self.ledgers)]
        ledger.acked[writer] = 0
        ledger.open.add(writer)
        while self._append(ledger, writer):
            ledger.acked[writer] += 1
            self.acked += 1
            if self.acked >= ENOUGH_APPENDS:
                self.is_enough.set()

    def _append(self, ledger: Ledger, writer: int) -> bool:
        """One append; False when it was not acknowledged, as of a server that is leaving."""
        number = ledger.acked[writer]
        try:
            answer = ask(
                self.server.port,
                "POST",
                f"/v1/stream/{ledger.name}",
                ledger.body(writer, number),
                content_type="text/plain",
                producer_id=f"writer-{writer}",
                producer_epoch="0",
                producer_seq=str(number),
            )
        except (ConnectionEnded, ConnectionError):
            return False
        assert answer.status in {200, 503}, answer
        return answer.status == 200


def _live(server: Headgate, stream: str, mode: str) -> Wire:
    """A live reader whose request has gone out."""
    wire = Wire(server.port)
    wire.send(request("GET", f"/v1/stream/{stream}?offset=now&live={mode}"))
    return wire


def _control(answer: Answer) -> dict[str, object]:
    """The last event of an SSE answer, which has to be a control event."""
    last = answer.body.removesuffix(b"\n\n").split(b"\n\n")[-1]
    fields = dict(line.split(b":", 1) for line in last.split(b"\n"))
    assert fields[b"event"].strip() == b"control", last
    found: dict[str, object] = json.loads(fields[b"data"])
    return found


@pytest.mark.smoke
def test_a_drain_under_load_retains_every_acknowledged_append(tmp_path: Path) -> None:
    for round_ in range(ROUNDS):
        with headgate(f"file:{tmp_path}") as server, ThreadPoolExecutor(WRITERS) as pool:
            load = _Load(server, round_)
            writing = [pool.submit(load.write, writer) for writer in range(WRITERS)]
            assert load.is_enough.wait(30)
            assert server.terminate(EXIT_S) == 0
            for writer in writing:
                writer.result()
        with headgate(f"file:{tmp_path}") as server:
            for ledger in load.ledgers:
                found = ledger.split(content(server, ledger.name))
                assert ledger.check(found)[1] == Faults()


def test_a_drain_ends_live_readers_cleanly_at_once(tmp_path: Path) -> None:
    with headgate(f"file:{tmp_path}") as server, ThreadPoolExecutor(WRITERS) as pool:
        create(server, "quiet", b"content")
        tail = ask(server.port, "HEAD", "/v1/stream/quiet").next_offset
        load = _Load(server, 0)
        polls = [_live(server, "quiet", "long-poll") for _ in range(READERS)]
        quiet = [_live(server, "quiet", "sse") for _ in range(READERS)]
        busy = [_live(server, load.ledgers[0].name, "sse") for _ in range(READERS)]
        writing = [pool.submit(load.write, writer) for writer in range(WRITERS)]
        assert load.is_enough.wait(30)
        began = time.monotonic()
        with ThreadPoolExecutor(1) as stopping:
            status = stopping.submit(server.terminate, EXIT_S)
            for wire in polls:
                answer = wire.answer()
                assert (answer.status, answer.next_offset) == (204, tail)
            assert time.monotonic() - began < AT_ONCE_S
            for wire in quiet:
                assert _control(wire.answer())["streamNextOffset"] == tail
            ends = [_control(wire.answer()) for wire in busy]
            assert status.result() == 0
        for writer in writing:
            writer.result()
        for wire in (*polls, *quiet, *busy):
            assert wire.is_ended()
            wire.socket.close()
    assert all("streamCursor" in end for end in ends)


def test_a_server_with_only_an_idle_connection_stops_at_once(tmp_path: Path) -> None:
    with headgate(f"file:{tmp_path}") as server, Wire(server.port) as idle:
        assert idle.request("GET", "/v1/stream/none").status == 404
        assert server.terminate(timeout_s=AT_ONCE_S) == 0
        assert idle.is_ended()
