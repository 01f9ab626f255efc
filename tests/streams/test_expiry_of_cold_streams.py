"""A stream's time runs out whether or not its state is in memory."""

from __future__ import annotations

import pytest

from gateway.backends.memory import MemoryLog
from gateway.protocol.state import Lifetime
from tests.streams.service import Service

TTL_S = 10


@pytest.mark.parametrize("kept", [1, 1000], ids=["forgotten after each use", "kept in memory"])
async def test_sweeps_do_not_keep_an_unused_stream_alive(kept: int) -> None:
    """Looking whether a stream's time is over is no use of it."""
    service = Service(max_active=kept)
    await service.create("s", lifetime=Lifetime(ttl_s=TTL_S))
    await service.create("other")
    for _ in range(10 * TTL_S):
        service.clock.advance(1)
        await service.sweeper.round()
        await service.present("other")
    assert (await service.log.load("s")).place.state is None


async def test_restarts_do_not_keep_an_unused_stream_alive() -> None:
    log = MemoryLog()
    service = Service(log)
    await service.create("s", lifetime=Lifetime(ttl_s=TTL_S))
    for _ in range(10 * TTL_S):
        service = Service(log, service.clock)
        service.clock.advance(1)
        await service.sweeper.round()
    assert (await log.load("s")).place.state is None


async def test_forks_do_not_keep_their_unused_source_alive() -> None:
    """A reference is written down with the source's deadline, and nothing is added to that."""
    log = MemoryLog()
    service = Service(log)
    await service.create("s", lifetime=Lifetime(ttl_s=TTL_S))
    before = (await log.load("s")).place.state
    await Service(log, service.clock).fork("f", "s")
    after = (await log.load("s")).place.state
    assert before is not None
    assert after is not None
    assert (after.references, after.deadline) == (1, before.deadline)
