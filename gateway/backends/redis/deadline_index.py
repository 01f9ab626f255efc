"""The index of deadlines in Redis: the times at which streams expire, are trimmed, or are tidied.

It is one key, in a cluster on another server than most streams, so it cannot be part of a commit.
A deadline is set before the commit, and is checked against the stream when it is due.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from gateway.backends.redis.commands import IndexNote, state_in
from gateway.errors import LogUnavailable, RecordDamaged

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from gateway.backends.redis.commands import Commands
    from gateway.backends.redis.connection import Reply
    from gateway.protocol.streams.state import Change, StreamState


MOST_LATE = (
    10_000  # deadlines that wait for their server; the next change of a stream notes its own
)


class DeadlineIndex:
    """The deadlines of streams that expire, are trimmed by age, or were removed."""

    def __init__(self, calls: Commands, execute: Callable[..., Awaitable[list[Reply]]]) -> None:
        """`execute` takes a key and a call for the server that has it."""
        self._commands = calls
        self._execute = execute
        self._late: dict[str, IndexNote] = {}  # by path

    def notes(self, change: Change) -> Sequence[IndexNote]:
        """Return the note that sets a change's deadline, if any, to be sent before its commit.

        A deadline that is too early does no harm; one that is too late would.
        """
        moment = 0.0 if change.removes else _due(change.state)  # removed: look for leftover keys
        if moment is None:
            return ()
        is_new = change.expected is None
        call = self._commands.set_deadline(change.state.path, moment, new=is_new)
        return (IndexNote(self._key, call),)

    def note_later(self, path: str, note: IndexNote) -> None:
        """Set a deadline with the next search, because the server has not taken it now."""
        self._late[path] = note
        if len(self._late) > MOST_LATE:
            del self._late[next(iter(self._late))]

    async def _note_late(self) -> None:
        late, self._late = self._late, {}
        try:
            await self._execute(self._key, *(note.call for note in late.values()))
        except LogUnavailable:
            self._late = {**late, **self._late}

    async def time(self) -> float:
        """Return the epoch seconds by the clock of the server that has the index."""
        (found,) = await self._execute(self._key, self._commands.time())
        seconds, micros = found
        return int(seconds) + int(micros) / 1e6

    async def expired(self, now: float, limit: int) -> Sequence[str]:
        """Return the paths of streams, at most `limit`, that have ended or have an ended part."""
        if self._late:
            await self._note_late()
        late: list[str] = []
        unknown = 0
        while len(late) < limit:
            call = self._commands.due(now, len(late) + unknown, limit)
            (found,) = await self._execute(self._key, call)
            if not found:
                break
            paths = [path.decode() for path in found]
            checked = await asyncio.gather(*(self._check(path, now) for path in paths))
            late += [path for path, is_late in zip(paths, checked, strict=True) if is_late]
            unknown += checked.count(None)
        return late[:limit]

    async def _check(self, path: str, now: float) -> bool | None:
        """Return whether a stream is due, and correct its deadline if not; None if unknown."""
        try:
            moment = await self._due_now(path)
        except LogUnavailable:  # this stream's server; the other streams must expire all the same
            return None
        if moment is None:
            await self._execute(self._commands.names.meta(path), self._commands.purge(path))
            await self._execute(self._key, self._commands.drop_deadline(path))
        elif moment > now:
            await self._execute(self._key, self._commands.set_deadline(path, moment, new=False))
        return moment is not None and moment <= now

    async def _due_now(self, path: str) -> float | None:
        (found,) = await self._execute(self._commands.names.meta(path), self._commands.state(path))
        try:
            state = state_in(found)
        except RecordDamaged:
            return None  # a client that reads the stream gets the error
        return None if state is None else _due(state)

    @property
    def _key(self) -> str:
        return self._commands.names.deadlines


def _due(state: StreamState) -> float | None:
    """Return the time (epoch) at which the stream or its oldest part ends, None for never."""
    if state.trim_at is None or state.deadline is None:
        return state.deadline if state.trim_at is None else state.trim_at
    return min(state.deadline, state.trim_at)
