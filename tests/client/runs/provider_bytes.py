"""What providers send for odd answers, in words of our own and with what their SDKs read.

`tests/models` has answers with all that services send.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterable

Fields: TypeAlias = dict[str, Any]
# An item of OpenAI's Responses API: as it begins, its events, and the fields that its end adds.
Item: TypeAlias = tuple[Fields, list[tuple[str, Fields]], Fields]
CITY = '{"city":"Rome"}'
# Of Anthropic.
TOKENS = {"input_tokens": 31, "cache_creation_input_tokens": 7, "cache_read_input_tokens": 11}
CREATED = {"ephemeral_5m_input_tokens": 7, "ephemeral_1h_input_tokens": 0}


def _sse(events: Iterable[Fields]) -> bytes:
    lines = (f"event: {event['type']}\ndata: {json.dumps(event)}\n\n" for event in events)
    return "".join(lines).encode()


def chat(*deltas: Fields, finish: str = "stop", id_: str = "chatcmpl-1") -> bytes:
    """Return an answer of chat completions, with its tokens after it."""
    about = {"id": id_, "object": "chat.completion.chunk", "created": 1763900000, "model": "gpt-5"}

    def chunk(delta: Fields, finish: str | None = None) -> Fields:
        return {**about, "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}

    usage = {
        "prompt_tokens": 21,
        "completion_tokens": 34,
        "total_tokens": 55,
        "prompt_tokens_details": {"cached_tokens": 8},
        "completion_tokens_details": {"reasoning_tokens": 5},
    }
    first = chunk({"role": "assistant", "content": None, **deltas[0]})
    chunks = [first, *map(chunk, deltas[1:]), chunk({}, finish)]
    lines = [*chunks, {**about, "choices": [], "usage": usage}]
    return "".join(f"data: {json.dumps(line)}\n\n" for line in lines).encode() + b"data: [DONE]\n\n"


def chat_call(index: int, arguments: str, call_id: str | None = None) -> Fields:
    """Return a delta of chat completions with a piece of a call."""
    call: Fields = {"index": index, "function": {"arguments": arguments}}
    if call_id is not None:
        named = {"name": "weather", "arguments": arguments}
        call = {"index": index, "id": call_id, "type": "function", "function": named}
    return {"tool_calls": [call]}


def response(*items: Item, id_: str = "resp_1", incomplete: str | None = None) -> bytes:
    """Return an answer of OpenAI's Responses API, with the reason why it is incomplete."""
    about: Fields = {"id": id_, "object": "response", "created_at": 1763900000, "model": "gpt-5"}
    about |= {"output": [], "tools": [], "tool_choice": "auto", "parallel_tool_calls": True}
    events: list[tuple[str, Fields]] = [("created", {"response": about})]
    for index, (begun, between, done) in enumerate(items):
        item = {"id": f"{begun['type'][:2]}_{index}", "status": "in_progress", **begun}
        place = {"item_id": item["id"], "output_index": index}
        events.append(("output_item.added", {"output_index": index, "item": item}))
        events += [(type_, {**place, **fields}) for type_, fields in between]
        ended = {**item, "status": "completed", **done}
        events.append(("output_item.done", {"output_index": index, "item": ended}))
    about["usage"] = {
        "input_tokens": 61,
        "input_tokens_details": {"cached_tokens": 12},
        "output_tokens": 48,
        "output_tokens_details": {"reasoning_tokens": 16},
        "total_tokens": 109,
    }
    details = incomplete and {"reason": incomplete}
    last = {**about, "incomplete_details": details}
    events.append(("incomplete" if incomplete else "completed", {"response": last}))
    return _sse(
        {"type": f"response.{type_}", "sequence_number": number, **fields}
        for number, (type_, fields) in enumerate(events)
    )


def reasoning(*summaries: str, **more: str) -> Item:
    """Return reasoning with its summaries."""
    between: list[tuple[str, Fields]] = []
    for index, summary in enumerate(summaries):
        place = {"summary_index": index}
        part = {"type": "summary_text", "text": ""}
        between.append(("reasoning_summary_part.added", {**place, "part": part}))
        words = re.findall(r"\S+ ?", summary)
        between += [("reasoning_summary_text.delta", {**place, "delta": word}) for word in words]
        whole = {**part, "text": summary}
        between.append(("reasoning_summary_part.done", {**place, "part": whole}))
    said = [{"type": "summary_text", "text": summary} for summary in summaries]
    return {"type": "reasoning", "summary": [], **more}, between, {"summary": said}


def message(*words: str, annotations: Iterable[Fields] = (), refusal: bool = False) -> Item:
    """Return a message, whose annotations come after its words."""
    kind, field = ("refusal", "refusal") if refusal else ("output_text", "text")
    place = {"content_index": 0}
    between = [(f"{kind}.delta", {**place, "delta": word}) for word in words]
    between += [
        ("output_text.annotation.added", {**place, "annotation_index": index, "annotation": each})
        for index, each in enumerate(annotations)
    ]
    part = {"type": kind, field: "".join(words), "annotations": [*annotations]}
    begun = {"type": "message", "role": "assistant", "content": []}
    return begun, between, {"content": [part]}


def call(call_id: str, *pieces: str) -> Item:
    """Return a call of a function; without pieces, its arguments come with its end."""
    begun = {"type": "function_call", "call_id": call_id, "name": "weather", "arguments": ""}
    between = [("function_call_arguments.delta", {"delta": piece}) for piece in pieces]
    return begun, between, {"arguments": "".join(pieces) or CITY}


def custom_call(call_id: str, *pieces: str) -> Item:
    """Return a call of a tool of the application whose input is text."""
    begun = {"type": "custom_tool_call", "call_id": call_id, "name": "query", "input": ""}
    between = [("custom_tool_call_input.delta", {"delta": piece}) for piece in pieces]
    return begun, between, {"input": "".join(pieces)}


def own_call(type_: str, *between: str, **done: Any) -> Item:
    """Return a call of a tool of OpenAI, with the fields that its end adds."""
    return {"type": type_}, [(f"{type_}.{event}", {}) for event in between], done


def anthropic(
    *blocks: list[Fields], reason: str = "end_turn", id_: str = "msg_1", output_tokens: int = 89
) -> bytes:
    """Return an answer of Anthropic's Messages API: of each block its start and its deltas."""
    about = {"id": id_, "type": "message", "role": "assistant", "model": "claude-sonnet-5"}
    state: Fields = {"content": [], "stop_reason": None, "stop_sequence": None}
    usage = {**TOKENS, "cache_creation": CREATED, "output_tokens": 2}
    events: list[Fields] = [
        {"type": "message_start", "message": {**about, **state, "usage": usage}}
    ]
    for index, (start, *deltas) in enumerate(blocks):
        place = {"index": index}
        events.append({"type": "content_block_start", **place, "content_block": start})
        events += [{"type": "content_block_delta", **place, "delta": delta} for delta in deltas]
        events.append({"type": "content_block_stop", **place})
    delta = {"stop_reason": reason, "stop_sequence": None}
    usage = {**TOKENS, "output_tokens": output_tokens}
    events += [{"type": "message_delta", "delta": delta, "usage": usage}, {"type": "message_stop"}]
    return _sse(events)


def text(*words: str, citations: Iterable[Fields] = ()) -> list[Fields]:
    """Return text, whose citations come before its words."""
    cited = [{"type": "citations_delta", "citation": citation} for citation in citations]
    start: Fields = {"type": "text", "text": "", **({"citations": []} if cited else {})}
    return [start, *cited, *({"type": "text_delta", "text": word} for word in words)]


def thinking(*words: str) -> list[Fields]:
    """Return thinking, with its signature."""
    start = {"type": "thinking", "thinking": "", "signature": ""}
    said = ({"type": "thinking_delta", "thinking": word} for word in words)
    return [start, *said, {"type": "signature_delta", "signature": "EqQBCgIYAhIM"}]


def tool_use(
    call_id: str, *pieces: str, name: str = "weather", type_: str = "tool_use"
) -> list[Fields]:
    """Return a call of a tool of the application, or of one of Anthropic's own."""
    start = {"type": type_, "id": call_id, "name": name, "input": {}}
    # The service sends an empty piece first.
    return [start, *({"type": "input_json_delta", "partial_json": it} for it in ("", *pieces))]


def result(type_: str, content: object, call_id: str = "call_1") -> list[Fields]:
    """Return what a tool of Anthropic's own gave."""
    return [{"type": type_, "tool_use_id": call_id, "content": content}]
