"""The answers in a stream as chunks of the AI SDK's UI message stream, the other views' source.

Events of models, texts and chunks of runs go through the library's own writer.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

import msgspec

from headgate.dialects.parts import ModelFailed, NotAnItem, known
from headgate.json_values import NOT_JSON
from headgate.records import RunState, parse_record
from headgate.ui_stream.protocol import fault
from headgate.ui_stream.writer import ChunkWriter, ending
from headgate_gateway.features.models.record import PARTING_NAME

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from headgate.records import RunRecord

Chunk: TypeAlias = dict[str, Any]
_FINISHED = RunState("finished")


class AnswerChunks:
    """The chunks of the answers in one stream, each from `start` to `finish`.

    `thread` names the stream; with the offset at which an answer begins it is the id of its
    message, so that each rendering has the same ids.
    """

    def __init__(self, thread: str) -> None:
        self._thread = thread
        self._writer = ChunkWriter()
        self._is_open = self._has_failed = False
        self._run_end = _FINISHED  # as the record of a run has it

    def event(self, name: bytes, data: bytes, offset: Callable[[], str]) -> list[Chunk]:
        """Return the chunks for a server-sent event at `offset`; unknown events have none."""
        if name == PARTING_NAME:
            return self.close()
        return self.value(_decoded(data), offset)

    def item(self, item: bytes, offset: Callable[[], str]) -> list[Chunk]:
        """Return the chunks for a message of a JSON stream, which may be a record of a run."""
        record = parse_record(item)
        if record is not None:
            return self._record(record, offset)
        return self.value(_decoded(item), offset)

    def value(self, value: object, offset: Callable[[], str]) -> list[Chunk]:
        """Return the chunks for an event's value or a piece of text; for others, none."""
        if isinstance(value, dict) and value.get("type") in ("start", "finish"):
            return self._edge(value, offset)
        try:
            chunks: Sequence[Any] = self._writer.items(value)
        except NotAnItem:
            return []
        except ModelFailed as failed:
            return self._end(RunState("failed", str(failed)), offset)
        except Exception:  # noqa: BLE001 - anybody may have written it, and it has parts missing
            return []
        valid = [chunk for chunk in chunks if fault(chunk) is None]  # a piece may be no text
        self._has_failed |= any(chunk["type"] == "error" for chunk in valid)
        return [*self._beginning(offset), *valid] if valid else []

    def close(self) -> list[Chunk]:
        """Return the chunks that end an answer which is open."""
        if not self._is_open:
            return []
        chunks = self._writer.closing()
        if self._has_failed:
            chunks = [*chunks, {"type": "finish", "finishReason": "error"}]
        else:
            chunks = [*chunks, *self._ending(self._run_end)]
        self._reset()
        return chunks

    def _record(self, record: RunRecord, offset: Callable[[], str]) -> list[Chunk]:
        """Take the end of a run, which may be followed by the chunks that say so."""
        if record.end is None:
            return []
        self._run_end = record.end
        return [] if record.end.status == "finished" else self._beginning(offset)

    def _edge(self, chunk: Chunk, offset: Callable[[], str]) -> list[Chunk]:
        """Return the `start` or the `finish` that a run has written."""
        message_id, is_start = chunk.get("messageId"), chunk["type"] == "start"
        try:
            between: Sequence[Any] = self._writer.items(chunk)  # its metadata
        except NotAnItem:
            return []
        if is_start:
            named = message_id if isinstance(message_id, str) and message_id else None
            return [*self._beginning(offset, named), *between]
        if not self._is_open:
            return []
        reason = known(finishReason=chunk.get("finishReason"))
        chunks = [*between, *self._writer.closing(), {"type": "finish", **reason}]
        self._reset()
        return chunks

    def _beginning(self, offset: Callable[[], str], message_id: str | None = None) -> list[Chunk]:
        if self._is_open:
            return []
        self._is_open = True
        return [{"type": "start", "messageId": message_id or f"{self._thread}:{offset()}"}]

    def _end(self, state: RunState, offset: Callable[[], str]) -> list[Chunk]:
        """Return the end of an answer that has failed or was stopped."""
        chunks = [*self._beginning(offset), *self._writer.closing()]
        chunks += self._ending(state)
        self._reset()
        return chunks

    def _ending(self, state: RunState) -> list[Chunk]:
        return ending(state.status, state.error, self._writer.finish_reason)

    def _reset(self) -> None:
        self._writer = ChunkWriter()
        self._is_open = self._has_failed = False
        self._run_end = _FINISHED


def _decoded(data: bytes) -> object:
    """Return the JSON value of an event's data; None for what is none, such as `[DONE]`."""
    try:
        return msgspec.json.decode(data)
    except NOT_JSON:
        return None
