"""Chunks of the AI SDK's UI message stream, made of what models and applications give."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import msgspec

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
    ToolInput,
    ToolOutput,
    ToolTraits,
    described,
)
from headgate.dialects.source_reader import SourceReader
from headgate.ui_stream import chunks as ui_chunks
from headgate.ui_stream import protocol, steps

if TYPE_CHECKING:
    from headgate.dialects.parts import Metadata, Part, Whole
    from headgate.ui_stream.steps import Chunk

STRINGS = "text"  # what strings of the source are pieces of
# Chunks whose ids are numbered here.
NUMBERED = {"text-start", "reasoning-start", "source-url", "source-document"}


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
    """The items are the chunks: as the source gives them, or made of strings and SDK events."""

    def __init__(self, before: UnfinishedChunks | None = None) -> None:
        before = before or UnfinishedChunks()
        self._reader = SourceReader()
        self._steps = steps.Steps(before.unfinished)
        self._open_parts = [*before.unfinished.parts]  # open parts of an older producer
        self._open: dict[str, _Open] = {}
        self._begun = before.begun
        self._usage = ui_chunks.UsageSum(before.usage)
        self._finish_reason: str | None = None

    @property
    def finish_reason(self) -> str | None:
        """The reason why the model stopped, from its events or the source's own `finish` chunk."""
        return self._finish_reason

    def items(self, source_value: object) -> list[Any]:
        """Return the chunks for a value of the source."""
        if isinstance(source_value, str):
            return [
                *self._steps.placed(
                    self._chunks(Text(STRINGS, source_value)) if source_value else []
                )
            ]
        parts, value = self._reader.read(source_value)
        # Nothing counts as ended by what is refused.
        own: list[Chunk] = []
        if parts is None:
            chunk = _checked(value)
            self._steps.check(chunk)
            self._finish_reason = chunk.get("finishReason") or self._finish_reason
            own = _without_edges(chunk)
            if chunk["type"] == steps.RESET:
                self._open.clear()
            if chunk["type"] in {steps.RESET, *steps.EDGES}:
                self._open_parts.clear()
        is_edge = any(chunk["type"] in steps.EDGES for chunk in own)
        chunks = self._text_ends() if is_edge else self._chunks(Done(STRINGS))
        chunks += [*own, *(chunk for part in parts or () for chunk in self._chunks(part))]
        return [*self._steps.placed(chunks)]

    def closing(self) -> list[Any]:
        """Return the ends of open texts and of the step; an incomplete tool call gets none."""
        return [*self._steps.closing()]

    def _chunks(self, part: Part) -> list[Chunk]:
        if isinstance(part, ModelCall):
            self._open_parts.clear()  # the step of an older producer ends
            return [*self._text_ends(), steps.START]
        if isinstance(part, Done):
            below = f"{part.id}/"
            done = [key for key in self._open if key == part.id or key.startswith(below)]
            return [chunk for key in done for chunk in self._ended(key, part.metadata)]
        if isinstance(part, Text):
            return self._text(part)
        return self._tool(part) if isinstance(part, ToolInput) else self._whole(part)

    def _whole(self, part: Whole) -> list[Chunk]:
        """Return the chunks for a part that comes at once."""
        if isinstance(part, Data):
            return [ui_chunks.data(part)]
        if isinstance(part, ApprovalRequest):
            return [ui_chunks.approval_request(part)]
        if isinstance(part, ToolOutput):
            return [ui_chunks.tool_output(part)]
        if isinstance(part, Source):
            self._begun += 1
            return [ui_chunks.source(part, f"source-{self._begun}")]
        return self._model_ended(part)

    def _model_ended(self, part: ModelEnded) -> list[Chunk]:
        self._finish_reason = part.reason or self._finish_reason
        if part.usage is None:
            return []
        self._usage.add(part.usage)
        return [self._usage.chunk()]

    def _text_ends(self) -> list[Chunk]:
        """End what is open but calls of tools; what goes on all the same begins another part."""
        texts = [key for key, part in self._open.items() if part.kind != "tool"]
        return [chunk for key in texts for chunk in self._ended(key)]

    def _text(self, part: Text) -> list[Chunk]:
        chunks: list[Chunk] = []
        known = self._open.get(part.id)
        if known is None and (left := self._part_left(part.kind)) is not None:
            known = self._open[part.id] = _Open(part.kind, left, metadata=part.metadata)
        if known is None:
            self._begun += 1
            known = self._open[part.id] = _Open(part.kind, f"{part.kind}-{self._begun}")
            known.metadata = part.metadata
            metadata = ui_chunks.with_metadata(part.metadata)
            chunks.append({"type": f"{part.kind}-start", "id": known.id, **metadata})
        metadata = {}
        if part.metadata not in (None, known.metadata):
            known.metadata = part.metadata
            metadata = ui_chunks.with_metadata(part.metadata)
        if part.delta or metadata:
            delta = {"id": known.id, "delta": part.delta, **metadata}
            chunks.append({"type": f"{known.kind}-delta", **delta})
        return chunks

    def _part_left(self, kind: str) -> str | None:
        """Return the id of a part that an older producer has left open, for this one to go on."""
        for part in self._open_parts:
            if part[0] == kind and part in self._steps.open_parts:
                self._open_parts.remove(part)
                return part[1]
        return None

    def _tool(self, part: ToolInput) -> list[Chunk]:
        chunks: list[Chunk] = []
        known = self._open.get(part.id)
        if known is None:
            known = self._open[part.id] = _Open("tool", part.call_id, part.name, part.traits)
            call = {"toolCallId": part.call_id, "toolName": part.name}
            if part.traits.is_text:
                call["inputEncoding"] = "text"
            call |= ui_chunks.with_traits(part.traits) | ui_chunks.with_metadata(part.metadata)
            chunks.append({"type": "tool-input-start", **call})
        if part.delta:
            known.input.append(part.delta)
            delta = {"toolCallId": known.id, "inputTextDelta": part.delta}
            chunks.append({"type": "tool-input-delta", **delta})
        return chunks

    def _ended(self, key: str, metadata: Metadata | None = None) -> list[Chunk]:
        part = self._open.pop(key)
        more = ui_chunks.with_metadata(metadata)
        if part.kind != "tool":
            return [{"type": f"{part.kind}-end", "id": part.id, **more}]
        call = {"toolCallId": part.id, "toolName": part.tool}
        more.update(ui_chunks.with_traits(part.traits))
        text = "".join(part.input)
        try:
            value = text if part.traits.is_text else json.loads(text or "{}")
        except ValueError:
            error = {"input": text, "errorText": "the input of the tool is not JSON"}
            return [{"type": "tool-input-error", **call, **error, **more}]
        return [{"type": "tool-input-available", **call, "input": value, **more}]


class _Begun(msgspec.Struct):
    """The fields of a stored chunk that decide whether something is open."""

    type: str = ""
    id: str = ""
    messageMetadata: Any = None  # noqa: N815 - as the AI SDK has it


class UnfinishedChunks:
    """Ends what a producer has begun, which the AI SDK would show as still coming."""

    def __init__(self) -> None:
        self.unfinished = steps.Unfinished()
        self.begun = 0  # parts with ids of their own
        self.usage: dict[str, Any] | None = None  # as the last chunk with counts has it
        self._decoder = msgspec.json.Decoder(_Begun)

    def take(self, item: bytes) -> None:
        """Remember what begins, until it ends."""
        try:
            chunk = self._decoder.decode(item)
        except msgspec.DecodeError:
            return  # none that begins anything
        self.unfinished.take(chunk.type, chunk.id)
        self.begun += chunk.type in NUMBERED
        if isinstance(chunk.messageMetadata, dict):
            usage = chunk.messageMetadata.get("usage")
            self.usage = usage if isinstance(usage, dict) else self.usage

    def closing(self) -> list[Any]:
        """Return the chunks that end what is open."""
        return [*self.unfinished.closing()]


def _checked(value: object) -> Chunk:
    """Return a chunk of the source's own; NotAnItem for what clients would throw at."""
    if not isinstance(value, dict) or not isinstance(value.get("type"), str):
        raise NotAnItem(
            "a run in the format ai-sdk takes str, chunks with a type, and events, "
            f"not {described(value)}"
        )
    wrong = protocol.fault(value)
    if wrong is not None:
        raise NotAnItem(wrong)
    return value


def _without_edges(chunk: Chunk) -> list[Chunk]:
    """Return the chunk, but the metadata alone of a start or an end: the run itself tells these."""
    if chunk["type"] not in {"start", "finish"}:
        return [chunk]
    metadata = chunk.get("messageMetadata")
    return [] if metadata is None else [{"type": "message-metadata", "messageMetadata": metadata}]
