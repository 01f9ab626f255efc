"""The table of a route's followed streams."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterator

    from gateway.edge.followed.followed_stream import FollowedStream
    from gateway.edge.rules.cached_response import CacheRequest
    from gateway.edge.rules.lost_offsets import StreamKey
    from gateway.protocol.origins.followed import Snapshot
    from gateway.protocol.streams.reach import TailBound


class FollowedTable:
    """The followed streams of a route, by their keys and by their paths.

    A stream that was set aside, since new readers have another one with its key, is found by its
    path only.
    """

    def __init__(self) -> None:
        self.by_key: dict[Hashable, FollowedStream] = {}
        self.by_path: dict[str, set[FollowedStream]] = {}
        # Each is called with a path and how far its stream was seen to reach.
        self.tail_observers: list[Callable[[str, TailBound], None]] = []
        self._is_empty = asyncio.Event()
        self._is_empty.set()

    def __contains__(self, stream: FollowedStream) -> bool:
        return stream in self.by_path.get(stream.path, ())

    def __iter__(self) -> Iterator[FollowedStream]:
        """Iterate over a copy, so that streams may come and go meanwhile."""
        return iter([stream for streams in self.by_path.values() for stream in streams])

    def of_path(self, path: str) -> list[FollowedStream]:
        """Return the followed streams at a path: some readers may have one of their own."""
        return list(self.by_path.get(path, ()))

    def is_tail(self, key: Hashable, offset: str) -> bool:
        """Return whether a stream is followed and known to end at an offset."""
        return (stream := self.by_key.get(key)) is not None and stream.state.knows_tail(offset)

    def verified(self, key: Hashable, snapshot: Snapshot, *, ends: bool) -> FollowedStream | None:
        """Return the followed stream; None if a read, which perhaps `ends`, shows it to be gone."""
        stream = self.by_key.get(key)
        return stream if stream is not None and stream.verify(snapshot, ends=ends) else None

    def note_tail(self, request: CacheRequest, tail: TailBound) -> None:
        """Notify the observers of a tail that the origin has shown to anybody."""
        if not (request.identified or request.read.others):
            for notify in self.tail_observers:
                notify(request.path, tail)

    def overtake(self, key: StreamKey, end: str) -> None:
        """Note that the newest data of a stream, up to `end`, have arrived.

        Feeds of other identities do not say that they are up to date until they are asked anew.
        """
        for stream in self.of_path(key[1]):
            if stream.key[:3] == key[:3] and stream.key != key:
                stream.state.overtake(end)

    def add(self, stream: FollowedStream) -> None:
        """Add a stream to both tables: nothing in between may raise."""
        self.by_key[stream.key] = stream
        self.by_path.setdefault(stream.path, set()).add(stream)
        self._is_empty.clear()

    def set_aside(self, stream: FollowedStream) -> bool:
        """Make room for another stream with the same key; return False if there is one already."""
        others = self.by_path[stream.path]
        if any(one.key == stream.key and one is not stream for one in others):
            return False
        del self.by_key[stream.key]
        return True

    def remove(self, stream: FollowedStream) -> bool:
        """Remove a stream, which may have been set aside; return False if it was removed before."""
        if self.by_key.get(stream.key) is stream:
            del self.by_key[stream.key]
        others = self.by_path.get(stream.path, set())
        if stream not in others:
            return False
        others.discard(stream)
        if not others:
            del self.by_path[stream.path]
        if not self.by_path:
            self._is_empty.set()
        return True

    async def until_empty(self) -> None:
        """Wait until no stream is followed."""
        await self._is_empty.wait()
