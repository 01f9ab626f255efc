"""The answers of providers that are made into UI messages: one of each kind that there is."""

from __future__ import annotations

from tests.client.runs.cases import Case
from tests.client.runs.provider_bytes import CITY, Anthropic, Responses, chat, chat_call

WORDS = ("Once ", "upon ", "a time é.")
PAGE = {"url": "https://example.com/rome", "title": "Rome: its weather"}
CITED_PAGE = {"start_index": 0, "end_index": 12, **PAGE}
OUTPUT = {"sun": True, "degrees": 31}
CALLED = (chat_call(0, "", "call_1"), chat_call(0, '{"city":'), chat_call(0, '"Rome"}'))

CHAT = {
    "text": [chat({"content": ""}, *({"content": word} for word in WORDS))],
    "length": [chat({"content": "Once upon"}, finish="length")],
    "content-filter": [chat({"content": "Once upon"}, finish="content_filter")],
    "refusal": [chat({"content": ""}, {"refusal": "I "}, {"refusal": "will not."})],
    "call": [chat(*CALLED, finish="tool_calls")],
    "text-and-calls-at-once": [
        chat(
            {"content": ""},
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
            {"content": ""},
            {"content": "It is sunny."},
            {"annotations": [{"type": "url_citation", "url_citation": CITED_PAGE}]},
        )
    ],
    "steps": [
        chat(*CALLED, finish="tool_calls"),
        chat({"content": "It is "}, {"content": "sunny."}, id_="chatcmpl-2"),
    ],
}
# Of services that are compatible but for what their models think.
COMPATIBLE = {
    "text": [chat({"content": ""}, *({"content": word} for word in WORDS))],
    "reasoning": [
        chat(
            {"content": ""},
            {"reasoning_content": "Hm. "},
            {"content": None, "reasoning_content": "So."},
            {"content": "Once ", "reasoning_content": None},
            {"content": "upon"},
        )
    ],
    "reasoning-of-others": [chat({"reasoning": "Hm."}, {"content": "Once", "reasoning": None})],
    "reasoning-and-call": [
        chat({"content": "", "reasoning_content": "I look."}, *CALLED, finish="tool_calls")
    ],
    "steps": [
        chat({"reasoning_content": "I look."}, *CALLED, finish="tool_calls"),
        chat({"reasoning_content": "So."}, {"content": "It is sunny."}, id_="chatcmpl-2"),
    ],
}
CITATION = {"type": "url_citation", **CITED_PAGE}
SEARCHED = {"type": "search", "query": "weather rome", "queries": ["weather rome"]}
RESPONSES = {
    "text": [Responses().message(*WORDS).end()],
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
        .tool("web_search_call", {}, action={"type": "open_page", "url": PAGE["url"]})
        .message(*WORDS, annotations=(CITATION,))
        .end()
    ],
    "web-search-failed": [
        Responses().tool("web_search_call", {}, status="failed").message("No.").end()
    ],
    "file-search": [
        Responses()
        .tool(
            "file_search_call",
            {"queries": ["rome"], "results": None},
            "in_progress",
            "completed",
            results=[
                {
                    "attributes": {},
                    "file_id": "file-1",
                    "filename": "rome.txt",
                    "score": 0.9,
                    "text": "Rome",
                }
            ],
        )
        .message(
            "Here.",
            annotations=(
                {
                    "type": "file_citation",
                    "file_id": "file-1",
                    "filename": "rome.txt",
                    "index": 4,
                },
            ),
        )
        .end()
    ],
    "code": [Responses().code("print(", '"42")\n').message("42").end()],
    "mcp": [
        Responses()
        .tool(
            "mcp_call",
            {"name": "weather", "server_label": "sky", "arguments": ""},
            arguments=CITY,
            output="sunny",
            error=None,
            approval_request_id=None,
        )
        .message("Sunny.")
        .end()
    ],
    "length": [Responses().message("Once upon").end("max_output_tokens")],
    "length-in-reasoning": [Responses().reasoning("Hm.").end("max_output_tokens")],
    "content-filter": [Responses().message("Once upon").end("content_filter")],
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
NOT_FOUND = {"type": "web_search_tool_result_error", "error_code": "max_uses_exceeded"}
RAN = {"stdout": "42\n", "stderr": "", "return_code": 0, "content": []}
FETCHED = {
    "type": "web_fetch_result",
    "url": PAGE["url"],
    "retrieved_at": "2026-11-23T14:00:00Z",
    "content": {
        "type": "document",
        "title": PAGE["title"],
        "source": {"type": "text", "media_type": "text/plain", "data": "It is sunny."},
    },
}
ANTHROPIC = {
    "text": [Anthropic().text(*WORDS).end()],
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
        .server_result("srvtoolu_1", "web_search_tool_result", [FOUND, {**FOUND, "page_age": None}])
        .text("It is ")
        .text("sunny", citations=(CITED,))
        .text(".")
        .end()
    ],
    "web-search-failed": [
        Anthropic()
        .server_call("srvtoolu_1", "web_search", '{"query": "rome"}')
        .server_result("srvtoolu_1", "web_search_tool_result", NOT_FOUND)
        .end()
    ],
    "web-fetch": [
        Anthropic()
        .server_call("srvtoolu_1", "web_fetch", f'{{"url": "{PAGE["url"]}"}}')
        .server_result("srvtoolu_1", "web_fetch_tool_result", FETCHED)
        .text("Sunny.")
        .end()
    ],
    "code": [
        Anthropic()
        .server_call("srvtoolu_1", "bash_code_execution", '{"command":', ' "echo 42"}')
        .server_result(
            "srvtoolu_1",
            "bash_code_execution_tool_result",
            {"type": "bash_code_execution_result", **RAN},
        )
        .server_call("srvtoolu_2", "code_execution", '{"code": "print(42)"}')
        .server_result(
            "srvtoolu_2", "code_execution_tool_result", {"type": "code_execution_result", **RAN}
        )
        .text("42")
        .end()
    ],
    "mcp": [
        Anthropic()
        .block(
            {
                "type": "mcp_tool_use",
                "id": "mcptoolu_1",
                "name": "forecast",
                "server_name": "sky",
                "input": {"city": "Rome"},
            }
        )
        .block(
            {
                "type": "mcp_tool_result",
                "tool_use_id": "mcptoolu_1",
                "is_error": False,
                "content": [{"type": "text", "text": "sunny"}],
            }
        )
        .end()
    ],
    "tool-search": [
        Anthropic()
        .server_call("srvtoolu_1", "tool_search_tool_bm25", '{"query": "weather"}')
        .server_result(
            "srvtoolu_1",
            "tool_search_tool_result",
            {
                "type": "tool_search_tool_search_result",
                "tool_references": [{"type": "tool_reference", "tool_name": "weather"}],
            },
        )
        .call("call_1", CITY)
        .end("tool_use")
    ],
    "advisor": [
        Anthropic()
        .server_call("srvtoolu_1", "advisor")
        .server_result(
            "srvtoolu_1", "advisor_tool_result", {"type": "advisor_result", "text": "Look up."}
        )
        .text("Sunny.")
        .end()
    ],
    "length": [Anthropic().text("Once upon").end("max_tokens")],
    "call-cut-by-length": [Anthropic().call("call_1", '{"city":').end("max_tokens")],
    "refusal": [Anthropic().text("I will not.").end("refusal")],
    "pause": [Anthropic().text("One moment.").end("pause_turn")],
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
HELPED = {
    "openai-chat": ("text", "refusal", "text-and-calls-at-once", "steps"),
    "openai-responses": ("text", "reasoning", "calls", "web-search", "steps"),
    "anthropic": ("thinking", "calls", "web-search", "code", "steps"),
}


def _case(api: str, name: str, helper: str = "") -> Case:
    outputs = {"call_1": OUTPUT} if name == "steps" else {}
    asked_with = f"{api}{helper}"
    return Case(
        f"{asked_with}--{name}", api, RECORDED[api][name], outputs=outputs, asked_with=asked_with
    )


CASES = [
    *(_case(api, name) for api, recorded in RECORDED.items() for name in recorded),
    *(_case(api, name, ".stream") for api, names in HELPED.items() for name in names),
]
