"""OpenAI's APIs: chat completions and responses; many other services speak them, too."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

from typing_extensions import override

from headgate.dialects.contract import Dialect, Provider, Retrieval, TypedReader
from headgate.dialects.parts import (
    EXECUTED,
    FREE,
    FUNCTION,
    Done,
    ModelCall,
    ModelEnded,
    ModelFailed,
    Source,
    Text,
    ToolInput,
    ToolOutput,
    known,
    known_reason,
)
from headgate.dialects.progress import CANCELLED, DialectProgress, usage_of

if TYPE_CHECKING:
    from headgate.dialects.parts import Metadata, Part
    from headgate.dialects.progress import Cursor, EarlyEnd, EventFields

# What an answer says, in one of these fields of a delta.
SUBSTANCE = ("content", "refusal", "reasoning_content", "reasoning", "tool_calls")
# How the types begin of what `client.chat.completions.stream()` derives from chunks.
DERIVED = ("content.", "refusal.", "tool_calls.", "logprobs.")
# Choices of an answer, whose ends are counted: OpenAI makes up to 128.
MOST_CHOICES = 128


@dataclass(slots=True)
class _Answer:
    """A choice of an answer under way, as far as it has come."""

    # A tool call is named in its first piece only; the others have its index.
    calls: dict[int, tuple[str, str, str]] = field(default_factory=dict)
    has_refusal: bool = False
    is_thinking: bool = False


class ChatReader:
    """A reader of `client.chat.completions.create(stream=True)`, and `.stream()`."""

    def __init__(self) -> None:
        self._under_way: dict[str, _Answer] = {}
        self._ended = ""
        self._counted: object = None  # the id of the answer whose tokens are counted

    def takes(self, event: dict[str, Any]) -> bool:
        """Return whether this is a chat chunk; Azure's first one has filters alone and no type."""
        object_ = event.get("object")
        if object_ == "chat.completion.chunk" or str(event.get("type")).startswith(DERIVED):
            return True
        return not object_ and ("prompt_filter_results" in event or _is_error(event))

    def parts(self, event: dict[str, Any]) -> list[Part]:
        """Return what a chunk says; then the end and the tokens."""
        choices = event.get("choices") or []
        if _is_error(event):
            raise ModelFailed(event["error"])
        if len(choices) > MOST_CHOICES:
            return []
        parts: list[Part] = []
        for choice in choices:
            parts += self._choice(f"{event.get('id')}/{choice.get('index', 0)}", choice)
        usage = event.get("usage")
        # Some services send the tokens so far with each chunk.
        is_last = not choices or any(choice.get("finish_reason") for choice in choices)
        if usage is not None and is_last and self._counted != (event.get("id"), self._ended):
            self._counted = (event.get("id"), self._ended)
            parts.append(ModelEnded(usage=usage_of(usage)))
        return parts

    def _choice(self, key: str, choice: dict[str, Any]) -> list[Part]:
        delta = choice.get("delta") or {}
        answer = self._under_way.get(key)
        parts: list[Part] = []
        if answer is None:
            # Some services send an empty piece after the last one, some give all answers one id.
            if key == self._ended and not any(delta.get(name) for name in SUBSTANCE):
                return []
            answer = self._under_way[key] = _Answer()
            if key.endswith("/0"):  # one of the choices begins the call of the model
                parts.append(ModelCall())
                self._counted = None
        parts += _text_parts(key, answer, delta)
        if choice.get("finish_reason"):
            self._ended = key
            del self._under_way[key]
            reason = known_reason(choice["finish_reason"])
            # A refusal ends as a complete answer does.
            is_refused = reason == "stop" and answer.has_refusal
            parts += [Done(key), ModelEnded("content-filter" if is_refused else reason)]
        return parts


def _is_error(event: dict[str, Any]) -> bool:
    """Return whether an event reports an error: as other APIs' events, but without a type."""
    has_type = "type" in event or "event_type" in event
    return bool(event.get("error")) and not has_type and not event.get("choices")


def _text_parts(key: str, answer: _Answer, delta: dict[str, Any]) -> list[Part]:
    parts: list[Part] = []
    # The service of DeepSeek and others name it so, OpenRouter and newer ones as the second.
    thought = delta.get("reasoning_content") or delta.get("reasoning")
    if isinstance(thought, str) and thought:
        answer.is_thinking = True
        parts.append(Text(f"{key}/reasoning", thought, "reasoning"))
    texts = [text for name in ("content", "refusal") if (text := delta.get(name))]
    calls = delta.get("tool_calls") or ()
    if answer.is_thinking and (texts or calls):
        answer.is_thinking = False
        parts.append(Done(f"{key}/reasoning"))
    parts += [Text(f"{key}/text", text) for text in texts]
    answer.has_refusal |= bool(delta.get("refusal"))
    parts += [_call(key, answer, call) for call in calls]
    cited = [annotation["url_citation"] for annotation in delta.get("annotations") or ()]
    return [*parts, *(Source(page.get("title"), page["url"]) for page in cited)]


def _call(key: str, answer: _Answer, call: dict[str, Any]) -> ToolInput:
    index = call.get("index") or 0
    function = call.get("function") or {}
    part = f"{key}/{index}"
    # Some services give several calls the same index, and some repeat the id with each piece.
    if call.get("id") and answer.calls.get(index, ("", ""))[1] != call["id"]:
        answer.calls[index] = (f"{part}/{call['id']}", call["id"], function.get("name") or "")
    called = answer.calls.setdefault(index, (part, part, ""))
    return ToolInput(*called, function.get("arguments") or "")


class ChatProgress(DialectProgress):
    """The progress of a chat completion: it ends with `[DONE]`, or a reason for each choice."""

    def __init__(self) -> None:
        super().__init__((), frozenset(), "")
        self._begun: set[int] = set()  # choices
        self._finished: set[int] = set()
        self._is_done = False

    @override
    def _take_text(self, data: bytes) -> None:
        if data.startswith(b"[DONE]"):
            self._is_known = self._is_done = self._has_ended = True

    @override
    def _take_fields(self, event: EventFields) -> None:
        if isinstance(event.choices, list):
            self._is_known = True
            for choice in event.choices:
                if isinstance(choice, dict):
                    self._take_choice(choice)
            self._has_ended = self._is_done or self._begun == self._finished != set()
        if event.usage:
            self.usage.update(event.usage)

    def _take_choice(self, choice: dict[str, object]) -> None:
        index = choice.get("index")
        number = index if isinstance(index, int) and 0 <= index < MOST_CHOICES else 0
        self._begun.add(number)
        if choice.get("finish_reason"):
            self._finished.add(number)


def _error_object(failure: EarlyEnd) -> dict[str, object]:
    about = {"message": failure.sentence, "type": "server_error"}
    return {**about, "param": None, "code": failure.code}


CHAT = Dialect(
    ("/chat/completions", "/completions"),
    ChatReader,
    ChatProgress,
    lambda failure, _: {"error": _error_object(failure)},
)

# The application's tools: where the end of a call has its input, and what is special about it.
FUNCTIONS = {"function_call": ("arguments", FUNCTION), "custom_tool_call": ("input", FREE)}
LAST = frozenset(f"response.{it}" for it in ("completed", "incomplete", "failed", "cancelled"))
_NUMBER = re.compile(r"[0-9]{1,12}")  # no answer has as many events


@dataclass(slots=True)
class _Item:
    """An item of the output that has begun; a source may leave out its first event."""

    part: str
    about: dict[str, Any]  # metadata, which the next request needs
    call: tuple[str, str] | None = None  # id and name of the application's tool that it calls
    has_input: bool = False
    encrypted: str | None = None  # the reasoning, as the provider keeps it
    thoughts: dict[int, str] = field(default_factory=dict)  # open parts of reasoning by their index

    def sealed(self) -> Metadata:
        """Return the metadata of reasoning."""
        return {"openai": {**self.about, "reasoningEncryptedContent": self.encrypted}}

    def begin_thought(self, index: int) -> Text:
        """Return the beginning of a part of the reasoning."""
        part = self.thoughts[index] = f"{self.part}/{index}"
        return Text(part, "", "reasoning", self.sealed())


class ResponsesReader(TypedReader):
    """A reader of `client.responses.create(stream=True)`."""

    def __init__(self) -> None:
        self._response = 0  # a run may ask the model several times
        self._items: dict[int, _Item] = {}
        self._has_call = self._has_refusal = False
        methods = {
            "created": self._created,
            "output_item.added": self._added,
            "output_item.done": self._finished,
            "output_text.delta": self._words,
            "refusal.delta": self._refused,
            "reasoning_text.delta": self._thought,
            "reasoning_summary_part.added": self._next_thought,
            "reasoning_summary_text.delta": self._thought,
            "output_text.annotation.added": _cited,
            "function_call_arguments.delta": self._input,
            "custom_tool_call_input.delta": self._input,
            **dict.fromkeys(("completed", "incomplete", "failed"), self._ended),
        }
        self.methods = {f"response.{type_}": method for type_, method in methods.items()}

    @override
    def takes(self, event: dict[str, Any]) -> bool:
        """Return whether an event is of this API: its type is `response.…`, or a numbered error."""
        type_ = str(event.get("type"))
        return type_.startswith("response.") or (type_ == "error" and "sequence_number" in event)

    def _created(self, event: dict[str, Any]) -> list[Part]:  # noqa: ARG002 - nothing is said yet
        self._response += 1
        self._items.clear()
        self._has_call = self._has_refusal = False
        return [ModelCall()]

    def _item(self, event: dict[str, Any]) -> _Item:
        index = event.get("output_index", 0)
        if index not in self._items:
            id_ = (event.get("item") or {}).get("id") or event.get("item_id")
            self._items[index] = _Item(f"{self._response}/{index}", {"itemId": id_})
        return self._items[index]

    def _added(self, event: dict[str, Any]) -> list[Part]:
        item, raw = self._item(event), event["item"]
        type_ = raw["type"]
        if type_ == "message":
            item.about |= known(phase=raw.get("phase"))
            return [Text(item.part, "", metadata={"openai": item.about})]
        if type_ == "reasoning":
            item.encrypted = raw.get("encrypted_content")
            return [item.begin_thought(0)]
        if type_ in FUNCTIONS:
            item.call = (raw["call_id"], raw["name"])
            return [ToolInput(item.part, *item.call, "", FUNCTIONS[type_][1])]
        if _is_executed(raw):
            tool = type_.removesuffix("_call")
            return [
                ToolInput(item.part, raw["id"], tool, json.dumps(raw), EXECUTED),
                Done(item.part),
            ]
        return []

    def _finished(self, event: dict[str, Any]) -> list[Part]:
        item, raw = self._item(event), event["item"]
        self._items.pop(event.get("output_index", 0))
        type_ = raw["type"]
        if type_ in FUNCTIONS:
            return self._called(item, raw)
        if type_ == "reasoning":
            item.encrypted = raw.get("encrypted_content")
            return [Done(part, item.sealed()) for part in item.thoughts.values()]
        if type_ == "message":
            return [Done(item.part, {"openai": item.about})]
        return [ToolOutput(raw["id"], raw, traits=EXECUTED)] if _is_executed(raw) else []

    def _called(self, item: _Item, raw: dict[str, Any]) -> list[Part]:
        self._has_call = True
        # Some services send the input with the end alone.
        where, traits = FUNCTIONS[raw["type"]]
        call = (raw["call_id"], raw["name"])
        missing = [] if item.has_input else [ToolInput(item.part, *call, raw[where], traits)]
        metadata = {"itemId": raw.get("id"), **known(namespace=raw.get("namespace"))}
        return [*missing, Done(item.part, {"openai": metadata})]

    def _words(self, event: dict[str, Any]) -> list[Part]:
        return [Text(self._item(event).part, event["delta"])]

    def _refused(self, event: dict[str, Any]) -> list[Part]:
        self._has_refusal = True
        return self._words(event)

    def _thought(self, event: dict[str, Any]) -> list[Part]:
        item, index = self._item(event), event.get("summary_index", 0)
        part = item.thoughts.setdefault(index, f"{item.part}/{index}")
        return [Text(part, event["delta"], "reasoning")]

    def _next_thought(self, event: dict[str, Any]) -> list[Part]:
        """Return the ends of the parts of a summary before this one, and its beginning."""
        item, index = self._item(event), event["summary_index"]
        if index == 0:
            return []  # it has begun with its item
        ended: list[Part] = [Done(part, {"openai": item.about}) for part in item.thoughts.values()]
        item.thoughts.clear()
        return [*ended, item.begin_thought(index)]

    def _input(self, event: dict[str, Any]) -> list[Part]:
        item = self._item(event)
        if item.call is None:
            return []
        item.has_input = True
        return [ToolInput(item.part, *item.call, event["delta"])]

    def _ended(self, event: dict[str, Any]) -> list[Part]:
        response = event["response"]
        if event["type"] == "response.failed":
            raise ModelFailed(response.get("error"))
        cause = (response.get("incomplete_details") or {}).get("reason")
        reason = "stop" if cause is None else known_reason(cause)
        if reason in {"stop", "other"} and self._has_call:
            reason = "tool-calls"
        elif reason == "stop" and self._has_refusal:
            reason = "content-filter"
        return [ModelEnded(reason, usage_of(response.get("usage")))]


def _is_executed(item: dict[str, Any]) -> bool:
    """Return whether OpenAI calls the tool itself: calls for the application have a `call_id`."""
    return item["type"].endswith("_call") and item.get("call_id") is None


def _cited(event: dict[str, Any]) -> list[Part]:
    """Return the source that a text is annotated with."""
    cited = event["annotation"]
    if cited["type"] == "url_citation":
        return [Source(cited["title"], cited["url"])]
    if "file_id" not in cited:
        return []
    name = cited.get("filename") or cited["file_id"]
    media_type = "application/octet-stream" if cited["type"] == "file_path" else "text/plain"
    return [Source(name, None, media_type, name, {"openai": cited})]


def _parsed_cursor(text: str) -> Cursor:
    if _NUMBER.fullmatch(text) is None:
        raise ValueError("must be the sequence number of an event, once")
    return int(text)


def _object_after(before: dict[str, Any] | None, event: object) -> dict[str, Any] | None:
    match event:
        case {"response": dict(response)}:
            return response
        case {"type": "error", "code": code, "message": message} | {
            "type": "error",
            "error": {"code": code, "message": message},
        }:
            if before is None:
                return None
            if code == CANCELLED.code:
                return {**before, "status": "cancelled"}
            return {**before, "status": "failed", "error": {"code": code, "message": message}}
        case _:
            return before


def _response_failure(failure: EarlyEnd, number: int) -> dict[str, object]:
    about = {"code": failure.code, "message": failure.sentence, "param": None}
    error = _error_object(failure)
    return {"type": "error", **about, "sequence_number": number, "error": error}


RESPONSES = Dialect(
    ("/responses",),
    ResponsesReader,
    partial(DialectProgress, ("response.",), LAST, "response"),
    _response_failure,
    Retrieval(
        "starting_after", _parsed_cursor, "response", (b'"response"', b'"error"'), _object_after
    ),
)
# Azure takes Api-Key.
PROVIDER = Provider(("Authorization", "Api-Key"), (CHAT, RESPONSES))
