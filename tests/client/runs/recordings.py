"""The answers of providers that are made into UI messages: one of each shape that there is."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from headgate.dialects.parts import plain

from tests.client.runs.provider_bytes import (
    CITY,
    anthropic,
    call,
    chat,
    chat_call,
    custom_call,
    message,
    own_call,
    reasoning,
    response,
    result,
    text,
    thinking,
    tool_use,
)
from tests.models import answers, tool_answers

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass
class Case:
    """What a provider sends, one body for each call of the model, or what a graph has streamed."""

    name: str
    api: str
    bodies: Sequence[bytes] = ()
    events: Sequence[object] = ()
    outputs: dict[str, Any] = field(default_factory=dict)  # of the application's tools, by call
    is_helped: bool = False  # requested with the helper of the SDK, whose events are more

    def described(self) -> dict[str, Any]:
        """Return the case as the program reads it."""
        about = {"name": self.name, "api": self.api, "calls": len(self.bodies)}
        events = plain(self.events) if self.events else None
        return {**about, "outputs": self.outputs or None, "events": events}


WORDS = ("Once ", "upon ", "a time é.")
PAGE = {"url": "https://example.com/rome", "title": "Rome: its weather"}
CITATION = {"type": "url_citation", "start_index": 0, "end_index": 12, **PAGE}
DOCUMENT = {"type": "file_citation", "file_id": "file-1", "filename": "rome.txt", "index": 4}
OUTPUT = {"sun": True, "degrees": 31}
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
    "reasoning-of-others": [chat({"reasoning": "Hm."}, {"content": "Once", "reasoning": None})],
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


def _case(api: str, name: str, helper: str = "") -> Case:
    recorded, is_followed = RECORDED[api][name], name == "steps"
    return Case(
        f"{api}{helper}--{name}",
        api,
        recorded if is_followed else [b"".join(recorded)],
        outputs={"call_1": OUTPUT} if is_followed else {},
        is_helped=bool(helper),
    )


CASES = [
    *(_case(api, name) for api, recorded in RECORDED.items() for name in recorded),
    *(_case(api, name, ".stream") for api, names in HELPED.items() for name in names),
]
