"""Events of LangChain: those of `astream_events`, chunks of messages, and what tools answered."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from headgate.dialects.parts import (
    DYNAMIC,
    Done,
    ModelCall,
    ModelEnded,
    Source,
    Text,
    ToolInput,
    ToolOutput,
    known_reason,
)
from headgate.dialects.progress import usage_of

if TYPE_CHECKING:
    from headgate.dialects.parts import Part

CHUNK = "AIMessageChunk"
OTHER_MESSAGES = {"ai", "human", "system", "tool", "ToolMessageChunk", "HumanMessageChunk"}
# Where a block of content has its text, by its type.
TEXTS = {
    "text": ("text", "text"),
    "thinking": ("thinking", "reasoning"),
    "reasoning": ("reasoning", "reasoning"),
}
# Where the providers say why a model has stopped.
REASON_FIELDS = ("finish_reason", "stop_reason", "done_reason")


class LangChain:
    """A reader of `astream_events()`, `astream()` of a chat model, and LangGraph's messages."""

    def __init__(self) -> None:
        self._calls: dict[str, tuple[str, str]] = {}
        self._under_way: set[str] = set()  # ids of messages
        self._thinking: set[str] = set()  # ids of messages
        self._sources: set[str] = set()  # the pages that the answer has named

    def takes(self, event: dict[str, Any]) -> bool:
        """Return whether this is an event named `on_...`, or a message with type and content."""
        if isinstance(event.get("event"), str):
            return event["event"].startswith("on_") and "data" in event
        return event.get("type") in {CHUNK, *OTHER_MESSAGES} and "content" in event

    def parts(self, event: dict[str, Any]) -> list[Part]:
        """Return what chat models say and tools answer; whole messages add nothing."""
        name, data = event.get("event"), event.get("data") or {}
        if name is None:
            return self._chunk(event) if event["type"] == CHUNK else self.message_parts(event)
        if name == "on_chat_model_stream":
            return self._chunk(data["chunk"])
        if name == "on_chat_model_end":
            return [Done(str((data.get("output") or {}).get("id")))]
        if name == "on_tool_end":
            output = data.get("output")
            return _tool_outputs(output) if isinstance(output, dict) else []
        if name == "on_tool_error" and data.get("tool_call_id"):
            # What it says may be none of the readers' business.
            error = f"the tool failed: {type(data.get('error')).__name__}"
            return [ToolOutput(data["tool_call_id"], None, error, DYNAMIC)]
        return []

    def _chunk(self, chunk: dict[str, Any]) -> list[Part]:
        message = str(chunk.get("id"))
        begins = message not in self._under_way
        self._under_way.add(message)
        if chunk.get("chunk_position") == "last":
            self._under_way.discard(message)
        return [*([ModelCall()] if begins else ()), *self.message_parts(chunk)]

    def message_parts(self, chunk: dict[str, Any]) -> list[Part]:
        """Return what a message adds, whatever call of the model it belongs to."""
        if chunk.get("type") != CHUNK:
            return _tool_outputs(chunk)
        message = str(chunk.get("id"))
        content = chunk.get("content") or []
        blocks = [content] if isinstance(content, str) else content
        # Some packages have the reasoning beside the content.
        thought = (chunk.get("additional_kwargs") or {}).get("reasoning_content")
        if isinstance(thought, str) and thought:
            blocks = [{"type": "reasoning", "reasoning": thought}, *blocks]
        parts: list[Part] = []
        for block in blocks:
            whole = {"type": "text", "text": block} if isinstance(block, str) else block
            parts += self._block(message, whole)
        parts += [self._call(message, call) for call in chunk.get("tool_call_chunks") or ()]
        parts += _model_ends(chunk)
        if chunk.get("chunk_position") == "last":
            parts.append(Done(message))
        return parts

    def _block(self, message: str, block: dict[str, Any]) -> list[Part]:
        """Return what a block adds to the text, or to the reasoning, of its message."""
        key, kind = TEXTS.get(block.get("type", ""), ("", ""))
        parts: list[Part] = []
        if block.get(key):
            if kind == "reasoning":
                self._thinking.add(message)
            elif message in self._thinking:
                self._thinking.discard(message)
                parts.append(Done(f"{message}/reasoning"))
            parts.append(Text(f"{message}/{kind}", block[key], kind))
        return [*parts, *self._sources_of(block.get("annotations") or [])]

    def _sources_of(self, annotations: list[dict[str, Any]]) -> list[Source]:
        """Return a source for each page that is cited for the first time, and each document."""
        sources: list[Source] = []
        for cited in annotations:
            url, title = cited.get("url"), cited.get("title") or cited.get("source")
            is_new = url not in self._sources if url else title is not None
            if cited.get("type") in {"citation", "url_citation"} and is_new:
                self._sources.add(url or "")
                sources.append(Source(title, url, metadata={"langchain": cited}))
        return sources

    def _call(self, message: str, call: dict[str, Any]) -> ToolInput:
        part = f"{message}/call-{call.get('index')}"
        if call.get("id"):
            self._calls[part] = (call["id"], call.get("name") or "")
        call_id, name = self._calls.get(part, (part, ""))
        return ToolInput(part, call_id, name, call.get("args") or "", DYNAMIC)


def _tool_outputs(message: dict[str, Any]) -> list[Part]:
    """Return what a tool answered, if the message is one of a tool."""
    if message.get("type") != "tool" or not message.get("tool_call_id"):
        return []
    content, error = message["content"], None
    if message.get("status") == "error":
        error = content if isinstance(content, str) else "Tool execution failed"
    return [ToolOutput(message["tool_call_id"], content, error, DYNAMIC)]


def _model_ends(chunk: dict[str, Any]) -> list[Part]:
    """Return why the model has stopped, and the tokens, where a chunk has either."""
    usage = usage_of(chunk.get("usage_metadata"))
    metadata = chunk.get("response_metadata") or {}
    reason = next((metadata[field] for field in REASON_FIELDS if metadata.get(field)), None)
    reason = (metadata.get("incomplete_details") or {}).get("reason") or reason
    if reason is None and usage is None:
        return []
    return [ModelEnded(None if reason is None else known_reason(reason), usage)]
