"""Anthropic's Messages API."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

from typing_extensions import override

from headgate.dialects.contract import Dialect, Provider, TypedReader
from headgate.dialects.parts import (
    EXECUTED,
    FUNCTION,
    Done,
    ModelCall,
    ModelEnded,
    Source,
    Text,
    ToolInput,
    ToolOutput,
    ToolTraits,
    known,
    known_reason,
)
from headgate.dialects.progress import DialectProgress, usage_of

if TYPE_CHECKING:
    from headgate.dialects.parts import Part
    from headgate.dialects.progress import EarlyEnd

PREFIXES = ("message_", "content_block_", "ping", "error")  # how the types of its events begin
# What `client.messages.stream()` gives beside the events that it is made of.
DERIVED = {"text", "thinking", "input_json", "citation", "signature"}
# Where a delta has its text, by its type.
TEXTS = {"text_delta": ("text", "text"), "thinking_delta": ("thinking", "reasoning")}
CALLS = {"tool_use": FUNCTION, "server_tool_use": EXECUTED, "mcp_tool_use": EXECUTED}


@dataclass(slots=True)
class _ContentBlock:
    """A block of content that has begun."""

    part: str
    call: tuple[str, str] | None = None  # id and name of the tool that it calls
    traits: ToolTraits = FUNCTION
    citations: list[Any] = field(default_factory=list)


class MessageReader(TypedReader):
    """A reader of `client.messages.create(stream=True)` and `client.messages.stream()`."""

    def __init__(self) -> None:
        self._message = 0  # a run may ask the model several times
        self._open: str | None = None  # the id of the message that has begun and not ended
        self._blocks: dict[int, _ContentBlock] = {}
        self._usage: dict[str, Any] = {}
        self._reason: str | None = None
        self.methods = {
            "message_start": self._begun,
            "message_delta": self._changed,
            "message_stop": self._ended,
            "content_block_start": self._block,
            "content_block_delta": self._delta,
            "content_block_stop": self._stopped,
        }

    @override
    def takes(self, event: dict[str, Any]) -> bool:
        """Return whether an event is Anthropic's: by its type, or its fields if others share it."""
        type_ = str(event.get("type"))
        if type_ in DERIVED:
            return not event.keys().isdisjoint({"snapshot", "signature"})
        return type_.startswith(PREFIXES) and (type_ != "error" or bool(event.get("error")))

    def _begun(self, event: dict[str, Any]) -> list[Part]:
        if self._open is not None and event["message"].get("id") == self._open:
            return []  # the service repeats the beginning now and then
        self._open = event["message"].get("id")
        self._message += 1
        self._blocks.clear()
        self._usage = known(**event["message"].get("usage") or {})
        self._reason = None
        return [ModelCall()]

    def _changed(self, event: dict[str, Any]) -> list[Part]:
        self._usage.update(known(**event.get("usage") or {}))
        reason = event["delta"].get("stop_reason")
        self._reason = None if reason is None else known_reason(reason)
        return []

    def _ended(self, event: dict[str, Any]) -> list[Part]:  # noqa: ARG002 - it repeats the message
        self._open = None
        return [ModelEnded(self._reason, usage_of(self._usage))]

    def _block(self, event: dict[str, Any]) -> list[Part]:
        content = event["content_block"]
        type_ = content["type"]
        block = self._blocks[event["index"]] = _ContentBlock(f"{self._message}/{event['index']}")
        if type_ == "text":
            return [Text(block.part, content.get("text") or "")]
        if type_ in {"thinking", "redacted_thinking"}:
            data = content.get("data")
            metadata = {"anthropic": {"redactedData": data}} if data else None
            return [Text(block.part, content.get("thinking") or "", "reasoning", metadata)]
        if type_ in CALLS:
            block.call, block.traits = (content["id"], content["name"]), CALLS[type_]
            whole = json.dumps(content["input"]) if content.get("input") else ""
            return [ToolInput(block.part, *block.call, whole, block.traits)]
        return _result(content) if type_.endswith("_tool_result") else []

    def _delta(self, event: dict[str, Any]) -> list[Part]:
        # A source may pass on deltas alone.
        part = f"{self._message}/{event['index']}"
        block = self._blocks.setdefault(event["index"], _ContentBlock(part))
        delta = event["delta"]
        type_ = delta["type"]
        if type_ in TEXTS:
            key, kind = TEXTS[type_]
            return [Text(block.part, delta.get(key) or "", kind)]
        if type_ == "signature_delta":
            signature = {"anthropic": {"signature": delta["signature"]}}
            return [Text(block.part, "", "reasoning", signature)]
        if type_ == "citations_delta":
            return _cited(block, delta["citation"])
        if type_ == "input_json_delta" and block.call is not None:
            return [ToolInput(block.part, *block.call, delta["partial_json"], block.traits)]
        return []

    def _stopped(self, event: dict[str, Any]) -> list[Part]:
        block = self._blocks.pop(event["index"], None)
        if block is None:
            return []
        cited = {"anthropic": {"citations": block.citations}} if block.citations else None
        return [Done(block.part, cited)]


def _result(block: dict[str, Any]) -> list[Part]:
    """Return what a tool of the provider's own gave, and the pages that it found."""
    content = block["content"]
    failed = isinstance(content, dict) and str(content.get("type")).endswith("_error")
    error = json.dumps(content) if failed or block.get("is_error") else None
    output = ToolOutput(block["tool_use_id"], content, error, EXECUTED)
    pages = content if block["type"] == "web_search_tool_result" and error is None else ()
    return [output, *(Source(page["title"], page["url"]) for page in pages)]


def _cited(block: _ContentBlock, citation: dict[str, Any]) -> list[Part]:
    """Return the source of a citation: a page of the web, or a document of the request."""
    type_ = citation["type"]
    if type_ == "web_search_result_location":
        block.citations.append(citation)  # the next request needs it
        return [Source(citation.get("title"), citation["url"], metadata={"anthropic": citation})]
    title = citation.get("document_title")
    if title is None or type_ not in {"page_location", "char_location"}:
        return []
    media_type = "application/pdf" if type_ == "page_location" else "text/plain"
    return [Source(title, media_type=media_type, metadata={"anthropic": citation})]


def _failure(failure: EarlyEnd, _number: int) -> dict[str, object]:
    error = {"type": "api_error", "message": failure.sentence, "code": failure.code}
    return {"type": "error", "error": error, "request_id": None}


MESSAGES = Dialect(
    ("/v1/messages",),
    MessageReader,
    partial(DialectProgress, PREFIXES, frozenset({"message_stop"}), "message"),
    _failure,
)
PROVIDER = Provider(("X-Api-Key", "Authorization"), (MESSAGES,))
