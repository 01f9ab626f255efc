"""`ndjson` and `sse`: whatever JSON the source gives, an item each, and the end as the last one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from headgate import events, records
from headgate.dialects.parts import NotAnItem, plain
from headgate.runs.formats.contract import KEEP_ALIVE, NothingOpen, refuse_message

if TYPE_CHECKING:
    from headgate.records import RunState
    from headgate.runs.formats.contract import Completion


class JsonWriter:
    """A writer whose items are the source's values; of an SDK's event, all of `model_dump`."""

    finish_reason = None  # it stands in the events

    def items(self, value: object) -> list[object]:
        """Return the value; refuse bytes, which would be JSON text with line breaks in it."""
        if isinstance(value, bytes | bytearray | memoryview):
            raise NotAnItem(f"a run takes JSON values, not {type(value).__name__}: decode them")
        return [plain(value)]

    def closing(self) -> list[object]:
        """Return no items."""
        return []


class _Json:
    """The common part of the formats of JSON values."""

    name: str
    last = b""
    tells_end = True
    numbers_end = True

    def headers(self, run_id: str, tail: int | None) -> dict[str, str]:  # noqa: ARG002
        """Return no fields."""
        return {}

    def opening(self, run_id: str, message_id: str | None) -> list[object]:  # noqa: ARG002
        """Return no items."""
        refuse_message(self.name, message_id)
        return []

    def writer(self, unfinished: Completion | None = None) -> JsonWriter:  # noqa: ARG002
        """Return a writer for one producer."""
        return JsonWriter()

    def completion(self) -> NothingOpen:
        """Return a completion that finds nothing open."""
        return NothingOpen()

    def ending(
        self,
        state: RunState,  # noqa: ARG002
        finish_reason: str | None = None,  # noqa: ARG002
    ) -> list[object]:
        """Return nothing: the record of the end is sent itself."""
        return []


class Ndjson(_Json):
    """A line for each item; the last is the record of the end."""

    name = "ndjson"
    media_type = "application/x-ndjson"
    keep_alive = b" "  # before a value JSON has room for it, where an empty line is no value

    def rendered(self, item: bytes, id: str) -> bytes:  # noqa: A002, ARG002 - lines have no numbers
        """Return the item as a line."""
        return item + b"\n"

    def rendered_end(self, state: RunState, id: str) -> bytes:  # noqa: A002, ARG002
        """Return the record of the end as the last line."""
        return records.end(state) + b"\n"


class Sse(_Json):
    """Server-sent events whose ids begin with their number, and an event named `end`.

    A browser's `EventSource` that has lost its connection sends the last id.
    """

    name = "sse"
    media_type = "text/event-stream"
    keep_alive = KEEP_ALIVE

    def rendered(self, item: bytes, id: str) -> bytes:  # noqa: A002
        """Return the item as an event."""
        return events.written(item, id=id.encode())

    def rendered_end(self, state: RunState, id: str) -> bytes:  # noqa: A002
        """Return the event `end`, whose data has the status and the error of the run."""
        data = msgspec.json.encode({"status": state.status, "error": state.error})
        return events.written(data, name=b"end", id=id.encode())
