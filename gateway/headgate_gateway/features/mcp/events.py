"""Events as clients get them, in 256 KiB at most."""

from __future__ import annotations

import base64
import hashlib
from typing import Any, NamedTuple

import msgspec

from headgate_gateway.features.subscriptions.bodies import timestamp
from headgate_gateway.protocol.bodies.content import is_json, is_text

LONGEST_BODY = 256 << 10  # bytes of an event
# What an event has beside its message: names and cursors of 1 KiB at most, and room for more.
ROOM_FOR_REST = 8 << 10


class EventPosition(NamedTuple):
    """A position in a stream: after a record, and after some messages of the next one.

    It may also be after the end of the stream, which `is_closed` then.
    """

    position: int
    messages: int = 0
    is_closed: bool = False


class McpEvent(NamedTuple):
    """An event, and the position and the cursor after it."""

    event_id: str
    name: str
    data: dict[str, Any]
    end: EventPosition
    cursor: str

    def members(self, now: float, **more: object) -> dict[str, object]:
        """Return the event as JSON has it."""
        return {
            "eventId": self.event_id,
            "name": self.name,
            "timestamp": timestamp(now),
            "data": self.data,
            **more,
        }


def content_of(content_type: str, message: bytes) -> dict[str, object]:
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
