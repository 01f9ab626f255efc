"""Events of `client.chat.completions.stream()`, OpenAI's helper for chat completions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from headgate.runs.adapters.parts import Done, Text

if TYPE_CHECKING:
    from headgate.runs.adapters.parts import Part

TEXTS = {"content.delta", "refusal.delta"}
ENDS = {"content.done", "refusal.done"}
# Events that the helper derives from the chunks, which it also yields as events.
DERIVED = {
    *TEXTS,
    *ENDS,
    "tool_calls.function.arguments.delta",
    "tool_calls.function.arguments.done",
    "logprobs.content.delta",
    "logprobs.content.done",
    "logprobs.refusal.delta",
    "logprobs.refusal.done",
}
PART = "helper"


class OpenAIHelper:
    """The adapter of the helper's events: its chunks, or derived events if there are no chunks."""

    def __init__(self) -> None:
        self._has_chunks = False

    def chunk(self, value: object) -> object:
        """Return the chunk in an event of the helper, and any other value unchanged.

        The rest of the event is ignored: it repeats the whole answer so far.
        """
        if isinstance(value, dict):
            type_, chunk = value.get("type"), value.get("chunk")
        else:
            type_, chunk = getattr(value, "type", None), getattr(value, "chunk", None)
        if type_ != "chunk" or chunk is None:
            return value
        self._has_chunks = True
        return chunk

    def takes(self, event: dict[str, Any]) -> bool:
        """Return whether the SDK's helper derived this event from others."""
        return event.get("type") in DERIVED

    def parts(self, event: dict[str, Any]) -> list[Part]:
        """Return the text of a derived event, unless chunks have it."""
        if self._has_chunks:
            return []
        if event["type"] in TEXTS:
            return [Text(PART, event["delta"])] if event["delta"] else []
        return [Done(PART)] if event["type"] in ENDS else []
