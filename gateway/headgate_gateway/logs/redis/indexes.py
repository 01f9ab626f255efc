"""The indexes of all streams in Redis: their deadlines, and the list of their paths.

Each is one key, in a cluster on another server than most streams, so it cannot be part of a commit.
A note in it is written before the commit, and is compared with the stream when it is read.
"""

from __future__ import annotations

import asyncio
import contextlib
import heapq
from collections import deque
from typing import TYPE_CHECKING

from typing_extensions import override

from headgate_gateway.background import Turns
from headgate_gateway.errors import LogUnavailable, RecordDamaged
from headgate_gateway.logs.contract import Listing, ListingPage
from headgate_gateway.logs.redis.connection import pack
from headgate_gateway.logs.redis.replies import state_in
from headgate_gateway.logs.searches import PATHS_AT_ONCE, compare, search_in_order

if TYPE_CHECKING:
    from collections.abc import Coroutine, Sequence

    from headgate_gateway.logs.redis.connection import Packed, Reply
    from headgate_gateway.logs.redis.store import RedisStore
    from headgate_gateway.logs.searches import FoundPaths, PathTest
    from headgate_gateway.protocol.streams.state import Change, StreamState

    # The key of an index of all streams, and the call that notes one stream there.
    Note = tuple[str, Packed]

MOST_LATE = 10_000  # deadlines that wait for their server; a stream's next change notes its own
# Before the log is closed; a Redis that does not answer holds up no process that ends.
LAST_CORRECTIONS_S = 1.0
AT_ONCE = 200  # streams looked at together: about a millisecond of the server's time
# New paths that are listed again when a server has lost writes: those of some seconds. Their ZADD
# takes the server 5 ms.
LATEST = 10_000


class DeadlineIndex:
    """The times at which streams expire, are trimmed by age, or are tidied once removed."""

    def __init__(self, store: RedisStore) -> None:
        self._store = store
        self._key = store.names.deadlines
        self._late: dict[str, Packed] = {}  # by path

    def notes(self, change: Change) -> Sequence[Note]:
        """Return the note that sets a change's deadline, if any, to be sent before its commit.

        A deadline that is too early does no harm; one that is too late would: the deadline of a
        new stream is never moved later.
        """
        moment = 0.0 if change.removes else _due(change.state)  # removed: look for leftover keys
        if moment is None:
            return ()
        earlier = ("LT",) if change.expected is None else ()
        return ((self._key, pack("ZADD", self._key, *earlier, moment, change.state.path)),)

    def note_later(self, path: str, call: Packed) -> None:
        """Set a deadline with the next search, because the server could not be reached now."""
        self._late[path] = call
        if len(self._late) > MOST_LATE:
            del self._late[next(iter(self._late))]

    async def expired(self, now: float, limit: int) -> Sequence[str]:
        """Return the paths of streams, at most `limit`, that have ended or have an ended part."""
        if self._late:
            unset, self._late = self._late, {}
            try:
                await self._store.execute(self._key, *unset.values())
            except LogUnavailable:
                self._late = {**unset, **self._late}
        late: list[str] = []
        unknown = 0
        while len(late) < limit:
            skip = len(late) + unknown
            call = pack("ZRANGEBYSCORE", self._key, "-inf", now, "LIMIT", skip, limit)
            (found,) = await self._store.execute(self._key, call)
            if not found:
                break
            paths = [path.decode() for path in found]
            checked = await asyncio.gather(*(self._check(path, now) for path in paths))
            late += [path for path, is_late in zip(paths, checked, strict=True) if is_late]
            unknown += checked.count(None)
        return late[:limit]

    async def _check(self, path: str, now: float) -> bool | None:
        """Return whether a stream is due, and correct its deadline if not; None if unknown."""
        execute, names = self._store.execute, self._store.names
        meta = names.meta(path)
        try:
            (found,) = await execute(meta, names.call("state", path))
        except LogUnavailable:  # this stream's server; the other streams must expire all the same
            return None
        moment = None
        with contextlib.suppress(RecordDamaged):  # a client that reads the stream gets the error
            state = state_in(found)
            moment = None if state is None else _due(state)
        if moment is None:
            await execute(meta, names.call("purge", path))
            await execute(self._key, pack("ZREM", self._key, path))
        elif moment > now:
            await execute(self._key, pack("ZADD", self._key, moment, path))
        return moment is not None and moment <= now


def _due(state: StreamState) -> float | None:
    """Return the time (epoch) at which the stream or its oldest part ends, None for never."""
    if state.trim_at is None or state.deadline is None:
        return state.deadline if state.trim_at is None else state.trim_at
    return min(state.deadline, state.trim_at)


class PathIndex(Listing):
    """The list of the paths of one log's streams, read a page at a time.

    A path is listed before its stream is created, so a gateway that dies leaves no stream unlisted,
    and once more after that. It is dropped after its stream was removed, or when a page with it is
    read; then the stream is looked at again: if one gateway creates and another drops, the later of
    the two sees what the other did.
    """

    def __init__(self, store: RedisStore) -> None:
        self._store = store
        self._key = store.names.paths
        self._changing: set[asyncio.Task[None]] = set()  # no more than streams just removed
        self._latest: deque[str] = deque(maxlen=LATEST)
        self._turns = Turns()

    async def close(self) -> None:
        """Let the corrections of the list that are under way finish, if they do so soon."""
        if self._changing:
            await asyncio.wait(self._changing, timeout=LAST_CORRECTIONS_S)
        for task in self._changing:
            task.cancel()
        await asyncio.gather(*self._changing, return_exceptions=True)

    def notes(self, change: Change) -> Sequence[Note]:
        """Return the note that lists a new stream, to be sent before its commit.

        A path that is listed without a stream does no harm.
        """
        if change.expected is not None:
            return ()
        self._latest.append(change.state.path)
        return (self.note([change.state.path]),)

    def note(self, paths: Sequence[str]) -> Note:
        """Return the note that lists streams."""
        words = [word for path in paths for word in (0, path)]
        return self._key, pack("ZADD", self._key, *words)

    def on_history_change(self) -> None:
        """List the latest new streams again, in a task of its own.

        In a cluster the server of the list may have lost paths whose streams are all there.
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
            await self._store.execute(*self.note(paths))

    async def _drop(self, path: str) -> None:
        with contextlib.suppress(LogUnavailable):  # the next page with this path will do
            await self._store.execute(self._key, pack("ZREM", self._key, path))
            if await self.states([path]) != {path: None}:
                await self._add([path])

    # Reads

    @override
    async def search(self, prefix: str, after: str, fits: PathTest, limit: int) -> FoundPaths:
        """Walk through the paths in their order, so that a page ends where it is full.

        ZSCAN has no order: for each page all paths would be compared, and many twice.
        """

        async def compare_next(after: str, limit: int, ends_at: float) -> FoundPaths:
            paths = await self._paths(prefix, after, PATHS_AT_ONCE)
            return await self._turns.run(compare(paths, fits, limit, ends_at))

        return await search_in_order(compare_next, after, limit)

    async def _paths(self, prefix: str, after: str, limit: int) -> Sequence[str]:
        """Return paths in the order of their ASCII bytes."""
        lower = f"[{prefix}" if prefix > after else f"({after}"
        upper = b"(" + prefix.encode() + b"\xff"
        call = pack("ZRANGEBYLEX", self._key, lower, upper, "LIMIT", 0, limit)
        (found,) = await self._store.execute(self._key, call)
        return [path.decode() for path in found]

    @override
    async def page(self, prefix: str, after: str, limit: int) -> ListingPage:
        paths = await self._paths(prefix, after, limit + 1)
        shown = paths[:limit]
        found: dict[str, StreamState | None] = {}
        for start in range(0, len(shown), AT_ONCE):
            found |= await self.states(shown[start : start + AT_ONCE])
        for path, state in found.items():
            if state is None:
                self.drop(path)
        states = [state for state in found.values() if state is not None]
        return ListingPage(states, shown[-1] if len(paths) > limit else None)

    async def states(self, paths: Sequence[str]) -> dict[str, StreamState | None]:
        """Return the states of streams, None where there is none.

        Those that are damaged, or whose servers do not reply, are absent.
        """
        metas = [self._store.names.meta(path) for path in paths]
        calls = [self._store.names.call("state", path) for path in paths]
        replies: Sequence[Reply | None] = ()
        if paths and self._store.servers.are_together(metas):
            # One stream only may be refused: then each is asked for by itself.
            with contextlib.suppress(LogUnavailable):
                replies = await self._store.execute(metas[0], *calls)
        if not replies:
            replies = await asyncio.gather(*map(self._reply, metas, calls))
        found: dict[str, StreamState | None] = {}
        for path, reply in zip(paths, replies, strict=True):
            with contextlib.suppress(RecordDamaged):
                if reply is not None:
                    found[path] = state_in(reply)
        return found

    async def _reply(self, meta: str, call: Packed) -> Reply | None:
        with contextlib.suppress(LogUnavailable):
            return (await self._store.execute(meta, call))[0]
        return None

    @override
    async def largest(self, prefix: str, most: int) -> Sequence[tuple[int, str]]:
        """Return bytes and path of the largest streams, looked for in small steps."""
        largest: list[tuple[int, str]] = []
        after = ""
        while paths := await self._paths(prefix, after, AT_ONCE):
            after = paths[-1]
            states = (await self.states(paths)).items()
            found = [(state.tail - state.first, path) for path, state in states if state]
            largest = heapq.nlargest(most, [*largest, *found])
        return largest
