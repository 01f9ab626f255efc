"""Creation, forks, deletion and expiry: several streams in one commit, repeated when it races."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, TypeVar

from gateway.backends.base import Conflict
from gateway.errors import HeadgateError, LogUnavailable
from gateway.protocol import lifecycle as rules
from gateway.protocol.lifecycle import Place

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from gateway.protocol.lifecycle import Created
    from gateway.protocol.requests import Create, ForkRequest
    from gateway.protocol.state import Change, StreamState
    from gateway.streams.table import HotStream, StreamTable

T = TypeVar("T")

MAX_RACES = 20  # lost races before a client is told to come back


class Lifecycle:
    """What happens to streams as wholes."""

    def __init__(self, table: StreamTable) -> None:
        self._table = table

    async def create(self, path: str, request: Create, source_path: str | None) -> Created:
        """PUT; `source_path` is the fork's source when the request names one."""
        if request.fork is not None and source_path is not None:
            fork = request.fork
            return await self._racing(lambda: self._fork(path, request, fork, source_path))
        return await self._racing(lambda: self._create(path, request))

    async def _create(self, path: str, request: Create) -> Created:
        hot = await self._place(path)
        place = Place(hot.state, hot.retired)
        created, changes = rules.decide_create(
            place, path, request, self._table.log.new_stream_id(), self._table.now(hot)
        )
        await self._commit(changes)
        return created

    async def _fork(
        self, path: str, request: Create, fork: ForkRequest, source_path: str
    ) -> Created:
        from_hot = await self._table.load(source_path)
        source = rules.source_of(from_hot.state, self._table.now(from_hot))
        hot = await self._place(path)
        prefix = await self._prefix(source, fork)
        created, changes = rules.decide_fork(
            Place(hot.state, hot.retired),
            path,
            request,
            rules.Branch(source, fork, prefix),
            self._table.log.new_stream_id(),
            self._table.now(hot),
        )
        await self._commit(changes)
        return created

    async def _prefix(self, source: StreamState, fork: ForkRequest) -> bytes:
        """What a sub-offset takes in; reading at the fork's position also checks it."""
        position = rules.fork_position(source, fork)
        following = None
        if position < source.tail:
            chunk = await self._table.log.read(source, position, position + 1)
            following = chunk.records[0]
        return rules.fork_prefix(source, fork, following)

    async def delete(self, path: str) -> None:
        """DELETE."""

        async def attempt() -> None:
            hot = await self._table.load(path)
            await self._commit(rules.remove(self._table.present(hot)))

        await self._racing(attempt)

    async def expire(self, path: str) -> bool:
        """Take an expired stream away, or write down that its time is not over; True when gone."""

        async def attempt() -> bool:
            hot = await self._table.load(path)
            if hot.state is None:
                return False
            try:
                self._table.present(hot)
            except HeadgateError:
                if hot.state.soft_deleted:
                    return False
                await self._commit(rules.remove(hot.state))
                return True
            if not hot.state.expired(self._table.clock()):
                await self._commit(rules.touched(hot.state))
            return False

        return await self._racing(attempt)

    async def _place(self, path: str) -> HotStream:
        """The stream at a path, after an expired one there was taken away."""
        hot = await self._table.load(path)
        if hot.state is not None:
            try:
                self._table.present(hot)
            except HeadgateError:
                if not hot.state.soft_deleted and not hot.state.references:
                    await self._commit(rules.remove(hot.state))
                    hot = await self._table.load(path)
        return hot

    async def _commit(self, changes: tuple[Change, ...]) -> None:
        """Commit, with what the end of a fork means for its sources."""
        everything = list(changes)
        for change in everything:  # grows while it is walked: an end may cascade
            fork = change.state.fork
            if change.removes and fork is not None:
                hot = await self._table.load(fork.source_path)
                if hot.state is not None and hot.state.stream_id == fork.source_id:
                    everything.extend(rules.release(hot.state))
        if not everything:
            return
        try:
            await asyncio.shield(self._table.commit(tuple(everything)))
        except Conflict:
            for change in everything:
                self._table.forget(change.state.path)
            raise

    async def _racing(self, attempt: Callable[[], Awaitable[T]]) -> T:
        for _ in range(MAX_RACES):
            try:
                return await attempt()
            except Conflict:
                continue
        raise LogUnavailable("too many writers met on this stream: nothing was stored")
