"""What a provider answers, computed from a seed: it sends that, and the judge expects it."""

from __future__ import annotations

import json
import random
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

Dialect: TypeAlias = Literal["chat", "responses", "messages"]
DIALECTS: tuple[Dialect, ...] = ("chat", "responses", "messages")
PATHS: dict[Dialect, str] = {
    "chat": "/openai/v1/chat/completions",
    "responses": "/openai/v1/responses",
    "messages": "/anthropic/v1/messages",
}
# Characters of one to four bytes, of two code units in UTF-16, and those that end lines elsewhere.
ALPHABET = [*'abc xyz\\"\n\r\t', "é", "ß", "Ж", "漢", "語", "👩‍👩‍👧", "𝄞", "\u2028", "\x85"]


@dataclass(frozen=True, slots=True)
class Plan:
    """How the provider answers one call."""

    refusal: int  # the status of a refusal; 0 for an answer, 1 for a connection that is closed
    events: tuple[tuple[str, str], ...]  # the event's name, "" without one, and its data
    pieces: tuple[tuple[float, bytes], ...]  # a pause in seconds, then the bytes that are written
    is_cut: bool  # the connection ends before the last event
    fails: bool  # the last event is an error of the provider
    text: str
    tokens: tuple[int, int] | None  # those of the input and of the output, if they are counted


@dataclass(slots=True)
class Draft:
    """The events of an answer that is being composed."""

    rng: random.Random
    name: str
    model: str
    events: list[tuple[str, str]] = field(default_factory=list)
    text: str = ""
    number: int = 0

    def words(self) -> list[str]:
        """Return the parts of a text that no other answer has."""
        parts = [f"<{self.name}>"]
        for _ in range(self.rng.choice((2, 10, 40, 120))):
            parts.append("".join(self.rng.choices(ALPHABET, k=self.rng.choice((1, 3, 20)))))
        if self.rng.random() < 0.1:
            parts.append("漢" * self.rng.choice((5_000, 60_000)))
        return parts

    def add(self, name: str, value: dict[str, Any]) -> None:
        """Add an event, whose JSON escapes what is not ASCII in half of the answers."""
        data = json.dumps(value, ensure_ascii=self.number % 2 == 0, separators=(",", ":"))
        self.events.append((name, data))
        self.number += 1


def plan_of(dialect: Dialect, seed: int, call: int, model: str = "m") -> Plan:
    """Return the answer to this call, counted from 1, of the request with this seed."""
    rng = random.Random(f"{dialect}-{seed}")
    refused_calls = rng.choices((0, 1, 2), (80, 15, 5))[0]
    if call <= refused_calls:
        status = rng.choice((400, 429, 500, 503, 1))
        return Plan(status, (), (), is_cut=False, fails=False, text="", tokens=None)
    rng = random.Random(f"{dialect}-{seed}-{call}")
    draft = Draft(rng, f"{dialect}-{seed}-{call}", model)
    tokens = _COMPOSE[dialect](draft)
    end = rng.choices(("whole", "cut", "error"), (75, 15, 10))[0]
    if end != "whole":
        del draft.events[rng.randrange(1, len(draft.events) - 1) :]
        tokens = None
    if end == "error":
        draft.add("error" if dialect != "chat" else "", _error_of(dialect))
    pieces = _pieces(rng, draft.events, cut=end == "cut")
    return Plan(0, tuple(draft.events), pieces, end == "cut", end == "error", draft.text, tokens)


def _error_of(dialect: Dialect) -> dict[str, Any]:
    error = {"type": "overloaded_error", "message": "Überlastet", "code": "server_error"}
    if dialect == "responses":
        return {**error, "type": "error", "sequence_number": 99_999, "param": None}
    return {"type": "error", "error": error}


def _pieces(
    rng: random.Random, events: list[tuple[str, str]], *, cut: bool
) -> tuple[tuple[float, bytes], ...]:
    line = rng.choices((b"\n", b"\r\n", b"\r"), (70, 20, 10))[0]
    wire = b"".join(encode(name, data, line) for name, data in events)
    if rng.random() < 0.1:
        wire = b": ping" + line * 2 + wire
    if cut:
        wire += b"data: {" * rng.randrange(2)
    longest = rng.choice((7, 100, 1_000, 100_000))
    longest = max(longest, len(wire) // 200)
    slow = rng.choice((0.0, 0.002, 0.02, 0.05))
    pieces = []
    at = 0
    while at < len(wire):
        size = rng.randrange(1, longest + 1)
        pause = rng.random() * slow
        if rng.random() < 0.01:
            pause = 1.0
        pieces.append((pause, wire[at : at + size]))
        at += size
    return tuple(pieces)


def encode(name: str, data: str, line: bytes = b"\n") -> bytes:
    """Return the bytes of an event."""
    lines = [f"event: {name}"] if name else []
    lines.append(f"data: {data}")
    return b"".join(part.encode() + line for part in [*lines, ""])


def _compose_chat(draft: Draft) -> tuple[int, int] | None:
    rng = draft.rng
    counts = rng.randrange(1, 99), rng.randrange(1, 99)

    def chunk(delta: dict[str, Any], finish: str | None = None) -> None:
        choice = {"index": 0, "delta": delta, "finish_reason": finish}
        draft.add("", _chat_chunk(draft, [choice]))

    chunk({"role": "assistant", "content": ""})
    if rng.random() < 0.3:
        for part in draft.words():
            chunk({"reasoning_content": part})
    for part in draft.words():
        chunk({"content": part})
        draft.text += part
    for delta in _tool_deltas(draft):
        chunk(delta)
    chunk({}, "stop")
    has_usage = rng.random() < 0.7
    if has_usage:
        value = _chat_chunk(draft, [])
        value["usage"] = {
            "prompt_tokens": counts[0],
            "completion_tokens": counts[1],
            "total_tokens": sum(counts),
        }
        draft.add("", value)
    draft.events.append(("", "[DONE]"))
    return counts if has_usage else None


def _tool_deltas(draft: Draft) -> Iterator[dict[str, Any]]:
    if draft.rng.random() < 0.7:
        return
    for index in range(draft.rng.randrange(1, 3)):
        called = {"name": "search", "arguments": ""}
        call = {"index": index, "id": f"call_{index}", "type": "function", "function": called}
        yield {"tool_calls": [call]}
        for part in draft.words():
            yield {"tool_calls": [{"index": index, "function": {"arguments": part}}]}


def _chat_chunk(draft: Draft, choices: list[dict[str, Any]]) -> dict[str, Any]:
    chunk = {
        "id": f"chatcmpl-{draft.name}",
        "object": "chat.completion.chunk",
        "created": 1,
        "model": draft.model,
        "choices": choices,
    }
    if draft.rng.random() < 0.5:
        chunk["obfuscation"] = "x" * draft.rng.randrange(9)
    return chunk


def _compose_responses(draft: Draft) -> tuple[int, int] | None:
    rng = draft.rng
    counts = rng.randrange(1, 99), rng.randrange(1, 99)
    response: dict[str, Any] = {
        "id": f"resp_{draft.name}",
        "object": "response",
        "created_at": 1,
        "status": "in_progress",
        "model": draft.model,
        "output": [],
        "parallel_tool_calls": True,
        "tool_choice": "auto",
        "tools": [],
    }

    def event(kind: str, **values: Any) -> None:
        draft.add(kind, {"type": kind, "sequence_number": draft.number, **values})

    event("response.created", response=response)
    event("response.in_progress", response=response)
    place = {"item_id": "msg_1", "output_index": 0, "content_index": 0}
    item = {"id": "msg_1", "type": "message", "role": "assistant", "status": "in_progress"}
    event("response.output_item.added", output_index=0, item={**item, "content": []})
    part = {"type": "output_text", "text": "", "annotations": []}
    event("response.content_part.added", **place, part=part)
    for delta in draft.words():
        event("response.output_text.delta", **place, delta=delta, logprobs=[])
        draft.text += delta
    event("response.output_text.done", **place, text=draft.text, logprobs=[])
    whole = {**part, "text": draft.text}
    event("response.content_part.done", **place, part=whole)
    done = {**item, "status": "completed", "content": [whole]}
    event("response.output_item.done", output_index=0, item=done)
    usage = {
        "input_tokens": counts[0],
        "input_tokens_details": {"cached_tokens": 0},
        "output_tokens": counts[1],
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": sum(counts),
    }
    response = {**response, "status": "completed", "output": [done], "usage": usage}
    event("response.completed", response=response)
    return counts


def _compose_messages(draft: Draft) -> tuple[int, int] | None:
    rng = draft.rng
    counts = rng.randrange(1, 99), rng.randrange(1, 99)

    def event(kind: str, **values: Any) -> None:
        draft.add(kind, {"type": kind, **values})

    message: dict[str, Any] = {
        "id": f"msg_{draft.name}",
        "type": "message",
        "role": "assistant",
        "model": draft.model,
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": {"input_tokens": counts[0], "output_tokens": 0},
    }
    event("message_start", message=message)
    kinds = ["text"]
    if rng.random() < 0.3:
        kinds.insert(0, "thinking")
    if rng.random() < 0.3:
        kinds.append("tool_use")
    for index, kind in enumerate(kinds):
        start: dict[str, Any] = {"type": kind}
        start |= {"text": ""} if kind == "text" else {}
        start |= {"thinking": "", "signature": ""} if kind == "thinking" else {}
        start |= {"id": "toolu_1", "name": "search", "input": {}} if kind == "tool_use" else {}
        event("content_block_start", index=index, content_block=start)
        for part in draft.words() if kind != "tool_use" else ['{"q"', ':"', "漢", '"}']:
            if rng.random() < 0.05:
                event("ping")
            event("content_block_delta", index=index, delta=_block_delta(kind, part))
            draft.text += part if kind == "text" else ""
        event("content_block_stop", index=index)
    usage = {"output_tokens": counts[1]}
    event("message_delta", delta={"stop_reason": "end_turn", "stop_sequence": None}, usage=usage)
    event("message_stop")
    return counts


def _block_delta(kind: str, part: str) -> dict[str, str]:
    if kind == "text":
        return {"type": "text_delta", "text": part}
    if kind == "thinking":
        return {"type": "thinking_delta", "thinking": part}
    return {"type": "input_json_delta", "partial_json": part}


_COMPOSE: dict[Dialect, Callable[[Draft], tuple[int, int] | None]] = {
    "chat": _compose_chat,
    "responses": _compose_responses,
    "messages": _compose_messages,
}
