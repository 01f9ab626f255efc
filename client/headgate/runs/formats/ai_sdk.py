"""`ai-sdk`: the UI message stream of the AI SDK, version 1, over server-sent events."""

from __future__ import annotations

from typing import TYPE_CHECKING

from typing_extensions import override

from headgate import events
from headgate.runs.formats.contract import KEEP_ALIVE, Format
from headgate.ui_stream import chunks
from headgate.ui_stream.writer import ChunkWriter, UnfinishedChunks

if TYPE_CHECKING:
    from headgate.records import RunState
    from headgate.runs.formats.contract import Completion


class AiSdk(Format):
    """The format that the AI SDK's `DefaultChatTransport` and `WorkflowChatTransport` read."""

    name = "ai-sdk"
    media_type = "text/event-stream"
    keep_alive = KEEP_ALIVE
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
    def writer(self, unfinished: Completion | None = None) -> ChunkWriter:
        return ChunkWriter(unfinished if isinstance(unfinished, UnfinishedChunks) else None)

    @override
    def completion(self) -> UnfinishedChunks:
        return UnfinishedChunks()

    @override
    def ending(self, state: RunState, finish_reason: str | None = None) -> list[object]:
        return [*chunks.ending(state.status, state.error, finish_reason)]

    @override
    def rendered(self, item: bytes, id: str) -> bytes:
        return events.written(item)
