"""The types of events of a route: which streams they are made of, and what a client may choose."""

from __future__ import annotations

import re
from functools import cached_property
from pathlib import Path
from typing import Any

import msgspec

from headgate_gateway.errors import BadRequest, StartError
from headgate_gateway.features.mcp.rpc import INVALID_PARAMS, UNSUPPORTED, RpcError
from headgate_gateway.features.subscriptions.state.patterns import (
    SEVERAL,
    pattern_of,
    stream_name,
)
from headgate_gateway.settings.reading.files import unread
from headgate_gateway.text_files import unmarked

LONGEST_FILE = 1 << 20
LONGEST_DESCRIPTION = 1_024  # characters
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/-]{0,127}")


class EventEntry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An event type as a file has it."""

    name: str
    streams: str
    description: str = ""
    message_schema: dict[str, Any] = {}


class EventTypeFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The content of a file of event types."""

    events: list[EventEntry]


class EventType:
    """An event type, made of the messages of the streams that match a pattern."""

    def __init__(self, entry: EventEntry) -> None:
        """Take an entry of a file. Raises BadRequest."""
        self.name = entry.name
        self.description = entry.description
        self.pattern = pattern_of(entry.streams)
        self._message_schema = entry.message_schema

    @property
    def stream(self) -> str | None:
        """The only stream that the type is made of; None if there may be several."""
        return self.pattern.text if self.pattern.is_name else None

    @cached_property
    def input_schema(self) -> dict[str, Any]:
        """The JSON Schema of a subscription's arguments."""
        names = {
            "type": "string",
            "description": f"Name of the stream, which matches {self.pattern.text}.",
        }
        schema = {"type": "object", "properties": {}, "additionalProperties": False}
        if self.stream is None:
            schema |= {"properties": {"stream": names}, "required": ["stream"]}
        return schema

    @cached_property
    def payload_schema(self) -> dict[str, Any]:
        """The JSON Schema of an event's data."""
        text = {"type": "string"}
        return {
            "type": "object",
            "properties": {
                "stream": {**text, "description": "Name of the stream."},
                "offset": {**text, "description": "Offset after the message."},
                "message": {"description": "The message of a JSON stream.", **self._message_schema},
                "text": {**text, "description": "What was appended to a stream of text."},
                "base64": {**text, "description": "What was appended to a stream of bytes."},
                "bytes": {
                    "type": "integer",
                    "description": "Length of a message that is too long for an event: read it.",
                },
                "closed": {"const": True, "description": "The stream has ended: no message."},
            },
            "required": ["stream", "offset"],
        }

    def stream_in(self, arguments: object) -> str:
        """Return the stream that arguments choose. Raises RpcError."""
        if not isinstance(arguments, dict):
            raise RpcError(INVALID_PARAMS, "arguments is an object")
        unknown = arguments.keys() - self.input_schema["properties"].keys()
        if unknown:
            raise RpcError(INVALID_PARAMS, f"{self.name} has no argument {min(unknown, key=str)}")
        if self.stream is not None:
            return self.stream
        if "stream" not in arguments:
            refused = {"feature": "arguments", "value": "stream"}
            raise RpcError(UNSUPPORTED, "name a stream in arguments", **refused)
        try:
            name = stream_name(arguments["stream"] if type(arguments["stream"]) is str else "")
        except BadRequest as refusal:
            raise RpcError(INVALID_PARAMS, f"stream: {refusal.detail}") from None
        if not self.pattern.matches(name):
            raise RpcError(INVALID_PARAMS, f"stream does not match {self.pattern.text}")
        return name


ANY_MESSAGE = EventType(
    EventEntry(
        "stream.appended",
        SEVERAL,
        "Fires when a message is appended to a stream, and when a stream is closed.",
    )
)


def event_types(path: str) -> dict[str, EventType]:
    """Return the event types in a file by name; without a file, one of all streams.

    Raises StartError.
    """
    if not path:
        return {ANY_MESSAGE.name: ANY_MESSAGE}
    try:
        return _parse(unmarked(Path(path).read_bytes()))
    except OSError as cause:
        sentence = unread(path, cause.strerror)
        raise StartError(f"mcp_events_file: {sentence}") from cause
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as cause:
        raise StartError(f"{path}: the event types are not valid: {cause}") from cause
    except BadRequest as refusal:
        raise StartError(f"{path}: the event types are not valid: {refusal.detail}") from refusal
    except ValueError as cause:
        raise StartError(f"{path} {cause}") from cause


def _parse(text: bytes) -> dict[str, EventType]:
    if len(text) > LONGEST_FILE:
        raise BadRequest(f"it has over {LONGEST_FILE} bytes")
    entries = msgspec.toml.decode(text, type=EventTypeFile).events
    types = {entry.name: _event_type(entry) for entry in entries}
    if len(types) < len(entries):
        raise BadRequest("a name is there twice")
    return types


def _event_type(entry: EventEntry) -> EventType:
    if _NAME.fullmatch(entry.name) is None:
        raise BadRequest("a name has up to 128 letters, digits, '.', '_', '-' and '/'")
    if len(entry.description) > LONGEST_DESCRIPTION:
        raise BadRequest(f"{entry.name}: description has over {LONGEST_DESCRIPTION} characters")
    try:
        return EventType(entry)
    except BadRequest as refusal:
        raise BadRequest(f"{entry.name}: streams: {refusal.detail}") from None
