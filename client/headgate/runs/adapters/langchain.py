"""Events of LangChain: those of `astream_events`, and chunks of messages."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from headgate.runs.adapters.parts import Done, ModelCall, Text, ToolInput

if TYPE_CHECKING:
    from headgate.runs.adapters.parts import Part

CHUNK = "AIMessageChunk"
OTHER_MESSAGES = {"ai", "human", "system", "tool", "ToolMessageChunk", "HumanMessageChunk"}
# Where a block of content has its text, by its type.
TEXTS = {
    "text": ("text", "text"),
    "thinking": ("thinking", "reasoning"),
    "reasoning": ("reasoning", "reasoning"),
}


class LangChain:
    """`astream_events()`, `astream()` of a chat model, and the messages that LangGraph gives."""

    def __init__(self) -> None:
        self._calls: dict[str, tuple[str, str]] = {}
        self._under_way: set[str] = set()  # ids of messages

    def takes(self, event: dict[str, Any]) -> bool:
        """An event is named `on_...`; a message tells its type and has content."""
        if isinstance(event.get("event"), str):
            return event["event"].startswith("on_") and "data" in event
        return event.get("type") in {CHUNK, *OTHER_MESSAGES} and "content" in event

    def parts(self, event: dict[str, Any]) -> list[Part]:
        """What chat models say; other events and whole messages add nothing."""
        if event.get("type") == CHUNK:
            return self._chunk(event)
        if event.get("event") == "on_chat_model_stream":
            return self._chunk(event["data"]["chunk"])
        if event.get("event") == "on_chat_model_end":
            return [Done(str((event["data"].get("output") or {}).get("id")))]
        return []

    def _chunk(self, chunk: dict[str, Any]) -> list[Part]:
        message = str(chunk.get("id"))
        begins = message not in self._under_way
        self._under_way.add(message)
        if chunk.get("chunk_position") == "last":
            self._under_way.discard(message)
        return [*([ModelCall()] if begins else ()), *self.said(chunk)]

    def said(self, chunk: dict[str, Any]) -> list[Part]:
        """Return what a chunk of a message adds, whatever call of the model it belongs to."""
        if chunk.get("type") != CHUNK:
            return []
        message = str(chunk.get("id"))
        content = chunk.get("content") or []
        blocks = [{"type": "text", "text": content}] if isinstance(content, str) else content
        parts: list[Part] = []
        for block in blocks:
            # A model may give strings among its blocks.
            whole = {"type": "text", "text": block} if isinstance(block, str) else block
            key, kind = TEXTS.get(whole.get("type", ""), ("", ""))
            if whole.get(key):
                part = f"{message}/{whole.get('index', kind)}"
                parts.append(Text(part, whole[key], kind))
        parts += [self._call(message, call) for call in chunk.get("tool_call_chunks") or ()]
        if chunk.get("chunk_position") == "last":
            parts.append(Done(message))
        return parts

    def _call(self, message: str, call: dict[str, Any]) -> ToolInput:
        part = f"{message}/call-{call.get('index')}"
        if call.get("id"):
            self._calls[part] = (call["id"], call.get("name") or "")
        call_id, name = self._calls.get(part, (part, ""))
        return ToolInput(part, call_id, name, call.get("args") or "")
