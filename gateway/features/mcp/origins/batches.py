"""Batches of an origin's stream: what one read has brought, as messages or pieces."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import msgspec

from gateway.errors import OriginBroken
from gateway.features.subscriptions.state.delivery_state import EventPosition
from gateway.protocol.bodies.content import is_json, is_text
from gateway.protocol.bodies.json_text import NOT_JSON

if TYPE_CHECKING:
    from collections.abc import Iterator

# bytes; streams that are no JSON have no messages at an origin. So long a piece fits into an event
# also if each of its characters is escaped.
LONGEST_PIECE = 32 << 10
_MESSAGES = msgspec.json.Decoder(list[msgspec.Raw])
_NOWHERE = ("", -1, "")


class OriginBatch(NamedTuple):
    """The content of a read, up to the offset `end`; whether that is the stream's end so far."""

    content_type: str
    body: bytes
    end: str
    is_last: bool
    is_closed: bool


class ParsedBatch(NamedTuple):
    """The parts of a batch that are counted: messages of a JSON stream, bytes of another one."""

    batch: OriginBatch
    messages: list[msgspec.Raw] | None

    @classmethod
    def of(cls, batch: OriginBatch) -> ParsedBatch:
        """Parse a batch. Raises OriginBroken."""
        if not is_json(batch.content_type):
            return cls(batch, None)
        try:
            return cls(batch, _MESSAGES.decode(batch.body) if batch.body.strip() else [])
        except NOT_JSON:
            raise OriginBroken("the origin's answer to a read is no JSON array") from None

    @property
    def total(self) -> int:
        """The number of messages or bytes."""
        return len(self.batch.body) if self.messages is None else len(self.messages)

    def behind(self, skipped: int) -> Iterator[tuple[int, bytes]]:
        """Yield what follows the first parts: how many parts precede its end, and its bytes."""
        if self.messages is not None:
            for number in range(skipped, len(self.messages)):
                yield number + 1, bytes(self.messages[number])
            return
        while skipped < self.total:
            piece = self._piece(skipped)
            skipped += len(piece)
            yield skipped, piece

    def _piece(self, start: int) -> bytes:
        """Return the next piece, which ends between two characters of a text."""
        body = self.batch.body
        end = min(start + LONGEST_PIECE, len(body))
        if end < len(body) and is_text(self.batch.content_type):
            cut = end
            while cut > max(start, end - 4) and body[cut] & 0xC0 == 0x80:
                cut -= 1
            end = cut if cut > start else end
        return body[start:end]

    def position(self, start: EventPosition, parts: int) -> EventPosition:
        """Return the position behind so many parts of the batch, which begins at a start."""
        if parts < self.total:
            return EventPosition(start.position, parts, False, start.numbering)
        numbering = None if start.numbering is None else start.numbering.after(self.total)
        return EventPosition(self.batch.end, 0, False, numbering)


class LatestBatch:
    """The latest batch that was read, which many pages in a row may have events of.

    `place` is the name and the incarnation of its stream, and where it begins, if its events are
    read one page after the other.
    """

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        """Keep no batch any more."""
        self.parsed = ParsedBatch(OriginBatch("", b"", "", False, False), None)
        self.place = _NOWHERE

    def parse(self, batch: OriginBatch) -> ParsedBatch:
        """Return the parts of a batch, which is the latest one from now on. Raises OriginBroken."""
        if self.parsed.batch.body is not batch.body:
            self.parsed, self.place = ParsedBatch.of(batch), _NOWHERE
        return self.parsed._replace(batch=batch)
