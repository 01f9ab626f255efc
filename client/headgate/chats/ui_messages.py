"""UI messages of the AI SDK, which pages make of the chunks of runs, and can be sent as chunks."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import msgspec

from headgate import following
from headgate.errors import ProtocolError
from headgate.events import written
from headgate.names import BEGINNING
from headgate.ui_stream.protocol import DATA
from headgate.ui_stream.steps import TEXTS

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterator, Mapping

    from headgate.runs.answer import Answer
    from headgate.stream_requests import StreamRequests

    Part = dict[str, Any]
    Chunk = dict[str, Any]

CHUNKS_AT_ONCE = 1000  # until other work has its turn: some servers send a whole stream at once
# The number of chunks after the first one that are not the run's: a client that counts those of
# the run, to go on by `startIndex`, leaves them out.
EARLIER_CHUNKS = "x-headgate-earlier-chunks"
STEP = "step-start"
DYNAMIC = "dynamic-tool"
# Chunks that are parts of the message as they are.
WHOLE = {
    *("file", "reasoning-file", "source-url", "source-document"),
    *("custom", "steering-message"),
}
ABOUT = {"start", "finish", "message-metadata"}
# The states of a call of a tool, by the chunks that bring it there.
STATES = {
    "tool-input-start": "input-streaming",
    "tool-input-available": "input-available",
    "tool-input-error": "output-error",
    "tool-approval-request": "approval-requested",
    "tool-output-available": "output-available",
    "tool-output-error": "output-error",
    "tool-output-denied": "output-denied",
}
INPUT = ("input", "rawInput")
RESULT = ("output", "errorText", "preliminary")
LASTING = ("title", "toolMetadata", "providerExecuted")  # of a call in all of its states

_decoder = msgspec.json.Decoder(list[dict[str, Any]])


class UiMessage:
    """A message that chunks make one after the other, as `readUIMessageStream` of the AI SDK does.

    It begins empty, or as a copy of the `message` that the chunks go on with. A call of a tool is
    part of it once its input is whole.
    """

    def __init__(self, id_: str, message: Mapping[str, Any] | None = None) -> None:
        earlier = message or {}
        self._id = id_
        self._metadata: object = earlier.get("metadata")
        self._parts: list[Part] = [{**part} for part in earlier.get("parts", ())]
        self._texts: dict[tuple[str, str], Part] = {}  # that have not ended

    def take(self, chunk: Chunk) -> None:
        """Add what a chunk says; one that fits to nothing adds nothing."""
        type_ = chunk["type"]
        kind, _, edge = type_.rpartition("-")
        if type_ in STATES:
            self._take_call(chunk)
        elif type_ in WHOLE:
            self._parts.append(dict(chunk))
        elif kind in TEXTS:
            self._take_text(kind, edge, chunk)
        elif type_.startswith(DATA):
            self._take_data(chunk)
        elif type_ in ABOUT:
            self._id = chunk.get("messageId") or self._id
            self._metadata = _merged(self._metadata, chunk.get("messageMetadata", self._metadata))
        elif type_ == "start-step":
            self._parts.append({"type": STEP})
        elif type_ == "reset-step":
            del self._parts[self._step_start() :]
            self._texts.clear()

    def message(self) -> dict[str, Any]:
        """Return the message as it is by now."""
        about = {} if self._metadata is None else {"metadata": self._metadata}
        parts = [
            {**part, "text": "".join(part["text"])} if part["type"] in TEXTS else part
            for part in self._parts
            if part.get("state") != STATES["tool-input-start"]
        ]
        return {"id": self._id, **about, "role": "assistant", "parts": parts}

    def _step_start(self) -> int:
        """Return the index of the first part of the step under way."""
        start = len(self._parts)
        while start and self._parts[start - 1]["type"] != STEP:
            start -= 1
        return start

    def _take_text(self, kind: str, edge: str, chunk: Chunk) -> None:
        key = (kind, chunk["id"])
        if edge == "start":
            named = {"id": chunk["id"]} if kind == "reasoning" else {}
            self._texts[key] = {"type": kind, **named, "text": [], "state": "streaming"}
            self._parts.append(self._texts[key])
        part = self._texts.get(key)
        if part is None:
            return
        part.update(_known(chunk, "providerMetadata"))
        part["text"].append(chunk.get("delta", ""))
        if edge == "end":
            part["state"] = "done"
            del self._texts[key]

    def _take_data(self, chunk: Chunk) -> None:
        """Add data of the application, in place of that with the same id; records are transient."""
        if chunk.get("transient"):
            return
        for part in self._parts:
            if "id" in chunk and (part["type"], part.get("id")) == (chunk["type"], chunk["id"]):
                part["data"] = chunk.get("data")
                return
        self._parts.append(dict(chunk))

    def _take_call(self, chunk: Chunk) -> None:
        part = self._call(chunk)
        if part is None:
            return
        type_ = chunk["type"]
        part["state"] = STATES[type_]
        if type_ == "tool-approval-request":
            part["approval"] = {"id": chunk["approvalId"], **_known(chunk, "signature")}
        elif type_ != "tool-output-denied":
            dropped = RESULT if type_.startswith("tool-output") else (*INPUT, *RESULT)
            for name in dropped:
                part.pop(name, None)
            part.update(_known(chunk, *INPUT, *RESULT, *LASTING))
            if type_ == "tool-input-error" and part["type"] != DYNAMIC:
                part["rawInput"] = part.pop("input", None)
            if "providerMetadata" in chunk:
                of = "result" if part["state"].startswith("output") else "call"
                part[f"{of}ProviderMetadata"] = chunk["providerMetadata"]

    def _call(self, chunk: Chunk) -> Part | None:
        """Return the part of a call, which is new where its input begins in the step under way."""
        is_input = chunk["type"].startswith("tool-input")
        first = self._step_start() if is_input else 0
        for part in reversed(self._parts[first:]):
            if part.get("toolCallId") == chunk["toolCallId"]:
                return part
        if not is_input:
            return None
        name = chunk["toolName"]
        kind = (
            {"type": DYNAMIC, "toolName": name}
            if chunk.get("dynamic")
            else {"type": f"tool-{name}"}
        )
        self._parts.append({**kind, "toolCallId": chunk["toolCallId"]})
        return self._parts[-1]


def _merged(old: object, new: object) -> object:
    """Return metadata with what is new in it, object by object."""
    if isinstance(old, dict) and isinstance(new, dict):
        return {**old, **{name: _merged(old.get(name), new[name]) for name in new}}
    return new


def _known(fields: Mapping[str, Any], *names: str) -> dict[str, Any]:
    """Return the fields of these names that are there; JSON has no undefined ones."""
    return {name: fields[name] for name in names if name in fields}


async def read_message(
    run: StreamRequests, id_: str, message: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Return the message of the stream of a run in the format `ai-sdk`, as far as it is written.

    `message` is the one that the run goes on with. Raises ABSENT where there is no such run.
    """
    made, seen = UiMessage(id_, message), 0
    async with aclosing(following.catch_up(run, BEGINNING)) as batches:
        async for _, batch in batches:
            for chunk in (chunk for body in batch.bodies for chunk in _chunks(body)):
                made.take(chunk)
                seen += 1
                if seen % CHUNKS_AT_ONCE == 0:
                    await asyncio.sleep(0)
    return made.message()


def _chunks(body: bytes) -> list[Chunk]:
    try:
        return _decoder.decode(body)
    except msgspec.DecodeError as error:
        raise ProtocolError("this run is not in the format ai-sdk") from error


def continued(answer: Answer, message: Mapping[str, Any]) -> Answer:
    """Return the answer of a run, from its beginning, with the message that it goes on with.

    The run holds only what is new in the message. The page that asked for it has the rest; one that
    is loaded anew takes what it is sent for the whole message. It does not get what the user has
    said to an approval request, for which version 6 of the AI SDK has no chunk: until the tool has
    answered, its call looks as one that is under way.
    """
    chunks: list[Chunk] = []
    if "metadata" in message:
        chunks.append({"type": "message-metadata", "messageMetadata": message["metadata"]})
    for number, part in enumerate(message["parts"]):
        chunks += _chunks_of(part, f"earlier-{number}")
    events = b"".join(written(msgspec.json.encode(chunk)) for chunk in chunks)
    headers = {**answer.headers, EARLIER_CHUNKS: str(len(chunks))}
    return replace(answer, headers=headers, body=_inserted(answer.body, events))


async def _inserted(body: AsyncGenerator[bytes], events: bytes) -> AsyncGenerator[bytes]:
    """Send the events after the first one of the body, which names the message."""
    async with aclosing(body):
        async for data in body:
            if events and data.startswith(b"data:"):
                first, end, rest = data.partition(b"\n\n")
                data, events = first + end + events + rest, b""
            yield data


def _chunks_of(part: Part, id_: str) -> Iterator[Chunk]:
    """Yield chunks of which a page makes a part."""
    type_, metadata = part["type"], _known(part, "providerMetadata")
    if type_ == STEP:
        yield {"type": "start-step"}
    elif type_ in TEXTS:
        about = {"id": part.get("id", id_)}
        yield {"type": f"{type_}-start", **about, **metadata}
        yield {"type": f"{type_}-delta", **about, "delta": part["text"]}
        yield {"type": f"{type_}-end", **about}
    elif "toolCallId" in part:
        yield from _chunks_of_call(part)
    else:
        yield part


def _chunks_of_call(part: Part) -> Iterator[Chunk]:
    """Yield the call, whether the user was asked about it, and what the tool has answered."""
    name = part.get("toolName") or part["type"].removeprefix("tool-")
    state = part["state"]
    id_ = {"toolCallId": part["toolCallId"]}
    about = {**id_, "toolName": name, **_known(part, *LASTING)}
    if part["type"] == DYNAMIC:
        about["dynamic"] = True
    of_call = _metadata(part, "call")
    if state == "output-error" and "rawInput" in part:
        wrong = {"input": part["rawInput"], "errorText": part["errorText"]}
        yield {"type": "tool-input-start", **about, **of_call}
        yield {"type": "tool-input-error", **about, **wrong, **_metadata(part, "result")}
        return
    about.update(of_call)
    if state == "output-available":
        # A page calls its own tools at each `tool-input-available`, also at one that is old.
        yield {"type": "tool-input-start", **about}
        text = msgspec.json.encode(part.get("input")).decode()
        yield {"type": "tool-input-delta", **id_, "inputTextDelta": text}
    else:
        yield {"type": "tool-input-available", **about, "input": part.get("input")}
    # A user that has decided is not asked again.
    if "approval" in part and state != "approval-responded":
        asked = {"approvalId": part["approval"]["id"], **_known(part["approval"], "signature")}
        yield {"type": "tool-approval-request", **id_, **asked}
    if state.startswith("output-"):
        yield {"type": f"tool-{state}", **id_, **_known(part, *RESULT), **_metadata(part, "result")}


def _metadata(part: Part, of: str) -> dict[str, Any]:
    name = f"{of}ProviderMetadata"
    return {"providerMetadata": part[name]} if name in part else {}
