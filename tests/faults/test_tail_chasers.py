"""Readers on the heels of writers: an offset that was given out is known from then on."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from tests.faults.disk import create
from tests.support.http1 import Wire
from tests.support.processes import headgate

if TYPE_CHECKING:
    from pathlib import Path

WRITERS = 8
READS = 2000
PATH = "/v1/stream/log"


@pytest.mark.usefixtures("processes")
@pytest.mark.timeout(240)
def test_an_offset_that_a_reader_got_is_never_past_the_tail(tmp_path: Path) -> None:
    enough = threading.Event()
    with headgate(f"file:{tmp_path}") as server, ThreadPoolExecutor(WRITERS) as pool:
        create(server, "log")

        def write() -> None:
            with Wire(server.port) as wire:
                while not enough.is_set():
                    answer = wire.request("POST", PATH, b"x" * 100, content_type="text/plain")
                    assert answer.status == 204

        writing = [pool.submit(write) for _ in range(WRITERS)]
        try:
            _chase(server.port)
        finally:
            enough.set()
        for writer in writing:
            writer.result()


def _chase(port: int) -> None:
    """Read from the tail on, again and again, and ask where the tail is."""
    offset = "-1"
    with Wire(port) as wire:
        for _ in range(READS):
            answer = wire.request("GET", f"{PATH}?offset={offset}")
            assert answer.status == 200, (offset, answer)
            assert answer.next_offset >= offset
            offset = answer.next_offset
            assert wire.request("HEAD", PATH).next_offset >= offset
