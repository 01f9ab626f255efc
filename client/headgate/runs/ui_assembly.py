"""The message that a page of the AI SDK makes of the chunks of a UI message stream.

It is `readUIMessageStream` of the SDK in Python, so that an application has what its users see: to
show it again, and to ask the model with it.
"""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

import msgspec

from headgate import following, records
from headgate.errors import ProtocolError
from headgate.runs.stored.progress import ITEMS_AT_ONCE, START, items_of
from headgate.runs.ui_calls import STEP, ToolCalls, known, step_under_way
from headgate.ui_stream.protocol import DATA

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from headgate.runs.stored.places import Place
    from headgate.runs.ui_calls import Part

_decoder = msgspec.json.Decoder(dict[str, Any])

# The fields of a chunk that a part of the same type has.
COPIED = {
    "file": ("mediaType", "url", "providerMetadata"),
    "reasoning-file": ("mediaType", "url", "providerMetadata"),
    "source-url": ("sourceId", "url", "title", "providerMetadata"),
    "source-document": ("sourceId", "mediaType", "title", "filename", "providerMetadata"),
    "custom": ("kind", "providerMetadata"),
    "steering-message": ("id", "parts"),
}
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
        self._calls = ToolCalls(self._parts)
        self._actions: dict[str, Callable[[Mapping[str, Any]], object]] = {
            **{f"{kind}-start": self._begin for kind in ("text", "reasoning")},
            **{f"{kind}-delta": self._extend for kind in ("text", "reasoning")},
            **{f"{kind}-end": self._finish for kind in ("text", "reasoning")},
            **dict.fromkeys(COPIED, self._copy),
            **dict.fromkeys(("start", "finish", "message-metadata"), self._describe),
            "start-step": lambda _: self._parts.append({"type": STEP}),
            "reset-step": self._reset_step,
            **self._calls.actions,
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
        self._calls.set_inputs()
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
        open_text = self._texts.get((chunk["type"].removesuffix("-delta"), chunk["id"]))
        if open_text is not None:
            part, pieces = open_text
            pieces.append(chunk["delta"])
            part.update(known(chunk, "providerMetadata"))

    def _finish(self, chunk: Mapping[str, Any]) -> None:
        open_text = self._texts.pop((chunk["type"].removesuffix("-end"), chunk["id"]), None)
        if open_text is not None:
            part, pieces = open_text
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
        self._calls.forget_inputs()
        del self._parts[len(self._parts) - len(step_under_way(self._parts)) :]


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
                if records.parse_record(bytes(item)) is None:
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
