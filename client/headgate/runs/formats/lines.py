"""`ndjson` and `sse`: whatever JSON the source gives, an item each, and the end as the last one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
from typing_extensions import override

from headgate import events, records
from headgate.dialects.parts import NotAnItem, plain
from headgate.runs.formats.contract import KEEP_ALIVE, Format

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


class _Json(Format):
    """The common part of the formats of JSON values: the record of the end is sent itself."""

    numbers_end = True

    @override
    def writer(self, unfinished: Completion | None = None) -> JsonWriter:
        return JsonWriter()


class Ndjson(_Json):
    """A line for each item; the last is the record of the end."""

    name = "ndjson"
    media_type = "application/x-ndjson"
    keep_alive = b" "  # before a value JSON has room for it, where an empty line is no value

    @override
    def rendered(self, item: bytes, id: str) -> bytes:
        return item + b"\n"

    @override
    def rendered_end(self, state: RunState, _id: str) -> bytes:
        return records.end(state) + b"\n"


class Sse(_Json):
    """Server-sent events whose ids begin with their number, and an event named `end`.

    A browser's `EventSource` that has lost its connection sends the last id.
    """

    name = "sse"
    media_type = "text/event-stream"
    keep_alive = KEEP_ALIVE

    @override
    def rendered(self, item: bytes, id: str) -> bytes:
        return events.written(item, id=id.encode())

    @override
    def rendered_end(self, state: RunState, id_: str) -> bytes:
        """Return the event `end`, whose data has the status and the error of the run."""
        data = msgspec.json.encode({"status": state.status, "error": state.error})
        return events.written(data, name=b"end", id=id_.encode())
