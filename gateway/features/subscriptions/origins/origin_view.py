"""Streams of an HTTP origin as subscriptions see them, and the requests that ask for their ends."""

from __future__ import annotations

import secrets
from http import HTTPStatus
from typing import TYPE_CHECKING, ClassVar, NamedTuple

import msgspec
from multidict import CIMultiDict

from gateway.errors import BadRequest, OriginBroken, OriginBusy, StreamNotFound
from gateway.protocol.http.header_names import CLOSED, NEXT_OFFSET
from gateway.protocol.streams.offsets import BEGINNING, NOW, TailBound, is_plain
from gateway.rules.repair import is_true
from gateway.runtime.write_journal import Write

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from gateway.features.subscriptions.state.subscription import StreamLink
    from gateway.features.subscriptions.streams import RecordView
    from gateway.origin.client import Origin


_ID_BITS = 53  # a whole number in any JSON


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

    def is_contradicted_by(self, end: TailBound) -> bool:
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


_GONE = frozenset({HTTPStatus.NOT_FOUND, HTTPStatus.GONE})


class StreamRequests:
    """The requests for streams below one prefix. Every method raises HeadgateError."""

    def __init__(
        self, prefix: str, origin: Origin, via: str, announce: Callable[[Write], None]
    ) -> None:
        """`announce` notifies caches and live readers of an append."""
        self._prefix = prefix
        self._origin = origin
        self._via = via
        self._announce = announce

    async def end_of(self, name: str) -> TailBound | None:
        """Return the end of a stream, or None if there is no such stream."""
        fields = CIMultiDict({"Via": self._via})
        answer = await self._origin.send("HEAD", f"{self._prefix}/{name}", fields)
        answer.release()
        if answer.status in _GONE:
            return None
        if answer.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            raise OriginBusy(f"the origin answered {answer.status}, and told no end of a stream")
        tail = answer.headers.get(NEXT_OFFSET)
        if answer.status != HTTPStatus.OK or tail is None or not is_plain(tail):
            raise OriginBroken(f"the origin answered {answer.status}, and told no end of a stream")
        return TailBound(tail, is_true(answer.headers, CLOSED))

    async def append(self, name: str, event: bytes) -> None:
        """Append a JSON message to a stream."""
        path = f"{self._prefix}/{name}"
        fields = CIMultiDict({"Via": self._via, "Content-Type": "application/json"})
        answer = await self._origin.send("POST", path, fields, event)
        answer.release()
        if answer.status in _GONE:
            raise StreamNotFound("there is no such stream at the origin")
        if answer.status >= HTTPStatus.MULTIPLE_CHOICES:
            raise OriginBroken(f"the origin answered {answer.status} to the append")
        tail = answer.headers.get(NEXT_OFFSET)
        self._announce(
            Write(prefix=self._prefix, path=path, only_grown=tail is not None, tail=tail)
        )
