"""The list of all streams' paths, read a page at a time.

It is a key of its own, in a cluster on another server than most streams, so it is no part of a
commit. A path is listed before its stream is created, so a gateway that dies leaves no stream
unlisted, and once more after that. It is dropped after its stream was removed, or when a page with
it is read; then the stream is looked at again: of two gateways, of which one creates and one drops,
the later one sees what the other did.
"""

from __future__ import annotations

import asyncio
import contextlib
import heapq
from collections import deque
from typing import TYPE_CHECKING

from typing_extensions import override

from gateway.backends.contract import Listing, ListingPage
from gateway.backends.redis.commands import IndexNote, size_in, state_in
from gateway.errors import LogUnavailable, RecordDamaged

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Sequence

    from gateway.backends.redis.commands import Commands
    from gateway.backends.redis.connection import Packed, Reply
    from gateway.protocol.streams.state import Change, StreamState

# Before the log is closed; a Redis that does not answer holds up no process that ends.
LAST_CORRECTIONS_S = 1.0
AT_ONCE = 200  # streams looked at together: about a millisecond of the server's time
# New paths that are listed again when a server has lost writes: those of some seconds. Their ZADD
# takes the server 5 ms.
LATEST = 10_000


class PathIndex(Listing):
    """The list of the paths of one log's streams."""

    def __init__(
        self,
        commands: Commands,
        execute: Callable[..., Awaitable[list[Reply]]],
        together: Callable[[Sequence[str]], bool],
    ) -> None:
        """`execute` takes a key and calls for its server.

        `together` returns whether one has all keys.
        """
        self._commands = commands
        self._execute = execute
        self._together = together
        self._changing: set[asyncio.Task[None]] = set()  # no more than streams just removed
        self._latest: deque[str] = deque(maxlen=LATEST)

    async def close(self) -> None:
        """Let the corrections of the list that are under way finish, if they do so soon."""
        if self._changing:
            await asyncio.wait(self._changing, timeout=LAST_CORRECTIONS_S)
        for task in self._changing:
            task.cancel()
        await asyncio.gather(*self._changing, return_exceptions=True)

    def notes(self, change: Change) -> Sequence[IndexNote]:
        """Return the note that lists a new stream, to be sent before its commit.

        A path that is listed without a stream does no harm.
        """
        if change.expected is not None:
            return ()
        path = change.state.path
        self._latest.append(path)
        return (IndexNote(self._commands.names.paths, self._commands.add_paths([path])),)

    def on_history_change(self) -> None:
        """List the latest new streams again, in a task of its own.

        In a cluster the server of the list may have lost their paths, and theirs nothing.
        """
        if self._latest:
            self._begin(self._add([*self._latest]))

    def drop(self, path: str) -> None:
        """Drop a path after its stream was removed, in a task of its own."""
        self._begin(self._drop(path))

    def _begin(self, correction: Coroutine[None, None, None]) -> None:
        task = asyncio.get_running_loop().create_task(correction)
        self._changing.add(task)
        task.add_done_callback(self._changing.discard)

    async def _add(self, paths: Sequence[str]) -> None:
        with contextlib.suppress(LogUnavailable):  # its server's next history will do
            await self._execute(self._commands.names.paths, self._commands.add_paths(paths))

    async def _drop(self, path: str) -> None:
        with contextlib.suppress(LogUnavailable):  # the next page with this path will do
            await self._execute(self._commands.names.paths, self._commands.drop_path(path))
            if await self._may_stand(path):
                await self._add([path])

    async def _may_stand(self, path: str) -> bool:
        try:
            (size,) = await self._execute(
                self._commands.names.meta(path), self._commands.size(path)
            )
        except LogUnavailable:
            return True
        return size_in(size) is not None

    # Reads

    @override
    async def paths(self, prefix: str, after: str, limit: int) -> Sequence[str]:
        key = self._commands.names.paths
        (found,) = await self._execute(key, self._commands.some_paths(prefix, after, limit))
        return [path.decode() for path in found]

    @override
    async def page(self, prefix: str, after: str, limit: int) -> ListingPage:
        paths = await self.paths(prefix, after, limit + 1)
        shown = paths[:limit]
        replies = await self._each(shown, self._commands.state)
        states = []
        for path, reply in zip(shown, replies, strict=True):
            state = None if reply is None else _state(reply)
            if state is not None:
                states.append(state)
            elif reply is not None:
                self.drop(path)
        return ListingPage(states, shown[-1] if len(paths) > limit else None)

    async def states(self, paths: Sequence[str]) -> dict[str, StreamState | None]:
        """Return the states of streams, None where there is none; some servers may not reply."""
        replies = await self._each(paths, self._commands.state)
        found: dict[str, StreamState | None] = {}
        for path, reply in zip(paths, replies, strict=True):
            with contextlib.suppress(RecordDamaged):
                if reply is not None:
                    found[path] = state_in(reply)
        return found

    @override
    async def largest(self, prefix: str, most: int) -> Sequence[tuple[int, str]]:
        """Return bytes and path of the largest streams, looked for in small steps."""
        largest: list[tuple[int, str]] = []
        after = ""
        while paths := await self.paths(prefix, after, AT_ONCE):
            after = paths[-1]
            replies = await self._each(paths, self._commands.size)
            for path, reply in zip(paths, replies, strict=True):
                size = size_in(reply)
                if size is not None and len(largest) < most:
                    heapq.heappush(largest, (size, path))
                elif size is not None:
                    heapq.heappushpop(largest, (size, path))
        return sorted(largest, reverse=True)

    async def _each(
        self, paths: Sequence[str], call: Callable[[str], Packed]
    ) -> Sequence[Reply | None]:
        """Return the reply for each path; None for one whose server does not reply."""
        metas = [self._commands.names.meta(path) for path in paths]
        if paths and self._together(metas):
            try:
                return await self._execute(metas[0], *map(call, paths))
            except LogUnavailable:
                pass  # perhaps for one stream only: ask for each by itself
        return await asyncio.gather(
            *(self._one(meta, call(path)) for meta, path in zip(metas, paths, strict=True))
        )

    async def _one(self, meta: str, call: Packed) -> Reply | None:
        try:
            (reply,) = await self._execute(meta, call)
        except LogUnavailable:
            return None
        return reply


def _state(reply: Reply) -> StreamState | None:
    try:
        return state_in(reply)
    except RecordDamaged:
        return None
