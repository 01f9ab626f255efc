"""Results of the tools that Anthropic's service calls itself, as the AI SDK has them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from headgate.dialects.parts import EXECUTED, MCP, Source, ToolOutput, known

if TYPE_CHECKING:
    from collections.abc import Callable

    from headgate.dialects.parts import Metadata, Part

# A provider's tool has several names where the model calls it in several ways.
NAMES = {"bash_code_execution": "code_execution", "text_editor_code_execution": "code_execution"}


def caller(block: dict[str, Any]) -> Metadata | None:
    """Return who called the tool, where the provider tells: the model, or code of its own."""
    named = block.get("caller")
    if named is None:
        return None
    return {"anthropic": {"caller": known(type=named["type"], toolId=named.get("tool_id"))}}


def result(block: dict[str, Any], server: Metadata | None = None) -> list[Part]:
    """Return what the block of a tool's result says; nothing for any other block.

    `server` is the metadata of what a tool of MCP gave.
    """
    type_ = block["type"]
    if not type_.endswith("_tool_result"):
        return []
    call_id, content, metadata = block["tool_use_id"], block["content"], caller(block)
    if type_ == "mcp_tool_result":
        error = _text(content) if block.get("is_error") else None
        return [ToolOutput(call_id, content, error, MCP, server)]
    if _failed(content) and type_ in FAILING:
        failure = {"type": content["type"], "errorCode": content.get("error_code")}
        return [ToolOutput(call_id, None, _text(failure), EXECUTED, metadata)]
    output = ToolOutput(
        call_id, RESULTS[type_](content) if type_ in RESULTS else content, None, EXECUTED, metadata
    )
    return [output, *(_sources_of(content) if type_ == "web_search_tool_result" else ())]


def _failed(content: object) -> bool:
    return isinstance(content, dict) and str(content.get("type")).endswith("_error")


def _text(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _sources_of(pages: list[dict[str, Any]]) -> list[Source]:
    return [
        Source(
            page["title"], page["url"], metadata={"anthropic": {"pageAge": page.get("page_age")}}
        )
        for page in pages
    ]


def _searched(pages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [
        {
            "url": page["url"],
            "title": page["title"],
            "pageAge": page.get("page_age"),
            "encryptedContent": page["encrypted_content"],
            "type": page["type"],
        }
        for page in pages
    ]


def _fetched(content: dict[str, Any]) -> dict[str, Any]:
    document = content["content"]
    source = document["source"]
    return {
        "type": content["type"],
        "url": content["url"],
        "retrievedAt": content.get("retrieved_at"),
        "content": {
            "type": document["type"],
            "title": document.get("title"),
            **known(citations=document.get("citations")),
            "source": {
                "type": source["type"],
                "mediaType": source["media_type"],
                "data": source["data"],
            },
        },
    }


def _executed(content: dict[str, Any]) -> dict[str, Any]:
    return {**known(**content), "content": content.get("content") or []}


def _tools(content: dict[str, Any]) -> list[dict[str, Any]]:
    found = content["tool_references"]
    return [{"type": tool["type"], "toolName": tool["tool_name"]} for tool in found]


def _advice(content: dict[str, Any]) -> dict[str, Any]:
    text, sealed = content.get("text"), content.get("encrypted_content")
    return {"type": content["type"], **known(text=text, encryptedContent=sealed)}


# An error of these is an error of the tool; that of others is among their results.
FAILING = {
    "web_search_tool_result",
    "web_fetch_tool_result",
    "code_execution_tool_result",
    "tool_search_tool_result",
    "advisor_tool_result",
}
RESULTS: dict[str, Callable[[Any], object]] = {
    "web_search_tool_result": _searched,
    "web_fetch_tool_result": _fetched,
    "code_execution_tool_result": _executed,
    "tool_search_tool_result": _tools,
    "advisor_tool_result": _advice,
}
