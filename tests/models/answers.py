"""Streaming answers as providers publish them in the references of their APIs: events as bytes."""

from __future__ import annotations

import json
import re
from itertools import count
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

WORDS = ("Grüße", " aus", " 東京", " 👩‍👩‍👧", ", and", " a\nline.")
ID_LINE = re.compile(rb"^id: (\S+)\n", re.MULTILINE)  # which the gateway adds to an event


def event(data: object, name: str = "") -> bytes:
    """Return one server-sent event, written as providers write it."""
    head = f"event: {name}\n" if name else ""
    return f"{head}data: {json.dumps(data, ensure_ascii=False)}\n\n".encode()


def without_ids(body: bytes) -> bytes:
    """Return the events of an answer of the gateway as the provider sent them."""
    return ID_LINE.sub(b"", body)


def chat_completion(words: Sequence[str] = WORDS) -> list[bytes]:
    """Return the chunks of a chat completion with text, a tool call, and usage at the end."""

    def chunk(delta: dict[str, object], reason: str | None = None) -> bytes:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": reason}
        return event({**common, "choices": [choice], "usage": None})

    common = {
        "id": "chatcmpl-123",
        "object": "chat.completion.chunk",
        "created": 1694268190,
        "model": "gpt-4o-mini",
        "service_tier": "default",
        "system_fingerprint": "fp_44709d6fcb",
    }
    call = {
        "index": 0,
        "id": "call_1",
        "type": "function",
        "function": {"name": "weather", "arguments": ""},
    }
    arguments = [{"index": 0, "function": {"arguments": part}} for part in ('{"city": ', '"Köln"}')]
    counts = {"prompt_tokens": 9, "completion_tokens": 12, "total_tokens": 21}
    return [
        chunk({"role": "assistant", "content": "", "refusal": None}),
        *(chunk({"content": word}) for word in words),
        chunk({"tool_calls": [call]}),
        *(chunk({"tool_calls": [part]}) for part in arguments),
        chunk({}, "tool_calls"),
        event({**common, "choices": [], "usage": counts}),
        b"data: [DONE]\n\n",
    ]


def response(words: Sequence[str] = WORDS) -> list[bytes]:
    """Return the events of a response of the Responses API with one message."""

    def numbered(kind: str, **fields: object) -> bytes:
        return event({"type": kind, "sequence_number": next(numbers), **fields}, kind)

    def whole(status: str, output: list[object], usage: object = None) -> dict[str, object]:
        return {
            "id": "resp_1",
            "object": "response",
            "created_at": 1741290958,
            "status": status,
            "error": None,
            "incomplete_details": None,
            "instructions": None,
            "model": "gpt-4o-2024-08-06",
            "output": output,
            "parallel_tool_calls": True,
            "temperature": 1.0,
            "tool_choice": "auto",
            "tools": [],
            "top_p": 1.0,
            "usage": usage,
            "metadata": {},
        }

    numbers = count()
    place = {"item_id": "msg_1", "output_index": 0, "content_index": 0}
    part = {"type": "output_text", "text": "", "annotations": []}
    done = {**part, "text": "".join(words)}
    item = {"id": "msg_1", "type": "message", "role": "assistant"}
    usage = {
        "input_tokens": 37,
        "output_tokens": 11,
        "output_tokens_details": {"reasoning_tokens": 0},
        "input_tokens_details": {"cached_tokens": 0},
        "total_tokens": 48,
    }
    message = {**item, "status": "completed", "content": [done]}
    return [
        numbered("response.created", response=whole("in_progress", [])),
        numbered("response.in_progress", response=whole("in_progress", [])),
        numbered(
            "response.output_item.added",
            output_index=0,
            item={**item, "status": "in_progress", "content": []},
        ),
        numbered("response.content_part.added", **place, part=part),
        *(
            numbered("response.output_text.delta", **place, delta=word, logprobs=[])
            for word in words
        ),
        numbered("response.output_text.done", **place, text="".join(words), logprobs=[]),
        numbered("response.content_part.done", **place, part=done),
        numbered("response.output_item.done", output_index=0, item=message),
        numbered("response.completed", response=whole("completed", [message], usage)),
    ]


def message(words: Sequence[str] = WORDS) -> list[bytes]:
    """Return the events of a message of the Messages API: thinking, text and a tool call."""

    def typed(kind: str, **fields: object) -> bytes:
        return event({"type": kind, **fields}, kind)

    def delta(index: int, **fields: object) -> bytes:
        return typed("content_block_delta", index=index, delta=fields)

    begun: dict[str, object] = {
        "id": "msg_1nZdL29xx5MUA1yADyHTEsnR8uuvGzszyY",
        "type": "message",
        "role": "assistant",
        "content": [],
        "model": "claude-opus-4-8",
        "stop_reason": None,
        "stop_sequence": None,
        "usage": {"input_tokens": 25, "output_tokens": 1},
    }
    thinking = {"type": "thinking", "thinking": "", "signature": ""}
    call = {"type": "tool_use", "id": "toolu_1", "name": "weather", "input": {}}
    return [
        typed("message_start", message=begun),
        typed("content_block_start", index=0, content_block=thinking),
        typed("ping"),
        delta(0, type="thinking_delta", thinking="Überlegen…"),
        delta(0, type="signature_delta", signature="EqQBCgIYAhIM1gbcDa9GJwZA2b3h"),
        typed("content_block_stop", index=0),
        typed("content_block_start", index=1, content_block={"type": "text", "text": ""}),
        *(delta(1, type="text_delta", text=word) for word in words),
        typed("content_block_stop", index=1),
        typed("content_block_start", index=2, content_block=call),
        delta(2, type="input_json_delta", partial_json='{"city": '),
        delta(2, type="input_json_delta", partial_json='"Köln"}'),
        typed("content_block_stop", index=2),
        typed(
            "message_delta",
            delta={"stop_reason": "tool_use", "stop_sequence": None},
            usage={"output_tokens": 89},
        ),
        typed("message_stop"),
    ]


def interaction(words: Sequence[str] = WORDS) -> list[bytes]:
    """Return the events of an interaction of Gemini: a thought, text and a call of a tool."""

    def typed(kind: str, **fields: object) -> bytes:
        return event({**fields, "event_type": kind, "event_id": f"e{next(numbers)}"}, kind)

    def delta(index: int, **fields: object) -> bytes:
        return typed("step.delta", index=index, delta=fields)

    numbers = count()
    begun = {"id": "v1_abc", "status": "in_progress", "object": "interaction", "model": "gemini-3"}
    usage = {
        "total_tokens": 55,
        "total_input_tokens": 7,
        "total_cached_tokens": 2,
        "total_output_tokens": 38,
        "total_thought_tokens": 10,
    }
    call = {"type": "function_call", "id": "call_1", "name": "weather", "arguments": {}}
    return [
        typed("interaction.created", interaction=begun),
        typed("interaction.status_update", interaction_id="v1_abc", status="in_progress"),
        typed("step.start", index=0, step={"type": "thought"}),
        delta(0, type="thought_summary", content={"type": "text", "text": "Überlegen…"}),
        delta(0, type="thought_signature", signature="EqQBCgIYAhIM"),
        typed("step.stop", index=0),
        typed("step.start", index=1, step={"type": "model_output"}),
        *(delta(1, type="text", text=word) for word in words),
        typed("step.stop", index=1),
        typed("step.start", index=2, step=call),
        delta(2, type="arguments_delta", arguments='{"city": '),
        delta(2, type="arguments_delta", arguments='"Köln"}'),
        typed("step.stop", index=2),
        typed(
            "interaction.completed",
            interaction={**begun, "status": "requires_action", "usage": usage},
        ),
        b"event: done\ndata: [DONE]\n\n",
    ]
