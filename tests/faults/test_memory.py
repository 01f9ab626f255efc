"""Readers who do not read cost the server a small, fixed amount of memory, and nobody else."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.faults import memory
from tests.faults.memory import Load, measure
from tests.support.examples import IS_WHOLE
from tests.support.http1 import ask
from tests.support.processes import headgate

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.usefixtures("processes")

LOAD = Load(400, 100, 8 << 20) if IS_WHOLE else Load(200, 50, 4 << 20)
BOUND_BYTES = (30 << 20) + LOAD.readers * (20 << 10)
"""The cached content, the data file's page cache, what the console records, and 20 KiB a reader."""


@pytest.mark.timeout(240)
def test_live_readers_that_do_not_read_keep_memory_growth_under_the_bound(tmp_path: Path) -> None:
    cost = measure(LOAD, tmp_path)
    reading = LOAD.readers - LOAD.silent
    assert (cost.live.complete, cost.herd.complete) == (reading, reading), cost
    assert cost.growth_bytes < BOUND_BYTES, cost


def test_the_swarm_of_readers_notices_one_wrong_byte(tmp_path: Path) -> None:
    content = memory.write_content(1 << 20, tmp_path, seed=1)
    with headgate() as server:
        ask(server.port, "PUT", memory.STREAM, content_type="text/plain")
        with memory.swarm(server.port, content, Load(10, 0, 0), tmp_path) as readers:
            assert next(readers) == {"ready": 10}
            other = bytearray(content.read_bytes())
            other[len(other) // 2] ^= 1
            content.with_name("other").write_bytes(other)
            memory.append_all(server.port, content.with_name("other"))
            told = next(readers)
    assert told["failed"] == "a byte differs"
    assert told["at"] <= len(other) // 2
