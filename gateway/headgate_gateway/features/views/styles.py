"""The styles of the views: what becomes of one message of a stream in each of them."""

from __future__ import annotations

import json
from base64 import b64encode
from typing import TYPE_CHECKING, Protocol

import msgspec
from typing_extensions import override

from headgate.events import parse, written
from headgate_gateway.features.decoded import LONGEST_DECODED, has_more_values, is_events
from headgate_gateway.features.views.ag_ui import AgUiEvents
from headgate_gateway.features.views.answer_chunks import AnswerChunks
from headgate_gateway.features.views.messages import LONGEST_MESSAGE
from headgate_gateway.protocol.bodies.content import is_json, is_text
from headgate_gateway.protocol.views import AG_UI, AI_SDK, SSE, TEXT

if TYPE_CHECKING:
    from collections.abc import Callable

    from headgate_gateway.features.views.answer_chunks import Chunk

DONE = b"data: [DONE]\n\n"
END = b'event: end\ndata: {"streamClosed":true}\n\n'
# Of a long message in a view that is made of its values, or of the lines of an event: messages of
# answers have some tens. More take over 10 ms to decode.
MOST_VALUES = 50_000
MOST_LINES = 20_000
BETWEEN_ANSWERS = b"\n\n"  # in a text


class Style(Protocol):
    """The style of one view of one stream, which makes its pieces; with `has_ids` they are events.

    What `offset` returns is the offset at which the message begins.
    """

    has_ids: bool

    def takes_long(self, data: bytes) -> bool:
        """Return whether a long message would take long to render: it is left out."""

    def pieces(self, data: bytes, offset: Callable[[], str]) -> list[bytes]:
        """Return the pieces for a message of the stream."""

    def closing(self) -> list[bytes]:
        """Return the pieces after the last message, when the stream is closed."""


class SseStyle:
    """The view `sse`: each message is an event, and the last event says that there are no more."""

    has_ids = True

    def __init__(self, content_type: str, _thread: str) -> None:
        self._is_text = is_text(content_type)
        self._is_events = is_events(content_type)

    def takes_long(self, data: bytes) -> bool:
        """Return whether an event would be too long, or have too many lines."""
        return len(data) > LONGEST_MESSAGE or (self._is_events and _lines(data) > MOST_LINES)

    def pieces(self, data: bytes, _offset: Callable[[], str]) -> list[bytes]:
        """Return the event; of a stored one its name and data, which alone reach a page."""
        if not self._is_events:
            return [written(data if self._is_text else b64encode(data))]
        event = parse(data)
        return [] if event is None else [written(event.data, name=event.name)]

    def closing(self) -> list[bytes]:
        """Return the last event."""
        return [END]


def _lines(data: bytes) -> int:
    """Return the number of line ends that a parser of events knows."""
    return data.count(b"\n") + data.count(b"\r") - data.count(b"\r\n")


class _AnswerStyle(Style):
    """The style of a view that is made of the answers in a stream."""

    def __init__(self, content_type: str, thread: str) -> None:
        self._chunks = AnswerChunks(thread)
        self._is_events = is_events(content_type)
        self._is_json = is_json(content_type)

    @override
    def takes_long(self, data: bytes) -> bool:
        if len(data) > LONGEST_DECODED:
            return True
        if self._is_json:
            return has_more_values(data, MOST_VALUES)
        if not self._is_events:
            return False
        if _lines(data) > MOST_LINES:
            return True
        event = parse(data)
        return event is not None and has_more_values(event.data, MOST_VALUES)

    @override
    def pieces(self, data: bytes, offset: Callable[[], str]) -> list[bytes]:
        return self._pieces(self._of_message(data, offset))

    @override
    def closing(self) -> list[bytes]:
        return self._pieces(self._chunks.close())

    def _of_message(self, data: bytes, offset: Callable[[], str]) -> list[Chunk]:
        if self._is_json:
            return self._chunks.item(data, offset)
        if not self._is_events:
            return self._chunks.value(data.decode(), offset)
        event = parse(data)
        return [] if event is None else self._chunks.event(event.name, event.data, offset)

    def _pieces(self, chunks: list[Chunk]) -> list[bytes]:
        """Return the pieces for chunks of answers."""
        raise NotImplementedError


class AiSdkStyle(_AnswerStyle):
    """The view `ai-sdk`: the chunks as they are."""

    has_ids = True

    @override
    def closing(self) -> list[bytes]:
        return [*super().closing(), DONE]

    @override
    def _pieces(self, chunks: list[Chunk]) -> list[bytes]:
        return [_json_event(chunk) for chunk in chunks]


class AgUiStyle(_AnswerStyle):
    """The view `ag-ui`: the events that the chunks are in AG-UI."""

    has_ids = True

    def __init__(self, content_type: str, thread: str) -> None:
        super().__init__(content_type, thread)
        self._events = AgUiEvents(thread)

    @override
    def _pieces(self, chunks: list[Chunk]) -> list[bytes]:
        return [_json_event(event) for chunk in chunks for event in self._events.events(chunk)]


class TextStyle(_AnswerStyle):
    """The view `text`: what the answers say, and a blank line between two; a text as it is."""

    has_ids = False

    def __init__(self, content_type: str, thread: str) -> None:
        super().__init__(content_type, thread)
        self._is_plain = is_text(content_type) and not (self._is_events or self._is_json)
        self._has_text = self._is_next = False

    @override
    def takes_long(self, data: bytes) -> bool:
        return not self._is_plain and super().takes_long(data)

    @override
    def pieces(self, data: bytes, offset: Callable[[], str]) -> list[bytes]:
        return [data] if self._is_plain else super().pieces(data, offset)

    @override
    def _pieces(self, chunks: list[Chunk]) -> list[bytes]:
        pieces: list[bytes] = []
        for chunk in chunks:
            if chunk["type"] == "start":
                self._is_next = self._has_text
            elif chunk["type"] == "text-delta" and chunk["delta"]:
                if self._is_next:
                    pieces.append(BETWEEN_ANSWERS)
                self._has_text, self._is_next = True, False
                pieces.append(chunk["delta"].encode(errors="replace"))
        return pieces


def _json_event(value: Chunk) -> bytes:
    try:
        data = msgspec.json.encode(value)
    except (ValueError, TypeError, RecursionError):  # half of a surrogate pair, in a tool's input
        data = json.dumps(value).encode()
    return written(data)


STYLES: dict[str, Callable[[str, str], Style]] = {
    SSE: SseStyle,
    AI_SDK: AiSdkStyle,
    AG_UI: AgUiStyle,
    TEXT: TextStyle,
}
