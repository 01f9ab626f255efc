"""The events of OpenAI's Responses API, as far as retrieving an answer by its id needs them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from gateway.models.dialects.contract import EarlyEnd, data_objects

if TYPE_CHECKING:
    from typing import Any

LONGEST_ID = 256  # characters; the ids of OpenAI have about 55
CANCELLED = EarlyEnd("response_cancelled", "the response was cancelled")
NOT_ENDED = EarlyEnd("server_error", "the provider ended the response without its last event")
_UNDER_WAY = frozenset({"queued", "in_progress"})


class _Numbered(msgspec.Struct):
    """An event with its number, if it has one."""

    sequence_number: int | None = None


_numbered = msgspec.json.Decoder(_Numbered)


def response_id(events: bytes) -> str | None:
    """Return the id of the response in the first of these events that has one."""
    for event in data_objects(events, b'"response"'):
        match event:
            case {"response": {"id": str(found)}} if 0 < len(found) <= LONGEST_ID:
                return found
            case _:
                continue
    return None


def sequence_number(event: bytes, default: int | None) -> int | None:
    """Return the number of an event; `default` if it has data without a number."""
    for line in event.splitlines():
        if line.startswith(b"data:"):
            try:
                number = _numbered.decode(line[5:]).sequence_number
            except msgspec.DecodeError:
                return default
            return default if number is None else number
    return None


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
                case _:
                    continue

    def end(self) -> None:
        """Let the response be over, also if no event has said so."""
        if self.response is not None and self.response.get("status") in _UNDER_WAY:
            self._end(*NOT_ENDED)

    def _end(self, code: object, message: object) -> None:
        if self.response is None:
            return
        ending: dict[str, object] = {"status": "cancelled"}
        if code != CANCELLED.code:
            ending = {"status": "failed", "error": {"code": code, "message": message}}
        self.response = {**self.response, **ending}
