"""`ai-sdk`: the UI message stream of the AI SDK, version 1, over server-sent events."""

from __future__ import annotations

from typing import TYPE_CHECKING

from headgate.runs.formats.contract import NotAnItem
from headgate.runs.records import TYPE, RunState, Status

if TYPE_CHECKING:
    from collections.abc import Mapping


class AiSdkWriter:
    """The items are the chunks themselves; strings become the chunks of a text part."""

    def __init__(self) -> None:
        self._parts = 0
        self._text: str | None = None  # the part that strings go to

    def items(self, given: object) -> list[object]:
        """The chunks."""
        if isinstance(given, str):
            return self._text_chunks(given) if given else []
        if isinstance(given, dict):
            return [*self.closing(), _checked(given)]
        raise NotAnItem(f"a run in the format ai-sdk takes str or dict, not {type(given).__name__}")

    def closing(self) -> list[object]:
        """The end of the part that is open."""
        text, self._text = self._text, None
        return [] if text is None else [{"type": "text-end", "id": text}]

    def _text_chunks(self, delta: str) -> list[object]:
        chunks: list[object] = []
        if self._text is None:
            self._parts += 1
            self._text = f"text-{self._parts}"
            chunks.append({"type": "text-start", "id": self._text})
        return [*chunks, {"type": "text-delta", "id": self._text, "delta": delta}]


class AiSdk:
    """What `DefaultChatTransport` and `WorkflowChatTransport` read."""

    name = "ai-sdk"
    headers: Mapping[str, str] = {
        "Content-Type": "text/event-stream",
        "Cache-Control": "no-cache",
        "X-Accel-Buffering": "no",
        "x-vercel-ai-ui-message-stream": "v1",
    }
    last = b"data: [DONE]\n\n"
    keep_alive = b": keep-alive\n\n"

    def opening(self, run_id: str) -> list[object]:
        """The message has the id of its run, so that a replay is known as the same message."""
        return [{"type": "start", "messageId": run_id}]

    def writer(self) -> AiSdkWriter:
        """A writer for one producer."""
        return AiSdkWriter()

    def ending(self, state: RunState) -> list[object]:
        """`finish` is the end of each: without it `WorkflowChatTransport` asks again for ever."""
        chunks: list[object] = [{"type": "finish"}]
        if state.status is Status.STOPPED:
            return [{"type": "abort"}, *chunks]
        if state.status is not Status.FINISHED:
            return [{"type": "error", "errorText": state.error or state.status}, *chunks]
        return chunks

    def rendered(self, item: bytes, count: int) -> bytes:  # noqa: ARG002 - chunks bear no ids
        """The chunk as an event."""
        return b"data: " + item + b"\n\n"

    def rendered_end(self, state: RunState, count: int) -> bytes:  # noqa: ARG002
        """The ending has told it."""
        return b""


def _checked(chunk: dict[object, object]) -> dict[object, object]:
    if not isinstance(chunk.get("type"), str):
        raise NotAnItem("a chunk of a UI message stream has a type, which is a string")
    if chunk["type"] == TYPE:
        raise NotAnItem(f"chunks of the type {TYPE} are Headgate's own")
    return chunk
