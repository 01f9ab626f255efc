"""The streams of two logs beside each other, for what refers to their positions."""

from __future__ import annotations

from typing import TYPE_CHECKING

from typing_extensions import override

from gateway.features.subscriptions.copies.cursors import ComparedStreams, PathStreams
from gateway.protocol.streams.chunks import CHUNK_BYTES

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from gateway.tools.copying.log_place import LogPlace


class PlaceStreams(ComparedStreams):
    """The streams of a log and their copies in another one."""

    def __init__(
        self, source: LogPlace, target: LogPlace, is_refused: Callable[[str], bool]
    ) -> None:
        """`is_refused` returns whether a stream may have other content at the target."""
        self._source = source
        self._target = target
        self._is_refused = is_refused

    @override
    async def pairs(self) -> AsyncIterator[PathStreams]:
        sources, targets = self._source.states(""), self._target.states("")
        one, other = await anext(sources, None), await anext(targets, None)
        while one is not None or other is not None:
            path = min(it.path for it in (one, other) if it is not None)
            source = one if one is not None and one.path == path else None
            target = other if other is not None and other.path == path else None
            yield PathStreams(path, source, target)
            if source is not None:
                one = await anext(sources, None)
            if target is not None:
                other = await anext(targets, None)

    @override
    async def pair(self, path: str) -> PathStreams:
        return PathStreams(path, await self._source.present(path), await self._target.present(path))

    @override
    async def common_end(self, pair: PathStreams, position: int) -> int:
        """Return `position`, unless the stream was refused: then compare the content up to it."""
        source, target = pair.source, pair.target
        if source is None or target is None or not self._is_refused(pair.path):
            return position
        reached = max(source.first, target.first)
        while reached < min(position, target.tail):
            end = min(reached + CHUNK_BYTES, position, target.tail)
            mine = await self._source.log.read(source, reached, end)
            its = await self._target.log.read(target, reached, end)
            if mine.start == its.start:
                for record, copied in zip(mine.records, its.records, strict=False):
                    if record != copied or reached >= end:
                        break
                    reached += len(record)
            if reached < end:
                break
        return min(reached, position)
