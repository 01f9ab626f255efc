"""Events of the SDKs of models, by their own types.

To import them takes seconds: a test does so when it runs, not while tests are collected.
"""

from __future__ import annotations

import json
from typing import Any

import anthropic.types
import openai.types.chat
import openai.types.responses
from anthropic.lib.streaming import InputJsonEvent, TextEvent
from langchain_core.messages import AIMessage, AIMessageChunk, ToolMessage
from openai.lib.streaming.chat import ChatCompletionStreamState
from pydantic import TypeAdapter

from tests.client.runs.provider_bytes import Anthropic, Responses, chat, chat_call

ANTHROPIC_TYPES: TypeAdapter[Any] = TypeAdapter(anthropic.types.RawMessageStreamEvent)
RESPONSES_TYPES: TypeAdapter[Any] = TypeAdapter(openai.types.responses.ResponseStreamEvent)
CITY = ('{"city":', '"Rome"}')


def sent(body: bytes) -> list[dict[str, Any]]:
    """Return the data of the events of an answer, but for those that the SDKs read over."""
    lines = (line[6:] for line in body.splitlines() if line.startswith(b"data: {"))
    return [event for event in map(json.loads, lines) if event.get("type") != "ping"]


def response_event(kind: str, **fields: object) -> Any:
    return RESPONSES_TYPES.validate_python({"type": kind, "sequence_number": 0, **fields})


CHAT = [
    openai.types.chat.ChatCompletionChunk.model_validate(chunk)
    for chunk in sent(
        chat(
            {"content": ""},
            {"content": "Once "},
            {"content": "upon"},
            chat_call(0, "", "call_1"),
            *(chat_call(0, piece) for piece in CITY),
            finish="tool_calls",
        )
    )
]
RESPONSES = sent(Responses().reasoning("Hm.").message("Once ", "upon").call("call_1", *CITY).end())
# Which the type of the SDK requires, and the service leaves out.
RESPONSES[-1]["response"]["usage"]["input_tokens_details"]["cache_write_tokens"] = 0
RESPONSES_EVENTS = [RESPONSES_TYPES.validate_python(event) for event in RESPONSES]
ANTHROPIC_EVENTS = [
    ANTHROPIC_TYPES.validate_python(event)
    for event in sent(
        Anthropic()
        .thinking("Hm.")
        .text("Once ", "upon")
        .call("call_1", *CITY)
        .end("tool_use", output_tokens=9)
    )
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

OVERLOADED = {"code": "server_error", "message": "Overloaded"}
FAILED = {**RESPONSES[-1]["response"], "status": "failed", "error": OVERLOADED}
FAILURES: dict[str, list[Any]] = {
    "openai": [response_event("error", **OVERLOADED, param=None)],
    "openai-failed": [response_event("response.failed", response=FAILED)],
    "anthropic": [
        {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}
    ],
}


def helper_events() -> list[Any]:
    """Return what `client.chat.completions.stream()` gives of the chunks."""
    state: ChatCompletionStreamState[None] = ChatCompletionStreamState()
    return [event for chunk in CHAT for event in state.handle_chunk(chunk)]


HELPER = helper_events()
