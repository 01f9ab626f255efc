"""Chunks of OpenAI's chat completions, which many other services send, too."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from headgate.runs.adapters.parts import Done, ModelCall, ModelEnded, Source, Text, ToolInput, Usage

if TYPE_CHECKING:
    from headgate.runs.adapters.parts import Part

REASONS = {
    "stop": "stop",
    "length": "length",
    "content_filter": "content-filter",
    "function_call": "tool-calls",
    "tool_calls": "tool-calls",
}


# What an answer says, in one of these fields of a delta.
SUBSTANCE = ("content", "refusal", "reasoning_content", "reasoning", "tool_calls")


@dataclass(slots=True)
class _Answer:
    """Holds what is known of one choice of an answer that is under way."""

    # A tool call is named in its first piece only; the others tell its index.
    calls: dict[int, tuple[str, str, str]] = field(default_factory=dict)
    has_refusal: bool = False
    is_thinking: bool = False


class OpenAIChat:
    """`client.chat.completions.create(stream=True)`."""

    def __init__(self) -> None:
        self._under_way: dict[str, _Answer] = {}
        self._ended = ""
        self._counted: object = None  # the id of the answer whose tokens are told

    def takes(self, event: dict[str, Any]) -> bool:
        """Return whether this is a chat chunk; Azure's first one has filters alone and no type."""
        object_ = event.get("object")
        return object_ == "chat.completion.chunk" or (
            not object_ and "prompt_filter_results" in event
        )

    def parts(self, event: dict[str, Any]) -> list[Part]:
        """Return text, refusals, reasoning, sources, calls of tools; then the end and tokens."""
        choices = event.get("choices") or []
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
            # Some services send an empty piece behind the last one, some give all answers one id.
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
    # A refusal is told as a complete answer.
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
