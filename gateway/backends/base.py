"""The contract of a log: it keeps streams and compares versions, and knows no protocol rule."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import msgspec

from gateway.protocol.lifecycle import Place
from gateway.protocol.state import ProducerState

if TYPE_CHECKING:
    from asyncio import Future
    from collections.abc import Sequence

    from gateway.protocol.chunks import Chunk
    from gateway.protocol.state import Change, StreamState


class Conflict(Exception):
    """A stream is no longer at the version that a change expects. Nothing was written."""


class Loaded(msgspec.Struct, frozen=True):
    """What a log has at a path: the stream or none, and the stream's producers."""

    place: Place
    producers: dict[str, ProducerState]


class Log(Protocol):
    """A log of streams, used from one event loop.

    Every method but `commit` may raise LogUnavailable; then nothing was changed.
    """

    async def open(self) -> None:
        """Make ready, recovering what a crash left. Raises StartError with one clear sentence."""

    async def close(self) -> None:
        """Finish what was begun and release everything."""

    def new_stream_id(self) -> int:
        """An id that no stream of this log ever had."""

    async def load(self, path: str) -> Loaded:
        """What stands at `path`."""

    def commit(self, changes: Sequence[Change]) -> Future[None]:
        """Compare and commit: all changes, durably, or none.

        The future fails with Conflict when a version is not as expected, with LogUnavailable when
        the log could not write. It is never done when it is returned, and the futures of one log
        are resolved in the order of their commits.
        """

    async def read(self, state: StreamState, start: int, end: int) -> Chunk:
        """The records after `start` up to the first record end at or past `end`, or to the tail.

        One moment: the chunk's state is the stream as it stood when the records were read. Raises
        StreamNotFound when the stream is gone, BadRequest when `start` is inside a record,
        RecordDamaged when a checksum does not match.
        """

    async def expired(self, now: float, limit: int) -> Sequence[str]:
        """Paths, at most `limit`, of streams whose deadline is at or before `now`."""

    async def reclaim(self) -> bool:
        """Free a little of what removed streams left behind; True when more remains."""

    def trouble(self) -> str | None:
        """Why the log takes no appends at this moment, None when it does."""
