"""UI messages of the AI SDK that a run goes on with, for readers who come later.

A run that goes on with a message holds only what is new in it. The page that asked for it has the
rest; one that is loaded anew takes what it is sent for the whole message.
"""

from __future__ import annotations

import itertools
from contextlib import aclosing
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import msgspec

from headgate.events import written
from headgate.runs.ui_assembly import COPIED
from headgate.runs.ui_calls import known
from headgate.ui_stream import protocol, steps

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterable, Iterator, Mapping

    from headgate.runs.answer import Answer
    from headgate.ui_stream.steps import Chunk

EVENT_END = b"\n\n"
# How many chunks behind the first one are none of the run's: whoever counts those of the run in
# order to go on by `startIndex` leaves them out.
EARLIER_CHUNKS = "x-headgate-earlier-chunks"
TEXTS = {"text", "reasoning"}
TOOL_FIELDS = ("toolCallId", "dynamic", "providerExecuted", "title", "toolMetadata")


def continued(answer: Answer, message: Mapping[str, Any]) -> Answer:
    """Return the answer of a run that goes on with a message, with what the message held before.

    Args:
        answer: What `runs.follow(run_id)` gave, from the beginning of the run.
        message: The last message that the page sent when the run was started.

    What the user has said to an approval request is not told: version 6 of the AI SDK has no chunk
    for it. Until the tool has answered, its call looks as one that is under way.

    Returns:
        The answer itself where the message is not the assistant's.

    Raises:
        ValueError: A part of the message is none of the AI SDK's.
    """
    if message.get("role") != "assistant":
        return answer
    chunks = _chunks(message["parts"])
    events = b"".join(written(msgspec.json.encode(chunk)) for chunk in chunks)
    headers = {**answer.headers, EARLIER_CHUNKS: str(len(chunks))}
    return replace(answer, headers=headers, body=_inserted(answer.body, events))


async def _inserted(body: AsyncGenerator[bytes], events: bytes) -> AsyncGenerator[bytes]:
    """Send the events behind the first one of the body, which names the message."""
    async with aclosing(body):
        async for data in body:
            if events and data.startswith(b"data:"):
                first, end, rest = data.partition(EVENT_END)
                data, events = first + end + events + rest, b""
            yield data


def _chunks(parts: Iterable[Mapping[str, Any]]) -> list[Chunk]:
    """Return chunks of which a page makes these parts."""
    placed = steps.Steps()
    ids = (f"earlier-{number}" for number in itertools.count(1))
    chunks = placed.placed(chunk for part in parts for chunk in _of_part(part, ids))
    for chunk in chunks:
        wrong = protocol.fault(chunk)
        if wrong is not None:
            raise ValueError(wrong)
    return [*chunks, *placed.closing()]


def _of_part(part: Mapping[str, Any], ids: Iterator[str]) -> list[Chunk]:
    type_ = str(part.get("type"))
    if type_ == "step-start":
        return [steps.START]
    if type_ in TEXTS:
        return _text(part, next(ids))
    if type_.startswith("data-"):
        return [{"type": type_, **known(part, "id", "data")}]
    if type_ in COPIED:
        return [{"type": type_, **known(part, *COPIED[type_])}]
    return [*_tool(part)]


def _text(part: Mapping[str, Any], id_: str) -> list[Chunk]:
    kind, metadata = part["type"], known(part, "providerMetadata")
    about = {"id": str(part.get("id", id_))}
    return [
        {"type": f"{kind}-start", **about, **metadata},
        {"type": f"{kind}-delta", **about, "delta": part.get("text", "")},
        {"type": f"{kind}-end", **about},
    ]


def _tool(part: Mapping[str, Any]) -> Iterator[Chunk]:
    """Tell a call, whether the user was asked about it, and what the tool has answered."""
    name = part.get("toolName") or str(part.get("type")).removeprefix("tool-")
    about = {**known(part, *TOOL_FIELDS), "toolName": name}
    if part.get("type") == "dynamic-tool":
        about["dynamic"] = True
    about.update(_metadata(part, "callProviderMetadata"))
    id_, state = {"toolCallId": part.get("toolCallId")}, part.get("state")
    if state == "input-streaming":
        yield from _input(about, part.get("rawInput", ""))
        return
    if state == "output-error" and "input" not in part:
        wrong = {"input": part.get("rawInput"), "errorText": part.get("errorText")}
        yield {"type": "tool-input-error", **about, **wrong}
        return
    if state == "output-available":
        # A page calls its own tools at each `tool-input-available`, also at one that is old.
        input_ = msgspec.json.encode(part.get("input")).decode()
        yield from _input(about, input_)
    else:
        yield {"type": "tool-input-available", **about, "input": part.get("input")}
    # Nobody is asked again who has decided.
    if part.get("approval") and state != "approval-responded":
        yield {"type": "tool-approval-request", **id_, "approvalId": part["approval"].get("id")}
    yield from _output(part, id_)


def _input(about: Mapping[str, Any], text: str) -> Iterator[Chunk]:
    yield {"type": "tool-input-start", **about}
    call = about.get("toolCallId")
    yield {"type": "tool-input-delta", "toolCallId": call, "inputTextDelta": text}


def _output(part: Mapping[str, Any], id_: Mapping[str, Any]) -> Iterator[Chunk]:
    more, state = {**id_, **_metadata(part, "resultProviderMetadata")}, part.get("state")
    if state == "output-available":
        yield {"type": "tool-output-available", **more, **known(part, "output", "preliminary")}
    elif state == "output-error":
        yield {"type": "tool-output-error", **more, "errorText": part.get("errorText")}
    elif state == "output-denied":
        yield {"type": "tool-output-denied", **id_}


def _metadata(part: Mapping[str, Any], name: str) -> dict[str, Any]:
    return {"providerMetadata": part[name]} if name in part else {}
