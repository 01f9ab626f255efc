"""Deltas of models' answers: which events add text to a part, and where that text is.

Each dialect names its events by a `type` or an `object` of its own, so an event is recognised by
its shape. Sources: the types of OpenAI's and Anthropic's SDKs, the UI message stream of the AI SDK,
and the events of AG-UI.
"""

from __future__ import annotations

from typing import Any, NamedTuple

Path = tuple[str | int, ...]


class Delta(NamedTuple):
    """The place of an event's text, and the top-level fields that may differ between neighbours.

    Two neighbouring events are joined if they are equal but for the text and these fields, of which
    the last event's values count.
    """

    path: Path
    free: tuple[str, ...] = ()


_NUMBERED = Delta(("delta",), ("sequence_number", "obfuscation"))
_TIMED = Delta(("delta",), ("timestamp",))

_BY_TYPE = {
    # OpenAI's responses
    "response.output_text.delta": _NUMBERED,
    "response.refusal.delta": _NUMBERED,
    "response.reasoning_text.delta": _NUMBERED,
    "response.reasoning_summary_text.delta": _NUMBERED,
    "response.function_call_arguments.delta": _NUMBERED,
    "response.custom_tool_call_input.delta": _NUMBERED,
    "response.mcp_call_arguments.delta": _NUMBERED,
    "response.code_interpreter_call_code.delta": _NUMBERED,
    # UI messages of the AI SDK
    "text-delta": Delta(("delta",)),
    "reasoning-delta": Delta(("delta",)),
    "tool-input-delta": Delta(("inputTextDelta",)),
    # AG-UI
    "TEXT_MESSAGE_CONTENT": _TIMED,
    "TOOL_CALL_ARGS": _TIMED,
    "REASONING_MESSAGE_CONTENT": _TIMED,
    "THINKING_TEXT_MESSAGE_CONTENT": _TIMED,
}
# Deltas of Anthropic's content blocks by their own type; a signature or a citation is whole.
_BY_BLOCK = {
    "text_delta": Delta(("delta", "text")),
    "input_json_delta": Delta(("delta", "partial_json")),
    "thinking_delta": Delta(("delta", "thinking")),
}
_CHAT_FREE = ("obfuscation",)
_IN_CHAT = {
    name: Delta(("choices", 0, "delta", name), _CHAT_FREE)
    for name in ("content", "refusal", "reasoning_content", "reasoning")
}
_ARGUMENTS = Delta(("choices", 0, "delta", "tool_calls", 0, "function", "arguments"), _CHAT_FREE)
_COMPLETION = Delta(("choices", 0, "text"), _CHAT_FREE)


def find_delta(event: dict[str, Any]) -> Delta | None:
    """Return where an event has its text; None for an event that stands alone.

    An event with usage, log probabilities, a signature or an unknown type stands alone.
    """
    kind = event.get("type")
    if isinstance(kind, str):
        if kind == "content_block_delta":
            block = event.get("delta")
            return _BY_BLOCK.get(str(block.get("type"))) if isinstance(block, dict) else None
        return None if event.get("logprobs") else _BY_TYPE.get(kind)
    match event:
        case {"object": "chat.completion.chunk", "choices": [{"delta": dict(delta)} as choice]}:
            return None if _says_more(event, choice) else _in_chat(delta)
        case {"object": "text_completion", "choices": [{"text": str()} as choice]}:
            return None if _says_more(event, choice) else _COMPLETION
        case _:
            return None


def _says_more(event: dict[str, Any], choice: dict[str, Any]) -> bool:
    return bool(event.get("usage") or choice.get("finish_reason") or choice.get("logprobs"))


def _in_chat(delta: dict[str, Any]) -> Delta | None:
    """Return the place of the only content of a chat delta."""
    fields = [name for name, value in delta.items() if value]
    match fields, delta:
        case [name], _ if name in _IN_CHAT:
            return _IN_CHAT[name]
        case ["tool_calls"], {"tool_calls": [{"function": {"arguments": str()} as call} as piece]}:
            is_first = piece.get("id") or call.get("name")  # which accumulators would repeat
            return None if is_first else _ARGUMENTS
        case _:
            return None
