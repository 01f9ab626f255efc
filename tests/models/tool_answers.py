"""Answers with reasoning and parallel tool calls, as events and whole.

Their shapes are those of the SDKs' own fixtures: signed and redacted thinking, citations, tokens of
caches, reasoning summaries with encrypted content, probabilities of tokens, comments, other line
ends, and a last event without an empty line.
"""

from __future__ import annotations

from itertools import count

from tests.models.answers import chat_completion, event

PLACES = ("Köln", "東京")
CALLS = [
    {"index": place, "id": f"call_{place}", "function": {"name": "weather", "arguments": ""}}
    for place in range(len(PLACES))
]
CHAT = {
    "id": "chatcmpl-9",
    "object": "chat.completion.chunk",
    "created": 1727346168,
    "model": "gpt-4o-2024-08-06",
    "system_fingerprint": "fp_5050236cbd",
}


def parts_of(place: str) -> tuple[str, ...]:
    """Return the parts in which a model writes the arguments of a tool."""
    return '{"ci', 'ty": "', place, '"}'


def parallel_chat() -> list[bytes]:
    """Return the chunks of a chat completion with two tool calls, whose parts take turns."""

    def chunk(delta: dict[str, object], **fields: object) -> bytes:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": None, **fields}
        return event({**CHAT, "choices": [choice]})

    token = {"token": "Ü", "bytes": [195, 156], "logprob": -0.25, "top_logprobs": []}
    turns = zip(*map(parts_of, PLACES), strict=True)
    return [
        b": OPENROUTER PROCESSING\n\n",
        chunk({"role": "assistant", "content": None, "refusal": None}),
        chunk({"content": "Ü"}, logprobs={"content": [token], "refusal": None}),
        *(chunk({"tool_calls": [{**call, "type": "function"}]}) for call in CALLS),
        *(
            chunk({"tool_calls": [{"index": place, "function": {"arguments": part}}]})
            for parts in turns
            for place, part in enumerate(parts)
        ),
        chunk({}, finish_reason="tool_calls"),
        event(
            {
                **CHAT,
                "choices": [],
                "usage": {
                    "prompt_tokens": 77,
                    "completion_tokens": 60,
                    "total_tokens": 137,
                    "prompt_tokens_details": {"cached_tokens": 64, "audio_tokens": 0},
                    "completion_tokens_details": {"reasoning_tokens": 12, "audio_tokens": 0},
                },
            }
        ),
        b"data: [DONE]\n\n",
    ]


def plain_chat() -> list[bytes]:
    """Return the chunks of a chat completion with text alone, as after the results of tools."""
    ended = [
        it.replace(b'"finish_reason": "tool_calls"', b'"finish_reason": "stop"')
        for it in chat_completion()
    ]
    return [it for it in ended if b'"tool_calls"' not in it]


def reasoning_response() -> list[bytes]:
    """Return the events of a response with reasoning, a message and two function calls."""

    def numbered(kind: str, **fields: object) -> bytes:
        return event({"type": kind, "sequence_number": next(numbers), **fields}, kind)

    numbers = count()
    summary = {"type": "summary_text", "text": "Ich überlege: 🤔"}
    reasoning: dict[str, object] = {
        "id": "rs_1",
        "type": "reasoning",
        "summary": [],
        "encrypted_content": None,
    }
    whole_reasoning = {**reasoning, "summary": [summary], "encrypted_content": "gAAAAABo…=="}
    place = {"item_id": "rs_1", "output_index": 0, "summary_index": 0}
    calls: list[dict[str, object]] = [
        {
            "id": f"fc_{number}",
            "type": "function_call",
            "call_id": f"call_{number}",
            "name": "weather",
            "arguments": "",
            "status": "in_progress",
        }
        for number in range(len(PLACES))
    ]
    done: list[dict[str, object]] = [
        {**call, "arguments": "".join(parts_of(city)), "status": "completed"}
        for call, city in zip(calls, PLACES, strict=True)
    ]
    events = [
        numbered("response.created", response=response_object("in_progress", [])),
        numbered("response.output_item.added", output_index=0, item=reasoning),
        numbered("response.reasoning_summary_part.added", **place, part={**summary, "text": ""}),
        *(
            numbered("response.reasoning_summary_text.delta", **place, delta=word)
            for word in ("Ich überlege:", " 🤔")
        ),
        numbered("response.reasoning_summary_text.done", **place, text=summary["text"]),
        numbered("response.reasoning_summary_part.done", **place, part=summary),
        numbered("response.output_item.done", output_index=0, item=whole_reasoning),
    ]
    for number, (call, city) in enumerate(zip(calls, PLACES, strict=True)):
        of_call = {"item_id": call["id"], "output_index": number + 1}
        events += [
            numbered("response.output_item.added", output_index=number + 1, item=call),
            *(
                numbered("response.function_call_arguments.delta", **of_call, delta=part)
                for part in parts_of(city)
            ),
            numbered(
                "response.function_call_arguments.done",
                **of_call,
                name="weather",
                arguments="".join(parts_of(city)),
            ),
            numbered("response.output_item.done", output_index=number + 1, item=done[number]),
        ]
    whole = response_object("completed", [whole_reasoning, *done])
    return [*events, numbered("response.completed", response=whole)]


def response_object(status: str, output: list[dict[str, object]]) -> dict[str, object]:
    """Return a response object, with its tokens once it is completed."""
    usage = {
        "input_tokens": 81,
        "input_tokens_details": {"cached_tokens": 0},
        "output_tokens": 1035,
        "output_tokens_details": {"reasoning_tokens": 832},
        "total_tokens": 1116,
    }
    return {
        "id": "resp_9",
        "object": "response",
        "created_at": 1741476777,
        "status": status,
        "background": False,
        "error": None,
        "incomplete_details": None,
        "instructions": None,
        "max_output_tokens": None,
        "model": "o3-mini-2025-01-31",
        "output": output,
        "parallel_tool_calls": True,
        "previous_response_id": None,
        "reasoning": {"effort": "high", "summary": "auto"},
        "store": True,
        "temperature": 1.0,
        "text": {"format": {"type": "text"}},
        "tool_choice": "auto",
        "tools": [],
        "top_p": 1.0,
        "truncation": "disabled",
        "usage": usage if status == "completed" else None,
        "user": None,
        "metadata": {},
    }


def parallel_message() -> list[bytes]:
    """Return the events of a message with thinking, citations and two tools, with CR LF."""

    def typed(kind: str, **fields: object) -> bytes:
        return event({"type": kind, **fields}, kind).replace(b"\n", b"\r\n")

    def block(index: int, content: object, *deltas: object) -> list[bytes]:
        return [
            typed("content_block_start", index=index, content_block=content),
            *(typed("content_block_delta", index=index, delta=delta) for delta in deltas),
            typed("content_block_stop", index=index),
        ]

    citation = {
        "type": "char_location",
        "cited_text": "Es regnet in Köln.",
        "document_index": 0,
        "document_title": "Wetter",
        "start_char_index": 0,
        "end_char_index": 18,
        "file_id": None,
    }
    usage = {
        "input_tokens": 377,
        "cache_creation_input_tokens": 12,
        "cache_read_input_tokens": 1024,
        "output_tokens": 1,
        "service_tier": "standard",
    }
    begun: dict[str, object] = {
        "id": "msg_9",
        "type": "message",
        "role": "assistant",
        "model": "claude-sonnet-4-20250514",
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": usage,
    }
    tools = [
        {"type": "tool_use", "id": f"toolu_{number}", "name": "weather", "input": {}}
        for number in range(len(PLACES))
    ]
    return [
        typed("message_start", message=begun),
        *block(
            0,
            {"type": "thinking", "thinking": "", "signature": ""},
            {"type": "thinking_delta", "thinking": "Hm, "},
            {"type": "thinking_delta", "thinking": "東京…"},
            {
                "type": "signature_delta",
                "signature": "EqQBCgIYAhIM1gbcDa9GJwZA2b3hGgxBdjrkzLoky3dl",
            },
        ),
        *block(1, {"type": "redacted_thinking", "data": "EmwKAhgBEgy3va3pzix/LafPsn4aDFIT2Xlx"}),
        typed("ping"),
        *block(
            2,
            {"type": "text", "text": "", "citations": []},
            {"type": "citations_delta", "citation": citation},
            {"type": "text_delta", "text": "Es regnet ☔️"},
        ),
        *(
            one
            for number, (tool, city) in enumerate(zip(tools, PLACES, strict=True))
            for one in block(
                3 + number,
                tool,
                {"type": "input_json_delta", "partial_json": ""},
                *({"type": "input_json_delta", "partial_json": part} for part in parts_of(city)),
            )
        ),
        typed(
            "message_delta",
            delta={"stop_reason": "tool_use", "stop_sequence": None},
            usage={"output_tokens": 89},
        ),
        typed("message_stop"),
    ]


def text_completion() -> list[bytes]:
    """Return the chunks of a completion; the last one has no empty line behind it."""
    return [
        *(
            event(
                {
                    "id": "cmpl-7",
                    "object": "text_completion",
                    "created": 1690759702,
                    "model": "gpt-3.5-turbo-instruct",
                    "choices": [
                        {"index": 0, "text": word, "logprobs": None, "finish_reason": reason}
                    ],
                }
            )
            for word, reason in (("Grüße", None), (" 👩‍👩‍👧", None), ("", "stop"))
        ),
        b"data: [DONE]\n",
    ]


def whole_message() -> dict[str, object]:
    """Return a message that does not stream."""
    return {
        "id": "msg_8",
        "type": "message",
        "role": "assistant",
        "model": "claude-opus-4-8",
        "content": [
            {"type": "thinking", "thinking": "Hm…", "signature": "EqQBCgIYAhIM"},
            {"type": "text", "text": "Grüße 👩‍👩‍👧", "citations": None},
            {"type": "tool_use", "id": "toolu_8", "name": "weather", "input": {"city": "Köln"}},
        ],
        "stop_reason": "tool_use",
        "stop_sequence": None,
        "usage": {"input_tokens": 2095, "output_tokens": 503, "cache_read_input_tokens": 7},
    }


def whole_response() -> dict[str, object]:
    """Return a response object that does not stream."""
    text = {"type": "output_text", "text": "Grüße 👩‍👩‍👧", "annotations": [], "logprobs": []}
    item: dict[str, object] = {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "status": "completed",
        "content": [text],
    }
    return response_object("completed", [item])


RECORDED = {
    "/v1/chat/completions": parallel_chat,
    "/v1/completions": text_completion,
    "/v1/responses": reasoning_response,
    "/v1/messages": parallel_message,
}
