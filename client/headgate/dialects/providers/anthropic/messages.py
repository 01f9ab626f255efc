"""Events of Anthropic's Messages API."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import msgspec
from typing_extensions import override

from headgate.dialects.contract import Dialect
from headgate.dialects.parts import (
    EXECUTED,
    FUNCTION,
    MCP,
    Done,
    ModelCall,
    ModelEnded,
    ModelFailed,
    Source,
    Text,
    ToolInput,
    ToolTraits,
    Usage,
    known,
)
from headgate.dialects.progress import DialectProgress, EventFields
from headgate.dialects.providers.anthropic.tools import NAMES, caller, result
from headgate.events import written

if TYPE_CHECKING:
    from collections.abc import Callable

    from headgate.dialects.parts import Metadata, Part
    from headgate.dialects.progress import EarlyEnd

TYPES = {
    "message_start",
    "message_delta",
    "message_stop",
    "content_block_start",
    "content_block_delta",
    "content_block_stop",
    "ping",
}
# What `client.messages.stream()` gives beside the events that it is made of.
DERIVED = {"text", "thinking", "input_json", "citation", "signature"}
# Where a delta has its text, by its type.
TEXTS = {
    "text_delta": ("text", "text"),
    "thinking_delta": ("thinking", "reasoning"),
    "compaction_delta": ("content", "text"),
}
REASONS = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "pause_turn": "stop",
    "tool_use": "tool-calls",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "refusal": "content-filter",
}
# What the code execution of the provider is given, by the tool that the model calls for it.
CODE_INPUTS = {
    "code_execution": "programmatic-tool-call",
    "bash_code_execution": "bash_code_execution",
    "text_editor_code_execution": "text_editor_code_execution",
}
TOKENS = ("input_tokens", "output_tokens")
EXECUTOR_CALLS = {"compaction", "message"}  # those that are billed as the model that is asked


@dataclass(slots=True)
class _ContentBlock:
    """A block of content that has begun."""

    part: str
    call: tuple[str, str] | None = None  # id and name of the tool that it calls
    traits: ToolTraits = FUNCTION
    metadata: Metadata | None = None  # for its end
    input_type: str | None = None  # to be put before the first piece of the input
    citations: list[Any] = field(default_factory=list)


class MessageReader:
    """`client.messages.create(stream=True)` and `client.messages.stream()`."""

    def __init__(self) -> None:
        self._message = 0  # a run may ask the model several times
        self._open: str | None = None  # the id of the message that has begun and not ended
        self._blocks: dict[int, _ContentBlock] = {}
        self._servers: dict[str, Metadata] = {}  # of calls of MCP
        self._usage: dict[str, Any] = {}
        self._reason: str | None = None
        self._read: dict[str, Callable[[dict[str, Any]], list[Part]]] = {
            "message_start": self._begun,
            "message_delta": self._changed,
            "message_stop": self._ended,
            "content_block_start": self._block,
            "content_block_delta": self._delta,
            "content_block_stop": self._stopped,
        }

    def takes(self, event: dict[str, Any]) -> bool:
        """Return whether an event is Anthropic's: by its type, or its fields if others share it."""
        type_ = event.get("type")
        if type_ in DERIVED:
            return not event.keys().isdisjoint({"snapshot", "signature"})
        return type_ in TYPES or (type_ == "error" and bool(event.get("error")))

    def parts(self, event: dict[str, Any]) -> list[Part]:
        """Return text, thinking, sources, calls of tools, and results of the provider's tools."""
        if event["type"] == "error":
            raise ModelFailed(event["error"])
        read = self._read.get(event["type"])
        return [] if read is None else read(event)

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
        self._reason = None if reason is None else REASONS.get(reason, "other")
        return []

    def _ended(self, event: dict[str, Any]) -> list[Part]:  # noqa: ARG002 - it repeats the message
        self._open = None
        return [ModelEnded(self._reason, _usage(self._usage))]

    def _block(self, event: dict[str, Any]) -> list[Part]:
        content = event["content_block"]
        type_ = content["type"]
        block = self._blocks[event["index"]] = _ContentBlock(f"{self._message}/{event['index']}")
        if type_ in {"text", "compaction"}:
            kind = {"anthropic": {"type": type_}} if type_ == "compaction" else None
            return [Text(block.part, content.get("text") or "", metadata=kind)]
        if type_ in {"thinking", "redacted_thinking"}:
            data = content.get("data")
            metadata = {"anthropic": {"redactedData": data}} if data else None
            return [Text(block.part, content.get("thinking") or "", "reasoning", metadata)]
        if type_ in {"tool_use", "server_tool_use", "mcp_tool_use"}:
            return self._called(block, content)
        return result(content, self._servers.pop(content.get("tool_use_id", ""), None))

    def _called(self, block: _ContentBlock, content: dict[str, Any]) -> list[Part]:
        name = content["name"]
        block.metadata = caller(content)
        if content["type"] == "server_tool_use":
            block.traits = EXECUTED
            block.input_type = CODE_INPUTS.get(name)
            name = NAMES.get(name, name)
        elif content["type"] == "mcp_tool_use":
            block.traits = MCP
            server = {"type": "mcp-tool-use", "serverName": content.get("server_name")}
            block.metadata = self._servers[content["id"]] = {"anthropic": server}
        block.call = (content["id"], name)
        whole = json.dumps(content["input"]) if content.get("input") else ""
        return [ToolInput(block.part, *block.call, whole, block.traits)]

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
            return self._input(block, block.call, delta["partial_json"])
        return []

    def _input(self, block: _ContentBlock, call: tuple[str, str], piece: str) -> list[Part]:
        if not piece:
            return []
        if block.input_type is not None and piece.startswith("{"):
            piece = f'{{"type": "{block.input_type}",{piece[1:]}'
        block.input_type = None
        return [ToolInput(block.part, *call, piece, block.traits)]

    def _stopped(self, event: dict[str, Any]) -> list[Part]:
        block = self._blocks.pop(event["index"], None)
        if block is None:
            return []
        cited = {"anthropic": {"citations": block.citations}} if block.citations else None
        return [Done(block.part, block.metadata or cited)]


def _cited(block: _ContentBlock, citation: dict[str, Any]) -> list[Part]:
    """Return the source of a citation: a page of the web, or a document of the request."""
    type_ = citation["type"]
    if type_ == "web_search_result_location":
        block.citations.append(citation)
        metadata = {
            "citedText": citation["cited_text"],
            "encryptedIndex": citation["encrypted_index"],
        }
        return [Source(citation.get("title"), citation["url"], metadata={"anthropic": metadata})]
    title = citation.get("document_title")
    if title is None or type_ not in {"page_location", "char_location"}:
        return []
    unit, name = ("page_number", "PageNumber") if type_[0] == "p" else ("char_index", "CharIndex")
    metadata = {
        "citedText": citation["cited_text"],
        f"start{name}": citation[f"start_{unit}"],
        f"end{name}": citation[f"end_{unit}"],
    }
    media_type = "application/pdf" if type_[0] == "p" else "text/plain"
    return [Source(title, media_type=media_type, metadata={"anthropic": metadata})]


def _usage(reported: dict[str, Any]) -> Usage | None:
    """Return the tokens; of the input, the provider counts those of its cache apart."""
    if not reported:
        return None
    read, written = (
        reported.get(f"cache_{kind}_input_tokens") or 0 for kind in ("read", "creation")
    )
    calls = [call for call in reported.get("iterations") or () if call["type"] in EXECUTOR_CALLS]
    if calls and all(call["type"] != "fallback_message" for call in reported["iterations"]):
        # The totals leave out what was compacted.
        reported = reported | {key: sum(call[key] for call in calls) for key in TOKENS}
    return Usage(
        input=(reported.get("input_tokens") or 0) + read + written,
        output=reported.get("output_tokens"),
        cache_read=read,
        cache_write=written,
        reasoning=(reported.get("output_tokens_details") or {}).get("thinking_tokens"),
    )


_KNOWN = ("message_", "content_block_", "ping", "error")  # how the types of its events begin


class _MessageFields(EventFields):
    message: Any = None
    usage: Any = None


class MessageProgress(DialectProgress):
    """The progress of a message: it ends with `message_stop`."""

    decoder = msgspec.json.Decoder(_MessageFields)

    @override
    def _judge(self, event: _MessageFields) -> None:
        if isinstance(event.type, str):
            self._is_known |= event.type.startswith(_KNOWN)
            self._has_ended |= event.type == "message_stop"
        # The usage of message_start is in its message; message_delta has its own.
        counts = event.message.get("usage") if isinstance(event.message, dict) else event.usage
        if isinstance(counts, dict):
            self.usage.update(counts.get("input_tokens"), counts.get("output_tokens"))


def _failure_event(failure: EarlyEnd, _number: int) -> bytes:
    error = {"type": "api_error", "message": failure.sentence, "code": failure.code}
    event = {"type": "error", "error": error, "request_id": None}
    return written(msgspec.json.encode(event), name=b"error")


MESSAGES = Dialect(("/v1/messages",), MessageReader, MessageProgress, _failure_event)
