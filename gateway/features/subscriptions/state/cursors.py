"""Positions in streams: as wakes tell them, as cursors are stored, and within an append."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import msgspec

if TYPE_CHECKING:
    from gateway.features.subscriptions.streams.contract import Position


class EventNumbering(NamedTuple):
    """The number of events since some position, for streams whose offsets do not tell it.

    The random text `chain` names that position.
    """

    chain: str
    number: int

    def after(self, events: int) -> EventNumbering:
        """Return the numbering behind so many more events."""
        return EventNumbering(self.chain, self.number + events)


class EventPosition(NamedTuple):
    """A position in a stream: behind a record, and behind some messages of the next one.

    It may also be behind the end of the stream, which `is_closed` then. The `numbering` is that
    of the position, without the messages.
    """

    position: Position
    messages: int = 0
    is_closed: bool = False
    numbering: EventNumbering | None = None


class CursorRow(msgspec.Struct, frozen=True, array_like=True):
    """A link as it is stored; a `stream_id` of None is a stream that did not exist so far."""

    stream_id: int | None
    position: int | str
    is_closed: bool
    is_explicit: bool
    numbering: EventNumbering | None = None
    messages: int = 0


class SnapshotEnd(NamedTuple):
    """The end of a stream as a wake has told it."""

    stream_id: int
    tail: Position
    is_closed: bool
