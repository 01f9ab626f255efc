"""What providers send for an answer, byte by byte: in the shape of recordings, in words of our own.

The fields are those that the services send, with those that no SDK reads.
"""

from __future__ import annotations

import json
import re
from typing import Any

CITY = '{"city":"Rome"}'
# Of Anthropic.
TOKENS = {"input_tokens": 31, "cache_creation_input_tokens": 7, "cache_read_input_tokens": 11}
CREATED = {"ephemeral_5m_input_tokens": 7, "ephemeral_1h_input_tokens": 0}


def _sse(events: list[dict[str, Any]]) -> bytes:
    lines = (f"event: {event['type']}\ndata: {json.dumps(event)}\n\n" for event in events)
    return "".join(lines).encode()


def chat(*deltas: dict[str, Any], finish: str = "stop", id_: str = "chatcmpl-1") -> bytes:
    """An answer of chat completions, whose tokens are told behind it."""
    about = {"id": id_, "object": "chat.completion.chunk", "created": 1763900000, "model": "gpt-5"}
    about |= {"service_tier": "default"}

    def chunk(delta: dict[str, Any], finish: str | None = None) -> dict[str, Any]:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
        return {**about, "choices": [choice], "usage": None, "obfuscation": "xK2"}

    usage = {
        "prompt_tokens": 21,
        "completion_tokens": 34,
        "total_tokens": 55,
        "prompt_tokens_details": {"cached_tokens": 8, "audio_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": 5, "audio_tokens": 0},
    }
    first = chunk({"role": "assistant", "content": None, "refusal": None, **deltas[0]})
    chunks = [first, *map(chunk, deltas[1:]), chunk({}, finish)]
    lines = [*chunks, {**about, "choices": [], "usage": usage}]
    return "".join(f"data: {json.dumps(line)}\n\n" for line in lines).encode() + b"data: [DONE]\n\n"


def chat_call(index: int, arguments: str, call_id: str | None = None) -> dict[str, Any]:
    """A delta of chat completions with a piece of a call."""
    call: dict[str, Any] = {"index": index, "function": {"arguments": arguments}}
    if call_id is not None:
        named = {"name": "weather", "arguments": arguments}
        call = {"index": index, "id": call_id, "type": "function", "function": named}
    return {"tool_calls": [call]}


class Responses:
    """An answer of OpenAI's Responses API, item by item."""

    def __init__(self, id_: str = "resp_1") -> None:
        about = {"id": id_, "object": "response", "created_at": 1763900000, "model": "gpt-5"}
        state = {"status": "in_progress", "error": None, "incomplete_details": None, "usage": None}
        made = {"output": [], "tools": [], "tool_choice": "auto", "parallel_tool_calls": True}
        self._response: dict[str, Any] = {**about, **state, **made}
        self._events: list[dict[str, Any]] = []
        self._index = -1
        self._add("created", response=self._response)
        self._add("in_progress", response=self._response)

    def _add(self, type_: str, **fields: Any) -> None:
        number = len(self._events)
        self._events.append({"type": f"response.{type_}", "sequence_number": number, **fields})

    def _begin(self, item: dict[str, Any]) -> None:
        self._index += 1
        self._add("output_item.added", output_index=self._index, item=item)

    def _of(self, type_: str, item_id: str, **fields: Any) -> None:
        self._add(type_, item_id=item_id, output_index=self._index, **fields)

    def _end(self, item: dict[str, Any]) -> None:
        self._add("output_item.done", output_index=self._index, item=item)

    def reasoning(self, *summaries: str, encrypted: str | None = None) -> Responses:
        """Reasoning, of which summaries are told."""
        item = {"id": f"rs_{self._index + 1}", "type": "reasoning", "summary": []}
        sealed = {} if encrypted is None else {"encrypted_content": encrypted}
        self._begin({**item, **sealed})
        for index, summary in enumerate(summaries):
            about = {"item_id": item["id"], "output_index": self._index, "summary_index": index}
            empty = {"type": "summary_text", "text": ""}
            self._add("reasoning_summary_part.added", **about, part=empty)
            for word in re.findall(r"\S+ ?", summary):
                self._add("reasoning_summary_text.delta", **about, delta=word)
            self._add("reasoning_summary_text.done", **about, text=summary)
            self._add("reasoning_summary_part.done", **about, part={**empty, "text": summary})
        told = [{"type": "summary_text", "text": summary} for summary in summaries]
        self._end({**item, **sealed, "summary": told})
        return self

    def message(
        self, *words: str, annotations: tuple[dict[str, Any], ...] = (), refusal: bool = False
    ) -> Responses:
        """A message, whose annotations come behind its words."""
        item: dict[str, Any] = {"id": f"msg_{self._index + 1}", "type": "message"}
        item["role"] = "assistant"
        self._begin({**item, "status": "in_progress", "content": []})
        kind, field = ("refusal", "refusal") if refusal else ("output_text", "text")
        more: dict[str, Any] = {} if refusal else {"annotations": [], "logprobs": []}
        part = {"type": kind, field: "", **more}
        self._of("content_part.added", item["id"], content_index=0, part=part)
        for word in words:
            delta = {"content_index": 0, "delta": word, **({} if refusal else {"logprobs": []})}
            self._of(f"{kind}.delta", item["id"], **delta)
        for index, annotation in enumerate(annotations):
            place = {"content_index": 0, "annotation_index": index}
            self._of("output_text.annotation.added", item["id"], **place, annotation=annotation)
        part = {**part, field: "".join(words)}
        if not refusal:
            part["annotations"] = list(annotations)
        done = {"content_index": 0, field: "".join(words), **({} if refusal else {"logprobs": []})}
        self._of(f"{kind}.done", item["id"], **done)
        self._of("content_part.done", item["id"], content_index=0, part=part)
        self._end({**item, "status": "completed", "content": [part]})
        return self

    def call(self, call_id: str, *pieces: str, whole: str = CITY) -> Responses:
        """A call of a function; without pieces, its arguments come with its end."""
        item_id = f"fc_{self._index + 1}"
        item = {"id": item_id, "type": "function_call", "call_id": call_id, "name": "weather"}
        self._begin({**item, "status": "in_progress", "arguments": ""})
        for piece in pieces:
            self._of("function_call_arguments.delta", item_id, delta=piece)
        whole = "".join(pieces) or whole
        self._of("function_call_arguments.done", item_id, arguments=whole)
        self._end({**item, "status": "completed", "arguments": whole})
        return self

    def custom(self, call_id: str, *pieces: str) -> Responses:
        """A call of a tool of the application's whose input is text."""
        item_id = f"ctc_{self._index + 1}"
        item = {"id": item_id, "type": "custom_tool_call", "call_id": call_id, "name": "query"}
        self._begin({**item, "status": "in_progress", "input": ""})
        for piece in pieces:
            self._of("custom_tool_call_input.delta", item_id, delta=piece)
        self._of("custom_tool_call_input.done", item_id, input="".join(pieces))
        self._end({**item, "status": "completed", "input": "".join(pieces)})
        return self

    def tool(self, type_: str, item: dict[str, Any], *between: str, **done: Any) -> Responses:
        """A call of a tool of OpenAI's own, with the fields that only its end tells."""
        item = {"id": f"{type_[:2]}_{self._index + 1}", "type": type_, **item}
        self._begin({**item, "status": "in_progress"})
        for event in between:
            self._of(f"{type_}.{event}", item["id"])
        self._end({**item, "status": "completed", **done})
        return self

    def end(self, incomplete: str | None = None) -> bytes:
        """All of it, with why it is incomplete."""
        usage = {
            "input_tokens": 61,
            "input_tokens_details": {"cached_tokens": 12},
            "output_tokens": 48,
            "output_tokens_details": {"reasoning_tokens": 16},
            "total_tokens": 109,
        }
        status = "completed" if incomplete is None else "incomplete"
        details = None if incomplete is None else {"reason": incomplete}
        ended = {"status": status, "incomplete_details": details, "usage": usage}
        self._add(status, response={**self._response, **ended})
        return _sse(self._events)


class Anthropic:
    """An answer of Anthropic's Messages API, block by block."""

    def __init__(self, id_: str = "msg_1") -> None:
        about = {"id": id_, "type": "message", "role": "assistant", "model": "claude-sonnet-5"}
        state: dict[str, Any] = {"content": [], "stop_reason": None, "stop_sequence": None}
        usage = {**TOKENS, "cache_creation": CREATED, "output_tokens": 2}
        message = {**about, **state, "usage": usage}
        self._events: list[dict[str, Any]] = [{"type": "message_start", "message": message}]
        self._index = -1

    def block(self, start: dict[str, Any], *deltas: dict[str, Any]) -> Anthropic:
        """One block of content."""
        self._index += 1
        place = {"index": self._index}
        self._events.append({"type": "content_block_start", **place, "content_block": start})
        if self._index == 0:
            self._events.append({"type": "ping"})
        self._events += [
            {"type": "content_block_delta", **place, "delta": delta} for delta in deltas
        ]
        self._events.append({"type": "content_block_stop", **place})
        return self

    def text(self, *words: str, citations: tuple[dict[str, Any], ...] = ()) -> Anthropic:
        """Text, whose citations come before its words."""
        start: dict[str, Any] = {"type": "text", "text": ""}
        if citations:
            start["citations"] = []
        cited = [{"type": "citations_delta", "citation": citation} for citation in citations]
        return self.block(start, *cited, *({"type": "text_delta", "text": word} for word in words))

    def thinking(self, *words: str) -> Anthropic:
        """Thinking, with its signature."""
        told = ({"type": "thinking_delta", "thinking": word} for word in words)
        signature = {"type": "signature_delta", "signature": "EqQBCgIYAhIM"}
        return self.block({"type": "thinking", "thinking": "", "signature": ""}, *told, signature)

    def call(self, call_id: str, *pieces: str) -> Anthropic:
        """A call of a tool of the application's."""
        start = {"type": "tool_use", "id": call_id, "name": "weather", "input": {}}
        return self.block(start, *_inputs(pieces))

    def server_call(self, call_id: str, name: str, *pieces: str) -> Anthropic:
        """A call of a tool of Anthropic's own."""
        start = {"type": "server_tool_use", "id": call_id, "name": name, "input": {}}
        return self.block(start, *_inputs(pieces))

    def server_result(self, call_id: str, type_: str, content: object) -> Anthropic:
        """What it gave."""
        return self.block({"type": type_, "tool_use_id": call_id, "content": content})

    def end(self, reason: str = "end_turn", **tokens: object) -> bytes:
        """All of it, with why it ends, and more that is told of its tokens."""
        usage = {**TOKENS, "output_tokens": 89, **tokens}
        delta = {"stop_reason": reason, "stop_sequence": None}
        self._events.append({"type": "message_delta", "delta": delta, "usage": usage})
        self._events.append({"type": "message_stop"})
        return _sse(self._events)


def _inputs(pieces: tuple[str, ...]) -> list[dict[str, Any]]:
    # The service sends an empty piece first.
    return [{"type": "input_json_delta", "partial_json": piece} for piece in ("", *pieces)]
