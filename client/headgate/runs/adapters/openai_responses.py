"""Events of OpenAI's Responses API."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from headgate.runs.adapters.parts import Done, ModelCall, ModelFailed, Text, ToolInput

if TYPE_CHECKING:
    from headgate.runs.adapters.parts import Part

KINDS = {
    "response.output_text.delta": "text",
    "response.refusal.delta": "text",
    "response.reasoning_text.delta": "reasoning",
    "response.reasoning_summary_text.delta": "reasoning",
}


class OpenAIResponses:
    """`client.responses.create(stream=True)`."""

    def __init__(self) -> None:
        self._calls: dict[str, tuple[str, str]] = {}  # id and name of the call, by its item

    def takes(self, event: dict[str, Any]) -> bool:
        """Types begin with `response.`; an error has a number in the sequence as all events do."""
        type_ = str(event.get("type"))
        return type_.startswith("response.") or (type_ == "error" and "sequence_number" in event)

    def parts(self, event: dict[str, Any]) -> list[Part]:
        """Calls of the model, text, reasoning and calls of functions; other events add nothing."""
        type_, item_id = event["type"], str(event.get("item_id"))
        if type_ in KINDS:
            number = event.get("content_index", event.get("summary_index"))
            return [Text(f"{item_id}/{number}", event["delta"], KINDS[type_])]
        if type_ == "response.created":
            return [ModelCall()]
        if type_ == "response.function_call_arguments.delta":
            return [ToolInput(item_id, *self._calls[item_id], event["delta"])]
        if type_ == "response.output_item.added":
            return self._added(event["item"])
        if type_ == "response.output_item.done":
            return [Done(str(event["item"].get("id")))]
        if type_ == "error":
            raise ModelFailed(str(event.get("message")))
        if type_ == "response.failed":
            raise ModelFailed(str((event["response"].get("error") or {}).get("message")))
        return []

    def _added(self, item: dict[str, Any]) -> list[Part]:
        if item.get("type") != "function_call":
            return []
        call = self._calls[item["id"]] = (item["call_id"], item["name"])
        return [ToolInput(item["id"], *call, "")]
