"""Chunks of the UI message stream, as the AI SDK's clients check them.

A client throws at the first chunk that it does not know, so what a source gives is checked before
it is written. Types of version 7 alone are taken, too: who gives them knows the page.
"""

from __future__ import annotations

from typing import Any, Final, Literal

import msgspec
from msgspec import UNSET, UnsetType

DATA: Final = "data-"  # begins the types of the application's own
DONE: Final = {"type": "done"}  # an object of PydanticAI that is sent as [DONE]
# The members that may be null, as they may be any JSON.
NULLABLE: Final = {"input", "output", "data", "messageMetadata"}

_Metadata = dict[str, dict[str, Any]]
_FinishReason = Literal[
    "stop", "length", "content-filter", "tool-calls", "error", "interrupted", "other"
]
_Encoding = Literal["json", "text"]

_PART = {"id": str, "providerMetadata?": _Metadata}
_DELTA = {**_PART, "delta": str}
_CALL = {"toolCallId": str}
_TOOL = {"providerExecuted?": bool, "dynamic?": bool, "toolMetadata?": dict[str, Any]}
_INPUT = {**_CALL, **_TOOL, "toolName": str, "title?": str, "providerMetadata?": _Metadata}
_OUTPUT = {**_CALL, **_TOOL, "providerMetadata?": _Metadata}
_FILE = {"url": str, "mediaType": str, "providerMetadata?": _Metadata}
_SOURCE = {"sourceId": str, "providerMetadata?": _Metadata}

# The fields with a type of their own, by the type of the chunk; with a question mark, if at all.
_FIELDS: dict[str, dict[str, Any]] = {
    "text-start": _PART,
    "text-delta": _DELTA,
    "text-end": _PART,
    "reasoning-start": _PART,
    "reasoning-delta": _DELTA,
    "reasoning-end": _PART,
    "tool-input-start": {**_INPUT, "inputEncoding?": _Encoding},
    "tool-input-delta": {**_CALL, "inputTextDelta": str},
    "tool-input-available": _INPUT,
    "tool-input-error": {**_INPUT, "errorText": str},
    "tool-approval-request": {**_CALL, "approvalId": str, "signature?": str},
    "tool-output-available": {**_OUTPUT, "preliminary?": bool},
    "tool-output-error": {**_OUTPUT, "errorText": str},
    "tool-output-denied": _CALL,
    "source-url": {**_SOURCE, "url": str, "title?": str},
    "source-document": {**_SOURCE, "mediaType": str, "title": str, "filename?": str},
    "file": _FILE,
    "reasoning-file": _FILE,
    "custom": {"kind": str, "providerMetadata?": _Metadata},
    "steering-message": {"id": str, "parts": list[dict[str, Any]]},
    "start-step": {},
    "finish-step": {},
    "reset-step": {},
    "start": {"messageId?": str},
    "finish": {"finishReason?": _FinishReason},
    "abort": {"reason?": str},
    "error": {"errorText": str},
    "message-metadata": {},
    DATA: {"id?": str, "transient?": bool},
}


def _struct(type_: str, fields: dict[str, Any]) -> type[msgspec.Struct]:
    needed = [(name, kind) for name, kind in fields.items() if not name.endswith("?")]
    others = [
        (name[:-1], kind | UnsetType, UNSET) for name, kind in fields.items() if name.endswith("?")
    ]
    return msgspec.defstruct(type_.title().replace("-", ""), [*needed, *others])


_STRUCTS = {type_: _struct(type_, fields) for type_, fields in _FIELDS.items()}


def without_nulls(chunk: dict[str, Any]) -> dict[str, Any]:
    """Return a chunk without the members that are null where they may only be left out.

    Objects of Python have None for them. What lies in a member is as the source has it.
    """
    if None not in chunk.values():  # as of nearly all
        return chunk
    type_ = chunk["type"]
    needed = _FIELDS.get(DATA if type_.startswith(DATA) else type_, {}).keys() | NULLABLE
    return {name: each for name, each in chunk.items() if each is not None or name in needed}


def fault(chunk: dict[str, Any]) -> str | None:
    """Return what is wrong with a chunk, in a sentence; None for one that clients take."""
    type_ = chunk["type"]
    struct = _STRUCTS.get(DATA if type_.startswith(DATA) else type_)
    if struct is None:
        return f"UI messages have no chunks of the type {type_[:50]!r}: your own begin with {DATA}"
    try:
        msgspec.convert(chunk, struct)
    except msgspec.ValidationError as error:
        return f"this chunk of the type {type_[:50]!r} is none of a UI message: {error}"
    return None
