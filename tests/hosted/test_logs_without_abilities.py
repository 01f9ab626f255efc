"""A log with the methods that every log has, and no ability beyond them, serves its streams."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from headgate_gateway.features.console.inspected_streams import streams_of
from headgate_gateway.features.questions.contract import AnswerFailure, PeerMetrics, ShareMetrics
from headgate_gateway.features.questions.streams import ListStreams, StreamDescription, StreamOrder
from headgate_gateway.logs.contract import Log
from headgate_gateway.logs.memory import MemoryLog
from headgate_gateway.telemetry.health import by_name
from tests.support.serving import PREFIX, Serving, get, post, put, serving

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Awaitable, Sequence

    from headgate_gateway.logs.contract import LoadedStream, Settled
    from headgate_gateway.protocol.streams.chunks import Chunk
    from headgate_gateway.protocol.streams.state import Change, ClockReading, StreamState


class PlainLog(Log):
    """A log in memory whose abilities nobody can probe."""

    def __init__(self) -> None:
        self._log = MemoryLog()

    async def open(self) -> None:
        await self._log.open()

    async def close(self) -> None:
        await self._log.close()

    def why_unhealthy(self) -> str | None:
        return self._log.why_unhealthy()

    def new_stream_id(self) -> int:
        return self._log.new_stream_id()

    def load(self, path: str) -> Awaitable[LoadedStream]:
        return self._log.load(path)

    async def read(self, state: StreamState, start: int, end: int) -> Chunk:
        return await self._log.read(state, start, end)

    def commit(self, changes: Sequence[Change]) -> asyncio.Future[None]:
        return self._log.commit(changes)

    def commit_separately(self, changes: Sequence[Change], settled: Settled) -> None:
        self._log.commit_separately(changes, settled)

    async def expired(self, now: ClockReading, limit: int) -> Sequence[str]:
        return await self._log.expired(now, limit)


async def filled(gateway: Serving, **headers: str) -> None:
    """Create the stream `s` with two messages."""
    lines = [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    assert (await gateway.ask(put("s", *lines, body=b"one"))).status == 201
    assert (await gateway.ask(post("s", body=b"two"))).status in {200, 204}


async def test_a_log_without_abilities_stores_serves_and_counts_a_stream() -> None:
    async with serving(PlainLog()) as gateway:
        await filled(gateway)
        assert (await gateway.ask(get("s?offset=-1"))).body == b"onetwo"
        described = await streams_of(gateway.route).describe("s")
        assert isinstance(described, StreamDescription)
        assert described.row.size == len(b"onetwo")
        numbers = {it.metric.name: it.number for it in gateway.route.samples()}
        assert numbers["headgate_storage_up"] == 1
        assert numbers["headgate_streams_created_total"] == 1
        assert "headgate_commit_appends" not in numbers
        assert by_name(gateway.route.notes()) == {}
        answer = await gateway.inspector.answer(ShareMetrics("here", "{}"))
        assert answer == PeerMetrics({})


@pytest.mark.parametrize("order", ["name", "size"])
async def test_a_log_without_listing_refuses_a_page_of_its_streams(order: StreamOrder) -> None:
    async with serving(PlainLog()) as gateway:
        await filled(gateway)
        refusal = await gateway.inspector.answer(ListStreams(PREFIX, order=order))
        assert isinstance(refusal, AnswerFailure)
        assert "cannot list its streams" in refusal.reason


async def test_a_stream_of_a_log_without_abilities_expires() -> None:
    async with serving(PlainLog()) as gateway:
        await filled(gateway, Stream_TTL="10")
        gateway.clock.advance(60)
        assert not await gateway.route.sweeper.round()
        assert gateway.route.sweeper.expired == 1
        assert (await gateway.ask(get("s?offset=-1"))).status in {404, 410}
