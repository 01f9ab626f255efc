"""What providers send for odd answers, in words of our own and with what their SDKs read.

`CASES` has one answer of each shape that is made into a UI message; `tests/models` has answers with
all that services send.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

from headgate.dialects.parts import plain
from tests.models import answers, tool_answers

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

Fields: TypeAlias = dict[str, Any]
INSTRUCTIONS = "what the model is told"  # which a response repeats
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
    about |= {"instructions": INSTRUCTIONS}
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
    status = "incomplete" if incomplete else "completed"
    last = {**about, "status": status, "incomplete_details": details}
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


@dataclass
class Case:
    """What a provider sends, one body for each call of the model, or what a graph has streamed."""

    name: str
    api: str
    bodies: Sequence[bytes] = ()
    events: Sequence[object] = ()
    outputs: dict[str, Any] = field(default_factory=dict)  # of the application's tools, by call
    is_helped: bool = False  # requested with the helper of the SDK, whose events are more
    framework: str = ""  # that asks the provider, and calls the tools

    def described(self) -> dict[str, Any]:
        """Return the case as the program reads it."""
        about = {"name": self.name, "api": self.api, "calls": len(self.bodies)}
        events = plain(self.events) if self.events else None
        return {**about, "outputs": self.outputs or None, "events": events}


WORDS = ("Once ", "upon ", "a time é.")
PAGE = {"url": "https://example.com/rome", "title": "Rome: its weather"}
CITATION = {"type": "url_citation", "start_index": 0, "end_index": 12, **PAGE}
DOCUMENT = {"type": "file_citation", "file_id": "file-1", "filename": "rome.txt", "index": 4}
OUTPUT = {"sun": True, "degrees": None}
CALLED = (chat_call(0, "", "call_1"), chat_call(0, '{"city":'), chat_call(0, '"Rome"}'))
CHAT = {
    "calls-at-once": tool_answers.parallel_chat(),
    "length": [chat({"content": "Once upon"}, finish="length")],
    "refusal": [chat({"content": ""}, {"refusal": "I "}, {"refusal": "will not."})],
    "call-cut-by-length": [chat(*CALLED[:2], finish="length")],
    "sources": [
        chat(
            {"content": "It is sunny."},
            {"annotations": [{"type": "url_citation", "url_citation": CITATION}]},
        )
    ],
    "steps": [
        chat(*CALLED, finish="tool_calls"),
        chat({"content": "It is "}, {"content": "sunny."}, id_="chatcmpl-2"),
    ],
}
# Of services that are compatible but for what their models think.
COMPATIBLE = {
    "reasoning": [
        chat(
            {"content": "", "reasoning_content": "Hm. "},
            {"content": None, "reasoning_content": "So."},
            {"content": "Once ", "reasoning_content": None},
            {"content": "upon"},
        )
    ],
    "steps": [
        chat({"reasoning_content": "I look."}, *CALLED, finish="tool_calls"),
        chat({"reasoning_content": "So."}, {"content": "It is sunny."}, id_="chatcmpl-2"),
    ],
}
SEARCHED = {"type": "search", "query": "weather rome", "queries": ["weather rome"]}
RESPONSES = {
    "text": answers.response(),
    "reasoning-and-calls": tool_answers.reasoning_response(),
    "reasoning": [response(reasoning("First this.", "Then that."), message(*WORDS))],
    "reasoning-encrypted": [response(reasoning(encrypted_content="gAAAAAB"), message(*WORDS))],
    "call-with-text": [response(custom_call("call_1", "SELECT ", '"sun"'))],
    "call-without-pieces": [response(call("call_1"))],
    "web-search": [
        response(
            reasoning(),
            own_call("web_search_call", "in_progress", "searching", "completed", action=SEARCHED),
            message(*WORDS, annotations=(CITATION, DOCUMENT)),
        )
    ],
    "length": [response(message("Once upon"), incomplete="max_output_tokens")],
    "refusal": [response(message("I ", "will not.", refusal=True))],
    "steps": [
        response(reasoning("I look."), call("call_1", CITY)),
        response(message("Sunny."), id_="resp_2"),
    ],
}
FOUND = {
    **PAGE,
    "type": "web_search_result",
    "encrypted_content": "EqgfCioIARgBIiQ",
    "page_age": "2 days ago",
}
CITED = {
    **PAGE,
    "type": "web_search_result_location",
    "cited_text": "It is sunny in Rome",
    "encrypted_index": "Eo8BCioIAhgBIiQ",
}
ANTHROPIC = {
    "thinking-and-calls": [
        anthropic(
            thinking("Hm. ", "So."),
            [{"type": "redacted_thinking", "data": "EmwKAhgB"}],
            text(*WORDS),
            tool_use("call_1", '{"city":', ' "Rome"}'),
            tool_use("call_2"),
            reason="tool_use",
        )
    ],
    "web-search": [
        anthropic(
            text("I search."),
            tool_use("1", '{"query": ', '"rome"}', name="web_search", type_="server_tool_use"),
            result("web_search_tool_result", [FOUND], "1"),
            text("sunny", citations=(CITED,)),
        )
    ],
    "length": [anthropic(text("Once upon"), reason="max_tokens")],
    "refusal": [anthropic(text("I will not."), reason="refusal")],
    "steps": [
        anthropic(thinking("I look."), tool_use("call_1", CITY), reason="tool_use"),
        anthropic(text("Sunny."), id_="msg_2"),
    ],
}

RECORDED = {
    "openai-chat": CHAT,
    "openai-compatible": COMPATIBLE,
    "openai-responses": RESPONSES,
    "anthropic": ANTHROPIC,
}
HELPED = {  # that are requested with the helper of the SDK, too, whose events are more
    "openai-chat": ("refusal", "calls-at-once", "steps"),
    "openai-responses": ("text", "reasoning-and-calls"),
    "anthropic": ("thinking-and-calls", "web-search"),
}

BY_AGENTS = {  # OpenAI Agents raises an error for a refusal, and for a response that was cut
    "openai-agents": {
        "openai-chat": ("steps",),
        "openai-compatible": ("reasoning", "steps"),
        "openai-responses": ("reasoning", "steps"),
    },
    "pydantic-ai": {
        "openai-chat": ("length", "steps"),
        "openai-compatible": ("reasoning", "steps"),
        "openai-responses": ("reasoning", "length", "steps"),
    },
}


def _case(api: str, name: str, helper: str = "", framework: str = "") -> Case:
    recorded, is_followed = RECORDED[api][name], name == "steps"
    return Case(
        f"{api}{helper}{framework and '-by-'}{framework}--{name}",
        api,
        recorded if is_followed else [b"".join(recorded)],
        outputs={"call_1": OUTPUT} if is_followed else {},
        is_helped=bool(helper),
        framework=framework,
    )


CASES = [
    *(_case(api, name) for api, recorded in RECORDED.items() for name in recorded),
    *(_case(api, name, ".stream") for api, names in HELPED.items() for name in names),
    *(
        _case(api, name, framework=framework)
        for framework, apis in BY_AGENTS.items()
        for api, names in apis.items()
        for name in names
    ),
]
