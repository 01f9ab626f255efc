"""The message that a page of the AI SDK makes of the chunks of a UI message stream.

It is `readUIMessageStream` of the SDK in Python, so that an application has what its users see: to
show it again, and to ask the model with it.
"""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, Final

import msgspec

from headgate import following, records
from headgate.errors import ProtocolError
from headgate.runs.formats.ui_protocol import DATA
from headgate.runs.partial_json import NOTHING, partial_value
from headgate.runs.stored.survey import ITEMS_AT_ONCE, START, items_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from headgate.runs.stored.places import Place

Part = dict[str, Any]

_decoder = msgspec.json.Decoder(dict[str, Any])

STEP: Final = "step-start"
DYNAMIC: Final = "dynamic-tool"
# The fields of a chunk that a part of the same type has.
COPIED = {
    "file": ("mediaType", "url", "providerMetadata"),
    "reasoning-file": ("mediaType", "url", "providerMetadata"),
    "source-url": ("sourceId", "url", "title", "providerMetadata"),
    "source-document": ("sourceId", "mediaType", "title", "filename", "providerMetadata"),
    "custom": ("kind", "providerMetadata"),
    "steering-message": ("id", "parts"),
}
# What the next chunk of a call replaces, whether it has them or not.
OF_ONE_STATE = ("input", "output", "errorText", "rawInput", "inputEncoding", "preliminary")
OUTPUT_STATES = {"output-available", "output-error"}
# Of a call, for all of its states.
LASTING = ("toolMetadata", "providerExecuted")
# What a call has of its beginning while its input comes.
OF_BEGINNING = ("toolCallId", "toolName", "dynamic", "title", "toolMetadata", "inputEncoding")
# Names that no metadata is merged by, as the SDK keeps them from the prototypes of JavaScript.
UNMERGED = {"__proto__", "constructor", "prototype"}


class Assembly:
    """A message that chunks make, one after the other.

    It begins empty, or as a copy of the `message` that the chunks go on with. A chunk that fits to
    nothing, such as the end of a text that has not begun, adds nothing.
    """

    def __init__(self, id_: str, message: Mapping[str, Any] | None = None) -> None:
        earlier = message or {}
        self._id = id_
        self._metadata: object = earlier.get("metadata")
        self._parts: list[Part] = [{**part} for part in earlier.get("parts", ())]
        self._texts: dict[tuple[str, str], tuple[Part, list[str]]] = {}
        self._inputs: dict[str, tuple[Part, Part, list[str]]] = {}  # and what began each of them
        self._actions: dict[str, Callable[[Mapping[str, Any]], object]] = {
            **{f"{kind}-start": self._begin for kind in ("text", "reasoning")},
            **{f"{kind}-delta": self._extend for kind in ("text", "reasoning")},
            **{f"{kind}-end": self._finish for kind in ("text", "reasoning")},
            **dict.fromkeys(COPIED, self._copy),
            **dict.fromkeys(("start", "finish", "message-metadata"), self._describe),
            "start-step": lambda _: self._parts.append({"type": STEP}),
            "reset-step": self._reset_step,
            "tool-input-start": lambda chunk: self._call(chunk, "input-streaming"),
            "tool-input-delta": self._extend_input,
            "tool-input-available": lambda chunk: self._call(chunk, "input-available"),
            "tool-input-error": lambda chunk: self._call(chunk, "output-error"),
            "tool-approval-request": self._request_approval,
            "tool-approval-response": self._respond,
            "tool-output-available": lambda chunk: self._answer(chunk, "output-available"),
            "tool-output-error": lambda chunk: self._answer(chunk, "output-error"),
            "tool-output-denied": self._deny,
        }

    def take(self, chunk: Mapping[str, Any]) -> None:
        """Add what a chunk tells."""
        type_ = str(chunk.get("type"))
        if type_.startswith(DATA):
            self._data(chunk)
        elif type_ in self._actions:
            self._actions[type_](chunk)

    def message(self) -> dict[str, Any]:
        """Return the message as it is by now."""
        for part, pieces in self._texts.values():
            part["text"] = "".join(pieces)
        for id_ in self._inputs:
            self._set_input(id_)
        about = {} if self._metadata is None else {"metadata": self._metadata}
        return {"id": self._id, **about, "role": "assistant", "parts": [*map(dict, self._parts)]}

    def _describe(self, chunk: Mapping[str, Any]) -> None:
        self._id = chunk.get("messageId") or self._id
        metadata = chunk.get("messageMetadata")
        if metadata is not None:
            self._metadata = merged(self._metadata, metadata)

    def _begin(self, chunk: Mapping[str, Any]) -> None:
        kind = chunk["type"].removesuffix("-start")
        named = {"id": chunk["id"]} if kind == "reasoning" else {}
        about = known(chunk, "providerMetadata")
        part = {"type": kind, **named, "text": "", **about, "state": "streaming"}
        before, pieces = self._texts.get((kind, chunk["id"]), (part, []))
        before["text"] = "".join(pieces)
        self._texts[kind, chunk["id"]] = part, []
        self._parts.append(part)

    def _extend(self, chunk: Mapping[str, Any]) -> None:
        begun = self._texts.get((chunk["type"].removesuffix("-delta"), chunk["id"]))
        if begun is not None:
            part, pieces = begun
            pieces.append(chunk["delta"])
            part.update(known(chunk, "providerMetadata"))

    def _finish(self, chunk: Mapping[str, Any]) -> None:
        begun = self._texts.pop((chunk["type"].removesuffix("-end"), chunk["id"]), None)
        if begun is not None:
            part, pieces = begun
            part.update(known(chunk, "providerMetadata"), text="".join(pieces), state="done")

    def _copy(self, chunk: Mapping[str, Any]) -> None:
        type_ = chunk["type"]
        self._parts.append({"type": type_, **known(chunk, *COPIED[type_])})

    def _data(self, chunk: Mapping[str, Any]) -> None:
        if chunk.get("transient"):
            return
        id_ = chunk.get("id")
        for part in self._parts:
            if id_ is not None and part["type"] == chunk["type"] and part.get("id") == id_:
                part["data"] = chunk.get("data")
                return
        self._parts.append(dict(chunk))

    def _reset_step(self, _: Mapping[str, Any]) -> None:
        self._texts.clear()
        self._inputs.clear()
        del self._parts[len(self._parts) - len(self._step()) :]

    def _extend_input(self, chunk: Mapping[str, Any]) -> None:
        begun = self._inputs.get(chunk["toolCallId"])
        if begun is None:
            return
        part, beginning, pieces = begun
        if part["state"] != "input-streaming" or not self._is_in_step(part):
            self._set_input(chunk["toolCallId"])
            part = self._call({**beginning, "type": "tool-input-delta"}, "input-streaming")
            self._inputs[chunk["toolCallId"]] = part, beginning, pieces
        pieces.append(chunk["inputTextDelta"])

    def _set_input(self, id_: str) -> None:
        """Tell in a call what has come of its input."""
        part, _, pieces = self._inputs.get(id_, ({}, {}, []))
        if pieces and part["state"] == "input-streaming":
            text = "".join(pieces)
            value = text if part.get("inputEncoding") == "text" else partial_value(text)
            part.update({"rawInput": text} | ({} if value is NOTHING else {"input": value}))

    def _is_in_step(self, call: Part) -> bool:
        """Return whether a call is in the step under way: nearly always it is the newest part."""
        return self._parts[-1] is call or any(part is call for part in self._step())

    def _call(self, chunk: Mapping[str, Any], state: str) -> Part:
        """Begin a call in this step, or go on with it."""
        id_ = chunk["toolCallId"]
        is_dynamic = bool(chunk.get("dynamic"))
        same = [part for part in self._step() if part.get("toolCallId") == id_]
        if chunk["type"] == "tool-input-error":
            is_dynamic = same[0]["type"] == DYNAMIC if same else is_dynamic
        same = [part for part in same if (part["type"] == DYNAMIC) == is_dynamic]
        if not same:
            same = [{"type": DYNAMIC if is_dynamic else "", "toolCallId": id_}]
            self._parts += same
        if chunk["type"] == "tool-input-start":
            self._set_input(id_)
            self._inputs[id_] = same[0], known(chunk, *OF_BEGINNING), []
        if is_dynamic:
            same[0]["toolName"] = chunk["toolName"]
        else:
            same[0]["type"] = f"tool-{chunk['toolName']}"
        has_raw_input = chunk["type"] == "tool-input-error" and not is_dynamic
        inputs = {"rawInput": chunk["input"]} if has_raw_input else known(chunk, "input")
        _set_state(same[0], state, {**inputs, **known(chunk, "errorText", "inputEncoding")}, chunk)
        if chunk["type"] != "tool-input-error":
            same[0].update(known(chunk, "title"))
        return same[0]

    def _answer(self, chunk: Mapping[str, Any], state: str) -> None:
        """Give a call its output, in whatever step it is."""
        part = self._called(chunk)
        if part is None:
            return
        kept = ["input"]
        if state == "output-error" and part["type"] != DYNAMIC:
            kept.append("rawInput")
        told = known(chunk, "output", "errorText", "preliminary")
        _set_state(part, state, {**known(part, *kept), **told}, chunk)

    def _deny(self, chunk: Mapping[str, Any]) -> None:
        part = self._called(chunk)
        if part is not None:
            part["state"] = "output-denied"

    def _request_approval(self, chunk: Mapping[str, Any]) -> None:
        part = self._called(chunk)
        if part is None:
            return
        part["state"] = "approval-requested"
        part["approval"] = {"id": chunk["approvalId"], **known(chunk, "signature")}
        part["approval"].update(known(chunk, "inputSchemaInput"))
        if chunk.get("approvalDescriptor") is not None:
            part["approval"]["descriptor"] = chunk["approvalDescriptor"]

    def _respond(self, chunk: Mapping[str, Any]) -> None:
        for part in reversed([*self._calls()]):
            if part.get("approval", {}).get("id") == chunk["approvalId"]:
                part["state"] = "approval-responded"
                part["approval"] = {**part["approval"], **known(chunk, "approved", "reason")}
                part.update(known(chunk, "providerExecuted"))
                if "providerMetadata" in chunk:
                    part["callProviderMetadata"] = chunk["providerMetadata"]
                return

    def _calls(self) -> Iterator[Part]:
        return (part for part in self._parts if "toolCallId" in part)

    def _called(self, chunk: Mapping[str, Any]) -> Part | None:
        """Return the call that a chunk is about: the first of this step, else the last of all."""
        step = (part for part in self._step() if "toolCallId" in part)
        for part in (*step, *reversed([*self._calls()])):
            if part["toolCallId"] == chunk["toolCallId"]:
                return part
        return None

    def _step(self) -> list[Part]:
        """Return the parts of the step under way."""
        start = len(self._parts)
        while start and self._parts[start - 1]["type"] != STEP:
            start -= 1
        return self._parts[start:]


def _set_state(
    part: Part, state: str, of_state: Mapping[str, Any], chunk: Mapping[str, Any]
) -> None:
    for name in OF_ONE_STATE:
        part.pop(name, None)
    part.update(of_state, state=state)
    part.update(known(chunk, *LASTING))
    if "providerMetadata" in chunk:
        of = "result" if state in OUTPUT_STATES else "call"
        part[f"{of}ProviderMetadata"] = chunk["providerMetadata"]


def known(fields: Mapping[str, Any], *names: str) -> dict[str, Any]:
    """Return the fields of these names that are there; JSON has no undefined ones."""
    return {name: fields[name] for name in names if name in fields}


def merged(old: object, new: object) -> object:
    """Return metadata with what is new in it, object by object."""
    if not (isinstance(old, dict) and isinstance(new, dict)):
        return new
    names = [name for name in new if name not in UNMERGED]
    return {**old, **{name: merged(old.get(name), new[name]) for name in names}}


async def read_message(run: Place, message: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Return the message of a run in the format `ai-sdk`, as far as it is written.

    `message` is the one that the run goes on with. Raises ABSENT where there is no such run.
    """
    assembly, seen = Assembly(run.id, message), 0
    async with aclosing(following.catch_up(run.items, START)) as batches:
        async for _, batch in batches:
            for item in (item for body in batch.bodies for item in items_of(body)):
                if records.told(bytes(item)) is None:
                    assembly.take(_chunk(item))
                seen += 1
                if seen % ITEMS_AT_ONCE == 0:
                    await asyncio.sleep(0)
    return assembly.message()


def _chunk(item: msgspec.Raw) -> dict[str, Any]:
    try:
        return _decoder.decode(item)
    except msgspec.DecodeError as error:
        raise ProtocolError("this run is not in the format ai-sdk") from error
