"""Events of OpenAI Agents: what `Runner.run_streamed(...)` streams, as objects or as dicts.

The events of its model are those of OpenAI's responses, whatever model it is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from headgate.dialects.parts import ApprovalRequest, ToolOutput, field, plain
from headgate.json_values import json_text

if TYPE_CHECKING:
    from headgate.dialects.parts import Part

RAW = "raw_response_event"
ITEM = "run_item_stream_event"
UPDATED = "agent_updated_stream_event"
APPROVAL = "tool_approval_item"  # an item of its own: no event has it
TYPES = (RAW, ITEM, UPDATED, APPROVAL)
# Items that answer a call which ResponsesReader shows; it shows no calls of other tools.
OUTPUTS = {"function_call_output", "custom_tool_call_output"}
REQUEST_FIELDS = ("instructions", "tools", "prompt")  # which a response repeats


class OpenAIAgents:
    """A reader of all but the model's own events."""

    def takes(self, value: object) -> bool:
        """Return whether this is an event of a run, or a call that waits for an approval."""
        type_ = field(value, "type")
        return type_ in (ITEM, UPDATED) or (type_ == APPROVAL and _has(value, "raw_item"))

    def parts(self, value: object) -> list[Part]:
        """Return the output of a tool or of a handoff, or the question whether to call a tool."""
        item = value if field(value, "type") == APPROVAL else field(value, "item")
        raw = plain(field(item, "raw_item"))
        call_id = field(raw, "call_id")
        if not isinstance(call_id, str):
            return []
        if item is value:
            return [ApprovalRequest(call_id)]
        return [ToolOutput(call_id, _output(item, raw))] if field(raw, "type") in OUTPUTS else []


def plain_event(value: object) -> dict[str, Any] | None:
    """Return an event as a dict, with the names of its agents alone; None for anything else.

    The other fields of an agent are its instructions, its functions and its keys. The response of
    an event repeats some of them.
    """
    type_ = field(value, "type")
    if type_ == RAW:
        data = plain(field(value, "data"))
        if isinstance(data, dict) and isinstance(response := data.get("response"), dict):
            data = {**data, "response": {**response, **dict.fromkeys(REQUEST_FIELDS)}}
        return {"type": type_, "data": data}
    if type_ == ITEM:
        item = _plain_item(field(value, "item"))
        return {"type": type_, "name": field(value, "name"), "item": item}
    if type_ == UPDATED:
        return {"type": type_, "new_agent": {"name": field(field(value, "new_agent"), "name")}}
    return _plain_item(value) if type_ == APPROVAL and _has(value, "raw_item") else None


def _has(value: object, name: str) -> bool:
    return name in value if isinstance(value, dict) else hasattr(value, name)


def _plain_item(item: object) -> dict[str, Any]:
    agent, raw = field(field(item, "agent"), "name"), plain(field(item, "raw_item"))
    output = {"output": _output(item, raw)} if _has(item, "output") else {}
    return {"type": field(item, "type"), "agent": {"name": agent}, "raw_item": raw, **output}


def _output(item: object, raw: object) -> object:
    """Return what a tool returned; what the model got of it if that has no JSON."""
    if _has(item, "output"):
        output = plain(field(item, "output"))
        try:
            json_text(output)
        except (TypeError, ValueError, RecursionError):
            pass
        else:
            return output
    return field(raw, "output")
