"""The events of OpenAI's Responses API, as far as retrieving an answer by its id needs them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from gateway.features.decoded import decoded_json
from gateway.features.models.dialects.contract import EarlyEnd, data_objects
from gateway.features.models.sse_events import event_fields
from gateway.protocol.bodies.json_text import NOT_JSON

if TYPE_CHECKING:
    from typing import Any

LONGEST_ID = 256  # characters; the ids of OpenAI have about 55
CANCELLED = EarlyEnd("response_cancelled", "the response was cancelled")
LAST_TYPES = frozenset(
    {
        *("response.completed", "response.incomplete", "response.failed", "response.cancelled"),
        "error",
    }
)


class EventHead(msgspec.Struct):
    """The type and the number of an event, if it has them."""

    type: str | None = None
    sequence_number: int | None = None

    @property
    def is_last(self) -> bool:
        """True for the last event of a response."""
        return self.type in LAST_TYPES


_heads = msgspec.json.Decoder(EventHead)


def response_id(events: bytes) -> str | None:
    """Return the id of the response in the first of these events that has one."""
    for event in data_objects(events, b'"response"'):
        match event:
            case {"response": {"id": str(found)}} if 0 < len(found) <= LONGEST_ID:
                return found
            case _:
                continue
    return None


def event_head(event: bytes) -> EventHead | None:
    """Return the type and number of an event; None if it has no data.

    Data that is no JSON object has neither.
    """
    _, data = event_fields(event)
    if data is None:
        return None
    try:
        return decoded_json(data, _heads.decode)
    except NOT_JSON:
        return EventHead()


def sequence_number(event: bytes, default: int | None) -> int | None:
    """Return the number of an event; `default` if it has data without a number."""
    head = event_head(event)
    if head is None:
        return None
    return default if head.sequence_number is None else head.sequence_number


class ResponseState:
    """The response object after some events of an answer, None before the first that has one."""

    def __init__(self) -> None:
        self.response: dict[str, Any] | None = None

    def add(self, events: bytes) -> None:
        """Take the state from whole events, which follow those before."""
        for event in data_objects(events, b'"response"'):
            match event:
                case {"response": dict(response)}:
                    self.response = response
                case _:
                    continue
        for event in data_objects(events, b'"error"'):
            match event:
                case {"type": "error", "code": code, "message": message}:
                    self._end(code, message)
                case {"type": "error", "error": {"code": code, "message": message}}:
                    self._end(code, message)
                case _:
                    continue

    def _end(self, code: object, message: object) -> None:
        if self.response is None:
            return
        ending: dict[str, object] = {"status": "cancelled"}
        if code != CANCELLED.code:
            ending = {"status": "failed", "error": {"code": code, "message": message}}
        self.response = {**self.response, **ending}
