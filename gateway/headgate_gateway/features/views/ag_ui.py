"""Events of AG-UI 1.0, made of the chunks of a UI message stream."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from collections.abc import Callable

    from headgate_gateway.features.views.answer_chunks import Chunk

# Chunks that AG-UI has no event for, and that an application may want: they become CUSTOM events.
PASSED_ON = frozenset(
    {
        *("source-url", "source-document", "file", "reasoning-file", "custom"),
        *("tool-approval-request", "tool-output-denied"),
    }
)


class AgUiEvents:
    """The events for one stream's chunks, valid under `verifyEvents` whatever the chunks are.

    An answer is a run, whose id is that of its message.
    """

    def __init__(self, thread: str) -> None:
        self._thread = thread
        self._run: str | None = None  # while one is open
        self._parent = ""  # the message that calls of tools belong to
        self._open: dict[tuple[str, str], None] = {}  # by kind and id
        self._called: set[str] = set()
        self._usage: object = None
        self._is_aborted = False
        self._made_of: dict[str, Callable[[Chunk], list[Chunk]]] = {
            "text-start": lambda chunk: self._start_part("text", chunk),
            "text-delta": lambda chunk: self._delta("text", chunk),
            "text-end": lambda chunk: self._end("text", self._part(chunk)),
            "reasoning-start": lambda chunk: self._start_part("reasoning", chunk),
            "reasoning-delta": lambda chunk: self._delta("reasoning", chunk),
            "reasoning-end": lambda chunk: self._end("reasoning", self._part(chunk)),
            "tool-input-start": self._call,
            "tool-input-delta": self._arguments,
            "tool-input-available": self._called_with,
            "tool-input-error": self._called_with,
            "tool-output-available": lambda chunk: self._result(chunk, chunk.get("output")),
            "tool-output-error": lambda chunk: self._result(chunk, chunk.get("errorText")),
            "message-metadata": self._metadata,
            "error": self._failed,
            "abort": self._aborted,
            "finish": self._finished,
        }

    def events(self, chunk: Chunk) -> list[Chunk]:
        """Return the events for a chunk; steps and unknown chunks have none."""
        type_ = chunk["type"]
        if type_ == "start":
            return self._started(chunk)
        if self._run is None:
            return []
        if type_ in PASSED_ON or type_.startswith("data-"):
            return [{"type": "CUSTOM", "name": type_, "value": chunk}]
        made_of = self._made_of.get(type_)
        return [] if made_of is None else made_of(chunk)

    # The run

    def _started(self, chunk: Chunk) -> list[Chunk]:
        if self._run is not None:
            return []
        self._run = self._parent = chunk["messageId"]
        self._usage, self._is_aborted = None, False
        self._called.clear()
        return [{"type": "RUN_STARTED", **self._ids()}]

    def _finished(self, chunk: Chunk) -> list[Chunk]:
        ends = [event for kind, id_ in [*self._open] for event in self._end(kind, id_)]
        finished = {"type": "RUN_FINISHED", **self._ids()}
        if self._is_aborted:
            finished["outcome"] = {"type": "cancelled"}
        else:
            result = {"finishReason": chunk.get("finishReason"), "usage": self._usage}
            finished["result"] = {key: value for key, value in result.items() if value is not None}
        self._run = None
        return [*ends, finished]

    def _failed(self, chunk: Chunk) -> list[Chunk]:
        self._open.clear()
        self._run = None  # nothing may follow but another run
        return [{"type": "RUN_ERROR", "message": chunk["errorText"]}]

    def _aborted(self, _chunk: Chunk) -> list[Chunk]:
        self._is_aborted = True
        return []

    def _metadata(self, chunk: Chunk) -> list[Chunk]:
        metadata = chunk.get("messageMetadata")
        self._usage = metadata.get("usage") if isinstance(metadata, dict) else None
        return []

    def _ids(self) -> dict[str, Any]:
        return {"threadId": self._thread, "runId": self._run}

    # Texts and reasoning

    def _part(self, chunk: Chunk) -> str:
        return f"{self._run}:{chunk['id']}"

    def _start_part(self, kind: str, chunk: Chunk) -> list[Chunk]:
        id_ = self._part(chunk)
        ends = self._end(kind, id_)
        self._open[kind, id_] = None
        if kind == "text":
            self._parent = id_
            return [*ends, {"type": "TEXT_MESSAGE_START", "messageId": id_, "role": "assistant"}]
        message = {"type": "REASONING_MESSAGE_START", "messageId": id_, "role": "reasoning"}
        return [*ends, {"type": "REASONING_START", "messageId": id_}, message]

    def _delta(self, kind: str, chunk: Chunk) -> list[Chunk]:
        id_ = self._part(chunk)
        if (kind, id_) not in self._open or not chunk["delta"]:
            return []
        type_ = "TEXT_MESSAGE_CONTENT" if kind == "text" else "REASONING_MESSAGE_CONTENT"
        return [{"type": type_, "messageId": id_, "delta": chunk["delta"]}]

    def _end(self, kind: str, id_: str) -> list[Chunk]:
        """Return the end of what is open; nothing for what is not."""
        if (kind, id_) not in self._open:
            return []
        del self._open[kind, id_]
        if kind == "call":
            return [{"type": "TOOL_CALL_END", "toolCallId": id_}]
        if kind == "text":
            return [{"type": "TEXT_MESSAGE_END", "messageId": id_}]
        types = "REASONING_MESSAGE_END", "REASONING_END"
        return [{"type": type_, "messageId": id_} for type_ in types]

    # Calls of tools

    def _call(self, chunk: Chunk) -> list[Chunk]:
        id_ = chunk["toolCallId"]
        ends = self._end("call", id_)
        self._open["call", id_] = None
        self._called.add(id_)
        about = {"toolCallName": chunk["toolName"], "parentMessageId": self._parent}
        return [*ends, {"type": "TOOL_CALL_START", "toolCallId": id_, **about}]

    def _arguments(self, chunk: Chunk) -> list[Chunk]:
        id_, delta = chunk["toolCallId"], chunk["inputTextDelta"]
        if ("call", id_) not in self._open or not delta:
            return []
        return [{"type": "TOOL_CALL_ARGS", "toolCallId": id_, "delta": delta}]

    def _called_with(self, chunk: Chunk) -> list[Chunk]:
        """Return the end of a call, and all of it if its input did not come in pieces."""
        id_ = chunk["toolCallId"]
        if id_ in self._called:
            return self._end("call", id_)
        text = _text(chunk.get("input"))
        arguments = {"type": "TOOL_CALL_ARGS", "toolCallId": id_, "delta": text}
        return [*self._call(chunk), arguments, *self._end("call", id_)]

    def _result(self, chunk: Chunk, output: object) -> list[Chunk]:
        if chunk.get("preliminary"):
            return []  # another one replaces it
        id_ = chunk["toolCallId"]
        about = {"messageId": f"{self._run}:{id_}:result", "toolCallId": id_, "role": "tool"}
        result = {"type": "TOOL_CALL_RESULT", **about, "content": _text(output)}
        return [*self._end("call", id_), result]


def _text(value: object) -> str:
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()
