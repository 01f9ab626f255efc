"""Reads from the beginning of a stream whose beginning is another one before they are answered."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import pytest

from headgate_gateway.errors import StreamGone
from headgate_gateway.protocol.streams.chunks import CHUNK_BYTES
from headgate_gateway.protocol.streams.state import raised
from tests.live.test_feed import follow, is_told, text
from tests.logs.contract import appended
from tests.streams.service import Service
from tests.streams.shared_log import SharedLog
from tests.support.serving import Serving, get, serving
from tests.support.waiting import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from headgate_gateway.protocol.streams.chunks import Chunk
    from headgate_gateway.protocol.streams.state import StreamState

THIRD, FOURTH = 8, 14  # where the records begin


class MovingLog(SharedLog):
    """Something happens to a stream after it was looked at, and before its records are read."""

    def __init__(self) -> None:
        super().__init__()
        self.reading = 0
        self.meanwhile: Callable[[], object] | None = None

    async def read(self, state: StreamState, start: int, end: int) -> Chunk:
        meanwhile, self.meanwhile = self.meanwhile, None
        if meanwhile is not None:
            meanwhile()
        now = raised(self._states[state.path], self.server.history)
        if start > now.tail or now.offset(start) != state.offset(start) or start < now.first:
            raise StreamGone("what follows offset is not there any more")
        self.reading += 1
        return await super().read(state, start, end)


@contextlib.asynccontextmanager
async def moving(to: str) -> AsyncIterator[tuple[Serving, StreamState]]:
    """A stream that begins at its third record, and then at its fourth, or has only the first."""
    log = MovingLog()
    async with serving(log) as gateway:
        beside = SharedLog(log)
        other = Service(beside, gateway.clock)
        first = (await other.create("s", b"one ")).state
        for data in (b"two ", b"three ", b"four"):
            await other.append("s", data)
        state = (await other.table.load("s")).state
        assert state is not None
        begun = appended(state, first=THIRD)
        await other.table.commits.commit([begun])
        if to == "four":
            trim = appended(begun.state, first=FOURTH)
            log.meanwhile = lambda: beside.commit([trim])
        else:
            log.meanwhile = lambda: log.put_back(first)
        yield gateway, begun.state


both = pytest.mark.parametrize("to", ["four", "one "])


@both
@pytest.mark.parametrize("mode", ["", "&live=long-poll"])
async def test_a_read_from_a_moved_beginning_gets_the_present_data(to: str, mode: str) -> None:
    async with moving(to) as (gateway, _):
        answer = await gateway.ask(get(f"s?offset=-1{mode}"))
        assert (answer.status, answer.body) == (200, to.encode())


@both
async def test_an_event_stream_from_a_moved_beginning_gets_the_present_data(to: str) -> None:
    async with moving(to) as (gateway, _):
        client = await follow(gateway, "s?offset=-1&live=sse")
        events = await client.events_until(is_told(upToDate=True))  # type: ignore[arg-type] # a predicate
        assert text(events) == to


@both
@pytest.mark.parametrize("live", ["", "&live=long-poll", "&live=sse"])
async def test_a_read_at_a_trimmed_offset_gets_410(to: str, live: str) -> None:
    async with moving(to) as (gateway, state):
        answer = await gateway.ask(get(f"s?offset={state.offset(THIRD)}{live}"))
        assert answer.status == 410


@pytest.mark.parametrize("kept", [False, True])
async def test_a_poll_at_a_beginning_that_is_trimmed_gets_the_present_data(kept: bool) -> None:
    """What it waited for is gone before the gateway hears of it, but it asked for no offset."""
    log = SharedLog()
    async with serving(log) as gateway:
        beside = SharedLog(log)
        other = Service(beside, gateway.clock)
        empty = (await other.create("s", b"")).state
        clients = [await gateway.connect() for _ in range(2)]
        clients[0].send(get("s?offset=-1&live=long-poll"))
        clients[1].send(get(f"s?offset={empty.offset(0)}&live=long-poll"))
        await until(lambda: gateway.limits.live_readers == 2)
        await other.append("s", b"gone")
        if kept:
            await other.append("s", b"kept")
        state = (await other.table.load("s")).state
        assert state is not None
        await other.table.commits.commit([appended(state, first=4)])
        (change,) = beside.committed[-1]
        log.news.on_change(change)
        assert (await clients[1].answer()).status == 410
        if not kept:  # nothing is there now, and it goes on waiting
            await other.append("s", b"kept")
            (change,) = beside.committed[-1]
            log.news.on_change(change)
        answer = await clients[0].answer()
        assert (answer.status, answer.body) == (200, b"kept")


async def test_a_read_trimmed_while_under_way_is_not_cached() -> None:
    """Else all who begin anew would be led to where nothing is kept, again and again."""
    log = MovingLog()
    async with serving(log) as gateway:
        other = Service(SharedLog(log), gateway.clock)
        await other.create("s", b"x" * CHUNK_BYTES)
        await other.append("s", b"kept")
        state = (await other.table.load("s")).state
        assert state is not None
        log.reads.clear()
        client = await gateway.connect()
        client.send(get("s?offset=-1"))
        await until(lambda: log.reading > 0)
        trim = appended(state, first=CHUNK_BYTES)
        await other.table.commits.commit([trim])
        await gateway.route.table.load("s")
        log.reads.set()
        await client.answer()
        assert (await gateway.ask(get("s?offset=-1"))).body == b"kept"
