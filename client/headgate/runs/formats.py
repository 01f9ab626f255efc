"""The formats of runs: how items are stored in a run's stream, and sent to readers."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Literal, TypeAlias

import msgspec
from typing_extensions import override

from headgate import events
from headgate.dialects.parts import NotAnItem, Text, described
from headgate.dialects.source_reader import SourceReader, plain_values
from headgate.ui_stream.steps import Steps
from headgate.ui_stream.writer import ChunkWriter, ending

if TYPE_CHECKING:
    from headgate.records import RunState

# A literal, so that type checkers find a name that is none.
FormatName: TypeAlias = Literal["text", "sse", "ai-sdk"]
"""The format of a run: how its items are stored, and sent to readers.

- `text`: pieces of text, one after the other.
- `sse`: JSON values as server-sent events, which an `EventSource` resumes.
- `ai-sdk`: the UI message stream of the AI SDK, for `useChat`.
"""


class NothingOpen:
    """The state of a run, unfinished or not, in a format in which each item is complete."""

    finish_reason = None  # a writer's: why the model has stopped

    def take(self, item: bytes) -> None:
        """Ignore the item, because each item of this format is complete."""

    def closing(self) -> list[object]:
        """Return no items."""
        return []


class TextWriter(NothingOpen):
    """A writer whose items are strings."""

    def __init__(self) -> None:
        self._reader = SourceReader()

    def items(self, value: object) -> list[object]:
        """Return the strings in a value; skip empty ones and events without text of the answer."""
        if isinstance(value, str):
            return [value] if value else []
        parts, _ = self._reader.read(value)
        if parts is None:
            raise NotAnItem(
                "a run in the format text takes str, and events of SDKs (docs/client/runs.md), not "
                f"{described(value)}"
            )
        texts = [part.delta for part in parts if isinstance(part, Text) and part.kind == "text"]
        return [text for text in texts if text]


class JsonWriter(NothingOpen):
    """A writer whose items are the source's values; of an SDK's event, all that it says."""

    def items(self, value: object) -> list[object]:
        """Return the value; refuse bytes, which would be JSON text with line breaks in it."""
        if isinstance(value, bytes | bytearray | memoryview):
            raise NotAnItem(f"a run takes JSON values, not {type(value).__name__}: decode them")
        return plain_values(value)


# Turns the values of one producer's source into items: `items`, `closing` and a `finish_reason`.
ItemWriter: TypeAlias = TextWriter | JsonWriter | ChunkWriter
# What another producer has left unfinished, read from its items.
Completion: TypeAlias = NothingOpen | Steps


class Format(ABC):
    """A format of runs: how items are stored in the stream, and sent to readers.

    What a format does not define is of one in which each item is complete, and which has neither
    messages nor an end of its own.

    Attributes:
        name: The name, which is also recorded in the stream.
        media_type: The content type of responses to readers.
        keep_alive: The bytes that are sent from time to time while there is no item.
        last: The bytes that are sent after the last item.
        tells_end: True if the body says how the run ended; else it is cut if the run has failed.
        numbers_end: True if the bytes sent for the record of the end count as an item.
    """

    name: str
    media_type = "text/event-stream"
    # Without a blank line, after which httpx-sse and others would see an event without data.
    keep_alive = b": keep-alive\n"
    last = b""
    tells_end = True
    numbers_end = False

    def headers(self, _run_id: str, _tail: int | None) -> dict[str, str]:
        """Return further fields of a response; `tail` is the index of the newest item, or None."""
        return {}

    def opening(self, _run_id: str, message_id: str | None) -> list[object]:
        """Return the items before the first of the source.

        Raises ValueError for an invalid `message_id`, or in a format without messages.
        """
        if message_id is not None:
            raise ValueError(
                f"message_id names the message of a run in the format ai-sdk: one in {self.name} "
                "has none"
            )
        return []

    @abstractmethod
    def writer(self, unfinished: Completion | None = None) -> ItemWriter:
        """Return a writer for one producer, which continues the parts that are `unfinished`."""

    def completion(self) -> Completion:
        """Return the object that finds the unfinished parts of a run which another process left."""
        return NothingOpen()

    def ending(self, _state: RunState, _finish_reason: str | None = None) -> list[object]:
        """Return the items by which the format reports how the run ended."""
        return []

    @abstractmethod
    def rendered(self, item: bytes, id: str) -> bytes:  # noqa: A002 - what SSE calls it
        """Return the bytes sent for an item; a reader can resume after it by its `id`."""

    def rendered_end(self, _state: RunState, _id: str) -> bytes:
        """Return the bytes sent for the record of the end, besides the items of `ending`."""
        return b""


class PlainText(Format):
    """A body that is the text; it is cut if the run failed, which only the run's state reports."""

    name = "text"
    media_type = "text/plain; charset=utf-8"
    keep_alive = b""
    tells_end = False

    @override
    def writer(self, unfinished: Completion | None = None) -> ItemWriter:
        return TextWriter()

    @override
    def rendered(self, item: bytes, id: str) -> bytes:
        return str(json.loads(item)).encode()


class Sse(Format):
    """Server-sent events whose ids begin with their number, and an event named `end`.

    A browser's `EventSource` that has lost its connection sends the last id.
    """

    name = "sse"
    numbers_end = True

    @override
    def writer(self, unfinished: Completion | None = None) -> ItemWriter:
        return JsonWriter()

    @override
    def rendered(self, item: bytes, id: str) -> bytes:
        return events.written(item, id=id.encode())

    @override
    def rendered_end(self, state: RunState, id_: str) -> bytes:
        """Return the event `end`, whose data has the status and the error of the run."""
        data = msgspec.json.encode({"status": state.status, "error": state.error})
        return events.written(data, name=b"end", id=id_.encode())


class AiSdk(Format):
    """The format that the AI SDK's `DefaultChatTransport` and `WorkflowChatTransport` read."""

    name = "ai-sdk"
    last = b"data: [DONE]\n\n"

    @override
    def headers(self, run_id: str, tail: int | None) -> dict[str, str]:
        """Return the fields that the transports read, without a run id that no header can hold."""
        fields = {"x-vercel-ai-ui-message-stream": "v1"}
        if run_id.isascii() and run_id.strip() == run_id:
            fields["x-workflow-run-id"] = run_id
        if tail is not None:
            fields["x-workflow-stream-tail-index"] = str(tail)
        return fields

    @override
    def opening(self, run_id: str, message_id: str | None) -> list[object]:
        """Name the message, by its run if not otherwise: a replay is known as the same message."""
        if message_id is None:
            message_id = run_id
        elif not isinstance(message_id, str):
            raise TypeError(f"message_id is a str, not {type(message_id).__name__}")
        elif not message_id:
            raise ValueError("message_id is empty: leave it out for a new message")
        return [{"type": "start", "messageId": message_id}]

    @override
    def writer(self, unfinished: Completion | None = None) -> ItemWriter:
        return ChunkWriter(unfinished if isinstance(unfinished, Steps) else None)

    @override
    def completion(self) -> Completion:
        return Steps()

    @override
    def ending(self, state: RunState, finish_reason: str | None = None) -> list[object]:
        return [*ending(state.status, state.error, finish_reason)]

    @override
    def rendered(self, item: bytes, id: str) -> bytes:
        return events.written(item)


FORMATS: dict[str, Format] = {format_.name: format_ for format_ in (PlainText(), Sse(), AiSdk())}


def format_named(name: str) -> Format:
    """Return the format of this name; raise ValueError if there is none."""
    try:
        return FORMATS[name]
    except KeyError:
        known = ", ".join(FORMATS)
        raise ValueError(f"a run has no format {name!r}: there are {known}") from None
