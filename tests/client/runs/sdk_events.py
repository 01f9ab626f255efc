"""Events of the SDKs of models, by their own types.

To import them takes seconds: a test does so when it runs, not while tests are collected.
"""

from __future__ import annotations

from typing import Any

import anthropic.types
import openai.types.chat
import openai.types.responses
from anthropic.lib.streaming import InputJsonEvent, TextEvent
from langchain_core.messages import AIMessage, AIMessageChunk, ToolMessage
from openai.lib.streaming.chat import ChatCompletionStreamState
from pydantic import TypeAdapter

ANTHROPIC: TypeAdapter[Any] = TypeAdapter(anthropic.types.RawMessageStreamEvent)
RESPONSES: TypeAdapter[Any] = TypeAdapter(openai.types.responses.ResponseStreamEvent)


def chat(delta: dict[str, Any], finish: str | None = None) -> openai.types.chat.ChatCompletionChunk:
    choice = {"index": 0, "delta": delta, "finish_reason": finish, "logprobs": None}
    return openai.types.chat.ChatCompletionChunk.model_validate(
        {
            "id": "chatcmpl-1",
            "object": "chat.completion.chunk",
            "created": 1,
            "model": "m",
            "choices": [choice],
        }
    )


def tool_piece(arguments: str, **first: object) -> dict[str, Any]:
    function = {"arguments": arguments} | ({"name": "weather"} if first else {})
    return {"tool_calls": [{"index": 0, "function": function, **first}]}


CHAT = [
    chat({"role": "assistant", "content": ""}),
    chat({"content": "Once "}),
    chat({"content": "upon"}),
    chat(tool_piece("", id="call_1", type="function")),
    chat(tool_piece('{"city":')),
    chat(tool_piece('"Rome"}')),
    chat({}, "tool_calls"),
    openai.types.chat.ChatCompletionChunk.model_validate(
        {
            "id": "chatcmpl-1",
            "object": "chat.completion.chunk",
            "created": 1,
            "model": "m",
            "choices": [],
            "usage": {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3},
        }
    ),
]


def response(status: str, error: object = None) -> dict[str, Any]:
    return {
        "id": "resp_1",
        "object": "response",
        "created_at": 1,
        "model": "m",
        "status": status,
        "error": error,
        "output": [],
        "parallel_tool_calls": True,
        "tool_choice": "auto",
        "tools": [],
        "incomplete_details": None,
        "instructions": None,
        "metadata": {},
        "temperature": 1,
        "top_p": 1,
    }


def responses(*events: dict[str, Any]) -> list[Any]:
    return [
        RESPONSES.validate_python({"sequence_number": number, **event})
        for number, event in enumerate(events)
    ]


MESSAGE = {"type": "message", "id": "msg_1", "role": "assistant", "content": []}
CALL = {
    "type": "function_call",
    "id": "fc_1",
    "call_id": "call_1",
    "name": "weather",
    "arguments": "",
}
TEXT = {"item_id": "msg_1", "output_index": 1, "content_index": 0}
RESPONSES_EVENTS = responses(
    {"type": "response.created", "response": response("in_progress")},
    {
        "type": "response.output_item.added",
        "output_index": 0,
        "item": {"type": "reasoning", "id": "rs_1", "summary": []},
    },
    {
        "type": "response.reasoning_summary_text.delta",
        "item_id": "rs_1",
        "output_index": 0,
        "summary_index": 0,
        "delta": "Hm.",
    },
    {
        "type": "response.output_item.done",
        "output_index": 0,
        "item": {"type": "reasoning", "id": "rs_1", "summary": []},
    },
    {
        "type": "response.output_item.added",
        "output_index": 1,
        "item": {**MESSAGE, "status": "in_progress"},
    },
    {"type": "response.output_text.delta", **TEXT, "delta": "Once ", "logprobs": []},
    {"type": "response.output_text.delta", **TEXT, "delta": "upon", "logprobs": []},
    {"type": "response.output_text.done", **TEXT, "text": "Once upon", "logprobs": []},
    {
        "type": "response.output_item.done",
        "output_index": 1,
        "item": {**MESSAGE, "status": "completed"},
    },
    {"type": "response.output_item.added", "output_index": 2, "item": CALL},
    *(
        {
            "type": "response.function_call_arguments.delta",
            "item_id": "fc_1",
            "output_index": 2,
            "delta": delta,
        }
        for delta in ('{"city":', '"Rome"}')
    ),
    {
        "type": "response.output_item.done",
        "output_index": 2,
        "item": {**CALL, "arguments": '{"city":"Rome"}'},
    },
    {"type": "response.completed", "response": response("completed")},
)


def block(index: int, start: dict[str, Any], *deltas: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        {"type": "content_block_start", "index": index, "content_block": start},
        *({"type": "content_block_delta", "index": index, "delta": delta} for delta in deltas),
        {"type": "content_block_stop", "index": index},
    ]


USAGE = {"input_tokens": 1, "output_tokens": 1}
STARTED: dict[str, Any] = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "content": [],
    "model": "m",
    "stop_reason": None,
    "stop_sequence": None,
    "usage": USAGE,
}
ANTHROPIC_EVENTS: list[Any] = [
    ANTHROPIC.validate_python(event)
    for event in [
        {"type": "message_start", "message": STARTED},
        *block(
            0,
            {"type": "thinking", "thinking": "", "signature": ""},
            {"type": "thinking_delta", "thinking": "Hm."},
            {"type": "signature_delta", "signature": "s"},
        ),
        *block(
            1,
            {"type": "text", "text": ""},
            {"type": "text_delta", "text": "Once "},
            {"type": "text_delta", "text": "upon"},
        ),
        *block(
            2,
            {"type": "tool_use", "id": "call_1", "name": "weather", "input": {}},
            {"type": "input_json_delta", "partial_json": '{"city":'},
            {"type": "input_json_delta", "partial_json": '"Rome"}'},
        ),
        {
            "type": "message_delta",
            "delta": {"stop_reason": "tool_use", "stop_sequence": None},
            "usage": {"output_tokens": 9},
        },
        {"type": "message_stop"},
    ]
]
# What the helper of the SDK gives beside the events themselves.
DERIVED: list[Any] = [
    TextEvent(type="text", text="upon", snapshot="Once upon"),
    InputJsonEvent(type="input_json", partial_json='"Rome"}', snapshot={"city": "Rome"}),
    {"type": "ping"},
]


def message(content: Any, **more: Any) -> AIMessageChunk:
    return AIMessageChunk(content=content, id="run-1", **more)


def answered(content: str) -> ToolMessage:
    return ToolMessage(content, tool_call_id="call_1", name="weather")


def call_chunk(args: str, **first: object) -> AIMessageChunk:
    piece = {"name": None, "id": None, "index": 0, "type": "tool_call_chunk", **first, "args": args}
    return message("", tool_call_chunks=[piece])


LANGCHAIN = [
    message("Once "),
    message("upon"),
    call_chunk("", name="weather", id="call_1"),
    call_chunk('{"city":'),
    call_chunk('"Rome"}'),
    message("", chunk_position="last"),
]
LANGCHAIN_EVENTS = [
    {"event": "on_chain_start", "name": "agent", "run_id": "1", "data": {"input": "?"}},
    *(
        {"event": "on_chat_model_stream", "run_id": "2", "data": {"chunk": chunk}}
        for chunk in LANGCHAIN[:-1]
    ),
    {
        "event": "on_chat_model_end",
        "run_id": "2",
        "data": {"output": AIMessage("Once upon", id="run-1")},
    },
    {"event": "on_tool_end", "run_id": "3", "data": {"output": "sun"}},
]
LANGGRAPH = [(chunk, {"langgraph_node": "agent"}) for chunk in LANGCHAIN]

FAILURES = {
    "openai": responses({"type": "error", "code": "x", "message": "Overloaded", "param": None}),
    "openai-failed": responses(
        {
            "type": "response.failed",
            "response": response("failed", {"code": "server_error", "message": "Overloaded"}),
        }
    ),
    "anthropic": [
        {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}
    ],
}


def helper_events() -> list[Any]:
    """Return what `client.chat.completions.stream()` gives of the chunks."""
    state: ChatCompletionStreamState[None] = ChatCompletionStreamState()
    return [event for chunk in CHAT for event in state.handle_chunk(chunk)]


HELPER = helper_events()
