"""A stream of an HTTP origin at one moment, as subscriptions see it: its offsets are texts."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, ClassVar, NamedTuple

import msgspec

from gateway.errors import BadRequest
from gateway.protocol.streams.offsets import BEGINNING, NOW, is_plain

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.features.subscriptions.state.subscription import StreamLink
    from gateway.features.subscriptions.streams.contract import RecordView


_ID_BITS = 53  # a whole number in any JSON


class OriginEnd(NamedTuple):
    """The end of a stream as its origin tells it."""

    tail: str
    closed: bool


class OriginView(msgspec.Struct, frozen=True, gc=False):
    """A stream of an origin. A position is the text of an offset; "" is the beginning.

    The protocol promises that offsets of a stream sort as their texts do. An origin does not tell
    one stream at a path from the next: the `stream_id` is a number that this gateway gives. The
    `beginning` is the tail that an empty stream had when it was created, where that is known.
    """

    first: ClassVar[str] = ""  # an origin does not say what it has removed
    soft_deleted: ClassVar[bool] = False

    path: str
    stream_id: int
    tail: str
    closed: bool
    version: int = 0
    beginning: str = ""

    @property
    def unforked_start(self) -> str:
        """The position of a reader that has read nothing."""
        return self.beginning

    def is_along(self, other: OriginView) -> bool:
        """Return whether both are of one stream, so that the higher version is later."""
        return self.stream_id == other.stream_id

    def is_contradicted_by(self, end: OriginEnd) -> bool:
        """Return whether an end cannot be of this stream any more."""
        if end.tail < self.tail:
            return True
        return self.closed and (end.tail != self.tail or not end.closed)

    def offset(self, position: str) -> str:
        """Return the offset of a position."""
        return position or BEGINNING

    def position(self, offset: str) -> str:
        """Return the position of an offset. Raises BadRequest for what is none."""
        if offset == BEGINNING:
            return self.beginning
        if offset == NOW or not is_plain(offset):
            raise BadRequest("give back a Stream-Next-Offset value unchanged")
        return offset


def new_stream_id() -> int:
    """Return the number of a stream that was created, or is first seen."""
    return secrets.randbits(_ID_BITS)


def stored_view(link: StreamLink) -> OriginView | None:
    """Return a stream as far as a stored cursor tells of it, None where nothing is acknowledged."""
    if link.stream_id is None:
        return None
    return OriginView(link.stream.path, link.stream_id, link.position, link.is_closed)


class OriginChange(NamedTuple):
    """A change of a stream that was noticed. `expected` is None for one that was created."""

    state: OriginView
    expected: int | None
    removes: bool = False
    records: Sequence[RecordView] = ()  # what was appended is not read
