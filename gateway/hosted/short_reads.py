"""Reads that no cache has, answered from the log without a request object or a task for each.

The ordinary way of a reader, through aiohttp, is a third of the processor time of such a read (130
of 390 us from a file). The read of the log is the same here, and shared with those who come that
way. What more has to be asked or decided for goes there: streams that are not loaded, logs that
others write to, routes with reader keys, what is kept or at the tail, and whatever is refused.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from gateway.errors import HeadgateError
from gateway.protocol import cache_status, chunks
from gateway.protocol.offsets import NOW
from gateway.protocol.requests import CatchUp
from gateway.protocol.target import canonical_target
from gateway.telemetry.logs import log

if TYPE_CHECKING:
    from asyncio import Task
    from collections.abc import Callable, Hashable

    from gateway.cache.rendered import RenderedChunk
    from gateway.cache.single_flight import SingleFlight
    from gateway.protocol.requests import Read
    from gateway.protocol.state import StreamState
    from gateway.runtime.route import Access, OriginReader
    from gateway.streams.stream_table import StreamTable


class Route(Protocol):
    """A route to an own log, as far as reads need it."""

    prefix: str
    access: Access
    table: StreamTable
    answers: SingleFlight[RenderedChunk]

    def parse(self, target: str) -> Read:
        """A target as a read; raises HeadgateError."""

    def kept(self, read: Read) -> RenderedChunk | None:
        """The kept answer."""

    async def answer(self, read: Read, state: StreamState, start: int) -> RenderedChunk:
        """What the log has from there."""


def read_key(read: Read, state: StreamState) -> Hashable:
    """What reads that wait for one answer are equal in."""
    return read.target, state.stream_id, state.version, state.history


def begin(route: Route, reader: OriginReader, target: str) -> bool:
    """Have a reader called with the answer; False where a task has to answer."""
    access, table = route.access, route.table
    if access.reader_keys is not None or table.log.shared:
        return False
    try:
        read = route.parse(canonical_target(target))
        active = table.peek(read.path[len(route.prefix) + 1 :])
        if active is None or active.state is None or not isinstance(read, CatchUp):
            return False
        state = table.present(active)
        start = chunks.start_position(state, read.offset)
    except HeadgateError:
        return False
    if start == state.tail or read.offset == NOW or route.kept(read) is not None:
        return False
    table.deadlines.touch(table.get(active.path))
    key = read_key(read, state)
    cache = cache_status.COLLAPSED if key in route.answers else cache_status.MISS
    waiter = _Waiter(reader, read, cache)
    waiter.leave = route.answers.begin(key, lambda: route.answer(read, state, start), waiter.over)
    try:
        reader.leave = waiter.left
        reader.wait()
    except BaseException:
        waiter.leave()
        raise
    return True


class _Waiter:
    """One who waits for an answer."""

    __slots__ = ("_cache", "_is_gone", "_read", "_reader", "leave")

    leave: Callable[[], object]

    def __init__(self, reader: OriginReader, read: CatchUp, cache: bytes) -> None:
        self._reader = reader
        self._read = read
        self._cache = cache
        self._is_gone = False

    def over(self, answer: Task[RenderedChunk]) -> None:
        """Tell of it; what is refused is found, and told, on the ordinary way."""
        if self._is_gone:
            return
        try:
            error = None if answer.cancelled() else answer.exception()
            if answer.cancelled() or isinstance(error, HeadgateError):
                self._reader.goes_on(None)
            else:
                self._reader.rendered(self._read, answer.result(), self._cache)
        except Exception:  # noqa: BLE001 - the client waits
            log.exception("read.failed", target=self._read.path)
            self._reader.abandon()

    def left(self) -> None:
        """Its client is gone."""
        self._is_gone = True
        self.leave()
        self._reader.cut(self._read)
