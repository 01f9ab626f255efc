"""Events of OpenAI's Responses API."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from headgate.runs.adapters.openai_items import CALLED_AT_ONCE, output, source, whole_call
from headgate.runs.adapters.parts import (
    EXECUTED,
    FREE,
    FUNCTION,
    Done,
    ModelCall,
    ModelEnded,
    ModelFailed,
    Text,
    ToolInput,
    ToolOutput,
    Usage,
)
from headgate.runs.adapters.plain import known

if TYPE_CHECKING:
    from collections.abc import Callable

    from headgate.runs.adapters.parts import Part

REASONS = {"max_output_tokens": "length", "content_filter": "content-filter"}


# The application's tools: where the end of a call has its input, and what is special about it.
FUNCTIONS = {"function_call": ("arguments", FUNCTION), "custom_tool_call": ("input", FREE)}


@dataclass(slots=True)
class _Item:
    """An item of the output that has begun."""

    part: str
    told: dict[str, Any]  # of its metadata: its id, and what else the next request needs
    call: tuple[str, str] | None = None  # id and name of the tool that it calls
    has_input: bool = False
    encrypted: str | None = None  # the reasoning, as the provider keeps it
    annotations: list[Any] = field(default_factory=list)
    summaries: dict[int, str] = field(default_factory=dict)  # their parts that are open


class OpenAIResponses:
    """`client.responses.create(stream=True)`."""

    def __init__(self) -> None:
        self._response = 0  # a run may ask the model several times
        self._items: dict[int, _Item] = {}
        self._has_call = self._has_refusal = False
        read: dict[str, Callable[[dict[str, Any]], list[Part]]] = {
            "created": self._created,
            "output_item.added": self._added,
            "output_item.done": self._finished,
            "output_text.delta": self._said,
            "refusal.delta": self._refused,
            "reasoning_text.delta": self._thought,
            "reasoning_summary_part.added": self._summary_begun,
            "reasoning_summary_text.delta": self._summary,
            "output_text.annotation.added": self._annotated,
            "function_call_arguments.delta": self._input,
            "custom_tool_call_input.delta": self._input,
            "code_interpreter_call_code.delta": self._code,
            "code_interpreter_call_code.done": self._code_ended,
            "image_generation_call.partial_image": self._image,
            "completed": self._ended,
            "incomplete": self._ended,
            "failed": self._failed,
        }
        self._read = {f"response.{type_}": method for type_, method in read.items()}

    def takes(self, event: dict[str, Any]) -> bool:
        """Types begin with `response.`; an error has a number in the sequence as all events do."""
        type_ = str(event.get("type"))
        return type_.startswith("response.") or (type_ == "error" and "sequence_number" in event)

    def parts(self, event: dict[str, Any]) -> list[Part]:
        """Text, refusals, reasoning, sources, calls of tools, and what OpenAI's own tools gave."""
        if event["type"] == "error":
            raise ModelFailed(str(event.get("message")))
        read = self._read.get(event["type"])
        return [] if read is None else read(event)

    def _created(self, event: dict[str, Any]) -> list[Part]:  # noqa: ARG002 - nothing is said yet
        self._response += 1
        self._items.clear()
        self._has_call = self._has_refusal = False
        return [ModelCall()]

    def _item(self, event: dict[str, Any]) -> _Item:
        """Return the item that an event is about; its first event need not have been given."""
        index = event.get("output_index", 0)
        if index not in self._items:
            told = {"itemId": (event.get("item") or {}).get("id") or event.get("item_id")}
            self._items[index] = _Item(f"{self._response}/{index}", told)
        return self._items[index]

    def _added(self, event: dict[str, Any]) -> list[Part]:
        item, told = self._item(event), event["item"]
        type_ = told["type"]
        if type_ == "message":
            if told.get("phase") is not None:
                item.told["phase"] = told["phase"]
            return [Text(item.part, "", metadata={"openai": item.told})]
        if type_ == "reasoning":
            item.encrypted = told.get("encrypted_content")
            return [self._summary_part(item, 0)]
        if type_ in FUNCTIONS:
            item.call = (told["call_id"], told["name"])
            return [ToolInput(item.part, *item.call, "", FUNCTIONS[type_][1])]
        if type_ == "code_interpreter_call":
            item.call = (told["id"], "code_interpreter")
            first = f'{{"containerId":{json.dumps(told["container_id"])},"code":"'
            return [ToolInput(item.part, *item.call, first, EXECUTED)]
        if type_ in CALLED_AT_ONCE:
            name = CALLED_AT_ONCE[type_]
            return [ToolInput(item.part, told["id"], name, "", EXECUTED), Done(item.part)]
        return []

    def _finished(self, event: dict[str, Any]) -> list[Part]:
        item, told = self._item(event), event["item"]
        self._items.pop(event.get("output_index", 0))
        type_ = told["type"]
        if type_ in FUNCTIONS:
            return self._called(item, told)
        if type_ == "reasoning":
            sealed = {**item.told, "reasoningEncryptedContent": told.get("encrypted_content")}
            return [Done(part, {"openai": sealed}) for part in item.summaries.values()]
        if type_ == "message":
            cited = {"annotations": item.annotations} if item.annotations else {}
            return [Done(item.part, {"openai": {**item.told, **cited}})]
        return [*whole_call(item.part, told), *output(told)]

    def _called(self, item: _Item, told: dict[str, Any]) -> list[Part]:
        self._has_call = True
        call = (told["call_id"], told["name"])
        # Some services send the input with the end alone.
        field_, traits = FUNCTIONS[told["type"]]
        missing = [] if item.has_input else [ToolInput(item.part, *call, told[field_], traits)]
        more = known(namespace=told.get("namespace"))
        return [*missing, Done(item.part, {"openai": {"itemId": told.get("id"), **more}})]

    def _said(self, event: dict[str, Any]) -> list[Part]:
        return [Text(self._item(event).part, event["delta"])]

    def _refused(self, event: dict[str, Any]) -> list[Part]:
        self._has_refusal = True
        return self._said(event)

    def _thought(self, event: dict[str, Any]) -> list[Part]:
        item = self._item(event)
        item.summaries.setdefault(0, f"{item.part}/0")
        return [Text(item.summaries[0], event["delta"], "reasoning")]

    def _summary_part(self, item: _Item, index: int) -> Text:
        part = item.summaries[index] = f"{item.part}/{index}"
        sealed = {**item.told, "reasoningEncryptedContent": item.encrypted}
        return Text(part, "", "reasoning", {"openai": sealed})

    def _summary_begun(self, event: dict[str, Any]) -> list[Part]:
        item, index = self._item(event), event["summary_index"]
        if index == 0:
            return []  # it has begun with its item
        ended: list[Part] = [Done(part, {"openai": item.told}) for part in item.summaries.values()]
        item.summaries.clear()
        return [*ended, self._summary_part(item, index)]

    def _summary(self, event: dict[str, Any]) -> list[Part]:
        item, index = self._item(event), event["summary_index"]
        part = item.summaries.setdefault(index, f"{item.part}/{index}")
        return [Text(part, event["delta"], "reasoning", {"openai": item.told})]

    def _annotated(self, event: dict[str, Any]) -> list[Part]:
        self._item(event).annotations.append(event["annotation"])
        return source(event["annotation"])

    def _input(self, event: dict[str, Any]) -> list[Part]:
        item = self._item(event)
        if item.call is None:
            return []
        item.has_input = True
        return [ToolInput(item.part, *item.call, event["delta"])]

    def _code(self, event: dict[str, Any]) -> list[Part]:
        item = self._item(event)
        if item.call is None:
            return []
        return [ToolInput(item.part, *item.call, json.dumps(event["delta"])[1:-1], EXECUTED)]

    def _code_ended(self, event: dict[str, Any]) -> list[Part]:
        item = self._item(event)
        if item.call is None:
            return []
        return [ToolInput(item.part, *item.call, '"}', EXECUTED), Done(item.part)]

    def _image(self, event: dict[str, Any]) -> list[Part]:
        image = {"result": event["partial_image_b64"]}
        return [ToolOutput(event["item_id"], image, traits=EXECUTED, is_preliminary=True)]

    def _ended(self, event: dict[str, Any]) -> list[Part]:
        response = event["response"]
        told = (response.get("incomplete_details") or {}).get("reason")
        if told in REASONS:
            reason = REASONS[told]
        elif self._has_call:
            reason = "tool-calls"
        elif told is not None:
            reason = "other"
        else:
            reason = "content-filter" if self._has_refusal else "stop"
        return [ModelEnded(reason, _usage(response.get("usage")))]

    def _failed(self, event: dict[str, Any]) -> list[Part]:
        raise ModelFailed(str((event["response"].get("error") or {}).get("message")))


def _usage(told: dict[str, Any] | None) -> Usage | None:
    if told is None:
        return None
    given = told.get("input_tokens_details") or {}
    return Usage(
        input=told["input_tokens"],
        output=told["output_tokens"],
        cache_read=given.get("cached_tokens") or 0,
        cache_write=given.get("cache_write_tokens"),
        reasoning=(told.get("output_tokens_details") or {}).get("reasoning_tokens") or 0,
    )
