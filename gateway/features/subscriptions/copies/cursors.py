"""Cursors of copied subscriptions: each is to point at the same events as the one it is made of.

A copied stream has the positions of its source, and another incarnation.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple, Protocol

import msgspec

from gateway.features.subscriptions.state.delivery_state import CursorRow
from gateway.features.subscriptions.state.patterns import PatternIndex

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Mapping

    from gateway.features.subscriptions.state.configuration import SubscriptionConfiguration
    from gateway.protocol.streams.state import StreamState

REMOVED = -1  # the incarnation of a stream that is gone: no log gives such an id


class PathStreams(NamedTuple):
    """A stream of the source, and the one at the same path of the target; None for none."""

    path: str
    source: StreamState | None
    target: StreamState | None


class ComparedStreams(Protocol):
    """The streams of both logs. Every method may raise LogUnavailable."""

    def pairs(self) -> AsyncIterator[PathStreams]:
        """Yield the streams of both lists, by path."""

    async def pair(self, path: str) -> PathStreams:
        """Return the streams at a path, listed or not."""

    async def common_end(self, pair: PathStreams, position: int) -> int:
        """Return up to where both have the same content, at most `position`."""


@dataclass(slots=True, eq=False)
class CursorCopy:
    """The `cursors` of one subscription at the target, made of those of the source.

    `former` are those that it has at the target; None if it is new there.
    """

    configuration: SubscriptionConfiguration
    source: Mapping[str, CursorRow]
    former: Mapping[str, CursorRow] | None
    cursors: dict[str, CursorRow] = field(default_factory=dict)

    async def make(self, pair: PathStreams, streams: ComparedStreams) -> None:
        """Make the cursor of one stream, unless it begins at the stream's beginning."""
        row = self.source.get(pair.path)
        if row is None and self.configuration.wake_stream == pair.path:
            return
        cursor = row
        if row is None or not isinstance(row.position, str):  # else of a stream of an HTTP origin
            cursor = await self._cursor(pair, row, streams)
        if cursor is not None:
            self.cursors[pair.path] = cursor

    async def _cursor(
        self, pair: PathStreams, row: CursorRow | None, streams: ComparedStreams
    ) -> CursorRow | None:
        source, target = pair.source, pair.target
        if target is None:
            return _cursor_of_removed(row)
        if source is None:
            return self._cursor_without_source(pair.path, target, row)
        position, is_closed, messages = source.beginning, False, 0
        if row is not None and row.stream_id == source.stream_id:
            assert isinstance(row.position, int), "those of an HTTP origin's streams are not made"
            position, is_closed, messages = row.position, row.is_closed, row.messages
        elif position:
            pass  # a fork, whose copy is a stream of its own that has what was inherited
        else:
            return _cursor_of_removed(row)
        # Messages behind the position are of the next record, which must be the same as well.
        end = await streams.common_end(pair, position + 1 if messages else position)
        if end <= position:
            messages = 0
        position = min(position, end, target.tail)
        return CursorRow(
            target.stream_id,
            position,
            is_closed and target.closed and position == target.tail,
            row is not None and row.is_explicit,
            messages=messages if position < target.tail else 0,
        )

    def _cursor_without_source(
        self, path: str, target: StreamState, row: CursorRow | None
    ) -> CursorRow | None:
        """Return the cursor in a stream that the source does not have.

        A new subscription begins at its tail, as any that is created.
        """
        is_explicit = row is not None and row.is_explicit
        if self.former is None:
            return CursorRow(target.stream_id, target.tail, target.closed, is_explicit)
        former = self.former.get(path)
        if former is not None and former.stream_id == target.stream_id:
            return msgspec.structs.replace(former, is_explicit=is_explicit)
        return _cursor_of_removed(row)


def _cursor_of_removed(row: CursorRow | None) -> CursorRow | None:
    """Return the row of a stream that is not there: one that comes later begins a new cursor."""
    if row is None or row.stream_id is None:
        return row
    return msgspec.structs.replace(row, stream_id=REMOVED)


async def make_cursors(copies: Iterable[CursorCopy], streams: ComparedStreams) -> None:
    """Make the cursors of subscriptions, in one pass over the streams. Raises LogUnavailable."""
    patterns: PatternIndex[CursorCopy] = PatternIndex()
    linked: dict[str, list[CursorCopy]] = {}
    for copy in copies:
        if (pattern := copy.configuration.parsed_pattern) is not None:
            patterns.add(pattern, copy)
        for path in copy.source:
            linked.setdefault(path, []).append(copy)
    async for pair in streams.pairs():
        concerned = dict.fromkeys([*linked.pop(pair.path, ()), *patterns.match(pair.path)])
        await _make_for(concerned, pair, streams)
    for path, copies_of_none in linked.items():
        await _make_for(copies_of_none, PathStreams(path, None, None), streams)


async def _make_for(
    concerned: Iterable[CursorCopy], pair: PathStreams, streams: ComparedStreams
) -> None:
    if concerned and (pair.source is None or pair.target is None):
        pair = await streams.pair(pair.path)  # lists may leave streams out
    for copy in concerned:
        await copy.make(pair, streams)
