"""Chunks of OpenAI's chat completions, which many other services send, too."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import msgspec
from typing_extensions import override

from headgate.dialects.contract import Dialect
from headgate.dialects.parts import (
    Done,
    ModelCall,
    ModelEnded,
    ModelFailed,
    Source,
    Text,
    ToolInput,
    Usage,
)
from headgate.dialects.progress import DialectProgress, EventFields
from headgate.events import written

if TYPE_CHECKING:
    from headgate.dialects.parts import Part
    from headgate.dialects.progress import EarlyEnd, TokenUsage

REASONS = {
    "stop": "stop",
    "length": "length",
    "content_filter": "content-filter",
    "function_call": "tool-calls",
    "tool_calls": "tool-calls",
}


# What an answer says, in one of these fields of a delta.
SUBSTANCE = ("content", "refusal", "reasoning_content", "reasoning", "tool_calls")
# Events that `client.chat.completions.stream()` derives from chunks, which it yields as well.
HELPER_TEXTS = {"content.delta", "refusal.delta"}
HELPER_ENDS = {"content.done", "refusal.done"}
HELPER_EVENTS = {
    *HELPER_TEXTS,
    *HELPER_ENDS,
    *(f"tool_calls.function.arguments.{end}" for end in ("delta", "done")),
    *(f"logprobs.{kind}.{end}" for kind in ("content", "refusal") for end in ("delta", "done")),
}
# Choices whose ends are judged: OpenAI makes up to 128.
MOST_CHOICES = 128
COMPLETION = "text_completion"  # of the older API
CHUNKS = ("chat.completion.chunk", COMPLETION)


@dataclass(slots=True)
class _Answer:
    """Holds what is known of one choice of an answer that is under way."""

    # A tool call is named in its first piece only; the others tell its index.
    calls: dict[int, tuple[str, str, str]] = field(default_factory=dict)
    has_refusal: bool = False
    is_thinking: bool = False


class ChatReader:
    """`client.chat.completions.create(stream=True)`, and `.stream()`."""

    def __init__(self) -> None:
        self._under_way: dict[str, _Answer] = {}
        self._ended = ""
        self._counted: object = None  # the id of the answer whose tokens are counted
        self._has_chunks = False  # what the helper derives from them adds nothing

    def takes(self, event: dict[str, Any]) -> bool:
        """Return whether this is a chat chunk; Azure's first one has filters alone and no type."""
        object_ = event.get("object")
        if object_ in CHUNKS or event.get("type") in HELPER_EVENTS:
            return True
        return not object_ and ("prompt_filter_results" in event or _is_error(event))

    def parts(self, event: dict[str, Any]) -> list[Part]:
        """Return text, refusals, reasoning, sources, calls of tools; then the end and tokens."""
        if event.get("type") in HELPER_EVENTS:
            return [] if self._has_chunks else _helper_parts(event)
        choices = event.get("choices") or []
        if _is_error(event):
            raise ModelFailed(event["error"])
        self._has_chunks = True
        if len(choices) > MOST_CHOICES:
            return []
        if event.get("object") == COMPLETION:
            choices = [_as_chat(choice) for choice in choices if isinstance(choice, dict)]
        parts: list[Part] = []
        for choice in choices:
            parts += self._choice(f"{event.get('id')}/{choice.get('index', 0)}", choice)
        usage = event.get("usage")
        # Some services tell the tokens so far with each chunk.
        is_last = not choices or any(choice.get("finish_reason") for choice in choices)
        if usage is not None and is_last and self._counted != (event.get("id"), self._ended):
            self._counted = (event.get("id"), self._ended)
            parts.append(ModelEnded(usage=_usage(usage)))
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
            if key.endswith("/0"):  # of the choices, one tells of the call
                parts.append(ModelCall())
                self._counted = None
        parts += _text_parts(key, answer, delta)
        if choice.get("finish_reason"):
            self._ended = key
            del self._under_way[key]
            parts += [Done(key), ModelEnded(_reason(choice["finish_reason"], answer))]
        return parts


def _is_error(event: dict[str, Any]) -> bool:
    """Return whether an event reports an error: as other APIs' events, but without a type."""
    has_type = "type" in event or "event_type" in event
    return bool(event.get("error")) and not has_type and not event.get("choices")


def _as_chat(choice: dict[str, Any]) -> dict[str, Any]:
    """Return a choice of the older completions as one of chat completions."""
    return {**choice, "delta": {"content": choice.get("text")}}


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
    return [*parts, *(_source(annotation) for annotation in delta.get("annotations") or ())]


def _call(key: str, answer: _Answer, call: dict[str, Any]) -> ToolInput:
    index = call.get("index") or 0
    function = call.get("function") or {}
    part = f"{key}/{index}"
    # Some services give several calls the same index, and some repeat the id with each piece.
    if call.get("id") and answer.calls.get(index, ("", ""))[1] != call["id"]:
        answer.calls[index] = (f"{part}/{call['id']}", call["id"], function.get("name") or "")
    return ToolInput(
        *answer.calls.setdefault(index, (part, part, "")), function.get("arguments") or ""
    )


def _reason(reason: str, answer: _Answer) -> str:
    # A refusal ends as a complete answer does.
    return (
        "content-filter"
        if reason == "stop" and answer.has_refusal
        else REASONS.get(reason, "other")
    )


def _source(annotation: dict[str, Any]) -> Source:
    cited = annotation["url_citation"]
    return Source(cited.get("title"), cited["url"])


def _usage(reported: dict[str, Any]) -> Usage:
    details = reported.get("prompt_tokens_details") or {}
    return Usage(
        input=reported.get("prompt_tokens") or 0,
        output=reported.get("completion_tokens") or 0,
        cache_read=details.get("cached_tokens") or 0,
        cache_write=details.get("cache_write_tokens"),
        reasoning=(reported.get("completion_tokens_details") or {}).get("reasoning_tokens") or 0,
    )


def _helper_parts(event: dict[str, Any]) -> list[Part]:
    """Return the text of an event that the helper has derived."""
    if event["type"] in HELPER_TEXTS:
        return [Text("helper", event["delta"])] if event["delta"] else []
    return [Done("helper")] if event["type"] in HELPER_ENDS else []


class _ChatFields(EventFields):
    choices: Any = None
    usage: Any = None


class ChatProgress(DialectProgress):
    """The progress of a chat completion: it ends with `[DONE]`, or a reason for each choice."""

    decoder = msgspec.json.Decoder(_ChatFields)

    def __init__(self) -> None:
        super().__init__()
        self._begun: set[int] = set()  # choices
        self._finished: set[int] = set()
        self._is_done = False

    @override
    def _judge_text(self, data: bytes) -> None:
        if data.startswith(b"[DONE]"):
            self._is_known = self._is_done = self._has_ended = True

    @override
    def _judge(self, event: _ChatFields) -> None:
        if isinstance(event.choices, list):
            self._is_known = True
            for choice in event.choices:
                if isinstance(choice, dict):
                    self._take(choice)
            self._has_ended = self._is_done or self._begun == self._finished != set()
        count(event.usage, self.usage)

    def _take(self, choice: dict[str, object]) -> None:
        index = choice.get("index")
        number = index if isinstance(index, int) and 0 <= index < MOST_CHOICES else 0
        self._begun.add(number)
        if choice.get("finish_reason"):
            self._finished.add(number)


def count(counts: object, usage: TokenUsage) -> None:
    """Take OpenAI's counts, by the names of either API: a body that does not stream has one."""
    if isinstance(counts, dict):
        usage.update(
            counts.get("prompt_tokens", counts.get("input_tokens")),
            counts.get("completion_tokens", counts.get("output_tokens")),
        )


def error_object(failure: EarlyEnd) -> dict[str, object]:
    """Return a failure as OpenAI's SDKs read it."""
    about = {"message": failure.sentence, "type": "server_error"}
    return {**about, "param": None, "code": failure.code}


def _failure_event(failure: EarlyEnd, _number: int) -> bytes:
    # The SDKs raise for an object with `error`, whatever the event is named.
    return written(msgspec.json.encode({"error": error_object(failure)}))


CHAT = Dialect(("/chat/completions", "/completions"), ChatReader, ChatProgress, _failure_event)
