"""Events of PydanticAI: what `run_stream_events()` gives and handlers get, as objects or dicts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from headgate.dialects.parts import (
    EXECUTED,
    FUNCTION,
    ApprovalRequest,
    Data,
    Done,
    ModelCall,
    ModelEnded,
    Source,
    Text,
    ToolDenied,
    ToolInput,
    ToolOutput,
    ToolTraits,
    field,
    known,
    known_reason,
    plain,
)
from headgate.dialects.progress import Usage
from headgate.json_values import json_text

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from headgate.dialects.parts import Metadata, Part

KIND = "event_kind"
RESULT = "agent_run_result"
TEXTS = {"text": "text", "thinking": "reasoning"}
CALLS = {"tool-call": FUNCTION, "builtin-tool-call": EXECUTED}
FAILURES = {"failed", "retried"}
# What the next request needs again: PydanticAI's own adapter for the AI SDK reads it there.
LASTING = ("id", "signature", "provider_name", "provider_details", "tool_kind", "citations")
OF_ALL_EVENTS = {KIND, "name", "tool_call_id", "tool_name"}  # of the application's own


@dataclass(slots=True)
class _Call:
    """A call of a tool whose input has begun."""

    call_id: str
    name: str
    traits: ToolTraits
    has_input: bool = False


class PydanticAI:
    """A reader of the events of an agent, which may ask its model several times."""

    def __init__(self) -> None:
        self._response = 0
        self._is_open = False  # the response may have more parts
        self._begun: set[int] = set()  # the indexes of its parts
        self._calls: dict[int, _Call] = {}
        self._sources: set[str] = set()  # the pages that the answer has named
        self._methods: Mapping[str, Callable[[Any], list[Part]]] = {
            "part_start": self._started,
            "part_delta": self._continued,
            "part_end": self._ended,
            "function_tool_call": self._called,
            "output_tool_call": self._called,
            "function_tool_result": self._answered,
            "output_tool_result": self._answered,
            "custom": _custom,
            RESULT: _finished,
        }

    def takes(self, value: object) -> bool:
        """Return whether this is an event: it has a kind; a dict with a type is of another API."""
        return isinstance(field(value, KIND), str) and not (
            isinstance(value, dict) and "type" in value
        )

    def parts(self, value: object) -> list[Part]:
        """Return what an event adds to the answer: words of a model, answers of tools, own data."""
        method = self._methods.get(field(value, KIND))
        return [] if method is None else method(value)

    def _started(self, event: object) -> list[Part]:
        index, part = field(event, "index"), field(event, "part")
        # After an answer that it refuses, an agent asks again without a word.
        begins = not self._is_open or index in self._begun
        if begins:
            self._response += 1
            self._is_open = True
            self._begun.clear()
            self._calls.clear()
        self._begun.add(index)
        return [*([ModelCall()] if begins else ()), *self._part(index, part)]

    def _part(self, index: int, part: object) -> list[Part]:
        """Return the beginning of a part; one whose kind is not known adds nothing."""
        id_, kind = self._id(index), field(part, "part_kind")
        if kind in TEXTS:
            return [Text(id_, field(part, "content") or "", TEXTS[kind])]
        if kind in CALLS:
            call = _Call(field(part, "tool_call_id"), field(part, "tool_name"), CALLS[kind])
            self._calls[index] = call
            return [self._input(index, call, field(part, "args"))]
        return _output(part, EXECUTED) if kind == "builtin-tool-return" else []

    def _continued(self, event: object) -> list[Part]:
        index, delta = field(event, "index"), field(event, "delta")
        kind = field(delta, "part_delta_kind")
        if kind in TEXTS:
            words = field(delta, "content_delta")
            return [Text(self._id(index), words, TEXTS[kind])] if words else []
        call = self._calls.get(index)
        return [] if call is None else [self._input(index, call, field(delta, "args_delta"))]

    def _ended(self, event: object) -> list[Part]:
        index, part = field(event, "index"), field(event, "part")
        of_part = {name: plain(field(part, name)) for name in LASTING}
        lasting = known(**of_part, canonical_system=field(event, "canonical_system"))
        metadata: Metadata | None = {"pydantic_ai": lasting} if lasting else None
        done = Done(self._id(index), metadata)
        call = self._calls.pop(index, None)
        if call is None:
            return [done, *self._cited(field(part, "citations") or ())]
        args = field(part, "args")
        if call.has_input or not args:
            return [done]
        text = args if isinstance(args, str) else json_text(plain(args)).decode()
        return [self._input(index, call, text), done]

    def _input(self, index: int, call: _Call, args: object) -> ToolInput:
        """Return more of an input, as far as it is text: a dict is whole with the end alone."""
        text = args if isinstance(args, str) else ""
        call.has_input = call.has_input or bool(text)
        return ToolInput(self._id(index), call.call_id, call.name, text, call.traits)

    def _id(self, index: int) -> str:
        return f"{self._response}/{index}"

    def _called(self, _event: object) -> list[Part]:
        self._is_open = False  # the call itself was a part of the response
        return []

    def _answered(self, event: object) -> list[Part]:
        self._is_open = False
        return _output(field(event, "part"), FUNCTION)

    def _cited(self, citations: Any) -> list[Part]:  # noqa: ANN401 - a list
        """Return a source for each page that is cited for the first time."""
        pages: list[Part] = []
        for source in (each for cited in citations for each in field(cited, "sources") or ()):
            url = field(source, "url")
            if isinstance(url, str) and url not in self._sources:
                self._sources.add(url)
                pages.append(Source(field(source, "title"), url))
        return pages


def is_private(value: object) -> bool:
    """Return whether this is an event that is for the process of the agent alone."""
    kind = None if isinstance(value, dict) else field(value, KIND)
    return kind == "capability" or (kind == "custom" and field(value, "ui") is False)


def plain_event(value: object) -> object:
    """Return an event as JSON values, without what is not for readers; None for anything else.

    Of a result, these are the output and the tokens: the rest is all messages, with the
    instructions. Messages that were added to a run may have instructions as well.
    """
    if isinstance(value, dict) or not isinstance(kind := field(value, KIND), str):
        return None
    if kind == RESULT:
        result = field(value, "result")
        shown = {name: plain(field(result, name)) for name in ("output", "usage")}
        return {KIND: kind, "result": shown}
    if kind == "enqueued_messages":
        return {KIND: kind, "enqueue_id": field(value, "enqueue_id")}
    event = plain(value)
    if isinstance(event, dict):
        part, delta = event.get("part"), event.get("delta")
        if isinstance(part, dict):
            part.pop("metadata", None)  # of a tool, for the application
        if isinstance(delta, dict) and callable(delta.get("provider_details")):
            delta["provider_details"] = None  # a function that merges them, as PydanticAI dumps it
    return event


def _output(part: object, traits: ToolTraits) -> list[Part]:
    """Return what a tool answered, or why it did not."""
    call_id, outcome = field(part, "tool_call_id"), field(part, "outcome")
    content = plain(field(part, "content"))
    if outcome == "denied":
        return [ToolDenied(call_id)]
    if outcome not in FAILURES:
        return [ToolOutput(call_id, content, traits=traits)]
    error = content if isinstance(content, str) else json_text(content).decode()
    return [ToolOutput(call_id, None, error, traits)]


def _custom(event: object) -> list[Part]:
    """Return data of the application, unless it keeps them from pages."""
    if is_private(event):
        return []
    payload = getattr(event, "to_payload", None)
    data = plain(event if payload is None else payload())
    if payload is None and isinstance(data, dict):
        data = {name: each for name, each in data.items() if name not in OF_ALL_EVENTS}
    return [Data(str(field(event, "name")), data, is_kept=True)]


def _finished(event: object) -> list[Part]:
    """Return why the last model stopped, the tokens of all, and what the user is asked."""
    result = field(event, "result")
    reason = field(field(result, "response"), "finish_reason")
    counts = field(result, "usage")
    names = ("input", "output", "cache_read", "cache_write")
    tokens = {name: field(counts, f"{name}_tokens") for name in names}
    thought = (field(counts, "details") or {}).get("reasoning_tokens")
    usage = None if counts is None else Usage(**tokens, reasoning=thought)
    approvals = field(field(result, "output"), "approvals")
    return [
        ModelEnded(None if reason is None else known_reason(reason), usage),
        *(ApprovalRequest(field(call, "tool_call_id")) for call in approvals or ()),
    ]
