"""Readers who do not read cost the server a small, fixed amount of memory, and nobody else."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from tests.faults import memory
from tests.faults.memory import Load, measure
from tests.faults.wire import ask
from tests.support.processes import headgate

if TYPE_CHECKING:
    from pathlib import Path

LOAD = Load(readers=1000, silent=100, content_bytes=24 << 20)
BOUND_BYTES = 60 << 20


@pytest.mark.timeout(180)
def test_silent_readers_do_not_fill_the_memory(tmp_path: Path) -> None:
    with headgate(f"file:{tmp_path / 'data'}") as server:
        cost = measure(server, LOAD, tmp_path)
    assert cost.complete == LOAD.readers - LOAD.silent, cost
    assert cost.growth_bytes < BOUND_BYTES, cost


def test_readers_of_the_swarm_notice_one_wrong_byte(tmp_path: Path) -> None:
    content = memory.write_content(1 << 20, tmp_path, seed=1)
    with headgate() as server:
        ask(server.port, "PUT", memory.STREAM, content_type="text/plain")
        with memory.swarm(server.port, content, Load(10, 0, 0), tmp_path) as readers:
            assert readers.stdout is not None
            assert readers.stdout.readline() == b"ready\n"
            other = bytearray(content.read_bytes())
            other[len(other) // 2] ^= 1
            content.with_name("other").write_bytes(other)
            memory.append_all(server.port, content.with_name("other"))
            told = json.loads(readers.stdout.readline())
    assert told["failed"] == "a byte differs"
    assert told["at"] <= len(other) // 2
