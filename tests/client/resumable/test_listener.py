"""A resume comes to its end, whatever a broker does with its timeouts."""

from __future__ import annotations

import asyncio
import contextlib

from headgate.resumable import ResumableStreams
from headgate.resumable.messages import sentinel

from tests.client.resumable.memory_broker import MemoryBroker
from tests.support.waiting import PATIENCE_S


class GreedyBroker(MemoryBroker):
    """Takes the first cancellation that comes while it publishes for a timeout of its own."""

    async def publish(self, channel: str, message: str) -> None:
        if not self._is_content:
            self._is_content = True
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.Event().wait()
        await super().publish(channel, message)

    _is_content = False


async def test_a_resume_times_out_although_its_broker_swallows_the_cancellation() -> None:
    broker = GreedyBroker()
    await broker.incr(sentinel("of a producer that died"))
    streams = ResumableStreams(broker, resume_timeout=0.05)
    resuming = asyncio.ensure_future(streams.resume("of a producer that died"))
    done, _ = await asyncio.wait({resuming}, timeout=PATIENCE_S)
    resuming.cancel()
    assert done, "the resume waits for ever"
    assert resuming.result() is None
