"""`ai-sdk`: the UI message stream of the AI SDK, version 1, over server-sent events."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import msgspec

from headgate.runs.adapters import Adapters
from headgate.runs.adapters.parts import (
    FUNCTION,
    ApprovalRequest,
    Data,
    Done,
    ModelCall,
    ModelEnded,
    Source,
    Text,
    ToolInput,
    ToolOutput,
    ToolTraits,
)
from headgate.runs.adapters.plain import known
from headgate.runs.formats import steps, ui_chunks, ui_protocol
from headgate.runs.formats.contract import KEEP_ALIVE, NotAnItem, named

if TYPE_CHECKING:
    from headgate.records import RunState
    from headgate.runs.adapters.parts import Metadata, Part, Whole
    from headgate.runs.formats.contract import Completion
    from headgate.runs.formats.steps import Chunk

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


class AiSdkWriter:
    """The items are the chunks: as the source gives them, or made of strings and SDK events."""

    def __init__(self, before: AiSdkCompletion | None = None) -> None:
        before = before or AiSdkCompletion()
        self._adapters = Adapters()
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

    def items(self, source_value: object) -> list[object]:
        """Return the chunks for a value of the source."""
        if isinstance(source_value, str):
            return [
                *self._steps.placed(
                    self._chunks(Text(STRINGS, source_value)) if source_value else []
                )
            ]
        parts, value = self._adapters.read(source_value)
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

    def closing(self) -> list[object]:
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
        """Return what is not told piece by piece."""
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


class AiSdkCompletion:
    """Ends what a producer has begun, which the AI SDK would show as still coming."""

    def __init__(self) -> None:
        self.unfinished = steps.Unfinished()
        self.begun = 0  # parts with ids of their own
        self.usage: dict[str, Any] | None = None  # as it was told last
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

    def closing(self) -> list[object]:
        """Return the chunks that end what is open."""
        return [*self.unfinished.closing()]


class AiSdk:
    """The format that the AI SDK's `DefaultChatTransport` and `WorkflowChatTransport` read."""

    name = "ai-sdk"
    media_type = "text/event-stream"
    last = b"data: [DONE]\n\n"
    tells_end = True
    numbers_end = False
    keep_alive = KEEP_ALIVE

    def headers(self, run_id: str, tail: int | None) -> dict[str, str]:
        """Return the fields that the transports read, without a run id that no header can hold."""
        fields = {"x-vercel-ai-ui-message-stream": "v1"}
        if run_id.isascii() and run_id.strip() == run_id:
            fields["x-workflow-run-id"] = run_id
        if tail is not None:
            fields["x-workflow-stream-tail-index"] = str(tail)
        return fields

    def opening(self, run_id: str, message_id: str | None) -> list[object]:
        """Name the message, by its run if not otherwise: a replay is known as the same message."""
        if message_id is None:
            message_id = run_id
        elif not isinstance(message_id, str):
            raise TypeError(f"message_id is a str, not {type(message_id).__name__}")
        elif not message_id:
            raise ValueError("message_id is empty: leave it out for a new message")
        return [{"type": "start", "messageId": message_id}]

    def writer(self, unfinished: Completion | None = None) -> AiSdkWriter:
        """Return a writer for one producer."""
        return AiSdkWriter(unfinished if isinstance(unfinished, AiSdkCompletion) else None)

    def completion(self) -> AiSdkCompletion:
        """Return a completion for a run of one message."""
        return AiSdkCompletion()

    def ending(self, state: RunState, finish_reason: str | None = None) -> list[object]:
        """Return `finish` in any case: without it `WorkflowChatTransport` asks again for ever."""
        if state.status == "stopped":
            return [{"type": "abort"}, {"type": "finish"}]
        if state.status != "finished":
            error = {"type": "error", "errorText": state.error or state.status}
            return [error, {"type": "finish", "finishReason": "error"}]
        return [{"type": "finish", **known(finishReason=finish_reason)}]

    def rendered(self, item: bytes, id: str) -> bytes:  # noqa: A002, ARG002 - chunks bear no ids
        """Return the chunk as an event."""
        return b"data: " + item + b"\n\n"

    def rendered_end(self, state: RunState, id: str) -> bytes:  # noqa: A002, ARG002
        """Return nothing, because the chunks of `ending` state the end already."""
        return b""


def _checked(value: object) -> Chunk:
    """Return a chunk of the source's own; NotAnItem for what clients would throw at."""
    if not isinstance(value, dict) or not isinstance(value.get("type"), str):
        raise NotAnItem(
            "a run in the format ai-sdk takes str, chunks with a type, and events, "
            f"not {named(value)}"
        )
    wrong = ui_protocol.fault(value)
    if wrong is not None:
        raise NotAnItem(wrong)
    return value


def _without_edges(chunk: Chunk) -> list[Chunk]:
    """Return the chunk, but the metadata alone of a start or an end: the run itself tells these."""
    if chunk["type"] not in {"start", "finish"}:
        return [chunk]
    metadata = chunk.get("messageMetadata")
    return [] if metadata is None else [{"type": "message-metadata", "messageMetadata": metadata}]
