"""Items of OpenAI's Responses API that its own tools make, and sources, in the AI SDK's words."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from headgate.dialects.parts import (
    EXECUTED,
    MCP,
    Done,
    Source,
    ToolInput,
    ToolOutput,
    known,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from headgate.dialects.parts import Part

# The tools that are called, without an input, as their items begin.
CALLED_AT_ONCE = {
    "web_search_call": "web_search",
    "file_search_call": "file_search",
    "image_generation_call": "image_generation",
}
# The metadata of a source, by the type of its annotation.
DOCUMENTS = {
    "file_citation": {"fileId": "file_id", "index": "index"},
    "container_file_citation": {"fileId": "file_id", "containerId": "container_id"},
    "file_path": {"fileId": "file_id", "index": "index"},
}


def source(annotation: dict[str, Any]) -> list[Part]:
    """Return the source that a text is annotated with."""
    type_ = annotation["type"]
    if type_ == "url_citation":
        return [Source(annotation["title"], annotation["url"])]
    if type_ not in DOCUMENTS:
        return []
    location = {key: annotation.get(name) for key, name in DOCUMENTS[type_].items()}
    name = annotation.get("filename") or annotation["file_id"]
    media_type = "application/octet-stream" if type_ == "file_path" else "text/plain"
    return [Source(name, None, media_type, name, {"openai": {"type": type_, **location}})]


def whole_call(part: str, item: dict[str, Any]) -> list[Part]:
    """Return the call of a tool that comes whole, as its item ends."""
    if item["type"] != "mcp_call":
        return []
    call = ToolInput(part, item["id"], f"mcp.{item['name']}", item["arguments"], MCP)
    return [call, Done(part)]


def output(item: dict[str, Any]) -> list[Part]:
    """Return what a tool of OpenAI's own gave."""
    type_ = item["type"]
    if type_ == "web_search_call" and item["status"] != "completed":
        error = json.dumps({"status": item["status"]}, separators=(",", ":"))
        return [ToolOutput(item["id"], None, error, EXECUTED)]
    if type_ == "mcp_call":
        return [ToolOutput(item["id"], _mcp(item), None, MCP, {"openai": {"itemId": item["id"]}})]
    if type_ not in OUTPUTS:
        return []
    return [ToolOutput(item["id"], OUTPUTS[type_](item), traits=EXECUTED)]


def _mcp(item: dict[str, Any]) -> dict[str, Any]:
    metadata = known(
        serverLabel=item["server_label"],
        name=item["name"],
        arguments=item["arguments"],
        output=item.get("output"),
        error=item.get("error"),
    )
    return {"type": "call", **metadata}


def _web_search(item: dict[str, Any]) -> dict[str, Any]:
    action = item.get("action")
    if action is None:
        return {}
    if action["type"] == "search":
        query = known(query=action.get("query"), queries=action.get("queries"))
        return {"action": {"type": "search", **query}, **known(sources=action.get("sources"))}
    if action["type"] == "open_page":
        return {"action": {"type": "openPage", "url": action.get("url")}}
    about = {"url": action["url"], "pattern": action["pattern"]}
    return {"action": {"type": "findInPage", **about}}


def _file_search(item: dict[str, Any]) -> dict[str, Any]:
    results = item.get("results")
    if results is not None:
        results = [
            {
                "attributes": found.get("attributes"),
                "fileId": found.get("file_id"),
                "filename": found.get("filename"),
                "score": found.get("score"),
                "text": found.get("text"),
            }
            for found in results
        ]
    return {"queries": item["queries"], "results": results}


OUTPUTS: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
    "web_search_call": _web_search,
    "file_search_call": _file_search,
    "code_interpreter_call": lambda item: {"outputs": item.get("outputs")},
    "image_generation_call": lambda item: {"result": item.get("result")},
}
