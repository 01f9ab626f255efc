"""Pages of events at an HTTP origin, whose reads bring messages in batches.

An origin tells one offset after a batch, and may cut the same messages into other batches when
they are read again. So a cursor counts the messages after an offset, which every cut agrees on,
and all messages since the client began, by which the ids of events stay the same.
"""

from __future__ import annotations

import re
import secrets
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from gateway.errors import OriginBroken
from gateway.features.mcp.reading import (
    EventEnd,
    EventPage,
    end_event,
    event_id,
    message_event,
    refused_cursor,
)
from gateway.features.subscriptions.state.delivery_state import EventNumbering, EventPosition
from gateway.protocol.bodies.content import is_json, is_text
from gateway.protocol.bodies.json_text import NOT_JSON
from gateway.protocol.streams.offsets import BEGINNING, NOW, is_plain

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gateway.features.mcp.event_types import EventType
    from gateway.features.mcp.reading import McpEvent


_CHAIN_BYTES = 12  # random: no two clients begin with the same
_CURSOR = re.compile(
    r"o([A-Za-z0-9_-]{16})\.([0-9]{1,15})\.([0-9]{1,9})(c?)\.([!-~]{1,256})", re.ASCII
)


def new_numbering() -> EventNumbering:
    """Return a numbering that begins now."""
    return EventNumbering(secrets.token_urlsafe(_CHAIN_BYTES), 0)


def with_numbering(at: EventPosition) -> EventPosition:
    """Return a position with a numbering, which begins there if it has none."""
    return at if at.numbering is not None else at._replace(numbering=new_numbering())


def origin_cursor(at: EventPosition) -> str:
    """Return the cursor of a position; "" and what is no offset are the beginning."""
    at = with_numbering(at)
    assert at.numbering is not None, "it has one now"
    offset = at.position if isinstance(at.position, str) and at.position else BEGINNING
    closed = "c" if at.is_closed else ""
    return f"o{at.numbering.chain}.{at.numbering.number}.{at.messages}{closed}.{offset}"


def origin_position(cursor: object) -> EventPosition:
    """Return the position that a cursor stands for. Raises RpcError."""
    match = _CURSOR.fullmatch(cursor) if isinstance(cursor, str) else None
    if match is None or match[5] == NOW or not is_plain(match[5]):
        raise refused_cursor()
    chain, number, messages, closed, offset = match.groups()
    position = "" if offset == BEGINNING else offset
    return EventPosition(position, int(messages), bool(closed), EventNumbering(chain, int(number)))


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
        """Return the position after so many parts of the batch, which begins at a start."""
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


def page_of(
    event: EventType, name: str, parsed: ParsedBatch, at: EventPosition, most: int
) -> EventPage:
    """Return the events of a batch after a position in it, `most` of them."""
    assert at.numbering is not None, "a position that is read from has one"
    batch, chain = parsed.batch, at.numbering.chain
    events: list[McpEvent] = []
    end = at if at.messages < parsed.total else parsed.position(at, parsed.total)
    for parts, message in parsed.behind(at.messages):
        if len(events) == most:
            break
        number = at.numbering.number + (end.messages if events else at.messages)
        end = parsed.position(at, parts)
        named = event_id(chain, name, number, "", content=message)
        mark = EventEnd(named, batch.end, end, origin_cursor(end))
        events.append(message_event(event, name, batch.content_type, message, mark))
    has_more = end.messages > 0 or not batch.is_last
    if batch.is_last and batch.is_closed and not at.is_closed:
        if not has_more and len(events) < most:
            end = end._replace(is_closed=True)
            events.append(_closing_event(event, name, end))
        else:
            has_more = True
    elif not events and end.position == at.position:
        end = at
    return EventPage(events, at, end, has_more, origin_cursor(end))


def _closing_event(event: EventType, name: str, end: EventPosition) -> McpEvent:
    assert end.numbering is not None, "behind one that has one"
    named = event_id(end.numbering.chain, name, end.numbering.number, "closed")
    return end_event(event, name, EventEnd(named, end.position, end, origin_cursor(end)))
