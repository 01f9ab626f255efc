"""Events as clients get them, in 256 KiB at most."""

from __future__ import annotations

import base64
import hashlib
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from gateway.features.subscriptions.bodies import timestamp
from gateway.protocol.bodies.content import is_json, is_text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.features.mcp.event_types import EventType


LONGEST_BODY = 256 << 10  # bytes of an event
# What an event has beside its message: names and cursors of 1 KiB at most, and room for more.
ROOM_FOR_REST = 8 << 10
_MILLISECONDS_FROM = 1e11  # a time in seconds is lower for 3,000 years
_LATEST = 253402300799.0  # the end of year 9999


class EventPosition(NamedTuple):
    """A position in a stream: after a record, and after some messages of the next one.

    It may also be after the end of the stream, which `is_closed` then.
    """

    position: int
    messages: int = 0
    is_closed: bool = False


class McpEvent(NamedTuple):
    """An event, and the position after it. `own_time` is what its message says, or None."""

    event_id: str
    name: str
    data: dict[str, Any]
    own_time: float | None
    end: EventPosition
    cursor: str

    def is_since(self, moment: float) -> bool:
        """Return whether its own time, if it has one, is not before a moment."""
        return self.own_time is None or self.own_time >= moment

    def members(self, now: float, **more: object) -> dict[str, object]:
        """Return the event as JSON has it; `now` is its time if its message names none."""
        moment = now if self.own_time is None else self.own_time
        return {
            "eventId": self.event_id,
            "name": self.name,
            "timestamp": timestamp(moment),
            "data": self.data,
            **more,
        }


class EventEnd(NamedTuple):
    """The id of an event, the offset that it names, and the position and the cursor after it."""

    event_id: str
    offset: str
    end: EventPosition
    cursor: str


def message_event(
    event: EventType, stream: str, content_type: str, message: bytes, mark: EventEnd
) -> McpEvent:
    """Return the event of a message."""
    data = {"stream": stream, "offset": mark.offset, **_content(content_type, message)}
    has_time = bool(event.time) and is_json(content_type)
    own_time = _own_time(message, event.time) if has_time else None
    return McpEvent(mark.event_id, event.name, data, own_time, mark.end, mark.cursor)


def end_event(event: EventType, stream: str, mark: EventEnd) -> McpEvent:
    """Return the event of a stream's end."""
    data = {"stream": stream, "offset": mark.offset, "closed": True}
    return McpEvent(mark.event_id, event.name, data, None, mark.end, mark.cursor)


def _content(content_type: str, message: bytes) -> dict[str, object]:
    """Return the members of an event's data that have a message, or its length if it is long."""
    if is_json(content_type):
        is_short = len(message) <= LONGEST_BODY - ROOM_FOR_REST
        return {"message": msgspec.Raw(message)} if is_short else {"bytes": len(message)}
    if len(message) * 4 // 3 > LONGEST_BODY - ROOM_FOR_REST:
        return {"bytes": len(message)}
    if is_text(content_type):
        try:
            text = message.decode()
        except UnicodeDecodeError:
            pass
        else:
            is_short = len(msgspec.json.encode(text)) <= LONGEST_BODY - ROOM_FOR_REST
            return {"text": text} if is_short else {"bytes": len(message)}
    return {"base64": base64.b64encode(message).decode()}


def event_id(*place: object) -> str:
    """Return the id of an event: the same whenever it is read."""
    digest = hashlib.sha256(" ".join(map(str, place)).encode()).digest()[:18]
    return f"evt_{base64.urlsafe_b64encode(digest).decode()}"


def _own_time(message: bytes, path: Sequence[str]) -> float | None:
    """Return the time in a message in epoch seconds; None if there is none at this place."""
    value = msgspec.json.decode(message)
    for key in path:
        value = value.get(key) if isinstance(value, dict) else None
    try:
        seconds = _seconds(value)
    except (ValueError, OverflowError):
        return None
    return seconds if seconds is not None and 0.0 <= seconds <= _LATEST else None


def _seconds(value: object) -> float | None:
    """Return epoch seconds of a text or a number. Raises ValueError, OverflowError."""
    if isinstance(value, str):
        moment = datetime.fromisoformat(value)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return value / 1000 if value >= _MILLISECONDS_FROM else float(value)
