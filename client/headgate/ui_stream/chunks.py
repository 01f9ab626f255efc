"""Chunks of the AI SDK's UI message stream for the parts of an answer that stand by themselves."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from headgate.dialects.parts import known

if TYPE_CHECKING:
    from collections.abc import Mapping

    from headgate.dialects.parts import (
        ApprovalRequest,
        Data,
        Metadata,
        Source,
        ToolOutput,
        ToolTraits,
    )
    from headgate.dialects.usage import Usage

# The details among the counts of a usage, by the group that the AI SDK has them in.
DETAILS = {
    "inputTokenDetails": ("noCacheTokens", "cacheReadTokens", "cacheWriteTokens"),
    "outputTokenDetails": ("textTokens", "reasoningTokens"),
}


def with_metadata(metadata: Metadata | None) -> dict[str, Any]:
    """Return the field for what one provider alone understands."""
    return known(providerMetadata=metadata)


def with_traits(traits: ToolTraits) -> dict[str, Any]:
    """Return the fields that say what is special about a tool."""
    return known(
        providerExecuted=traits.is_executed or None,
        dynamic=traits.is_dynamic or None,
    )


def tool_output(part: ToolOutput) -> dict[str, Any]:
    """Return the chunk for what a tool gave."""
    more = {**with_traits(part.traits), **with_metadata(part.metadata)}
    if part.error is not None:
        return {
            "type": "tool-output-error",
            "toolCallId": part.call_id,
            "errorText": part.error,
            **more,
        }
    return {
        "type": "tool-output-available",
        "toolCallId": part.call_id,
        "output": part.output,
        **more,
    }


def approval_request(part: ApprovalRequest) -> dict[str, Any]:
    """Return the chunk that has the user asked: one for each call, so it has the call's id."""
    about = {"approvalId": part.call_id, "toolCallId": part.call_id}
    return {"type": "tool-approval-request", **about}


def source(part: Source, source_id: str) -> dict[str, Any]:
    """Return the chunk for a page or a document."""
    if part.url is not None:
        about = {"type": "source-url", "sourceId": source_id, "url": part.url}
        return {**about, **known(title=part.title), **with_metadata(part.metadata)}
    return {
        "type": "source-document",
        "sourceId": source_id,
        "mediaType": part.media_type,
        "title": part.title or "",
        **known(filename=part.file_name),
        **with_metadata(part.metadata),
    }


def data(part: Data) -> dict[str, Any]:
    """Return the chunk for what the application tells beside the answer."""
    identity = {"transient": True} if part.id is None else {"id": part.id}
    return {"type": f"data-{part.name}", **identity, "data": part.data}


def ending(status: str, error: str | None, finish_reason: str | None) -> list[dict[str, Any]]:
    """Return the chunks after a message whose run ended so.

    There is `finish` in any case: without it `WorkflowChatTransport` asks again for ever.
    """
    if status == "stopped":
        return [{"type": "abort"}, {"type": "finish"}]
    if status != "finished":
        failed = {"type": "error", "errorText": error or status}
        return [failed, {"type": "finish", "finishReason": "error"}]
    return [{"type": "finish", **known(finishReason=finish_reason)}]


class UsageSum:
    """The tokens of all calls of the model so far; `before` are those of earlier chunks."""

    def __init__(self, before: Mapping[str, Any] | None = None) -> None:
        self._counts: dict[str, int] = {}
        for name, count in (before or {}).items():
            self._counts |= count if isinstance(count, dict) else {name: count}

    def add(self, usage: Usage) -> None:
        """Count one call, or a part of it."""
        counts = {
            "inputTokens": usage.input,
            "outputTokens": usage.output,
            "totalTokens": _sum(usage.input, usage.output),
            "noCacheTokens": _rest(usage.input, usage.cache_read, usage.cache_write),
            "cacheReadTokens": usage.cache_read,
            "cacheWriteTokens": usage.cache_write,
            "textTokens": None if usage.reasoning is None else _rest(usage.output, usage.reasoning),
            "reasoningTokens": usage.reasoning,
        }
        for name, count in known(**counts).items():
            self._counts[name] = self._counts.get(name, 0) + count

    def chunk(self) -> dict[str, Any]:
        """Return the chunk that tells it, in the shape of the `totalUsage` of `streamText`."""
        counts = dict(self._counts)
        details = {
            group: {name: counts.pop(name) for name in names if name in counts}
            for group, names in DETAILS.items()
        }
        return {"type": "message-metadata", "messageMetadata": {"usage": {**counts, **details}}}


def _sum(*counts: int | None) -> int | None:
    known = [count for count in counts if count is not None]
    return sum(known) if known else None


def _rest(whole: int | None, *parts: int | None) -> int | None:
    return None if whole is None else max(0, whole - sum(part or 0 for part in parts))
