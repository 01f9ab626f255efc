"""Chunks of the AI SDK's UI message stream, made of what models and applications give."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from headgate.dialects.parts import (
    FUNCTION,
    ApprovalRequest,
    Data,
    Done,
    ModelCall,
    ModelEnded,
    NotAnItem,
    Source,
    Text,
    ToolDenied,
    ToolInput,
    ToolOutput,
    ToolTraits,
    described,
    known,
)
from headgate.dialects.source_reader import SourceReader
from headgate.ui_stream import protocol
from headgate.ui_stream.steps import EDGES, RESET, START, Steps

if TYPE_CHECKING:
    from headgate.dialects.parts import Metadata, Part, Whole
    from headgate.dialects.progress import Usage
    from headgate.ui_stream.steps import Chunk

STRINGS = "text"  # what strings of the source are pieces of


@dataclass(slots=True)
class _Open:
    """A part that has begun; a tool's input is gathered, since its end tells the whole."""

    kind: str
    id: str
    tool: str = ""
    traits: ToolTraits = FUNCTION
    metadata: Metadata | None = None
    input: list[str] = field(default_factory=list)


class ChunkWriter:
    """The items are the chunks: as the source gives them, or made of strings and SDK events.

    `steps` has what an older producer of the message has left.
    """

    def __init__(self, steps: Steps | None = None) -> None:
        self._reader = SourceReader()
        self._steps = steps or Steps()
        self._left = [*self._steps.open_texts]  # by an older producer
        self._open: dict[str, _Open] = {}
        self._begun = self._steps.begun
        self._usage = self._steps.usage
        self._finish_reason: str | None = None

    @property
    def finish_reason(self) -> str | None:
        """The reason why the model stopped, from its events or the source's own `finish` chunk."""
        return self._finish_reason

    def items(self, source_value: object) -> list[Any]:
        """Return the chunks for a value of the source."""
        if isinstance(source_value, str):
            chunks = self._text(Text(STRINGS, source_value)) if source_value else []
            return [*self._steps.placed(chunks)]
        parts, value = self._reader.read(source_value)
        if parts is None:
            return [*self._steps.placed(self._own(value, source_value))]
        chunks = self._done(Done(STRINGS))
        chunks += [chunk for part in parts for chunk in self._chunks(part)]
        return [*self._steps.placed(chunks)]

    def closing(self) -> list[Any]:
        """Return the ends of open texts and of the step; an incomplete tool call gets none."""
        return [*self._steps.closing()]

    def _own(self, value: object, source_value: object) -> list[Chunk]:
        """Return a chunk of the source, with the ends of what it ends."""
        if value == protocol.DONE:
            return []  # the run itself ends the stream
        chunk = _checked(value, source_value)
        self._steps.check(chunk)  # nothing counts as ended by what is refused
        type_ = chunk["type"]
        self._finish_reason = chunk.get("finishReason") or self._finish_reason
        if type_ == RESET:
            self._open.clear()
        if type_ == RESET or type_ in EDGES:
            self._left.clear()
        ends = self._text_ends() if type_ in EDGES else self._done(Done(STRINGS))
        if type_ not in {"start", "finish"}:
            return [*ends, chunk]
        # Of a start or an end the metadata alone: the run itself writes these chunks.
        metadata = chunk.get("messageMetadata")
        own = {"type": "message-metadata", "messageMetadata": metadata}
        return ends if metadata is None else [*ends, own]

    def _chunks(self, part: Part) -> list[Chunk]:
        if isinstance(part, ModelCall):
            self._left.clear()  # the step of an older producer ends
            return [*self._text_ends(), START]
        if isinstance(part, Done):
            return self._done(part)
        if isinstance(part, Text):
            return self._text(part)
        return self._tool(part) if isinstance(part, ToolInput) else self._whole(part)

    def _whole(self, part: Whole) -> list[Chunk]:
        """Return the chunks for a part that comes at once."""
        if isinstance(part, ModelEnded):
            self._finish_reason = part.reason or self._finish_reason
            if part.usage is None:
                return []
            self._usage = _added(self._usage, _counts(part.usage))
            return [{"type": "message-metadata", "messageMetadata": {"usage": self._usage}}]
        if isinstance(part, Data):
            identity = {} if part.id is None else {"id": part.id}
            about = identity if identity or part.is_kept else {"transient": True}
            return [{"type": f"data-{part.name}", **about, "data": part.data}]
        if isinstance(part, ApprovalRequest | ToolDenied | ToolOutput):
            return [_of_call(part)]
        self._begun += 1
        return [_source(part, f"source-{self._begun}")]

    def _text_ends(self) -> list[Chunk]:
        """End what is open but calls of tools; what goes on all the same begins another part."""
        texts = [key for key, part in self._open.items() if part.kind != "tool"]
        return [chunk for key in texts for chunk in self._ended(key)]

    def _done(self, part: Done) -> list[Chunk]:
        done = [key for key in self._open if key == part.id or key.startswith(f"{part.id}/")]
        return [chunk for key in done for chunk in self._ended(key, part.metadata)]

    def _text(self, part: Text) -> list[Chunk]:
        chunks: list[Chunk] = []
        opened = self._open.get(part.id)
        if opened is None and (left := self._left_by_older(part.kind)) is not None:
            opened = self._open[part.id] = _Open(part.kind, left, metadata=part.metadata)
        if opened is None:
            self._begun += 1
            opened = self._open[part.id] = _Open(part.kind, f"{part.kind}-{self._begun}")
            opened.metadata = part.metadata
            metadata = known(providerMetadata=part.metadata)
            chunks.append({"type": f"{part.kind}-start", "id": opened.id, **metadata})
        metadata = {}
        if part.metadata not in (None, opened.metadata):
            opened.metadata = part.metadata
            metadata = known(providerMetadata=part.metadata)
        if part.delta or metadata:
            delta = {"id": opened.id, "delta": part.delta, **metadata}
            chunks.append({"type": f"{opened.kind}-delta", **delta})
        return chunks

    def _left_by_older(self, kind: str) -> str | None:
        """Return the id of a part that an older producer has left open, for this one to go on."""
        for part in self._left:
            if part[0] == kind and part in self._steps.open_texts:
                self._left.remove(part)
                return part[1]
        return None

    def _tool(self, part: ToolInput) -> list[Chunk]:
        chunks: list[Chunk] = []
        opened = self._open.get(part.id)
        if opened is None:
            opened = self._open[part.id] = _Open("tool", part.call_id, part.name, part.traits)
            call = {"toolCallId": part.call_id, "toolName": part.name}
            if part.traits.is_text:
                call["inputEncoding"] = "text"
            call |= _traits(part.traits) | known(providerMetadata=part.metadata)
            chunks.append({"type": "tool-input-start", **call})
        if part.delta:
            opened.input.append(part.delta)
            delta = {"toolCallId": opened.id, "inputTextDelta": part.delta}
            chunks.append({"type": "tool-input-delta", **delta})
        return chunks

    def _ended(self, key: str, metadata: Metadata | None = None) -> list[Chunk]:
        part = self._open.pop(key)
        more = known(providerMetadata=metadata)
        if part.kind != "tool":
            return [{"type": f"{part.kind}-end", "id": part.id, **more}]
        call = {"toolCallId": part.id, "toolName": part.tool}
        more.update(_traits(part.traits))
        text = "".join(part.input)
        try:
            value = text if part.traits.is_text else json.loads(text or "{}")
        except ValueError:
            error = {"input": text, "errorText": "the input of the tool is not JSON"}
            return [{"type": "tool-input-error", **call, **error, **more}]
        return [{"type": "tool-input-available", **call, "input": value, **more}]


def _traits(traits: ToolTraits) -> dict[str, Any]:
    """Return the fields that say what is special about a tool."""
    return known(
        providerExecuted=traits.is_executed or None,
        dynamic=traits.is_dynamic or None,
    )


def _of_call(part: ApprovalRequest | ToolDenied | ToolOutput) -> Chunk:
    """Return what becomes of a call whose input is whole."""
    call = {"toolCallId": part.call_id}
    if isinstance(part, ApprovalRequest):  # one for each call, so it has the call's id
        return {"type": "tool-approval-request", "approvalId": part.call_id, **call}
    if isinstance(part, ToolDenied):
        return {"type": "tool-output-denied", **call}
    more = {**_traits(part.traits), **known(providerMetadata=part.metadata)}
    if part.error is not None:
        return {"type": "tool-output-error", **call, "errorText": part.error, **more}
    return {"type": "tool-output-available", **call, "output": part.output, **more}


def _source(part: Source, source_id: str) -> Chunk:
    id_, metadata = {"sourceId": source_id}, known(providerMetadata=part.metadata)
    if part.url is not None:
        return {"type": "source-url", **id_, "url": part.url, **known(title=part.title), **metadata}
    about = {"mediaType": part.media_type, "title": part.title or ""}
    return {"type": "source-document", **id_, **about, **known(filename=part.file_name), **metadata}


def _counts(usage: Usage) -> dict[str, Any]:
    """Return the tokens of a call of the model in the shape of `streamText`'s `totalUsage`."""
    both = [count for count in (usage.input, usage.output) if count is not None]
    text = None if usage.reasoning is None else _rest(usage.output, usage.reasoning)
    return {
        **known(inputTokens=usage.input, outputTokens=usage.output),
        **known(totalTokens=sum(both) if both else None),
        "inputTokenDetails": known(
            noCacheTokens=_rest(usage.input, usage.cache_read, usage.cache_write),
            cacheReadTokens=usage.cache_read,
            cacheWriteTokens=usage.cache_write,
        ),
        "outputTokenDetails": known(textTokens=text, reasoningTokens=usage.reasoning),
    }


def _rest(whole: int | None, *parts: int | None) -> int | None:
    return None if whole is None else max(0, whole - sum(part or 0 for part in parts))


def _added(counts: dict[str, Any], more: dict[str, Any]) -> dict[str, Any]:
    """Return the sums of counts, and of those in them."""
    return counts | {
        name: _added(counts.get(name, {}), count)
        if isinstance(count, dict)
        else counts.get(name, 0) + count
        for name, count in more.items()
    }


def _checked(value: object, source_value: object) -> Chunk:
    """Return a chunk of the source's own; NotAnItem for what clients would throw at."""
    if not isinstance(value, dict) or not isinstance(value.get("type"), str):
        raise NotAnItem(
            "a run in the format ai-sdk takes str, chunks with a type, and events of SDKs "
            f"(docs/client/runs.md), not {described(source_value)}"
        )
    chunk = protocol.without_nulls(value)
    wrong = protocol.fault(chunk)
    if wrong is not None:
        raise NotAnItem(wrong)
    return chunk


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
