"""Events of Anthropic's Messages API."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from headgate.runs.adapters.parts import Done, ModelCall, ModelFailed, Text, ToolInput

if TYPE_CHECKING:
    from headgate.runs.adapters.parts import Part

TYPES = {
    "message_start",
    "message_delta",
    "message_stop",
    "content_block_start",
    "content_block_delta",
    "content_block_stop",
    "ping",
}
# What `client.messages.stream()` gives beside the events that it is made of.
DERIVED = {"text", "thinking", "input_json", "citation", "signature"}
# Where a delta has its text, by its type.
TEXTS = {"text_delta": ("text", "text"), "thinking_delta": ("thinking", "reasoning")}
CALLS = {"tool_use", "server_tool_use"}


class Anthropic:
    """`client.messages.create(stream=True)` and `client.messages.stream()`."""

    def __init__(self) -> None:
        self._message = 0  # a run may ask the model several times
        self._calls: dict[str, tuple[str, str]] = {}

    def takes(self, event: dict[str, Any]) -> bool:
        """Known types; those that others have, too, by what else is in them."""
        type_ = event.get("type")
        if type_ in DERIVED:
            return not event.keys().isdisjoint({"snapshot", "signature"})
        return type_ in TYPES or (type_ == "error" and isinstance(event.get("error"), dict))

    def parts(self, event: dict[str, Any]) -> list[Part]:
        """Calls of the model, text, thinking and calls of tools; other events add nothing."""
        type_ = event["type"]
        part = f"{self._message}/{event.get('index')}"
        if type_ == "message_start":
            self._message += 1
            return [ModelCall()]
        if type_ == "content_block_start":
            return self._started(part, event["content_block"])
        if type_ == "content_block_delta":
            return self._delta(part, event["delta"])
        if type_ == "content_block_stop":
            return [Done(part)]
        if type_ == "error":
            raise ModelFailed(str(event["error"].get("message")))
        return []

    def _started(self, part: str, block: dict[str, Any]) -> list[Part]:
        if block.get("type") not in CALLS:
            return []
        call = self._calls[part] = (block["id"], block["name"])
        return [ToolInput(part, *call, "")]

    def _delta(self, part: str, delta: dict[str, Any]) -> list[Part]:
        type_ = delta["type"]
        if type_ in TEXTS:
            key, kind = TEXTS[type_]
            return [Text(part, delta[key], kind)]
        if type_ == "input_json_delta":
            return [ToolInput(part, *self._calls[part], delta["partial_json"])]
        return []
