"""The answers of providers that are made into UI messages: one of each shape that there is."""

from __future__ import annotations

from tests.client.runs.cases import Case
from tests.client.runs.provider_bytes import CITY, Anthropic, Responses, chat, chat_call

WORDS = ("Once ", "upon ", "a time é.")
PAGE = {"url": "https://example.com/rome", "title": "Rome: its weather"}
CITATION = {"type": "url_citation", "start_index": 0, "end_index": 12, **PAGE}
DOCUMENT = {"type": "file_citation", "file_id": "file-1", "filename": "rome.txt", "index": 4}
OUTPUT = {"sun": True, "degrees": 31}
CALLED = (chat_call(0, "", "call_1"), chat_call(0, '{"city":'), chat_call(0, '"Rome"}'))
CHAT = {
    "text": [chat({"content": ""}, *({"content": word} for word in WORDS))],
    "length": [chat({"content": "Once upon"}, finish="length")],
    "refusal": [chat({"content": ""}, {"refusal": "I "}, {"refusal": "will not."})],
    "text-and-calls-at-once": [
        chat(
            {"content": "I look."},
            chat_call(0, "", "call_1"),
            chat_call(0, '{"city":'),
            chat_call(1, "", "call_2"),
            chat_call(0, '"Rome"}'),
            chat_call(1, '{"city":"Oslo"}'),
            finish="tool_calls",
        )
    ],
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
    "reasoning": [Responses().reasoning("First this.", "Then that.").message(*WORDS).end()],
    "reasoning-encrypted": [Responses().reasoning(encrypted="gAAAAAB").message(*WORDS).end()],
    "calls": [
        Responses()
        .reasoning("I look.")
        .call("call_1", '{"city":', '"Rome"}')
        .call("call_2", '{"city":"Oslo"}')
        .end()
    ],
    "call-with-text": [Responses().custom("call_1", "SELECT ", '"sun"').end()],
    "call-without-pieces": [Responses().call("call_1").end()],
    "web-search": [
        Responses()
        .reasoning()
        .tool("web_search_call", {}, "in_progress", "searching", "completed", action=SEARCHED)
        .message(*WORDS, annotations=(CITATION, DOCUMENT))
        .end()
    ],
    "length": [Responses().message("Once upon").end("max_output_tokens")],
    "refusal": [Responses().message("I ", "will not.", refusal=True).end()],
    "steps": [
        Responses().reasoning("I look.").call("call_1", CITY).end(),
        Responses("resp_2").message("Sunny.").end(),
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
    "thinking": [Anthropic().thinking("Hm. ", "So.").text(*WORDS).end()],
    "thinking-redacted": [
        Anthropic().block({"type": "redacted_thinking", "data": "EmwKAhgB"}).text("Yes.").end()
    ],
    "calls": [
        Anthropic()
        .text("I look.")
        .call("call_1", '{"city":', ' "Rome"}')
        .call("call_2")
        .end("tool_use")
    ],
    "web-search": [
        Anthropic()
        .text("I search.")
        .server_call("srvtoolu_1", "web_search", '{"query": ', '"weather rome"}')
        .server_result("srvtoolu_1", "web_search_tool_result", [FOUND])
        .text("sunny", citations=(CITED,))
        .end()
    ],
    "length": [Anthropic().text("Once upon").end("max_tokens")],
    "refusal": [Anthropic().text("I will not.").end("refusal")],
    "steps": [
        Anthropic().thinking("I look.").call("call_1", CITY).end("tool_use"),
        Anthropic("msg_2").text("Sunny.").end(),
    ],
}

RECORDED = {
    "openai-chat": CHAT,
    "openai-compatible": COMPATIBLE,
    "openai-responses": RESPONSES,
    "anthropic": ANTHROPIC,
}
HELPED = {  # that are asked for with the helper of the SDK, too, whose events are more
    "openai-chat": ("refusal", "text-and-calls-at-once", "steps"),
    "openai-responses": ("reasoning", "calls", "web-search"),
    "anthropic": ("thinking", "calls", "web-search"),
}


def _case(api: str, name: str, helper: str = "") -> Case:
    outputs = {"call_1": OUTPUT} if name == "steps" else {}
    name_ = f"{api}{helper}--{name}"
    return Case(name_, api, RECORDED[api][name], outputs=outputs, is_helped=bool(helper))


CASES = [
    *(_case(api, name) for api, recorded in RECORDED.items() for name in recorded),
    *(_case(api, name, ".stream") for api, names in HELPED.items() for name in names),
]
