"""A stream's time runs out whether or not its state is in memory."""

from __future__ import annotations

import pytest

from headgate_gateway.errors import StreamGone
from headgate_gateway.logs.memory import MemoryLog
from headgate_gateway.protocol.streams.state import Lifetime
from tests.streams.service import Service

TTL_S = 10
SOON_S = 0.5  # a deadline that moved by less than a second is not written


@pytest.mark.parametrize("kept", [1, 1000], ids=["forgotten after each use", "kept in memory"])
async def test_sweeps_do_not_extend_the_ttl_of_an_unused_stream(kept: int) -> None:
    """Looking whether a stream's time is over is no use of it."""
    service = Service(max_active=kept)
    await service.create("s", lifetime=Lifetime(ttl_s=TTL_S))
    await service.create("other")
    for _ in range(10 * TTL_S):
        service.clock.advance(1)
        await service.sweeper.round()
        await service.present("other")
    assert (await service.log.load("s")).path_state.state is None


async def test_a_fork_does_not_extend_the_ttl_of_its_unused_source() -> None:
    """A reference is written down with the source's deadline, and nothing is added to that."""
    log = MemoryLog()
    service = Service(log)
    await service.create("s", lifetime=Lifetime(ttl_s=TTL_S))
    before = (await log.load("s")).path_state.state
    await Service(log, service.clock).fork("f", "s")
    after = (await log.load("s")).path_state.state
    assert before is not None
    assert after is not None
    assert (after.references, after.deadline) == (1, before.deadline)


async def test_an_expired_source_stays_gone_when_it_is_loaded_again() -> None:
    """Its forks keep its data, and the process that said so has seen every use of it."""
    service = Service()
    await service.create("s", lifetime=Lifetime(ttl_s=TTL_S))
    await service.fork("f", "s")
    service.clock.advance(TTL_S)
    for _ in range(2):
        with pytest.raises(StreamGone):
            await service.present("s")
        service.table.reload("s")


async def test_a_use_not_yet_written_counts_when_a_stream_is_loaded_again() -> None:
    service = Service()
    await service.create("s", lifetime=Lifetime(ttl_s=TTL_S))
    service.clock.advance(SOON_S)
    service.table.deadlines.touch(await service.table.load("s"))
    written = (await service.log.load("s")).path_state.state
    service.table.reload("s")
    state = await service.present("s")
    assert written is not None
    assert written.deadline is not None
    assert state.deadline == written.deadline + SOON_S
