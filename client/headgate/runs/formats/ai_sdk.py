"""`ai-sdk`: the UI message stream of the AI SDK, version 1, over server-sent events."""

from __future__ import annotations

from typing import TYPE_CHECKING

from headgate import events
from headgate.runs.formats.contract import KEEP_ALIVE
from headgate.ui_stream import chunks
from headgate.ui_stream.writer import ChunkWriter, UnfinishedChunks

if TYPE_CHECKING:
    from headgate.records import RunState
    from headgate.runs.formats.contract import Completion


class AiSdk:
    """The format that the AI SDK's `DefaultChatTransport` and `WorkflowChatTransport` read."""

    name = "ai-sdk"
    media_type = "text/event-stream"
    last = b"data: [DONE]\n\n"
    tells_end = True
    numbers_end = False
    keep_alive = KEEP_ALIVE

    def headers(self, run_id: str, tail: int | None) -> dict[str, str]:
        """Return the fields that the transports read, without a run id that no header can hold."""
        fields = {"x-vercel-ai-ui-message-stream": "v1"}
        if run_id.isascii() and run_id.strip() == run_id:
            fields["x-workflow-run-id"] = run_id
        if tail is not None:
            fields["x-workflow-stream-tail-index"] = str(tail)
        return fields

    def opening(self, run_id: str, message_id: str | None) -> list[object]:
        """Name the message, by its run if not otherwise: a replay is known as the same message."""
        if message_id is None:
            message_id = run_id
        elif not isinstance(message_id, str):
            raise TypeError(f"message_id is a str, not {type(message_id).__name__}")
        elif not message_id:
            raise ValueError("message_id is empty: leave it out for a new message")
        return [{"type": "start", "messageId": message_id}]

    def writer(self, unfinished: Completion | None = None) -> ChunkWriter:
        """Return a writer for one producer."""
        return ChunkWriter(unfinished if isinstance(unfinished, UnfinishedChunks) else None)

    def completion(self) -> UnfinishedChunks:
        """Return a completion for a run of one message."""
        return UnfinishedChunks()

    def ending(self, state: RunState, finish_reason: str | None = None) -> list[object]:
        """Return the chunks that say it, and `finish` in any case."""
        return [*chunks.ending(state.status, state.error, finish_reason)]

    def rendered(self, item: bytes, id: str) -> bytes:  # noqa: A002, ARG002 - chunks bear no ids
        """Return the chunk as an event."""
        return events.written(item)

    def rendered_end(self, state: RunState, id: str) -> bytes:  # noqa: A002, ARG002
        """Return nothing, because the chunks of `ending` state the end already."""
        return b""
